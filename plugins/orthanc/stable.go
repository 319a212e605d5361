// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

const (
	maxWaiting = 2000 // kept in a watermark, about 50 bytes each
	maxChecked = 20   // of them at the end of a window, two calls each
)

// waiting is a New* that no Stable* was listed for so far.
type waiting struct {
	Seq int64  `json:"seq"`
	Key string `json:"key"`           // tells its identifier from others
	Old bool   `json:"old,omitempty"` // it was listed before this window
	// Quiet says that at the end of the last window Orthanc took it for stable. It does so an instant before it lists that, so only the
	// end of this window shows that it was not listed.
	Quiet bool `json:"quiet,omitempty"`
}

func key(id string) string { return digest(12, id) }

// pair takes note of a New*, or of the Stable* that ends the waiting for it. again says that e was listed before.
func (m *mark) pair(e change, of level, again bool) {
	isNew := e.event == "New"+of.resource
	if isNew && again || !isNew && e.event != "Stable"+of.resource {
		return
	}
	k := key(e.id)
	m.Waiting = slices.DeleteFunc(m.Waiting, func(w waiting) bool { return w.Key == k && w.Seq < e.seq })
	if isNew {
		m.Waiting = append(m.Waiting, waiting{Seq: e.seq, Key: k})
	}
}

// age says of all that wait that they were listed before this window.
func (m *mark) age() {
	for i := range m.Waiting {
		m.Waiting[i].Old = true
	}
}

// forget keeps a watermark small. It says whether something was forgotten.
func (m *mark) forget() bool {
	over := len(m.Waiting) - maxWaiting
	if over > 0 {
		m.Waiting = slices.Delete(m.Waiting, 0, over)
	}
	return over > 0
}

// lost looks, at the end of a window, after what was new before it and was not said to be stable: what Orthanc has forgotten by a restart
// becomes a change. What it still waits for goes to the end of the row, and so does what can't be told: that must not hold up what is
// listed, so it takes half of the time that is left, and the first failure is a remark.
func (c *caller) lost(ctx context.Context, of level, m *mark) (changes []sdk.Change, notes []sdk.Note, err error) {
	some := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		some, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	var rest, later []waiting
	checked := 0
	for _, w := range m.Waiting {
		if !w.Old || checked == maxChecked {
			rest = append(rest, w)
			continue
		}
		checked++
		e, stable, err := c.stable(some, of, w)
		switch sdk.CodeOf(err) {
		case "":
		case sdk.CodeNotFound, sdk.CodeGone, sdk.CodeForbidden:
			continue
		case sdk.CodeUnauthorized:
			return nil, nil, err
		default:
			if later = append(later, w); len(notes) == 0 {
				notes = []sdk.Note{{Code: "stable-unknown", Text: sdk.Safe(err).Text + "; whether what is new became stable is asked again"}}
			}
			continue
		}
		switch {
		case !stable:
			w.Quiet = false
			later = append(later, w)
		case w.Quiet:
			told := of.change(e, of.trigger(c.config))
			told.Version += "s"          // another state than that of the New*, which may have been told before the trigger was chosen
			if m.Time.After(told.Time) { // as may be other changes of the record that were told since
				told.Time = m.Time
			}
			changes = append(changes, told)
		default:
			w.Quiet = true
			rest = append(rest, w)
		}
	}
	m.Waiting = append(rest, later...)
	return changes, notes, ctx.Err()
}

// stable gives the New* of what waits, and whether Orthanc takes that for stable now. What was deleted is not found.
func (c *caller) stable(ctx context.Context, of level, w waiting) (e change, is bool, err error) {
	l, err := c.changes(ctx, w.Seq-1, 1)
	if err != nil {
		return e, false, err
	}
	e, there := l.at(w.Seq)
	if !there || key(e.id) != w.Key || !identifier(e.id) {
		return e, false, sdk.NotFound("GET /changes: the change is not listed any more")
	}
	body, err := c.get(ctx, "/"+of.feed+"/"+e.id, "/"+of.feed+"/{id}")
	var now struct{ IsStable bool }
	return e, err == nil && json.Unmarshal(body, &now) == nil && now.IsStable, err
}
