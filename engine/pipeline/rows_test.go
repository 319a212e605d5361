// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// poll is one reading of a feed of one page: the changes that it lists.
type poll []sdk.Change

// TestWhatIsNew gives the feed's readings one after the other and says what each brings.
func TestWhatIsNew(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2000, 1, 1, 0, 0, second, 0, time.UTC) }
	c := func(version, state string, second int) sdk.Change {
		ch := change("1", version, "p", at(second))
		ch.Data = json.RawMessage(`{"state":"` + state + `"}`)
		return ch
	}
	timeless := func(version, state string) sdk.Change {
		ch := c(version, state, 0)
		ch.Time = time.Time{}
		return ch
	}
	deleted := func(ch sdk.Change) sdk.Change {
		ch.Op, ch.Data = sdk.Deleted, nil
		return ch
	}
	for _, test := range []struct {
		name  string
		feed  sdk.Feed
		polls []poll
		want  []string // version and operation of what is delivered, in order
	}{
		{"the overlap brings the same again", sdk.Feed{Version: sdk.Exact},
			[]poll{{c("1", "a", 1)}, {c("1", "a", 1)}, {c("2", "b", 2)}}, []string{"1 created", "2 updated"}},
		{"exact versions say all, the data may differ", sdk.Feed{Version: sdk.Exact},
			[]poll{{c("1", "a", 1)}, {c("1", "volatile", 1)}}, []string{"1 created"}},
		{"coarse versions hide a second change in the same second", sdk.Feed{Version: sdk.Coarse},
			[]poll{{c("1", "a", 1)}, {c("1", "a", 1)}, {c("1", "b", 1)}, {c("1", "b", 1)}}, []string{"1 created", "1 updated"}},
		{"without versions the data tell", sdk.Feed{Version: sdk.None},
			[]poll{{c("", "a", 1)}, {c("", "a", 1)}, {c("", "b", 1)}}, []string{" created", " updated"}},
		{"an empty version on a feed of exact ones leaves the data", sdk.Feed{Version: sdk.Exact},
			[]poll{{c("", "a", 1)}, {c("", "a", 2)}, {c("", "b", 1)}}, []string{" created", " updated"}},
		{"how the data are written does not count", sdk.Feed{Version: sdk.None},
			[]poll{{c("", "a", 1)}, {{Ref: c("", "", 1).Ref, Time: at(1), Data: json.RawMessage("{ \"state\" : \"\\u0061\" }")}}},
			[]string{" created"}},
		{"a return to an earlier state is new", sdk.Feed{Version: sdk.None},
			[]poll{{c("", "a", 1)}, {c("", "b", 2)}, {c("", "a", 3)}}, []string{" created", " updated", " updated"}},
		{"a return is new also when no time is told", sdk.Feed{Version: sdk.None},
			[]poll{{timeless("", "a")}, {timeless("", "b")}, {timeless("", "a")}}, []string{" created", " updated", " updated"}},
		{"a stale replica shows a known older state", sdk.Feed{Version: sdk.Exact},
			[]poll{{c("1", "a", 1)}, {c("2", "b", 2)}, {c("1", "a", 1)}, {c("2", "b", 2)}}, []string{"1 created", "2 updated"}},
		{"an older state that was never seen is new", sdk.Feed{Version: sdk.Exact},
			[]poll{{c("2", "b", 2)}, {c("1", "a", 1)}, {c("2", "b", 2)}}, []string{"2 created", "1 updated", "2 updated"}},
		{"nothing is older for what was dated wrongly", sdk.Feed{Version: sdk.None},
			[]poll{{c("", "a", 1)}, {c("", "b", 60*60*24*365*90)}, {c("", "a", 2)}, {c("", "a", 2)}}, []string{" created", " updated", " updated"}},
		{"a deletion is new, once", sdk.Feed{Version: sdk.Exact, Deletes: true},
			[]poll{{c("1", "a", 1)}, {deleted(c("1", "", 2))}, {deleted(c("1", "", 2))}, {c("2", "a", 3)}},
			[]string{"1 created", "1 deleted", "2 created"}},
		{"two states of a record in one page", sdk.Feed{Version: sdk.Exact, History: true},
			[]poll{{c("1", "a", 1), c("2", "b", 2)}, {c("1", "a", 1), c("2", "b", 2)}}, []string{"1 created", "2 updated"}},
		{"two states of a record in one page, the newest first", sdk.Feed{Version: sdk.Exact},
			[]poll{{c("2", "b", 2), c("1", "a", 1)}, {c("2", "b", 2), c("1", "a", 1)}}, []string{"1 created", "2 updated"}},
		{"three states of a known record, in no order", sdk.Feed{Version: sdk.Coarse, Class: sdk.Timestamp},
			[]poll{{c("1", "a", 1)}, {c("3", "c", 3), c("4", "d", 4), c("2", "b", 2), c("1", "a", 1)}, {c("4", "d", 4), c("3", "c", 3), c("2", "b", 2), c("1", "a", 1)}},
			[]string{"1 created", "2 updated", "3 updated", "4 updated"}},
		{"a sequence knows better than the times", sdk.Feed{Version: sdk.Exact, Class: sdk.Sequence},
			[]poll{{c("1", "a", 2), c("2", "b", 1)}, {}}, []string{"1 created", "2 updated"}},
		{"the same state twice in one page", sdk.Feed{Version: sdk.Exact},
			[]poll{{c("1", "a", 1), c("1", "a", 1)}}, []string{"1 created"}},
		{"two states of one second in one page, again and again", sdk.Feed{Version: sdk.Exact, History: true},
			[]poll{{c("1", "a", 1), c("2", "b", 1)}, {c("1", "a", 1), c("2", "b", 1)}}, []string{"1 created", "2 updated"}},
		{"two states without time in one page, again and again", sdk.Feed{Version: sdk.Exact, History: true},
			[]poll{{timeless("1", "a"), timeless("2", "b")}, {timeless("1", "a"), timeless("2", "b")}}, []string{"1 created", "2 updated"}},
		{"there and back in one page, then there again", sdk.Feed{Version: sdk.None, History: true},
			[]poll{
				{timeless("", "a"), timeless("", "b"), timeless("", "a")},
				{timeless("", "a"), timeless("", "b"), timeless("", "a")},
				{timeless("", "a"), timeless("", "b"), timeless("", "a"), timeless("", "b")},
			}, []string{" created", " updated", " updated", " updated"}},
		{"there and back within one second", sdk.Feed{Version: sdk.None, History: true},
			[]poll{
				{c("", "a", 1), c("", "b", 1), c("", "a", 1)},
				{c("", "a", 1), c("", "b", 1), c("", "a", 1)},
				{c("", "a", 1), c("", "b", 1), c("", "a", 1), c("", "b", 1)},
			}, []string{" created", " updated", " updated", " updated"}},
		{"there and back later is new", sdk.Feed{Version: sdk.None, History: true},
			[]poll{{c("", "a", 1), c("", "b", 2)}, {c("", "a", 3), c("", "b", 4)}},
			[]string{" created", " updated", " updated", " updated"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				test.feed.Name, test.feed.Kind = "appointments", "appointment"
				r.ehr.feed = test.feed
				r.ehr.onPoll = func(n int, _ sdk.Query) (sdk.Page, error) {
					return sdk.Page{Changes: slices.Clone(test.polls[min(n, len(test.polls))-1]), Watermark: []byte("w")}, nil
				}
				r.run(time.Duration(len(test.polls)+2) * time.Minute)
				var got []string
				for _, e := range r.outbox() {
					var body struct{ Change struct{ Version, Op string } }
					_ = json.Unmarshal(e.Body, &body)
					got = append(got, body.Change.Version+" "+body.Change.Op)
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("delivered %q, want %q", got, test.want)
				}
			})
		})
	}
}

