// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

export default ({ change, fetched }) => ({
  visit: change.id,
  op: change.op,
  reason: change.data?.reason,
  patient: fetched.patient?.name,
});
