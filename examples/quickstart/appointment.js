// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Makes a notification of Redox' Scheduling model of a changed appointment and its patient.
import { Scheduling, identifiers } from "rounds/redox";

// The EHR says what an appointment is like now. What happened to it is told by what it is like.
function eventType(appointment) {
  if (appointment.status === "cancelled") return "Cancel";
  if (appointment.status === "noshow") return "NoShow";
  if (appointment.status !== "booked") return "Modification"; // arrived, checked in, fulfilled
  if (appointment.previousStart) return "Reschedule";
  return appointment.created === appointment.lastUpdated ? "New" : "Modification";
}

const sexes = { female: "Female", male: "Male" };

const utc = (time) => (time ? new Date(time).toISOString() : null);

const address = (a) => ({
  StreetAddress: a.street,
  City: a.city,
  State: a.state,
  ZIP: a.postalCode,
  Country: a.country,
});

export default function ({ change, fetched }) {
  const appointment = change.data;
  const { patient } = fetched;
  const { provider, location } = appointment;
  const event = eventType(appointment);

  return Scheduling[event]({
    Meta: { EventDateTime: utc(change.time), Test: true, Source: { Name: "Sample EHR" } },
    Patient: {
      Identifiers: identifiers({ EHR: patient.id, MR: patient.mrn }),
      Demographics: {
        FirstName: patient.name.first,
        MiddleName: patient.name.middle ?? null,
        LastName: patient.name.last,
        DOB: patient.birthDate,
        Sex: sexes[patient.sex] ?? "Unknown",
        Race: patient.race,
        IsHispanic: patient.ethnicity === "Hispanic or Latino",
        MaritalStatus: patient.maritalStatus,
        Language: patient.language.split("-")[0],
        PhoneNumber: { Home: patient.phones.home, Mobile: patient.phones.mobile ?? null },
        EmailAddresses: [patient.email],
        Address: address(patient.address),
      },
    },
    AppointmentInfo: appointment.orders.map((o) => ({ Code: o.code, Codeset: o.system, Description: o.name, Value: o.date })),
    Visit: {
      VisitNumber: appointment.visitNumber,
      VisitDateTime: utc(appointment.start),
      Duration: appointment.minutes,
      Reason: appointment.reason.name,
      Status: appointment.status,
      Type: appointment.type.name,
      ...(event === "Reschedule" && { OldDateTime: utc(appointment.previousStart) }),
      ...(event === "Cancel" && { CancelReason: appointment.cancelReason }),
      VisitProvider: {
        ID: provider.npi,
        IDType: "NPI",
        FirstName: provider.name.first,
        LastName: provider.name.last,
        PhoneNumber: { Office: provider.phone },
      },
      Location: { Type: "Outpatient", Facility: location.name, Department: location.department, Room: location.room },
    },
  });
}
