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
    /** What the feed listed, in a pipeline with an expand block. */
    readonly parent?: Change;
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
    /** 1 at first; 2 and more when the record could not be fetched before, or its mapping took too long. */
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

  export interface CodeSetName {
    Code?: Maybe<string>;
    Codeset?: Maybe<string>;
    Name?: Maybe<string>;
  }
  export interface ClinicalInfo extends CodeSetDescriptionWithValue {
    Abbreviation?: Maybe<string>;
    Notes?: string[];
    Units?: Maybe<string>;
  }
  export interface Allergy extends CodeSetName {
    Type?: CodeSetName;
    OnsetDateTime?: Maybe<string>;
    Reaction?: CodeSetName[];
    Severity?: CodeSetName;
    Status?: Maybe<string>;
  }
  export interface Contact {
    FirstName?: Maybe<string>;
    MiddleName?: Maybe<string>;
    LastName?: Maybe<string>;
    Address?: Address;
    PhoneNumber?: PhoneNumber;
    RelationToPatient?: Maybe<
      | "Child" | "Employer" | "Father" | "Grandchild" | "Grandparent" | "Life Partner" | "Mother" | "Other" | "Parent"
      | "Self" | "Sibling" | "Spouse" | "Unknown"
    >;
    EmailAddresses?: string[];
    Roles?: string[];
  }
  export type Relationship =
    | "Child" | "Employer" | "Father" | "Grandchild" | "Grandparent" | "Life Partner" | "Mother" | "Other" | "Parent"
    | "Self" | "Sibling" | "Spouse" | "Unknown";
  export interface ProviderWithNPI extends Provider {
    NPI?: Maybe<string>;
  }
  export interface DischargeStatus {
    Code?: Maybe<
      | "0" | "01" | "02" | "03" | "04" | "05" | "06" | "07" | "09" | "20" | "21" | "30" | "40" | "41" | "42" | "43" | "50"
      | "51" | "61" | "62" | "63" | "64" | "65" | "66" | "69" | "70" | "81" | "82" | "83" | "84" | "85" | "86" | "87" | "88"
      | "89" | "90" | "91" | "92" | "93" | "94" | "95"
    >;
    Codeset?: Maybe<string>;
    Description?: Maybe<string>;
  }
  export interface Employer {
    Name?: Maybe<string>;
    Address?: Address;
    PhoneNumber?: Maybe<string>;
  }
  export interface Facility {
    Name?: Maybe<string>;
    Address?: Address;
    PhoneNumber?: Maybe<string>;
  }
  export interface Guarantor {
    Address?: Address;
    DOB?: Maybe<string>;
    EmailAddresses?: string[];
    Employer?: Employer;
    FirstName?: Maybe<string>;
    LastName?: Maybe<string>;
    MiddleName?: Maybe<string>;
    Number?: Maybe<string>;
    PhoneNumber?: { Business?: Maybe<string>; Home?: Maybe<string>; Mobile?: Maybe<string> };
    RelationToPatient?: Maybe<Relationship>;
    Sex?: Maybe<Sex>;
    Spouse?: { FirstName?: Maybe<string>; LastName?: Maybe<string> };
    SSN?: Maybe<string>;
    Type?: Maybe<string>;
  }
  export interface Insurance {
    AgreementType?: Maybe<"Maternity" | "Standard" | "Unified">;
    Company?: InsuranceCompany;
    CoverageType?: Maybe<"Clinic" | "Insurance" | "Other" | "Patient">;
    EffectiveDate?: Maybe<string>;
    ExpirationDate?: Maybe<string>;
    GroupName?: Maybe<string>;
    GroupNumber?: Maybe<string>;
    Insured?: InsuranceInsured;
    MemberNumber?: Maybe<string>;
    Plan?: InsurancePlan;
    PolicyNumber?: Maybe<string>;
    Priority?: Maybe<string>;
  }
  export interface InsuranceCompany extends Identifier {
    Name?: Maybe<string>;
    PhoneNumber?: Maybe<string>;
    Address?: Address;
  }
  export interface InsuranceInsured {
    Address?: Address;
    DOB?: Maybe<string>;
    FirstName?: Maybe<string>;
    Identifiers?: Identifier[];
    LastName?: Maybe<string>;
    MiddleName?: Maybe<string>;
    Relationship?: Maybe<Relationship>;
    Sex?: Maybe<Sex>;
    SSN?: Maybe<string>;
  }
  export interface InsurancePlan extends Identifier {
    Name?: Maybe<string>;
    Type?: Maybe<string>;
  }
  export interface Specimen {
    BodySite?: Maybe<string>;
    ID?: Maybe<string>;
    Source?: Maybe<string>;
  }
  export interface Producer {
    ID?: Maybe<string>;
    IDType?: Maybe<string>;
    Name?: Maybe<string>;
    Address?: Address;
  }
  export interface Range {
    High?: Maybe<number>;
    Low?: Maybe<number>;
    Text?: Maybe<string>;
  }
  export interface Result {
    AbnormalFlag?: Maybe<
      | "Abnormal" | "Critically Abnormal" | "Critically High" | "Critically Low" | "High" | "Inconclusive" | "Intermediate"
      | "Low" | "Moderately Susceptible" | "Normal" | "Not Susceptible" | "Resistant" | "Susceptible" | "Very Abnormal"
      | "Very High" | "Very Low" | "Very Susceptible"
    >;
    Code: string;
    Codeset?: Maybe<string>;
    CompletionDateTime?: Maybe<string>;
    Description?: Maybe<string>;
    FileType?: Maybe<string>;
    Notes?: string[];
    ObservationMethod?: CodeSetDescription;
    Performer?: Provider;
    PrimaryResultsInterpreter?: ProviderWithNPI;
    Producer?: Producer;
    ReferenceRange?: Range;
    RelatedGroupID?: Maybe<string>;
    Specimen?: Specimen;
    Status: "Canceled" | "Corrected" | "Deleted" | "Final" | "Incomplete" | "None Specified" | "Preliminary" | "Unavailable";
    Units?: Maybe<string>;
    Value: string;
    ValueType:
      | "Address" | "Coded Entry" | "Date" | "DateTime" | "Encapsulated Data" | "Formatted Text" | "ID And Name" | "ID"
      | "Money" | "Name" | "Numeric" | "Phone Number" | "Price" | "Reference Pointer" | "String" | "Structured Numeric"
      | "Time";
  }
  export interface OrderBase {
    ApplicationOrderID?: Maybe<string>;
    CollectionDateTime?: Maybe<string>;
    ID: string;
    Notes?: string[];
    OrderingFacility?: Facility;
    Priority?: Maybe<"ASAP" | "Preoperative" | "Routine" | "Stat" | "Timing Critical">;
    Procedure?: CodeSetDescription;
    Provider?: ProviderWithNPI;
    ResultCopyProviders?: Provider[];
    Specimen?: Specimen;
    TransactionDateTime?: Maybe<string>;
  }
  export interface Component {
    Comments?: Maybe<string>;
    ID?: Maybe<string>;
    Name?: Maybe<string>;
    Value?: Maybe<string>;
  }
  export interface Note {
    Authenticator?: Provider;
    Availability?: Maybe<"Available" | "Cancelled" | "Deleted" | "Obsolete" | "Unavailable">;
    Components?: Component[];
    ContentType: "Base64 Encoded" | "Plain Text" | "Rich Text";
    DocumentationDateTime?: Maybe<string>;
    DocumentID: string;
    DocumentType: string;
    FileName?: Maybe<string>;
    Notifications?: Provider[];
    Provider: Provider;
    ServiceDateTime?: Maybe<string>;
    Status?: Maybe<"Authenticated" | "In progress">;
  }

  // The parts of a message as they are given: one that is not required may be null, and is left out.
  type Given<Parts> = { [Name in keyof Parts]: {} extends Pick<Parts, Name> ? Parts[Name] | null : Parts[Name] };

  /** Makes a message of one event type of its parts. It checks what is required. */
  export type Builder<Model extends string, Event extends string, Parts, M = MetaParts> = (
    parts: { Meta?: M | null } & Given<Parts>,
  ) => { Meta: Meta<Model, Event> & Omit<M, "DataModel" | "EventType"> } & Parts;

  interface SchedulingParts<V> {
    Patient?: Patient;
    Visit: V;
    AppointmentInfo?: CodeSetDescriptionWithValue[];
  }
  /** A builder for each event type: Scheduling.New({ Patient, Visit }). */
  export const Scheduling: {
    readonly New: Builder<"Scheduling", "New", SchedulingParts<SchedulingVisit>>;
    readonly Reschedule: Builder<"Scheduling", "Reschedule", SchedulingParts<RescheduleVisit>>;
    readonly Modification: Builder<"Scheduling", "Modification", SchedulingParts<SchedulingVisit>>;
    readonly Cancel: Builder<"Scheduling", "Cancel", SchedulingParts<CancelVisit>>;
    readonly NoShow: Builder<"Scheduling", "NoShow", SchedulingParts<NoShowVisit>>;
  };

  /** Where the start and the status of an appointment are, and what its status says. */
  export interface EventTypeOptions<Data = any, Fetched = any> {
    /** The start, in the form to send; change.data.start if not given. */
    start?: (record: import("rounds").Record<Data, Fetched>) => string | Maybe<undefined>;
    /** The status; change.data.status if not given. */
    status?: (record: import("rounds").Record<Data, Fetched>) => unknown;
    /** Statuses of what will not take place; "cancelled" and "canceled" if not given. Case and punctuation do not count. */
    cancelled?: readonly string[];
    /** Statuses of what the patient did not come to; "noshow" if not given. */
    noShow?: readonly string[];
    /**
     * Whether an appointment that is seen for the first time was made just now. If not given, change.op must be "created", which is
     * also so for one that was there before the pipeline's start.
     */
    isNew?: (record: import("rounds").Record<Data, Fetched>) => boolean;
  }

  /**
   * The event type that a change of an appointment amounts to. previous is context.previous; when it is null all can be told but
   * Reschedule.
   */
  export function eventType<Data, Fetched>(
    previous: import("rounds").Record<Data, Fetched> | null,
    current: import("rounds").Record<Data, Fetched>,
    options?: EventTypeOptions<Data, Fetched>,
  ): keyof typeof Scheduling;

  /** The start before, for OldDateTime of a Reschedule; undefined for any other event type. */
  export function oldDateTime<Data, Fetched>(
    previous: import("rounds").Record<Data, Fetched> | null,
    current: import("rounds").Record<Data, Fetched>,
    options?: EventTypeOptions<Data, Fetched>,
  ): string | undefined;

  export interface DischargeVisit extends PatientAdminVisit {
    DischargeDateTime?: Maybe<string>;
    DischargeLocation?: ProviderLocation;
    DischargeStatus?: DischargeStatus;
  }
  export interface PatientAdminPatient extends Patient {
    Allergies?: Allergy[];
    Contacts?: Contact[];
    Diagnoses?: Diagnosis[];
    PCP?: ProviderWithNPI;
  }
  export interface PatientAdminVisit extends Visit {
    AdmittingProvider?: Provider;
    Balance?: Maybe<number>;
    DiagnosisRelatedGroup?: Maybe<number>;
    DiagnosisRelatedGroupType?: Maybe<number>;
    Guarantor?: Guarantor;
    Insurances?: Insurance[];
  }
  export interface PatientMergePatient extends PatientAdminPatient {
    PreviousIdentifiers: Identifier[];
  }
  export interface TransferVisit extends PatientAdminVisit {
    PreviousLocation?: VisitLocation;
    DischargeDateTime?: Maybe<string>;
    DischargeStatus?: DischargeStatus;
  }
  export interface VisitMergePatient extends Patient {
    PreviousIdentifiers?: Identifier[];
  }
  export interface VisitMergeVisit {
    VisitNumber: string;
  }
  export interface VisitUpdateVisit extends PatientAdminVisit {
    DischargeDateTime?: Maybe<string>;
  }

  interface AdminParts<V = PatientAdminVisit> {
    Patient: PatientAdminPatient;
    Visit?: V;
  }
  /** A builder for each event type: PatientAdmin.Arrival({ Patient, Visit }). */
  export const PatientAdmin: {
    readonly Arrival: Builder<"PatientAdmin", "Arrival", AdminParts>;
    readonly Cancel: Builder<"PatientAdmin", "Cancel", AdminParts, MetaParts & { CanceledEvent?: Maybe<string> }>;
    readonly Discharge: Builder<"PatientAdmin", "Discharge", AdminParts<DischargeVisit>>;
    readonly NewPatient: Builder<"PatientAdmin", "NewPatient", { Patient: PatientAdminPatient }>;
    readonly PatientMerge: Builder<"PatientAdmin", "PatientMerge", { Patient: PatientMergePatient }>;
    readonly PatientUpdate: Builder<"PatientAdmin", "PatientUpdate", { Patient: PatientAdminPatient }>;
    readonly PreAdmit: Builder<"PatientAdmin", "PreAdmit", AdminParts>;
    readonly Registration: Builder<"PatientAdmin", "Registration", AdminParts>;
    readonly Transfer: Builder<"PatientAdmin", "Transfer", AdminParts<TransferVisit>>;
    readonly VisitMerge: Builder<"PatientAdmin", "VisitMerge", { Patient: VisitMergePatient; Visit: VisitMergeVisit }>;
    readonly VisitUpdate: Builder<"PatientAdmin", "VisitUpdate", AdminParts<VisitUpdateVisit>>;
  };

  export interface OrderOrder extends OrderBase {
    ClinicalInfo?: ClinicalInfo[];
    Comments?: Maybe<string>;
    Diagnoses?: Diagnosis[];
    Expiration?: Maybe<string>;
    Status?: Maybe<"Cancel" | "New" | "Update">;
  }
  export interface OrderVisit extends Pick<Visit,
    | "AccountNumber" | "AttendingProvider" | "ConsultingProvider" | "Location" | "PatientClass" | "ReferringProvider"
    | "VisitDateTime" | "VisitNumber"
  > {
    Guarantor?: Guarantor;
    Insurances?: Insurance[];
  }

  interface OrderParts {
    Patient: Patient;
    Visit?: OrderVisit;
    Order: OrderOrder;
  }
  /** A builder for each event type: Order.New({ Patient, Order }). */
  export const Order: {
    readonly New: Builder<"Order", "New", OrderParts>;
    readonly Update: Builder<"Order", "Update", OrderParts>;
    readonly Cancel: Builder<"Order", "Cancel", OrderParts>;
    readonly GroupedOrders: Builder<"Order", "GroupedOrders", { Patient: Patient; Visit?: OrderVisit; Orders: OrderOrder[] }>;
  };

  export interface ResultsOrder extends OrderBase {
    CompletionDateTime?: Maybe<string>;
    ResponseFlag?: Maybe<"Acknowledgement" | "Associated Segments" | "Confirmations" | "Exceptions" | "Replacements">;
    Results: Result[];
    ResultsStatus?: Maybe<"Canceled" | "Corrected" | "Final" | "In Process" | "Preliminary" | "Unavailable">;
    Status: "Cancel" | "New" | "Resulted" | "Update";
  }
  export type ResultsVisit = Pick<Visit,
    | "AccountNumber" | "AttendingProvider" | "Location" | "PatientClass" | "ReferringProvider" | "VisitDateTime"
    | "VisitNumber"
  >;

  /** A builder for the one event type: Results.New({ Patient, Orders }). */
  export const Results: {
    readonly New: Builder<"Results", "New", { Patient: Patient; Visit?: ResultsVisit; Orders: ResultsOrder[] }>;
  };

  export interface NewNote extends Note {
    FileContents?: Maybe<string>;
  }
  export interface NotesOrder {
    ID?: Maybe<string>;
    Name?: Maybe<string>;
  }
  export type NotesVisit = Pick<Visit, "AccountNumber" | "Location" | "VisitDateTime" | "VisitNumber">;
  export interface ReplaceNote extends Note {
    FileContents?: Maybe<string>;
    OriginalDocumentID?: Maybe<string>;
  }

  interface NotesParts<N> {
    Patient: Patient;
    Visit?: NotesVisit;
    Orders?: NotesOrder[];
    Note: N;
  }
  /** A builder for each event type: Notes.New({ Patient, Note }). */
  export const Notes: {
    readonly New: Builder<"Notes", "New", NotesParts<NewNote>>;
    readonly Replace: Builder<"Notes", "Replace", NotesParts<ReplaceNote>>;
    readonly Delete: Builder<"Notes", "Delete", NotesParts<Note>>;
  };

  /**
   * A patient's identifiers by their types, { MR: patient.id }, as strings; those that are missing are left out. A number must be a
   * safe integer, as others are no identifiers, or have lost digits.
   */
  export function identifiers(byType: { [type: string]: string | number | null | undefined }): Required<Identifier>[];
}

