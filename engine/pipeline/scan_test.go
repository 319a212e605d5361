// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// listing is a server that has no feed: it lists what it has.
type listing struct {
	*ehr
	has        map[string]string // state by id
	hidden     map[string]bool   // not listed, but there
	incomplete bool              // it does not say that it listed everything
}

// list makes the rig's server one that lists, and the pipeline one that infers deletes.
func (r *rig) list(ids ...string) *listing {
	l := &listing{ehr: r.ehr, has: map[string]string{}, hidden: map[string]bool{}}
	for _, id := range ids {
		l.has[id] = "a"
	}
	r.ehr.feed = sdk.Feed{Name: "appointments", Kind: "appointment", Class: sdk.Scan, Version: sdk.None}
	r.ehr.pages = l.page
	r.ehr.onRef = func(ref sdk.Ref) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, there := l.has[strings.TrimPrefix(ref.ID, canary)]; ref.Kind == "appointment" && !there {
			return sdk.NotFound("GET /appointments/{id}: 404")
		}
		return nil
	}
	r.config.Confirm, r.config.MaxDeleted = "appointment", 0.1
	return l
}

func (l *listing) page(q sdk.Query) sdk.Page {
	l.mu.Lock()
	defer l.mu.Unlock()
	var changes []sdk.Change
	for _, id := range slices.Sorted(maps.Keys(l.has)) {
		if !l.hidden[id] {
			c := change(id, l.has[id], "p"+id, time.Time{})
			c.Version = ""
			changes = append(changes, c)
		}
	}
	from, _ := strconv.Atoi(string(q.Cursor))
	from = min(from, len(changes))
	page := sdk.Page{Changes: changes[from:], Watermark: []byte("all"), Complete: !l.incomplete}
	if l.size > 0 && from+l.size < len(changes) {
		page = sdk.Page{Changes: changes[from : from+l.size], Cursor: []byte(strconv.Itoa(from + l.size))}
	}
	return page
}

// told lists the outbox as "id state", a deletion as "id deleted".
func (r *rig) told() []string {
	r.Helper()
	var all []string
	for _, e := range r.outbox() {
		rec, err := record.Unmarshal(e.Body)
		if err != nil {
			r.Fatal(err)
		}
		var data struct{ State string }
		_ = json.Unmarshal(rec.Change.Data, &data)
		if rec.Change.Op == sdk.Deleted {
			data.State = "deleted"
		}
		all = append(all, strings.TrimPrefix(e.Ref.ID, canary)+" "+data.State)
	}
	return all
}

func (r *rig) expectTold(want ...string) {
	r.Helper()
	if got := r.told(); !slices.Equal(got, want) {
		r.Errorf("told\n %q, want\n %q", got, want)
	}
}

// numbered gives n ids.
func numbered(n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("%03d", i))
	}
	return ids
}

func TestScanTellsWhatIsNewChangedAndDeleted(t *testing.T) {
	for _, size := range []int{0, 2} {
		simulateWith(t, tiny, func(r *rig) {
			l := r.list("1", "2", "3", "4", "5")
			l.size = size
			r.config.Delivers[0].OrderBy = inData("patient")
			stop := r.start()
			pass(time.Second)
			r.expectTold("1 a", "2 a", "3 a", "4 a", "5 a")
			pass(3 * time.Minute)
			l.do(func() { l.has["6"], l.has["2"] = "a", "b"; delete(l.has, "3") })
			pass(3 * time.Minute)
			l.do(func() { l.has["3"] = "a" })
			pass(3 * time.Minute)
			stop()
			r.expectTold("1 a", "2 a", "3 a", "4 a", "5 a", "2 b", "6 a", "3 deleted", "3 a")
			var ops []string
			for _, e := range r.outbox()[5:] {
				rec, _ := record.Unmarshal(e.Body)
				ops = append(ops, string(rec.Change.Op))
				if want := canary + "p" + strings.TrimPrefix(e.Ref.ID, canary); e.Key != want {
					t.Errorf("ordering key %s, want %s", e.Key, want)
				}
				if rec.Change.Op == sdk.Deleted && string(rec.Change.Data) != "null" {
					t.Errorf("the deletion holds %s", rec.Change.Data)
				}
			}
			if want := []string{"updated", "created", "deleted", "created"}; !slices.Equal(ops, want) {
				t.Errorf("ops %q, want %q", ops, want)
			}
			if p := r.position(); p.Cursor != nil || p.Scan < 9 {
				t.Errorf("position %+v", p)
			}
		})
	}
}

