// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// full is a batch with something of everything.
func full(id string) store.Batch {
	return store.Batch{
		Rows:     []store.Row{row(id, 1)},
		Entries:  []record.Entry{entry("n-"+id, id)},
		Dead:     []record.DeadLetter{{ID: "d-" + id, Pipeline: "p", Ref: ref("bad-" + id), Time: instant}},
		Position: &store.Position{Watermark: []byte(id)},
	}
}

func nothingOf(t *testing.T, s store.Store, f store.Feed, o store.Outbox, id string) {
	t.Helper()
	if len(rows(t, f, ref(id))) > 0 {
		t.Error("the row was written")
	}
	for _, n := range waiting(t, o) {
		if n == "n-"+id {
			t.Error("the entry was written")
		}
	}
	for _, d := range deadIDs(t, s) {
		if d == "d-"+id {
			t.Error("the dead letter was written")
		}
	}
	if string(f.Position().Watermark) == id {
		t.Error("the position was written")
	}
}

func commitIsAllOrNothing(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	commit(t, f, full("a"))
	if len(rows(t, f, ref("a"))) != 1 || string(f.Position().Watermark) != "a" || f.Position().Commit != 1 {
		t.Errorf("the batch is not there: position %+v", f.Position())
	}
	same(t, "entries", waiting(t, out), []string{"n-a"})
	same(t, "dead letters", deadIDs(t, s), []string{"d-a"})

	// One entry that can't be written keeps all of its batch out.
	bad := full("b")
	bad.Base = f.Position().Commit
	bad.Entries = append(bad.Entries, entry("x", "x"))
	bad.Entries[1].Pipeline = "another"
	if err := f.Commit(t.Context(), bad); err == nil {
		t.Fatal("a batch with an entry of another pipeline was taken")
	}
	nothingOf(t, s, f, out, "b")
	if n := pending(t, s, "webhook.d"); n != 1 {
		t.Errorf("%d pending, want 1", n)
	}
}

func commitSurvives(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	b := full("a")
	b.Position = &store.Position{
		Watermark: []byte("w"), Cursor: []byte("c"), Start: instant, Started: true, Epoch: 3, Polled: instant, Scan: 300,
	}
	commit(t, f, b)
	want := f.Position()
	s.close()

	s = open(t, o)
	f = s.claim("p")
	if got := f.Position(); !reflect.DeepEqual(got, want) || want.Epoch != 3 || want.Commit != 1 {
		t.Errorf("position %+v, want %+v", got, want)
	}
	if len(rows(t, f, ref("a"))) != 1 {
		t.Error("the row is gone")
	}
	same(t, "entries", waiting(t, s.attach("webhook.d")), []string{"n-a"})
	same(t, "dead letters", deadIDs(t, s), []string{"d-a"})
	if n := pending(t, s, "webhook.d"); n != 1 {
		t.Errorf("%d pending, want 1", n)
	}
	commit(t, f, full("b"))
	if f.Position().Commit != 2 {
		t.Errorf("commit %d, want 2", f.Position().Commit)
	}
}

func commitOnOldPosition(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	commit(t, f, full("a"))
	for _, base := range []uint64{0, 2, 77} {
		b := full("b")
		b.Base = base
		if err := f.Commit(t.Context(), b); !errors.Is(err, store.ErrStale) {
			t.Errorf("base %d: %v, want ErrStale", base, err)
		}
	}
	nothingOf(t, s, f, out, "b")
	commit(t, f, full("b"))
}

func commitBeyondLimits(t *testing.T, o Open) {
	s := openWith(t, o, store.Limits{Items: 4, Bytes: 4096, Refs: 2})
	if l := s.Limits(); l.Items > 4 || l.Bytes > 4096 || l.Refs > 2 || l.Items < 1 || l.Bytes < 1 || l.Refs < 1 {
		t.Fatalf("limits %+v", l)
	}
	f, out := s.claim("p"), s.attach("webhook.d")
	many, large := full("b"), full("b")
	many.Entries = append(many.Entries, entries("1", "2")...)
	large.Entries[0].Body = bytes.Repeat([]byte("x"), 4096)
	for name, b := range map[string]store.Batch{"items": many, "bytes": large} {
		if err := f.Commit(t.Context(), b); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
	}
	if _, err := f.Seen(t.Context(), []sdk.Ref{ref("1"), ref("2"), ref("3")}); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("refs: %v, want ErrTooLarge", err)
	}
	if _, err := f.Snapshots(t.Context(), []sdk.Ref{ref("1"), ref("2"), ref("3")}); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("refs of snapshots: %v, want ErrTooLarge", err)
	}
	if err := out.Ack(t.Context(), make([]store.Done, 5)...); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("acknowledgements: %v, want ErrTooLarge", err)
	}
	nothingOf(t, s, f, out, "b")
	commit(t, f, full("b"))
}

