// Makes a notification of Redox' Scheduling model of a changed appointment and its patient.
import type { Mapping, Record } from "rounds";
import { eventType, identifiers, oldDateTime, Scheduling } from "rounds/redox";

// What the EHR sends, as far as it is used here. An editor completes it and finds what is written wrong.
interface Appointment {
  visitNumber: string;
  status: string;
  start: string;
  minutes: number;
  cancelReason?: string;
  created: string;
  lastUpdated: string;
}
interface Fetched {
  patient: {
    id: string;
    mrn: string;
    name: { first: string; last: string };
    birthDate: string;
  };
}

const utc = (time: string | null) => (time ? new Date(time).toISOString() : null);

// Where eventType finds the start of an appointment, in the form that is sent; which statuses mean that it was cancelled or missed; and
// whether one that is seen for the first time was made just now.
const options = {
  start: ({ change }: Record<Appointment, Fetched>) => utc(change.data.start),
  cancelled: ["cancelled"],
  noShow: ["noshow"],
  isNew: ({ change }: Record<Appointment, Fetched>) => change.data.created === change.data.lastUpdated,
};

const map: Mapping<Appointment, Fetched> = (record, { previous }) => {
  const { change, fetched } = record;
  if (change.op === "deleted") return null; // nothing is sent
  const { patient } = fetched;
  const event = eventType(previous, record, options);
  return Scheduling[event]({
    Meta: { EventDateTime: utc(change.time), Test: true, Source: { Name: "Sample EHR" } },
    Patient: {
      Identifiers: identifiers({ EHR: patient.id, MR: patient.mrn }),
      Demographics: { FirstName: patient.name.first, LastName: patient.name.last, DOB: patient.birthDate },
    },
    Visit: {
      VisitNumber: change.data.visitNumber,
      VisitDateTime: options.start(record),
      Duration: change.data.minutes,
      Status: change.data.status,
      OldDateTime: oldDateTime(previous, record, options), // undefined, and left out, unless it was rescheduled
      ...(event === "Cancel" && { CancelReason: change.data.cancelReason }),
    },
  });
};

export default map;
