// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// What the models have in common. Which fields a model has is typed in rounds.d.ts and described in schemas/redox; what is
// checked here is what every receiver relies on: the parts and members that a message must have.
//
// All of it is evaluated anew for each record, so what a call does not need is made by no call.

import { native } from "rounds/engine/native";

export const fail = (text) => native("fail", text);

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

export const missing = (value) => value === null || value === undefined;

/**
 * Makes a message of its parts. names are the parts that it may have beside Meta, in the order in which they are written;
 * check looks at them and begins what it says with where.
 */
export function build(model, eventType, given, names, check) {
  const where = `${model}.${eventType}: `;
  if (!isObject(given)) fail(where + "give the parts of the message as an object");
  const parts = Object.keys(given); // for … in makes all functions that objects inherit, and for … of an object for each step
  for (let i = 0; i < parts.length; i++) {
    // A name written wrong would be left out without a word.
    if (parts[i] !== "Meta" && !names.includes(parts[i])) fail(where + "unknown part; there are Meta, " + names.join(", "));
  }
  check(where, given);
  const message = { Meta: meta(where, model, eventType, given.Meta) };
  for (let i = 0; i < names.length; i++) message[names[i]] = given[names[i]] ?? undefined;
  return message;
}

function meta(where, model, eventType, given) {
  if (missing(given)) return { DataModel: model, EventType: eventType };
  if (!isObject(given)) fail(where + "Meta is not an object");
  if ("DataModel" in given || "EventType" in given) fail(where + "DataModel and EventType of Meta are set by the builder");
  return { DataModel: model, EventType: eventType, ...given };
}

/** Wants an object that has the members. */
export function object(at, value, members = []) {
  if (missing(value)) fail(at + " is missing");
  if (!isObject(value)) fail(at + " is not an object");
  for (let i = 0; i < members.length; i++) {
    if (missing(value[members[i]])) fail(at + "." + members[i] + " is missing");
  }
}

/** Wants an array of one element or more, and has each looked at. */
export function list(at, value, check) {
  if (!Array.isArray(value) || value.length === 0) fail(at + " is missing or empty");
  if (check) value.forEach((element, i) => check(at + "[" + i + "]", element));
}

export function patient(where, value) {
  const at = where + "Patient";
  object(at, value);
  list(at + ".Identifiers", value.Identifiers);
  object(at + ".Demographics", value.Demographics);
}

/** A Visit that may be missing. */
export function visit(where, value) {
  if (!missing(value)) object(where + "Visit", value);
}

/**
 * The identifiers of a patient by their types, { MR: patient.id }, as strings. Those that are null, undefined or empty
 * are left out. NaN is no identifier, and beyond 2^53 - 1 a number may have lost digits.
 */
export function identifiers(byType) {
  if (!isObject(byType)) fail("identifiers: give an object, such as { MR: patient.id }");
  const found = [];
  const types = Object.keys(byType);
  for (let i = 0; i < types.length; i++) {
    const id = byType[types[i]];
    if (missing(id) || id === "") continue;
    if (typeof id !== "string" && !Number.isSafeInteger(id)) fail("identifiers: an ID must be a string or a safe integer");
    found.push({ ID: String(id), IDType: types[i] });
  }
  return found;
}
