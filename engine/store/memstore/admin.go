// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Admin is for people.
func (s *Store) Admin() store.Admin { return (*admin)(s) }

type admin Store

// letter is a dead letter with its number, which pages go by.
type letter struct {
	number uint64
	record.DeadLetter
}

// bury keeps a dead letter, in place of one with its id, unless another destination refused that. The caller holds the lock.
func (s *Store) bury(d record.DeadLetter) {
	if i := s.findDead(d.ID); i >= 0 && store.RefusedElsewhere(&s.dead[i].DeadLetter, &d) {
		d.ID = store.DeadIDOf(&d)
	}
	s.dead = slices.DeleteFunc(s.dead, func(old letter) bool { return old.ID == d.ID })
	s.seq++
	s.dead = append(s.dead, letter{s.seq, cloneDead(d)})
}

func (s *Store) findDead(id string) int {
	return slices.IndexFunc(s.dead, func(d letter) bool { return d.ID == id })
}

func (a *admin) Dead(ctx context.Context, f store.Filter, token []byte, limit int) ([]record.DeadLetter, []byte, error) {
	var all []letter
	if err := (*Store)(a).enter(ctx); err != nil {
		return nil, nil, err
	}
	defer a.mu.Unlock()
	for _, d := range a.dead {
		destination := ""
		if d.Entry != nil {
			destination = d.Entry.Destination
		}
		if matches(f, d.Pipeline, destination, d.ID, d.Ref, d.Time) && (f.Code == "" || f.Code == d.Cause.Code) {
			all = append(all, d)
		}
	}
	page, next, err := pageOf(all, func(d letter) string { return place(0, d.number) }, f, token, limit)
	var dead []record.DeadLetter
	for _, d := range page {
		dead = append(dead, cloneDead(d.DeadLetter))
	}
	return dead, next, err
}

func (a *admin) DeadLetter(ctx context.Context, id string) (record.DeadLetter, error) {
	if err := (*Store)(a).enter(ctx); err != nil {
		return record.DeadLetter{}, err
	}
	defer a.mu.Unlock()
	i := (*Store)(a).findDead(id)
	if i < 0 {
		return record.DeadLetter{}, store.ErrNotFound
	}
	return cloneDead(a.dead[i].DeadLetter), nil
}

func (a *admin) DeadCount(ctx context.Context) (map[string]int, error) {
	if err := (*Store)(a).enter(ctx); err != nil {
		return nil, err
	}
	defer a.mu.Unlock()
	count := map[string]int{}
	for _, d := range a.dead {
		count[d.Pipeline]++
	}
	return count, nil
}

