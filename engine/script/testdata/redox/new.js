// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { identifiers, Scheduling } from "rounds/redox";
import { toUTC } from "rounds/time";

/** @type {import("rounds").Mapping} */
const map = ({ change, fetched }, context) =>
  Scheduling.New({
    Meta: { EventDateTime: change.time, Source: { ID: context.source }, Test: true },
    Patient: {
      Identifiers: identifiers({ MR: fetched.patient.id, EHRID: fetched.patient.externalId }),
      Demographics: { FirstName: fetched.patient.name.first, LastName: fetched.patient.name.last, DOB: fetched.patient.dob },
    },
    Visit: { VisitNumber: change.id, VisitDateTime: toUTC(change.data.start, "America/New_York"), Duration: change.data.minutes },
    AppointmentInfo: [{ Code: change.data.type, Codeset: null, Description: null, Value: null }],
  });

export default map;
