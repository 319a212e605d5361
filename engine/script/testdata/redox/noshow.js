// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { identifiers, Scheduling } from "rounds/redox";
import { format } from "rounds/time";

/** @type {import("rounds").Mapping} */
const map = ({ change, fetched }, context) =>
  Scheduling.NoShow({
    Meta: { EventDateTime: change.time ?? context.now },
    Patient: { Identifiers: identifiers({ MR: fetched.patient.id }), Demographics: {} },
    Visit: {
      VisitNumber: change.id,
      Status: "No show",
      NoShowReason: `not seen by ${format(context.now, "3:04 PM MST", "America/Los_Angeles")}`,
      Diagnoses: [{ Code: "Z53.20", Codeset: "ICD-10", Name: null, Type: "Unknown" }],
    },
  });

export default map;