declare module "rounds/hl7v2" {
  /** What is written as text: true and false as Y and N. The text "" in quotation marks, two of them, is HL7's null, which deletes. */
  type Text = string | number | boolean | null | undefined;
  /** An instant (RFC 3339, a Date), a local time, a date, or HL7's own form; see timestamp. */
  type Time = string | Date | null | undefined;
  interface Subcomponents {
    [number: number]: Text | Date;
  }
  interface Components {
    [number: number]: Text | Date | Subcomponents;
  }
  /** A field: a value, its components by name or number, or a list of these, which are repetitions. */
  type Field<T = Components> = Text | Date | T | readonly (Text | Date | T)[];
  interface Fields {
    [number: number]: Field;
  }

  /** A code of a coding system. */
  export interface CE extends Components {
    code?: Text;
    text?: Text;
    system?: Text;
    alternateCode?: Text;
    alternateText?: Text;
    alternateSystem?: Text;
  }
  /** An identifier and who gave it. */
  export interface CX extends Components {
    id?: Text;
    checkDigit?: Text;
    checkDigitScheme?: Text;
    authority?: Text | HD;
    type?: Text;
    facility?: Text | HD;
    effective?: Time;
    expires?: Time;
  }
  /** An identifier of an appointment or order. */
  export interface EI extends Components {
    id?: Text;
    namespace?: Text;
    universalID?: Text;
    universalIDType?: Text;
  }
  /** An authority: a namespace, or an identifier that is unique everywhere. */
  export interface HD extends Subcomponents {
    namespace?: Text;
    universalID?: Text;
    universalIDType?: Text;
  }
  /** A place. */
  export interface PL extends Components {
    pointOfCare?: Text;
    room?: Text;
    bed?: Text;
    facility?: Text | HD;
    status?: Text;
    type?: Text;
    building?: Text;
    floor?: Text;
    description?: Text;
  }
  /** When, and how long. */
  export interface TQ extends Components {
    quantity?: Text;
    interval?: Text;
    duration?: Text;
    start?: Time;
    end?: Time;
    priority?: Text;
  }
  /** An address. */
  export interface XAD extends Components {
    street?: Text;
    other?: Text;
    city?: Text;
    state?: Text;
    zip?: Text;
    country?: Text;
    type?: Text;
    otherGeographic?: Text;
    county?: Text;
  }
  /** A person with an identifier, such as a doctor. */
  export interface XCN extends Components {
    id?: Text;
    family?: Text;
    given?: Text;
    middle?: Text;
    suffix?: Text;
    prefix?: Text;
    degree?: Text;
    source?: Text;
    authority?: Text | HD;
    nameType?: Text;
    idType?: Text;
    facility?: Text | HD;
  }
  /** An organisation. */
  export interface XON extends Components {
    name?: Text;
    typeCode?: Text;
    id?: Text;
    authority?: Text | HD;
    idType?: Text;
  }
  /** A person's name. */
  export interface XPN extends Components {
    family?: Text;
    given?: Text;
    middle?: Text;
    suffix?: Text;
    prefix?: Text;
    degree?: Text;
    type?: Text;
  }
  /** A telephone number or e-mail address. */
  export interface XTN extends Components {
    number?: Text;
    use?: Text;
    equipment?: Text;
    email?: Text;
    countryCode?: Text;
    areaCode?: Text;
    localNumber?: Text;
    extension?: Text;
    text?: Text;
  }
  /** Message header. MSH-9 is set by the builder, MSH-10 by the destination. */
  export interface MSH extends Fields {
    sendingApplication?: Field<HD>;
    sendingFacility?: Field<HD>;
    receivingApplication?: Field<HD>;
    receivingFacility?: Field<HD>;
    time?: Time;
    security?: Field;
    processingID?: Field;
    version?: Field;
    sequenceNumber?: Field;
    acceptAck?: Field;
    applicationAck?: Field;
    country?: Field;
    charset?: Field;
    language?: Field<CE>;
    profile?: Field<EI>;
  }
  /** Event type. */
  export interface EVN extends Fields {
    event?: Field;
    recorded?: Time;
    planned?: Time;
    reason?: Field;
    operator?: Field<XCN>;
    occurred?: Time;
    facility?: Field<HD>;
  }
  /** Patient identification. */
  export interface PID extends Fields {
    setID?: Field;
    patientID?: Field<CX>;
    identifiers?: Field<CX>;
    alternateIDs?: Field<CX>;
    name?: Field<XPN>;
    motherMaidenName?: Field<XPN>;
    birthDate?: Time;
    sex?: Field;
    alias?: Field<XPN>;
    race?: Field<CE>;
    address?: Field<XAD>;
    county?: Field;
    homePhone?: Field<XTN>;
    businessPhone?: Field<XTN>;
    language?: Field<CE>;
    maritalStatus?: Field<CE>;
    religion?: Field<CE>;
    account?: Field<CX>;
    ssn?: Field;
    ethnicGroup?: Field<CE>;
    birthPlace?: Field;
    multipleBirth?: Field;
    birthOrder?: Field;
    citizenship?: Field<CE>;
    nationality?: Field<CE>;
    died?: Time;
    deceased?: Field;
  }
  /** Additional demographics. */
  export interface PD1 extends Fields {
    primaryFacility?: Field<XON>;
    primaryCareProvider?: Field<XCN>;
  }
  /** Next of kin. */
  export interface NK1 extends Fields {
    setID?: Field;
    name?: Field<XPN>;
    relationship?: Field<CE>;
    address?: Field<XAD>;
    phone?: Field<XTN>;
    businessPhone?: Field<XTN>;
    role?: Field<CE>;
  }
  /** Patient visit. */
  export interface PV1 extends Fields {
    setID?: Field;
    patientClass?: Field;
    location?: Field<PL>;
    admissionType?: Field;
    preadmitNumber?: Field<CX>;
    priorLocation?: Field<PL>;
    attendingDoctor?: Field<XCN>;
    referringDoctor?: Field<XCN>;
    consultingDoctor?: Field<XCN>;
    hospitalService?: Field;
    admitSource?: Field;
    admittingDoctor?: Field<XCN>;
    patientType?: Field;
    visitNumber?: Field<CX>;
    dischargeDisposition?: Field;
    dischargedTo?: Field;
    admitted?: Time;
    discharged?: Time;
    alternateVisitID?: Field<CX>;
  }
  /** Whom the patient was merged from. */
  export interface MRG extends Fields {
    identifiers?: Field<CX>;
    alternateIDs?: Field<CX>;
    account?: Field<CX>;
    patientID?: Field<CX>;
    visitNumber?: Field<CX>;
    alternateVisitID?: Field<CX>;
    name?: Field<XPN>;
  }
  /** Scheduling activity. */
  export interface SCH extends Fields {
    placerID?: Field<EI>;
    fillerID?: Field<EI>;
    occurrence?: Field;
    placerGroup?: Field<EI>;
    scheduleID?: Field<CE>;
    eventReason?: Field<CE>;
    reason?: Field<CE>;
    type?: Field<CE>;
    duration?: Field;
    durationUnits?: Field<CE>;
    timing?: Field<TQ>;
    placerContact?: Field<XCN>;
    placerPhone?: Field<XTN>;
    placerAddress?: Field<XAD>;
    placerLocation?: Field<PL>;
    fillerContact?: Field<XCN>;
    fillerPhone?: Field<XTN>;
    fillerAddress?: Field<XAD>;
    fillerLocation?: Field<PL>;
    enteredBy?: Field<XCN>;
    enteredByPhone?: Field<XTN>;
    enteredByLocation?: Field<PL>;
    parentPlacerID?: Field<EI>;
    parentFillerID?: Field<EI>;
    status?: Field<CE>;
    placerOrder?: Field<EI>;
    fillerOrder?: Field<EI>;
  }
  /** Resource group. */
  export interface RGS extends Fields {
    setID?: Field;
    action?: Field;
    groupID?: Field<CE>;
  }
  /** Service of an appointment. */
  export interface AIS extends Fields {
    setID?: Field;
    action?: Field;
    service?: Field<CE>;
    start?: Time;
    startOffset?: Field;
    startOffsetUnits?: Field<CE>;
    duration?: Field;
    durationUnits?: Field<CE>;
    substitution?: Field;
    status?: Field<CE>;
  }
  /** General resource. */
  export interface AIG extends Fields {
    setID?: Field;
    action?: Field;
    resource?: Field<CE>;
    type?: Field<CE>;
    group?: Field<CE>;
    quantity?: Field;
    quantityUnits?: Field<CE>;
    start?: Time;
    startOffset?: Field;
    startOffsetUnits?: Field<CE>;
    duration?: Field;
    durationUnits?: Field<CE>;
    substitution?: Field;
    status?: Field<CE>;
  }
  /** Place of an appointment. */
  export interface AIL extends Fields {
    setID?: Field;
    action?: Field;
    location?: Field<PL>;
    type?: Field<CE>;
    group?: Field<CE>;
    start?: Time;
    startOffset?: Field;
    startOffsetUnits?: Field<CE>;
    duration?: Field;
    durationUnits?: Field<CE>;
    substitution?: Field;
    status?: Field<CE>;
  }
  /** Person of an appointment. */
  export interface AIP extends Fields {
    setID?: Field;
    action?: Field;
    person?: Field<XCN>;
    role?: Field<CE>;
    group?: Field<CE>;
    start?: Time;
    startOffset?: Field;
    startOffsetUnits?: Field<CE>;
    duration?: Field;
    durationUnits?: Field<CE>;
    substitution?: Field;
    status?: Field<CE>;
  }
  /** Note. */
  export interface NTE extends Fields {
    setID?: Field;
    source?: Field;
    comment?: Field;
    type?: Field<CE>;
  }
  /** Allergy. */
  export interface AL1 extends Fields {
    setID?: Field;
    type?: Field<CE>;
    allergen?: Field<CE>;
    severity?: Field<CE>;
    reaction?: Field;
    identified?: Time;
  }
  /** Diagnosis. */
  export interface DG1 extends Fields {
    setID?: Field;
    codingMethod?: Field;
    diagnosis?: Field<CE>;
    description?: Field;
    time?: Time;
    type?: Field;
  }
  /** Observation. */
  export interface OBX extends Fields {
    setID?: Field;
    valueType?: Field;
    observation?: Field<CE>;
    subID?: Field;
    value?: Field;
    units?: Field<CE>;
    range?: Field;
    flags?: Field;
    status?: Field;
    time?: Time;
  }
  /** Guarantor. */
  export interface GT1 extends Fields {
    setID?: Field;
  }
  /** Insurance. */
  export interface IN1 extends Fields {
    setID?: Field;
  }

