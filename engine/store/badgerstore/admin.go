// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

type admin struct{ s *Store }

// Admin implements store.Store.
func (s *Store) Admin() store.Admin { return admin{s} }

// bury writes a dead letter. One with the same id, from an earlier failure of the same, gives way to it. What another destination
// refused, as it was replayed there, is not the same.
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
	if l.Entry != nil {
		other, _, err := t.dead(l.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err // also of one that this transaction wrote in parts: the committer makes one of each, then
		}
		if store.RefusedElsewhere(&other, l) {
			elsewhere := *l
			elsewhere.ID = store.DeadIDOf(l)
			l = &elsewhere
		}
	}
	id := keyDeadID(l.ID)
	old, err := readNumber(t.txn, id)
	if err != nil {
		return err
	}
	if old != 0 {
		if err := t.removeDead(old); err != nil {
			return err
		}
	}
	seq := t.number()
	t.letters[pipeline]++
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
	i, err := t.txn.Get(keyDead(seq))
	if err != nil {
		return l, 0, err
	}
	l, _, _, err = t.s.readDead(t.txn, i)
	return l, seq, err
}

// unbury removes a dead letter by its id and number.
func (t *tx) unbury(id string, seq uint64) error {
	t.delete(keyDeadID(id))
	return t.removeDead(seq)
}

func (t *tx) removeDead(seq uint64) error {
	i, err := t.txn.Get(keyDead(seq))
	if err != nil {
		return err
	}
	err = t.firstPart(i, func(b []byte) error {
		pipeline, err := deadPipeline(b)
		t.letters[pipeline]--
		return err
	})
	t.delete(keyDead(seq))
	return err
}

// Dead implements store.Admin.
func (a admin) Dead(ctx context.Context, f store.Filter, token []byte, limit int) (dead []record.DeadLetter, next []byte, err error) {
	m, err := a.s.matcher(f)
	if err != nil {
		return nil, nil, err
	}
	next, err = a.list(ctx, []byte{deadKey}, token, limit, func(txn *badger.Txn, i *badger.Item) (int, error) {
		l, pipeline, destination, err := a.s.readDead(txn, i)
		if err != nil || f.Code != "" && f.Code != l.Cause.Code || !m.matches(pipeline, destination, l.Time, &record.Entry{ID: l.ID, Ref: l.Ref}) {
			return 0, err
		}
		dead = append(dead, l)
		return store.DeadSize(&l), nil
	})
	return dead, next, err
}

// list calls take for the values under a prefix, in the order of their keys, until it took as many as the limit, or as much as one commit
// may hold: a page is in memory. Take gives the size of what it took, 0 if nothing. The token is the key of the one taken last.
func (a admin) list(ctx context.Context, prefix, token []byte, limit int, take func(*badger.Txn, *badger.Item) (int, error)) (
	next []byte, err error,
) {
	if token != nil && !bytes.HasPrefix(token, prefix) {
		return nil, errToken
	}
	limit = max(limit, 1)
	err = a.s.view(ctx, func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		last, taken, size := token, 0, 0
		for it.Seek([]byte(cmp.Or(string(token), string(prefix)))); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if bytes.Equal(it.Item().Key(), token) {
				continue
			}
			if taken == limit || size >= a.s.limits.Bytes {
				next = last
				return nil
			}
			n, err := take(txn, it.Item())
			if err != nil {
				return err
			}
			if n > 0 {
				last, taken, size = it.Item().KeyCopy(nil), taken+1, size+n
			}
		}
		return nil
	})
	return next, err
}

// DeadLetter implements store.Admin.
func (a admin) DeadLetter(ctx context.Context, id string) (l record.DeadLetter, err error) {
	err = a.s.view(ctx, func(txn *badger.Txn) error {
		seq, err := readNumber(txn, keyDeadID(id))
		if err == nil && seq == 0 {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		i, err := txn.Get(keyDead(seq))
		if err != nil {
			return err
		}
		l, _, _, err = a.s.readDead(txn, i)
		return err
	})
	return l, err
}

func (s *Store) readDead(txn *badger.Txn, i *badger.Item) (l record.DeadLetter, pipeline, destination uint32, err error) {
	value, err := itemValue(txn, i)
	if err != nil {
		return l, 0, 0, err
	}
	if l, pipeline, destination, err = decodeDead(value); err != nil {
		return l, 0, 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	l.Pipeline = s.names.name(pipeline)
	if n := l.Entry; n != nil {
		n.Pipeline, n.Destination = l.Pipeline, s.names.name(destination)
	}
	return l, pipeline, destination, nil
}

// DeadCount implements store.Admin.
func (a admin) DeadCount(ctx context.Context) (map[string]int, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a.s.mu.RLock()
	defer a.s.mu.RUnlock()
	count := map[string]int{}
	for id, n := range a.s.letters {
		if n > 0 {
			count[a.s.names.name(id)] = n
		}
	}
	return count, nil
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
			if err := a.s.forMore(t.room); err != nil {
				return err
			}
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
			}
			back = putBack(back, false)
			if out, err = a.s.encodeEntries(back, l.Pipeline, pipeline); err != nil {
				return err
			}
			if err := t.enter(out); err != nil {
				return err
			}
			return t.unbury(id, seq)
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
		return t.unbury(id, seq)
	}})
}

