// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

func (s testStore) rename(kind store.Kind, from, to string) (moved bool) {
	s.t.Helper()
	moved, err := s.Admin().Rename(s.t.Context(), kind, from, to)
	must(s.t, err)
	return moved
}

// renamed gives a state in which pipeline "p" has a position, rows, entries to "webhook.d", and dead letters, and "webhook.d"
// a buried notification. Nobody owns anything.
func renamed(t *testing.T, o Open) testStore {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	commit(t, f, store.Batch{
		Rows: []store.Row{row("x", 3)}, Entries: entries("1", "2", "3"), Position: &store.Position{Watermark: []byte("w"), Started: true},
		Dead: []record.DeadLetter{{ID: "mapping", Pipeline: "p", Ref: ref("x"), Generation: 2}},
	})
	must(t, out.Bury(t.Context(), place(t, out, "1"), record.Cause{Code: "http_422"}, instant))
	gone := entry("gone", "key")
	gone.Ref = ref("x")
	commit(t, f, store.Batch{Entries: []record.Entry{gone}})
	must(t, out.Ack(t.Context(), done(place(t, out, "gone"))...))
	commit(t, s.claim("neighbour"), store.Batch{Rows: []store.Row{row("x", 7)}})
	s.close()
	return open(t, o)
}

func renamePipeline(t *testing.T, o Open) {
	s := renamed(t, o)
	if !s.rename(store.Pipeline, "p", "q") {
		t.Error("nothing was moved")
	}
	for range 2 {
		if s.rename(store.Pipeline, "p", "q") {
			t.Error("it was moved twice")
		}
		positions, err := s.Admin().Positions(t.Context())
		must(t, err)
		if p := positions["q"]; string(p.Watermark) != "w" || p.Commit != 2 || len(positions) != 2 {
			t.Errorf("positions %+v", positions)
		}
		for _, l := range allDead(t, s, 1) {
			if l.Pipeline != "q" || l.Entry != nil && l.Entry.Pipeline != "q" {
				t.Errorf("the dead letter %s is of %s", l.ID, l.Pipeline)
			}
		}
		s.close()
		s = open(t, o)
	}
	same(t, "delivered", deliveredIDs(t, s, store.Filter{Pipeline: "q", Ref: ref("x")}, false), []string{"gone"})
	same(t, "delivered by the old name", deliveredIDs(t, s, store.Filter{Pipeline: "p"}, false), nil)
	out := s.attach("webhook.d")
	for _, e := range head(t, out, allLanes(t, out, 2)[0], 2) {
		if e.Pipeline != "q" {
			t.Errorf("the entry %s is of %s", e.ID, e.Pipeline)
		}
	}
	f := s.claim("q")
	if r := rows(t, f, ref("x"))[ref("x")]; r.Generation != 3 || string(f.Position().Watermark) != "w" {
		t.Errorf("row %+v, position %+v", r, f.Position())
	}
	later := entry("4", "key")
	later.Pipeline = "q"
	commit(t, f, store.Batch{Entries: []record.Entry{later}})
	must(t, s.Admin().Retry(t.Context(), "1", nil, false))
	same(t, "entries", waiting(t, out), []string{"2 3 4 1"})
	if err := s.Admin().Retry(t.Context(), "mapping", []record.Entry{later}, false); !errors.Is(err, store.ErrSuperseded) {
		t.Errorf("retry of a superseded dead letter: %v", err)
	}

	anew := s.claim("p")
	if len(rows(t, anew, ref("x"))) > 0 || anew.Position().Commit != 0 {
		t.Error("the old name still has state")
	}
	other := entry("5", "key")
	commit(t, anew, store.Batch{Entries: []record.Entry{other}})
	same(t, "entries", waiting(t, out), []string{"2 3 4 1", "5"})
	if g := rows(t, s.claim("neighbour"), ref("x"))[ref("x")].Generation; g != 7 {
		t.Errorf("generation %d of a neighbour", g)
	}
}

