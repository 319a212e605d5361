// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"runtime"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/record"
)

// What maintain does when it is time, at once.

func Flatten(s *Store) error { return s.flatten() }

func Trim(s *Store) error { return s.trim(context.Background()) }

func Sweep(s *Store) error { return s.sweep(context.Background()) }

// OnSync puts a function around the committer's syncs; nil takes it away. The committer has to be idle, or in a sync.
func OnSync(s *Store, around func(sync func() error) error) {
	s.sync = s.db.Sync
	if around != nil {
		s.sync = func() error { return around(s.db.Sync) }
	}
}

// OnSyncLog puts a function around the committer's syncs of older logs. The committer has to be idle.
func OnSyncLog(s *Store, around func(name string, sync func(name string) error) error) {
	s.syncLog = func(name string) error { return around(name, syncFile) }
}

// Repair forgets a failure. The committer has to be idle.
func Repair(s *Store) { s.failed, s.sync, s.dead = nil, s.db.Sync, make(chan struct{}) }

// CountTo lets numbers go on from n. The committer has to be idle.
func CountTo(s *Store, n uint64) { s.last = n }

// Waiting returns when n requests wait for the committer.
func Waiting(s *Store, n int) {
	for len(s.queue) < n {
		runtime.Gosched()
	}
}

// Parts counts the parts of large values.
func Parts(t testing.TB, s *Store) int {
	t.Helper()
	return Keys(t, s, partKey)
}

// Contents counts the contents that stand apart. It is an error where one is missing that an entry or a delivered one refers to, and where
// one is referred to by nothing.
func Contents(t testing.TB, s *Store) int {
	t.Helper()
	contents := map[uint64]int{} // references by number
	err := s.view(t.Context(), func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{contentKey}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			contents[seqOf(it.Item().Key())] = 0
		}
		for _, kind := range []byte{entryKey, doneKey} {
			it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kind}})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				var n record.Entry
				var apart int
				err := withValue(txn, it.Item(), func(b []byte) (err error) {
					if kind == entryKey {
						_, _, at, _ := splitEntryKey(it.Item().Key())
						n, _, apart, err = decodeEntry(b)
						n.Seq = at.seq
						return err
					}
					done, head, err := decodeDone(b)
					n, apart = done.Entry, head.apart
					n.Seq = seqOf(it.Item().Key())
					return err
				})
				if err != nil {
					return err
				}
				if apart == 0 {
					continue
				}
				if err := readContent(txn, &n); err != nil {
					t.Errorf("the content of %s is missing: %v", n.ID, err)
				}
				contents[n.Seq]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for seq, n := range contents {
		if n != 1 {
			t.Errorf("content %d is referred to %d times", seq, n)
		}
	}
	return len(contents)
}

// History is what delivered entries of all destinations take, as it is counted.
func History(s *Store) (n int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, of := range s.history {
		n += of
	}
	return n
}

// Keys counts the keys of a kind.
func Keys(t testing.TB, s *Store, kind byte) (n int) {
	t.Helper()
	err := s.view(t.Context(), func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kind}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
