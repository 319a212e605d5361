// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"runtime"
	"testing"

	"github.com/dgraph-io/badger/v4"
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