// TestScanIgnoresWhatMeansNothing but delivers it.
func TestScanIgnoresWhatMeansNothing(t *testing.T) {
	for _, class := range []sdk.Class{sdk.Scan, sdk.Timestamp} {
		simulate(t, func(r *rig) {
			l := r.list("1")
			r.config.Confirm = ""
			r.ehr.feed.Class, r.ehr.feed.Ignore = class, []string{"meta.views"}
			data := `{"id":"1","state":"a","meta":{"views":1}}`
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				p := l.page(q)
				p.Changes[0].Data = json.RawMessage(data)
				return p, nil
			}
			stop := r.start()
			pass(time.Second)
			r.ehr.do(func() { data = `{"id":"1","meta":{"views":2},"state":"a"}` })
			pass(2 * time.Minute)
			r.expectTold("1 a")
			r.ehr.do(func() { data = `{"id":"1","meta":{"views":3},"state":"b"}` })
			pass(2 * time.Minute)
			stop()
			r.expectTold("1 a", "1 b")
			if body := string(r.outbox()[1].Body); !strings.Contains(body, `"views":3`) {
				t.Errorf("the mapping saw %s", body)
			}
		})
	}
}

// TestScanFromNowRemembersWhatIsThere: without times, what the first scan lists was there before.
func TestScanFromNowRemembersWhatIsThere(t *testing.T) {
	simulateWith(t, tiny, func(r *rig) {
		l := r.list(numbered(20)...)
		l.size = 7
		r.config.Start.Now = true
		polls := 0
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			if polls++; polls == 3 {
				return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
			}
			return l.page(q), nil
		}
		stop := r.start()
		pass(2 * time.Minute)
		r.expectTold()
		l.do(func() { l.has["new"], l.has["005"] = "a", "b"; delete(l.has, "007") })
		pass(2 * time.Minute)
		stop()
		r.expectTold("005 b", "new a", "007 deleted")
	})
}

// TestScanWithoutConfirmInfersNothing and marks nothing.
func TestScanWithoutConfirmInfersNothing(t *testing.T) {
	simulate(t, func(r *rig) {
		l := r.list("1", "2")
		r.config.Confirm = ""
		r.before = func(_ int, b store.Batch) error {
			if b.Scan > 0 || len(b.Marks) > 0 {
				t.Error("rows are marked that nobody asks for")
			}
			return nil
		}
		stop := r.start()
		pass(time.Second)
		l.do(func() { delete(l.has, "1") })
		pass(5 * time.Minute)
		stop()
		r.expectTold("1 a", "2 a")
	})
}

func TestConfirmIsForScansOnly(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Confirm = "appointment"
		r.ehr.set("1", "a", "")
		r.run(100 * time.Millisecond)
		r.expect()
		r.expectLog("confirm is for feeds that list everything", 1)
	})
}

// TestInvariant7NoDeleteFromAScanThatDidNotSeeEverything in one go.
func TestInvariant7NoDeleteFromAScanThatDidNotSeeEverything(t *testing.T) {
	for name, breaks := range map[string]func(r *rig, l *listing){
		"the adapter does not say that it is complete": func(_ *rig, l *listing) { l.incomplete = true },
		"a page failed": func(r *rig, l *listing) {
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				if len(r.ehr.polls)%2 == 0 && q.Cursor != nil {
					return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
				}
				return l.page(q), nil
			}
		},
		"a cursor expired": func(r *rig, l *listing) {
			n := 0
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				if string(q.Cursor) != "4" {
					return l.page(q), nil
				}
				if n++; n%2 == 1 { // once in each window
					return sdk.Page{}, sdk.CursorExpired("GET /appointments: 410")
				}
				return l.page(q), nil
			}
		},
		"a commit of a page failed": func(r *rig, _ *listing) {
			failed := map[uint64]bool{}
			r.before = func(_ int, b store.Batch) error {
				if p := b.Position; p != nil && string(p.Cursor) == "6" && !failed[p.Scan] {
					failed[p.Scan] = true
					return store.ErrBusy
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				l := r.list(numbered(9)...)
				l.size = 2
				stop := r.start()
				pass(time.Second)
				l.do(func() { breaks(r, l); delete(l.has, "003") })
				pass(20 * time.Minute)
				if slices.Contains(r.told(), "003 deleted") || len(r.ehr.fetched()) > 0 {
					t.Error("a delete was inferred")
				}
				l.do(func() {
					l.incomplete, r.before = false, nil
					r.ehr.onPoll = nil
				})
				pass(20 * time.Minute)
				stop()
				if told := r.told(); len(told) != 10 || told[9] != "003 deleted" {
					t.Errorf("told %q: the delete has to come with the next complete scan", told)
				}
			})
		})
	}
}

