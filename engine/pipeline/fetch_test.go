// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

func TestDistinctRefsAreFetchedOncePerWindow(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.size = 3
		r.ehr.fill(10, "a") // of p0, p1, p2
		r.run(time.Second)
		if got, want := r.ehr.fetched(), []string{"p0", "p1", "p2"}; !slices.Equal(got, want) {
			t.Errorf("fetched %q, want %q", got, want)
		}
		r.ehr.set("0", "b", "p0")
		r.run(2 * time.Minute)
		if got, want := r.ehr.fetched(), []string{"p0", "p1", "p2", "p0"}; !slices.Equal(got, want) {
			t.Errorf("fetched %q, want %q: a new window asks anew", got, want)
		}
	})
}

// TestWhatIsFetchedIsNotOlderThanTheChange: a record that changes again while a window is read is fetched again, and what was not
// there for one change may be there for a later one.
func TestWhatIsFetchedIsNotOlderThanTheChange(t *testing.T) {
	for name, test := range map[string]struct {
		second  string // the record that changes while the first page is worked on
		absent  bool   // until then, what is fetched is not there
		want    string // of what is fetched for it
		fetches int
	}{
		"a record that changes again":      {"1", false, `"state":"b"`, 2},
		"another, of what was there":       {"2", false, `"state":"a"`, 1},
		"another, of what was not there":   {"2", true, `"state":"a"`, 2},
		"a record that is still not there": {"1", true, `"state":"b"`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				absent := test.absent
				r.config.Fetches = []pipeline.Fetch{{Name: "chart", Resource: "chart", OnMissing: pipeline.DeliverMissing,
					ID: expr(func(*record.Record) (string, bool, error) { return canary + "1", true, nil })}}
				r.ehr.onRef = func(sdk.Ref) error {
					if absent {
						return sdk.NotFound("GET /chart/{id}: 404 Not Found")
					}
					return nil
				}
				r.ehr.set("1", "a", "")
				r.ehr.onPoll = func(n int, _ sdk.Query) (sdk.Page, error) {
					if n == 1 {
						return sdk.Page{Changes: r.ehr.log, Cursor: []byte("2")}, nil
					}
					time.Sleep(time.Second)
					absent = false
					r.ehr.set(test.second, "b", "")
					return sdk.Page{Changes: r.ehr.log[1:], Watermark: []byte("3")}, nil
				}
				r.run(10 * time.Second)
				r.expect("1@a", test.second+"@b")
				raw, _ := rawjson.Get(r.outbox()[1].Body, "fetched", "chart", "list", "0")
				if !strings.Contains(string(raw), test.want) || len(r.ehr.fetches) != test.fetches {
					t.Errorf("fetched %s in %d calls, want %s in %d", raw, len(r.ehr.fetches), test.want, test.fetches)
				}
			})
		})
	}
}

// TestInvariant1ASecondChangeWithinTheSecondIsFetched: the list tells an identifier and a time of a second's precision, and all else is
// fetched. A poll falls between two changes of one second, which look the same in the list.
func TestInvariant1ASecondChangeWithinTheSecondIsFetched(t *testing.T) {
	for _, x := range []struct {
		name      string
		version   sdk.VersionKind
		precision time.Duration
		digits    time.Duration // of the times, in fact
		clock     time.Duration // of the server's, less that of its records
		tells     bool          // its clock
		waits     time.Duration // at most
		hidden    bool          // the second change can't be told
		id        string        // what is fetched, of the members of the data; empty: that of the record itself
	}{
		{"coarse", sdk.Coarse, time.Second, time.Second, 0, true, time.Second, false, ""},
		{"without a version", sdk.None, time.Second, time.Second, 0, true, time.Second, false, ""},
		{"without the server's clock", sdk.Coarse, time.Second, time.Second, 0, false, time.Second, false, ""},
		{"records are dated by a clock that is ahead", sdk.Coarse, time.Second, time.Second, -time.Hour, true, 2 * time.Second, false, ""},
		{"times are finer than is said", sdk.Coarse, time.Second, time.Millisecond, 0, true, 0, false, ""},
		{"exact", sdk.Exact, time.Second, time.Millisecond, 0, true, 0, false, ""},
		{"a minute is not waited for", sdk.Coarse, time.Minute, time.Minute, 0, true, 0, true, ""},
		{"what is fetched has changes of its own", sdk.Coarse, time.Second, time.Second, 0, true, 0, true, "patient"},
	} {
		t.Run(x.name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.ehr.feed.Version, r.ehr.feed.Precision = x.version, x.precision
				r.config.Every, r.config.Overlap = 24*time.Hour, 2*time.Minute
				r.config.Fetches = []pipeline.Fetch{{Name: "visit", Resource: "visit", ID: inData(cmp.Or(x.id, "id"))}}
				r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
					return rec.Fetched["visit"], nil
				}
				state, made := 0, time.Time{}
				waited := time.Duration(-1)
				r.ehr.onFetch = func(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
					waited = time.Since(made) - 100*time.Millisecond
					var now []byte
					r.ehr.do(func() { now = fmt.Appendf(nil, "%d", state) })
					return []sdk.Result{{Data: now}}, nil
				}
				r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
					page := r.ehr.page(q)
					if page.Now = page.Now.Add(x.clock).Truncate(time.Second); !x.tells {
						page.Now = time.Time{}
					}
					return page, nil
				}
				change := func() {
					at := time.Now().Truncate(x.digits)
					version := map[bool]string{true: at.Format(time.RFC3339Nano)}[x.version != sdk.None]
					r.ehr.do(func() { state++ })
					r.ehr.setAt(at, "1", version, "p")
				}
				poll := func() { go func() { _, _ = r.loop.Poll(r.Context()) }() }

				stop := r.start()
				pass(time.Minute)
				time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + 100*time.Millisecond)))
				change()
				made = time.Now()
				time.Sleep(100 * time.Millisecond)
				poll()
				time.Sleep(100 * time.Millisecond)
				change()
				pass(10 * time.Second)
				if waited > x.waits || waited < 0 {
					t.Errorf("details were asked for %s after the page, want %s at most", waited, x.waits)
				}
				poll()
				pass(10 * time.Second)
				stop()
				box := r.outbox()
				if told := len(box) > 0 && string(box[len(box)-1].Body) == "2"; told == x.hidden {
					t.Errorf("the second change is told: %t, by %d notifications", told, len(box))
				}
			})
		})
	}
}

