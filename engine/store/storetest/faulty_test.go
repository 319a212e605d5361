// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
)

// A fault before a write leaves nothing written, one after it all; the caller can't tell them apart.
func TestFaultsStandBeforeOrAfterTheWrite(t *testing.T) {
	for name, make := range map[string]func(int, error) *storetest.Faults{
		"before": storetest.FailBefore, "after": storetest.FailAfter,
	} {
		t.Run(name, func(t *testing.T) {
			whole, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
			must(t, err)
			defer whole.Close()
			faults := make(3, store.ErrUnknown) // the first is the claim
			s := storetest.Faulty(whole, faults)
			f, err := s.Claim(t.Context(), "p")
			must(t, err)
			commit := func() error {
				return f.Commit(t.Context(), store.Batch{Base: f.Position().Commit, Entries: []record.Entry{{ID: "1", Pipeline: "p", Destination: "d"}}})
			}
			must(t, commit())
			if err := commit(); !errors.Is(err, store.ErrUnknown) {
				t.Fatalf("%v, want ErrUnknown", err)
			}
			if n := f.Position().Commit; n != 1 {
				t.Errorf("the handle knows commit %d, and can't", n)
			}
			f, err = s.Claim(t.Context(), "p")
			must(t, err)
			want := uint64(1)
			if name == "after" {
				want = 2
			}
			if n := f.Position().Commit; n != want {
				t.Errorf("commit %d, want %d", n, want)
			}
			must(t, commit())
			o, err := s.Attach(t.Context(), "d")
			must(t, err)
			must(t, o.Ack(t.Context()))
			must(t, o.Defer(t.Context(), store.EntryID{}, store.Attempt{}))
			must(t, o.Bury(t.Context(), store.EntryID{}, record.Cause{}, time.Now()))
			must(t, s.SaveState(t.Context(), "x", nil))
			if n := faults.Writes(); n != 10 {
				t.Errorf("%d writes were counted, want 10", n)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
