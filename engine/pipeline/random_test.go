// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// chaos makes random things fail, from a seed.
type chaos struct {
	mu   sync.Mutex
	rand *rand.Rand
	calm bool
}

// strikes is true in so many of a hundred cases.
func (c *chaos) strikes(percent int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.calm && c.rand.IntN(100) < percent
}

func (c *chaos) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(n)
}

func (c *chaos) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calm = true
}

// TestRandomFeedsWithRandomFaults lets feeds of all sorts change for half an hour while everything fails now and then and the
// engine is stopped and started, then lets it come to rest. Whatever happened on the way: the last state of each record is
// committed, nothing is that never was, states of one record come in order and once.
func TestRandomFeedsWithRandomFaults(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 5
	}
	for range seeds {
		chaosOf(t, rand.Uint64())
	}
}

// FuzzRandomFeedsWithRandomFaults looks for a seed that breaks a promise.
func FuzzRandomFeedsWithRandomFaults(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(chaosOf)
}

func chaosOf(t *testing.T, seed uint64) {
	t.Helper()
	c := &chaos{rand: rand.New(rand.NewPCG(seed, 0))}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, store.Limits{Items: 6 + c.n(60), Bytes: 16<<10 + c.n(64<<10), Refs: 1 + c.n(5)})
		r.disturb(c)
		world := map[string][]string{} // the states of each record, in the order in which they became visible
		stop := r.start()
		for range 60 {
			for range c.n(6) {
				r.happen(c, world)
			}
			pass(time.Duration(c.n(60_000)) * time.Millisecond)
			if c.strikes(8) {
				stop()
				pass(time.Duration(c.n(90_000)) * time.Millisecond)
				stop = r.start()
			}
		}
		c.rest()
		pass(time.Hour)
		stop()
		r.judge(world)
		if t.Failed() {
			t.Logf("seed %d, feed %+v, pages of %d", seed, r.ehr.feed, r.ehr.size)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
}

// happen changes one of a few records, or makes a new one, sometimes with a time that is past already.
func (r *rig) happen(c *chaos, world map[string][]string) {
	id := strconv.Itoa(c.n(15))
	at := time.Now()
	if c.n(5) == 0 { // becomes visible late, as a record of its own
		id = "late" + strconv.Itoa(len(world))
		at = at.Add(-time.Duration(c.n(60)) * time.Second)
	}
	if r.ehr.feed.Version == sdk.Coarse {
		at = at.Truncate(time.Second)
	}
	state := strconv.Itoa(len(world[id]))
	world[id] = append(world[id], state)
	ch := change(id, state, "p"+strconv.Itoa(c.n(6)), at)
	switch r.ehr.feed.Version {
	case sdk.Coarse:
		ch.Version = at.Format(time.RFC3339)
	case sdk.None:
		ch.Version = ""
	}
	r.ehr.do(func() { r.ehr.log = append(r.ehr.log, ch) })
}

// disturb sets up a random pipeline on a random feed in which everything may fail.
func (r *rig) disturb(c *chaos) {
	r.ehr.feed.Version = []sdk.VersionKind{sdk.Exact, sdk.Coarse, sdk.None}[c.n(3)]
	r.ehr.feed.History = c.n(3) == 0
	if r.ehr.size = c.n(8); r.ehr.size > 0 {
		r.ehr.feed.Drifts = true
	}
	r.config.Fetches = []pipeline.Fetch{patients()}
	r.config.Fetches[0].Cache = time.Duration(c.n(2)*c.n(20)) * time.Minute
	if !r.ehr.feed.History && c.n(3) == 0 { // the changes are what stands in the charts of what the feed lists
		r.config.Expand = &pipeline.Expand{
			Name: "child", Resource: "chart", Items: []string{"list"}, Key: []string{"id"},
			ID: expr(func(rec *record.Record) (string, bool, error) { return rec.Change.Ref.ID, true, nil }),
		}
	}
	r.config.Delivers = append(r.config.Delivers, deliver("second"))
	r.config.Delivers[1].OrderBy = inData("patient")
	r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
		switch {
		case c.strikes(1):
			return nil, errScript
		case c.strikes(1):
			panic(canary)
		case c.strikes(1):
			return nil, errors.New(canary)
		}
		return rec.Marshal()
	}
	r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
		switch {
		case c.strikes(5):
			return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
		case q.Cursor != nil && c.strikes(5):
			return sdk.Page{}, sdk.CursorExpired("GET /appointments: 410")
		case c.strikes(1):
			panic(canary)
		}
		if c.strikes(70) {
			time.Sleep(time.Duration(c.n(3000)) * time.Millisecond)
		}
		p := r.ehr.page(q)
		if c.strikes(10) {
			p.Wait = 10 * time.Second
		}
		for i := range p.Changes {
			if c.strikes(1) {
				p.Changes[i].Err = sdk.Retryable("GET /appointments: item without data")
			}
		}
		return p, nil
	}
	r.ehr.onFetch = func(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
		if c.strikes(5) {
			return nil, sdk.Retryable("GET /patient/{id}: 503")
		}
		if c.strikes(70) {
			time.Sleep(time.Duration(c.n(700)) * time.Millisecond)
		}
		results := r.ehr.results(refs)
		for i := range results {
			switch {
			case c.strikes(4):
				results[i] = sdk.Result{Err: sdk.Retryable("GET /patient/{id}: 500")}
			case c.strikes(1):
				results[i] = sdk.Result{Err: sdk.RateLimited(time.Minute, "GET /patient/{id}: 429")}
			case refs[i].Kind == "patient" && c.strikes(1):
				results[i] = sdk.Result{Err: sdk.NotFound("GET /patient/{id}: 404")}
			}
		}
		return results, nil
	}
	failures := []error{store.ErrBusy, store.ErrFull, store.ErrFenced, store.ErrUnknown, store.ErrStale, errors.New("of no known kind")}
	r.onClaim = func(int) error {
		if c.strikes(10) {
			return store.ErrHeld
		}
		return nil
	}
	r.before = func(int, store.Batch) error {
		if c.strikes(4) {
			return failures[c.n(len(failures))]
		}
		return nil
	}
	r.after = func(int, store.Batch) error {
		if c.strikes(4) {
			return failures[3+2*c.n(2)]
		}
		return nil
	}
}

