// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
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

// order is a child of what the feed lists.
type order struct {
	ID      string `json:"id,omitempty"`
	V       int    `json:"v"`
	At      string `json:"at,omitempty"`
	Patient string `json:"patient"`
}

// charts is a server whose feed tells only whose chart changed; the orders are in the chart.
type charts struct {
	*ehr
	orders map[string][]order // by patient
	answer func(ref sdk.Ref) (string, error)
}

// expand makes the pipeline one whose changes are the orders.
func (r *rig) expand() *charts {
	c := &charts{ehr: r.ehr, orders: map[string][]order{}}
	r.config.Expand = &pipeline.Expand{
		Name: "order", Resource: "orders", Items: []string{"orders"}, Key: []string{"id"}, Version: []string{"v"}, Time: []string{"at"},
		ID: expr(func(rec *record.Record) (string, bool, error) { return rec.Change.Ref.ID, true, nil }),
	}
	r.ehr.onFetch = func(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
		results := r.ehr.results(refs)
		for i, ref := range refs {
			if ref.Kind == "orders" && results[i].Err == nil {
				results[i] = c.chart(ref)
			}
		}
		return results, nil
	}
	return c
}

func (c *charts) chart(ref sdk.Ref) sdk.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answer != nil {
		text, err := c.answer(ref)
		return sdk.Result{Ref: ref, Data: json.RawMessage(text), Err: err}
	}
	data, _ := json.Marshal(map[string]any{"orders": c.orders[strings.TrimPrefix(ref.ID, canary)]})
	return sdk.Result{Ref: ref, Data: data}
}

// order writes an order, new or changed, into a patient's chart.
func (c *charts) order(patient, id string) {
	c.do(func() {
		of := c.orders[patient]
		i := slices.IndexFunc(of, func(o order) bool { return o.ID == canary+id })
		if i < 0 {
			of = append(of, order{ID: canary + id, Patient: canary + patient})
			i = len(of) - 1
		}
		of[i].V++
		of[i].At = time.Now().UTC().Format(time.RFC3339)
		c.orders[patient] = of
	})
	c.set(patient, time.Now().Format(time.RFC3339Nano), "")
}

func TestChildrenBecomeTheChanges(t *testing.T) {
	simulateWith(t, tiny, func(r *rig) {
		c := r.expand()
		r.config.Delivers[0].OrderBy = expr(func(rec *record.Record) (string, bool, error) { return rec.Parent.Ref.ID, true, nil })
		c.order("1", "a")
		c.order("1", "b")
		c.order("2", "c")
		stop := r.start()
		pass(time.Second)
		r.expect("a@1", "b@1", "c@1")
		c.order("1", "b")
		pass(time.Second)
		c.order("1", "d")
		pass(10 * time.Minute)
		stop()
		r.expect("a@1", "b@1", "c@1", "b@2", "d@1")
		r.expectDead()
		ops := ""
		for _, e := range r.outbox() {
			rec, _ := record.Unmarshal(e.Body)
			ops += string(rec.Change.Op) + " "
			var data order
			if _ = json.Unmarshal(rec.Change.Data, &data); data.Patient != e.Key || rec.Parent.Ref.ID != e.Key || rec.Change.Ref.Kind != "order" {
				t.Errorf("%s has the parent %s and the lane %s", data.Patient, rec.Parent.Ref.ID, e.Key)
			}
			if rec.Parent.Ref.Kind != "appointment" || len(rec.Parent.Data) == 0 {
				t.Errorf("the parent is %+v", rec.Parent)
			}
		}
		if ops != "created created created updated created " {
			t.Error(ops)
		}
		if n := len(r.ehr.fetched()); n != 3 {
			t.Errorf("%d charts were fetched, want 3: each new state of a parent once", n)
		}
	})
}

// TestChildrenFromBeforeTheStartAreKnown where they tell their time.
func TestChildrenFromBeforeTheStartAreKnown(t *testing.T) {
	for _, timed := range []bool{true, false} {
		simulate(t, func(r *rig) {
			c := r.expand()
			r.config.Start.Now = true
			if !timed {
				r.config.Expand.Time = nil
			}
			c.order("1", "old")
			c.order("2", "older")
			time.Sleep(time.Hour)
			stop := r.start()
			pass(10 * time.Minute)
			c.order("1", "new")
			pass(2 * time.Minute)
			c.order("1", "old")
			pass(2 * time.Minute)
			stop()
			if timed {
				r.expect("new@1", "old@2")
			} else {
				r.expect("old@1", "new@1", "old@2") // in doubt told, never lost
			}
		})
	}
}

