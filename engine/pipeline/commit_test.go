// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
)

// busy is a pipeline whose one window has everything: several pages and batches, two deliver blocks to one destination, a
// fetch, a record twice on a page, a dead letter, a filtered change; under limits that cut it into many commits.
func busy(t *testing.T) *rig {
	r := newRig(t, tiny)
	r.ehr.feed.History, r.ehr.size = true, 7
	r.ehr.fill(12, "a")
	r.ehr.set("3", "b", "p0")
	r.ehr.set("3", "c", "p0")
	r.ehr.onRef = func(ref sdk.Ref) error {
		if ref.ID == canary+"p2" { // of the records 8 to 11
			return sdk.NotFound("GET /patient/{id}: 404")
		}
		return nil
	}
	filtering := deliver("second")
	filtering.Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
		if rec.Change.Ref.ID == canary+"1" {
			return nil, nil
		}
		return []byte("{}"), nil
	}
	r.config.Delivers = append(r.config.Delivers, filtering)
	r.config.Fetches = []pipeline.Fetch{patients()}
	return r
}

// busyOutbox is what comes of it, whatever happens on the way.
func busyOutbox() []string {
	var want []string
	for _, state := range []string{"0@a", "1@a", "2@a", "3@a", "4@a", "5@a", "6@a", "7@a", "3@b", "3@c"} {
		want = append(want, state)
		if state != "1@a" {
			want = append(want, state+"/second")
		}
	}
	return want
}

func (r *rig) expectBusy() {
	r.Helper()
	r.expect(busyOutbox()...)
	r.expectDead("8@a fetch not_found", "9@a fetch not_found", "10@a fetch not_found", "11@a fetch not_found")
	ids := map[string]bool{}
	for _, e := range r.outbox() {
		if ids[e.ID] {
			r.Errorf("two entries have the id %s", e.ID)
		}
		ids[e.ID] = true
	}
	if p := r.position(); p.Cursor != nil || p.Watermark == nil {
		r.Errorf("the window is not finished: %+v", p)
	}
}

// everyCommit runs a test once for each commit of the busy window.
func everyCommit(t *testing.T, test func(r *rig, n int)) {
	total := 0
	synctest.Test(t, func(t *testing.T) {
		r := busy(t)
		r.run(time.Millisecond)
		r.expectBusy()
		total = r.commits
	})
	if total < 10 {
		t.Fatalf("%d commits only: the window was to be cut into many", total)
	}
	for n := 1; n <= total && !t.Failed(); n++ {
		synctest.Test(t, func(t *testing.T) {
			test(busy(t), n)
			if t.Failed() {
				t.Logf("with commit %d of %d", n, total)
			}
		})
	}
}

// TestEveryWritePointFailsOnce lets each commit fail once, with each error, and the work resumes.
func TestEveryWritePointFailsOnce(t *testing.T) {
	for _, failure := range []error{
		store.ErrBusy, store.ErrFull, store.ErrFenced, store.ErrUnknown, store.ErrStale, store.ErrTooLarge, errors.New("of no known kind"),
	} {
		t.Run("not written/"+failure.Error(), func(t *testing.T) {
			everyCommit(t, func(r *rig, n int) {
				r.before = func(now int, _ store.Batch) error {
					if now == n {
						return fmt.Errorf("wrapped: %w", failure)
					}
					return nil
				}
				r.run(10 * time.Minute)
				r.expectBusy()
			})
		})
	}
	for _, failure := range []error{store.ErrUnknown, errors.New("of no known kind")} {
		t.Run("written/"+failure.Error(), func(t *testing.T) {
			everyCommit(t, func(r *rig, n int) {
				r.after = func(now int, _ store.Batch) error {
					if now == n {
						return failure
					}
					return nil
				}
				r.run(10 * time.Minute)
				r.expectBusy()
			})
		})
	}
}

func TestAClaimThatIsHeldIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := busy(t)
		r.onClaim = func(n int) error {
			if n < 4 {
				return store.ErrHeld
			}
			return nil
		}
		r.run(10 * time.Minute)
		r.expectBusy()
	})
}

// TestInvariant1 stops the engine at each commit, before and after it is written. Whatever the watermark and the cursor have
// passed is in the outbox, in the dead letters, filtered, or in a row; and the next engine finishes the work.
func TestInvariant1TheWatermarkNeverPassesAnUncommittedChange(t *testing.T) {
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprintf("written %v", written), func(t *testing.T) {
			everyCommit(t, func(r *rig, n int) {
				crash := make(chan struct{})
				fail := func(now int, _ store.Batch) error {
					if now == n {
						close(crash)
						time.Sleep(time.Hour) // this engine is gone, as far as the state can tell
						return store.ErrFenced
					}
					return nil
				}
				if written {
					r.after = fail
				} else {
					r.before = fail
				}
				stop := r.start()
				defer stop()
				select {
				case <-crash:
				case <-time.After(time.Minute):
				}
				r.passedIsKept()
				r.run(5 * time.Minute)
				r.expectBusy()
			})
		})
	}
}