// judge compares what was committed with what was in the world.
func (r *rig) judge(world map[string][]string) {
	r.Helper()
	ids := map[string]bool{}
	got := map[string][]int{} // by deliver block and record: the states that are committed, in order
	for _, e := range r.outbox() {
		generation := fmt.Sprint(e.Ref, e.Generation, e.Deliver)
		if ids[e.ID] || ids[generation] {
			r.Errorf("generation %d of %s came twice", e.Generation, strings.TrimPrefix(e.Ref.ID, canary))
		}
		ids[e.ID], ids[generation] = true, true
		var body struct {
			Change struct {
				Data struct{ State, Patient string }
			}
			Fetched struct{ Patient struct{ ID string } }
		}
		if err := json.Unmarshal(e.Body, &body); err != nil || body.Change.Data.Patient != body.Fetched.Patient.ID {
			r.Errorf("a notification with another record's patient, or none")
		}
		state, _ := strconv.Atoi(body.Change.Data.State)
		id := strings.TrimPrefix(e.Ref.ID, canary)
		if state >= len(world[id]) {
			r.Errorf("state %d of %s never was", state, id)
		}
		of := got[e.Deliver+" "+id]
		// States of one second on a page that was cut off may come again, in their order: nothing tells them from a return.
		ambiguous := r.ehr.feed.History && r.ehr.feed.Version != sdk.Exact
		if len(of) > 0 && of[len(of)-1] >= state && !ambiguous {
			r.Errorf("state %d of %s came after state %d", state, id, of[len(of)-1])
		}
		got[e.Deliver+" "+id] = append(of, state)
	}
	dead := map[string]map[string]bool{} // by deliver block ("": all) and record: the states
	for _, d := range r.dead() {
		rec, err := record.Unmarshal(d.Record)
		if err != nil {
			r.Errorf("a dead letter without its record: %s", d.Cause.Code)
			continue
		}
		var data struct{ State string }
		_ = json.Unmarshal(rec.Change.Data, &data)
		key := d.Deliver + " " + strings.TrimPrefix(d.Ref.ID, canary)
		if dead[key] == nil {
			dead[key] = map[string]bool{}
		}
		dead[key][data.State] = true
	}
	for id, states := range world {
		for _, block := range []string{"out", "second"} {
			of := got[block+" "+id]
			kept := func(state string) bool {
				n, _ := strconv.Atoi(state)
				return slices.Contains(of, n) || dead[block+" "+id][state] || dead[" "+id][state]
			}
			last := states[len(states)-1]
			if !kept(last) {
				r.Errorf("the last state %s of %s is lost for %s, the outbox has %v", last, id, block, of)
			}
			if len(of) > 0 && strconv.Itoa(of[len(of)-1]) != last && slices.Contains(of, len(states)-1) {
				r.Errorf("an older state of %s came last for %s, the outbox has %v", id, block, of)
			}
			for _, state := range states {
				if r.ehr.feed.History && !kept(state) {
					r.Errorf("state %s of %s is lost for %s, the outbox has %v", state, id, block, of)
				}
			}
		}
	}
	if p := r.position(); p.Cursor != nil || p.Watermark == nil {
		r.Error("the last window is not finished")
	}
}
