// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// The destinations: one whose receiver takes everything in the end, and one whose receiver refuses some for good.
const (
	accepting = "webhook.accepting"
	refusing  = "webhook.refusing"
)

var destinations = []string{accepting, refusing}

// feed is a pipeline with the server that it polls, and what was ever there.
type feed struct {
	base    string // name of the pipeline, at first
	number  int
	renamed atomic.Int32 // times
	rig     *rig
	queue   *queue
	listing *listing
	polls   *rand.Rand
	fetches atomic.Int64

	world map[string][]version // by record, in the order in which they became visible
}

// version is one state of a record.
type version struct {
	state string
	seen  time.Time // from when on the server shows it
}

func (f *feed) name() string {
	return f.named(f.renamed.Load())
}

func (f *feed) named(times int32) string {
	if times == 0 {
		return f.base
	}
	return fmt.Sprint(f.base, times)
}

// history: each state is told, not the last one alone.
func (f *feed) history() bool { return f.rig.ehr.feed.History }

// build makes the four pipelines, one for each class of feed, with sizes that are left to chance.
func (s *sim) build() {
	make := func(base string) *feed {
		f := &feed{base: base, number: len(s.feeds), rig: &rig{T: s.T, ehr: newEHR()}, world: map[string][]version{}}
		f.polls = rand.New(rand.NewPCG(s.seed, s.hash("polls", base)))
		f.rig.config = pipeline.Config{
			SourceName: "rest." + base, Feed: "appointments", Every: time.Duration(9+s.rand.IntN(5)) * time.Second, Overlap: 12 * time.Second,
			Timeout: 20 * time.Second, Delivers: []pipeline.Deliver{deliver("out")}, Parallel: 2,
		}
		f.rig.config.Delivers[0].Destination = accepting
		s.feeds = append(s.feeds, f)
		return f
	}
	visits := make("visits") // the last state of each record, by second
	visits.rig.ehr.feed.Version, visits.rig.ehr.feed.Drifts, visits.rig.ehr.size = sdk.Coarse, true, 2+s.rand.IntN(4)
	second := deliver("second")
	second.Destination, second.KeepRecord, second.Map = refusing, true, s.poisoned
	visits.rig.config.Delivers = append(visits.rig.config.Delivers, second)
	visits.rig.config.KeepPrevious = true
	visits.rig.config.Fetches = []pipeline.Fetch{patients()}
	for i := range visits.rig.config.Delivers {
		visits.rig.config.Delivers[i].OrderBy = inData("patient")
	}

	audit := make("audit") // every state, and no page is read twice
	audit.rig.ehr.feed.History, audit.rig.ehr.appends, audit.rig.ehr.size = true, true, 4+s.rand.IntN(9)
	audit.rig.config.Delivers[0].OrderBy = inData("patient")

	wards := make("wards") // no changes at all, only what is there
	wards.listing = wards.rig.list()
	wards.rig.config.MaxDeleted, wards.rig.config.Delivers[0].Destination = 1, refusing
	if wards.rig.ehr.size = s.rand.IntN(5); wards.rig.ehr.size > 0 {
		wards.rig.ehr.feed.Drifts = true
	}

	inbox := make("inbox") // reading takes away
	inbox.queue = inbox.rig.queueing(2 + s.rand.IntN(3))
	inbox.rig.config.Delivers[0].OrderBy = inData("patient")

	for _, f := range []*feed{visits, audit} { // what is there for long no later window brings again
		for i := range 6 + s.rand.IntN(8) {
			s.change(f, "old"+strconv.Itoa(i), time.Now().Add(time.Duration(i-100)*time.Minute))
		}
	}
}

// happen changes one of a few records, or makes a new one, sometimes with a time that is past already.
func (s *sim) happen() {
	f := s.feeds[s.rand.IntN(len(s.feeds))]
	id, at := strconv.Itoa(s.rand.IntN(9)), time.Now()
	if s.rand.IntN(5) == 0 && f.queue == nil && f.listing == nil {
		id, at = "late"+strconv.Itoa(len(f.world)), at.Add(-time.Duration(s.rand.IntN(8))*time.Second)
	}
	if f.listing != nil {
		s.list(f, id)
		return
	}
	s.change(f, id, at)
}

// change gives a record that is in no listing another state.
func (s *sim) change(f *feed, id string, at time.Time) {
	state := strconv.Itoa(len(f.world[id]))
	if f.rig.ehr.feed.Version == sdk.Coarse {
		at = at.Truncate(time.Second)
	}
	ch := change(id, state, "p"+strconv.FormatUint(s.hash("patient", id)%4, 10), at) // one for ever: it is the ordering key
	if f.rig.ehr.feed.Version == sdk.Coarse {
		ch.Version = at.Format(time.RFC3339)
	}
	if s.rand.IntN(60) == 0 { // what is kept of it is cut into parts
		ch.Data = append(bytes.TrimSuffix(ch.Data, []byte("}")), `,"pad":"`+strings.Repeat("x", 530<<10)+`"}`...)
	}
	f.world[id] = append(f.world[id], version{state, time.Now()})
	if f.queue != nil {
		f.queue.put(ch)
		return
	}
	f.rig.ehr.do(func() { f.rig.ehr.log = append(f.rig.ehr.log, ch) })
}

// list makes, changes or removes a record of a listing, or hides it from the list for a while.
func (s *sim) list(f *feed, id string) {
	n := s.rand.IntN(4)
	f.rig.ehr.do(func() {
		l := f.listing
		l.hidden[id] = n == 1
		state := strconv.Itoa(len(f.world[id]))
		if _, there := l.has[id]; there && n == 0 {
			delete(l.has, id)
			state = gone
		} else {
			l.has[id] = state
		}
		f.world[id] = append(f.world[id], version{state, time.Now()})
	})
}

