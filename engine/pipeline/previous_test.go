// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// comparing is a rig whose mapping says what it was told of the state before: version, operation and the patient fetched.
func comparing(t *testing.T, limits store.Limits) *rig {
	r := newRig(t, limits)
	r.config.KeepPrevious = true
	r.config.Fetches = []pipeline.Fetch{patients()}
	r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, c pipeline.MapContext) ([]byte, error) {
		if rec.Change.Version == "fails" {
			return nil, &pipeline.MapError{Text: "map.js:1:1: TypeError"}
		}
		if rec.Change.Version == "filtered" {
			return nil, nil
		}
		said := "nothing"
		if p := c.Previous; p != nil {
			if p.Change.Ref != rec.Change.Ref || p.Change.Time.IsZero() {
				t.Errorf("the state before is of another record, or has no time")
			}
			said = fmt.Sprintf("%s %s %s", p.Change.Version, p.Change.Op, p.Fetched["patient"])
		}
		return json.Marshal(strings.ReplaceAll(said, canary, ""))
	}
	return r
}

// heard lists what the mapping was told, as "id@version: what".
func (r *rig) heard() []string {
	r.Helper()
	var all []string
	for _, e := range r.outbox() {
		var said string
		if err := json.Unmarshal(e.Body, &said); err != nil {
			r.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s@%s: %s", strings.TrimPrefix(e.Ref.ID, canary), e.Version, said))
	}
	return all
}

func (r *rig) expectHeard(want ...string) {
	r.Helper()
	if got := r.heard(); !slices.Equal(got, want) {
		r.Errorf("mappings were told\n %q, want\n %q", got, want)
	}
}

const p1 = `{"id":"p1","next":"p1-next"}`

func TestTheStateBeforeIsThatOfTheGenerationBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := comparing(t, tiny)
		r.ehr.set("a", "1", "p1")
		r.run(time.Minute)
		r.ehr.set("a", "2", "")
		r.ehr.set("b", "1", "p1")
		r.run(time.Minute)
		r.ehr.set("a", "3", "p1")
		r.run(time.Minute)
		r.expectHeard("a@1: nothing", "a@2: 1 created "+p1, "b@1: nothing", "a@3: 2 updated null")
	})
}

// A feed of all versions lists several of a record on one page, in one batch or more.
func TestTheStateBeforeIsKnownWithinAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := comparing(t, tiny)
		r.ehr.feed.History = true
		var want []string
		before := "nothing"
		for i := range 600 { // three batches
			version := fmt.Sprint(i)
			r.ehr.set("a", version, "p1")
			want = append(want, "a@"+version+": "+before)
			before = version + " updated " + p1
			if i == 0 {
				before = version + " created " + p1
			}
			time.Sleep(time.Second)
		}
		r.config.Overlap = 0
		r.run(time.Minute)
		r.expectHeard(want...)
	})
}

func TestWhatWasFilteredOrNotMappedIsTheStateBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := comparing(t, store.Limits{})
		for _, version := range []string{"1", "filtered", "2", "fails", "3"} {
			r.ehr.set("a", version, "p1")
			r.ehr.set("other-"+version, "1", "")
			r.run(time.Minute)
		}
		got := slices.DeleteFunc(r.heard(), func(s string) bool { return strings.HasPrefix(s, "other") })
		want := []string{"a@1: nothing", "a@2: filtered updated " + p1, "a@3: fails updated " + p1}
		if !slices.Equal(got, want) {
			t.Errorf("mappings were told\n %q, want\n %q", got, want)
		}
		r.expectDead("a@fails map script")
	})
}

// What could not be fetched is no state to compare with: the one before it stays.
func TestTheStateBeforeIsAWholeOne(t *testing.T) {
	for name, history := range map[string]bool{"on pages of their own": false, "on one page": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := comparing(t, store.Limits{})
				r.ehr.feed.History = history
				r.ehr.onRef = func(ref sdk.Ref) error {
					if ref.ID == canary+"gone" {
						return sdk.NotFound("GET /patient/{id}: 404")
					}
					return nil
				}
				r.ehr.set("a", "1", "p1")
				r.run(time.Minute)
				r.ehr.set("a", "2", "gone")
				r.ehr.set("b", "1", "p1")
				if !history {
					r.run(time.Minute)
				}
				r.ehr.set("a", "3", "p1")
				r.run(time.Minute)
				got := slices.DeleteFunc(r.heard(), func(s string) bool { return strings.HasPrefix(s, "b") })
				if want := []string{"a@1: nothing", "a@3: 1 created " + p1}; !slices.Equal(got, want) {
					t.Errorf("mappings were told\n %q, want\n %q", got, want)
				}
				r.expectDead("a@2 fetch not_found")
			})
		})
	}
}

// A deletion is a state as well, and what comes back after it is created anew.
func TestTheStateBeforeOfWhatWasDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := comparing(t, store.Limits{})
		ops := []sdk.Op{}
		mapping := r.config.Delivers[0].Map
		r.config.Delivers[0].Map = func(ctx context.Context, rec *record.Record, c pipeline.MapContext) ([]byte, error) {
			ops = append(ops, rec.Change.Op)
			return mapping(ctx, rec, c)
		}
		r.ehr.set("a", "1", "p1")
		r.run(time.Minute)
		r.ehr.set("a", "2", "p1")
		r.run(time.Minute)
		gone := change("a", "3", "", time.Now())
		gone.Op, gone.Data = sdk.Deleted, nil
		r.ehr.do(func() { r.ehr.log = append(r.ehr.log, gone) })
		r.run(time.Minute)
		r.ehr.set("a", "4", "p1")
		r.run(time.Minute)
		r.expectHeard("a@1: nothing", "a@2: 1 created "+p1, "a@3: 2 updated "+p1, "a@4: 3 deleted null")
		if want := []sdk.Op{sdk.Created, sdk.Updated, sdk.Deleted, sdk.Created}; !slices.Equal(ops, want) {
			t.Errorf("operations %q, want %q", ops, want)
		}
	})
}

