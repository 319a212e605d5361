// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// How values are written: with the delimiters |^~\& and the escape sequences of chapter 2.

import { native } from "rounds/engine/native";
import { format, toUTC } from "rounds/time";
import { componentsOf, find, listed } from "rounds/hl7v2/fields";

export const fail = (text) => native("fail", text);

export const missing = (value) => value === null || value === undefined;

export const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);

const sequences = { "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\" };

/** Text as it stands in a field: delimiters and control characters, line breaks too, become escape sequences. */
export const escape = (text) => String(text).replace(special, (c) => sequences[c] ?? "\\X" + hex(c) + "\\");

const special = /[|^&~\\\x00-\x1f\x7f]/g;

const hex = (c) => c.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0");

// Formatted text has a sequence of its own for line breaks, which receivers show as such.
const formatted = (text) => text.split(/\r\n|\r|\n/).map(escape).join("\\.br\\");

/**
 * A time as HL7 writes it. An instant (RFC 3339, a Date) is told in the zone, which is UTC if none is given, with its offset. A time
 * without an offset is one in the zone; without a zone it stays without. A date stays a date. Fractions of seconds are left out.
 */
export function timestamp(time, zone) {
  if (missing(time) || time === "") return "";
  if (time instanceof Date) return format(time, layout, zone);
  if (typeof time === "string") {
    if (/^\d{4}(\d\d){0,5}(\.\d{1,4})?([+-]\d{4})?$/.test(time)) return time; // HL7's own form
    if (/^\d{4}-\d\d$/.test(time)) return date(time + "-01").slice(0, 6);
    if (/^\d{4}-\d\d-\d\d$/.test(time)) return date(time);
    if (/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(time)) {
      const local = time.replace(/\.\d+$/, "");
      return missing(zone) ? format(toUTC(local, "UTC"), layout.slice(0, 14)) : format(toUTC(local, zone), layout, zone);
    }
    if (/^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/.test(time)) return format(time, layout, zone);
  }
  return fail("timestamp: give a Date, or a text such as 2026-07-14T13:30:00Z, 2026-07-14T09:30:00 or 2026-07-14");
}

const layout = "20060102150405-0700";

const date = (text) => format(toUTC(text, "UTC"), layout.slice(0, 8));

// A date of birth is the day that is written, whatever the zone of the time that some EHRs write behind it.
function day(value) {
  if (typeof value === "string" && /^\d{4}-\d\d-\d\d[T ]/.test(value)) return date(value.slice(0, 10));
  return timestamp(value).slice(0, 8);
}

function scalar(at, value, type, zone) {
  if (missing(value) || value === "") return "";
  if (value === '""') return value; // HL7's null, also where a time is
  if (type === "TS") return timestamp(value, zone);
  if (type === "DT") return day(value);
  switch (typeof value) {
    case "string":
      return type === "FT" ? formatted(value) : escape(value);
    case "boolean":
      return value ? "Y" : "N";
    case "number":
      if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)) || String(value).includes("e")) {
        fail(at + " is a number that can't be written without loss");
      }
      return String(value);
  }
  if (value instanceof Date) return timestamp(value, zone);
  return fail(at + " is neither text, number, boolean nor time");
}

/** A field: a value, an object of components, or a list of these, which are repetitions. Repetitions that are empty are left out. */
export function field(at, value, type, zone) {
  if (!Array.isArray(value)) return isObject(value) ? components(at, value, type, zone, "^") : scalar(at, value, type, zone);
  return value.map((one) => components(at, one, type, zone, "^")).filter((text) => text !== "").join("~");
}

// An object becomes components, an object in it subcomponents.
function components(at, value, type, zone, delimiter) {
  if (!isObject(value)) return scalar(at, value, type, zone);
  if (delimiter === "") fail(at + " is nested too deep: a field has components, and these have subcomponents");
  return numbered(at, value, componentsOf(type), 1, (where, part, of) =>
    components(where, part, of, zone, delimiter === "^" ? "&" : ""),
  ).join(delimiter);
}

/** The members of an object, which are names or numbers, as a list from the number first to the last that is there. */
export function numbered(at, given, names, first, encode) {
  const list = [];
  const keys = Object.keys(given);
  for (let i = 0; i < keys.length; i++) { // for … of would make an object for each, and for … in all functions that objects inherit
    const key = keys[i];
    const { number, type } = find(names, key);
    const where = number ? at + "." + key : at;
    if (number < first) fail(where + ": a member is not a number" + (names && ", nor one of the names " + listed(names)));
    if (list[number - first] !== undefined) fail(where + " is given twice, by its name and by its number");
    list[number - first] = encode(where, given[key], type);
  }
  while (list.length > 0 && !list.at(-1)) list.pop();
  return list;
}