// chance is drawn from names: the same whatever else goes on at the same time.
func (s *sim) hash(of ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, s.seed, of)
	return h.Sum64()
}

func (s *sim) percent(n uint64, of ...any) bool { return s.hash(of...)%100 < n }

func (s *sim) latency(most time.Duration, of ...any) time.Duration {
	return time.Duration(s.hash(append(of, "latency")...)%uint64(most)) + 1
}

// poisoned is a mapping that can't make anything of some states.
func (s *sim) poisoned(ctx context.Context, r *record.Record, c pipeline.MapContext) ([]byte, error) {
	if !s.calm.Load() && s.percent(5, "poison", r.Change.Ref, r.Change.Version) {
		return nil, &pipeline.MapError{Text: "line 1: the script is broken"}
	}
	return mapRecord(ctx, r, c)
}

// gated is a server as one process reaches it.
type gated struct {
	*ehr
	f *feed
	p *process
}

func (g gated) Poll(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	before, after := g.f.polls.Int64N(int64(900*time.Millisecond)), g.f.polls.Int64N(int64(900*time.Millisecond))
	luck := g.f.polls.IntN(100)
	wait(ctx, g.p.over, time.Duration(before))
	if g.p.dead.Load() || ctx.Err() != nil {
		return page, errDead
	}
	switch {
	case g.p.calm.Load():
	case luck < 5:
		return page, sdk.RateLimited(8*time.Second, "GET /appointments: 429")
	case luck < 8 && q.Cursor != nil && g.f.queue == nil:
		return page, sdk.CursorExpired("GET /appointments: 410")
	}
	if g.f.queue != nil && luck%4 == 0 {
		g.p.rotate()
	}
	if page, err = g.ehr.Poll(ctx, q); err != nil {
		return page, err
	}
	wait(ctx, g.p.over, time.Duration(after))
	if g.p.dead.Load() || ctx.Err() != nil {
		return sdk.Page{}, errDead
	}
	return page, nil
}

func (g gated) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	n := g.f.fetches.Add(1)
	wait(ctx, g.p.over, g.p.latency(600*time.Millisecond, g.f.base, "fetch", n))
	if g.p.dead.Load() || ctx.Err() != nil {
		return nil, errDead
	}
	results := g.results(refs)
	for i, ref := range refs {
		if !g.p.calm.Load() && g.p.percent(3, g.f.base, "fetch", n, ref) {
			results[i] = sdk.Result{Ref: ref, Err: sdk.RateLimited(8*time.Second, "GET /patient/{id}: 429")}
		}
	}
	return results, nil
}

// rotate lets the adapter save its state: a token of which the server takes the newest only.
func (p *process) rotate() {
	s := p.sim
	s.mu.Lock()
	s.tokens++
	token := strconv.Itoa(s.tokens)
	s.mu.Unlock()
	s.register("token", token, func() error { return p.store.SaveState(context.Background(), "rest.inbox", []byte(token)) })
}

// receiver is one of the destinations as one process reaches it.
type receiver struct {
	p  *process
	to string
}

func (r receiver) Send(ctx context.Context, n delivery.Notification) error {
	s := r.p.sim
	luck := s.hash("luck", n.ID, n.Attempt, s.lives) % 100
	after := time.Duration(9+luck%3) * time.Second // longer than the loop's own pause, which is left to chance
	wait(ctx, r.p.over, s.latency(300*time.Millisecond, n.ID, n.Attempt, s.lives))
	if r.p.dead.Load() || ctx.Err() != nil {
		return errDead
	}
	calm := s.calm.Load()
	switch {
	case !calm && luck < 8:
		return unavailable(after)
	case !calm && r.to == refusing && n.Pipeline != alert.Owner && s.percent(15, "refused", n.ID):
		return &record.SendError{Verdict: record.Reject, Code: "http_422", Text: "the receiver answered 422"}
	}
	s.accept(r.to, n)
	wait(ctx, r.p.over, s.latency(100*time.Millisecond, n.ID, n.Attempt, "answer"))
	switch {
	case r.p.dead.Load():
		return errDead
	case ctx.Err() != nil: // as when the ownership is lost: another owner may be sending the same
		s.excuse(n.ID)
		return ctx.Err()
	case !calm && luck < 13: // the answer does not arrive
		s.excuse(n.ID)
		return unavailable(after)
	}
	return nil
}

func unavailable(after time.Duration) error {
	return &record.SendError{Code: "http_503", Text: "the receiver answered 503", After: after}
}

// saysOf is what a record says in a notification or a dead letter.
func saysOf(rec *record.Record) (id, state string, err error) {
	var data struct{ State, Patient string }
	if err := json.Unmarshal(rec.Change.Data, &data); err != nil {
		return "", "", err
	}
	if raw, fetched := rec.Fetched["patient"]; fetched {
		id, _ := rawjson.Get(raw, "id")
		if of, _ := rawjson.Text(id); of != data.Patient {
			return "", "", fmt.Errorf("it has the patient of another")
		}
	}
	if rec.Change.Op == sdk.Deleted {
		data.State = gone
	}
	return strings.TrimPrefix(rec.Change.Ref.ID, canary), data.State, nil
}

// baseOf is the first name of a pipeline that may have been renamed.
func baseOf(pipeline string) string { return strings.TrimRight(pipeline, "0123456789") }

var _ store.Feed = watchedFeed{}