func (a *admin) Waiting(ctx context.Context, f store.Filter, token []byte, limit int) ([]record.Entry, []byte, error) {
	if err := (*Store)(a).enter(ctx); err != nil {
		return nil, nil, err
	}
	defer a.mu.Unlock()
	var all []record.Entry
	for _, q := range a.outboxes {
		for _, entries := range q.lanes {
			for _, e := range entries {
				if matches(f, e.Pipeline, e.Destination, e.ID, e.Ref, e.Committed) {
					all = append(all, e)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b record.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	page, next, err := pageOf(all, func(e record.Entry) string { return place(0, e.Seq) }, f, token, limit)
	for i := range page {
		page[i] = cloneEntry(page[i])
	}
	return page, next, err
}

func (a *admin) Delivered(ctx context.Context, f store.Filter, newest bool, token []byte, limit int) ([]store.Delivered, []byte, error) {
	if err := (*Store)(a).enter(ctx); err != nil {
		return nil, nil, err
	}
	defer a.mu.Unlock()
	(*Store)(a).forget()
	var all []store.Delivered
	for _, d := range a.done {
		if matches(f, d.Pipeline, d.Destination, d.ID, d.Ref, d.At) {
			all = append(all, d)
		}
	}
	key := deliveredPlace
	if newest {
		slices.Reverse(all)
		key = func(d store.Delivered) string { return place(^uint64(d.At.UnixNano()), ^d.Seq) }
	}
	page, next, err := pageOf(all, key, f, token, limit)
	for i := range page {
		page[i].Entry = cloneEntry(page[i].Entry)
	}
	return page, next, err
}

func deliveredPlace(d store.Delivered) string { return place(uint64(d.At.UnixNano()), d.Seq) }

// keep puts an entry among the delivered ones. The caller holds the lock.
func (s *Store) keep(d store.Delivered) {
	i, _ := slices.BinarySearchFunc(s.done, deliveredPlace(d), func(d store.Delivered, at string) int {
		return cmp.Compare(deliveredPlace(d), at)
	})
	s.done = slices.Insert(s.done, i, d)
	s.forget()
}

// forget drops delivered ones whose time is over, and the oldest of too many. The caller holds the lock.
func (s *Store) forget() {
	size := int64(0)
	for i := range s.done {
		size += int64(store.EntrySize(&s.done[i].Entry))
	}
	for len(s.done) > 0 && (time.Since(s.done[0].At) > s.Keep || s.KeepBytes > 0 && size > s.KeepBytes) {
		size -= int64(store.EntrySize(&s.done[0].Entry))
		s.done = s.done[1:]
	}
}

var errRefAlone = errors.New("a record is asked for without its pipeline")

// pageOf gives a page of what is in the order of its keys. The token is the key of the one given last.
func pageOf[T any](all []T, key func(T) string, f store.Filter, token []byte, limit int) (page []T, next []byte, err error) {
	if f.Ref != (sdk.Ref{}) && f.Pipeline == "" {
		return nil, nil, errRefAlone
	}
	if token != nil && len(token) != len(place(0, 0)) {
		return nil, nil, errToken
	}
	for _, x := range all {
		switch {
		case key(x) <= string(token):
		case len(page) == limit:
			return page, []byte(key(page[limit-1])), nil
		default:
			page = append(page, x)
		}
	}
	return page, nil, nil
}

func place(at, number uint64) string { return fmt.Sprintf("%016x%016x", at, number) }

func matches(f store.Filter, pipeline, destination, id string, ref sdk.Ref, at time.Time) bool {
	return (f.Pipeline == "" || f.Pipeline == pipeline) && (f.Destination == "" || f.Destination == destination) &&
		(f.ID == "" || f.ID == id) && (f.Ref == (sdk.Ref{}) || f.Ref == ref) &&
		(f.From.IsZero() || !at.Before(f.From)) && (f.To.IsZero() || at.Before(f.To))
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
		entries = []record.Entry{*d.Entry}
	}
	s.put(putBack(entries, false))
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

func (a *admin) Pending(ctx context.Context) (map[string]store.Depth, error) {
	if err := (*Store)(a).enter(ctx); err != nil {
		return nil, err
	}
	defer a.mu.Unlock()
	pending := map[string]store.Depth{}
	for name, q := range a.outboxes {
		for _, entries := range q.lanes {
			for _, e := range entries {
				d := pending[name]
				committed := e.Committed.Truncate(time.Second)
				if d.Count++; d.Count == 1 || committed.Before(d.Oldest) {
					d.Oldest = committed
				}
				pending[name] = d
			}
		}
	}
	return pending, nil
}

func (a *admin) Replay(ctx context.Context, all []store.Again) (superseded int, err error) {
	s := (*Store)(a)
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	var b store.Batch
	for _, e := range all {
		if e.Pipeline == "" || e.Destination == "" {
			return 0, errors.New("an entry names no pipeline or no destination")
		}
		b.Entries = append(b.Entries, e.Entry)
	}
	if b.Items() > s.limits.Items || b.Size() > s.limits.Bytes {
		return 0, store.ErrTooLarge
	}
	b.Entries = nil
	for _, e := range all {
		if st := s.pipelines[e.Pipeline]; st != nil && e.Newest > 0 && st.rows[e.Ref].Generation > e.Newest {
			superseded++
			continue
		}
		b.Entries = append(b.Entries, e.Entry)
	}
	s.put(putBack(b.Entries, true))
	return superseded, nil
}

// putBack gives entries as they go into the outbox once more. A notification that is retried keeps its tries, one that is
// replayed begins anew.
func putBack(entries []record.Entry, anew bool) []record.Entry {
	again := slices.Clone(entries)
	for i := range again {
		e := &again[i]
		e.Committed, e.Attempts, e.NextAttempt = time.Now().Round(0), 0, time.Time{}
		if anew {
			e.Tries = nil
		}
	}
	return again
}

func (a *admin) Row(ctx context.Context, pipeline string, ref sdk.Ref) (row store.Row, found bool, err error) {
	if err := (*Store)(a).enter(ctx); err != nil {
		return row, false, err
	}
	defer a.mu.Unlock()
	if st := a.pipelines[pipeline]; st != nil {
		row, found = st.rows[ref]
	}
	return cloneRow(row), found, nil
}

func (a *admin) Rows(ctx context.Context, pipeline string, token []byte, limit int) (rows []store.Row, next []byte, err error) {
	if err := (*Store)(a).enter(ctx); err != nil {
		return nil, nil, err
	}
	defer a.mu.Unlock()
	st := a.pipelines[pipeline]
	if st == nil {
		return nil, nil, nil
	}
	byName := map[string]store.Row{}
	for ref, row := range st.rows {
		row = cloneRow(row)
		row.Snapshot = nil
		byName[fmt.Sprintf("%q", ref)] = row
	}
	last := ""
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		switch {
		case name <= string(token):
		case len(rows) == limit:
			return rows, []byte(last), nil
		default:
			rows, last = append(rows, byName[name]), name
		}
	}
	return rows, nil, nil
}

func (a *admin) Pauses(ctx context.Context) ([]store.Pause, error) {
	if err := (*Store)(a).enter(ctx); err != nil {
		return nil, err
	}
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.pauses)), nil
}

func (a *admin) Pause(ctx context.Context, p store.Pause) error {
	if err := (*Store)(a).enter(ctx); err != nil {
		return err
	}
	defer a.mu.Unlock()
	if p.Kind != store.Pipeline && p.Kind != store.Destination {
		return fmt.Errorf("a %s can't be paused", p.Kind)
	}
	p.Since = p.Since.Round(0)
	a.pauses[pauseOf{p.Kind, p.Name}] = p
	return nil
}

func (a *admin) Unpause(ctx context.Context, kind store.Kind, name string) error {
	if err := (*Store)(a).enter(ctx); err != nil {
		return err
	}
	defer a.mu.Unlock()
	delete(a.pauses, pauseOf{kind, name})
	return nil
}

func (a *admin) Backup(context.Context, io.Writer) error {
	return errors.New("a state in memory has no backup")
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
		had = old != nil && old.position.Commit > 0 || s.paused(kind, from)
		occupied = now != nil && now.position.Commit > 0 || s.paused(kind, to)
		held = old != nil && old.owner != nil || now != nil && now.owner != nil
		rename = func() {
			delete(s.pipelines, to)
			if old != nil {
				s.pipelines[to] = old
			}
			delete(s.pipelines, from)
		}
	case store.Destination:
		old, now := s.outboxes[from], s.outboxes[to]
		had, occupied = s.keeps(from) || s.paused(kind, from), s.keeps(to) || s.paused(kind, to)
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
	if p, paused := s.pauses[pauseOf{kind, from}]; paused {
		p.Name = to
		s.pauses[pauseOf{kind, to}] = p
		delete(s.pauses, pauseOf{kind, from})
	}
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
	for i := range s.done {
		each(&s.done[i].Entry)
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
		slices.ContainsFunc(s.dead, func(d letter) bool { return d.Entry != nil && d.Entry.Destination == destination }) ||
		slices.ContainsFunc(s.done, func(d store.Delivered) bool { return d.Destination == destination })
}

func (s *Store) paused(kind store.Kind, name string) bool {
	_, paused := s.pauses[pauseOf{kind, name}]
	return paused
}