// What is repeated after a crash is mapped as it was: with the state before, not with what was to be committed.
func TestInvariant2ARepeatedMappingIsToldTheSame(t *testing.T) {
	scenario := func(t *testing.T, fault int) (told []string, commits int) {
		synctest.Test(t, func(t *testing.T) {
			r := comparing(t, store.Limits{Items: 4, Bytes: 64 << 10, Refs: 3})
			r.ehr.feed.History = true
			r.after = func(n int, _ store.Batch) error {
				if commits = n; n == fault {
					return errors.New("the process dies here")
				}
				return nil
			}
			for _, version := range []string{"1", "2", "3"} {
				for _, id := range []string{"a", "b", "c"} {
					r.ehr.set(id, version, "p1")
				}
			}
			r.run(time.Minute)
			for _, version := range []string{"4", "5"} {
				for _, id := range []string{"c", "a", "b"} {
					r.ehr.set(id, version, "")
				}
			}
			r.run(10 * time.Minute)
			told = r.heard()
		})
		return told, commits
	}
	want, commits := scenario(t, 0)
	if len(want) != 15 || commits < 5 {
		t.Fatalf("%d notifications in %d commits", len(want), commits)
	}
	for fault := 1; fault <= commits; fault++ {
		if got, _ := scenario(t, fault); !slices.Equal(got, want) {
			t.Errorf("with a fault after commit %d mappings were told\n %q, want\n %q", fault, got, want)
		}
	}
}

// Nothing is kept of a pipeline that was not asked to, and no longer once it is not.
func TestNothingIsKeptUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := comparing(t, store.Limits{})
		kept := func() (n int) {
			r.after = func(_ int, b store.Batch) error {
				for _, row := range b.Rows {
					if row.Snapshot != nil {
						n++
					}
				}
				return nil
			}
			r.run(time.Minute)
			return n
		}
		r.ehr.set("a", "1", "p1")
		if n := kept(); n != 1 {
			t.Errorf("%d records were kept, want 1", n)
		}
		r.config.KeepPrevious = false
		r.ehr.set("a", "2", "p1")
		if n := kept(); n != 0 {
			t.Errorf("%d records were kept, want none", n)
		}
		r.config.KeepPrevious = true
		r.ehr.set("a", "3", "p1")
		kept()
		r.expectHeard("a@1: nothing", "a@2: nothing", "a@3: nothing")
	})
}

// What a person has mapped again is mapped with the state before, as it would have been then.
// A mistyped year, which JSON has no form for, costs nothing of the record: it can be mapped again, compared and listed.
func TestARecordWithAYearOfFiveDigitsIsKeptWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := comparing(t, store.Limits{})
		r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, c pipeline.MapContext) ([]byte, error) {
			if rec.Change.Version == "fails" {
				return nil, &pipeline.MapError{Text: "map.js:1:1: TypeError"}
			}
			return json.Marshal(c.Previous != nil)
		}
		r.config.Delivers[0].KeepRecord = true
		mistyped := time.Date(12022, 5, 10, 10, 0, 0, 0, time.UTC)
		for _, version := range []string{"1", "2", "fails"} {
			r.ehr.setAt(mistyped, "a", version, "p1")
			r.ehr.set("b", version+"b", "p1") // so that not all of the page fails
			r.run(time.Minute)
		}
		if dead := r.dead(); len(dead) != 1 || dead[0].Record == nil || dead[0].Previous == nil {
			t.Errorf("dead letters that can't be mapped again: %+v", dead)
		}
		var got []string
		for _, e := range r.outbox() {
			if _, err := json.Marshal(e.Time); err != nil || e.Record == nil {
				t.Errorf("it can't be listed, or is without its record (%d bytes): %v", len(e.Record), err)
			}
			if e.Ref.ID == canary+"a" {
				got = append(got, string(e.Body))
			}
		}
		if want := []string{"false", "true"}; !slices.Equal(got, want) {
			t.Errorf("whether they knew the state before: %q, want %q", got, want)
		}
	})
}

func TestDeadLettersAndKeptRecordsCarryTheStateBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := comparing(t, store.Limits{})
		r.config.Delivers[0].KeepRecord = true
		for _, version := range []string{"1", "fails", "2"} {
			r.ehr.set("a", version, "p1")
			r.ehr.set("b", version+"b", "p1") // so that not all of the page fails
			r.run(time.Minute)
		}
		versionOf := func(data []byte) string {
			if data == nil {
				return "nothing"
			}
			rec, err := record.Unmarshal(data)
			if err != nil || len(rec.Fetched["patient"]) == 0 {
				t.Fatalf("%s: %v", data, err)
			}
			return rec.Change.Version
		}
		dead := r.dead()
		if len(dead) != 1 || versionOf(dead[0].Record) != "fails" || versionOf(dead[0].Previous) != "1" {
			t.Errorf("dead letters %+v", dead)
		}
		var got []string
		for _, e := range r.outbox() {
			if e.Time.IsZero() {
				t.Error("a notification without the time of its change")
			}
			if e.Ref.ID == canary+"a" {
				got = append(got, versionOf(e.Record)+" after "+versionOf(e.Previous))
			}
		}
		if want := []string{"1 after nothing", "2 after fails"}; !slices.Equal(got, want) {
			t.Errorf("notifications carry %q, want %q", got, want)
		}
	})
}
