// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package memstore keeps the engine's state in memory, for tests: it starts no goroutine, so loops run on it with fake time,
// and it keeps no more promises than store makes: Seen answers in no order, tokens and lanes mean nothing to others, a
// handle that lost its ownership is of no use.
package memstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Memory is a state in memory, as a directory is one on disk. The zero value is an empty one.
type Memory struct {
	Keep      time.Duration // how long delivered notifications are kept; 0: not at all
	KeepBytes int64         // the oldest give way when those kept are larger, by store.EntrySize; 0: no bound

	mu        sync.Mutex
	secret    []byte
	seq       uint64
	numbers   int // of pipelines so far
	pipelines map[string]*state
	outboxes  map[string]*queue
	dead      []letter          // oldest first
	done      []store.Delivered // by time of delivery and Seq
	pauses    map[pauseOf]store.Pause
	saved     map[string][]byte
}

type pauseOf struct {
	kind store.Kind
	name string
}

// Store is a Memory that was opened.
type Store struct {
	*Memory
	limits store.Limits
	closed bool
}

var _ store.Store = (*Store)(nil)

// state is what is kept of one pipeline.
type state struct {
	number   int // names its lanes, also when it is renamed
	owner    *owner
	position store.Position
	rows     map[sdk.Ref]store.Row
	marks    map[sdk.Ref]uint64 // number of the scan that saw a row last
}

// queue is what is kept of one destination.
type queue struct {
	owner *owner
	lanes map[string][]record.Entry // in the order of commit; no lane is empty
	wake  chan struct{}
}

// owner is the ownership that a handle stands for; it is gone when lost is closed.
type owner struct{ lost chan struct{} }

func (o *owner) lose() {
	if o != nil {
		close(o.lost)
	}
}

var (
	errClosed  = errors.New("the store is closed")
	errForeign = errors.New("an entry or a dead letter is of another pipeline")
)

// Open opens m; zero fields of limits become generous. Small ones show loops that one commit does not hold everything.
func (m *Memory) Open(l store.Limits) *Store {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.secret == nil {
		m.secret = make([]byte, 32)
		_, _ = rand.Read(m.secret) // never fails
		m.pipelines, m.outboxes, m.saved = map[string]*state{}, map[string]*queue{}, map[string][]byte{}
		m.pauses = map[pauseOf]store.Pause{}
	}
	return &Store{Memory: m, limits: store.Limits{Items: cmp.Or(l.Items, 1000), Bytes: cmp.Or(l.Bytes, 8<<20), Refs: cmp.Or(l.Refs, 1000)}}
}

// New opens an empty memory.
func New(l store.Limits) *Store { return new(Memory).Open(l) }

// Limits bound one call.
func (s *Store) Limits() store.Limits { return s.limits }

// Secret is the key of the hashes that name records in logs.
func (s *Store) Secret() []byte { return slices.Clone(s.secret) }

// enter locks the memory, if the store is open; the caller unlocks it when the error is nil.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	return nil
}

// Claim takes a pipeline, from whoever has it.
func (s *Store) Claim(ctx context.Context, pipeline string) (store.Feed, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	st := s.pipeline(pipeline)
	st.owner.lose()
	st.owner = &owner{make(chan struct{})}
	return &feed{store: s, name: pipeline, state: st, owner: st.owner, position: st.position}, nil
}

// pipeline makes what is kept of one, if need be. The caller holds the lock.
func (s *Store) pipeline(name string) *state {
	st := s.pipelines[name]
	if st == nil {
		s.numbers++
		st = &state{number: s.numbers, rows: map[sdk.Ref]store.Row{}, marks: map[sdk.Ref]uint64{}}
		s.pipelines[name] = st
	}
	return st
}

// Attach takes a destination's outbox, from whoever has it.
func (s *Store) Attach(ctx context.Context, destination string) (store.Outbox, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	q := s.queue(destination)
	q.owner.lose()
	q.owner = &owner{make(chan struct{})}
	return &outbox{store: s, queue: q, owner: q.owner}, nil
}

func (s *Store) queue(destination string) *queue {
	q := s.outboxes[destination]
	if q == nil {
		q = &queue{lanes: map[string][]record.Entry{}, wake: make(chan struct{}, 1)}
		s.outboxes[destination] = q
	}
	return q
}

// LoadState gives what was saved for a source.
func (s *Store) LoadState(ctx context.Context, source string) ([]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Clone(s.saved[source]), nil
}

// SaveState keeps what an adapter saves for a source.
func (s *Store) SaveState(ctx context.Context, source string, state []byte) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.saved[source] = slices.Clone(state)
	return nil
}

// Close takes the ownership from all handles; the memory can be opened again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for _, st := range s.pipelines {
		st.owner.lose()
		st.owner = nil
	}
	for _, q := range s.outboxes {
		q.owner.lose()
		q.owner = nil
	}
	return nil
}

// foreign says whether an entry or a dead letter is of another pipeline.
func foreign(pipeline string, entries []record.Entry, dead []record.DeadLetter) bool {
	return slices.ContainsFunc(entries, func(e record.Entry) bool { return e.Pipeline != pipeline }) ||
		slices.ContainsFunc(dead, func(d record.DeadLetter) bool { return d.Pipeline != pipeline })
}

func twice(rows []store.Row) bool {
	refs := make(map[sdk.Ref]bool, len(rows))
	for _, row := range rows {
		refs[row.Ref] = true
	}
	return len(refs) < len(rows)
}

