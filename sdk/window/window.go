// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package window is the arithmetic of feeds that are asked for what changed since an instant: from where to ask, how far a
// finished window moves the watermark, and how instants are written in the server's own form and time zone.
package window

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// margin is how much earlier than the overlap before a start is read. A start of "now" is by the engine's clock: where the
// server's is behind, what changes after the start is dated before it. A server that is further behind has to tell its clock.
const margin = 10 * time.Minute

// steady is by how much two readings of a server's clock may differ although nobody has set it: an answer takes time, and the servers
// behind one address have clocks of their own.
const steady = 30 * time.Second

// Mark is the watermark of such a feed.
type Mark struct {
	// T is up to where whole windows were read, always the server's time. Zero: no change was read yet.
	T time.Time `json:"t,omitzero"`
	// From is where the first window began: its start less overlap and margin. No later window reaches back behind it, as the
	// engine knows nothing of what is older and would take it for new. Zero: the beginning.
	From time.Time `json:"from,omitzero"`
	// Ahead is by how many seconds the server's clock was ahead of this machine's, give or take what it may differ by; negative: behind.
	// By it a server's clock that was set back is noticed. Nil: it is not known.
	Ahead *int64 `json:"ahead,omitempty"`

	first bool // no window was read yet
}

// ParseMark reads a query's watermark, or makes the first from its start.
func ParseMark(q sdk.Query) (Mark, error) {
	if len(q.Watermark) == 0 {
		m := Mark{first: true}
		if !q.Start.At.IsZero() {
			m.From = q.Start.At.UTC().Add(-q.Overlap - margin)
		}
		return m, nil
	}
	var m Mark
	// Another feed's may be an object too, and would else be taken for one that says nothing: the beginning.
	d := json.NewDecoder(bytes.NewReader(q.Watermark))
	d.DisallowUnknownFields()
	err := d.Decode(&m)
	if err == nil && bytes.Equal(bytes.TrimSpace(q.Watermark), []byte("null")) {
		err = errors.New("null")
	}
	if err != nil {
		return Mark{}, sdk.WatermarkExpired("the stored watermark is not that of a feed of timestamps: " +
			"another adapter or another kind of feed wrote it").Because(err)
	}
	return m, nil
}

// Bytes is the form in which the engine keeps a watermark.
func (m Mark) Bytes() []byte {
	b, _ := json.Marshal(m) // fails for years beyond 9999 only, which no mark gets
	return b
}

// Since is the instant to ask for, inclusive: the watermark less overlap and one unit, which is the precision of the
// server's timestamps; a second change within that unit has the same timestamp as one that was seen. Before the first change,
// and as long as that would be older, it is From less one unit. Zero: the beginning.
func (m Mark) Since(overlap, unit time.Duration) time.Time {
	since := m.T
	if !since.IsZero() {
		since = since.Add(-overlap - unit)
	}
	if from := m.From; !from.IsZero() && since.Before(from.Add(-unit)) {
		since = from.Add(-unit)
	}
	return since
}

// Reading is what is known of a window while its pages are read. It belongs into the cursor.
type Reading struct {
	Asked  time.Time `json:"asked"`           // when the window was begun
	Local  bool      `json:"local,omitempty"` // Asked is by this machine's clock: the server does not tell its own
	Newest time.Time `json:"newest,omitzero"` // of the changes read so far
	// Behind is how far the server's clock was behind this machine's at the begin, when it tells.
	Behind time.Duration `json:"behind,omitzero"`
	Ahead  *int64        `json:"ahead,omitempty"` // as of a Mark
}

// Begin begins a window. server is the server's clock when it was asked for the first page, zero if it does not tell; local is
// this machine's before that.
func Begin(server, local time.Time) Reading {
	if server.IsZero() {
		return Reading{Asked: local.UTC(), Local: true}
	}
	ahead := int64(server.Sub(local) / time.Second)
	return Reading{Asked: server.UTC(), Behind: max(local.Sub(server), 0), Ahead: &ahead}
}

// Saw takes note of a change's time. A time after the begin of the window counts as the begin: the record is dated wrongly, or
// changed while the window was read, and others of before that time may not have been there to be read. By the local clock
// it does not count at all, so that this clock alone never moves a watermark.
func (r *Reading) Saw(t time.Time) {
	if t.After(r.Asked) {
		if r.Local {
			return
		}
		t = r.Asked
	}
	if t.After(r.Newest) {
		r.Newest = t.UTC()
	}
}

// setBack says whether the server's clock was set back since the window before this one, and from when on what changed since may be dated.
func (m Mark) setBack(r Reading) (to time.Time, ok bool) {
	read := m.T
	if read.IsZero() {
		read = m.From
	}
	if m.first || r.Local || read.IsZero() {
		return read, false
	}
	to = read
	if m.Ahead != nil && r.Ahead != nil {
		if less := float64(*m.Ahead) - float64(*r.Ahead); less > steady.Seconds() {
			to = read.Add(-time.Duration(min(less, 1e9)*float64(time.Second)) - steady)
		}
	}
	// Both clocks may have been set back together. No watermark was after the server's clock when it was made.
	if early := r.Asked.Add(-margin); r.Asked.Add(steady).Before(m.T) && early.Before(to) {
		to = early
	}
	return to, to.Before(read)
}

// SetBack is by how much the server's clock was set back since the window before this one, at most; zero: it was not.
func (m Mark) SetBack(r Reading) time.Duration {
	to, ok := m.setBack(r)
	switch {
	case !ok:
		return 0
	case m.T.IsZero():
		return m.From.Sub(to)
	}
	return m.T.Sub(to)
}

// After is the watermark after the window. Invariant 1: it moves to the newest change. It moves back only if the server's clock was
// set back, and then to where the changes since begin.
func (m Mark) After(r Reading) Mark {
	to, back := m.setBack(r)
	switch {
	case m.first && r.Behind > margin && r.Asked.Before(m.From.Add(margin)):
		// The server's clock is so far behind that the first window did not reach back to what is dated at the start. The next
		// one does.
		m.From = m.From.Add(margin - r.Behind)
	case back:
		if !m.T.IsZero() {
			m.T = to
		}
		if m.From.After(to) { // in doubt what is older is told again, or for the first time
			m.From = to
		}
	case r.Newest.After(m.T):
		m.T = r.Newest
	}
	if r.Ahead != nil && (m.Ahead == nil || math.Abs(float64(*r.Ahead)-float64(*m.Ahead)) > steady.Seconds()) {
		m.Ahead = r.Ahead
	}
	m.first = false
	return m
}
