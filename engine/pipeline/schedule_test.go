// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// hurry counts how often an overdue poll asked for its turn, and makes it wait.
type hurry struct {
	n    int
	wait time.Duration
}

func (h *hurry) Turn(before time.Time) (time.Time, bool) {
	h.n++
	turn := time.Now().Add(h.wait)
	return turn, turn.Before(before)
}

func TestTicksAreFixedAndSpreadByName(t *testing.T) {
	shifts := map[time.Duration]bool{}
	for i := range 20 {
		simulate(t, func(r *rig) {
			r.config.Name = fmt.Sprint("pipeline ", i)
			r.config.Every = 10 * time.Minute
			time.Sleep(time.Duration(i) * 7 * time.Second)
			r.run(25 * time.Minute)
			time.Sleep(99 * time.Second)
			restart := time.Now()
			r.run(25 * time.Minute)
			shift := time.Duration(r.ehr.pollAt[1].UnixNano()) % r.config.Every
			for _, at := range r.ehr.pollAt[1:] { // the first is that of the start
				if at.Equal(restart) {
					continue // overdue
				}
				if got := time.Duration(at.UnixNano()) % r.config.Every; got != shift {
					t.Errorf("a tick %s after the full ten minutes, others %s", got, shift)
				}
			}
			shifts[shift.Truncate(30*time.Second)] = true
		})
	}
	if len(shifts) < 8 {
		t.Errorf("20 pipelines share %d places in the interval", len(shifts))
	}
}

func TestTheFirstPollAfterAStart(t *testing.T) {
	for name, test := range map[string]struct {
		down  time.Duration // between the stop after the first poll and the second start
		prior func(r *rig)
		soon  bool
	}{
		"waits for the tick":                 {down: 0, soon: false},
		"comes at once when a tick was lost": {down: 2 * time.Hour, soon: true},
		"goes on at once with half a window": {soon: true, prior: func(r *rig) {
			r.ehr.size = 1
			r.ehr.fill(2, "a")
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				if q.Cursor != nil {
					return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
				}
				return r.ehr.page(q), nil
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				h := &hurry{wait: 100 * time.Millisecond}
				r.config.Hurry, r.config.Every = h, time.Hour
				if test.prior != nil {
					test.prior(r)
				}
				r.run(200 * time.Millisecond)
				if h.n != 1 || len(r.ehr.polls) == 0 || !r.ehr.pollAt[0].Equal(time.Date(2000, 1, 1, 0, 0, 0, 1e8, time.UTC)) {
					t.Fatalf("a new pipeline polled %d times at %v, asked %d times for its turn", len(r.ehr.polls), r.ehr.pollAt, h.n)
				}
				time.Sleep(test.down)
				polls := len(r.ehr.polls)
				r.run(time.Second)
				if soon := len(r.ehr.polls) > polls; soon != test.soon || (h.n == 2) != test.soon {
					t.Errorf("polled at once: %v, want %v; asked %d times for its turn", soon, test.soon, h.n)
				}
			})
		})
	}
}

// TestAnOverduePollThatWaitsForItsTurn is made at its tick if that comes first, and at once if a person asks for it: the pipeline owns its
// state meanwhile.
func TestAnOverduePollThatWaitsForItsTurn(t *testing.T) {
	for name, asks := range map[string]bool{"comes at its tick": false, "comes when a person asks": true} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.config.Hurry, r.config.Every = &hurry{wait: 2 * time.Hour}, time.Hour
				if asks {
					r.config.Hurry = &hurry{wait: time.Minute}
				}
				stop := r.start()
				defer stop()
				synctest.Wait()
				st := r.loop.Status()
				if st.State != pipeline.Waiting || asks != st.Next.Equal(time.Now().Add(time.Minute)) || st.Next.After(time.Now().Add(time.Hour)) {
					t.Errorf("it waits so: %+v", st)
				}
				if asks {
					if _, err := r.loop.Poll(r.Context()); err != nil {
						t.Error(err)
					}
				} else {
					pass(time.Until(st.Next))
				}
				var at []time.Time
				r.ehr.do(func() { at = slices.Clone(r.ehr.pollAt) })
				if len(at) != 1 {
					t.Errorf("%d polls", len(at))
				}
				pass(3 * time.Hour)
				r.ehr.do(func() { at = slices.Clone(r.ehr.pollAt) })
				if !asks && !at[0].Equal(st.Next) || at[1].Sub(at[0]) > time.Hour || len(at) != 4 {
					t.Errorf("polled at %v; the tick was %v", at, st.Next)
				}
			})
		})
	}
}

func TestTicksThatPassDuringAWindowCoalesce(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			if n == 2 {
				time.Sleep(3*time.Minute + 30*time.Second)
			}
			return r.ehr.page(q), nil
		}
		r.config.Timeout = time.Hour
		r.run(7 * time.Minute)
		at := r.ehr.pollAt
		if d := at[2].Sub(at[1]); d != 4*time.Minute {
			t.Errorf("the poll after one of 3m30s came %s after its begin, want at the fourth tick", d)
		}
		if d := at[3].Sub(at[2]); d != time.Minute {
			t.Errorf("the poll after that came after %s, want 1m", d)
		}
	})
}

// TestADailyPollThatFailedIsNotPutOffByADay: what follows an unknown outcome, a claim and a look at the position, may not
// take the poll for done because yesterday's came late.
func TestADailyPollThatFailedIsNotPutOffByADay(t *testing.T) {
	simulate(t, func(r *rig) {
		const day = 24 * time.Hour
		r.config.Every = day
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			if n > 1 && n < 20 { // yesterday's poll failed for an hour
				return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
			}
			return r.ehr.page(q), nil
		}
		stop := r.start()
		defer stop()
		pass(day + 2*time.Hour)
		fail := true
		r.ehr.do(func() { r.ehr.onPoll = nil })
		r.ehr.set("1", "a", "p")
		failed := make(chan time.Time, 1)
		setBefore(r, func(int, store.Batch) error {
			if fail {
				fail = false
				failed <- time.Now()
				return store.ErrUnknown
			}
			return nil
		})
		at := <-failed
		pass(time.Minute)
		if got := r.delivered(); len(got) != 1 {
			t.Errorf("nothing was delivered within a minute of the failure at %s", at)
		}
	})
}

