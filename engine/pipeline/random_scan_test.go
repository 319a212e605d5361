// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// TestRandomScansWithRandomFaults lets records come, change and go while everything fails now and then and the engine is stopped
// and started, then lets it come to rest. Whatever happened on the way: what was told last of each record is what it is,
// nothing was deleted that never went, nothing is told twice.
func TestRandomScansWithRandomFaults(t *testing.T) {
	seeds := 30
	if testing.Short() {
		seeds = 5
	}
	for range seeds {
		chaosOfScans(t, rand.Uint64())
	}
}

// FuzzRandomScansWithRandomFaults looks for a seed that breaks a promise.
func FuzzRandomScansWithRandomFaults(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(chaosOfScans)
}

const gone = "deleted"

func chaosOfScans(t *testing.T, seed uint64) {
	t.Helper()
	c := &chaos{rand: rand.New(rand.NewPCG(seed, 1))}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, store.Limits{Items: 6 + c.n(60), Bytes: 16<<10 + c.n(64<<10), Refs: 1 + c.n(5)})
		r.disturb(c)
		r.config.Expand = nil
		l := r.list()
		l.feed.Drifts = l.size > 0
		r.config.MaxDeleted = 1
		world := map[string][]string{} // what each record was, in order
		stop := r.start()
		for range 60 {
			for range c.n(6) {
				l.happen(c, world)
			}
			pass(time.Duration(c.n(60_000)) * time.Millisecond)
			if c.strikes(8) {
				stop()
				pass(time.Duration(c.n(90_000)) * time.Millisecond)
				stop = r.start()
			}
		}
		c.rest()
		l.do(func() { clear(l.hidden) })
		pass(time.Hour)
		stop()
		r.judgeScans(world)
		if t.Failed() {
			t.Logf("seed %d, feed %+v, pages of %d", seed, r.ehr.feed, r.ehr.size)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
}

// happen makes, changes or removes one of a few records, or hides it from the list for a while.
func (l *listing) happen(c *chaos, world map[string][]string) {
	id, n := strconv.Itoa(c.n(25)), c.n(4)
	l.do(func() {
		l.hidden[id] = n == 1
		if _, there := l.has[id]; there && n == 0 {
			delete(l.has, id)
			world[id] = append(world[id], gone)
			return
		}
		l.has[id] = strconv.Itoa(len(world[id]))
		world[id] = append(world[id], l.has[id])
	})
}

func (r *rig) judgeScans(world map[string][]string) {
	r.Helper()
	type told struct {
		generation uint64
		state      string
	}
	last, deleted := map[string]told{}, map[string]int{}
	hear := func(ref sdk.Ref, generation uint64, body []byte) {
		rec, err := record.Unmarshal(body)
		if err != nil {
			r.Fatal(err)
		}
		var data struct{ State string }
		_ = json.Unmarshal(rec.Change.Data, &data)
		if rec.Change.Op == sdk.Deleted {
			data.State = gone
		}
		id := strings.TrimPrefix(ref.ID, canary)
		if generation >= last[id].generation {
			last[id] = told{generation, data.State}
		}
	}
	ids := map[string]bool{}
	for _, e := range r.outbox() {
		generation := fmt.Sprint(e.Ref, e.Generation, e.Deliver)
		if ids[e.ID] || ids[generation] {
			r.Errorf("generation %d of %s came twice", e.Generation, strings.TrimPrefix(e.Ref.ID, canary))
		}
		ids[e.ID], ids[generation] = true, true
		hear(e.Ref, e.Generation, e.Body)
		if rec, _ := record.Unmarshal(e.Body); rec.Change.Op == sdk.Deleted && e.Deliver == "out" {
			deleted[strings.TrimPrefix(e.Ref.ID, canary)]++
		}
	}
	for _, d := range r.dead() {
		hear(d.Ref, d.Generation, d.Record)
	}
	for id, states := range world {
		is, was := states[len(states)-1], 0
		for _, s := range states {
			if s == gone {
				was++
			}
		}
		if deleted[id] > was {
			r.Errorf("%s was deleted %d times and told so %d times", id, was, deleted[id])
		}
		if told, known := last[id]; known && told.state != is || !known && is != gone {
			r.Errorf("%s is %s, and was told last as %q", id, is, told.state)
		}
	}
}
