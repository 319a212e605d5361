// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/window"
)

// blocksOf are the blocks that tell each generation of a pipeline's records.
var blocksOf = map[string][]string{ofAppointments: {"tell"}, ofSlots: {"tell"}, ofEvents: {"tell"}, ofQueue: {"tell", "bill"}, ofOrders: {"tell"}}

// parallel is how many deliveries of a destination are under way at a time.
var parallel = map[string]int{"webhook.main": 4, "webhook.billing": 2, "webhook.d": 2}

// note is what the oracle keeps of a notification that a state holds, or held as delivered.
type note struct {
	generation  // that it is of
	destination string
	lane        string
	seq         uint64
	telling     telling
}

// generation is one of a record, as a block tells it.
type generation struct {
	pipeline string
	ref      sdk.Ref
	number   uint64
	deliver  string
}

// prophet knows what must be in a state, and what must have arrived.
type prophet struct {
	t        *testing.T
	hospital *ehrs
	inbox    *inbox
	old      map[string]bool // what the state of the first format had in its outbox

	mu          sync.Mutex // of what follows; states are looked at one after the other
	notes       map[string]note
	ids         map[generation]string
	delivered   map[string]bool            // as a state said
	held        map[int]map[string]bool    // by run: what the state held in its outboxes when the engine was killed
	looked      time.Time                  // when the engine was killed whose state was looked at last
	unfinished  atomic.Int64               // kills that found tables of an unfinished flush or compaction
	doubts      int                        // messages that were told again, see inDoubt
	underWay    int                        // deliveries that were accepted and not acknowledged at a kill
	mostAtOnce  map[string]int             // of these at one kill, by destination
	watermarked map[string]map[string]bool // by feed: records that were found behind a watermark
}

func newProphet(t *testing.T, h *ehrs, in *inbox, old map[string]bool) *prophet {
	return &prophet{
		t: t, hospital: h, inbox: in, old: old, notes: map[string]note{}, ids: map[generation]string{}, delivered: map[string]bool{},
		held: map[int]map[string]bool{}, mostAtOnce: map[string]int{}, watermarked: map[string]map[string]bool{},
	}
}

// entry takes note of a notification. A generation has one, and a notification is of one generation.
func (p *prophet) entry(run int, e *record.Entry) {
	if p.old[e.ID] {
		return
	}
	n := note{
		generation:  generation{logical(e.Pipeline), e.Ref, e.Generation, e.Deliver},
		destination: logical(e.Destination), lane: logical(e.Pipeline) + " " + e.Key, seq: e.Seq, telling: tellingOf(e.Body),
	}
	was, known := p.notes[e.ID]
	if known && (was.generation != n.generation || was.destination != n.destination || was.seq != n.seq || was.telling.State != n.telling.State) {
		p.t.Errorf("run %d: %s was %+v and is %+v", run, e.ID, was, n)
	}
	if other, twice := p.ids[n.generation]; twice && other != e.ID {
		p.t.Errorf("run %d: invariant 2: %+v has two notifications, %s and %s", run, n.generation, other, e.ID)
	}
	p.notes[e.ID], p.ids[n.generation] = n, e.ID
}

