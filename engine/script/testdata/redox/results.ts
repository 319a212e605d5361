// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import type { Mapping } from "rounds";
import { identifiers, Results, type Result } from "rounds/redox";

interface Report {
  order: string;
  final: boolean;
  values: { code: string; name: string; value: number; unit: string; low: number; high: number }[];
}

const map: Mapping<Report, { patient: { id: string } }> = ({ change, fetched }) => {
  const status = change.data.final ? "Final" : "Preliminary";
  const results = change.data.values.map((v): Result => ({
    Code: v.code,
    Codeset: "LOINC",
    Description: v.name,
    Value: String(v.value),
    ValueType: "Numeric",
    Units: v.unit,
    Status: status,
    AbnormalFlag: v.value < v.low ? "Low" : v.value > v.high ? "High" : "Normal",
    ReferenceRange: { Low: v.low, High: v.high },
  }));
  return Results.New({
    Meta: { EventDateTime: change.time },
    Patient: { Identifiers: identifiers({ MR: fetched.patient.id }), Demographics: {} },
    Orders: [{ ID: change.data.order, Status: "Resulted", ResultsStatus: status, Results: results }],
  });
};

export default map;