// put appends entries to the outboxes of their destinations. The caller holds the lock.
func (s *Store) put(entries []record.Entry) {
	for _, e := range entries {
		s.seq++
		e = cloneEntry(e)
		e.Seq = s.seq
		q := s.queue(e.Destination)
		lane := fmt.Sprintf("%q %d", e.Key, s.pipeline(e.Pipeline).number)
		q.lanes[lane] = append(q.lanes[lane], e)
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

type feed struct {
	store *Store
	name  string
	state *state
	owner *owner

	mu       sync.Mutex
	position store.Position
}

func (f *feed) Position() store.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return clonePosition(f.position)
}

func (f *feed) Seen(ctx context.Context, refs []sdk.Ref) ([]store.Row, error) {
	found, err := f.rows(ctx, refs)
	if err != nil {
		return nil, err
	}
	var rows []store.Row
	for _, row := range found { // in the order of a map: in none
		row.Snapshot = nil
		rows = append(rows, row)
	}
	return rows, nil
}

func (f *feed) Snapshots(ctx context.Context, refs []sdk.Ref) (map[sdk.Ref][]byte, error) {
	found, err := f.rows(ctx, refs)
	if err != nil {
		return nil, err
	}
	snapshots := map[sdk.Ref][]byte{}
	for ref, row := range found {
		if len(row.Snapshot) > 0 {
			snapshots[ref] = row.Snapshot
		}
	}
	return snapshots, nil
}

func (f *feed) rows(ctx context.Context, refs []sdk.Ref) (map[sdk.Ref]store.Row, error) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case f.state.owner != f.owner:
		return nil, store.ErrFenced
	case len(refs) > f.store.limits.Refs:
		return nil, fmt.Errorf("%d refs in one look-up: %w", len(refs), store.ErrTooLarge)
	}
	found := map[sdk.Ref]store.Row{}
	for _, ref := range refs {
		if row, ok := f.state.rows[ref]; ok {
			found[ref] = cloneRow(row)
		}
	}
	return found, nil
}

func (f *feed) Commit(ctx context.Context, b store.Batch) error {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	limits := f.store.limits
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case f.state.owner != f.owner:
		return store.ErrFenced
	case b.Base != f.state.position.Commit:
		return store.ErrStale
	case b.Items() > limits.Items || b.Size() > limits.Bytes:
		return fmt.Errorf("%d items, %d bytes: %w", b.Items(), b.Size(), store.ErrTooLarge)
	case foreign(f.name, b.Entries, b.Dead):
		return errForeign
	case twice(b.Rows):
		return errors.New("a batch holds two rows of one record")
	}
	for _, row := range b.Rows {
		f.state.rows[row.Ref] = cloneRow(row)
		f.state.mark(row.Ref, b.Scan)
	}
	for _, ref := range b.Marks {
		f.state.mark(ref, b.Scan)
	}
	f.store.put(b.Entries)
	for _, d := range b.Dead {
		f.store.bury(d)
	}
	commit := f.state.position.Commit + 1
	if b.Position != nil {
		f.state.position = clonePosition(*b.Position)
	}
	f.state.position.Commit = commit
	f.mu.Lock()
	defer f.mu.Unlock()
	f.position = f.state.position
	return nil
}

func (s *state) mark(ref sdk.Ref, scan uint64) {
	if scan > 0 {
		s.marks[ref] = scan
	}
}

func (f *feed) Unmarked(ctx context.Context, scan uint64, token []byte, limit int) (refs []sdk.Ref, next []byte, err error) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	after, given := strings.CutPrefix(string(token), "after ")
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case f.state.owner != f.owner:
		return nil, nil, store.ErrFenced
	case token != nil && !given:
		return nil, nil, errToken
	}
	byName := map[string]sdk.Ref{}
	for ref, row := range f.state.rows {
		if !row.Deleted && f.state.marks[ref] < scan {
			byName[fmt.Sprintf("%q", ref)] = ref
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		switch {
		case given && name <= after:
		case len(refs) == limit:
			return refs, fmt.Appendf(nil, "after %q", refs[limit-1]), nil
		default:
			refs = append(refs, byName[name])
		}
	}
	return refs, nil, nil
}

func (f *feed) Lost() <-chan struct{} { return f.owner.lost }

func (f *feed) Release(context.Context) error {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	if f.state.owner == f.owner {
		f.owner.lose()
		f.state.owner = nil
	}
	return nil
}

// clonePosition and its like copy what a caller could still change.
func clonePosition(p store.Position) store.Position {
	p.Watermark, p.Cursor = slices.Clone(p.Watermark), slices.Clone(p.Cursor)
	p.Start, p.Polled = p.Start.Round(0), p.Polled.Round(0) // what was stored has no monotonic reading
	return p
}

func cloneRow(r store.Row) store.Row {
	r.Recent, r.Snapshot = slices.Clone(r.Recent), slices.Clone(r.Snapshot)
	return r
}

func cloneEntry(e record.Entry) record.Entry {
	e.Body, e.Record, e.Previous = slices.Clone(e.Body), slices.Clone(e.Record), slices.Clone(e.Previous)
	e.Tries = slices.Clone(e.Tries)
	return e
}

func cloneDead(d record.DeadLetter) record.DeadLetter {
	d.Record, d.Previous = slices.Clone(d.Record), slices.Clone(d.Previous)
	if d.Entry != nil {
		e := cloneEntry(*d.Entry)
		d.Entry = &e
	}
	return d
}
