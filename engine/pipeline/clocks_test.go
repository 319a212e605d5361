// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/window"
)

// TestAStartNowTellsWhatChangesAfterItWhateverTheClocksSay lets random servers, whose clocks differ from the engine's, change
// around a start, with the arithmetic of windows that adapters use: nothing is lost that changed after the start, and nothing
// from before is told, within what the clocks can tell.
func TestAStartNowTellsWhatChangesAfterItWhateverTheClocksSay(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 20
	}
	for range seeds {
		if startNow(t, rand.Uint64()); t.Failed() {
			return
		}
	}
}

// stamped is a change as a server with a clock of its own keeps it.
type stamped struct {
	id      string
	visible time.Time // by the engine's clock
	stamp   time.Time // by the server's, cut to its precision
}

// clocked is a server of a feed of timestamps, in pages by offset.
type clocked struct {
	*ehr
	log     []stamped // the state of a change is its place here
	skew    time.Duration
	setAt   time.Time     // when its clock is set
	setBy   time.Duration // by so much
	tells   bool          // its clock, cut to the second
	unit    time.Duration
	upSince time.Time
}

// clock is the server's at an instant of the engine's.
func (s *clocked) clock(at time.Time) time.Time {
	if !at.Before(s.setAt) {
		at = at.Add(s.setBy)
	}
	return at.Add(s.skew)
}

func (s *clocked) Feed(context.Context, string) (sdk.Feed, error) {
	return sdk.Feed{Name: "appointments", Kind: "appointment", Class: sdk.Timestamp, Version: sdk.Coarse, Precision: s.unit, Drifts: s.size > 0}, nil
}

func (s *clocked) Poll(_ context.Context, q sdk.Query) (page sdk.Page, err error) {
	const latency = 30 * time.Millisecond
	begun := time.Now()
	time.Sleep(latency)
	if time.Now().Before(s.upSince) {
		return page, sdk.Retryable("GET /appointments: connection refused")
	}
	mark, err := window.ParseMark(q)
	if err != nil {
		return page, err
	}
	var asked time.Time
	if s.tells {
		page.Now = s.clock(time.Now()).Truncate(time.Second)
		asked = page.Now.Add(-latency)
	}
	at := struct {
		Since   time.Time
		Offset  int
		Reading window.Reading
	}{Since: mark.Since(q.Overlap, s.unit).Truncate(s.unit), Reading: window.Begin(asked, begun)}
	if q.Cursor != nil {
		if err := json.Unmarshal(q.Cursor, &at); err != nil {
			return page, err
		}
	}
	last := map[string]int{}
	for i, c := range s.log {
		if !c.visible.After(time.Now()) {
			last[c.id] = i
		}
	}
	var listed []int
	for _, i := range last {
		if !s.log[i].stamp.Before(at.Since) {
			listed = append(listed, i)
		}
	}
	slices.SortFunc(listed, func(a, b int) int { return s.log[a].stamp.Compare(s.log[b].stamp)*len(s.log) + a - b })
	listed = listed[min(at.Offset, len(listed)):]
	more := s.size > 0 && len(listed) > s.size
	if more {
		listed = listed[:s.size]
	}
	for _, i := range listed {
		c := change(s.log[i].id, strconv.Itoa(i), "", s.log[i].stamp)
		c.Version = s.log[i].stamp.Format(time.RFC3339Nano)
		at.Reading.Saw(c.Time)
		page.Changes = append(page.Changes, c)
	}
	if more {
		at.Offset += s.size
		page.Cursor, err = json.Marshal(at)
		return page, err
	}
	page.Watermark = mark.After(at.Reading).Bytes()
	return page, nil
}

