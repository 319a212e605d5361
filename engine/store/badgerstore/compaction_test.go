// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// TestWhatWasDeletedIsGoneFromTheDiskAfterACompaction, also of a state so small that Badger would let it lie.
func TestWhatWasDeletedIsGoneFromTheDiskAfterACompaction(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	f, o := claim(t, s), attach(t, s)
	canary := hex.EncodeToString(noise(20))
	for i := range 3 {
		b := batchOf(f, i, 1, 1, true)
		b.Entries[0].Body = []byte(canary)
		must(t, f.Commit(t.Context(), b))
		if len(holders(t, dir, canary)) == 0 {
			t.Fatal("the canary is in no file")
		}
		must(t, o.Ack(t.Context(), done(oldest(t, o, 1)...)...))
		must(t, badgerstore.Flatten(s))
		if where := holders(t, dir, canary); len(where) > 0 {
			t.Errorf("it is still in %v", where)
		}
		if n := tables(t, dir); n > 2<<20 {
			t.Errorf("%d bytes in tables for nothing", n)
		}
	}
}

// TestInvariant3WhatIsAcknowledgedStaysSoHoweverBadgerMerges restores a state that fills two tables of level zero, which share no key, and
// acknowledges what waits in the first in three openings that leave a table each. While one of Badger's compactors merges the first table
// alone into the levels below, the other must not merge the rest within level zero: it would find the entries nowhere, and forget that they
// were deleted. Many states are opened at once, so that the compactors take their time.
func TestInvariant3WhatIsAcknowledgedStaysSoHoweverBadgerMerges(t *testing.T) {
	const entries, states = 30, 20
	s := open(t, t.TempDir(), badgerstore.Options{})
	attach(t, s)
	f := claim(t, s)
	must(t, f.Commit(t.Context(), batchOf(f, 0, entries, 1, true)))
	for i := range 45 {
		b := batchOf(f, entries+10*i, 10, 1, false)
		for j := range b.Rows {
			b.Rows[j].Snapshot = noise(20_000)
		}
		must(t, f.Commit(t.Context(), b))
	}
	dir := filepath.Join(t.TempDir(), "state")
	must(t, badgerstore.Restore(dir, bytes.NewReader(backup(t, s)), badgerstore.Options{}))
	must(t, s.Close())
	for range 3 {
		s, err := badgerstore.Open(dir, badgerstore.Options{})
		must(t, err)
		o := attach(t, s)
		must(t, o.Ack(t.Context(), done(oldest(t, o, entries/3)...)...))
		must(t, s.Close())
	}
	var all sync.WaitGroup
	for range states {
		copied := filepath.Join(t.TempDir(), "state")
		must(t, os.CopyFS(copied, os.DirFS(dir)))
		for _, name := range tableFiles(t, copied) {
			must(t, os.Chtimes(name, time.Time{}, time.Now().Add(-time.Minute))) // Badger leaves the young ones of level zero alone
		}
		all.Go(func() {
			s, err := badgerstore.Open(copied, badgerstore.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(2 * time.Second) // the compactors begin within one
			again, _, err := s.Admin().Waiting(t.Context(), store.Filter{}, nil, entries)
			if len(again) > 0 || err != nil {
				t.Errorf("%d of %d entries that were acknowledged wait again (%v)", len(again), entries, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