// passedIsKept looks whether all that position has passed is committed.
func (r *rig) passedIsKept() {
	r.Helper()
	p := r.position()
	passed, _ := strconv.Atoi(string(p.Cursor))
	all := r.ehr.log // older first, as the pages
	if p.Watermark != nil {
		passed = len(all)
	}
	kept := map[string]bool{}
	for _, e := range r.outbox() {
		kept[e.Ref.ID+e.Version] = true
	}
	for _, d := range r.dead() {
		kept[d.Ref.ID+d.Version] = true
	}
	for _, c := range all[:passed] {
		if !kept[c.Ref.ID+c.Version] {
			r.Errorf("position %q, %q has passed a change that is not committed", p.Cursor, p.Watermark)
		}
	}
}

// TestInvariant2: overlap, retries and crashes make no second entry of a generation and no entry without its sibling.
func TestInvariant2OneEntryPerGenerationAndDeliverBlock(t *testing.T) {
	everyCommit(t, func(r *rig, n int) {
		r.config.Fetches, r.ehr.onRef = nil, nil
		r.config.Delivers[1].Map = mapRecord
		r.before = func(now int, b store.Batch) error {
			per := map[string]int{}
			for _, e := range b.Entries {
				per[fmt.Sprint(e.Ref, e.Generation)]++
			}
			for _, n := range per {
				if n != 2 {
					r.Errorf("a commit holds %d entries of a generation, want one per deliver block", n)
				}
			}
			if now == n {
				return store.ErrBusy
			}
			return nil
		}
		r.after = func(now int, _ store.Batch) error {
			if now == n+1 {
				return store.ErrUnknown
			}
			return nil
		}
		r.run(5 * time.Minute)
		r.after = nil
		r.run(5 * time.Minute)
		type key struct {
			ref        sdk.Ref
			generation uint64
			deliver    string
		}
		seen, ids := map[key]bool{}, map[string]bool{}
		for _, e := range r.outbox() {
			k := key{e.Ref, e.Generation, e.Deliver}
			if seen[k] || ids[e.ID] {
				r.Errorf("generation %d came twice for deliver block %s", e.Generation, e.Deliver)
			}
			seen[k], ids[e.ID] = true, true
		}
		if want := 2 * 14; len(seen) != want {
			r.Errorf("%d entries, want %d", len(seen), want)
		}
	})
}

// TestTheSameAfterACrashGetsTheSameID: what was not committed is mapped again and gets the id that it would have had.
func TestTheSameAfterACrashGetsTheSameID(t *testing.T) {
	var before []record.Entry
	simulate(t, func(r *rig) {
		r.ehr.fill(3, "a")
		r.before = func(_ int, b store.Batch) error {
			if len(b.Entries) > 0 && before == nil {
				before = slices.Clone(b.Entries)
				return store.ErrUnknown
			}
			return nil
		}
		r.run(5 * time.Minute)
		for i, e := range r.outbox() {
			if e.ID != before[i].ID {
				t.Errorf("%s got another id", e.Version)
			}
		}
	})
}

func TestARecordBeyondTheLimitsIsADeadLetterWithoutContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tiny)
		r.config.Delivers[0].OrderBy = inData("note")
		r.ehr.size = 1
		sizes := []int{80 << 10, 1}
		for size := 63 << 10; size < 65<<10; size += 30 { // a few fit, and do not fit together with the position
			sizes = append(sizes, size)
		}
		for _, size := range sizes {
			c := change(strconv.Itoa(size), "a", "p", time.Now())
			c.Data = []byte(`{"id":"` + c.Ref.ID + `"}`)
			r.ehr.log = append(r.ehr.log, c)
		}
		huge := change("key", "a", "p", time.Now())
		huge.Data = []byte(`{"note":"` + strings.Repeat(canary, 20<<10) + `"}`)
		r.ehr.log = append(r.ehr.log, huge)
		r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
			n, _ := strconv.Atoi(strings.TrimPrefix(rec.Change.Ref.ID, canary))
			return make([]byte, n), nil
		}
		r.run(5 * time.Minute)
		if got := r.delivered(); !slices.Contains(got, "1@a") || len(got)+len(r.dead()) != len(sizes)+1 || len(got) < 10 || len(r.dead()) < 10 {
			t.Errorf("%d delivered, %d dead letters of %d changes", len(got), len(r.dead()), len(sizes)+1)
		}
		for _, d := range r.dead() {
			if d.Cause.Code != "too_large" || d.Record != nil || len(d.Key) > 0 {
				t.Errorf("a dead letter %s/%s holds content", d.Cause.Stage, d.Cause.Code)
			}
		}
		if r.position().Watermark == nil {
			t.Error("the window is not finished")
		}
		r.expectLog("one commit of the store takes 65536", len(r.dead()))
	})
}

