// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { identifiers, PatientAdmin } from "rounds/redox";

/** @type {import("rounds").Mapping} */
const map = ({ change, fetched }) => {
  const { patient, insurance } = fetched;
  return PatientAdmin.Arrival({
    Meta: { EventDateTime: change.time, FacilityCode: change.data.site },
    Patient: {
      Identifiers: identifiers({ MR: patient.id }),
      Demographics: { FirstName: patient.first, LastName: patient.last, Sex: patient.sex === "f" ? "Female" : "Unknown" },
      Allergies: patient.allergies.map((/** @type {any} */ a) => ({ Code: a.code, Codeset: "RxNorm", Name: a.name, Severity: { Name: a.severity } })),
    },
    Visit: {
      VisitNumber: change.id,
      PatientClass: "Inpatient",
      Location: { Facility: change.data.site, Department: change.data.ward, Bed: change.data.bed },
      Insurances: insurance && [{ MemberNumber: insurance.member, Company: { ID: insurance.payer, IDType: "Payor ID" } }],
    },
  });
};

export default map;
