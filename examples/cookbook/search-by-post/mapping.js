// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

export default ({ change, fetched }) => ({
  id: change.id,
  op: change.op,
  revision: change.data.revision,
  reason: change.data.order.reason,
  patient: fetched.patient.name,
});
