// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Makes a notification of Redox' Scheduling model of a changed appointment and its patient.
import { Scheduling, identifiers } from "rounds/redox";
import { format, parse } from "rounds/time";

// f: filled, x: cancelled, 2: checked in, 3: checked out, 4: charge entered, o: open. The feed does not tell what happened.
function eventType(change) {
  if (change.data.appointmentstatus === "x") return "Cancel";
  if (change.data.appointmentstatus === "f" && change.op === "created") return "New";
  return "Modification";
}

const day = (text) => (text ? format(parse(text, "01/02/2006", "UTC"), "2006-01-02") : null);

// Date and time of an appointment are those of its department.
const start = (a) => parse(`${a.date} ${a.starttime}`, "01/02/2006 15:04", "America/New_York");

export default function ({ change, fetched }) {
  const appointment = change.data;
  const { patient } = fetched;
  if (!patient) return null; // a slot

  const event = eventType(change);
  return Scheduling[event]({
    Meta: { EventDateTime: change.time, Test: true, Source: { Name: "athenahealth" } },
    Patient: {
      Identifiers: identifiers({ MR: patient.patientid }),
      Demographics: {
        FirstName: patient.firstname,
        LastName: patient.lastname,
        DOB: day(patient.dob),
        Sex: { F: "Female", M: "Male" }[patient.sex] ?? "Unknown",
        PhoneNumber: { Home: patient.homephone ?? null, Mobile: patient.mobilephone ?? null },
        Address: { StreetAddress: patient.address1, City: patient.city, State: patient.state, ZIP: patient.zip },
      },
    },
    Visit: {
      VisitNumber: appointment.appointmentid,
      VisitDateTime: start(appointment),
      Duration: Number(appointment.duration),
      Reason: appointment.patientappointmenttypename,
      Status: appointment.appointmentstatus,
      ...(event === "Cancel" && { CancelReason: appointment.cancelreasonname }),
      VisitProvider: { ID: appointment.providerid, IDType: "athenahealth" },
      Location: { Type: "Outpatient", Facility: "195900", Department: appointment.departmentid },
    },
  });
}
