// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Of a deleted slot there is no data any more.
export default ({ change }) => ({
  id: change.id,
  op: change.op,
  reason: change.data?.reason ?? null,
  patient: change.data?.patientName ?? null,
});
