// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// oracle is what the simulation knows from outside: what was handed to the store, what the receivers took, what has to be true then.
type oracle struct {
	notices map[string]*notice // by id of the notification
	ranks   int                // given so far
	taken   []*notice          // by the receivers, in order, repetitions included
	byState map[stateOf]bool   // that a receiver took
	let     map[stateOf]bool   // that a person discarded, or meant to
	ids     map[generation]string
	last    map[lane]*notice // taken last in this life
	first   map[lane]int     // highest rank that was taken
	saved   map[string]*register
	tokens  int
}

// notice is one notification.
type notice struct {
	record.Entry
	id, state string // of what it tells
	rank      int    // of its commit
	taken     int    // times
	again     bool   // it may come once more: nobody knows that it was taken
	replayed  int    // times that a person wanted it once more
	twice     bool   // so it may stand at two places of its lane
	acked     bool
	durable   bool // that it is acknowledged survives a loss of power
}

type stateOf struct{ pipeline, deliver, id, state string }

type generation struct {
	pipeline, deliver string
	ref               sdk.Ref
	n                 uint64
}

type lane struct{ pipeline, key, to string }

func newOracle() oracle {
	return oracle{
		notices: map[string]*notice{}, byState: map[stateOf]bool{}, let: map[stateOf]bool{}, ids: map[generation]string{},
		last: map[lane]*notice{}, first: map[lane]int{}, saved: map[string]*register{},
	}
}

// submitted is told of what is about to be put at the ends of lanes.
func (s *sim) submitted(entries []record.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		n := s.notices[e.ID]
		if n == nil {
			n = &notice{}
			s.notices[e.ID] = n
			if e.Pipeline != alert.Owner {
				n.id, n.state = s.read(e.Body)
			}
		}
		s.ranks++
		n.Entry, n.rank = e, s.ranks
	}
}

func (s *sim) read(body []byte) (id, state string) {
	rec, err := record.Unmarshal(body)
	if err == nil {
		id, state, err = saysOf(rec)
	}
	if err != nil {
		s.Errorf("a notification that says nothing of its record: %v", err)
	}
	return id, state
}

// accept is told that a receiver took a notification for good.
func (s *sim) accept(to string, got delivery.Notification) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.notices[got.ID]
	if n == nil || n.Destination != to || string(n.Body) != string(got.Body) || n.Deliver != got.Deliver {
		s.Errorf("%s was sent what was never committed for it", to)
		return
	}
	switch {
	case n.taken == 0 || n.again:
	case n.replayed > 0:
		n.replayed--
	default:
		s.Errorf("state %s of %s was delivered again, which nothing explains", n.state, n.id)
	}
	pipeline := baseOf(n.Pipeline)
	if gen := (generation{pipeline, n.Deliver, n.Ref, n.Generation}); s.ids[gen] == "" {
		s.ids[gen] = n.ID
	} else if s.ids[gen] != n.ID {
		s.Errorf("generation %d of %s was delivered with two ids", n.Generation, n.id)
	}
	// Order of commit: in one life always; over all lives, of what comes for the first time.
	in := lane{pipeline, n.Key, to}
	if before := s.last[in]; before != nil && before != n && before.rank > n.rank && !before.twice && !n.twice {
		s.Errorf("state %s of %s was delivered after state %s of %s, which was committed after it", n.state, n.id, before.state, before.id)
	}
	if n.taken == 0 && n.rank < s.first[in] {
		s.Errorf("state %s of %s was delivered after what was committed after it", n.state, n.id)
	}
	if s.last[in] = n; !n.twice {
		s.first[in] = max(s.first[in], n.rank)
	}
	n.taken++
	n.again, n.acked, n.durable = false, false, false
	s.taken = append(s.taken, n)
	s.byState[stateOf{pipeline, n.Deliver, n.id, n.state}] = true
}

// excuse is told that the answer to an acceptance does not arrive.
func (s *sim) excuse(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices[id].again = true
}

func (s *sim) acknowledged(done []store.Done) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range done {
		s.notices[d.ID].acked = true
	}
}

// loose lists what is acknowledged and may not be synced; settled is told that it is.
func (s *sim) loose() (all []*notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notices {
		if n.acked && !n.durable {
			all = append(all, n)
		}
	}
	return all
}

func (s *sim) settled(all []*notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range all {
		n.durable = n.acked
	}
}

// left is told that a loop said at its end that it could not acknowledge everything.
func (s *sim) left(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notices {
		if n.Destination == to && n.taken > 0 && !n.acked {
			n.again = true
		}
	}
}

