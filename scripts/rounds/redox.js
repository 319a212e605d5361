// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Messages of the Redox data models. Which fields a model has is typed in rounds.d.ts; what is checked here is what every
// receiver relies on.

const fail = (text) => __rounds("fail", text);

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Builders of one event type each: they take the parts of a message and give the message. */
export const Scheduling = {
  New: scheduling("New"),
  Reschedule: scheduling("Reschedule"),
  Modification: scheduling("Modification"),
  Cancel: scheduling("Cancel"),
  NoShow: scheduling("NoShow"),
};

function scheduling(eventType) {
  return (parts) => {
    const where = `Scheduling.${eventType}: `;
    known(where, parts, ["Meta", "Patient", "Visit", "AppointmentInfo"]);
    if (!isObject(parts.Visit)) fail(where + "Visit is missing");
    return {
      Meta: meta(where, "Scheduling", eventType, parts.Meta),
      Patient: patient(where, parts.Patient),
      Visit: parts.Visit,
      AppointmentInfo: parts.AppointmentInfo ?? undefined,
    };
  };
}

/**
 * The identifiers of a patient by their types, { MR: patient.id }, as strings. Those that are null or undefined are left
 * out.
 */
export function identifiers(byType) {
  if (!isObject(byType)) fail("identifiers: give an object, such as { MR: patient.id }");
  const found = [];
  for (const type in byType) {
    const id = byType[type];
    if (id === null || id === undefined || id === "") continue;
    if (typeof id !== "string" && typeof id !== "number") fail("identifiers: an ID must be a string or a number");
    found.push({ ID: String(id), IDType: type });
  }
  return found;
}

function meta(where, model, eventType, given) {
  if (given === null || given === undefined) return { DataModel: model, EventType: eventType };
  if (!isObject(given)) fail(where + "Meta is not an object");
  if ("DataModel" in given || "EventType" in given) fail(where + "DataModel and EventType of Meta are set by the builder");
  return { DataModel: model, EventType: eventType, ...given };
}

function patient(where, given) {
  if (given === null || given === undefined) return undefined;
  if (!isObject(given)) fail(where + "Patient is not an object");
  if (!Array.isArray(given.Identifiers) || given.Identifiers.length === 0) {
    fail(where + "Patient.Identifiers is missing or empty");
  }
  if (!isObject(given.Demographics)) fail(where + "Patient.Demographics is missing");
  return given;
}

// known refuses parts that the message does not have: a name written wrong would be left out without a word.
function known(where, parts, names) {
  if (!isObject(parts)) fail(where + "give the parts of the message as an object");
  for (const name in parts) {
    if (!names.includes(name)) fail(where + "unknown part; there are " + names.join(", "));
  }
}