// TestAHistoryIsNotRepeated has the overlap bring many versions of one record again at each poll.
func TestAHistoryIsNotRepeated(t *testing.T) {
	for _, size := range []int{0, 1, 3} {
		for _, kind := range []sdk.VersionKind{sdk.Exact, sdk.Coarse} {
			t.Run(fmt.Sprintf("%s, pages of %d", kind, size), func(t *testing.T) {
				simulate(t, func(r *rig) {
					r.ehr.feed.History, r.ehr.feed.Version, r.ehr.size = true, kind, size
					var want []string
					for i := range 20 {
						v := strconv.Itoa(i)
						if kind == sdk.Coarse {
							v = strconv.Itoa(i / 3)
						}
						c := change("1", v, strconv.Itoa(i%2), time.Now().Add(time.Duration(i/3)*time.Second-time.Hour)) // there and back
						r.ehr.log = append(r.ehr.log, c)
						want = append(want, "1@"+v)
					}
					r.run(10 * time.Minute)
					r.expect(want...)
				})
			})
		}
	}
}

// TestWhatFollowsAReturnInDoubtIsTold: states of one second stand on two pages. A reading that was cut off begins with the first
// of them, which may be a return and is told; then the window is read from its begin, and the second has to come last.
func TestWhatFollowsAReturnInDoubtIsTold(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.History, r.ehr.feed.Version, r.ehr.feed.Drifts, r.ehr.size = true, sdk.Coarse, true, 1
		at := time.Now().Truncate(time.Second)
		for _, c := range []sdk.Change{change("0", "a", "p", at.Add(-time.Second)), change("1", "a", "p", at), change("1", "b", "p", at)} {
			c.Version = c.Time.Format(time.RFC3339)
			r.ehr.log = append(r.ehr.log, c)
		}
		r.run(10 * time.Second)
		down := true
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			if down && string(q.Cursor) == "1" {
				return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
			}
			return r.ehr.page(q), nil
		}
		pass(2 * time.Minute)
		r.run(100 * time.Millisecond) // stops in the middle of the window
		down = false
		expired := false
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			if !expired && string(q.Cursor) == "2" {
				expired = true
				return sdk.Page{}, sdk.CursorExpired("GET /appointments: 410")
			}
			return r.ehr.page(q), nil
		}
		r.run(10 * time.Minute)
		states := r.states("1")
		if !expired || len(states) == 0 || states[len(states)-1] != "b" {
			t.Errorf("record 1 was told as %q, want b last", states)
		}
		if len(states) > 4 {
			t.Errorf("record 1 was told as %q: it never comes to rest", states)
		}
	})
}