// ended is told of the end of a life: what was taken and is not known to be may come again, and nothing else.
func (s *sim) ended(power bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notices {
		if n.taken > 0 && (!n.acked || power && !n.durable) {
			n.again = true
		}
	}
	clear(s.last)
}

// register is something that is kept under one name: what was kept last is there, or what was meant to be since.
type register struct {
	value string
	meant []string
}

func (s *sim) register(name, value string, keep func() error) error {
	s.mu.Lock()
	r := s.saved[name]
	if r == nil {
		r = &register{}
		s.saved[name] = r
	}
	r.meant = append(r.meant, value)
	s.mu.Unlock()
	err := keep()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		r.value, r.meant = value, nil
	}
	return err
}

func (s *sim) expect(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.saved[name]
	if r == nil {
		r = &register{}
		s.saved[name] = r
	}
	if value != r.value && !slices.Contains(r.meant, value) {
		s.Errorf("what is kept as %s is %q, and should be %q, or one of %q", name, value, r.value, r.meant)
	}
	r.value, r.meant = value, nil
}

// verify looks at a state that was just opened, or that has come to rest.
func (s *sim) verify(state store.Store) {
	s.Helper()
	ctx, admin := s.Context(), state.Admin()
	token, err := state.LoadState(ctx, "rest.inbox")
	s.must(err)
	s.expect("token", string(token))
	pauses, err := admin.Pauses(ctx)
	s.must(err)
	s.expect("pause", fmt.Sprint(len(pauses) > 0))
	positions, err := admin.Positions(ctx)
	s.must(err)
	waiting, dead := s.inState(state)
	for _, f := range s.feeds {
		old, is := positions[f.name()], f.named(f.renamed.Load()+1)
		if p, moved := positions[is]; moved && p.Commit > 0 { // the renaming of which nothing was heard was written
			if old.Commit > 0 {
				s.Errorf("%s has state under two names", f.base)
			}
			f.renamed.Add(1)
		}
		s.watermark(f, positions[f.name()], func(of stateOf) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.byState[of] || s.let[of] || waiting[of] || dead[of]
		})
	}
}

// inState lists the states of records that wait or are dead, and looks whether what is counted is there.
func (s *sim) inState(state store.Store) (waiting, dead map[stateOf]bool) {
	s.Helper()
	waiting, dead = map[stateOf]bool{}, map[stateOf]bool{}
	entries, _, err := state.Admin().Waiting(s.Context(), store.Filter{}, nil, 1<<20)
	s.must(err)
	count := map[string]int{}
	for _, e := range entries {
		count[e.Destination]++
		if e.Pipeline != alert.Owner {
			id, state := s.read(e.Body)
			waiting[stateOf{baseOf(e.Pipeline), e.Deliver, id, state}] = true
		}
	}
	pending, err := state.Admin().Pending(s.Context())
	s.must(err)
	for to, n := range count {
		if pending[to].Count != n {
			s.Errorf("%d notifications wait for %s, and %d are counted", n, to, pending[to].Count)
		}
	}
	for _, d := range s.letters(state) {
		id, state := s.read(d.Record)
		dead[stateOf{baseOf(d.Pipeline), d.Deliver, id, state}] = true
	}
	return waiting, dead
}

// letters lists the dead letters of records.
func (s *sim) letters(state store.Store) []record.DeadLetter {
	s.Helper()
	all, _, err := state.Admin().Dead(s.Context(), store.Filter{}, nil, 1<<20)
	s.must(err)
	for i := range all {
		if all[i].Record == nil && all[i].Entry != nil {
			all[i].Record = all[i].Entry.Body
		}
	}
	return slices.DeleteFunc(all, func(d record.DeadLetter) bool { return d.Pipeline == alert.Owner })
}

// watermark holds that of a feed against what was to be seen when the last window that was read to its end was begun. What is
// hidden from a list is not to be seen.
func (s *sim) watermark(f *feed, p store.Position, kept func(stateOf) bool) {
	s.Helper()
	if f.listing != nil || p.Polled.IsZero() {
		return
	}
	for id, versions := range f.world {
		seen := 0
		for seen < len(versions) && !versions[seen].seen.After(p.Polled) {
			seen++
		}
		s.covered(f, id, versions, seen, kept)
	}
}

