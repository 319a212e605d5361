// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package budget

import "time"

// Period is a stretch of the wall clock for which a budget is given. A new one begins at the clock's full minute or hour, or at
// midnight.
type Period string

// The periods.
const (
	Minute Period = "minute"
	Hour   Period = "hour"
	Day    Period = "day"
)

// length is that of an ordinary one.
func (p Period) length() time.Duration {
	switch p {
	case Minute:
		return time.Minute
	case Hour:
		return time.Hour
	}
	return 24 * time.Hour
}

// around gives the period that t is in. Days are those of the zone, which last 23 or 25 hours when its clocks are set.
func (p Period) around(t time.Time, zone *time.Location) (start, end time.Time) {
	if p != Day {
		start = t.UTC().Truncate(p.length())
		return start, start.Add(p.length())
	}
	y, m, d := t.In(zone).Date()
	return midnight(y, m, d, zone), midnight(y, m, d+1, zone)
}

// midnight is the instant at which a day begins.
func midnight(y int, m time.Month, d int, zone *time.Location) time.Time {
	t := time.Date(y, m, d, 0, 0, 0, 0, zone)
	if _, next := t.ZoneBounds(); t.Hour() >= 12 && !next.IsZero() {
		t = next // there is no midnight: clocks are set ahead then, and Date gave the hour before
	}
	return t.UTC()
}
