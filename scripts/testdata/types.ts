// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// What the declarations must take, and, marked, what they must refuse. Read by the compiler only (check-types.sh).
import type { Change, Context, Mapping, Record } from "rounds";
import { identifiers, Scheduling } from "rounds/redox";
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
export const eventType: "New" = sent.Meta.EventType;
export const canceled = Scheduling.Cancel({ Visit: { CancelReason: "ill" }, Patient: null });
export const moved = Scheduling.Reschedule({ Visit: { OldDateTime: "2026-07-14T13:30:00Z", OldVisitNumber: null } });
export const byStatus = (event: keyof typeof Scheduling) => Scheduling[event]({ Visit: { VisitNumber: "1" } });

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
