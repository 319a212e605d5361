// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// unmarkedOf lists the ids of what a scan did not mark, in pages of limit, sorted.
func unmarkedOf(t *testing.T, f store.Feed, scan uint64, limit int) []string {
	t.Helper()
	var ids []string
	var token []byte
	for {
		refs, next, err := f.Unmarked(t.Context(), scan, token, limit)
		must(t, err)
		if len(refs) > limit {
			t.Fatalf("%d refs, asked for %d", len(refs), limit)
		}
		for _, r := range refs {
			ids = append(ids, r.ID)
		}
		if token = next; token == nil {
			slices.Sort(ids)
			return ids
		}
	}
}

func refs(ids ...string) []sdk.Ref {
	var list []sdk.Ref
	for _, id := range ids {
		list = append(list, ref(id))
	}
	return list
}

func unmarked(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	commit(t, f, store.Batch{Rows: []store.Row{row("never", 1), row("changed", 1), row("seen", 1), row("deleted", 1)}})
	same(t, "before any scan", unmarkedOf(t, f, 1, 10), []string{"changed", "deleted", "never", "seen"})

	gone := row("deleted", 2)
	gone.Deleted = true
	commit(t, f, store.Batch{Scan: 1, Rows: []store.Row{row("changed", 2), gone, row("new", 1)}, Marks: refs("seen")})
	same(t, "after the first scan", unmarkedOf(t, f, 1, 10), []string{"never"})
	if got := rows(t, f, refs("seen")...); len(got) != 1 || got[ref("seen")].Generation != 1 {
		t.Errorf("the mark changed the row: %+v", got)
	}

	commit(t, f, store.Batch{Scan: 300, Marks: refs("seen", "new")})
	same(t, "after a later scan", unmarkedOf(t, f, 300, 10), []string{"changed", "never"})
	same(t, "of the first scan", unmarkedOf(t, f, 1, 10), []string{"never"})
	commit(t, f, store.Batch{Rows: []store.Row{row("seen", 2)}}) // by no scan: the mark stays
	s.close()

	s = open(t, o)
	f = s.claim("p")
	same(t, "after reopening", unmarkedOf(t, f, 300, 10), []string{"changed", "never"})
	back := row("deleted", 3)
	commit(t, f, store.Batch{Scan: 301, Rows: []store.Row{back}})
	same(t, "when the deleted is back", unmarkedOf(t, f, 302, 10), []string{"changed", "deleted", "never", "new", "seen"})
}

func unmarkedPaged(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	var want []string
	for i := range 100 {
		b := store.Batch{Rows: []store.Row{row(fmt.Sprintf("r%02d", i), 1)}}
		if i%3 > 0 {
			b.Scan = 7
		} else {
			want = append(want, b.Rows[0].Ref.ID)
		}
		commit(t, f, b)
	}
	for _, limit := range []int{1, 2, 33, 34, 35, 100} {
		same(t, fmt.Sprintf("in pages of %d", limit), unmarkedOf(t, f, 7, limit), want)
	}
	if _, _, err := f.Unmarked(t.Context(), 7, []byte("no token"), 10); err == nil {
		t.Error("a token that was never given was taken")
	}
}

func unmarkedOwned(t *testing.T, o Open) {
	s := openWith(t, o, store.Limits{Items: 4})
	f, other := s.claim("p"), s.claim("q")
	commit(t, f, store.Batch{Rows: []store.Row{row("a", 1), row("b", 1)}})
	commit(t, other, store.Batch{Scan: 1, Rows: []store.Row{row("a", 1)}})
	same(t, "of the pipeline", unmarkedOf(t, f, 1, 10), []string{"a", "b"})
	same(t, "of the other", unmarkedOf(t, other, 1, 10), nil)
	if err := f.Commit(t.Context(), store.Batch{Base: f.Position().Commit, Scan: 1, Marks: refs("a", "b", "c", "d", "e")}); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("five marks where four items are the limit: %v, want ErrTooLarge", err)
	}
	s.claim("p")
	if _, _, err := f.Unmarked(t.Context(), 1, nil, 10); !errors.Is(err, store.ErrFenced) {
		t.Errorf("%v, want ErrFenced", err)
	}
}
