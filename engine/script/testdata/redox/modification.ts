// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import type { Mapping } from "rounds";
import { Scheduling } from "rounds/redox";
import { parse } from "rounds/time";

interface Appointment {
  when: string;
  room: string | null;
  staff: { npi: string; minutes: number }[];
}

// Without a patient: nothing was fetched.
const map: Mapping<Appointment, { patient: null }> = ({ change, fetched }) =>
  Scheduling.Modification({
    Meta: { EventDateTime: change.time },
    Patient: fetched.patient,
    Visit: {
      VisitNumber: change.id,
      VisitDateTime: parse(change.data.when, "01/02/2006 3:04 PM", "America/New_York"),
      Location: { Department: "Orthopedics", Room: change.data.room },
      AdditionalStaff: change.data.staff.map(({ npi, minutes }) => ({ ID: npi, IDType: "NPI", Duration: minutes })),
    },
  });

export default map;
