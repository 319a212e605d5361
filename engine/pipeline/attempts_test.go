// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// TestAFewThatFailDoNotHoldWhatComesBehindThem: nothing else is new on the page on which they stand, and more pages follow it.
func TestAFewThatFailDoNotHoldWhatComesBehindThem(t *testing.T) {
	refuse := func(err error, ids ...string) func(r *rig) {
		return func(r *rig) {
			r.ehr.onRef = func(ref sdk.Ref) error {
				if slices.Contains(ids, strings.TrimPrefix(ref.ID, canary)) {
					return err
				}
				return nil
			}
		}
	}
	for name, breaks := range map[string]func(r *rig){
		"patients that are gone":             refuse(sdk.NotFound("GET /patient/{id}: 404"), "bad2", "bad3"),
		"patients whose records are locked":  refuse(sdk.Unauthorized("GET /patient/{id}: 401"), "bad2", "bad3"),
		"one patient whose record is locked": refuse(sdk.Unauthorized("GET /patient/{id}: 401"), "bad2"),
		"a mapping that fails":               func(r *rig) { r.config.Delivers[0].Map = failFor("bad2", "bad3") },
		"items that can't be read now": func(r *rig) {
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				p := r.ehr.page(q)
				for i, c := range p.Changes {
					if strings.HasPrefix(c.Ref.ID, canary+"bad") {
						p.Changes[i].Err = sdk.Retryable("GET /appointments/{id}: 500")
					}
				}
				return p, nil
			}
		},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", name, restart), func(t *testing.T) {
				simulate(t, func(r *rig) {
					r.config.Fetches = []pipeline.Fetch{patients()}
					r.ehr.size = 4
					breaks(r)
					r.ehr.set("0", "a", "p0")
					r.ehr.set("1", "a", "p1")
					stop := r.start()
					pass(10 * time.Second)
					r.expect("0@a", "1@a")
					if restart { // what has worked is forgotten
						stop()
					}
					r.ehr.set("bad2", "a", "bad2")
					r.ehr.set("bad3", "a", "bad3")
					time.Sleep(time.Millisecond)
					for i := range 20 {
						r.ehr.set("behind"+strconv.Itoa(i), "a", "p")
					}
					if restart {
						stop = r.start()
					}
					pass(10 * time.Minute)
					stop()
					if got, dead := len(r.outbox()), len(r.dead()); got+dead != 24 || got < 22 || dead == 0 {
						t.Errorf("%d entries and %d dead letters of 24 changes, of which 2 can fail", got, dead)
					}
				})
			})
		}
	}
}

func TestARateLimitIsWaitedForAndWhatWasDoneStays(t *testing.T) {
	simulate(t, func(r *rig) {
		const after = 7 * time.Minute
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.fill(2000, "a") // of 500 patients
		budget := 100
		var limitedAt time.Time
		r.ehr.onFetch = func(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
			if !limitedAt.IsZero() {
				if time.Since(limitedAt) < after {
					t.Error("asked again too early")
				}
				budget, limitedAt = 100, time.Time{}
			}
			results := r.ehr.results(refs)
			for i := range results {
				if budget--; budget < 0 {
					results[i] = sdk.Result{Err: sdk.RateLimited(after, "GET /patient/{id}: 429")}
				}
			}
			if budget < 0 {
				limitedAt = time.Now()
			}
			return results, nil
		}
		r.run(time.Minute)
		if n := len(r.outbox()); n != 400 {
			t.Errorf("%d entries after the first limit, want 400", n)
		}
		limitedAt, budget = time.Time{}, 100
		r.run(time.Hour)
		if n := len(r.outbox()); n != 2000 {
			t.Errorf("%d entries after an hour, want 2000", n)
		}
		r.expectDead()
	})
}

func TestAnUnreadableItemThatMayPassGetsSomeAttempts(t *testing.T) {
	simulate(t, func(r *rig) {
		broken := change("1", "a", "p", time.Now())
		broken.Err = sdk.Retryable("GET /appointments/{id}: 500")
		mended := change("2", "a", "p", time.Now())
		r.ehr.onPoll = func(n int, _ sdk.Query) (sdk.Page, error) {
			second := mended
			if n < 3 {
				second.Err = broken.Err
			}
			return sdk.Page{Changes: []sdk.Change{change("0", "a", "p", time.Now()), broken, second}, Watermark: []byte("w")}, nil
		}
		r.run(10 * time.Minute)
		r.expect("0@a", "2@a")
		r.expectDead("1@a poll retryable")
		if n := r.dead()[0].Cause.Attempts; n != 5 {
			t.Errorf("%d attempts, want 5", n)
		}
	})
}

// TestTheFirstOfAPageThatFailDoNotHoldTheRest: the patients of the first 300 of 400 changes were removed.
func TestTheFirstOfAPageThatFailDoNotHoldTheRest(t *testing.T) {
	for name, breaks := range map[string]func(r *rig, first string){
		"fetch": func(r *rig, first string) {
			r.ehr.onRef = func(ref sdk.Ref) error {
				if strings.HasPrefix(ref.ID, canary+first) {
					return sdk.NotFound("GET /patient/{id}: 404")
				}
				return nil
			}
		},
		"map": func(r *rig, first string) {
			r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
				if strings.HasPrefix(rec.Change.Ref.ID, canary+first) {
					return nil, errScript
				}
				return rec.Marshal()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.config.Fetches = []pipeline.Fetch{patients()}
				breaks(r, "first")
				for i := range 400 {
					id := fmt.Sprintf("first%d", i)
					if i >= 300 {
						id = strconv.Itoa(i)
					}
					r.ehr.set(id, "a", id)
				}
				r.run(time.Minute)
				if got, dead := len(r.outbox()), len(r.dead()); got != 100 || dead != 300 {
					t.Errorf("%d entries and %d dead letters, want 100 and 300", got, dead)
				}
				if n := len(r.ehr.fetched()); n != 400 {
					t.Errorf("%d fetches of 400 patients", n)
				}
			})
		})
	}
}
