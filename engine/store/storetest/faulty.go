// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

// Op is a kind of write.
type Op string

// The writes that can be made to fail.
const (
	Commit    Op = "commit"
	Ack       Op = "ack"
	Defer     Op = "defer"
	Bury      Op = "bury"
	SaveState Op = "save state"
)

// Faults decides which writes fail. Writes are counted from 1, over all handles of the store, in the order in which they
// begin.
type Faults struct {
	// Before is asked before a write, which isn't made when it returns an error. May be nil.
	Before func(n int, op Op) error
	// After is asked after a write that was made; its error takes the place of nil. May be nil.
	After func(n int, op Op) error

	mu sync.Mutex
	n  int
}

// FailBefore makes the n-th write fail with err, not written; FailAfter makes it fail with err though it was written.
func FailBefore(n int, err error) *Faults { return &Faults{Before: only(n, err)} }

// FailAfter is described at FailBefore.
func FailAfter(n int, err error) *Faults { return &Faults{After: only(n, err)} }

func only(n int, err error) func(int, Op) error {
	return func(now int, _ Op) error {
		if now == n {
			return err
		}
		return nil
	}
}

// Writes is the number of writes so far: for "let each write fail once", run until it is less than n.
func (f *Faults) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *Faults) write(op Op, do func() error) error {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	if f.Before != nil {
		if err := f.Before(n, op); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if f.After != nil {
		return f.After(n, op)
	}
	return nil
}

// Faulty gives s with faults. After a commit that failed by a fault, the handle's position is not to be relied on, as after
// store.ErrUnknown: it stays what it was, and only a new claim tells.
func Faulty(s store.Store, f *Faults) store.Store { return faultyStore{s, f} }

type faultyStore struct {
	store.Store
	faults *Faults
}

func (s faultyStore) Claim(ctx context.Context, pipeline string) (store.Feed, error) {
	f, err := s.Store.Claim(ctx, pipeline)
	if err != nil {
		return nil, err
	}
	return &faultyFeed{Feed: f, faults: s.faults, position: f.Position()}, nil
}

func (s faultyStore) Attach(ctx context.Context, destination string) (store.Outbox, error) {
	o, err := s.Store.Attach(ctx, destination)
	if err != nil {
		return nil, err
	}
	return faultyOutbox{o, s.faults}, nil
}

func (s faultyStore) SaveState(ctx context.Context, source string, state []byte) error {
	return s.faults.write(SaveState, func() error { return s.Store.SaveState(ctx, source, state) })
}

type faultyFeed struct {
	store.Feed
	faults *Faults

	mu       sync.Mutex
	position store.Position
}

func (f *faultyFeed) Position() store.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.position
}

func (f *faultyFeed) Commit(ctx context.Context, b store.Batch) error {
	err := f.faults.write(Commit, func() error { return f.Feed.Commit(ctx, b) })
	if err == nil {
		f.mu.Lock()
		f.position = f.Feed.Position()
		f.mu.Unlock()
	}
	return err
}

type faultyOutbox struct {
	store.Outbox
	faults *Faults
}

func (o faultyOutbox) Ack(ctx context.Context, done ...store.Done) error {
	return o.faults.write(Ack, func() error { return o.Outbox.Ack(ctx, done...) })
}

func (o faultyOutbox) Defer(ctx context.Context, id store.EntryID, a store.Attempt) error {
	return o.faults.write(Defer, func() error { return o.Outbox.Defer(ctx, id, a) })
}

func (o faultyOutbox) Bury(ctx context.Context, id store.EntryID, cause record.Cause, at time.Time) error {
	return o.faults.write(Bury, func() error { return o.Outbox.Bury(ctx, id, cause, at) })
}
