// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// The query brings the patient along, so that nothing has to be fetched.
export default ({ change }) => ({
  id: change.id,
  op: change.op,
  reason: change.data.reason,
  patient: change.data.patient.name,
});
