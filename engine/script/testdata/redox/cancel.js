// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { identifiers, Scheduling } from "rounds/redox";

/** @type {import("rounds").Mapping} */
const map = ({ change, fetched }) =>
  Scheduling.Cancel({
    Meta: { EventDateTime: change.time },
    Patient: { Identifiers: identifiers({ MR: fetched.patient.id }), Demographics: {} },
    Visit: { VisitNumber: change.id, CancelReason: change.op === "deleted" ? "deleted in the EHR" : change.data.reason },
  });

export default map;
