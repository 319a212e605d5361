// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

var errToken = errors.New("this token was never given")

type outbox struct {
	store *Store
	queue *queue
	owner *owner
}

// enter locks the memory for an owner; the caller unlocks it when the error is nil.
func (o *outbox) enter(ctx context.Context) error {
	if err := o.store.enter(ctx); err != nil {
		return err
	}
	if o.queue.owner != o.owner {
		o.store.mu.Unlock()
		return store.ErrFenced
	}
	return nil
}

func (o *outbox) Lanes(ctx context.Context, token []byte, limit int) (lanes []string, next []byte, err error) {
	if err := o.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer o.store.mu.Unlock()
	after, given := strings.CutPrefix(string(token), "after ")
	if token != nil && !given {
		return nil, nil, errToken
	}
	for _, name := range slices.Sorted(maps.Keys(o.queue.lanes)) {
		switch {
		case given && name <= after:
		case len(lanes) == limit:
			return lanes, []byte("after " + lanes[limit-1]), nil
		default:
			lanes = append(lanes, name)
		}
	}
	return lanes, nil, nil
}

func (o *outbox) Head(ctx context.Context, lane string, n int) ([]record.Entry, error) {
	if err := o.enter(ctx); err != nil {
		return nil, err
	}
	defer o.store.mu.Unlock()
	entries := o.queue.lanes[lane]
	head := slices.Clone(entries[:min(n, len(entries))])
	for i := range head {
		head[i] = cloneEntry(head[i])
	}
	return head, nil
}

func (o *outbox) Ack(ctx context.Context, done ...store.EntryID) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.store.mu.Unlock()
	if len(done) > o.store.limits.Items {
		return fmt.Errorf("%d acknowledgements at once: %w", len(done), store.ErrTooLarge)
	}
	for _, id := range done {
		o.queue.take(id)
	}
	return nil
}

func (o *outbox) Defer(ctx context.Context, id store.EntryID, a store.Attempt) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.store.mu.Unlock()
	if i := o.queue.find(id); i >= 0 {
		e := &o.queue.lanes[id.Lane][i]
		e.Attempts, e.NextAttempt = a.Attempts, a.Next.Round(0)
	}
	return nil
}

func (o *outbox) Bury(ctx context.Context, id store.EntryID, cause record.Cause) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.store.mu.Unlock()
	if e, ok := o.queue.take(id); ok {
		o.store.bury(record.DeadLetter{
			ID: e.ID, Pipeline: e.Pipeline, Deliver: e.Deliver, Key: e.Key, Ref: e.Ref, Version: e.Version, Generation: e.Generation,
			Time: e.Committed, Cause: cause, Record: e.Record, Entry: &e,
		})
	}
	return nil
}

func (o *outbox) Wake() <-chan struct{} { return o.queue.wake }
func (o *outbox) Lost() <-chan struct{} { return o.owner.lost }

func (o *outbox) Release(context.Context) error {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	if o.queue.owner == o.owner {
		o.owner.lose()
		o.queue.owner = nil
	}
	return nil
}

func (q *queue) find(id store.EntryID) int {
	return slices.IndexFunc(q.lanes[id.Lane], func(e record.Entry) bool { return e.Seq == id.Seq && e.ID == id.ID })
}

// take removes an entry, if it is there.
func (q *queue) take(id store.EntryID) (record.Entry, bool) {
	i := q.find(id)
	if i < 0 {
		return record.Entry{}, false
	}
	e := q.lanes[id.Lane][i]
	if q.lanes[id.Lane] = slices.Delete(q.lanes[id.Lane], i, i+1); len(q.lanes[id.Lane]) == 0 {
		delete(q.lanes, id.Lane)
	}
	return e, true
}

// Admin is for people.
func (s *Store) Admin() store.Admin { return (*admin)(s) }

type admin Store

// letter is a dead letter with its number, which pages go by.
type letter struct {
	number uint64
	record.DeadLetter
}

// bury keeps a dead letter, in place of one with its id. The caller holds the lock.
func (s *Store) bury(d record.DeadLetter) {
	s.dead = slices.DeleteFunc(s.dead, func(old letter) bool { return old.ID == d.ID })
	s.seq++
	s.dead = append(s.dead, letter{s.seq, cloneDead(d)})
}

func (s *Store) findDead(id string) int {
	return slices.IndexFunc(s.dead, func(d letter) bool { return d.ID == id })
}