// Batches as large as the limits allow are taken, whatever they are made of.
func commitLargest(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	limits := s.Limits()
	fill := func(n int) (b store.Batch) {
		for i := range n {
			e := entry(fmt.Sprint(n, "-", i), fmt.Sprint(i))
			e.Body = bytes.Repeat([]byte{byte(i)}, limits.Bytes/n-store.EntrySize(&e))
			b.Entries = append(b.Entries, e)
		}
		return b
	}
	for _, n := range []int{1, 7, limits.Items} {
		b := fill(n)
		commit(t, f, b)
		lanes := map[string]string{}
		for _, lane := range allLanes(t, out, 100) {
			e := head(t, out, lane, 1)[0]
			lanes[e.ID] = lane
			if i := slices.IndexFunc(b.Entries, func(w record.Entry) bool { return w.ID == e.ID }); i < 0 || !bytes.Equal(e.Body, b.Entries[i].Body) {
				t.Fatalf("%d entries: one came back otherwise than it was committed", n)
			}
			at := idOf(lane, e)
			switch len(lanes) {
			case 1: // what was written again can be moved, and comes back whole
				must(t, out.Defer(t.Context(), at, store.Attempt{Attempts: 1}))
				must(t, out.Bury(t.Context(), at, record.Cause{Code: "x"}, instant))
				if l := allDead(t, s, 10); len(l) != 1 || !bytes.Equal(l[0].Entry.Body, e.Body) {
					t.Fatalf("%d entries: a dead letter does not hold its entry", n)
				}
				must(t, s.Admin().Discard(t.Context(), e.ID))
			default:
				must(t, out.Ack(t.Context(), done(at)...))
			}
		}
		if len(lanes) != n {
			t.Fatalf("%d entries, want %d", len(lanes), n)
		}
	}
}

func commitKeepsPosition(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	commit(t, f, full("a"))
	commit(t, f, store.Batch{Rows: []store.Row{row("b", 1)}})
	if p := f.Position(); string(p.Watermark) != "a" || p.Commit != 2 {
		t.Errorf("position %+v, want watermark a and commit 2", p)
	}
	commit(t, f, store.Batch{Position: &store.Position{Cursor: []byte("c"), Commit: 99}})
	if p := f.Position(); p.Watermark != nil || string(p.Cursor) != "c" || p.Commit != 3 {
		t.Errorf("position %+v, want cursor c, no watermark and commit 3", p)
	}
}

func claimFences(t *testing.T, o Open) {
	s := open(t, o)
	old, out := s.claim("p"), s.attach("webhook.d")
	commit(t, old, full("a"))
	if !isOpen(old.Lost()) {
		t.Error("an owner lost its pipeline without a claim")
	}
	now := s.claim("p")
	if !isLost(old.Lost()) {
		t.Error("the fenced owner is not told")
	}
	if now.Position().Commit != 1 || string(now.Position().Watermark) != "a" {
		t.Errorf("the new owner stands at %+v", now.Position())
	}
	b := full("b")
	b.Base = 1
	if err := old.Commit(t.Context(), b); !errors.Is(err, store.ErrFenced) {
		t.Errorf("commit of the fenced owner: %v, want ErrFenced", err)
	}
	nothingOf(t, s, now, out, "b")
	must(t, old.Release(t.Context())) // takes nothing from the new owner
	commit(t, now, full("b"))
}

func claimsAreIndependent(t *testing.T, o Open) {
	s := open(t, o)
	a, b := s.claim("a"), s.claim("b")
	one := store.Batch{Rows: []store.Row{row("same", 7)}}
	commit(t, a, one)
	if len(rows(t, b, ref("same"))) > 0 || b.Position().Commit != 0 {
		t.Error("a pipeline sees the rows or commits of another")
	}
	commit(t, b, one)
	if !isOpen(a.Lost()) || !isOpen(b.Lost()) {
		t.Error("a claim fenced the owner of another pipeline")
	}
}

func releasedIsFenced(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	must(t, f.Release(t.Context()))
	must(t, out.Release(t.Context()))
	if !isLost(f.Lost()) || !isLost(out.Lost()) {
		t.Error("a released handle is not lost")
	}
	if err := f.Commit(t.Context(), full("a")); !errors.Is(err, store.ErrFenced) {
		t.Errorf("commit: %v, want ErrFenced", err)
	}
	if err := out.Ack(t.Context()); !errors.Is(err, store.ErrFenced) {
		t.Errorf("ack: %v, want ErrFenced", err)
	}
	commit(t, s.claim("p"), full("a"))
	same(t, "entries", waiting(t, s.attach("webhook.d")), []string{"n-a"})
}