func TestIndependentFetchesShareACallAndDependentOnesFollow(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{
			{Name: "next", Resource: "patient", ID: inFetched("patient", "next"), Needs: []string{"patient"}},
			patients(),
			{Name: "state", Resource: "state", ID: inData("state")},
		}
		r.ehr.set("1", "a", "p1")
		r.ehr.set("2", "a", "p2")
		r.run(time.Second)
		var calls []string
		for _, refs := range r.ehr.fetches {
			var ids []string
			for _, ref := range refs {
				ids = append(ids, ref.Kind+"/"+strings.TrimPrefix(ref.ID, canary))
			}
			slices.Sort(ids)
			calls = append(calls, strings.Join(ids, " "))
		}
		if want := []string{"patient/p1 patient/p2 state/a", "patient/p1-next patient/p2-next"}; !slices.Equal(calls, want) {
			t.Errorf("calls %q, want %q", calls, want)
		}
		var body struct {
			Fetched map[string]struct{ ID string }
		}
		_ = json.Unmarshal(r.outbox()[1].Body, &body)
		for name, want := range map[string]string{"patient": canary + "p2", "next": canary + "p2-next", "state": "a"} {
			if got := body.Fetched[name].ID; got != want {
				t.Errorf("fetched.%s has the id %s, want %s", name, got, want)
			}
		}
	})
}

func TestFetchesThatNeedEachOtherAreRefused(t *testing.T) {
	r := newRig(t, tiny)
	r.config.Fetches = []pipeline.Fetch{{Name: "a", Needs: []string{"b"}}, {Name: "b", Needs: []string{"a"}}}
	if _, err := pipeline.New(r.config); err == nil || !strings.Contains(err.Error(), "visits") {
		t.Errorf("error %v, want one that names the pipeline", err)
	}
}

func TestWithoutAnIDNothingIsFetched(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients(), {Name: "empty", Resource: "patient", ID: expr(func(*record.Record) (string, bool, error) {
			return "", true, nil // an empty id would list all patients
		})}}
		r.ehr.set("1", "a", "")
		r.run(time.Second)
		if len(r.ehr.fetches) > 0 {
			t.Errorf("fetched %q", r.ehr.fetched())
		}
		if body := string(r.outbox()[0].Body); !strings.Contains(body, `"fetched":{"empty":null,"patient":null}`) {
			t.Errorf("the mapping saw %s", body)
		}
	})
}

// TestResultsAreBelievedOnlyWhenTheyAreAsPromised: what a defect of an adapter gives is neither matched by guess nor lost.
func TestResultsAreBelievedOnlyWhenTheyAreAsPromised(t *testing.T) {
	for name, test := range map[string]struct {
		results func([]sdk.Result) []sdk.Result
		log     string
	}{
		"too few":    {func(r []sdk.Result) []sdk.Result { return r[1:] }, "gave 1 results for 2 refs"},
		"too many":   {func(r []sdk.Result) []sdk.Result { return append(r, r...) }, "gave 4 results for 2 refs"},
		"none":       {func([]sdk.Result) []sdk.Result { return nil }, "gave 0 results for 2 refs"},
		"no content": {func(r []sdk.Result) []sdk.Result { return make([]sdk.Result, len(r)) }, "no valid JSON"},
		"no JSON": {func(r []sdk.Result) []sdk.Result {
			r[0].Data, r[1].Data = json.RawMessage("<html>"+canary), json.RawMessage("{")
			return r
		}, "no valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.config.Fetches = []pipeline.Fetch{patients()}
				r.ehr.set("1", "a", "p1")
				r.ehr.set("2", "a", "p2")
				bad := true
				r.ehr.onFetch = func(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
					if bad {
						bad = false
						return test.results(r.ehr.results(refs)), nil
					}
					return r.ehr.results(refs), nil
				}
				r.run(time.Minute)
				r.expectLog(test.log, 1)
				r.expect("1@a", "2@a")
				r.expectDead()
			})
		})
	}
}