  /** What a destination of type mllp sends: a text for each segment. */
  export interface Message {
    hl7: string[];
  }
  type Several<T> = T | readonly T[] | null;
  interface Parts {
    /** Name of the time zone in which times are told, and in which those without an offset are. Without it: UTC. */
    zone?: string;
    MSH?: MSH | null;
    PD1?: PD1 | null;
    PV2?: Fields | null;
    OBX?: Several<OBX>;
    DG1?: Several<DG1>;
    [segment: `Z${string}`]: Several<Fields> | undefined;
  }
  interface Appointment extends Parts {
    SCH: SCH;
    NTE?: Several<NTE | string>;
    PID?: PID | null;
    PV1?: PV1 | null;
    RGS?: RGS | null;
    AIS?: Several<AIS>;
    AIG?: Several<AIG>;
    AIL?: Several<AIL>;
    AIP?: Several<AIP>;
  }
  interface Person extends Parts {
    EVN?: EVN | null;
    PID: PID;
    NK1?: Several<NK1>;
    PV1?: PV1 | null;
    AL1?: Several<AL1>;
    GT1?: Several<GT1>;
    IN1?: Several<IN1>;
  }
  interface Visit extends Person {
    PV1: PV1;
  }
  interface Merge extends Pick<Person, "zone" | "MSH" | "EVN" | "PID" | "PD1" | "PV1"> {
    MRG: MRG;
    [segment: `Z${string}`]: Several<Fields> | undefined;
  }