// What is given up before it begins is not written; what comes back without an answer says so.
func givenUp(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Commit(ctx, full("a")); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("commit: %v, want an error that is not ErrUnknown", err)
	}
	nothingOf(t, s, f, out, "a")

	for i := range 50 {
		id := fmt.Sprint(i)
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		b := full(id)
		b.Base = f.Position().Commit
		err := f.Commit(ctx, b)
		f = s.claim("p")
		written := len(rows(t, f, ref(id))) > 0
		switch {
		case err == nil && !written:
			t.Fatal("a commit returned nil and is not there")
		case err != nil && !errors.Is(err, store.ErrUnknown) && written:
			t.Fatalf("a commit returned %v, which says not written, and is there", err)
		case written != (string(f.Position().Watermark) == id):
			t.Fatal("half a commit is there")
		}
	}
}

func seen(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	want := []store.Row{
		{Ref: ref("1"), Generation: 1, Version: "v", Key: "1", Time: instant},
		{Ref: sdk.Ref{Kind: "k", ID: "2", Args: "a=b"}, Generation: 1 << 60, Epoch: 4, Version: strings.Repeat("v", 300),
			Hash: [16]byte{1, 15: 2}, Time: instant.AddDate(8000, 0, 0), Key: "other", Deleted: true, Recent: []uint64{3, 0, 1 << 63}},
		{Ref: sdk.Ref{}},
		{Ref: sdk.Ref{Kind: "x", ID: "é\x00\xff"}, Time: instant.AddDate(-2020, 0, 0), Key: "é\x00\xff"},
	}
	commit(t, f, store.Batch{Rows: want})
	check := func(f store.Feed) {
		t.Helper()
		refs := []sdk.Ref{ref("unknown")}
		for _, r := range want {
			refs = append(refs, r.Ref)
		}
		got := rows(t, f, refs...)
		if len(got) != len(want) {
			t.Fatalf("%d rows, want %d", len(got), len(want))
		}
		for _, w := range want {
			if g := got[w.Ref]; !reflect.DeepEqual(g, w) {
				t.Errorf("row %+v, want %+v", g, w)
			}
		}
	}
	check(f)
	want[0].Generation, want[0].Version, want[0].Recent = 2, "w", []uint64{9}
	commit(t, f, store.Batch{Rows: want[:1]})
	check(f)
	check(s.claim("p"))
	s.close()
	check(open(t, o).claim("p"))
}

// A snapshot goes with its row: a newer row brings its own or none.
func snapshots(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	kept := func(id string, generation uint64, snapshot string) store.Row {
		r := row(id, generation)
		r.Snapshot = []byte(snapshot)
		return r
	}
	large := strings.Repeat("x", min(3<<20, s.Limits().Bytes/2)) // in parts, where a store cuts values
	commit(t, f, store.Batch{Rows: []store.Row{kept("1", 1, "one"), kept("large", 1, large), row("none", 1), kept("gone", 1, "before")}})
	commit(t, f, store.Batch{Rows: []store.Row{kept("1", 2, "two"), row("gone", 2)}})
	want := map[sdk.Ref][]byte{ref("1"): []byte("two"), ref("large"): []byte(large)}
	check := func(f store.Feed) {
		t.Helper()
		refs := []sdk.Ref{ref("1"), ref("large"), ref("none"), ref("gone"), ref("unknown")}
		got, err := f.Snapshots(t.Context(), refs)
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("snapshots of %d records, want %d, or others", len(got), len(want))
		}
		seen := rows(t, f, refs...)
		if len(seen) != 4 || seen[ref("1")].Generation != 2 || seen[ref("large")].Version != "v1" {
			t.Errorf("rows of %d records, want 4, or others", len(seen))
		}
		for _, r := range seen {
			if r.Snapshot != nil {
				t.Error("Seen gave a snapshot")
			}
		}
	}
	check(f)
	old := f
	check(s.claim("p"))
	if _, err := old.Snapshots(t.Context(), nil); !errors.Is(err, store.ErrFenced) {
		t.Errorf("by the owner before: %v, want ErrFenced", err)
	}
	s.close()
	check(open(t, o).claim("p"))
}

func seenRefs(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	long := strings.Repeat("x", 100_000)
	refs := []sdk.Ref{
		{Kind: "a", ID: "b"}, {Kind: "ab"}, {ID: "ab"}, {Kind: "a", Args: "b"}, {ID: "a", Args: "b"}, {Kind: "a\x00b"},
		{Kind: "a", ID: "b\x00"}, {Kind: "a\x00", ID: "b"}, {ID: long}, {ID: long + "x"},
	}
	for i, r := range refs {
		commit(t, f, store.Batch{Rows: []store.Row{{Ref: r, Generation: uint64(i + 1)}}})
	}
	got := rows(t, f, refs...)
	for i, r := range refs {
		if got[r].Generation != uint64(i+1) {
			t.Errorf("ref %d has the row of another", i)
		}
	}
}
