// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Makes a SIU message of a changed appointment and its patient.
import { SIU } from "rounds/hl7v2";
import { eventType } from "rounds/redox";

const zone = "America/New_York"; // of the clinic: times are told in it

const events = { New: "S12", Reschedule: "S13", Modification: "S14", Cancel: "S15", NoShow: "S26" };
const statuses = { S12: "Booked", S13: "Booked", S15: "Cancelled", S26: "Noshow" };
const sexes = { female: "F", male: "M" };

export default function (record, { previous }) {
  const { data } = record.change;
  const { patient } = record.fetched;
  // An appointment that is seen for the first time is new if it was not changed since it was made.
  const isNew = () => data.created === data.lastUpdated;
  const event = events[eventType(previous, record, { isNew })];

  return SIU[event]({
    zone,
    MSH: {
      sendingApplication: "ROUNDS",
      sendingFacility: "NORTH CLINIC",
      receivingApplication: "HIS",
      receivingFacility: "GENERAL HOSPITAL",
    },
    SCH: {
      fillerID: data.visitNumber,
      eventReason: { text: data.cancelReason },
      reason: { text: data.reason.name },
      type: { text: data.type.name },
      duration: data.minutes,
      durationUnits: "MIN",
      timing: { duration: `M${data.minutes}`, start: data.start },
      status: statuses[event],
    },
    PID: {
      identifiers: [
        { id: patient.mrn, authority: "NORTH CLINIC", type: "MR" },
        { id: patient.id, authority: "EHR", type: "PI" },
      ],
      name: { family: patient.name.last, given: patient.name.first, middle: patient.name.middle },
      birthDate: patient.birthDate,
      sex: sexes[patient.sex] ?? "U",
      address: {
        street: patient.address.street,
        city: patient.address.city,
        state: patient.address.state,
        zip: patient.address.postalCode,
        country: patient.address.country,
      },
      homePhone: [patient.phones.home, patient.phones.mobile && { number: patient.phones.mobile, use: "PRN", equipment: "CP" }],
    },
    PV1: { patientClass: "O", visitNumber: data.visitNumber },
    AIL: {
      location: { pointOfCare: data.location.department, room: data.location.room, facility: data.location.name },
      start: data.start,
    },
    AIP: {
      person: {
        id: data.provider.npi,
        family: data.provider.name.last,
        given: data.provider.name.first,
        authority: { namespace: "NPI", universalID: "2.16.840.1.113883.4.6", universalIDType: "ISO" },
      },
      start: data.start,
    },
  });
}