// TestAKnownChildIsToldWhateverItsDate: only one that is seen for the first time may have been there before the start. One that is known
// and another now has changed since, also when its change is dated before the start, as one that was made then and became visible late.
func TestAKnownChildIsToldWhateverItsDate(t *testing.T) {
	simulate(t, func(r *rig) {
		c := r.expand()
		r.config.Start.Now = true
		c.order("1", "old")
		time.Sleep(time.Hour)
		stop := r.start()
		pass(10 * time.Minute)
		c.order("1", "new")
		pass(2 * time.Minute)
		r.expect("new@1")
		c.do(func() { c.orders["1"][0].V++ })
		c.set("1", time.Now().Format(time.RFC3339Nano), "")
		pass(2 * time.Minute)
		stop()
		r.expect("new@1", "old@2")
	})
}

// TestInvariant1AParentWaitsForItsChildren: one of them can't be worked off now.
func TestInvariant1AParentWaitsForItsChildren(t *testing.T) {
	simulateWith(t, tiny, func(r *rig) {
		c := r.expand()
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.config.Fetches[0].ID = inData("id")
		for i := range 3 {
			for j := range 4 {
				c.order(strconv.Itoa(i), fmt.Sprint(i, "-", j))
			}
		}
		down := true
		r.ehr.onRef = func(ref sdk.Ref) error {
			if down && ref.Kind == "patient" && strings.HasSuffix(ref.ID, "1-2") {
				return sdk.RateLimited(0, "GET /patient/{id}: 429")
			}
			return nil
		}
		stop := r.start()
		pass(time.Second)
		if p := r.position(); p.Watermark != nil {
			t.Error("the watermark passed a parent one of whose children waits")
		}
		rows, err := r.rowsOf("appointment", "0", "1", "2")
		if err != nil || rows > 0 {
			t.Errorf("%d parents have a row, %v", rows, err)
		}
		stop()
		r.ehr.do(func() { down = false })
		r.run(10 * time.Minute)
		if got := r.delivered(); len(got) != 12 {
			t.Errorf("delivered %q", got)
		}
		if p := r.position(); p.Watermark == nil {
			t.Error("the window is not finished")
		}
	})
}

// rowsOf counts rows, by a claim of its own.
func (r *rig) rowsOf(kind string, ids ...string) (int, error) {
	f, err := r.store.Claim(context.Background(), r.config.Name)
	if err != nil {
		return 0, err
	}
	var n int
	for _, id := range ids {
		rows, err := f.Seen(context.Background(), []sdk.Ref{{Kind: kind, ID: canary + id}})
		if err != nil {
			return 0, err
		}
		n += len(rows)
	}
	return n, nil
}

// TestInvariant2ChildrenComeOnceThroughFailingCommits, wherever one fails.
func TestInvariant2ChildrenComeOnceThroughFailingCommits(t *testing.T) {
	for _, written := range []bool{false, true} {
		for failing := 1; ; failing++ {
			done := false
			simulateWith(t, tiny, func(r *rig) {
				c := r.expand()
				r.ehr.size = 20
				var want []string
				for i := range 45 {
					for j := range 2 {
						id := fmt.Sprintf("%02d-%d", i, j)
						c.order(strconv.Itoa(i), id)
						want = append(want, id+"@1")
					}
				}
				fault := func(n int, _ store.Batch) error {
					if n == failing {
						return store.ErrUnknown
					}
					return nil
				}
				if written {
					r.after = fault
				} else {
					r.before = fault
				}
				r.run(10 * time.Minute)
				done = r.commits < failing
				got := r.delivered()
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("commit %d fails, written %v: delivered\n%q, want\n%q", failing, written, got, want)
				}
			})
			if done || t.Failed() {
				break
			}
		}
	}
}

