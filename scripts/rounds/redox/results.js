// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { build, list, object, patient, visit } from "rounds/redox/message";

/** Builders of one event type each. */
export const Results = {
  New: (parts) =>
    build("Results", "New", parts, ["Patient", "Visit", "Orders"], (where, { Patient, Visit, Orders }) => {
      patient(where, Patient);
      visit(where, Visit);
      list(where + "Orders", Orders, order);
    }),
};

function order(at, value) {
  object(at, value, ["ID", "Status"]);
  list(at + ".Results", value.Results, (at, value) => object(at, value, ["Code", "Status", "Value", "ValueType"]));
}