// covered wants the first so many states of a record, where the last says what the others said: it, or a later one.
func (s *sim) covered(f *feed, id string, versions []version, seen int, kept func(stateOf) bool) {
	s.Helper()
	for _, block := range f.rig.config.Delivers {
		is := func(v version) bool { return kept(stateOf{f.base, block.Name, id, v.state}) }
		if !f.history() {
			if seen > 0 && !slices.ContainsFunc(versions[seen-1:], is) {
				s.Errorf("the watermark of %s is ahead: %s in state %s is neither delivered to %q nor waits", f.base, id, versions[seen-1].state, block.Name)
			}
			continue
		}
		for _, v := range versions[:seen] {
			if !is(v) {
				s.Errorf("the watermark of %s is ahead: state %s of %s is neither delivered nor waits", f.base, v.state, id)
			}
		}
	}
}

// judge looks at everything when all has come to rest.
func (s *sim) judge(state store.Store) {
	s.Helper()
	s.verify(state)
	waiting, dead := s.inState(state)
	for of := range waiting {
		s.Errorf("state %s of %s still waits", of.state, of.id)
	}
	lost := func(of stateOf) bool { return !s.byState[of] && !dead[of] && !s.let[of] }
	last := map[stateOf]string{} // told last, by record
	deletions := map[stateOf]int{}
	once := map[string]bool{}
	alerts := map[string]string{}
	for _, n := range s.taken {
		if n.Pipeline == alert.Owner {
			s.alerted(n, once[n.ID], alerts)
			once[n.ID] = true
			continue
		}
		of := stateOf{baseOf(n.Pipeline), n.Deliver, n.id, ""}
		last[of] = n.state
		if n.state == gone && !once[n.ID] {
			deletions[of]++
		}
		once[n.ID] = true
		if f := s.feed(of.pipeline); !slices.ContainsFunc(f.world[n.id], func(v version) bool { return v.state == n.state }) {
			s.Errorf("state %s of %s was delivered and never was", n.state, n.id)
		}
	}
	for _, f := range s.feeds {
		for id, versions := range f.world {
			is, was := versions[len(versions)-1].state, 0
			for _, v := range versions {
				if v.state == gone {
					was++
				}
			}
			for _, block := range f.rig.config.Delivers {
				of := stateOf{f.base, block.Name, id, ""}
				end := stateOf{f.base, block.Name, id, is}
				told, heard := last[of]
				switch {
				case f.listing != nil && !heard && is == gone:
				case lost(end):
					s.Errorf("the last state %s of %s is lost for %q of %s", is, id, block.Name, f.base)
				case told != is && !dead[end] && !s.let[end]:
					s.Errorf("%s of %s is in state %s, and %q was told last that it is in %s", id, f.base, is, block.Name, told)
				}
				if deletions[of] > was {
					s.Errorf("%s was deleted %d times, and told so %d times", id, was, deletions[of])
				}
			}
			if f.history() {
				s.covered(f, id, versions, len(versions), func(of stateOf) bool { return !lost(of) })
			}
		}
	}
}

// alerted: what fires is told, then that it is over, by turns.
func (s *sim) alerted(n *notice, again bool, was map[string]string) {
	var m alert.Message
	s.must(json.Unmarshal(n.Body, &m))
	if before := was[n.Key]; !again && (before == m.State || before == "" && m.State != "firing") {
		s.Errorf("alert %s was told as %s after %q", n.Key, m.State, before)
	}
	if !again {
		was[n.Key] = m.State
	}
}

func (s *sim) feed(base string) *feed {
	i := slices.IndexFunc(s.feeds, func(f *feed) bool { return f.base == base })
	return s.feeds[i]
}

// settledDown says whether nothing is left to be done since an instant.
func (s *sim) settledDown(since time.Time) bool {
	s.Helper()
	state := s.process.state
	positions, err := state.Admin().Positions(s.Context())
	s.must(err)
	for _, f := range s.feeds {
		if p := positions[f.name()]; p.Cursor != nil || !p.Polled.After(since) {
			return false
		}
	}
	pending, err := state.Admin().Pending(s.Context())
	s.must(err)
	for _, depth := range pending {
		if depth.Count > 0 {
			return false
		}
	}
	return !slices.ContainsFunc(s.letters(state), func(d record.DeadLetter) bool { return d.Entry != nil })
}

// quiet says whether the log holds nothing of a record (invariant 6).
func (s *sim) quiet() {
	s.Helper()
	for line := range strings.Lines(s.logs.String()) {
		if strings.Contains(line, canary) {
			s.Errorf("record content in the log: %s", line)
		}
	}
}
