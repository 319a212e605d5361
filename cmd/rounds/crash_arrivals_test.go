// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

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
		} else if again := slices.IndexFunc(versions, is); feed == ofQueue && p.smallPages && inDoubt(versions[:now], again) {
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