func startNow(t *testing.T, seed uint64) {
	t.Helper()
	n := rand.New(rand.NewPCG(seed, 0)).IntN
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Duration(n(100_000)) * time.Millisecond)
		r := newRig(t, store.Limits{})
		s := &clocked{ehr: r.ehr, tells: n(3) > 0, unit: []time.Duration{time.Millisecond, time.Second, time.Minute}[n(3)]}
		s.size = []int{0, 0, 3, 7}[n(4)]
		s.skew = []time.Duration{0, 30 * time.Second, time.Hour, -30 * time.Second, -5 * time.Minute, -9 * time.Minute}[n(6)]
		if s.tells && n(6) == 0 {
			s.skew = -15 * time.Minute // a server that is so far behind has to tell its clock
		}
		start := time.Now().Add(30 * time.Minute)
		s.upSince = start
		if s.tells && n(3) == 0 {
			s.upSince = start.Add(time.Duration(n(600)) * time.Second)
		}
		if s.setAt = start.Add(time.Duration(n(30*60)) * time.Second); s.tells { // one that does not tell it can't be followed
			s.setBy = []time.Duration{0, 0, time.Hour, -time.Minute, -20 * time.Minute, -3 * time.Hour}[n(6)]
		}
		if told := s.upSince.Add(10 * time.Minute); s.skew < 0 && s.setAt.Before(told) {
			s.setAt = told // nobody can know how far behind a clock was that was set before it was first told
		}
		r.config.Overlap = []time.Duration{0, time.Minute, 2 * time.Minute}[n(3)]
		for at := time.Now(); at.Before(start.Add(40 * time.Minute)); at = at.Add(time.Duration(n(60_000)) * time.Millisecond) {
			c := stamped{id: strconv.Itoa(n(20)), visible: at, stamp: s.clock(at)}
			if late := int(r.config.Overlap.Milliseconds()); late > 0 && n(6) == 0 && at.After(s.upSince.Add(time.Minute)) {
				c.id = "late" + strconv.Itoa(len(s.log)) // it was changed before and becomes visible now
				c.stamp = c.stamp.Add(-time.Duration(n(late)) * time.Millisecond)
			}
			c.stamp = c.stamp.Truncate(s.unit)
			s.log = append(s.log, c)
		}
		r.config.Source, r.config.Start = s, pipeline.Start{Now: true}

		time.Sleep(time.Until(start))
		stop := r.start()
		for range 4 {
			time.Sleep(time.Duration(n(900)) * time.Second)
			stop()
			stop = r.start()
		}
		time.Sleep(time.Until(start.Add(70 * time.Minute)))
		stop()

		told := map[string]string{} // the last state by id
		for _, e := range r.outbox() {
			rec, err := record.Unmarshal(e.Body)
			if err != nil {
				t.Fatal(err)
			}
			var data struct{ State string }
			if err := json.Unmarshal(rec.Change.Data, &data); err != nil {
				t.Fatal(err)
			}
			id := strings.TrimPrefix(e.Ref.ID, canary)
			told[id] = data.State
			i, _ := strconv.Atoi(data.State)
			// By a clock that is ahead, or tells only full units, what was changed before the start is dated after it.
			early := start.Sub(s.log[i].visible) - max(s.skew, 0) - s.unit - 2*time.Second
			if early > 0 && s.skew > -10*time.Minute && s.setBy >= 0 { // a clock that was set back dates what changes later as early as that
				t.Errorf("state %d of %s from before the start is told, too early by %s", i, id, early)
			}
		}
		last := map[string]int{}
		for i, c := range s.log {
			last[c.id] = i
		}
		for id, i := range last {
			known := start.Add(100 * time.Millisecond)
			if !s.tells {
				known = known.Add(max(-s.skew, 0)) // until then what changes is dated before the start, as far as anybody can tell
			}
			if c := s.log[i]; c.visible.After(known) && told[id] != strconv.Itoa(i) {
				t.Errorf("state %d of %s is lost: visible %s after the start, dated %s after it", i, id, c.visible.Sub(start), c.stamp.Sub(start))
			}
		}
		if t.Failed() {
			t.Logf("seed %d: skew %s, set by %s after %s, tells %t, precision %s, pages of %d, overlap %s, up after %s", seed, s.skew, s.setBy, s.setAt.Sub(start), s.tells, s.unit, s.size,
				r.config.Overlap, s.upSince.Sub(start))
		}
	})
}
