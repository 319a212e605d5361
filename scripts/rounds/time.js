// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Times in the zones of the world, which JavaScript can't do without Intl. The work is done in engine/script/zone.go.

import { native } from "rounds/engine/native";

const missing = (value) => value === null || value === undefined;

/** The instant of a local time without a zone, "2026-03-08T02:30:00", in UTC. */
export function toUTC(local, zone) {
  return missing(local) ? null : native("toUTC", local, zone);
}

/** The instant of a time that is written in a layout, in UTC. The zone is needed when the layout has none. */
export function parse(text, layout, zone) {
  return missing(text) ? null : native("parse", text, layout, zone);
}

/** An instant written in a layout, in the zone, which is UTC if none is given. */
export function format(instant, layout, zone) {
  return missing(instant) ? null : native("format", instant, layout, zone);
}
