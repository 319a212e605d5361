// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

export default ({ change, fetched }) => {
  const { person, voided } = fetched.patient;
  return { patient: change.id, voided, name: person.display, address: person.preferredAddress?.address1 };
};
