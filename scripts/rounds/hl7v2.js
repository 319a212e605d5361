// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Messages of HL7 v2: what a destination of type mllp sends.

export { escape, timestamp } from "rounds/hl7v2/value";
export { message } from "rounds/hl7v2/message";
export { ADT } from "rounds/hl7v2/adt";
export { SIU } from "rounds/hl7v2/siu";
