// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { assemble, segmentsOf, wants } from "rounds/hl7v2/message";

// The order of message structure SIU_S12, with one patient and one group of resources.
const order = ["MSH", "SCH", "NTE*", "PID", "PD1", "PV1", "PV2", "OBX*", "DG1*", "RGS", "AIS*", "AIG*", "AIL*", "AIP*"];

const siu = (event) => (parts) => {
  const where = "SIU." + event;
  const segments = segmentsOf(where, parts, order, { MSH: {}, RGS: {} });
  wants(where, parts, "SCH", "placerID", "fillerID");
  return assemble(where, ["SIU", event, "SIU_S12"], parts.zone, segments);
};

/** Schedule information: an appointment was booked, rescheduled, modified, cancelled, deleted, or nobody came. */
export const SIU = { S12: siu("S12"), S13: siu("S13"), S14: siu("S14"), S15: siu("S15"), S17: siu("S17"), S26: siu("S26") };
