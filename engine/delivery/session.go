// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
)

const (
	page       = 256                  // lanes per listing
	look       = 2 * time.Second      // between listings that nobody asked for, since a wake-up may be lost
	sweepGap   = 5 * time.Millisecond // between the starts of two listings at least
	maxWaiting = 10_000               // lanes that are remembered while they wait; others are found again by listing
	maxHeld    = 10_000               // lanes that are held; more of them, and the receiver refuses everything
)

var errLost = fmt.Errorf("the outbox has another owner: %w", store.ErrFenced)

// session is the time of owning the outbox. Its fields belong to the goroutine of run; what several lanes' goroutines
// share is in Loop.
//
// Lanes are found by sweeps: pages of the outbox's listing, taken only when there is room to work on them, so that each
// sweep visits each lane once and sends a few of its notifications. Lanes that are not done after their visit wait in a
// heap, ordered by the time of their next turn. The next lane is taken from the heap and from the sweep in turn: neither
// a lane that never empties nor many that fail can starve the others.
type session struct {
	loop    *Loop
	outbox  store.Outbox
	owed    []store.Done // accepted, not acknowledged
	results chan result

	lanes   map[string]*lane // those that are in flight, waiting or held
	waiting byTurn
	flying  int
	held    int
	turn    bool // the heap's turn

	page      []string
	token     []byte
	sweeping  bool
	dirty     bool          // there may be lanes that no sweep has seen
	spent     time.Duration // in listings of this sweep
	nextSweep time.Time
	lookAt    time.Time

	stuckUntil time.Time // the store fails; no visit before
	stuck      int       // times in a row
}

type place int

const (
	inFlight place = iota
	inHeap
	onHold
)

type lane struct {
	name  string
	place place
	next  time.Time // of its turn
	again bool      // listed while in flight: it may have got more
	// What memory knows of the first entry, which the store may not: writing the outcome of an attempt can fail.
	tried    bool // its turn has come: its stored next attempt no longer counts
	attempts int
	failing  bool // counted in Loop.failing
}

// ending is how a visit ended.
type ending int

const (
	drained ending = iota // nothing left when it was looked at
	more                  // something left, nothing in its way
	later                 // the first entry waits until next
	hold                  // the first entry was refused
	broken                // the store failed
)

type result struct {
	lane *lane
	end  ending
	next time.Time
	err  error
	owed *store.Done
}

func newSession(l *Loop, outbox store.Outbox, owed []store.Done) *session {
	return &session{
		loop: l, outbox: outbox, owed: owed,
		results: make(chan result, l.cfg.Parallel),
		lanes:   map[string]*lane{},
		dirty:   true,
	}
}

// run works until ctx is done or the ownership is lost, and gives the outbox back. An error after ctx is done is for a
// person; any other is the store's.
func (s *session) run(ctx context.Context) error {
	l := s.loop
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l.health.enter(Delivering)
	defer s.forget()

	var (
		lost    = s.outbox.Lost()
		done    = ctx.Done()
		wake    = s.outbox.Wake()
		abandon <-chan time.Time
		end     error // the reason to end, when it is not ctx
		timer   = time.NewTimer(0)
	)
	defer timer.Stop()
	if err := s.payOwed(ctx); err != nil {
		end = err
	}
	for {
		if end == nil && ctx.Err() == nil {
			if err := s.fill(ctx, work); err != nil {
				end = err
				cancel()
			}
		}
		s.publish()
		ending := end != nil || ctx.Err() != nil
		if ending && s.flying == 0 {
			break
		}
		if ending {
			timer.Stop()
		} else if next := s.nextTurn(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case r := <-s.results:
			if err := s.take(r); err != nil && end == nil {
				end = err
				cancel()
			}
		case <-wake:
			s.dirty = true
		case <-l.resumed:
			s.release()
		case <-timer.C:
		case <-lost:
			lost = nil
			end = errLost
			cancel() // another owner may be sending the same by now
		case <-done:
			done = nil
			grace := time.AfterFunc(l.cfg.Grace, cancel)
			defer grace.Stop()
			abandon = time.After(l.cfg.Grace + linger)
		case <-abandon:
			return fmt.Errorf("destination %s: %d sends do not heed their cancellation and were abandoned; their notifications stay in "+
				"the outbox", l.cfg.Name, s.flying)
		}
	}
	free, stop := context.WithTimeout(context.WithoutCancel(ctx), linger)
	defer stop()
	err := s.outbox.Release(free)
	switch {
	case ctx.Err() == nil:
		return end // what a release says after a loss adds nothing
	case len(s.owed) > 0:
		return l.unpaid(s.owed)
	case end == nil && err != nil && !errors.Is(err, store.ErrFenced):
		return fmt.Errorf("destination %s: release of the outbox: %s", l.cfg.Name, store.Text(err))
	}
	return nil
}

