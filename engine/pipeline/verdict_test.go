// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"errors"
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

var errScript = &pipeline.MapError{Text: "appointment.js:3:7: TypeError", Detail: "cannot read " + canary}

// failFor is a mapping that fails for some records.
func failFor(ids ...string) func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) {
	return func(_ context.Context, r *record.Record, _ pipeline.MapContext) ([]byte, error) {
		if slices.Contains(ids, strings.TrimPrefix(r.Change.Ref.ID, canary)) {
			return []byte("half a body"), errScript
		}
		return r.Marshal()
	}
}

// TestWhenAllOfAPageFailsNothingCommits, and it mends itself when the cause is gone.
func TestWhenAllOfAPageFailsNothingCommits(t *testing.T) {
	for name, breaks := range map[string]struct {
		on  func(r *rig)
		log string
	}{
		"the feed answers HTML": {func(r *rig) {
			r.ehr.onPoll = func(int, sdk.Query) (sdk.Page, error) {
				return sdk.Page{}, sdk.Retryable("GET /appointments: 200, but no JSON")
			}
		}, "but no JSON"},
		"no item has an id": {func(r *rig) {
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				p := r.ehr.page(q)
				for i := range p.Changes {
					p.Changes[i].Ref.ID = ""
				}
				return p, nil
			}
		}, "the change has no id"},
		"no item can be read": {func(r *rig) {
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				p := r.ehr.page(q)
				for i := range p.Changes {
					p.Changes[i].Err = fmt.Errorf("item %s", canary)
				}
				return p, nil
			}
		}, "reading the page"},
		"no patient is found": {func(r *rig) {
			r.ehr.onRef = func(sdk.Ref) error { return sdk.NotFound("GET /patient/{id}: 404") }
		}, "GET /patient/{id}: 404"},
		"the expression fails": {func(r *rig) {
			r.config.Fetches[0].ID = expr(func(*record.Record) (string, bool, error) { return "", false, errors.New("a.hcl:3: no such thing") })
		}, "a.hcl:3: no such thing"},
		"the expression panics": {func(r *rig) {
			r.config.Fetches[0].ID = expr(func(*record.Record) (string, bool, error) { panic(canary) })
		}, "please report it"},
		"the script fails": {func(r *rig) {
			r.config.Delivers[0].Map = func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) { return nil, errScript }
		}, "appointment.js:3:7: TypeError"},
		"the script panics": {func(r *rig) {
			r.config.Delivers[0].Map = func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) { panic(canary) }
		}, "please report it"},
		"the script can't be run": {func(r *rig) {
			r.config.Delivers[0].Map = func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) {
				return nil, errors.New(canary)
			}
		}, "text withheld"},
		"the filter fails": {func(r *rig) {
			r.config.Delivers[0].Filter = condition(func(string) (bool, error) { return false, errors.New("a.hcl:8: no such thing") })
		}, "a.hcl:8: no such thing"},
		"order_by fails": {func(r *rig) {
			r.config.Delivers[0].OrderBy = expr(func(*record.Record) (string, bool, error) { return "", false, errors.New("a.hcl:9: no list") })
		}, "a.hcl:9: no list"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.config.Fetches = []pipeline.Fetch{patients()}
				whole := r.config
				whole.Fetches, whole.Delivers = slices.Clone(whole.Fetches), slices.Clone(whole.Delivers)
				breaks.on(r)
				r.ehr.fill(5, "a")
				r.run(time.Hour)
				r.expect()
				r.expectDead()
				if r.position().Watermark != nil {
					t.Error("the watermark moved")
				}
				if n := strings.Count(r.logs.String(), breaks.log); n < 10 || n > 30 {
					t.Errorf("the log says %q %d times in an hour", breaks.log, n)
				}
				r.config, r.ehr.onPoll, r.ehr.onRef = whole, nil, nil
				r.run(time.Minute)
				r.expect("0@a", "1@a", "2@a", "3@a", "4@a")
			})
		})
	}
}

func TestBackOffGrowsWithJitterAndEnds(t *testing.T) {
	simulate(t, func(r *rig) {
		down := true
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			r.ehr.mu.Lock()
			defer r.ehr.mu.Unlock()
			if down {
				return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
			}
			return sdk.Page{Watermark: []byte("w")}, nil
		}
		stop := r.start()
		pass(2 * time.Hour)
		r.ehr.do(func() { down = false })
		pass(10 * time.Minute)
		stop()
		var waits []time.Duration
		for i, at := range r.ehr.pollAt[1:] {
			waits = append(waits, at.Sub(r.ehr.pollAt[i]))
		}
		round := 0
		for i, w := range waits[:20] {
			most := min(time.Second<<min(i, 10), 5*time.Minute)
			if w < most/2 || w > most {
				t.Errorf("wait %d is %s, want %s to %s", i+1, w, most/2, most)
			}
			if w%time.Second == 0 {
				round++
			}
		}
		if round > 5 {
			t.Error("the waits have no jitter")
		}
		if last := waits[len(waits)-1]; last != time.Minute {
			t.Errorf("the last wait is %s, want the pipeline's minute", last)
		}
		r.expectLog("the pipeline works again", 1)
	})
}