func TestAStaleStateIsCounted(t *testing.T) {
	simulate(t, func(r *rig) {
		old := change("1", "a", "p", time.Now())
		young := change("1", "b", "p", time.Now().Add(time.Second))
		r.ehr.onPoll = func(n int, _ sdk.Query) (sdk.Page, error) {
			c := []sdk.Change{old, young, old}[min(n, 3)-1]
			return sdk.Page{Changes: []sdk.Change{c}, Watermark: []byte("w")}, nil
		}
		r.run(2*time.Minute + time.Second)
		r.expect("1@a", "1@b")
		r.expectLog("stale=1", 1)
	})
}

func TestALateCommitWithinTheOverlapIsDelivered(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.set("1", "a", "p")
		stop := r.start()
		defer stop()
		pass(10 * time.Minute)
		r.ehr.set("2", "a", "p")
		pass(time.Minute)
		r.ehr.setAt(time.Now().Add(-110*time.Second), "3", "a", "p") // became visible only now
		pass(time.Minute)
		r.expect("1@a", "2@a", "3@a")
	})
}

func TestEqualTimestampsAreAllDelivered(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Overlap = 0
		r.ehr.size = 2
		at := time.Now()
		for i := range 5 {
			r.ehr.setAt(at, strconv.Itoa(i), "a", "p")
		}
		stop := r.start()
		defer stop()
		pass(10 * time.Minute)
		r.ehr.setAt(at, "5", "a", "p") // of the same instant as the watermark
		pass(time.Minute)
		r.expect("0@a", "1@a", "2@a", "3@a", "4@a", "5@a")
	})
}