// look holds a copy of the state that a killed engine left against what happened and what arrived.
func (p *prophet) look(run int, dir string, killed time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := &tables{}
	s, err := badgerstore.Open(dir, badgerstore.Options{Logger: slog.New(log), Keep: 1000 * time.Hour, KeepBytes: math.MaxInt64})
	if err != nil {
		p.t.Errorf("run %d: the state can't be opened after the kill: %v", run, err)
		return
	}
	defer func() {
		if err := s.Close(); err != nil {
			p.t.Errorf("run %d: %v", run, err)
		}
	}()
	if log.unfinished.Load() {
		p.unfinished.Add(1)
	}
	waiting, dead := p.read(run, s)
	p.held[run] = waiting
	p.looked = killed

	// Invariant 3: what is delivered was accepted, and what was accepted is delivered or still waits, as the engine was killed before it
	// could take note. Of those there are no more than are sent at a time.
	p.inbox.look()
	p.inbox.mu.Lock()
	under := map[string]int{}
	for id, times := range p.inbox.accepted {
		if p.delivered[id] {
			continue
		}
		times = slices.DeleteFunc(slices.Clone(times), func(a acceptance) bool { return a.run > run })
		switch last := len(times) - 1; {
		case last < 0:
		case !waiting[id]:
			p.t.Errorf("run %d: invariant 3: %s was accepted and the state knows nothing of it", run, id)
		case times[last].run == run:
			under[times[last].destination]++
		}
	}
	for id := range p.delivered {
		if len(p.inbox.accepted[id]) == 0 {
			p.t.Errorf("run %d: invariant 3: the state has %s as delivered, and nobody accepted it", run, id)
		}
	}
	p.inbox.mu.Unlock()
	for destination, n := range under {
		p.underWay += n
		p.mostAtOnce[destination] = max(p.mostAtOnce[destination], n)
		if n > parallel[destination] {
			p.t.Errorf("run %d: %d deliveries to %s were under way at the kill, of %d at a time", run, n, destination, parallel[destination])
		}
	}
	if dead > 2 { // of the old state
		p.t.Errorf("run %d: %d dead letters", run, dead-2)
	}
	p.rows(run, s, killed)
}

// read takes note of what a state holds: what waits, what is delivered, and how much is dead.
func (p *prophet) read(run int, s *badgerstore.Store) (waiting map[string]bool, dead int) {
	ctx, admin := p.t.Context(), s.Admin()
	waiting = map[string]bool{}
	for token, more := []byte(nil), true; more; more = token != nil {
		page, next, err := admin.Waiting(ctx, store.Filter{}, token, 500)
		if err != nil {
			p.t.Errorf("run %d: %v", run, err)
			return waiting, 0
		}
		for i := range page {
			p.entry(run, &page[i])
			waiting[page[i].ID] = true
			if p.delivered[page[i].ID] {
				p.t.Errorf("run %d: invariant 3: %s was delivered, and waits again", run, page[i].ID)
			}
		}
		token = next
	}
	since := store.Filter{From: p.looked}
	if !p.looked.IsZero() {
		since.From = p.looked.Add(-5 * time.Second)
	}
	for token, more := []byte(nil), true; more; more = token != nil {
		page, next, err := admin.Delivered(ctx, since, false, token, 500)
		if err != nil {
			p.t.Errorf("run %d: %v", run, err)
			return waiting, 0
		}
		for i := range page {
			p.entry(run, &page[i].Entry)
			p.delivered[page[i].ID] = true
		}
		token = next
	}
	counts, err := admin.DeadCount(ctx)
	if err != nil {
		p.t.Errorf("run %d: %v", run, err)
	}
	for _, n := range counts {
		dead += n
	}
	return waiting, dead
}

