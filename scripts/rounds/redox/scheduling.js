// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { build, fail, missing, object, patient } from "rounds/redox/message";

/** Builders of one event type each. */
export const Scheduling = {
  New: (parts) => message("New", parts),
  Reschedule: (parts) => message("Reschedule", parts),
  Modification: (parts) => message("Modification", parts),
  Cancel: (parts) => message("Cancel", parts),
  NoShow: (parts) => message("NoShow", parts),
};

function message(eventType, parts) {
  return build("Scheduling", eventType, parts, ["Patient", "Visit", "AppointmentInfo"], (where, { Patient, Visit }) => {
    object(where + "Visit", Visit);
    if (!missing(Patient)) patient(where, Patient);
  });
}

// Where an appointment's start and status are, what its status says, and whether one that is seen for the first time is new, if the
// script does not tell.
const defaults = {
  start: ({ change }) => change.data?.start,
  status: ({ change }) => change.data?.status,
  cancelled: ["cancelled", "canceled"],
  noShow: ["noshow"],
  isNew: ({ change }) => change.op === "created",
};

/** The event type that a change amounts to, from the record before (context.previous) and the record now. */
export function eventType(previous, current, options) {
  const o = optionsOf("eventType", options);
  const state = (record) => {
    if (record.change.op === "deleted") return "Cancel";
    const status = o.status(record);
    if (o.cancelled.some((s) => says(status, s))) return "Cancel";
    return o.noShow.some((s) => says(status, s)) ? "NoShow" : "booked";
  };
  const now = state(current);
  if (now !== "booked") return now;
  if (!previous) return o.isNew(current) ? "New" : "Modification";
  if (state(previous) === "Cancel") return "New";
  return moved(o, previous, current) ? "Reschedule" : "Modification";
}

/** The start that an appointment had before, for OldDateTime of a Reschedule; undefined if the change is none. */
export function oldDateTime(previous, current, options) {
  const o = optionsOf("oldDateTime", options);
  return eventType(previous, current, options) === "Reschedule" ? o.start(previous) : undefined;
}

function moved(o, previous, current) {
  const from = o.start(previous) ?? null;
  const to = o.start(current) ?? null;
  return from !== null && to !== null && from !== to;
}

// says ignores case and what is no letter or digit: "No-Show" is "noshow".
function says(status, word) {
  const plain = (s) => String(s ?? "").toLowerCase().replace(/[^a-z0-9]/g, "");
  return status === word || (plain(word) !== "" && plain(status) === plain(word));
}

function optionsOf(what, given) {
  for (const name of Object.keys(given ?? {})) {
    if (!(name in defaults)) fail(what + ": unknown option; there are " + Object.keys(defaults).join(", "));
  }
  return { ...defaults, ...given };
}
