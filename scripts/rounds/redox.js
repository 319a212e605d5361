// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Messages of the Redox data models, a module each. What a script does not import is left out of its program, so that only the
// models that it uses cost their evaluation.

export { Notes } from "rounds/redox/notes";
export { Order } from "rounds/redox/order";
export { PatientAdmin } from "rounds/redox/patientadmin";
export { Results } from "rounds/redox/results";
export { eventType, oldDateTime, Scheduling } from "rounds/redox/scheduling";
export { identifiers } from "rounds/redox/message";
