// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { build, list, object, patient, visit } from "rounds/redox/message";

/** Builders of one event type each. */
export const Order = {
  New: (parts) => ofOne("New", parts),
  Update: (parts) => ofOne("Update", parts),
  Cancel: (parts) => ofOne("Cancel", parts),
  GroupedOrders: (parts) =>
    build("Order", "GroupedOrders", parts, ["Patient", "Visit", "Orders"], (where, { Patient, Visit, Orders }) => {
      patient(where, Patient);
      visit(where, Visit);
      list(where + "Orders", Orders, order);
    }),
};

function ofOne(eventType, parts) {
  return build("Order", eventType, parts, ["Patient", "Visit", "Order"], (where, parts) => {
    patient(where, parts.Patient);
    visit(where, parts.Visit);
    order(where + "Order", parts.Order);
  });
}

const order = (at, value) => object(at, value, ["ID"]);