// setBefore changes what befalls commits while the loop runs.
func setBefore(r *rig, f func(int, store.Batch) error) { r.ehr.do(func() { r.before = f }) }

func TestAHangingCallEndsByTheTimeout(t *testing.T) {
	for _, call := range []string{"feed", "poll", "fetch", "ack"} {
		t.Run(call, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.config.Fetches = []pipeline.Fetch{patients()}
				r.ehr.set("1", "a", "p")
				h := &hanging{ehr: r.ehr, call: call}
				r.config.Source = h
				r.run(10 * time.Minute)
				r.expect("1@a")
				r.expectLog("deadline exceeded", 1)
				if h.took != r.config.Timeout {
					t.Errorf("the call took %s, the timeout is %s", h.took, r.config.Timeout)
				}
			})
		})
	}
}

// hanging is a source of which one call hangs, the first time, until its context ends.
type hanging struct {
	*ehr
	call string
	took time.Duration
}

func (h *hanging) hang(ctx context.Context, call string) error {
	if h.call != call || h.took > 0 {
		return nil
	}
	begin := time.Now()
	<-ctx.Done()
	h.took = time.Since(begin)
	return ctx.Err()
}

func (h *hanging) Feed(ctx context.Context, name string) (sdk.Feed, error) {
	if err := h.hang(ctx, "feed"); err != nil {
		return sdk.Feed{}, err
	}
	return h.ehr.Feed(ctx, name)
}

func (h *hanging) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	if err := h.hang(ctx, "poll"); err != nil {
		return sdk.Page{}, err
	}
	p, err := h.ehr.Poll(ctx, q)
	p.Ack = []byte("token")
	return p, err
}

func (h *hanging) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	if err := h.hang(ctx, "fetch"); err != nil {
		return nil, err
	}
	return h.ehr.Fetch(ctx, refs)
}

func (h *hanging) Ack(ctx context.Context, feed string, token []byte) error {
	if err := h.hang(ctx, "ack"); err != nil {
		return err
	}
	return h.ehr.Ack(ctx, feed, token)
}

// TestAStopEndsWhatIsUnderWay at any place, at once, and the next start repeats what was not committed.
func TestAStopEndsWhatIsUnderWay(t *testing.T) {
	for _, place := range []string{"feed", "poll", "fetch", "ack", "map", "commit", "back-off", "tick"} {
		t.Run(place, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.config.Timeout = 24 * time.Hour
				r.config.Fetches = []pipeline.Fetch{patients()}
				r.ehr.fill(6, "a")
				r.config.Source = &hanging{ehr: r.ehr, call: place}
				hang := true
				switch place {
				case "map":
					r.config.Delivers[0].Map = func(ctx context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
						if hang && rec.Change.Ref.ID == canary+"3" {
							<-ctx.Done()
							return nil, ctx.Err()
						}
						return rec.Marshal()
					}
				case "commit":
					r.before = func(_ int, b store.Batch) error {
						if len(b.Entries) > 0 {
							time.Sleep(10 * time.Second) // a commit that began is not cut off
						}
						return nil
					}
				case "back-off":
					r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
						if hang {
							return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
						}
						return r.ehr.page(q), nil
					}
				}
				stop := r.start()
				pass(5 * time.Second)
				begin := time.Now()
				stop()
				took := time.Since(begin)
				if most := map[string]time.Duration{"commit": 10 * time.Second}[place]; took > most {
					t.Errorf("the stop took %s", took)
				}
				switch n := len(r.outbox()); place {
				case "ack", "commit", "tick":
					if n != 6 {
						t.Errorf("%d entries, want the 6 that were committed", n)
					}
				default:
					if n != 0 || r.position().Watermark != nil {
						t.Errorf("%d entries and watermark %q after a stop before the commit", n, r.position().Watermark)
					}
				}
				hang = false
				r.run(10 * time.Minute)
				r.expect("0@a", "1@a", "2@a", "3@a", "4@a", "5@a")
				r.expectDead()
			})
		})
	}
}

func TestACommitThatNeverAnswersIsGivenUp(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.set("1", "a", "p")
		hangs := 0
		r.config.Claim = func(ctx context.Context, name string) (store.Feed, error) {
			f, err := r.claim(ctx, name)
			return &hangingFeed{Feed: f, hangs: &hangs}, err
		}
		r.run(10 * time.Minute)
		r.expect("1@a")
	})
}

// hangingFeed hangs in the second commit of all, until its context ends.
type hangingFeed struct {
	store.Feed
	hangs *int
}

func (f *hangingFeed) Commit(ctx context.Context, b store.Batch) error {
	if *f.hangs++; *f.hangs == 2 {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
	}
	return f.Feed.Commit(ctx, b)
}

func TestWhatCannotRunIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*pipeline.Config){
		"no interval":        func(c *pipeline.Config) { c.Every = 0 },
		"no timeout":         func(c *pipeline.Config) { c.Timeout = 0 },
		"no mapping at once": func(c *pipeline.Config) { c.Parallel = 0 },
		"no deliver block":   func(c *pipeline.Config) { c.Delivers = nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tiny)
				spoil(&r.config)
				if _, err := pipeline.New(r.config); err == nil {
					t.Error("taken")
				}
			})
		})
	}
}
