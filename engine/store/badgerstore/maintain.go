// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// tidying counts what was written, for maintain.
type tidying struct {
	writes  atomic.Int64 // ever
	deletes atomic.Int64 // since the last Flatten
}

const (
	tidyEvery    = time.Minute
	tidyDeletes  = 100_000        // as many deletions make it worth while to compact when the store is idle
	tidyAtLeast  = 24 * time.Hour // what was deleted is of patients: it does not lie on disk for longer, if the store is idle then
	sweepAtATime = 256
	trimAtATime  = 1024
)

// maintain keeps the directory small: it sweeps parts of values that are gone, drops old delivered notifications, and compacts
// when there is nothing else to do. Badger compacts as it is written to, which bounds a queue that is written and emptied all
// the time; but when a large backlog was worked off and few writes come after it, what was deleted would lie on disk for long.
func (s *Store) maintain() {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	before, compacted := int64(0), time.Now()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		now := s.work.writes.Load()
		idle := now-before < 1000
		before = now
		if err := s.sweep(context.Background()); err != nil {
			s.opt.Logger.Warn("the state could not be swept; it is tried again", "cause", err.Error())
		}
		if err := s.trim(context.Background()); err != nil {
			s.opt.Logger.Warn("old delivered notifications could not be deleted; it is tried again", "cause", err.Error())
		}
		if idle && compactionIsDue(s.work.deletes.Load(), time.Since(compacted)) {
			compacted = time.Now()
			if err := s.flatten(); err != nil {
				s.opt.Logger.Warn("the state could not be compacted; it is tried again", "cause", err.Error())
			}
		}
	}
}

// compactionIsDue says so of a store with deletions since it was compacted last.
func compactionIsDue(deletes int64, since time.Duration) bool {
	return deletes >= tidyDeletes || deletes > 0 && since >= tidyAtLeast
}

// flatten compacts all there is. Badger lets a state lie that has only tables of level zero, as a small one has, until they are too
// many; so more are made then.
func (s *Store) flatten() error {
	s.work.deletes.Store(0)
	for range levelZero + 1 {
		ended, err := s.endLog()
		if err != nil || !ended {
			return err
		}
		if err := s.db.Flatten(1); err != nil {
			return err
		}
		if slices.ContainsFunc(s.db.Tables(), func(t badger.TableInfo) bool { return t.Level > 0 }) {
			return nil
		}
	}
	return nil
}

// endLog lets the log in use become a table, for the deletions that are in it. Badger does that only when it is full: so it is filled, with
// what compacts to nothing. Ended is false when the store is closed meanwhile.
func (s *Store) endLog() (ended bool, err error) {
	ctx := context.Background()
	last := func() (name string, logs int, err error) {
		all, err := logsIn(s.dir)
		if err == nil && len(all) > 0 {
			name = all[len(all)-1].Name()
		}
		return name, len(all), err
	}
	full, _, err := last()
	if err != nil {
		return false, err
	}
	for name := full; name == full; {
		filler := make([]byte, wholeValue-1)
		err := s.do(ctx, &request{size: len(filler), apply: func(t *tx) error {
			if err := s.forMore(t.room); err != nil {
				return err
			}
			t.set(keyMeta("filler"), filler)
			return nil
		}})
		if err != nil {
			return false, err
		}
		if name, _, err = last(); err != nil {
			return false, err
		}
	}
	if err := s.do(ctx, &request{durable: true, apply: func(t *tx) error { t.set(keyMeta("filler"), nil); return nil }}); err != nil {
		return false, err
	}
	// A log is removed when its table stands.
	for range 100 {
		if _, logs, err := last(); err != nil || logs <= 1 {
			return true, err
		}
		select {
		case <-s.stop:
			return false, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
	return true, nil
}

// sweep deletes parts whose value is gone or was never written.
func (s *Store) sweep(ctx context.Context) error {
	for swept := sweepAtATime; swept == sweepAtATime; {
		if err := s.do(ctx, &request{apply: func(t *tx) (err error) {
			swept, err = t.sweep()
			return err
		}}); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) sweep() (swept int, err error) {
	it := t.txn.NewIterator(badger.IteratorOptions{Prefix: []byte{partKey}})
	defer it.Close()
	var free [][]byte
	for it.Rewind(); it.Valid() && len(free) < sweepAtATime; it.Next() {
		key := it.Item().KeyCopy(nil)
		used, err := t.uses(key)
		if err != nil {
			return 0, err
		}
		if !used {
			free = append(free, key)
		}
	}
	if len(free) == 0 {
		return 0, nil
	}
	// What set the parts free, such as an acknowledgement, has to last: a loss of power that undid it after the parts are gone
	// would leave half an entry.
	if err := t.s.syncAll(); err != nil {
		t.s.fail(err)
		return 0, err
	}
	for _, key := range free {
		t.delete(key)
	}
	return len(free), nil
}

// uses says whether a part belongs to a value that is there.
func (t *tx) uses(part []byte) (bool, error) {
	if len(part) < 1+partSuffix {
		return false, errCorrupt
	}
	key := part[1 : len(part)-partSuffix]
	there, err := t.has(key)
	if err != nil || !there {
		return false, err
	}
	i, err := t.txn.Get(key)
	if err != nil {
		return false, err
	}
	value, err := i.ValueCopy(nil)
	if err != nil || len(value) == 0 || value[0] != valueInParts {
		return false, err
	}
	blob, _, err := readStub(value)
	return err == nil && string(keyPart(key, blob, 0)[:len(part)-2]) == string(part[:len(part)-2]), err
}