// TestInvariant2IdsAfterARestore: the state is that of a backup, and the record changed again before it was polled. The generation
// counts as it did before, and a receiver that has it must not take the new state for it.
func TestInvariant2IdsAfterARestore(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.Version = sdk.None
		id := func(states ...string) (ids []string) {
			r.use(memstore.New(store.Limits{}))
			for _, patient := range states {
				r.ehr.set("1", "", patient)
				r.run(time.Minute)
			}
			waiting, _, err := r.store.Admin().Waiting(r.Context(), store.Filter{}, nil, 10)
			if err != nil || len(waiting) != len(states) {
				r.Fatal(err, waiting)
			}
			for _, e := range waiting {
				ids = append(ids, e.ID)
			}
			return ids
		}
		lost, restored, same := id("p", "q"), id("p", "r"), id("p", "q")
		if lost[0] != restored[0] || lost[1] == restored[1] {
			t.Errorf("ids %q, after a restore %q: only the first is of the same state", lost, restored)
		}
		if !slices.Equal(lost, same) {
			t.Errorf("ids %q, of the same states again %q", lost, same)
		}
	})
}

// TestInvariant2IdsOfDeletionsAfterARestore: in what was lost the record was changed, now it is deleted, both as version 2.
func TestInvariant2IdsOfDeletionsAfterARestore(t *testing.T) {
	simulate(t, func(r *rig) {
		id := func(op sdk.Op) string {
			r.use(memstore.New(store.Limits{}))
			for n, op := range []sdk.Op{sdk.Upsert, op} {
				r.ehr.set("1", fmt.Sprint(n+1), "p")
				r.ehr.do(func() { r.ehr.log[len(r.ehr.log)-1].Op = op })
				r.run(time.Minute)
			}
			waiting, _, err := r.store.Admin().Waiting(r.Context(), store.Filter{}, nil, 10)
			if err != nil || len(waiting) != 2 {
				r.Fatal(err, waiting)
			}
			return waiting[1].ID
		}
		if lost, restored := id(sdk.Upsert), id(sdk.Deleted); lost == restored {
			t.Errorf("a change and a deletion have the id %s", lost)
		}
	})
}

func TestAResetSequenceBeginsAnEpoch(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.Class = sdk.Sequence
		at := time.Now()
		r.ehr.setAt(at.Add(-time.Second), "1", "6", "p")
		r.run(time.Minute)
		r.ehr.setAt(at, "1", "7", "p")
		r.run(time.Minute)
		f, _ := r.store.Claim(t.Context(), "visits")
		p := f.Position()
		p.Epoch++
		if err := f.Commit(t.Context(), store.Batch{Base: p.Commit, Position: &p}); err != nil {
			t.Fatal(err)
		}
		// The numbers are given once more, for other states: none of the earlier epoch says anything about them.
		r.run(time.Minute)
		r.ehr.setAt(at.Add(-time.Second), "1", "6", "p")
		r.run(time.Minute)
		r.ehr.setAt(at.Add(-2*time.Second), "1", "5", "p")
		r.run(time.Minute)
		r.expect("1@6", "1@7", "1@7", "1@6", "1@5")
		ids := map[string]bool{}
		for _, e := range r.outbox() {
			ids[e.ID] = true
		}
		if len(ids) != 5 {
			t.Errorf("%d notification ids for 5 notifications", len(ids))
		}
	})
}

// TestInvariant7: what vanishes from a feed, or from the server, is no deletion; what the feed calls one is.
func TestInvariant7OnlyTheFeedSaysDeleted(t *testing.T) {
	simulate(t, func(r *rig) {
		stop := r.start()
		defer stop()
		r.ehr.set("1", "a", "p")
		r.ehr.set("2", "a", "p")
		pass(2 * time.Minute)
		r.ehr.do(func() { r.ehr.log = nil })
		pass(time.Hour)
		gone := change("2", "b", "", time.Now())
		gone.Op, gone.Data = sdk.Deleted, nil
		r.ehr.do(func() { r.ehr.log = append(r.ehr.log, gone) })
		pass(2 * time.Minute)
		r.expect("1@a", "2@a", "2@b")
		for i, want := range []string{"created", "created", "deleted"} {
			if body := string(r.outbox()[i].Body); !strings.Contains(body, `"op":"`+want+`"`) {
				t.Errorf("entry %d is %s, want %s", i, body, want)
			}
		}
	})
}

