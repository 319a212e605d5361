// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// queue is a server whose reading consumes, with its adapter: what was given is marked, and comes again only when it is asked for by
// the time of its mark. The watermark is the server's clock at the begin of the window, up to which all that is marked is committed.
type queue struct {
	mu       sync.Mutex
	messages []message
	size     int                  // changes per page
	lose     func(n int) bool     // the nth reading that takes something is answered, and the answer does not arrive
	refuse   func(sdk.Query) bool // a poll is refused before it takes anything
	readings int
}

type message struct {
	change sdk.Change
	taken  time.Time // zero: not yet
}

// place is the adapter's cursor.
type place struct {
	Begun  time.Time `json:"begun"` // the window
	From   time.Time `json:"from"`  // what was taken before is committed
	Again  bool      `json:"again,omitempty"`
	Offset int       `json:"offset,omitempty"` // among what is read again
	Page   int       `json:"page,omitempty"`
}

func (q *queue) put(c sdk.Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, message{change: c})
}

func (q *queue) poll(query sdk.Query) (sdk.Page, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	at := place{Begun: now}
	switch {
	case q.refuse != nil && q.refuse(query):
		return sdk.Page{}, sdk.Retryable("GET /appointments/changed: 503")
	case query.Cursor != nil:
		if json.Unmarshal(query.Cursor, &at) != nil {
			return sdk.Page{}, sdk.CursorExpired("the cursor is another feed's")
		}
	case query.Watermark == nil: // nothing is taken before it is kept from where to read again
		at.From = now
		return sdk.Page{Cursor: at.bytes()}, nil
	default:
		if json.Unmarshal(query.Watermark, &at.From) != nil {
			return sdk.Page{}, sdk.WatermarkExpired("the watermark is another feed's")
		}
	}
	if query.Recover {
		at.Again, at.Offset = true, 0
	}
	at.Page++
	page := sdk.Page{Calls: 1, Now: now}
	if at.Again {
		for _, m := range q.messages {
			if !m.taken.IsZero() && !m.taken.Before(at.From) {
				page.Changes = append(page.Changes, m.change)
			}
		}
		rest := page.Changes[min(at.Offset, len(page.Changes)):]
		page.Changes = rest[:min(q.size, len(rest))]
		at.Offset += len(page.Changes)
		at.Again = len(rest) > q.size
		page.Cursor = at.bytes()
		return page, nil
	}
	for i := range q.messages {
		if m := &q.messages[i]; m.taken.IsZero() && len(page.Changes) < q.size {
			m.taken = now
			page.Changes = append(page.Changes, m.change)
		}
	}
	if len(page.Changes) > 0 {
		if q.readings++; q.lose != nil && q.lose(q.readings) {
			return sdk.Page{}, sdk.Retryable("Poll: the adapter's process ended")
		}
	}
	if len(page.Changes) == q.size {
		page.Cursor = at.bytes()
	} else {
		page.Watermark, _ = json.Marshal(at.Begun)
	}
	return page, nil
}

func (p place) bytes() []byte {
	data, _ := json.Marshal(p)
	return data
}

// queueing makes the rig's feed a queue.
func (r *rig) queueing(size int) *queue {
	q := &queue{size: size}
	r.ehr.feed = sdk.Feed{Name: "appointments", Kind: "appointment", Class: sdk.Queue, Version: sdk.Exact, Precision: time.Second, History: true}
	r.ehr.onPoll = func(_ int, query sdk.Query) (sdk.Page, error) { return q.poll(query) }
	return q
}