// TestAnExpansionThatFails for one parent is that parent's; for all it is the configuration's or the server's.
func TestAnExpansionThatFails(t *testing.T) {
	missing := sdk.NotFound("GET /orders/{id}: 404")
	for name, test := range map[string]struct {
		answer string
		err    error
		dead   string // of one parent; "": it waits, or has no children
		log    string // of all parents
	}{
		"not found":    {"", missing, "not_found", "every new change failed at expand"},
		"no list":      {`{"order":[]}`, nil, "permanent", `there is no list at \"orders\" in the answer`},
		"another kind": {`{"orders":{"a":1}}`, nil, "permanent", "there is no list"},
		"null":         {`{"orders":null}`, nil, "", ""},
		"none":         {`{"orders":[]}`, nil, "", ""},
		"no JSON":      {`<html>`, nil, "permanent", "no valid JSON"},
	} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, all %v", name, all), func(t *testing.T) {
				simulate(t, func(r *rig) {
					c := r.expand()
					for i := range 4 {
						c.order(strconv.Itoa(i), fmt.Sprint("o", i))
					}
					broken := true
					c.answer = func(ref sdk.Ref) (string, error) {
						if broken && (all || ref.ID == canary+"2") {
							return test.answer, test.err
						}
						return fmt.Sprintf(`{"orders":[{"id":%q,"v":1}]}`, canary+"o"+strings.TrimPrefix(ref.ID, canary)), nil
					}
					stop := r.start()
					pass(2 * time.Second)
					switch {
					case !all && test.dead != "":
						r.expect("o0@1", "o1@1", "o3@1")
						if dead := r.dead(); len(dead) != 1 || dead[0].Cause.Code != test.dead || dead[0].Cause.Stage != record.StageFetch {
							t.Errorf("dead letters %+v", dead)
						}
					case !all:
						r.expect("o0@1", "o1@1", "o3@1")
						r.expectDead()
					case test.log == "":
						r.expect()
					default:
						r.expect()
						r.expectDead()
						if !strings.Contains(r.logs.String(), test.log) {
							t.Errorf("the log does not say %q", test.log)
						}
						r.ehr.do(func() { broken = false })
						pass(10 * time.Minute)
						r.expect("o0@1", "o1@1", "o2@1", "o3@1")
					}
					stop()
				})
			})
		}
	}
}