// payOwed acknowledges what an earlier session could not, before anything else is sent. Ids are exact, so it does no harm
// if another owner was faster.
func (s *session) payOwed(ctx context.Context) error {
	for len(s.owed) > 0 {
		if err := s.settle(ctx, func(c context.Context) error { return s.outbox.Ack(c, s.owed[0]) }); err != nil {
			return err
		}
		s.owed = s.owed[1:]
	}
	return nil
}

// fill starts visits while there is room. An error ends the session.
func (s *session) fill(ctx, work context.Context) error {
	now := time.Now()
	if now.Before(s.stuckUntil) {
		return nil
	}
	for {
		slots, probe, _ := s.loop.health.slots(now, s.loop.cfg.Parallel)
		if s.flying >= slots {
			return nil
		}
		ln, err := s.nextLane(ctx, now)
		if err != nil {
			return s.failed(err)
		}
		if ln == nil {
			return nil
		}
		ln.place, ln.again = inFlight, false
		s.flying++
		go func() {
			r := result{lane: ln, end: broken, err: errPanic}
			_ = s.loop.contained(func() error { r = s.visit(ctx, work, ln, probe); return nil })
			s.results <- r
		}()
	}
}

// nextLane takes a lane from the heap and from the sweep in turn; nil when there is none for now.
func (s *session) nextLane(ctx context.Context, now time.Time) (*lane, error) {
	for range 2 {
		s.turn = !s.turn
		if !s.turn {
			if ln, err := s.fromSweep(ctx, now); ln != nil || err != nil {
				return ln, err
			}
		} else if len(s.waiting) > 0 && !s.waiting[0].next.After(now) {
			return heap.Pop(&s.waiting).(*lane), nil
		}
	}
	return nil, nil
}

func (s *session) fromSweep(ctx context.Context, now time.Time) (*lane, error) {
	if !s.sweeping && !now.Before(s.lookAt) {
		s.dirty = true
	}
	for {
		for len(s.page) > 0 {
			name := s.page[0]
			s.page = s.page[1:]
			ln, known := s.lanes[name]
			if !known {
				ln = &lane{name: name}
				s.lanes[name] = ln
				return ln, nil
			}
			ln.again = true // of use while it is in flight
		}
		if !s.sweeping {
			if !s.dirty || now.Before(s.nextSweep) {
				return nil, nil
			}
			s.dirty, s.sweeping, s.token, s.spent = false, true, nil, 0
			s.lookAt = now.Add(look)
		}
		begun := time.Now()
		var names []string
		var next []byte
		// A panic ends no session: what is on its way is this one's, and the next would send it again beside it. Invariant 4.
		err := s.loop.contained(func() (err error) {
			names, next, err = s.outbox.Lanes(ctx, s.token, page)
			return err
		})
		if err != nil {
			s.sweeping, s.dirty = false, true
			return nil, err
		}
		s.spent += time.Since(begun)
		s.page, s.token = names, next
		if len(next) == 0 {
			// A listing that is long because of many held lanes may take a fifth of the time, no more.
			s.sweeping = false
			s.nextSweep = now.Add(max(sweepGap, 4*s.spent))
		}
	}
}

