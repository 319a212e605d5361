// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { assemble, segmentsOf, wants } from "rounds/hl7v2/message";

// One order serves the structures of all events: each leaves out some segments.
const order = [
  "MSH", "EVN", "PID", "PD1", "MRG", "NK1*", "PV1", "PV2", "OBX*", "AL1*", "DG1*", "GT1*", "IN1*",
];

// structure is that of HL7 table 0354.
const adt = (event, structure) => (parts) => {
  const where = "ADT." + event;
  const merges = structure === "ADT_A39";
  const person = event === "A28" || event === "A31"; // who has no visit, which PV1 has to say
  const segments = segmentsOf(where, parts, merges ? ["MSH", "EVN", "PID", "PD1", "MRG", "PV1"] : order.filter((name) => name !== "MRG"), {
    MSH: {},
    EVN: {},
    PV1: person ? { patientClass: "N" } : undefined,
  });
  wants(where, parts, "PID", "identifiers");
  wants(where, parts, "PID", "name");
  if (merges) wants(where, parts, "MRG", "identifiers");
  else if (!person) wants(where, parts, "PV1", "patientClass");
  const evn = segments[1];
  evn[1] = { ...(!("1" in evn[1]) && { event }), ...(!("2" in evn[1]) && { recorded: new Date() }), ...evn[1] };
  return assemble(where, ["ADT", event, structure], parts.zone, segments);
};

/** Patient administration. */
export const ADT = {
  A01: adt("A01", "ADT_A01"),
  A02: adt("A02", "ADT_A02"),
  A03: adt("A03", "ADT_A03"),
  A04: adt("A04", "ADT_A01"),
  A05: adt("A05", "ADT_A05"),
  A08: adt("A08", "ADT_A01"),
  A11: adt("A11", "ADT_A09"),
  A12: adt("A12", "ADT_A12"),
  A13: adt("A13", "ADT_A01"),
  A28: adt("A28", "ADT_A05"),
  A31: adt("A31", "ADT_A05"),
  A38: adt("A38", "ADT_A38"),
  A40: adt("A40", "ADT_A39"),
};