// rows holds the rows and the watermarks of a state against the notifications and what happened. Invariants 1 and 2.
func (p *prophet) rows(run int, s *badgerstore.Store, killed time.Time) {
	happened, visible := p.hospital.chronicles()
	positions, err := s.Admin().Positions(p.t.Context())
	if err != nil {
		p.t.Errorf("run %d: %v", run, err)
		return
	}
	seen := map[string]store.Position{}
	reached := map[string]map[string]int{} // by feed and record: the number of the version that the row holds
	for name, at := range positions {
		pipeline := logical(name)
		if blocksOf[pipeline] == nil || at.Commit == 0 {
			continue
		}
		if _, twice := seen[pipeline]; twice {
			p.t.Errorf("run %d: pipeline %s has state under both of its names", run, pipeline)
		}
		seen[pipeline] = at
		for row := range p.allRows(run, s, name) {
			feed := pipeline
			if row.Ref.Kind == ofPatients && pipeline == ofOrders {
				feed = ofPatients
			}
			if reached[feed] == nil {
				reached[feed] = map[string]int{}
			}
			reached[feed][row.Ref.ID] = latest(happened[feed][row.Ref.ID], fmt.Sprintf("%x", row.Hash))
			for _, block := range blocksOf[feed] {
				g := generation{pipeline, row.Ref, row.Generation, block}
				if p.ids[g] == "" {
					p.t.Errorf("run %d: invariants 1 and 2: generation %d of %s %s is in its row, and block %s has no notification of it",
						run, row.Generation, pipeline, row.Ref.ID, block)
				}
			}
		}
	}
	// What the next window no longer asks for is in a row.
	for _, feed := range []string{ofAppointments, ofPatients} {
		pipeline := feed
		if feed == ofPatients {
			pipeline = ofOrders
		}
		mark := seen[pipeline].Watermark
		if len(mark) == 0 {
			continue
		}
		m, err := window.ParseMark(sdk.Query{Watermark: mark})
		if err != nil {
			p.t.Errorf("run %d: the watermark of %s: %v", run, pipeline, err)
			continue
		}
		since := m.Since(10*time.Second, time.Second)
		for id, versions := range happened[feed] {
			for i, v := range versions {
				if v.at.Before(killed) && v.dated.Before(since) {
					p.behind(feed, id)
					if reached[feed][id] <= i {
						p.t.Errorf("run %d: invariant 1: the watermark of %s has passed version %d of %s, and the row holds version %d",
							run, pipeline, i+1, id, reached[feed][id])
					}
				}
			}
		}
	}
	// A parent's row says that the children that it came with were worked off.
	for id, versions := range happened[ofOrders] {
		for i, v := range versions {
			if parent := parentOf(id); v.parent <= reached[ofPatients][parent] && reached[ofOrders][id] <= i {
				p.t.Errorf("run %d: invariant 1: version %d of patient %s is in its row, and version %d of order %s is not", run, v.parent, parent, i+1, id)
			}
		}
	}
	p.numbered(run, seen[ofEvents].Watermark, visible)
}

func parentOf(order string) string {
	for i := range order {
		if order[i] == '-' {
			return order[:i]
		}
	}
	return ""
}

// latest is the number of the last version with a hash; 0: there is none.
func latest(versions []version, hash string) int {
	for i, v := range slices.Backward(versions) {
		if v.hash == hash {
			return i + 1
		}
	}
	return 0
}

func (p *prophet) behind(feed, id string) {
	if p.watermarked[feed] == nil {
		p.watermarked[feed] = map[string]bool{}
	}
	p.watermarked[feed][id] = true
}

// numbered holds the watermark of the numbered events against the notifications: as long as nothing became visible before the event
// that it names, all up to that one have a notification.
func (p *prophet) numbered(run int, watermark []byte, visible []string) {
	var mark struct {
		Page, Place int
		Entry       string
	}
	if len(watermark) == 0 {
		return
	}
	if err := json.Unmarshal(watermark, &mark); err != nil {
		p.t.Errorf("run %d: the watermark of events: %v", run, err)
		return
	}
	last := slices.Index(visible, mark.Entry)
	if mark.Page == 0 || last != (mark.Page-1)*eventsPage+mark.Place {
		return
	}
	known := map[string]bool{}
	for _, n := range p.notes {
		if n.pipeline == ofEvents {
			known[n.telling.State] = true
		}
	}
	for _, state := range visible[:last+1] {
		p.behind(ofEvents, state)
		if !known[state] {
			p.t.Errorf("run %d: invariant 1: the watermark of events has passed %s, which has no notification", run, state)
		}
	}
}

// allRows gives the rows of a pipeline.
func (p *prophet) allRows(run int, s *badgerstore.Store, pipeline string) func(func(store.Row) bool) {
	return func(yield func(store.Row) bool) {
		for token, more := []byte(nil), true; more; more = token != nil {
			rows, next, err := s.Admin().Rows(p.t.Context(), pipeline, token, 500)
			if err != nil {
				p.t.Errorf("run %d: %v", run, err)
				return
			}
			for _, row := range rows {
				if !yield(row) {
					return
				}
			}
			token = next
		}
	}
}