// TestWhatWasDeliveredStaysSeenWhileItCannotBeRead, and when it can be read again.
func TestWhatWasDeliveredStaysSeenWhileItCannotBeRead(t *testing.T) {
	for _, kind := range []sdk.VersionKind{sdk.Exact, sdk.Coarse, sdk.None} {
		t.Run(string(kind), func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.ehr.feed.Version = kind
				good := change("1", "a", "p", time.Now())
				bad := good
				bad.Data, bad.Err = nil, sdk.Permanent("item without data")
				r.ehr.onPoll = func(n int, _ sdk.Query) (sdk.Page, error) {
					c := good
					if n > 2 && n < 6 {
						c = bad
					}
					return sdk.Page{Changes: []sdk.Change{change("0", "a", "p", time.Now()), c}, Watermark: []byte("w")}, nil
				}
				r.ehr.feed.Precision = 0
				r.run(10 * time.Minute)
				if got := r.delivered(); slices.Index(got, "1@a") < 0 || strings.Count(fmt.Sprint(got), "1@a") != 1 {
					t.Errorf("delivered %q", got)
				}
				if n, most := len(r.dead()), map[sdk.VersionKind]int{sdk.Coarse: 1, sdk.None: 1}[kind]; n > most {
					t.Errorf("%d dead letters of what was delivered, want %d at most", n, most)
				}
			})
		})
	}
}

// TestAnUnreadableItemIsOneDeadLetter as long as it stays unreadable, and a change when it can be read.
func TestAnUnreadableItemIsOneDeadLetter(t *testing.T) {
	for name, broken := range map[string]sdk.Change{
		"no id":            {Data: json.RawMessage(`{"x":1}`)},
		"no id, no data":   {},
		"no id, bad data":  {Data: json.RawMessage(`{`)},
		"bad data":         {Ref: sdk.Ref{Kind: "appointment", ID: canary + "9"}, Version: "1", Data: json.RawMessage(`{` + canary)},
		"an error":         {Ref: sdk.Ref{Kind: "appointment", ID: canary + "9"}, Version: "1", Err: sdk.Permanent("item has no time")},
		"an unknown error": {Ref: sdk.Ref{Kind: "appointment", ID: canary + "9"}, Version: "1", Err: fmt.Errorf("about %s", canary)},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				good := change("1", "a", "p", time.Now())
				now := []sdk.Change{good, broken}
				r.ehr.onPoll = func(int, sdk.Query) (sdk.Page, error) {
					r.ehr.mu.Lock()
					defer r.ehr.mu.Unlock()
					return sdk.Page{Changes: slices.Clone(now), Watermark: []byte("w")}, nil
				}
				stop := r.start()
				defer stop()
				pass(10 * time.Minute)
				r.expect("1@a")
				if n := len(r.dead()); n != 1 {
					t.Errorf("%d dead letters, want 1", n)
				}
				r.expectLog("became dead letters", 1)
				if broken.Ref.ID != "" {
					r.ehr.do(func() { now = []sdk.Change{good, change("9", "1", "p", time.Now())} })
					pass(10 * time.Minute)
					r.expect("1@a", "9@1")
				}
			})
		})
	}
}

// states are those in which a record was told, in order.
func (r *rig) states(id string) (states []string) {
	for _, e := range r.outbox() {
		raw, _ := rawjson.Get(e.Body, "change", "data", "state")
		if text, _ := rawjson.Text(raw); e.Ref.ID == canary+id {
			states = append(states, text)
		}
	}
	return states
}
