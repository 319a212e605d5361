// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

type admin struct{ s *Store }

// Admin implements store.Store.
func (s *Store) Admin() store.Admin { return admin{s} }

// bury writes a dead letter. One with the same id, from an earlier failure of the same, gives way to it.
func (t *tx) bury(l *record.DeadLetter) error {
	pipeline, err := t.id(pipelineName, l.Pipeline)
	if err != nil {
		return err
	}
	var destination uint32
	if l.Entry != nil {
		if destination, err = t.id(destinationName, l.Entry.Destination); err != nil {
			return err
		}
	}
	id := keyDeadID(l.ID)
	old, err := readNumber(t.txn, id)
	if err != nil {
		return err
	}
	if old != 0 {
		t.delete(keyDead(old))
	}
	seq := t.number()
	t.set(id, encodeNumber(seq))
	t.set(keyDead(seq), encodeDead(l, pipeline, destination))
	return nil
}

// dead finds a dead letter by its id.
func (t *tx) dead(id string) (l record.DeadLetter, seq uint64, err error) {
	seq, err = readNumber(t.txn, keyDeadID(id))
	if err == nil && seq == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return l, 0, err
	}
	value, err := t.get(keyDead(seq))
	if err != nil {
		return l, 0, err
	}
	l, err = t.s.decodeDead(value)
	return l, seq, err
}

func (t *tx) unbury(id string, seq uint64) {
	t.delete(keyDeadID(id))
	t.delete(keyDead(seq))
}

// decodeDead puts the names in. The caller is the committer, or holds s.mu.
func (s *Store) decodeDead(value []byte) (record.DeadLetter, error) {
	l, pipeline, destination, err := decodeDead(value)
	if err != nil {
		return l, err
	}
	l.Pipeline = s.names.name(pipeline)
	if n := l.Entry; n != nil {
		n.Pipeline, n.Destination = l.Pipeline, s.names.name(destination)
	}
	return l, nil
}

// Dead implements store.Admin.
func (a admin) Dead(ctx context.Context, token []byte, limit int) (dead []record.DeadLetter, next []byte, err error) {
	after := uint64(0)
	if len(token) > 0 {
		if len(token) != 9 || token[0] != deadKey {
			return nil, nil, errToken
		}
		after = binary.BigEndian.Uint64(token[1:])
	}
	limit = max(limit, 1)
	err = a.s.view(ctx, func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{deadKey}})
		defer it.Close()
		for it.Seek(keyDead(after + 1)); it.Valid(); it.Next() {
			if len(dead) == limit {
				next = keyDead(after)
				return nil
			}
			value, err := itemValue(txn, it.Item())
			if err != nil {
				return err
			}
			a.s.mu.RLock()
			l, err := a.s.decodeDead(value)
			a.s.mu.RUnlock()
			if err != nil {
				return err
			}
			dead, after = append(dead, l), binary.BigEndian.Uint64(it.Item().Key()[1:])
		}
		return nil
	})
	return dead, next, err
}

// Retry implements store.Admin. The entries get new numbers: they go to the ends of their lanes.
func (a admin) Retry(ctx context.Context, id string, entries []record.Entry, force bool) error {
	again := store.Batch{Entries: entries}
	if again.Items() > a.s.limits.Items || again.Size() > a.s.limits.Bytes {
		return store.ErrTooLarge
	}
	var out []outgoing
	return a.s.do(ctx, &request{size: again.Size(), durable: true,
		apply: func(t *tx) error {
			l, seq, err := t.dead(id)
			if err != nil {
				return err
			}
			pipeline, err := t.id(pipelineName, l.Pipeline)
			if err != nil {
				return err
			}
			// Invariant 4: a newer generation is on its way or delivered, so this one would come after it.
			row, err := readRow(t.txn, pipeline, l.Ref)
			if err != nil {
				return err
			}
			if row != nil && row.Generation > l.Generation && !force {
				return store.ErrSuperseded
			}
			back := entries
			if back == nil {
				if l.Entry == nil {
					return errors.New("this dead letter has no notification to send again: it has to be mapped again")
				}
				back = []record.Entry{*l.Entry}
				back[0].Attempts, back[0].NextAttempt = 0, time.Time{}
			}
			if out, err = encodeEntries(back, l.Pipeline, pipeline); err != nil {
				return err
			}
			if err := t.enter(out); err != nil {
				return err
			}
			t.unbury(id, seq)
			return nil
		},
		after: func() { a.s.added(out) },
	})
}

// Discard implements store.Admin.
func (a admin) Discard(ctx context.Context, id string) error {
	return a.s.do(ctx, &request{durable: true, apply: func(t *tx) error {
		_, seq, err := t.dead(id)
		if err != nil {
			return err
		}
		t.unbury(id, seq)
		return nil
	}})
}

// Pending implements store.Admin.
func (a admin) Pending(ctx context.Context) (map[string]int, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a.s.mu.RLock()
	defer a.s.mu.RUnlock()
	pending := map[string]int{}
	for id, n := range a.s.counts {
		if n > 0 {
			pending[a.s.names.name(id)] = n
		}
	}
	return pending, nil
}

// Positions implements store.Admin.
func (a admin) Positions(ctx context.Context) (map[string]store.Position, error) {
	a.s.mu.RLock()
	pipelines := map[uint32]string{}
	for id, n := range a.s.names.byID {
		if n.kind == pipelineName {
			pipelines[id] = n.name
		}
	}
	a.s.mu.RUnlock()
	positions := map[string]store.Position{}
	err := a.s.view(ctx, func(txn *badger.Txn) error {
		for id, name := range pipelines {
			p, err := position(txn, id)
			if err != nil {
				return fmt.Errorf("position of pipeline %s: %w", name, err)
			}
			if p.Commit > 0 {
				positions[name] = p
			}
		}
		return nil
	})
	return positions, err
}