func renameDestination(t *testing.T, o Open) {
	s := renamed(t, o)
	s.attach("file.e") // was there once, and had nothing
	s.close()
	s = open(t, o)
	if !s.rename(store.Destination, "webhook.d", "file.e") || s.rename(store.Destination, "webhook.d", "file.e") {
		t.Error("it was not moved once")
	}
	for range 2 {
		if pending(t, s, "webhook.d") != 0 || pending(t, s, "file.e") != 2 {
			t.Errorf("%d and %d pending", pending(t, s, "webhook.d"), pending(t, s, "file.e"))
		}
		s.close()
		s = open(t, o)
	}
	same(t, "delivered", deliveredIDs(t, s, store.Filter{Destination: "file.e"}, false), []string{"gone"})
	if d := delivered(t, s, store.Filter{}, false, 1); d[0].Destination != "file.e" {
		t.Errorf("it was delivered to %s", d[0].Destination)
	}
	out := s.attach("file.e")
	must(t, s.Admin().Retry(t.Context(), "1", nil, true))
	same(t, "entries", waiting(t, out), []string{"2 3 1"})
	for id, at := range places(t, out) {
		if e := head(t, out, at.Lane, 1)[0]; e.Destination != "file.e" {
			t.Errorf("the entry %s goes to %s", id, e.Destination)
		}
	}
	must(t, out.Ack(t.Context(), done(place(t, out, "2"))...))
	old := s.attach("webhook.d")
	same(t, "entries of the old name", waiting(t, old), nil)
	commit(t, s.claim("p"), store.Batch{Entries: entries("6")})
	same(t, "entries of the old name", waiting(t, old), []string{"6"})
	same(t, "entries", waiting(t, out), []string{"3 1"})
}

func renameSource(t *testing.T, o Open) {
	s := open(t, o)
	large := bytes.Repeat([]byte("s"), 2<<20)
	must(t, s.SaveState(t.Context(), "rest.a", large))
	must(t, s.SaveState(t.Context(), "rest.ab", []byte("other")))
	if !s.rename(store.Source, "rest.a", "rest.b") || s.rename(store.Source, "rest.a", "rest.b") {
		t.Error("it was not moved once")
	}
	s.close()
	s = open(t, o)
	for source, want := range map[string][]byte{"rest.a": nil, "rest.b": large, "rest.ab": []byte("other")} {
		if got, err := s.LoadState(t.Context(), source); err != nil || !bytes.Equal(got, want) {
			t.Errorf("state of %s: %d bytes, %v, want %d", source, len(got), err, len(want))
		}
	}
}

func renameRefused(t *testing.T, o Open) {
	s := renamed(t, o)
	must(t, s.SaveState(t.Context(), "rest.a", []byte("a")))
	must(t, s.SaveState(t.Context(), "rest.b", []byte("b")))
	f := s.claim("p")
	toBury := entry("7", "key")
	toBury.Destination = "webhook.dead"
	commit(t, f, store.Batch{Entries: []record.Entry{toBury}})
	out := s.attach("webhook.dead")
	must(t, out.Bury(t.Context(), place(t, out, "7"), record.Cause{}, instant))
	must(t, out.Release(t.Context()))
	refused := func(kind store.Kind, from, to string, want error) {
		t.Helper()
		if moved, err := s.Admin().Rename(t.Context(), kind, from, to); moved || !errors.Is(err, want) {
			t.Errorf("%s %s to %s: %v, %v, want %v", kind, from, to, moved, err, want)
		}
	}
	refused(store.Pipeline, "p", "q", store.ErrHeld) // by its owner
	must(t, f.Release(t.Context()))
	refused(store.Pipeline, "p", "neighbour", store.ErrOccupied)
	refused(store.Pipeline, "p", "p", store.ErrOccupied)
	refused(store.Destination, "webhook.d", "webhook.dead", store.ErrOccupied)
	refused(store.Destination, "webhook.dead", "webhook.d", store.ErrOccupied)
	refused(store.Source, "rest.a", "rest.b", store.ErrOccupied)
	claimed, attached := s.claim("q"), s.attach("webhook.e")
	refused(store.Pipeline, "p", "q", store.ErrHeld) // by another's
	refused(store.Destination, "webhook.d", "webhook.e", store.ErrHeld)
	if !isOpen(claimed.Lost()) || !isOpen(attached.Lost()) {
		t.Error("an owner lost what it holds")
	}
	for _, kind := range []store.Kind{store.Pipeline, store.Destination, store.Source} {
		refused(kind, "rest.nothing", "rest.b", nil)
	}
	must(t, claimed.Release(t.Context()))
	if pending(t, s, "webhook.d") != 2 || s.claim("p").Position().Commit != 3 || rows(t, s.claim("neighbour"), ref("x"))[ref("x")].Generation != 7 {
		t.Error("what was refused changed something")
	}
	must(t, s.claim("p").Release(t.Context()))
	if !s.rename(store.Pipeline, "p", "q") {
		t.Error("the name that was claimed and has nothing can't be taken")
	}
}
