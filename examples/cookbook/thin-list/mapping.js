// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

export default ({ change, fetched }) => ({
  id: change.id,
  op: change.op,
  reason: fetched.appointment.reason,
  patient: fetched.persons[0].name, // in the order of the participants
  provider: fetched.persons[1]?.name ?? null,
});
