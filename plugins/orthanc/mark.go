// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// mark is up to where the list was read. It is shown to people, so it holds no identifier of Orthanc's.
type mark struct {
	Last    int64     `json:"last"`              // the greatest number that was shown; 0: none was
	Print   string    `json:"print,omitempty"`   // of the change with this number
	Time    time.Time `json:"time,omitzero"`     // its date, the latest that can be meant
	Again   int64     `json:"again"`             // the next window shows again what comes after this number
	Waiting []waiting `json:"waiting,omitempty"` // what is not stable yet
}

// place is where in a window reading stands: what a cursor holds.
type place struct {
	Mark  mark  `json:"mark"`  // as it is after the pages read so far
	After int64 `json:"after"` // what was shown in this window
}

func parseMark(b []byte) (mark, error) {
	var m mark
	if err := strict(b, &m); err != nil || m.Last < 0 || m.Again < 0 || m.Again > m.Last {
		return mark{}, sdk.WatermarkExpired("the stored watermark is not that of a list of changes of Orthanc: another adapter wrote it").Because(err)
	}
	return m, nil
}

func parsePlace(b []byte) (place, error) {
	var p place
	if err := strict(b, &p); err != nil || p.Mark.Last < 0 || p.After < 0 || p.After > p.Mark.Last {
		return place{}, sdk.CursorExpired("the cursor was written by another version of the adapter").Because(err)
	}
	return p, nil
}

// strict reads an object whose members are all known: that of another adapter must not be taken for one that says nothing.
func strict(b []byte, into any) error {
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) || !json.Valid(b) {
		return errForm("not an object")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// written is a mark or a place as the engine keeps it.
func written(v any) []byte {
	b, _ := json.Marshal(v) // fails for years beyond 9999 only, which no date of Orthanc's form is in
	return b
}

// show takes note of a change that was shown.
func (m *mark) show(c change) {
	if c.seq > m.Last {
		m.Last, m.Print, m.Time = c.seq, c.print(), c.late
	}
}

// overlap sets from where the next window shows again: behind the last change before those that are younger than the newest less the
// overlap, but not further back than maxAgain, so that a storm is not read over and over. It never moves back: the engine knows nothing
// of what is before its first window.
func (m *mark) overlap(shown []change, overlap time.Duration) {
	m.Again = max(m.Again, m.Last-maxAgain)
	if overlap <= 0 || m.Time.IsZero() {
		m.Again = m.Last
		return
	}
	for _, c := range shown {
		if !c.late.IsZero() && !c.late.Before(m.Time.Add(-overlap)) {
			return
		}
		m.Again = max(m.Again, c.seq)
	}
}
