// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

export default function ({ change, fetched }) {
  return { appointment: change.id, start: change.data.start, patient: fetched.patient.name };
}
