// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { toUTC } from "rounds/time";

export default ({ change, fetched }) => ({
  id: change.id,
  op: change.op,
  reason: change.data.reason,
  start: toUTC(change.data.start, "America/New_York"),
  patient: fetched.patient.name,
});
