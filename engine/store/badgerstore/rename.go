// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/store"
)

// Rename implements store.Admin. Of a pipeline or a destination it changes one name; all that is kept goes by the number.
func (a admin) Rename(ctx context.Context, kind store.Kind, from, to string) (moved bool, err error) {
	if to == "" || len(to) > maxName {
		return false, fmt.Errorf("a name must have 1 to %d bytes", maxName)
	}
	var apply func(*tx) (bool, error)
	after := func() {}
	switch kind {
	case store.Source:
		apply = func(t *tx) (bool, error) { return t.renameSource(from, to) }
	case store.Pipeline, store.Destination:
		name := byte(pipelineName)
		if kind == store.Destination {
			name = destinationName
		}
		apply = func(t *tx) (bool, error) { return t.rename(name, from, to) }
		after = func() { a.s.names.rename(name, from, to) }
	default:
		return false, fmt.Errorf("nothing is kept for a %s", kind)
	}
	err = a.s.do(ctx, &request{alone: true, durable: true,
		apply: func(t *tx) (err error) {
			moved, err = apply(t)
			return err
		},
		after: func() {
			if moved {
				after()
			}
		},
	})
	return moved && err == nil, err
}

func (t *tx) rename(kind byte, from, to string) (bool, error) {
	id, known := t.s.names.id(kind, from)
	if !known {
		return false, nil
	}
	if kept, err := t.keeps(kind, id); err != nil || !kept {
		return false, err
	}
	if other, known := t.s.names.id(kind, to); known {
		kept, err := t.keeps(kind, other)
		switch {
		case err != nil:
			return false, err
		case kept:
			return false, store.ErrOccupied
		case t.s.held(other):
			return false, store.ErrHeld
		}
	}
	if t.s.held(id) {
		return false, store.ErrHeld
	}
	t.delete(keyName(kind, from))
	t.set(keyName(kind, to), encodeNumber(uint64(id)))
	return true, nil
}

// keeps says whether anything is kept for a pipeline or a destination.
func (t *tx) keeps(kind byte, id uint32) (bool, error) {
	paused, err := t.has(keyNumber(pauseKey, id))
	if err != nil || paused {
		return paused, err
	}
	if kind == pipelineName {
		p, err := position(t.txn, id)
		return p.Commit > 0, err
	}
	if t.s.depths.count(id) > 0 || t.s.history[id] > 0 {
		return true, nil
	}
	it := t.txn.NewIterator(badger.IteratorOptions{Prefix: []byte{deadKey}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		value, err := itemValue(t.txn, it.Item())
		if err != nil {
			return false, err
		}
		l, _, destination, err := decodeDead(value)
		if err != nil {
			return false, err
		}
		if l.Entry != nil && destination == id {
			return true, nil
		}
	}
	return false, nil
}

// held says whether a pipeline or a destination has an owner. Numbers are of one kind.
func (s *Store) held(id uint32) bool { return s.feeds[id] != nil || s.outboxes[id] != nil }

func (t *tx) renameSource(from, to string) (bool, error) {
	saved, err := t.get(keySaved(from))
	if err != nil || saved == nil {
		return false, err
	}
	occupied, err := t.has(keySaved(to))
	if err != nil {
		return false, err
	}
	if occupied {
		return false, store.ErrOccupied
	}
	t.set(keySaved(to), saved)
	t.delete(keySaved(from))
	return true, nil
}