// TestWhatAQueueGaveIsNeitherLostNorToldTwice lets one thing fail at each point of a window that takes from a queue, of the very first
// and of a later one.
func TestWhatAQueueGaveIsNeitherLostNorToldTwice(t *testing.T) {
	once := func() func() bool {
		done := false
		return func() bool {
			first := !done
			done = true
			return first
		}
	}
	faults := map[string]func(r *rig, q *queue, n int){
		"the answer of the server does not arrive": func(_ *rig, q *queue, n int) {
			q.lose = func(now int) bool { return now == n }
		},
		"a commit is not written": func(r *rig, _ *queue, n int) {
			r.before = func(now int, _ store.Batch) error {
				if now == n {
					return errors.New("of no known kind")
				}
				return nil
			}
		},
		"a commit is written and its outcome is unknown": func(r *rig, _ *queue, n int) {
			r.after = func(now int, _ store.Batch) error {
				if now == n {
					return store.ErrUnknown
				}
				return nil
			}
		},
		"the ownership is lost": func(r *rig, _ *queue, n int) {
			r.before = func(now int, _ store.Batch) error {
				if now == n {
					return store.ErrFenced
				}
				return nil
			}
		},
		"all mappings fail for an hour": func(r *rig, q *queue, n int) {
			var began time.Time
			r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
				if q.readings == n && began.IsZero() {
					began = time.Now()
				}
				if !began.IsZero() && time.Since(began) < time.Hour {
					return nil, &pipeline.MapError{Text: "the script is broken"}
				}
				return rec.Marshal()
			}
		},
		"all fetches fail for an hour": func(r *rig, q *queue, n int) {
			var began time.Time
			r.ehr.onRef = func(sdk.Ref) error {
				if q.readings == n && began.IsZero() {
					began = time.Now()
				}
				if !began.IsZero() && time.Since(began) < time.Hour {
					return sdk.Retryable("GET /patient/{id}: 503")
				}
				return nil
			}
		},
		"an answer does not arrive and the server refuses for an hour": func(_ *rig, q *queue, n int) {
			var began time.Time
			q.lose = func(now int) bool {
				if now == n {
					began = time.Now()
				}
				return now == n
			}
			q.refuse = func(sdk.Query) bool { return !began.IsZero() && time.Since(began) < time.Hour }
		},
		"a mapping panics": func(r *rig, q *queue, n int) {
			strikes := once()
			r.config.Delivers[0].Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
				if q.readings == n && strikes() {
					return nil, errors.New(canary) // of no record
				}
				return rec.Marshal()
			}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			for n := 1; n <= 12 && !t.Failed(); n++ {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, tiny)
					q := r.queueing(3)
					r.config.Fetches = []pipeline.Fetch{patients()}
					r.config.Start, r.config.Parallel = pipeline.Start{}, 1
					fault(r, q, n)
					var want []string
					fill := func(from, to int) {
						for i := from; i < to; i++ {
							q.put(change(strconv.Itoa(i), "a", "p"+strconv.Itoa(i), time.Now()))
							want = append(want, strconv.Itoa(i)+"@a")
						}
					}
					fill(0, 7)
					stop := r.start()
					pass(150 * time.Second)
					fill(7, 13)
					pass(90 * time.Second)
					stop() // whatever is under way is cut off
					fill(13, 15)
					stop = r.start()
					pass(3 * time.Hour)
					stop()
					got := r.delivered()
					for _, d := range r.dead() { // some, when a page is behind which others wait fails over and over
						got = append(got, strings.TrimPrefix(d.Ref.ID, canary)+"@"+d.Version)
						if name != "all mappings fail for an hour" {
							t.Errorf("a dead letter: %s", d.Cause.Text)
						}
					}
					slices.Sort(got)
					if slices.Sort(want); !slices.Equal(got, want) {
						t.Errorf("committed is\n %q, want\n %q", got, want)
					}
					if t.Failed() {
						t.Logf("at the %dth point", n)
					}
				})
			}
		})
	}
}

// TestRandomQueuesWithRandomFaults does to a queue what TestRandomFeedsWithRandomFaults does to other feeds.
func TestRandomQueuesWithRandomFaults(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 5
	}
	for range seeds {
		queueChaosOf(t, rand.Uint64())
	}
}

// FuzzRandomQueuesWithRandomFaults looks for a seed that breaks a promise.
func FuzzRandomQueuesWithRandomFaults(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(queueChaosOf)
}

func queueChaosOf(t *testing.T, seed uint64) {
	t.Helper()
	c := &chaos{rand: rand.New(rand.NewPCG(seed, 0))}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, store.Limits{Items: 6 + c.n(60), Bytes: 16<<10 + c.n(64<<10), Refs: 1 + c.n(5)})
		r.disturb(c)
		r.config.Expand, r.config.Start = nil, pipeline.Start{}
		q := r.queueing(1 + c.n(8))
		q.lose = func(int) bool { return c.strikes(10) }
		q.refuse = func(sdk.Query) bool { return c.strikes(10) }
		world := map[string][]string{}
		stop := r.start()
		for range 60 {
			for range c.n(6) {
				id := strconv.Itoa(c.n(15))
				state := strconv.Itoa(len(world[id]))
				world[id] = append(world[id], state)
				q.put(change(id, state, "p"+strconv.Itoa(c.n(6)), time.Now()))
			}
			pass(time.Duration(c.n(60_000)) * time.Millisecond)
			if c.strikes(8) {
				stop()
				pass(time.Duration(c.n(90_000)) * time.Millisecond)
				stop = r.start()
			}
		}
		c.rest()
		pass(time.Hour)
		stop()
		r.judge(world)
		if t.Failed() {
			t.Logf("seed %d, pages of %d", seed, q.size)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
}

// TestOnlyOnePipelineReadsAQueue: the other says why it does not, and with both names.
func TestOnlyOnePipelineReadsAQueue(t *testing.T) {
	for class, polled := range map[sdk.Class]bool{sdk.Queue: false, sdk.Timestamp: true} {
		simulate(t, func(r *rig) {
			r.config.Rival = "billing"
			r.ehr.feed.Class = class
			r.ehr.set("1", "a", "")
			r.run(10 * time.Minute)
			if (len(r.ehr.polls) > 0) != polled {
				t.Errorf("a %s that another pipeline reads too was polled %d times", class, len(r.ehr.polls))
			}
			if says := strings.Contains(r.logs.String(), "pipelines billing and visits both poll feed appointments of source rest.clinic"); says == polled {
				t.Errorf("the log on a %s:\n%s", class, r.logs)
			}
		})
	}
}