// TestADeadParentIsExpandedAgain when a person asks for it: its row says that it was worked off, so it does not come again by itself.
func TestADeadParentIsExpandedAgain(t *testing.T) {
	for name, failing := range map[string]int{"": 0, "a commit fails": 1, "another commit fails": 2} {
		t.Run(name, func(t *testing.T) {
			simulateWith(t, tiny, func(r *rig) {
				c := r.expand()
				r.config.Every, r.config.KeepPrevious = 10*time.Minute, true
				for i := range 3 {
					c.order(strconv.Itoa(i), fmt.Sprint("o", i))
				}
				missing := true
				c.answer = func(ref sdk.Ref) (string, error) {
					if missing && ref.ID == canary+"2" {
						return "", sdk.NotFound("GET /orders/{id}: 404")
					}
					of := "o" + strings.TrimPrefix(ref.ID, canary)
					return fmt.Sprintf(`{"orders":[{"id":%q,"v":1},{"id":%q,"v":1}]}`, canary+of, canary+of+"b"), nil
				}
				again := func() (counts pipeline.Counts, err error) {
					rec, err := record.Unmarshal(r.dead()[0].Record)
					if err != nil {
						r.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					return r.loop.ExpandAgain(ctx, rec.Change)
				}
				stop := r.start()
				pass(time.Second)
				r.expect("o0@1", "o0b@1", "o1@1", "o1b@1")
				r.expectDead("2@" + r.dead()[0].Version + " fetch not_found")
				due := r.loop.Status().Next
				if _, err := again(); err == nil || !strings.Contains(err.Error(), "404") {
					t.Errorf("what fails again: %v", err)
				}
				r.expectDead("2@" + r.dead()[0].Version + " fetch not_found")
				synctest.Wait()
				if st := r.loop.Status(); st.State != pipeline.Waiting || !st.Next.Equal(due) {
					t.Errorf("the pipeline is %s, its next poll has another time", st.State)
				}
				c.do(func() { missing = false })
				if failing > 0 {
					from := r.commits
					r.ehr.do(func() {
						r.before = func(n int, _ store.Batch) error {
							if n == from+failing {
								return store.ErrUnknown
							}
							return nil
						}
					})
					if _, err := again(); err == nil {
						t.Error("a commit failed, and it is called good")
					}
					pass(10 * time.Second)
				}
				if _, err := again(); err != nil {
					t.Error(err)
				}
				if counts, err := again(); err != nil || counts.Mapped > 0 {
					t.Errorf("once more: %+v, %v", counts, err)
				}
				pass(time.Hour)
				stop()
				r.expect("o0@1", "o0b@1", "o1@1", "o1b@1", "o2@1", "o2b@1")
			})
		})
	}
}

// TestAnOutageOfTheExpansionMakesNoDeadLetters however long it lasts.
func TestAnOutageOfTheExpansionMakesNoDeadLetters(t *testing.T) {
	for _, err := range []error{sdk.Retryable("503"), sdk.Unauthorized("401"), sdk.RateLimited(time.Second, "429")} {
		simulate(t, func(r *rig) {
			c := r.expand()
			c.order("1", "a")
			stop := r.start()
			pass(2 * time.Minute) // works
			down := true
			r.ehr.do(func() {
				r.ehr.onRef = func(sdk.Ref) error {
					if down {
						return err
					}
					return nil
				}
			})
			c.order("1", "b")
			c.order("2", "c")
			pass(3 * time.Hour)
			r.expect("a@1")
			r.expectDead()
			r.ehr.do(func() { down = false })
			pass(10 * time.Minute)
			stop()
			r.expect("a@1", "b@1", "c@1")
		})
	}
}

func TestAChildThatCannotBeReadIsADeadLetter(t *testing.T) {
	simulate(t, func(r *rig) {
		c := r.expand()
		c.order("1", "a")
		c.do(func() {
			c.orders["1"] = append(c.orders["1"], order{Patient: canary}, order{ID: canary + "b", At: "yesterday"}, order{ID: canary + "c"})
		})
		r.run(10 * time.Minute)
		r.expect("a@1", "c@0")
		if dead := r.dead(); len(dead) != 2 || dead[0].Cause.Stage != record.StagePoll {
			t.Errorf("dead letters %+v", dead)
		}
	})
}

func TestADeletedParentNeedsNoChildren(t *testing.T) {
	simulate(t, func(r *rig) {
		c := r.expand()
		c.order("1", "a")
		stop := r.start()
		pass(time.Second)
		r.ehr.do(func() {
			gone := change("1", "z", "", time.Now())
			gone.Op = sdk.Deleted
			r.ehr.log = append(r.ehr.log, gone)
			c.answer = func(sdk.Ref) (string, error) { return "", sdk.Gone("GET /orders/{id}: 410") }
		})
		pass(5 * time.Minute)
		stop()
		r.expect("a@1")
		r.expectDead()
		r.expectLog("every new change failed", 0)
	})
}

// TestAnExpansionIsNeverOlderThanItsParent: what was fetched for an earlier page does not do.
func TestAnExpansionIsNeverOlderThanItsParent(t *testing.T) {
	simulate(t, func(r *rig) {
		c := r.expand()
		c.order("1", "a")
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			if n > 2 {
				return r.ehr.page(q), nil
			}
			p := r.ehr.page(sdk.Query{Feed: q.Feed})
			if n == 1 {
				p.Cursor, p.Watermark = []byte("next"), nil
				c.order("1", "b") // while the window is read
			}
			return p, nil
		}
		r.run(2 * time.Second)
		r.expect("a@1", "b@1")
	})
}

// TestAnExpandBlockNeedsANameOfItsOwn: rows of parents and children must not be taken for one another.
func TestAnExpandBlockNeedsANameOfItsOwn(t *testing.T) {
	simulate(t, func(r *rig) {
		c := r.expand()
		r.config.Expand.Name = "appointment"
		c.order("1", "a")
		r.run(100 * time.Millisecond)
		r.expect()
		r.expectLog(`expand \"appointment\" has the name`, 1)
	})
}

// TestScannedParentsAreExpanded when their data change.
func TestScannedParentsAreExpanded(t *testing.T) {
	simulate(t, func(r *rig) {
		l := r.list("1", "2")
		r.config.Confirm = ""
		c := r.expand()
		c.order("1", "a")
		c.order("2", "b")
		stop := r.start()
		pass(time.Second)
		c.order("1", "c")
		l.do(func() { l.has["1"] = "b" })
		pass(2 * time.Minute)
		stop()
		r.expect("a@1", "b@1", "c@1")
	})
}