// putBack gives entries as they go into the outbox once more. A notification that is retried keeps its tries, one that is
// replayed begins anew.
func putBack(entries []record.Entry, anew bool) []record.Entry {
	again := slices.Clone(entries)
	for i := range again {
		e := &again[i]
		e.Committed, e.Attempts, e.NextAttempt = time.Now(), 0, time.Time{}
		if anew {
			e.Tries = nil
		}
	}
	return again
}

// Waiting implements store.Admin.
func (a admin) Waiting(ctx context.Context, f store.Filter, token []byte, limit int) (entries []record.Entry, next []byte, err error) {
	m, err := a.s.matcher(f)
	if err != nil {
		return nil, nil, err
	}
	prefix := []byte{entryKey}
	if m.Destination != "" {
		prefix = keyNumber(entryKey, m.destination)
	}
	next, err = a.list(ctx, prefix, token, limit, func(txn *badger.Txn, i *badger.Item) (int, error) {
		destination, _, at, ok := splitEntryKey(i.Key())
		if !ok {
			return 0, errCorrupt
		}
		var matches bool
		err := readHead(txn, i, func(b []byte) error {
			head, pipeline, _, err := decodeEntryHead(b)
			matches = m.matches(pipeline, destination, head.Committed, &head)
			return err
		})
		if err != nil || !matches {
			return 0, err
		}
		e, pipeline, err := readEntry(txn, i, at.seq)
		if err != nil {
			return 0, err
		}
		e.Pipeline, e.Destination = a.s.nameOf(pipeline), a.s.nameOf(destination)
		entries = append(entries, e)
		return store.EntrySize(&e), nil
	})
	return entries, next, err
}

// Pending implements store.Admin.
func (a admin) Pending(ctx context.Context) (map[string]store.Depth, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a.s.mu.RLock()
	defer a.s.mu.RUnlock()
	pending := map[string]store.Depth{}
	for id, d := range a.s.depths {
		if d.count > 0 {
			pending[a.s.names.name(id)] = store.Depth{Count: d.count, Oldest: d.oldest()}
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

// Row implements store.Admin.
func (a admin) Row(ctx context.Context, pipeline string, ref sdk.Ref) (row store.Row, found bool, err error) {
	id, known := a.pipeline(pipeline)
	if !known {
		return row, false, ctx.Err()
	}
	err = a.s.view(ctx, func(txn *badger.Txn) error {
		value, err := readValue(txn, keyRow(id, ref))
		if err != nil || value == nil {
			return err
		}
		if row, err = decodeRow(value); err != nil {
			return err
		}
		row.Snapshot, err = decodeSnapshot(value)
		found = err == nil
		return err
	})
	return row, found, err
}

// Rows implements store.Admin.
func (a admin) Rows(ctx context.Context, pipeline string, token []byte, limit int) (rows []store.Row, next []byte, err error) {
	id, known := a.pipeline(pipeline)
	if !known {
		return nil, nil, ctx.Err()
	}
	next, err = a.list(ctx, keyNumber(rowKey, id), token, limit, func(txn *badger.Txn, i *badger.Item) (int, error) {
		row, err := itemRow(txn, i)
		rows = append(rows, row)
		return store.RowSize(&row), err
	})
	return rows, next, err
}

func (a admin) pipeline(name string) (id uint32, known bool) {
	a.s.mu.RLock()
	defer a.s.mu.RUnlock()
	return a.s.names.id(pipelineName, name)
}

// Pauses implements store.Admin.
func (a admin) Pauses(ctx context.Context) (pauses []store.Pause, err error) {
	err = a.s.view(ctx, func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{pauseKey}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			value, err := itemValue(txn, it.Item())
			if err != nil {
				return err
			}
			p, err := decodePause(value)
			if err != nil || len(it.Item().Key()) != 5 {
				return errCorrupt
			}
			a.s.mu.RLock()
			n := a.s.names.byID[binary.BigEndian.Uint32(it.Item().Key()[1:])]
			a.s.mu.RUnlock()
			p.Name, p.Kind = n.name, store.Pipeline
			if n.kind == destinationName {
				p.Kind = store.Destination
			}
			pauses = append(pauses, p)
		}
		return nil
	})
	return pauses, err
}

// Pause implements store.Admin.
func (a admin) Pause(ctx context.Context, p store.Pause) error {
	kind, err := nameKind(p.Kind)
	if err != nil {
		return err
	}
	return a.s.do(ctx, &request{size: 64 + len(p.Why), durable: true, apply: func(t *tx) error {
		id, err := t.id(kind, p.Name)
		if err != nil {
			return err
		}
		t.set(keyNumber(pauseKey, id), encodePause(&p))
		return nil
	}})
}

// Unpause implements store.Admin.
func (a admin) Unpause(ctx context.Context, kind store.Kind, name string) error {
	of, err := nameKind(kind)
	if err != nil {
		return err
	}
	return a.s.do(ctx, &request{durable: true, apply: func(t *tx) error {
		if id, known := a.s.names.id(of, name); known {
			t.delete(keyNumber(pauseKey, id))
		}
		return nil
	}})
}

// nameKind is the kind of names that have numbers.
func nameKind(kind store.Kind) (byte, error) {
	switch kind {
	case store.Pipeline:
		return pipelineName, nil
	case store.Destination:
		return destinationName, nil
	}
	return 0, fmt.Errorf("a %s can't be paused, a pipeline or a destination can", kind)
}
