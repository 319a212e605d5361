// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { fieldsOf, find } from "rounds/hl7v2/fields";
import { fail, field, isObject, missing, numbered } from "rounds/hl7v2/value";

/**
 * A message of any type: { type: ["MDM", "T02", "MDM_T02"], zone, segments: [["MSH", {…}], ["EVN", {…}], …] }. It is
 * { hl7: […] }, a text for each segment; MSH-10 is empty, as the destination gives it.
 */
export function message(given) {
  if (!isObject(given) || !Array.isArray(given.type) || !Array.isArray(given.segments)) {
    fail("message: give an object with type and segments");
  }
  if (!Object.keys(given).every((name) => ["type", "zone", "segments"].includes(name))) {
    fail("message: unknown member; there are type, zone, segments");
  }
  const text = (one) => typeof one === "string" && one !== "";
  if (!given.type.every(text) || given.type.length < 1 || given.type.length > 3) {
    fail('message: type is a list such as ["MDM", "T02", "MDM_T02"]');
  }
  if (given.segments.length === 0) fail("message: segments is empty");
  given.segments.forEach((one, i) => {
    if (!Array.isArray(one) || one.length !== 2) fail("message: segments[" + i + '] is not a pair, such as ["PID", { … }]');
    if ((one[0] === "MSH") !== (i === 0)) fail("message: segments begins with MSH, which stands nowhere else");
  });
  return assemble("message", given.type, given.zone, given.segments);
}

/** Puts a message together; segments are pairs of a name and its fields, of which the first is MSH. */
export function assemble(where, type, zone, segments) {
  const [[, head], ...others] = segments;
  return { hl7: [header(where, type, zone, head ?? {}), ...others.map(([name, fields]) => segment(where, name, fields, zone))] };
}

function header(where, type, zone, given) {
  if (!isObject(given)) fail(where + ": MSH is not an object");
  for (const name of ["type", "9", "controlID", "10"]) {
    if (name in given) fail(where + ": MSH-9 is set by the builder, and MSH-10 by the destination");
  }
  const defaults = { time: new Date(), processingID: "P", version: "2.5.1", charset: "UNICODE UTF-8" };
  for (const [number, name] of [[7, "time"], [11, "processingID"], [12, "version"], [18, "charset"]]) {
    if (number in given) delete defaults[name];
  }
  const parts = Object.fromEntries(type.map((part, i) => [i + 1, part]));
  const list = numbered(where + ": MSH", { ...defaults, ...given, type: parts }, fieldsOf("MSH"), 3, (at, value, kind) =>
    field(at, value, kind, zone),
  );
  return "MSH|^~\\&|" + list.join("|");
}

function segment(where, name, fields, zone) {
  if (typeof name !== "string" || !/^[A-Z][A-Z0-9]{2}$/.test(name)) {
    fail(where + ": the name of a segment is three capital letters or digits");
  }
  if (!isObject(fields)) fail(where + ": a segment has to be an object of fields");
  const list = numbered(where + ": " + name, fields, fieldsOf(name), 1, (at, value, type) => field(at, value, type, zone));
  return list.length > 0 ? name + "|" + list.join("|") : name;
}

/**
 * The segments of a message of which parts are given by the names of their segments, in the order of names. Names that end with * may
 * be lists. Whatever begins with Z comes last.
 */
export function segmentsOf(where, parts, names, defaults = {}) {
  if (!isObject(parts)) fail(where + ": give the segments of the message as an object");
  const known = names.map((name) => name.slice(0, 3));
  const given = Object.keys(parts);
  const own = given.filter((name) => /^Z[A-Z0-9]{2}$/.test(name));
  if (!given.every((name) => name === "zone" || known.includes(name) || own.includes(name))) {
    fail(where + ": unknown member; there are zone, " + known.join(", ") + ", and segments that begin with Z");
  }
  const list = [];
  for (const entry of [...names, ...own.map((name) => name + "*")]) {
    const name = entry.slice(0, 3);
    const given = missing(parts[name]) ? defaults[name] : parts[name];
    if (missing(given)) continue;
    if (Array.isArray(given) && entry.length === 3) fail(where + ": " + name + " stands once, and is not a list");
    const counted = fieldsOf(name).startsWith(" setID:");
    (Array.isArray(given) ? given : [given]).forEach((fields, i) => {
      if (name === "NTE" && typeof fields === "string") fields = { comment: fields };
      if (!isObject(fields)) fail(where + ": " + name + " is not an object");
      list.push([name, counted && !("1" in fields) ? { setID: i + 1, ...fields } : fields]);
    });
  }
  return list;
}

/** Wants fields of a part that is there. */
export function wants(where, parts, name, ...fields) {
  if (!isObject(parts?.[name])) fail(where + ": " + name + " is missing");
  const given = (value) => !missing(value) && value !== "" && !(Array.isArray(value) && value.length === 0);
  const there = (field) => given(parts[name][field]) || given(parts[name][find(fieldsOf(name), field).number]);
  if (!fields.some(there)) fail(where + ": " + name + "." + fields.join(" or " + name + ".") + " is missing");
}
