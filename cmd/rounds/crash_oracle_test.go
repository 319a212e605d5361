// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
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

	smallPages bool // the queue is read in pages of a few messages

	mu          sync.Mutex // of what follows; states are looked at one after the other
	notes       map[string]note
	ids         map[generation]string
	delivered   map[string]bool            // as a state said
	held        map[int]map[string]bool    // by run: what the state held in its outboxes when the engine was killed
	looked      time.Time                  // when the engine was killed whose state was looked at last
	unfinished  atomic.Int64               // kills in a compaction
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

// sawTooLittle tells whether the kills so far did not meet all that they are about.
func (p *prophet) sawTooLittle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox.mu.Lock()
	defer p.inbox.mu.Unlock()
	return p.underWay == 0 || len(p.watermarked) < 3 || p.inbox.refused == 0
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
	if log.unnamed.Load() > 1 {
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

// tables counts, in what Badger says, the tables that no manifest names: a kill leaves one of a flush, and more of a compaction.
type tables struct{ unnamed atomic.Int64 }

func (l *tables) Enabled(context.Context, slog.Level) bool { return true }

func (l *tables) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.HasPrefix(a.Value.String(), "Table file ") {
			l.unnamed.Add(1)
		}
		return true
	})
	return nil
}

func (l *tables) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *tables) WithGroup(string) slog.Handler { return l }
