// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// What a mapping gets and what it can import, for an editor to complete and check.

declare module "rounds" {
  /** A change that a feed listed. Data is what came along with it. */
  export interface Change<Data = any> {
    /** The record's id, always a string. */
    readonly id: string;
    /** Kind of the record, as the feed calls it. */
    readonly kind: string;
    /** Version of the record, "" if the feed has none. */
    readonly version: string;
    /** Where the feed does not tell created from updated: whether this pipeline saw the record before. */
    readonly op: "created" | "updated" | "deleted";
    /** The vendor's name for what happened, "" if the feed does not tell. */
    readonly event: string;
    /** Who made the change, "" if the feed does not tell. */
    readonly actor: string;
    /** When, by the server's clock: RFC 3339 in UTC. */
    readonly time: string | null;
    readonly data: Data;
  }

  /** A change with all that was fetched for it, by the labels of the fetch blocks. What was not there is null. */
  export interface Record<Data = any, Fetched = any> {
    readonly change: Change<Data>;
    readonly fetched: Fetched;
  }

  /** A translation table. A key that it does not have gives its default, or undefined. */
  export interface Table {
    readonly [key: string]: string | undefined;
  }

  export interface Context<Data = any, Fetched = any> {
    /** Name of the pipeline. */
    readonly pipeline: string;
    /** The source, "rest.clinic". */
    readonly source: string;
    /** Label of the deliver block. */
    readonly deliver: string;
    /** The time of this call, "2026-03-08T06:30:00.250Z"; Date.now() and new Date() are the same. */
    readonly now: string;
    /** 1 when a record is mapped for the first time. */
    readonly attempt: number;
    /** The record as last committed, if the pipeline keeps it (keep_previous); null the first time. */
    readonly previous: Record<Data, Fetched> | null;
    /**
     * Dotted paths of what differs from previous in change.data and in fetched: "change.data.start",
     * "fetched.patient.phones.0". Empty when previous is null.
     */
    readonly changed: readonly string[];
    /** The translation tables of the configuration, by name. */
    readonly tables: { readonly [name: string]: Table };
  }

  /** A script's default export: the notification, or null to filter the change out. */
  export type Mapping<Data = any, Fetched = any, Result extends object = object> = (
    record: Record<Data, Fetched>,
    context: Context<Data, Fetched>,
  ) => Result | null;
}

declare module "rounds/time" {
  type Missing = null | undefined;

  /**
   * The instant of a local time without a zone: "2026-07-14T09:30:00", also with a space, without seconds, without time.
   * A time that the clocks skip as summer time begins is read as if they had not been put forward yet (02:30 is what then
   * shows as 03:30); of a time that they show twice, it is the first.
   * @param zone a name ("America/New_York") or an offset ("-05:00")
   * @returns RFC 3339 in UTC
   */
  export function toUTC(local: string, zone: string): string;
  export function toUTC(local: string | Missing, zone: string): string | null;

  /**
   * The instant of a time written in a layout.
   * @param layout how the time Mon Jan 2 15:04:05 2006 would be written: "01/02/2006 3:04 PM". An offset is -0700, -07:00 or
   *   Z07:00.
   * @param zone needed when the layout has no offset
   * @returns RFC 3339 in UTC
   */
  export function parse(text: string, layout: string, zone?: string): string;
  export function parse(text: string | Missing, layout: string, zone?: string): string | null;

  /**
   * An instant written in a layout, in UTC or in the zone given.
   * @param instant RFC 3339 with Z or an offset, a Date, or milliseconds since 1970
   */
  export function format(instant: string | number | Date, layout: string, zone?: string): string;
  export function format(instant: string | number | Date | Missing, layout: string, zone?: string): string | null;
}

declare module "rounds/redox" {
  /** A scalar that is not required may also be null. */
  type Maybe<T> = T | null;

  /** What is common to the messages of all models; the builder sets DataModel and EventType. */
  export interface MetaParts {
    EventDateTime?: Maybe<string>;
    FacilityCode?: Maybe<string>;
    Message?: { ID: number };
    Test?: Maybe<boolean>;
    Source?: { ID?: Maybe<string>; Name?: Maybe<string> };
    Destinations?: { ID?: Maybe<string>; Name?: Maybe<string> }[];
    Transmission?: { ID: number };
    DataModel?: never;
    EventType?: never;
  }
  export interface Meta<Model extends string, Event extends string> extends Omit<MetaParts, "DataModel" | "EventType"> {
    DataModel: Model;
    EventType: Event;
  }

  export type Sex = "Female" | "Male" | "Nonbinary" | "Other" | "Unknown";
  export type Race =
    | "American Indian or Alaska Native" | "Asian" | "Black or African American"
    | "Native Hawaiian or Other Pacific Islander" | "Other Race" | "Unknown" | "White";
  export type MaritalStatus =
    | "Annulled" | "Common law" | "Divorced" | "Domestic partner" | "Interlocutory" | "Legally Separated" | "Living together"
    | "Married" | "Other" | "Registered domestic partner" | "Separated" | "Single" | "Unknown" | "Unmarried" | "Unreported"
    | "Widowed";