// TestInvariant7ADeleteIsConfirmedByOneFetch: what is there is not deleted though it is not listed, what can't be told is left to
// the next scan.
func TestInvariant7ADeleteIsConfirmedByOneFetch(t *testing.T) {
	simulate(t, func(r *rig) {
		l := r.list(numbered(9)...)
		stop := r.start()
		pass(time.Second)
		answer := r.ehr.onRef
		busy := true
		l.do(func() {
			l.hidden["001"] = true
			delete(l.has, "002")
			delete(l.has, "003")
			r.ehr.onRef = func(ref sdk.Ref) error {
				if busy && ref.ID == canary+"003" {
					return sdk.Retryable("GET /appointments/{id}: 503")
				}
				return answer(ref)
			}
		})
		pass(time.Minute)
		if got := r.told(); !slices.Equal(got[9:], []string{"002 deleted"}) {
			t.Errorf("told %q", got[9:])
		}
		got := r.ehr.fetched()
		slices.Sort(got)
		if want := []string{"001", "002", "003", "008"}; !slices.Equal(got, want) {
			t.Errorf("asked for %q, want %q: each once, and one that is listed", got, want)
		}
		l.do(func() { busy = false })
		pass(time.Minute)
		l.do(func() { l.hidden["001"] = false })
		pass(5 * time.Minute)
		stop()
		if got := r.told(); !slices.Equal(got[9:], []string{"002 deleted", "003 deleted"}) {
			t.Errorf("told %q", got[9:])
		}
		if n := len(r.ehr.fetched()); n != 4+3 {
			t.Errorf("%d fetches: what is deleted is asked for no more, what is listed neither", n)
		}
	})
}

// TestInvariant7AWrongResourceDeletesNothing: it has none of the records, also not one that was just listed.
func TestInvariant7AWrongResourceDeletesNothing(t *testing.T) {
	for name, answer := range map[string]func(context.Context, []sdk.Ref) ([]sdk.Result, error){
		"each is not found": func(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
			results := make([]sdk.Result, len(refs))
			for i := range results {
				results[i].Err = sdk.NotFound("GET /appointment/{id}: 404")
			}
			return results, nil
		},
		"the call fails": func(context.Context, []sdk.Ref) ([]sdk.Result, error) {
			return nil, sdk.Unauthorized("GET /appointment/{id}: 401")
		},
		"too few results": func(context.Context, []sdk.Ref) ([]sdk.Result, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				l := r.list(numbered(9)...)
				stop := r.start()
				pass(time.Second)
				l.do(func() { delete(l.has, "002"); l.has["004"] = "b"; r.ehr.onFetch = answer })
				pass(5 * time.Minute)
				if got := r.told(); !slices.Equal(got[9:], []string{"004 b"}) {
					t.Errorf("told %q", got[9:])
				}
				l.do(func() { r.ehr.onFetch = nil })
				pass(2 * time.Minute)
				stop()
				if got := r.told(); !slices.Equal(got[9:], []string{"004 b", "002 deleted"}) {
					t.Errorf("told %q", got[9:])
				}
			})
		})
	}
}

// TestInvariant7TooManyMissingDeleteNone: an API that lists half of what it has must not cost the other half.
func TestInvariant7TooManyMissingDeleteNone(t *testing.T) {
	for _, test := range []struct {
		records, missing int
		share            float64
		deleted          bool
	}{
		{100, 10, 0.1, true}, {100, 11, 0.1, false}, {100, 100, 0.1, false}, {100, 5, 0, true}, {100, 6, 0, false},
		{5, 5, 0.1, true}, {6, 6, 0.1, false}, {100, 100, 1, true},
	} {
		simulate(t, func(r *rig) {
			l := r.list(numbered(test.records)...)
			r.config.MaxDeleted = test.share
			stop := r.start()
			pass(time.Second)
			l.do(func() {
				for _, id := range numbered(test.missing) {
					delete(l.has, id)
				}
			})
			pass(time.Minute)
			stop()
			want := 0
			if test.deleted {
				want = test.missing
			}
			if got := len(r.told()) - test.records; got != want {
				t.Errorf("%+v: %d deleted", test, got)
			}
			if n := len(r.ehr.fetched()); test.deleted != (n > 0) {
				t.Errorf("%+v: %d fetches", test, n)
			}
			if !test.deleted {
				r.expectLog(fmt.Sprintf("missing=%d known=%d at_most=%d", test.missing, test.records, max(5, int(test.share*float64(test.records)))), 1)
			}
		})
	}
}

