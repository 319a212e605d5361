// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

export default ({ change }) => ({
  appointment: change.id,
  patient: change.data.patientID,
  status: change.data.status,
  start: change.data.start,
});
