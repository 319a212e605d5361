// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"maps"
	"slices"
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
	Claim     Op = "claim" // it may write a name that is new
	Attach    Op = "attach"
	Retry     Op = "retry"
	Discard   Op = "discard"
	Replay    Op = "replay"
	Pause     Op = "pause"
	Unpause   Op = "unpause"
	Rename    Op = "rename"
)

// Ops are all of them.
var Ops = []Op{Commit, Ack, Defer, Bury, SaveState, Claim, Attach, Retry, Discard, Replay, Pause, Unpause, Rename}

// Faults decides which writes fail. Writes are counted from 1, over all handles of the store, in the order in which they
// begin.
type Faults struct {
	// Before is asked before a write, which isn't made when it returns an error. May be nil.
	Before func(n int, op Op) error
	// After is asked after a write that was made; its error takes the place of nil. May be nil.
	After func(n int, op Op) error

	mu    sync.Mutex
	n     int
	doing map[Op]int
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

// Doing lists the kinds of the writes that are under way, sorted.
func (f *Faults) Doing() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.doing))
}

func (f *Faults) begin(op Op) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.doing == nil {
		f.doing = map[Op]int{}
	}
	f.n++
	f.doing[op]++
	return f.n
}

func (f *Faults) end(op Op) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.doing[op]--; f.doing[op] == 0 {
		delete(f.doing, op)
	}
}

func (f *Faults) write(op Op, do func() error) error {
	n := f.begin(op)
	defer f.end(op)
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
	var f store.Feed
	err := s.faults.write(Claim, func() (err error) {
		f, err = s.Store.Claim(ctx, pipeline)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &faultyFeed{Feed: f, faults: s.faults, position: f.Position()}, nil
}

func (s faultyStore) Attach(ctx context.Context, destination string) (store.Outbox, error) {
	var o store.Outbox
	err := s.faults.write(Attach, func() (err error) {
		o, err = s.Store.Attach(ctx, destination)
		return err
	})
	if err != nil {
		return nil, err
	}
	return faultyOutbox{o, s.faults}, nil
}

func (s faultyStore) Admin() store.Admin { return faultyAdmin{s.Store.Admin(), s.faults} }

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

type faultyAdmin struct {
	store.Admin
	faults *Faults
}

func (a faultyAdmin) Retry(ctx context.Context, id string, entries []record.Entry, force bool) error {
	return a.faults.write(Retry, func() error { return a.Admin.Retry(ctx, id, entries, force) })
}

func (a faultyAdmin) Discard(ctx context.Context, id string) error {
	return a.faults.write(Discard, func() error { return a.Admin.Discard(ctx, id) })
}

func (a faultyAdmin) Replay(ctx context.Context, all []store.Again) (superseded int, err error) {
	err = a.faults.write(Replay, func() (err error) {
		superseded, err = a.Admin.Replay(ctx, all)
		return err
	})
	return superseded, err
}

func (a faultyAdmin) Pause(ctx context.Context, p store.Pause) error {
	return a.faults.write(Pause, func() error { return a.Admin.Pause(ctx, p) })
}

func (a faultyAdmin) Unpause(ctx context.Context, kind store.Kind, name string) error {
	return a.faults.write(Unpause, func() error { return a.Admin.Unpause(ctx, kind, name) })
}

func (a faultyAdmin) Rename(ctx context.Context, kind store.Kind, from, to string) (moved bool, err error) {
	err = a.faults.write(Rename, func() (err error) {
		moved, err = a.Admin.Rename(ctx, kind, from, to)
		return err
	})
	return moved, err
}
