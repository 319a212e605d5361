// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"testing"

	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// Numbers of names have 32 bits, and are taken from those that all entries are counted by: after four billion of these, none is given twice.
func TestNoTwoNamesHaveOneNumber(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	var before []uint64
	for _, name := range []string{"a", "b"} {
		f, err := s.Claim(t.Context(), name)
		must(t, err)
		for range len(before) + 1 {
			must(t, emptyCommit(t.Context(), f))
		}
		before = append(before, f.Position().Commit)
	}
	badgerstore.CountTo(s, 1<<32-1)
	for _, name := range []string{"c", "d"} {
		f, err := s.Claim(t.Context(), name)
		must(t, err)
		if p := f.Position(); p.Commit != 0 {
			t.Errorf("pipeline %s begins at commit %d, which is another's", name, p.Commit)
		}
	}
	for i, name := range []string{"a", "b"} {
		f, err := s.Claim(t.Context(), name)
		must(t, err)
		if p := f.Position(); p.Commit != before[i] {
			t.Errorf("pipeline %s stands at commit %d, want %d", name, p.Commit, before[i])
		}
	}
}