// TestWhatBelongedToADeletedRecordMayBeGone: the deletion is told all the same.
func TestWhatBelongedToADeletedRecordMayBeGone(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.onRef = func(ref sdk.Ref) error {
			if ref.ID == canary+"gone" {
				return sdk.Gone("GET /patient/{id}: 410")
			}
			return nil
		}
		r.ehr.set("0", "a", "there")
		c := change("1", "a", "gone", time.Now())
		c.Op = sdk.Deleted
		r.ehr.do(func() { r.ehr.log = append(r.ehr.log, c) })
		r.run(time.Second)
		r.expect("0@a", "1@a")
		r.expectDead()
	})
}

// TestADeletionIsNoProofThatAFetchWorks: what is gone of a deleted record tells nothing of a resource whose path is wrong.
// TestACallThatOneRecordMakesFailIsSplit: the others of the call are not held by it, from the first call on.
func TestACallThatOneRecordMakesFailIsSplit(t *testing.T) {
	for name, failure := range map[string]error{
		"an answer that is too large": sdk.Permanent("Fetch: the call or its answer is larger than 256 MiB; ask for less at a time"),
		"an adapter that panics":      sdk.Retryable("Fetch: the adapter panicked"),
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.config.Fetches = []pipeline.Fetch{patients()}
				r.ehr.onFetch = func(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
					if slices.ContainsFunc(refs, func(x sdk.Ref) bool { return x.ID == canary+"bad" }) {
						return nil, failure
					}
					return r.ehr.results(refs), nil
				}
				for i := range 200 {
					r.ehr.set(strconv.Itoa(i), "a", "p"+strconv.Itoa(i))
				}
				r.ehr.set("bad", "a", "bad")
				for i := range 50 {
					r.ehr.set(strconv.Itoa(200+i), "a", "p"+strconv.Itoa(200+i))
				}
				r.run(10 * time.Minute)
				if n := len(r.outbox()); n != 250 {
					t.Errorf("%d of 250 records are delivered", n)
				}
				if dead := r.dead(); len(dead) != 1 || dead[0].Ref.ID != canary+"bad" {
					t.Errorf("dead letters: %d, want the one that fails", len(dead))
				}
				if n := len(r.ehr.fetches); n > 60 {
					t.Errorf("%d calls", n)
				}
			})
		})
	}
}

func TestADeletionIsNoProofThatAFetchWorks(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.onRef = func(sdk.Ref) error { return sdk.NotFound("GET /patinet/{id}: 404") }
		r.ehr.fill(3, "a")
		c := change("3", "a", "gone", time.Now())
		c.Op = sdk.Deleted
		r.ehr.do(func() { r.ehr.log = append(r.ehr.log, c) })
		r.run(time.Minute)
		r.expect()
		r.expectDead()
	})
}

// TestAFetchCannotPauseAPipeline: a watermark expires in a poll only.
func TestAFetchCannotPauseAPipeline(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.onRef = func(ref sdk.Ref) error {
			if ref.ID == canary+"odd" {
				return sdk.WatermarkExpired("odd")
			}
			return nil
		}
		r.ehr.set("0", "a", "there")
		r.ehr.set("1", "a", "odd")
		r.run(time.Second)
		r.ehr.set("2", "a", "there")
		r.run(2 * time.Minute)
		r.expect("0@a", "2@a")
		if dead := r.dead(); len(dead) != 1 || dead[0].Cause.Code != string(sdk.CodePermanent) {
			t.Errorf("dead letters %+v", dead)
		}
	})
}

// TestWhatALimitLetsThroughIsNoFailure: a limit that lets some of each batch through slows a pipeline down to that, not to the
// longest back-off.
func TestWhatALimitLetsThroughIsNoFailure(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.onFetch = func(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
			results := r.ehr.results(refs)
			for i := 2; i < len(results); i++ {
				results[i] = sdk.Result{Err: sdk.RateLimited(0, "GET /patient/{id}: not called")}
			}
			return results, nil
		}
		r.ehr.fill(160, "a") // of 40 patients
		r.run(2 * time.Minute)
		if n := len(r.delivered()); n != 160 {
			t.Errorf("%d of 160 are delivered", n)
		}
		r.expectDead()
	})
}
