// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

const (
	// settle is for how long after a failure windows read again what was marked: a reading that was given up may still be at work on
	// the server, and mark what nobody hears of.
	settle = 5 * time.Minute
	// slack is how much the clock that marks messages may differ from the one that answers calls.
	slack = 30 * time.Second
	// piece is how much is read again at once: "for a short period of time only", says the documentation.
	piece = time.Hour
	// audit is how often it is looked whether another client reads the feed too.
	audit = time.Hour
	// longest is how many pages a window has. The rest is the next one's.
	longest = 100
)

// mark is the watermark. All times are the server's.
type mark struct {
	Read  time.Time `json:"read"`           // what was marked before is committed
	Until time.Time `json:"until,omitzero"` // windows that begin before then read again from Read on, and the first after it
	// What this source took of the feed, to be compared with what is marked.
	Since time.Time `json:"since,omitzero"` // the count's begin, which is a window's
	Taken int       `json:"taken,omitzero"` // from Since to Read
	Last  int       `json:"last,omitzero"`  // after Read, by the last window
}

// place is the cursor.
type place struct {
	Mark    mark      `json:"mark"`           // that the window began with
	Begun   time.Time `json:"begun,omitzero"` // the window; zero: the server was not asked yet
	Failed  bool      `json:"failed,omitzero"`
	Again   *again    `json:"again,omitempty"` // what is read again, before anything is taken
	Page    int       `json:"page,omitzero"`
	Taken   int       `json:"taken,omitzero"`
	Skipped int       `json:"skipped,omitzero"` // of a reading that takes nothing: the offset
}

// again is a range of marks that is read again, piece by piece.
type again struct {
	From   time.Time `json:"from"`         // of the piece
	To     time.Time `json:"to,omitzero"`  // of all; zero: to now, whatever the server's clock will say
	Offset int       `json:"at,omitzero"`  // in the piece
	Count  bool      `json:"cnt,omitzero"` // only to be counted, and found is how many there were
	Found  int       `json:"found,omitzero"`
}

func written(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // times of a server are within the years that have a text
	}
	return data
}

func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}

// placeOf is where a query goes on. It has no mark for a feed that was never read.
func placeOf(q sdk.Query) (at place, err error) {
	switch {
	case q.Cursor != nil:
		if strict(q.Cursor, &at) != nil || !at.sound() {
			if q.Watermark == nil { // from where to read again is lost
				return at, sdk.WatermarkExpired("the stored place in the queue can't be read: another version or another adapter wrote it")
			}
			return at, sdk.CursorExpired("the stored place in the queue can't be read: another version or another adapter wrote it")
		}
		if q.Recover && at.Again == nil { // else nothing was taken since this place was committed
			at.recover(q.Overlap)
		}
	case q.Watermark != nil:
		if strict(q.Watermark, &at.Mark) != nil || !at.sound() {
			return at, sdk.WatermarkExpired("the stored watermark is not that of a queue of athenahealth: another adapter or another kind of feed wrote it")
		}
		m := &at.Mark
		switch {
		case q.Recover:
			at.recover(q.Overlap)
		case !m.Until.IsZero():
			at.Again = &again{From: m.Read.Add(-q.Overlap - slack)}
		case m.Read.Sub(m.Since) >= audit && !m.Since.IsZero():
			at.Again = &again{From: m.Since.Add(slack), To: m.Read.Add(-slack), Count: true}
		}
	}
	return at, nil
}

// sound says whether the times of a place can be those of a server.
func (at *place) sound() bool {
	times := []time.Time{at.Mark.Read}
	for _, t := range []time.Time{at.Mark.Until, at.Mark.Since, at.Begun} {
		if !t.IsZero() {
			times = append(times, t)
		}
	}
	if r := at.Again; r != nil {
		if times = append(times, r.From); !r.To.IsZero() {
			times = append(times, r.To)
		}
	}
	return !slices.ContainsFunc(times, func(t time.Time) bool { return t.Year() < 1970 || t.Year() > 9000 })
}

// recover has all that was marked since the watermark read again.
func (at *place) recover(overlap time.Duration) {
	at.Failed, at.Again = true, &again{From: at.Mark.Read.Add(-overlap - slack)}
}

// heard takes note of the server's clock: when it was asked at the latest, and when it answered. Zero: it does not tell.
func (at *place) heard(asked, answered time.Time) {
	if at.Begun.IsZero() && !asked.IsZero() {
		at.Begun = asked.Add(-time.Second) // clocks are told in whole seconds
	}
	if at.Failed && !answered.IsZero() {
		at.Failed, at.Mark.Until = false, answered.Add(settle)
		at.Mark.Since, at.Mark.Taken, at.Mark.Last = time.Time{}, 0, 0 // what was taken and did not arrive was not counted
	}
}

// end is the watermark after a window that was read to its end.
//
// Invariant 1: it moves to the window's begin. What was marked before that is of earlier windows, which are committed, or was read
// again in this one.
func (at *place) end() mark {
	m := at.Mark
	switch {
	case at.Begun.Before(m.Read): // or the server does not tell its clock
		return m
	case at.Begun.Before(m.Until):
		m.Read = at.Begun
		return m
	case m.Since.IsZero():
		m.Since = at.Begun
	default:
		m.Taken += m.Last
	}
	m.Read, m.Until, m.Last = at.Begun, time.Time{}, at.Taken
	return m
}