  /** An appointment was booked (S12), rescheduled (S13), modified (S14), cancelled (S15), deleted (S17), or nobody came (S26). */
  export const SIU: { readonly [event in "S12" | "S13" | "S14" | "S15" | "S17" | "S26"]: (parts: Appointment) => Message };

  /**
   * Patient administration: admission (A01), transfer (A02), discharge (A03), registration (A04), pre-admission (A05), update (A08),
   * cancelled admission (A11), transfer (A12), discharge (A13) and pre-admission (A38), a person added (A28) and updated (A31), patients
   * merged (A40).
   */
  export const ADT: {
    readonly [event in "A01" | "A02" | "A03" | "A04" | "A05" | "A08" | "A11" | "A12" | "A13" | "A38"]: (parts: Visit) => Message;
  } & { readonly [event in "A28" | "A31"]: (parts: Person) => Message } & { readonly A40: (parts: Merge) => Message };

  /** A message of any type, its segments in the order in which they are sent. */
  export function message(parts: {
    type: readonly [code: string, event?: string, structure?: string];
    zone?: string;
    segments: readonly [readonly ["MSH", MSH], ...(readonly [name: string, fields: Fields])[]];
  }): Message;

  /**
   * A time as HL7 writes it: 20260714093000-0400. An instant is told in the zone, which is UTC if none is given. A time without an offset
   * is one in the zone, and stays without an offset if none is given; a date stays a date.
   */
  export function timestamp(time: Time, zone?: string): string;

  /** Text as it stands in a field, its delimiters and control characters as escape sequences. Fields are escaped by the builders. */
  export function escape(text: string): string;
}
