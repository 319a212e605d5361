// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// What the EHR answers, as far as the mapping uses it.

export interface Appointment {
  status: string;
  account: string;
  start: string;
  previousStart?: string;
  minutes: number;
  reason: string;
  type?: { name: string };
  department: string;
  room: string;
  facility?: { code: string; name: string };
  provider: { npi: string; first: string; last: string; credentials: string[] };
  instructions?: string[];
  cancelReason?: string;
  noShowReason?: string;
  codes: { code: string; system: string; text: string }[];
}

export interface Patient {
  id: number;
  externalId: string;
  gender: string;
  birthDate: string;
  deceased: boolean;
  language: string;
  maritalStatus: "Married" | "Single" | "Unknown";
  name: { first: string; middle: string | null; last: string };
  phones: { type: string; number: string }[];
  emails: { address: string }[];
  address: { lines: string[]; city: string; state: string; zip: string; county: string; country: string };
}