// nextTurn is when something may have to be done without being asked; zero: never.
func (s *session) nextTurn() time.Time {
	now := time.Now()
	if now.Before(s.stuckUntil) {
		return s.stuckUntil
	}
	slots, _, probeAt := s.loop.health.slots(now, s.loop.cfg.Parallel)
	if slots == 0 {
		return probeAt
	}
	if s.flying >= slots {
		return time.Time{}
	}
	next := s.lookAt
	if s.dirty {
		next = s.nextSweep
	}
	if len(s.waiting) > 0 && s.waiting[0].next.Before(next) {
		next = s.waiting[0].next
	}
	return next
}

// take files the result of a visit. An error ends the session.
func (s *session) take(r result) error {
	s.flying--
	if r.owed != nil {
		s.owed = append(s.owed, *r.owed)
	}
	now := time.Now()
	switch r.end {
	case drained:
		if r.lane.again {
			s.wait(r.lane, now)
		} else {
			s.drop(r.lane)
		}
	case more:
		s.wait(r.lane, now)
	case later:
		s.wait(r.lane, r.next)
	case hold:
		r.lane.place = onHold
		s.held++
		if s.held > maxHeld {
			s.loop.pause("too_many_held", fmt.Sprintf("%d lanes are held behind notifications that the receiver refused", s.held))
		}
	case broken:
		s.wait(r.lane, now)
		return s.failed(r.err)
	}
	s.stuck = 0
	return nil
}

// wait gives a lane its next turn. When too many wait it is forgotten, and a later sweep finds it again: its next attempt
// is in the store.
func (s *session) wait(ln *lane, next time.Time) {
	if len(s.waiting) >= maxWaiting {
		s.drop(ln)
		return
	}
	ln.place, ln.next = inHeap, next
	heap.Push(&s.waiting, ln)
}

func (s *session) drop(ln *lane) {
	s.loop.forgets(ln)
	delete(s.lanes, ln.name)
}

// release lets the held lanes go, and those that wait for their next attempt: a person says that it will succeed.
func (s *session) release() {
	s.loop.log.Info("resumed", "lanes", s.held)
	now := time.Now()
	for _, ln := range s.waiting { // all alike are still a heap
		ln.next = now
	}
	for _, ln := range s.lanes {
		if ln.place == onHold {
			s.drop(ln)
		}
	}
	s.held = 0
	s.dirty, s.nextSweep = true, time.Time{}
}

// failed takes note of an error of the store: a pause for all lanes, or the end of the session.
func (s *session) failed(err error) error {
	if errors.Is(err, store.ErrFenced) {
		return err
	}
	if !errors.Is(err, context.Canceled) {
		s.loop.storeFails(err)
	}
	s.stuck++
	s.stuckUntil = time.Now().Add(backoff(s.stuck, minStore, maxStore))
	return nil
}

func (s *session) publish() {
	s.loop.flying.Store(int64(s.flying))
	s.loop.waiting.Store(int64(len(s.waiting)))
	s.loop.held.Store(int64(s.held))
}

// forget leaves nothing of the session in what Status shows.
func (s *session) forget() {
	for _, ln := range s.lanes {
		if ln.place != inFlight { // after an abandoned send
			s.loop.forgets(ln)
		}
	}
	s.flying, s.held, s.waiting = 0, 0, nil
	s.publish()
}

// byTurn is a heap of lanes, the next turn first.
type byTurn []*lane

func (b byTurn) Len() int           { return len(b) }
func (b byTurn) Less(i, j int) bool { return b[i].next.Before(b[j].next) }
func (b byTurn) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *byTurn) Push(x any)        { *b = append(*b, x.(*lane)) }
func (b *byTurn) Pop() any {
	old := *b
	n := len(old) - 1
	x := old[n]
	old[n] = nil
	*b = old[:n]
	return x
}
