// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// What the declarations must take, and, marked, what they must refuse. Read by the compiler only (check-types.sh).
import type { Change, Context, Mapping, Record } from "rounds";
import { ADT, escape, message, SIU, timestamp } from "rounds/hl7v2";
import { eventType, identifiers, Notes, oldDateTime, Order, PatientAdmin, Results, Scheduling } from "rounds/redox";
import { format, parse, toUTC } from "rounds/time";

interface Appointment {
  start: string;
  end: string | null;
}
interface Fetched {
  patient: { id: string; name: { last: string } } | null;
}

export const plain: Mapping = ({ change, fetched }, context) => ({ id: change.id, anything: fetched.patient.name, at: context.now });
export const filter: Mapping = ({ change }) => (change.op === "deleted" ? null : { id: change.id });
export const typed: Mapping<Appointment, Fetched> = ({ change, fetched }) => ({
  start: toUTC(change.data.start, "UTC").slice(0, 10),
  last: fetched.patient?.name.last,
});

export const compared: Mapping<Appointment, Fetched> = ({ change }, { previous, changed, tables }) => ({
  moved: previous !== null && previous.change.data.start !== change.data.start,
  renamed: changed.includes("fetched.patient.name.last"),
  site: tables.sites[change.id] ?? "unknown",
});

// @ts-expect-error there is no state before the first
export const uncompared: Mapping<Appointment, Fetched> = (_, { previous }) => ({ start: previous.change.data.start });
// @ts-expect-error the state before is typed as the record is
export const untyped: Mapping<Appointment, Fetched> = (_, { previous }) => ({ start: previous?.change.data.begin });
// @ts-expect-error a table may not have the key
export const untranslated: Mapping<Appointment, Fetched, { site: string }> = (_, { tables }) => ({ site: tables.sites.main });
// @ts-expect-error a string is not a notification
export const text: Mapping = () => "sent";
// @ts-expect-error undefined is an error, null filters
export const nothing: Mapping = () => undefined;
// @ts-expect-error there is nothing to wait for, and a promise is no notification
export const later: Mapping<Appointment, Fetched, { id: string }> = async ({ change }) => ({ id: change.id });
// @ts-expect-error the patient may be missing
export const unchecked: Mapping<Appointment, Fetched> = ({ fetched }) => ({ last: fetched.patient.name.last });

export function uses(record: Record<Appointment, Fetched>, change: Change, context: Context): unknown {
  // @ts-expect-error a record is not to be changed
  change.id = "2";
  // @ts-expect-error nor is a table
  context.tables.sites.main = "Main";
  // @ts-expect-error no such operation
  if (change.op === "inserted") return null;
  // @ts-expect-error may be null
  change.time.slice(0, 10);
  const { start, end } = record.change.data;
  const sure: string = toUTC(start, "UTC");
  // @ts-expect-error what is missing stays missing
  const unsure: string = toUTC(end, "UTC");
  // @ts-expect-error the zone is needed
  toUTC(start);
  parse(start, "01/02/2006 15:04", "America/New_York");
  format(new Date(), "2006-01-02");
  // @ts-expect-error the layout is needed
  format(context.now);
  return [sure, unsure, context.attempt + 1];
}

const Patient = { Identifiers: identifiers({ MR: 5, SSN: null }), Demographics: { Sex: "Female" as const, DOB: null } };
const sent = Scheduling.New({ Meta: { Test: true }, Patient, Visit: { VisitNumber: "1", Location: { Bed: "2" } } });
export const sentAs: "New" = sent.Meta.EventType;
export const canceled = Scheduling.Cancel({ Visit: { CancelReason: "ill" }, Patient: null });
export const moved = Scheduling.Reschedule({ Visit: { OldDateTime: "2026-07-14T13:30:00Z", OldVisitNumber: null } });
export const byStatus = (event: keyof typeof Scheduling) => Scheduling[event]({ Visit: { VisitNumber: "1" } });

const Allergies = [{ Code: "1", Severity: { Name: "mild" } }];
export const admitted = PatientAdmin.Arrival({ Patient: { ...Patient, Allergies }, Visit: null });
export const undone: "Cancel" = PatientAdmin.Cancel({ Patient, Meta: { CanceledEvent: "Arrival" } }).Meta.EventType;
export const merged = PatientAdmin.PatientMerge({ Patient: { ...Patient, PreviousIdentifiers: identifiers({ MR: "2" }) } });
export const joined = PatientAdmin.VisitMerge({ Patient, Visit: { VisitNumber: "2" } });
export const left = PatientAdmin.Discharge({ Patient, Visit: { DischargeStatus: { Code: "01" } } });
export const ordered = Order.New({ Patient, Order: { ID: "1", Priority: "Stat", Procedure: { Code: "24323-8" } } });
export const grouped = Order.GroupedOrders({ Patient, Orders: [{ ID: "1" }, { ID: "2", Status: "New" }] });
const Value = { Code: "2345-7", Value: "5.4", ValueType: "Numeric" as const, Status: "Final" as const };
export const found = Results.New({ Patient, Orders: [{ ID: "1", Status: "Resulted", Results: [Value] }] });
const Note = { ContentType: "Plain Text" as const, DocumentID: "1", DocumentType: "Progress", Provider: { ID: "1", IDType: "NPI" } };
export const noted = Notes.Replace({ Patient, Note: { ...Note, OriginalDocumentID: "0" }, Orders: null });

