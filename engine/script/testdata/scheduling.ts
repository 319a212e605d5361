// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// A mapping of realistic size: an appointment and its patient become a Scheduling message of about 40 fields.
import type { Mapping } from "rounds";
import { identifiers, Scheduling } from "rounds/redox";
import { toUTC } from "rounds/time";
import { sex } from "./lib/codes";
import type { Appointment, Patient } from "./lib/ehr";

const zone = "America/New_York";

type Event = keyof typeof Scheduling;
const events: { [status: string]: Event } = { booked: "New", moved: "Reschedule", cancelled: "Cancel", noshow: "NoShow" };

const map: Mapping<Appointment, { patient: Patient }> = ({ change, fetched }, context) => {
  const { patient } = fetched;
  const a = change.data;
  const event = events[a.status] ?? "Modification";
  return Scheduling[event]({
    Meta: {
      EventDateTime: change.time,
      Test: false,
      Source: { ID: context.source, Name: context.pipeline },
      FacilityCode: a.facility?.code,
    },
    Patient: {
      Identifiers: identifiers({ MR: patient.id, EHRID: patient.externalId }),
      Demographics: {
        FirstName: patient.name.first,
        MiddleName: patient.name.middle ?? null,
        LastName: patient.name.last,
        DOB: patient.birthDate,
        Sex: sex(patient.gender),
        Language: patient.language,
        IsHispanic: null,
        MaritalStatus: patient.maritalStatus,
        IsDeceased: patient.deceased === true,
        PhoneNumber: {
          Home: patient.phones.find((p) => p.type === "home")?.number ?? null,
          Office: patient.phones.find((p) => p.type === "work")?.number ?? null,
          Mobile: patient.phones.find((p) => p.type === "mobile")?.number ?? null,
        },
        EmailAddresses: patient.emails.map((e) => e.address.toLowerCase()),
        Address: {
          StreetAddress: patient.address.lines.join(", "),
          City: patient.address.city,
          State: patient.address.state,
          ZIP: patient.address.zip,
          County: patient.address.county,
          Country: patient.address.country,
        },
      },
      Notes: [],
    },
    Visit: {
      VisitNumber: change.id,
      AccountNumber: a.account,
      VisitDateTime: toUTC(a.start, zone),
      Duration: a.minutes,
      Reason: a.reason,
      PatientClass: "Outpatient",
      Status: a.status,
      Type: a.type?.name,
      Instructions: a.instructions ?? [],
      AttendingProvider: {
        ID: a.provider.npi,
        IDType: "NPI",
        FirstName: a.provider.first,
        LastName: a.provider.last,
        Credentials: a.provider.credentials,
      },
      Location: { Type: "Clinic", Facility: a.facility?.name, Department: a.department, Room: a.room },
      ...(event === "Reschedule" && { OldDateTime: toUTC(a.previousStart, zone) }),
      ...(event === "Cancel" && { CancelReason: a.cancelReason ?? "not given" }),
      ...(event === "NoShow" && { NoShowReason: a.noShowReason ?? "not given" }),
    },
    AppointmentInfo: a.codes.map(({ code, system, text }) => ({ Code: code, Codeset: system, Description: text, Value: null })),
  });
};

export default map;
