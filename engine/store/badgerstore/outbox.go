// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

// outbox is the ownership of a destination. It is the owner as long as s.outboxes says so.
type outbox struct {
	s           *Store
	name        string
	destination uint32
	lanes       lanes
	wake        chan struct{}
	lost        chan struct{}
}

// Attach implements store.Store.
func (s *Store) Attach(ctx context.Context, destination string) (store.Outbox, error) {
	o := &outbox{s: s, name: destination, wake: make(chan struct{}, 1), lost: make(chan struct{})}
	var failed error
	err := s.do(ctx, &request{alone: true, durable: true,
		apply: func(t *tx) (err error) {
			o.destination, err = t.id(destinationName, destination)
			return err
		},
		after: func() {
			o.lanes.destination, o.lanes.most = o.destination, s.opt.Indexed
			if failed = o.lanes.load(s.db, s.depths.count(o.destination)); failed != nil {
				return
			}
			if old := s.outboxes[o.destination]; old != nil {
				close(old.lost)
			}
			s.outboxes[o.destination] = o
		},
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("attach destination %s: %w", destination, err)
	}
	return o, nil
}

// Lanes implements store.Outbox.
func (o *outbox) Lanes(ctx context.Context, token []byte, limit int) (ids []string, next []byte, err error) {
	if !o.owns() {
		return nil, nil, store.ErrFenced
	}
	limit = max(limit, 1)
	ids, next, inMemory, err := o.lanes.list(token, limit)
	if inMemory || err != nil {
		return ids, next, err
	}
	from, err := o.lanes.from(token)
	if err != nil {
		return nil, nil, err
	}
	err = o.s.view(ctx, func(txn *badger.Txn) error {
		ids, next, err = o.lanes.listOnDisk(txn, from, limit)
		return err
	})
	return ids, next, err
}

// Head implements store.Outbox.
func (o *outbox) Head(ctx context.Context, lane string, n int) ([]record.Entry, error) {
	if !o.owns() {
		return nil, store.ErrFenced
	}
	var id laneID
	if copy(id[:], lane) != len(lane) || len(lane) != len(id) || n <= 0 {
		return nil, nil
	}
	var entries []record.Entry
	err := o.s.view(ctx, func(txn *badger.Txn) error {
		items, inMemory := o.lanes.head(id, n)
		if !inMemory {
			var err error
			if items, err = o.lanes.headOnDisk(txn, id, n); err != nil {
				return err
			}
		}
		for _, at := range items {
			i, err := txn.Get(keyEntry(o.destination, id, at))
			if errors.Is(err, badger.ErrKeyNotFound) {
				continue // acknowledged in between
			}
			if err != nil {
				return err
			}
			e, pipeline, err := readEntry(txn, i, at.seq)
			if err != nil {
				return err
			}
			e.Destination, e.Pipeline = o.name, o.s.nameOf(pipeline)
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}

// nameOf is the name that has a number.
func (s *Store) nameOf(id uint32) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.names.name(id)
}

// Ack implements store.Outbox.
func (o *outbox) Ack(ctx context.Context, done ...store.Done) error {
	if len(done) > o.s.limits.Items {
		return store.ErrTooLarge
	}
	done = slices.Clone(done) // it may still be under way when the caller has given up
	places := make([]*entryAt, len(done))
	size := 0
	for i, d := range done {
		places[i], size = o.at(d.EntryID), size+keySize
		if o.s.opt.Keep > 0 {
			size += 2*keySize + 512 // mostly; what is more is found to be too large, and written alone
		}
	}
	return o.s.do(ctx, &request{size: size,
		apply: func(t *tx) error {
			if o.s.outboxes[o.destination] != o {
				return store.ErrFenced
			}
			for i, at := range places {
				if at != nil {
					t.fail(t.accept(o, at, &done[i]))
				}
			}
			return nil
		},
		after: func() { o.removed(places...) },
	})
}

// entryAt is where an entry lies.
type entryAt struct {
	lane laneID
	item item
	key  []byte
}

// at returns nil for what can't be an entry of this store.
func (o *outbox) at(id store.EntryID) *entryAt {
	a := &entryAt{item: itemOf(id.Seq, id.ID)}
	if len(id.Lane) != len(a.lane) {
		return nil
	}
	copy(a.lane[:], id.Lane)
	a.key = keyEntry(o.destination, a.lane, a.item)
	return a
}

// remove takes an entry out of the outbox.
//
// Invariant 3: this is the only place where an entry is deleted. It is called for what the destination accepted (Ack) and
// for what becomes a dead letter in the same transaction (Bury).
func (t *tx) remove(o *outbox, at *entryAt, committed time.Time) {
	t.delete(at.key)
	t.depths.add(o.destination, committed.Unix(), -1)
}

// removed forgets the places. The committer holds s.mu.
func (o *outbox) removed(gone ...*entryAt) {
	for _, at := range gone {
		if at == nil {
			continue
		}
		o.lanes.remove(at.lane, at.item)
	}
}

// Defer implements store.Outbox.
func (o *outbox) Defer(ctx context.Context, id store.EntryID, a store.Attempt) error {
	return o.rewrite(ctx, id, func(t *tx, at *entryAt, e *record.Entry, pipeline uint32, apart int) error {
		e.Attempts, e.NextAttempt = a.Attempts, a.Next
		e.Tried(record.Try{At: a.At, Code: a.Code})
		if apart > 0 {
			t.set(at.key, encodeEntryApart(e, pipeline, apart))
		} else {
			t.set(at.key, encodeEntry(e, pipeline))
		}
		return nil
	}, false)
}

// Bury implements store.Outbox.
func (o *outbox) Bury(ctx context.Context, id store.EntryID, cause record.Cause, when time.Time) error {
	return o.rewrite(ctx, id, func(t *tx, at *entryAt, e *record.Entry, _ uint32, apart int) error {
		if apart > 0 {
			if err := readContent(t.txn, e); err != nil {
				return err
			}
		}
		t.remove(o, at, e.Committed)
		t.dropContent(at.item.seq, apart)
		e.Tried(record.Try{At: when, Code: cause.Code})
		t.fail(t.bury(&record.DeadLetter{
			ID: e.ID, Pipeline: e.Pipeline, Deliver: e.Deliver, Key: e.Key, Ref: e.Ref, Version: e.Version,
			Generation: e.Generation, Time: when, Cause: cause, Record: e.Record, Previous: e.Previous, Entry: e,
		}))
		return nil
	}, true)
}

// rewrite changes an entry, unless it is gone. Change gets it without its content where that is apart.
func (o *outbox) rewrite(ctx context.Context, id store.EntryID,
	change func(t *tx, at *entryAt, e *record.Entry, pipeline uint32, apart int) error, removes bool) error {
	at := o.at(id)
	if at == nil {
		return nil
	}
	return o.s.do(ctx, &request{durable: true,
		apply: func(t *tx) error {
			if o.s.outboxes[o.destination] != o {
				return store.ErrFenced
			}
			value, err := t.get(at.key)
			if err != nil || value == nil {
				return err
			}
			e, pipeline, apart, err := decodeEntry(value)
			if err != nil {
				return err
			}
			e.Seq, e.Destination, e.Pipeline = at.item.seq, o.name, o.s.names.name(pipeline)
			return change(t, at, &e, pipeline, apart)
		},
		after: func() {
			if removes {
				o.removed(at)
			}
		},
	})
}

// Wake implements store.Outbox.
func (o *outbox) Wake() <-chan struct{} { return o.wake }

// Lost implements store.Outbox.
func (o *outbox) Lost() <-chan struct{} { return o.lost }

// Release implements store.Outbox.
func (o *outbox) Release(ctx context.Context) error {
	return o.s.do(ctx, &request{alone: true,
		apply: func(*tx) error { return nil },
		after: func() {
			if o.s.outboxes[o.destination] == o {
				delete(o.s.outboxes, o.destination)
				close(o.lost)
			}
		},
	})
}

func (o *outbox) owns() bool {
	o.s.mu.RLock()
	defer o.s.mu.RUnlock()
	return o.s.outboxes[o.destination] == o
}
