// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"encoding/hex"
	"testing"

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