// TestTheOrderingKeyStaysWhenAChangeDoesNotTellIt: a deletion has no data, and belongs behind the generation before it.
func TestTheOrderingKeyStaysWhenAChangeDoesNotTellIt(t *testing.T) {
	deleted := func(version string) sdk.Change {
		c := change("1", version, "", time.Now())
		c.Op, c.Data = sdk.Deleted, nil
		return c
	}
	unfetched := change("1", "b", "none", time.Now())
	for name, polls := range map[string][][]sdk.Change{
		"from poll to poll":              {{change("1", "a", "p1", time.Now())}, {deleted("b")}},
		"on one page":                    {{change("1", "a", "p1", time.Now()), deleted("b")}},
		"on one page, twice":             {{change("1", "a", "p1", time.Now()), deleted("b"), deleted("c")}},
		"over a change that was no good": {{change("1", "a", "p1", time.Now())}, {change("2", "a", "p2", time.Now()), unfetched}, {deleted("c")}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				own, second := deliver("out"), deliver("second")
				second.OrderBy = inData("patient")
				third := deliver("third")
				third.OrderBy = inData("state")
				r.config.Delivers = []pipeline.Deliver{own, second, third}
				r.config.Fetches = []pipeline.Fetch{patients()}
				r.ehr.onRef = func(ref sdk.Ref) error {
					if ref.ID == canary+"none" {
						return sdk.NotFound("GET /patient/{id}: 404")
					}
					return nil
				}
				r.ehr.onPoll = func(n int, _ sdk.Query) (sdk.Page, error) {
					return sdk.Page{Changes: slices.Clone(polls[min(n, len(polls))-1]), Watermark: []byte("w")}, nil
				}
				r.run(5 * time.Minute)
				want := map[string]string{"out": "appointment/" + canary + "1", "second": canary + "p1", "third": "a"}
				n := 0
				for _, e := range r.outbox() {
					if e.Ref.ID != canary+"1" {
						continue
					}
					n++
					if e.Key != want[e.Deliver] {
						t.Errorf("version %s for %s lies in lane %q, want %q", e.Version, e.Deliver, e.Key, want[e.Deliver])
					}
				}
				if n < 6 {
					t.Errorf("%d entries", n)
				}
			})
		})
	}
}

// TestAPageOfTwentyThousandChanges is unpaged, and goes through in bounded batches and fetches.
func TestAPageOfTwentyThousandChanges(t *testing.T) {
	simulate(t, func(r *rig) {
		const n = 20_000
		at := time.Now()
		for i := range n {
			r.ehr.setAt(at, strconv.Itoa(i), "a", "p"+strconv.Itoa(i%4000))
		}
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.before = func(_ int, b store.Batch) error {
			if b.Items() > r.store.Limits().Items/2 {
				t.Errorf("a commit of %d items", b.Items())
			}
			return nil
		}
		r.run(time.Second)
		if got := len(r.outbox()); got != n {
			t.Errorf("%d entries, want %d", got, n)
		}
		if got := len(r.ehr.fetched()); got != 4000 {
			t.Errorf("%d fetches of 4000 patients", got)
		}
		for _, refs := range r.ehr.fetches {
			if len(refs) > 256 {
				t.Errorf("%d refs in one call", len(refs))
			}
		}
	})
}

// TestWhatIsKeptBesideANotificationDoesNotStandInItsWay: it fits a commit, and with the record that it was made of it does not.
func TestWhatIsKeptBesideANotificationDoesNotStandInItsWay(t *testing.T) {
	simulateWith(t, tiny, func(r *rig) {
		r.config.Delivers[0].KeepRecord = true
		r.ehr.set("small", "1", "p")
		r.ehr.set("large", "1", strings.Repeat("p", tiny.Bytes*2/3))
		r.run(time.Minute)
		r.expectDead()
		kept := map[string]bool{}
		for _, e := range r.outbox() {
			kept[strings.TrimPrefix(e.Ref.ID, canary)] = len(e.Record) > 0
		}
		if want := map[string]bool{"small": true, "large": false}; !maps.Equal(kept, want) {
			t.Errorf("notifications with their records: %v, want %v", kept, want)
		}
	})
}

// TestTheFirstChangesOfAPageWaitForFewOthers: they are the oldest, and those of a page of 300 are committed when as many records as are
// worked on with them, and those of the batch ahead, have been fetched.
func TestTheFirstChangesOfAPageWaitForFewOthers(t *testing.T) {
	simulate(t, func(r *rig) {
		at := time.Now()
		for i := range 300 {
			r.ehr.setAt(at, strconv.Itoa(i), "a", "p"+strconv.Itoa(i))
		}
		r.config.Fetches = []pipeline.Fetch{patients()}
		var batches []int
		r.before = func(_ int, b store.Batch) error {
			if len(b.Entries) == 0 {
				return nil
			}
			if batches = append(batches, len(b.Entries)); len(batches) == 1 {
				if n := len(r.ehr.fetched()); n > 16+32 {
					t.Errorf("%d patients were fetched before the first commit", n)
				}
			}
			return nil
		}
		r.run(time.Second)
		if want := []int{16, 32, 64, 128, 60}; !slices.Equal(batches, want) {
			t.Errorf("batches of %v, want %v", batches, want)
		}
	})
}