export const inferred: Mapping<Appointment, Fetched> = (record, { previous }) => {
  const options = { start: ({ change }: Record<Appointment, Fetched>) => toUTC(change.data.start, "UTC"), cancelled: ["X"] };
  return Scheduling[eventType(previous, record, options)]({
    Visit: { VisitDateTime: options.start(record), OldDateTime: oldDateTime(previous, record, options) },
  });
};
export function infers(previous: Record<Appointment, Fetched> | null, current: Record<Appointment, Fetched>): unknown {
  // @ts-expect-error there is no such event type
  if (eventType(previous, current) === "Arrival") return null;
  // @ts-expect-error there is no such option
  eventType(previous, current, { canceled: ["X"] });
  return eventType(previous, current);
}

// @ts-expect-error a Patient is required
PatientAdmin.Arrival({ Visit: {} });
// @ts-expect-error what is merged is required
PatientAdmin.PatientMerge({ Patient });
// @ts-expect-error a new patient has no Visit
PatientAdmin.NewPatient({ Patient, Visit: {} });
// @ts-expect-error only a Cancel has it
PatientAdmin.Arrival({ Patient, Meta: { CanceledEvent: "Arrival" } });
// @ts-expect-error an Order has an ID
Order.New({ Patient, Order: {} });
// @ts-expect-error there is one Order, or GroupedOrders
Order.New({ Patient, Orders: [{ ID: "1" }] });
// @ts-expect-error a result has a status
Results.New({ Patient, Orders: [{ ID: "1", Status: "Resulted", Results: [{ Code: "1", Value: "1", ValueType: "Numeric" }] }] });
// @ts-expect-error values are text
Results.New({ Patient, Orders: [{ ID: "1", Status: "Resulted", Results: [{ ...Value, Value: 5.4 }] }] });
// @ts-expect-error a Note has a Provider
Notes.New({ Patient, Note: { ContentType: "Plain Text", DocumentID: "1", DocumentType: "Progress" } });
// @ts-expect-error only what replaces has an original
Notes.New({ Patient, Note: { ContentType: "Plain Text", DocumentID: "1", DocumentType: "P", Provider: {}, OriginalDocumentID: "0" } });
// @ts-expect-error a Visit is required
Scheduling.New({ Patient });
// @ts-expect-error only a Cancel has a reason
Scheduling.New({ Visit: { CancelReason: "ill" } });
// @ts-expect-error ids are strings
Scheduling.New({ Visit: { VisitNumber: 1 } });
// @ts-expect-error written wrong
Scheduling.New({ Visit: { VisitDatetime: "" } });
// @ts-expect-error not of the value set
Scheduling.New({ Visit: {}, Patient: { Identifiers: [], Demographics: { Sex: "F" } } });
// @ts-expect-error set by the builder
Scheduling.New({ Visit: {}, Meta: { EventType: "New" } });
// @ts-expect-error there is no such event type
Scheduling.Arrival({ Visit: {} });
// @ts-expect-error there is no console
console.log(1);

export const siu: Mapping<Appointment, Fetched> = ({ change, fetched }) =>
  SIU.S12({
    zone: "America/New_York",
    MSH: { sendingApplication: "ROUNDS", sendingFacility: { namespace: "N", universalID: "1.2" }, 21: null },
    SCH: { fillerID: change.id, timing: { start: change.data.start, end: change.data.end }, status: { code: "Booked", 3: "HL70278" } },
    PID: {
      identifiers: [{ id: fetched.patient?.id, authority: { namespace: "CLINIC" }, type: "MR" }, "78"],
      name: { family: fetched.patient?.name.last }, birthDate: new Date(0), 30: false,
    },
    NTE: ["first", { comment: "second" }],
    AIP: [{ person: { id: 7 } }],
    ZPI: { 1: escape("a|b"), 2: { 1: { 2: timestamp(change.time) } } },
  });
export const merge: Mapping = () => ADT.A40({ PID: { identifiers: "1", name: "Doe" }, MRG: { identifiers: ["2"] }, ZPI: [{ 1: 1 }] });
export const person: Mapping = () => ADT.A28({ PID: { identifiers: "1", name: "Doe" } });
export const other: Mapping = () => message({ type: ["MDM", "T02", "MDM_T02"], segments: [["MSH", {}], ["TXA", { 2: "CN" }]] });
// @ts-expect-error a visit's event needs the visit
export const noVisit: Mapping = () => ADT.A01({ PID: { identifiers: "1", name: "Doe" } });
// @ts-expect-error there is no such field
export const noField: Mapping = () => SIU.S12({ SCH: { filler: "1" } });
// @ts-expect-error the destination gives the control id
export const noControl: Mapping = () => SIU.S12({ MSH: { controlID: "1" }, SCH: { fillerID: "1" } });
// @ts-expect-error an appointment is needed
export const noAppointment: Mapping = () => SIU.S15({});
// @ts-expect-error MSH comes first
export const noHeader: Mapping = () => message({ type: ["MDM"], segments: [["PID", {}]] });
// @ts-expect-error a time is text or a Date
export const noTime = timestamp(5);
