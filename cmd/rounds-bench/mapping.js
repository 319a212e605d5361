// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// The mapping that is measured: an appointment and its patient as an update of Redox' Scheduling model, about 45 fields.
// Rounds and bench.mjs run this file; bare.go does the same in Go. All three make the same bytes.
const sexes = { female: "Female", male: "Male" };
const events = { cancelled: "Cancel", noshow: "NoShow" };
const codesets = { "SNOMED-CT": "2.16.840.1.113883.6.96", LOINC: "2.16.840.1.113883.6.1" };

const utc = (time) => new Date(time).toISOString();
const eventType = (a) => {
  if (events[a.status]) return events[a.status];
  if (a.created === a.lastUpdated && !a.previousStart) return "New";
  return a.previousStart ? "Reschedule" : "Modification";
};
const address = (a) => ({
  StreetAddress: a.street, City: a.city, State: a.state, ZIP: a.postalCode, Country: a.country,
});

export default function ({ change, fetched }) {
  const a = change.data;
  const p = fetched.patient;
  return {
    Meta: {
      DataModel: "Scheduling",
      EventType: eventType(a),
      EventDateTime: utc(change.time),
      Test: true,
      Source: { Name: "Sample EHR" },
      FacilityCode: a.location.id,
    },
    Patient: {
      Identifiers: [{ ID: p.id, IDType: "EHR" }, { ID: p.mrn, IDType: "MR" }],
      Demographics: {
        FirstName: p.name.first,
        MiddleName: p.name.middle ?? null,
        LastName: p.name.last,
        DOB: p.birthDate,
        SSN: p.ssn,
        Sex: sexes[p.sex] ?? "Unknown",
        Race: p.race,
        IsHispanic: p.ethnicity === "Hispanic or Latino",
        MaritalStatus: p.maritalStatus,
        PhoneNumber: { Home: p.phones.home, Mobile: p.phones.mobile ?? null },
        EmailAddresses: [p.email.toLowerCase()],
        Language: p.language.split("-")[0],
        Address: address(p.address),
      },
    },
    AppointmentInfo: a.orders.map((o) => ({
      Code: o.code, Codeset: codesets[o.system] ?? o.system, Description: o.name, Value: o.date ?? null,
    })),
    Visit: {
      VisitNumber: a.visitNumber,
      VisitDateTime: utc(a.start),
      OldDateTime: a.previousStart ? utc(a.previousStart) : null,
      Duration: a.minutes,
      Reason: a.reason.name,
      CancelReason: a.cancelReason ?? null,
      Status: a.status,
      Type: a.type.name,
      VisitProvider: {
        ID: a.provider.npi,
        IDType: "NPI",
        FirstName: a.provider.name.first,
        LastName: a.provider.name.last,
        PhoneNumber: { Office: a.provider.phone },
      },
      Location: { Type: "Outpatient", Facility: a.location.name, Department: a.location.department, Room: a.location.room },
    },
  };
}