// end holds the state of an engine that was stopped, and all that arrived, against what happened.
func (p *prophet) end(dir string, runs int) (repeated int) {
	p.mu.Lock()
	p.looked = time.Time{} // all that was ever delivered is there
	clear(p.delivered)
	p.mu.Unlock()
	p.look(runs, dir, time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox.mu.Lock()
	defer p.inbox.mu.Unlock()
	t := p.t
	for _, wrong := range p.inbox.wrong {
		t.Error("invariant 4: ", wrong)
	}
	for id := range p.held[runs] {
		t.Errorf("%s still waits", id)
	}
	for id := range p.notes {
		if !p.delivered[id] {
			t.Errorf("invariant 3: %s was in a state, and is not delivered", id)
		}
	}
	for id := range p.old {
		if len(p.inbox.accepted[id]) == 0 {
			t.Errorf("%s, which the state of the first format had, did not arrive", id)
		}
	}
	generations := map[generation]uint64{} // without their numbers: the last one
	for g := range p.ids {
		last := g
		last.number = 0
		generations[last] = max(generations[last], g.number)
	}
	for of, last := range generations {
		for of.number = 1; of.number <= last && slices.Contains(blocksOf[of.pipeline], of.deliver); of.number++ {
			if p.ids[of] == "" {
				t.Errorf("invariant 2: generation %d of %d of %s %s has no notification for block %s", of.number, last, of.pipeline, of.ref.ID, of.deliver)
			}
		}
	}
	repeated = p.repetitions()
	p.arrivals()
	return repeated
}

// repetitions checks that what was accepted twice was held by the state at each kill in between, and counts them.
func (p *prophet) repetitions() (n int) {
	for id, times := range p.inbox.accepted {
		for i, again := range times[1:] {
			n++
			if before := times[i]; before.run == again.run {
				p.t.Errorf("%s was accepted twice in run %d", id, again.run)
			} else {
				for run := before.run; run < again.run; run++ {
					if held, known := p.held[run]; known && !held[id] {
						p.t.Errorf("%s was accepted in runs %d and %d, though the state after run %d no longer held it", id, before.run, again.run, run)
					}
				}
			}
		}
	}
	return n
}

// arrivals holds what arrived against what happened: every version existed, those of a record came in their order, and the last one came;
// of numbered events and of messages each. Invariant 4: those of a lane came in the order of commit.
func (p *prophet) arrivals() {
	t := p.t
	happened, _ := p.hospital.chronicles()
	type place struct{ block, id string }
	reached := map[string]map[place]int{} // by feed
	came := map[string]map[place]bool{}   // by feed, of block and state
	data := map[generation]json.RawMessage{}
	for feed := range blocksOf {
		reached[feed], came[feed] = map[place]int{}, map[place]bool{}
	}
	order := map[string]uint64{} // by destination and lane: the number of the last that arrived
	for _, id := range p.inbox.order {
		n, known := p.notes[id]
		if !known {
			if !p.old[id] {
				t.Errorf("%s arrived, and no state knows it", id)
			}
			continue
		}
		lane := n.destination + " " + n.lane
		if n.seq <= order[lane] {
			t.Errorf("invariant 4: %s, number %d of its lane's commits, arrived after number %d", id, n.seq, order[lane])
		}
		order[lane] = n.seq
		feed, at := n.pipeline, place{n.deliver, n.telling.ID}
		if n.telling.Feed != feed || n.telling.ID != n.ref.ID {
			t.Errorf("%s of %s %s tells of %s %s", id, feed, n.ref.ID, n.telling.Feed, n.telling.ID)
		}
		if data[n.generation] = n.telling.Data; feed == ofAppointments && n.deliver == "tell" {
			p.previous(n, data)
		}
		versions := happened[feed][n.telling.ID]
		now, is := reached[feed][at], func(v version) bool { return v.state == n.telling.State }
		if next := slices.IndexFunc(versions[now:], is); next >= 0 {
			reached[feed][at] = now + next + 1
		} else if again := slices.IndexFunc(versions, is); feed == ofQueue && inDoubt(versions[:now], again) {
			p.doubts++
			reached[feed][at] = again + 1
		} else {
			t.Errorf("%s tells a state of %s %s that never was, or was before what arrived before it (version %d)", id, feed, n.telling.ID, now)
			continue
		}
		came[feed][place{n.deliver, n.telling.State}] = true
	}
	for feed, blocks := range blocksOf {
		if feed == ofAppointments {
			blocks = append(slices.Clone(blocks), "bill")
		}
		for _, id := range slices.Sorted(maps.Keys(happened[feed])) {
			versions := happened[feed][id]
			last := len(versions)
			for _, block := range blocks {
				if feed == ofEvents || feed == ofQueue {
					if now := reached[feed][place{block, id}]; now != last {
						t.Errorf("version %d of %d of %s %s arrived last by block %s", now, last, feed, id, block)
					}
					for i, v := range versions {
						if !came[feed][place{block, v.state}] {
							t.Errorf("version %d of %s %s did not arrive by block %s", i+1, feed, id, block)
						}
					}
					continue
				}
				now := reached[feed][place{block, id}]
				if now == last || versions[last-1].off && block == "bill" || versions[last-1].state == deletedState && now == 0 {
					continue
				}
				if now == 0 || versions[now-1].state != versions[last-1].state { // a state that came again is told once where it was not seen to go
					t.Errorf("the last of %d versions of %s %s did not arrive by block %s, version %d did", last, feed, id, block, now)
				}
			}
		}
	}
}

// inDoubt says that a message may be told again: marks are read again in several pages, a kill cut the reading in two, and the record has a
// later message of the same second. Then nothing tells a return to that state from its being read again.
func inDoubt(arrived []version, again int) bool {
	return again >= 0 && again+1 < len(arrived) && arrived[again+1].dated.Truncate(time.Second).Sub(arrived[again].dated.Truncate(time.Second)) <= time.Second
}

// previous checks that what a mapping was given as the record before is what the generation before was mapped of.
func (p *prophet) previous(n note, data map[generation]json.RawMessage) {
	before := n.generation
	before.number--
	want := data[before]
	if before.number == 0 {
		want = json.RawMessage("null")
	}
	if want != nil && hashOf(want) != hashOf(n.telling.Previous) {
		p.t.Errorf("generation %d of %s was mapped with another record before than that of generation %d", n.number, n.ref.ID, before.number)
	}
}

// missing says what has not arrived yet; "": all that has to.
func (p *prophet) missing() string {
	p.inbox.look()
	happened, _ := p.hospital.chronicles()
	for feed, blocks := range blocksOf {
		if feed == ofAppointments {
			blocks = append(slices.Clone(blocks), "bill")
		}
		for id, versions := range happened[feed] {
			for _, block := range blocks {
				last := versions[len(versions)-1]
				at := spot{map[string]string{"tell": "webhook.main", "bill": "webhook.billing"}[block], feed, id}
				if feed == ofEvents || feed == ofQueue {
					for i, v := range versions {
						if !p.inbox.came(at, v.state) {
							return fmt.Sprintf("version %d of %s %s at %s", i+1, feed, id, at.destination)
						}
					}
				} else if now := p.inbox.now(at); now != last.state && (now != "" || last.state != deletedState) && (block != "bill" || !last.off) {
					return fmt.Sprintf("the last version of %s %s at %s", feed, id, at.destination)
				}
			}
		}
	}
	return ""
}

// tables looks in what Badger says for tables that no manifest has, as a kill leaves them of a flush or a compaction.
type tables struct{ unfinished atomic.Bool }

func (l *tables) Enabled(context.Context, slog.Level) bool { return true }

func (l *tables) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if text := a.Value.String(); len(text) > 10 && text[:10] == "Table file" {
			l.unfinished.Store(true)
		}
		return true
	})
	return nil
}

func (l *tables) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *tables) WithGroup(string) slog.Handler { return l }
