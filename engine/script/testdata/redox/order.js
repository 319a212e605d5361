// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { identifiers, Order } from "rounds/redox";

/** @type {{ [code: string]: import("rounds/redox").OrderBase["Priority"] }} */
const priorities = { S: "Stat", R: "Routine" };

/** @type {import("rounds").Mapping} */
const map = ({ change, fetched }) => {
  const { data } = change;
  const Patient = { Identifiers: identifiers({ MR: fetched.patient.id }), Demographics: { LastName: fetched.patient.last } };
  const orders = data.tests.map((/** @type {any} */ test) => ({
    ID: test.number,
    Status: "New",
    Priority: priorities[data.priority] ?? null,
    Procedure: { Code: test.code, Codeset: "LOINC", Description: test.name },
    Provider: { NPI: data.orderedBy },
  }));
  const Meta = { EventDateTime: change.time };
  if (orders.length > 1) return Order.GroupedOrders({ Meta, Patient, Orders: orders });
  return Order.New({ Meta, Patient, Order: orders[0] });
};

export default map;