// TestInvariant7NothingElseIsTakenForMissing: rows of another kind, of items without an id.
func TestInvariant7NothingElseIsTakenForMissing(t *testing.T) {
	simulate(t, func(r *rig) {
		l := r.list("1", "2", "3")
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			p := l.page(q)
			if n == 1 {
				p.Changes = append(p.Changes, sdk.Change{Data: json.RawMessage(`{"no":"id"}`)},
					sdk.Change{Ref: sdk.Ref{Kind: "other", ID: canary + "9"}, Data: json.RawMessage(`{}`)})
			}
			return p, nil
		}
		r.run(10 * time.Minute)
		if got := r.told(); len(got) != 4 {
			t.Errorf("told %q", got)
		}
		if n := len(r.ehr.fetched()); n > 0 {
			t.Errorf("%d records were taken for missing", n)
		}
	})
}

// TestInvariant7AStopInASweepNeitherLosesNorRepeats, wherever it comes.
func TestInvariant7AStopInASweepNeitherLosesNorRepeats(t *testing.T) {
	for _, written := range []bool{false, true} {
		for failing := 1; ; failing++ {
			done := false
			simulateWith(t, tiny, func(r *rig) {
				l := r.list(numbered(60)...)
				l.size = 25
				r.config.MaxDeleted = 0.5
				stop := r.start()
				pass(2 * time.Minute)
				begun := 0
				fault := func(int, store.Batch) error {
					if begun++; begun == failing {
						return store.ErrUnknown
					}
					return nil
				}
				l.do(func() {
					for _, id := range numbered(20) {
						delete(l.has, id)
					}
					if written {
						r.after = fault
					} else {
						r.before = fault
					}
				})
				pass(10 * time.Minute)
				stop()
				done = begun < failing
				told := r.told()[60:]
				slices.Sort(told)
				var want []string
				for _, id := range numbered(20) {
					want = append(want, id+" deleted")
				}
				if !slices.Equal(told, want) {
					t.Errorf("commit %d fails, written %v: told %q", failing, written, told)
				}
			})
			if done || t.Failed() || failing > 60 {
				break
			}
		}
	}
}

// TestADeletionGoesTheWayOfAnyChange: one that can't be mapped is a dead letter.
func TestADeletionGoesTheWayOfAnyChange(t *testing.T) {
	simulate(t, func(r *rig) {
		l := r.list(numbered(9)...)
		r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
			if rec.Change.Op == sdk.Deleted && strings.HasSuffix(rec.Change.Ref.ID, "001") {
				return nil, errScript
			}
			return rec.Marshal()
		}
		stop := r.start()
		pass(time.Second)
		l.do(func() { delete(l.has, "001"); delete(l.has, "002") })
		pass(5 * time.Minute)
		stop()
		if got := r.told(); !slices.Equal(got[9:], []string{"002 deleted"}) {
			t.Errorf("told %q", got[9:])
		}
		if dead := r.dead(); len(dead) != 1 || dead[0].Cause.Stage != record.StageMap {
			t.Errorf("dead letters %+v", dead)
		}
	})
}

// TestMarksAreSmall: a scan in which nothing changed writes no row.
func TestMarksAreSmall(t *testing.T) {
	simulate(t, func(r *rig) {
		l := r.list(numbered(1000)...)
		l.size = 200
		stop := r.start()
		pass(2 * time.Minute)
		rows, marks := 0, 0
		r.ehr.do(func() {
			r.before = func(_ int, b store.Batch) error {
				rows, marks = rows+len(b.Rows), marks+len(b.Marks)
				return nil
			}
		})
		pass(time.Minute)
		stop()
		if rows != 0 || marks != 1000 {
			t.Errorf("%d rows and %d marks, want 0 and 1000", rows, marks)
		}
	})
}