func TestSomeRecordsThatFailBecomeDeadLettersAndTheRestGoesOn(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.config.Delivers[0].Map = failFor("2")
		r.config.Delivers[0].OrderBy = expr(func(rec *record.Record) (string, bool, error) {
			if rec.Change.Ref.ID == canary+"3" {
				return "", false, errors.New("a.hcl:9: no list")
			}
			return "key", true, nil
		})
		r.ehr.onRef = func(ref sdk.Ref) error {
			if ref.ID == canary+"p1" { // of the records 4 to 7
				return sdk.Gone("GET /patient/{id}: 410")
			}
			return nil
		}
		r.ehr.fill(9, "a")
		r.run(10 * time.Minute)
		r.expect("0@a", "1@a", "8@a")
		r.expectDead("2@a map script", "3@a map expression", "4@a fetch gone", "5@a fetch gone", "6@a fetch gone", "7@a fetch gone")
		d := r.dead()[0]
		if d.Deliver != "out" || d.Key != "key" || d.Generation != 1 || d.Cause.Attempts != 1 || d.Cause.Detail != errScript.Detail ||
			!strings.Contains(d.Cause.Text, "appointment.js:3:7") {
			t.Errorf("dead letter of the script: %+v", d.Cause)
		}
		if rec, err := record.Unmarshal(d.Record); err != nil || rec.Fetched["patient"] == nil {
			t.Error("the record is not kept with what was fetched")
		}
		if d := r.dead()[2]; d.Deliver != "" || d.Record == nil || !strings.Contains(d.Cause.Text, `fetch "patient": GET /patient/{id}: 410`) {
			t.Errorf("dead letter of the fetch: %+v", d.Cause)
		}
		r.expectLog("became dead letters", 1)
		r.expectLog("count=6", 1)
	})
}

// TestInvariant5: a failed mapping delivers nothing, whatever body it gave; the other deliver block does.
func TestInvariant5AFailedMappingNeverDelivers(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Delivers = append(r.config.Delivers, deliver("second"))
		r.config.Delivers[0].Map = failFor("1")
		r.ehr.fill(3, "a")
		r.run(5 * time.Minute)
		r.expect("0@a", "0@a/second", "1@a/second", "2@a", "2@a/second")
		r.expectDead("1@a map script")
	})
}

func TestAnUnfilteredNeighbourOfAPanicIsDelivered(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
			if rec.Change.Ref.ID == canary+"1" {
				panic(rec)
			}
			return rec.Marshal()
		}
		r.config.Fetches = []pipeline.Fetch{{Name: "x", Resource: "x", ID: expr(func(rec *record.Record) (string, bool, error) {
			if rec.Change.Ref.ID == canary+"2" {
				panic(rec)
			}
			return "x", true, nil
		})}}
		r.ehr.fill(4, "a")
		r.run(5 * time.Minute)
		r.expect("0@a", "3@a")
		r.expectDead("1@a map internal", "2@a fetch expression")
	})
}

func TestALonePoisonRecordIsADeadLetterOnceTheFeedHasWorked(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Delivers[0].Map = failFor("1", "2")
		r.ehr.set("1", "a", "p")
		stop := r.start()
		defer stop()
		pass(time.Hour)
		r.expectDead() // it may be the script: nothing ever passed it
		r.ehr.set("0", "a", "p")
		pass(10 * time.Minute)
		r.expect("0@a")
		r.expectDead("1@a map script")
		r.ehr.set("2", "a", "p")
		pass(time.Minute)
		r.expectDead("1@a map script", "2@a map script")
	})
}

func TestABrokenScriptLeavesNoDeadLettersAlsoAfterItWorked(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Delivers[0].Map = failFor("1", "2")
		r.ehr.set("0", "a", "p")
		stop := r.start()
		defer stop()
		pass(10 * time.Minute)
		r.ehr.set("1", "a", "p")
		r.ehr.set("2", "a", "p")
		pass(time.Hour)
		r.expect("0@a")
		r.expectDead()
	})
}

// flaky makes the fetches of some refs fail in a way that may pass.
func flaky(r *rig, ids ...string) {
	r.ehr.do(func() {
		r.ehr.onRef = func(ref sdk.Ref) error {
			if slices.Contains(ids, strings.TrimPrefix(ref.ID, canary)) {
				return sdk.Retryable("GET /patient/{id}: 500")
			}
			return nil
		}
	})
}

