// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { build, list, object, patient, visit } from "rounds/redox/message";

/** Builders of one event type each. */
export const PatientAdmin = {
  Arrival: (parts) => ofVisit("Arrival", parts),
  Cancel: (parts) => ofVisit("Cancel", parts),
  Discharge: (parts) => ofVisit("Discharge", parts),
  NewPatient: (parts) => ofPatient("NewPatient", parts),
  PatientMerge: (parts) =>
    build("PatientAdmin", "PatientMerge", parts, ["Patient"], (where, { Patient }) => {
      patient(where, Patient);
      list(where + "Patient.PreviousIdentifiers", Patient.PreviousIdentifiers);
    }),
  PatientUpdate: (parts) => ofPatient("PatientUpdate", parts),
  PreAdmit: (parts) => ofVisit("PreAdmit", parts),
  Registration: (parts) => ofVisit("Registration", parts),
  Transfer: (parts) => ofVisit("Transfer", parts),
  VisitMerge: (parts) =>
    build("PatientAdmin", "VisitMerge", parts, ["Patient", "Visit"], (where, { Patient, Visit }) => {
      patient(where, Patient);
      object(where + "Visit", Visit, ["VisitNumber"]);
    }),
  VisitUpdate: (parts) => ofVisit("VisitUpdate", parts),
};

function ofVisit(eventType, parts) {
  return build("PatientAdmin", eventType, parts, ["Patient", "Visit"], (where, { Patient, Visit }) => {
    patient(where, Patient);
    visit(where, Visit);
  });
}

function ofPatient(eventType, parts) {
  return build("PatientAdmin", eventType, parts, ["Patient"], (where, { Patient }) => patient(where, Patient));
}