  export interface Identifier {
    ID?: Maybe<string>;
    IDType?: Maybe<string>;
  }
  export interface Address {
    StreetAddress?: Maybe<string>;
    City?: Maybe<string>;
    State?: Maybe<string>;
    ZIP?: Maybe<string>;
    County?: Maybe<string>;
    Country?: Maybe<string>;
  }
  export interface PhoneNumber {
    Home?: Maybe<string>;
    Office?: Maybe<string>;
    Mobile?: Maybe<string>;
  }
  export interface CodeSetDescription {
    Code?: Maybe<string>;
    Codeset?: Maybe<string>;
    Description?: Maybe<string>;
  }
  export interface CodeSetDescriptionWithValue extends CodeSetDescription {
    Value?: Maybe<string>;
  }
  export interface Demographics {
    FirstName?: Maybe<string>;
    MiddleName?: Maybe<string>;
    LastName?: Maybe<string>;
    DOB?: Maybe<string>;
    SSN?: Maybe<string>;
    Sex?: Maybe<Sex>;
    Race?: Maybe<Race>;
    IsHispanic?: Maybe<boolean>;
    MaritalStatus?: Maybe<MaritalStatus>;
    IsDeceased?: Maybe<boolean>;
    DeathDateTime?: Maybe<string>;
    PhoneNumber?: PhoneNumber;
    EmailAddresses?: string[];
    Language?: Maybe<string>;
    Citizenship?: string[];
    Address?: Address;
  }
  export interface Patient {
    Identifiers: Identifier[];
    Demographics: Demographics;
    Notes?: string[];
  }
  export interface ProviderLocation {
    Type?: Maybe<string>;
    Facility?: Maybe<string>;
    Department?: Maybe<string>;
    Room?: Maybe<string>;
  }
  export interface VisitLocation extends ProviderLocation {
    Address?: Address;
    Bed?: Maybe<string>;
  }
  export interface Provider extends Identifier {
    FirstName?: Maybe<string>;
    LastName?: Maybe<string>;
    Credentials?: string[];
    Address?: Address;
    EmailAddresses?: string[];
    PhoneNumber?: { Office?: Maybe<string> };
    Location?: ProviderLocation;
  }
  export interface Staff extends Provider {
    Duration?: Maybe<number>;
    Role?: CodeSetDescription;
  }
  export interface Equipment extends CodeSetDescription {
    Duration?: Maybe<number>;
    StartDateTime?: Maybe<string>;
  }
  export interface Diagnosis {
    Code?: Maybe<string>;
    Codeset?: Maybe<"CPT" | "HCPCS" | "ICD-9" | "ICD-10" | "Unknown">;
    Name?: Maybe<string>;
    Type?: Maybe<"Admitting" | "Final" | "Self" | "Unknown" | "Working">;
    DocumentedDateTime?: Maybe<string>;
  }
  export interface Visit {
    AccountNumber?: Maybe<string>;
    AttendingProvider?: Provider;
    ConsultingProvider?: Provider;
    /** Minutes. */
    Duration?: Maybe<number>;
    Instructions?: string[];
    Location?: VisitLocation;
    PatientClass?: Maybe<string>;
    Reason?: Maybe<string>;
    ReferringProvider?: Provider;
    VisitDateTime?: Maybe<string>;
    VisitNumber?: Maybe<string>;
  }
  export interface SchedulingVisit extends Visit {
    AdditionalStaff?: Staff[];
    Diagnoses?: Diagnosis[];
    Equipment?: Equipment[];
    Status?: Maybe<string>;
    Type?: Maybe<string>;
    VisitProvider?: Provider;
  }
  export interface RescheduleVisit extends SchedulingVisit {
    OldDateTime?: Maybe<string>;
    OldVisitNumber?: Maybe<string>;
  }
  export interface CancelVisit extends SchedulingVisit {
    CancelReason?: Maybe<string>;
  }
  export interface NoShowVisit extends SchedulingVisit {
    NoShowReason?: Maybe<string>;
  }

  /** The parts of a Scheduling message. A part that is null or undefined is left out; Visit may not be. */
  export interface SchedulingParts<V extends SchedulingVisit> {
    Meta?: MetaParts | null;
    Patient?: Patient | null;
    Visit: V;
    AppointmentInfo?: CodeSetDescriptionWithValue[] | null;
  }
  export interface SchedulingMessage<Event extends string, V extends SchedulingVisit> {
    Meta: Meta<"Scheduling", Event>;
    Patient?: Patient;
    Visit: V;
    AppointmentInfo?: CodeSetDescriptionWithValue[];
  }
  type SchedulingBuilder<Event extends string, V extends SchedulingVisit> = (
    parts: SchedulingParts<V>,
  ) => SchedulingMessage<Event, V>;

  /** A builder for each event type: Scheduling.New({ Patient, Visit }). They check what is required. */
  export const Scheduling: {
    readonly New: SchedulingBuilder<"New", SchedulingVisit>;
    readonly Reschedule: SchedulingBuilder<"Reschedule", RescheduleVisit>;
    readonly Modification: SchedulingBuilder<"Modification", SchedulingVisit>;
    readonly Cancel: SchedulingBuilder<"Cancel", CancelVisit>;
    readonly NoShow: SchedulingBuilder<"NoShow", NoShowVisit>;
  };

  /** A patient's identifiers by their types, { MR: patient.id }, as strings; those that are missing are left out. */
  export function identifiers(byType: { [type: string]: string | number | null | undefined }): Required<Identifier>[];
}
