// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import type { Mapping } from "rounds";
import { identifiers, PatientAdmin } from "rounds/redox";

interface Merge {
  kept: string;
  gone: string[];
}

const map: Mapping<Merge, { patient: { last: string } }> = ({ change, fetched }) =>
  PatientAdmin.PatientMerge({
    Meta: { EventDateTime: change.time },
    Patient: {
      Identifiers: identifiers({ MR: change.data.kept }),
      Demographics: { LastName: fetched.patient.last },
      PreviousIdentifiers: change.data.gone.flatMap((id) => identifiers({ MR: id })),
    },
  });

export default map;
