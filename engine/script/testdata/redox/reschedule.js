// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { identifiers, Scheduling } from "rounds/redox";
import { toUTC } from "rounds/time";

const zone = "America/Chicago";

/** @type {import("rounds").Mapping} */
const map = ({ change, fetched }) => {
  const { start, moved } = change.data;
  if (start === moved.from) return null; // the same time again
  return Scheduling.Reschedule({
    Meta: { EventDateTime: change.time },
    Patient: { Identifiers: identifiers({ MR: fetched.patient.id }), Demographics: { LastName: fetched.patient.name.last } },
    Visit: {
      VisitNumber: change.id,
      VisitDateTime: toUTC(start, zone),
      OldDateTime: toUTC(moved.from, zone),
      OldVisitNumber: moved.number,
    },
  });
};

export default map;