func (a *admin) Dead(_ context.Context, token []byte, limit int) (dead []record.DeadLetter, next []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	after, err := strconv.ParseUint(string(token), 36, 64)
	if err != nil && token != nil {
		return nil, nil, errToken
	}
	for i, d := range a.dead {
		switch {
		case d.number <= after:
		case len(dead) == limit:
			return dead, strconv.AppendUint(nil, a.dead[i-1].number, 36), nil
		default:
			dead = append(dead, cloneDead(d.DeadLetter))
		}
	}
	return dead, nil, nil
}

func (a *admin) Retry(_ context.Context, id string, entries []record.Entry, force bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := (*Store)(a)
	i := s.findDead(id)
	if i < 0 {
		return store.ErrNotFound
	}
	d := s.dead[i].DeadLetter
	if st := s.pipelines[d.Pipeline]; !force && st != nil && st.rows[d.Ref].Generation > d.Generation {
		return store.ErrSuperseded
	}
	if foreign(d.Pipeline, entries, nil) {
		return errForeign
	}
	if entries == nil {
		if d.Entry == nil {
			return fmt.Errorf("the dead letter has no notification, it has to be mapped again: %w", store.ErrNotFound)
		}
		e := *d.Entry
		e.Attempts, e.NextAttempt = 0, time.Time{}
		entries = []record.Entry{e}
	}
	s.put(entries)
	s.dead = slices.Delete(s.dead, i, i+1)
	return nil
}

func (a *admin) Discard(_ context.Context, id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := (*Store)(a).findDead(id)
	if i < 0 {
		return store.ErrNotFound
	}
	a.dead = slices.Delete(a.dead, i, i+1)
	return nil
}

func (a *admin) Pending(context.Context) (map[string]int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pending := map[string]int{}
	for name, q := range a.outboxes {
		for _, entries := range q.lanes {
			pending[name] += len(entries)
		}
	}
	return pending, nil
}

func (a *admin) Positions(context.Context) (map[string]store.Position, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	positions := map[string]store.Position{}
	for name, st := range a.pipelines {
		positions[name] = clonePosition(st.position)
	}
	return positions, nil
}

func (a *admin) Rename(ctx context.Context, kind store.Kind, from, to string) (moved bool, err error) {
	s := (*Store)(a)
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	var rename func()
	var had, occupied, held bool
	switch kind {
	case store.Pipeline:
		old, now := s.pipelines[from], s.pipelines[to]
		had, occupied = old != nil && old.position.Commit > 0, now != nil && now.position.Commit > 0
		held = old != nil && old.owner != nil || now != nil && now.owner != nil
		rename = func() {
			s.pipelines[to] = old
			delete(s.pipelines, from)
		}
	case store.Destination:
		old, now := s.outboxes[from], s.outboxes[to]
		had, occupied = s.keeps(from), s.keeps(to)
		held = old != nil && old.owner != nil || now != nil && now.owner != nil
		rename = func() {
			delete(s.outboxes, to)
			if old != nil {
				s.outboxes[to] = old
			}
			delete(s.outboxes, from)
		}
	case store.Source:
		_, had = s.saved[from]
		_, occupied = s.saved[to]
		rename = func() {
			s.saved[to] = s.saved[from]
			delete(s.saved, from)
		}
	}
	switch {
	case !had:
		return false, nil
	case occupied:
		return false, store.ErrOccupied
	case held:
		return false, store.ErrHeld
	}
	rename()
	each := func(e *record.Entry) {
		if kind == store.Pipeline && e.Pipeline == from {
			e.Pipeline = to
		} else if kind == store.Destination && e.Destination == from {
			e.Destination = to
		}
	}
	for _, q := range s.outboxes {
		for _, entries := range q.lanes {
			for i := range entries {
				each(&entries[i])
			}
		}
	}
	for i := range s.dead {
		d := &s.dead[i].DeadLetter
		if kind == store.Pipeline && d.Pipeline == from {
			d.Pipeline = to
		}
		if d.Entry != nil {
			each(d.Entry)
		}
	}
	return true, nil
}

// keeps says whether anything is kept for a destination. The caller holds the lock.
func (s *Store) keeps(destination string) bool {
	q := s.outboxes[destination]
	return q != nil && len(q.lanes) > 0 ||
		slices.ContainsFunc(s.dead, func(d letter) bool { return d.Entry != nil && d.Entry.Destination == destination })
}