func TestARecordThatCannotBeFetchedWhileOthersCanGetsSomeAttempts(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		for i := range 4 {
			r.ehr.set(strconv.Itoa(i), "a", "p"+strconv.Itoa(i))
		}
		r.ehr.set("1", "b", "p9") // behind an earlier state that waits
		r.ehr.feed.History = true
		flaky(r, "p1")
		stop := r.start()
		defer stop()
		pass(5 * time.Second)
		r.expect("0@a", "2@a", "3@a")
		r.expectDead()
		pass(10 * time.Minute)
		r.expect("0@a", "2@a", "3@a", "1@b")
		r.expectDead("1@a fetch retryable")
		if n := r.dead()[0].Cause.Attempts; n != 5 {
			t.Errorf("%d attempts, want 5", n)
		}
		// In a quiet feed too.
		r.ehr.set("5", "a", "p1")
		pass(10 * time.Minute)
		r.expectDead("1@a fetch retryable", "5@a fetch retryable")
	})
}

// TestInvariant1NoStateOvertakesAnEarlierOneThatWaits: the second state of a record appears after the first was tried so many
// times, and both ask for what can't be fetched.
func TestInvariant1NoStateOvertakesAnEarlierOneThatWaits(t *testing.T) {
	for tried := range 5 {
		simulate(t, func(r *rig) {
			r.config.Fetches = []pipeline.Fetch{patients()}
			r.ehr.feed.History = true
			r.ehr.set("0", "a", "p0")
			r.ehr.set("1", "a", "p1")
			flaky(r, "p1")
			r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
				if n == 1+tried {
					time.Sleep(time.Millisecond)
					r.ehr.set("1", "b", "p1")
				}
				return r.ehr.page(q), nil
			}
			r.run(20 * time.Minute)
			r.expect("0@a")
			r.expectDead("1@a fetch retryable", "1@b fetch retryable")
		})
	}
}

func TestARecordThatCanBeFetchedAfterAllIsDelivered(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.fill(8, "a")
		flaky(r, "p1")
		stop := r.start()
		defer stop()
		pass(2 * time.Second)
		flaky(r)
		pass(time.Minute)
		r.expect("0@a", "1@a", "2@a", "3@a", "4@a", "5@a", "6@a", "7@a")
		r.expectDead()
	})
}

// TestAnOutageLeavesNoDeadLetters, however it begins: from the first call on, in the middle of a batch, for one record.
func TestAnOutageLeavesNoDeadLetters(t *testing.T) {
	for name, begin := range map[string]func(r *rig) []string{
		"from the start": func(r *rig) []string {
			flaky(r, "p0", "p1", "p2")
			return nil
		},
		"in the middle of a batch": func(r *rig) []string {
			flaky(r, "p1", "p2")
			return []string{"0@a", "1@a", "2@a", "3@a"}
		},
		"calls that fail as a whole": func(r *rig) []string {
			r.ehr.onFetch = func(ctx context.Context, _ []sdk.Ref) ([]sdk.Result, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.config.Fetches = []pipeline.Fetch{patients()}
				r.ehr.fill(12, "a")
				before := begin(r)
				stop := r.start()
				defer stop()
				pass(100 * time.Millisecond)
				if r.ehr.onRef != nil {
					flaky(r, "p0", "p1", "p2")
				}
				pass(48 * time.Hour)
				r.expect(before...)
				r.expectDead()
				if n := len(r.ehr.polls); n > 1500 {
					t.Errorf("%d polls in an outage of two days", n)
				}
				flaky(r)
				r.ehr.do(func() { r.ehr.onFetch = nil })
				pass(10 * time.Minute)
				if got := r.delivered(); len(got) != 12 {
					t.Errorf("delivered %q", got)
				}
			})
		})
	}
}

// TestCredentialsThatAreRefusedLeaveNoDeadLetters, from the first call on and in the middle of a batch.
func TestCredentialsThatAreRefusedLeaveNoDeadLetters(t *testing.T) {
	for _, good := range []int{0, 1} {
		simulate(t, func(r *rig) {
			r.config.Fetches = []pipeline.Fetch{patients()}
			r.ehr.fill(8, "a")
			calls, restored := 0, false
			r.ehr.onRef = func(sdk.Ref) error {
				if calls++; calls > good && !restored {
					return sdk.Unauthorized("GET /patient/{id}: 401")
				}
				return nil
			}
			r.run(24 * time.Hour)
			r.expect([]string{"0@a", "1@a", "2@a", "3@a"}[:4*good]...)
			r.expectDead()
			restored = true
			r.run(10 * time.Minute)
			if n := len(r.delivered()); n != 8 {
				t.Errorf("%d of 8 are delivered when the credentials are good again", n)
			}
		})
	}
}
