// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"maps"
	"reflect"
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

func replay(t *testing.T, o Open) {
	s := openWith(t, o, store.Limits{Items: 4})
	f, out := s.claim("p"), s.attach("webhook.d")
	again := whole("1")
	commit(t, f, store.Batch{Entries: []record.Entry{again, entry("2", "key")}})
	must(t, out.Defer(t.Context(), place(t, out, "1"), store.Attempt{Attempts: 1, Next: instant, At: instant, Code: "network"}))
	must(t, out.Ack(t.Context(), done(place(t, out, "1"))...))
	gone := delivered(t, s, store.Filter{}, false, 1)[0]
	other := entry("new", "key")
	other.Pipeline, other.Destination = "q", "file.e"
	for len(out.Wake()) > 0 {
		<-out.Wake()
	}
	mustReplay(t, s, 0, store.Again{Entry: gone.Entry}, store.Again{Entry: other}, store.Again{Entry: entry("3", "key")})
	if !isLost(out.Wake()) {
		t.Error("a replay does not wake")
	}
	same(t, "entries", waiting(t, out), []string{"2 1 3"})
	same(t, "entries of another", waiting(t, s.attach("file.e")), []string{"new"})
	same(t, "delivered", deliveredIDs(t, s, store.Filter{}, false), []string{"1"})
	got, _, err := s.Admin().Waiting(t.Context(), store.Filter{ID: "1"}, nil, 1)
	must(t, err)
	e := got[0]
	if e.Seq <= gone.Seq || e.Attempts != 0 || !e.NextAttempt.IsZero() || len(e.Tries) > 0 || !e.Committed.After(instant) {
		t.Errorf("replayed as %+v", e)
	}
	e.Seq, e.Committed = 0, again.Committed
	if !reflect.DeepEqual(e, again) {
		t.Errorf("replayed as %+v, want %+v", e, again)
	}
	var many []store.Again
	for _, e := range entries("a", "b", "c", "d", "e") {
		many = append(many, store.Again{Entry: e})
	}
	if _, err := s.Admin().Replay(t.Context(), many); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("replay beyond the limits: %v, want ErrTooLarge", err)
	}
	many[1].Destination = ""
	if _, err := s.Admin().Replay(t.Context(), many[:2]); err == nil {
		t.Error("an entry without a destination was taken")
	}
	if got := pending(t, s, "webhook.d"); got != 3 {
		t.Errorf("%d pending, want 3: what was refused changed something", got)
	}
	// The second delivery of a notification is one more.
	must(t, out.Ack(t.Context(), done(place(t, out, "1"))...))
	same(t, "delivered", deliveredIDs(t, s, store.Filter{ID: "1"}, false), []string{"1", "1"})
}

// replaySuperseded: what is replayed was looked at before, and its record may have changed since.
func replaySuperseded(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	of := func(id string, generation, newest uint64) store.Again {
		again := store.Again{Entry: entry(id, "key"), Newest: newest}
		again.Ref, again.Generation = ref("x"), generation
		return again
	}
	first, second := of("1", 1, 1), of("2", 2, 2)
	commit(t, f, store.Batch{Rows: []store.Row{row("x", 1)}, Entries: []record.Entry{first.Entry}})
	must(t, out.Ack(t.Context(), done(place(t, out, "1"))...))
	commit(t, f, store.Batch{Rows: []store.Row{row("x", 2)}, Entries: []record.Entry{second.Entry}})
	elsewhere := of("other", 1, 1)
	elsewhere.Ref = ref("y")
	mustReplay(t, s, 1, first, elsewhere)
	same(t, "entries", waiting(t, out), []string{"2 other"})
	mustReplay(t, s, 0, of("known", 1, 2), of("forced", 1, 0))
	same(t, "entries", waiting(t, out), []string{"2 other known forced"})
}

func mustReplay(t *testing.T, s testStore, superseded int, all ...store.Again) {
	t.Helper()
	got, err := s.Admin().Replay(t.Context(), all)
	must(t, err)
	if got != superseded {
		t.Errorf("%d are superseded, want %d", got, superseded)
	}
}

// replayRefused: what two destinations refuse are two dead letters, with one id between them.
func replayRefused(t *testing.T, o Open) {
	s := open(t, o)
	s.claim("p")
	to := func(destination string) store.Again {
		again := store.Again{Entry: entry("1", "key")}
		again.Destination, again.Body = destination, make([]byte, 600_000)
		return again
	}
	refuse := func(destination string) {
		mustReplay(t, s, 0, to(destination))
		out := s.attach(destination)
		must(t, out.Bury(t.Context(), place(t, out, "1"), record.Cause{Code: "http_422"}, instant))
	}
	for range 2 { // the second failure of the same takes the place of the first
		refuse("webhook.d")
		refuse("file.e")
	}
	dead, _, err := s.Admin().Dead(t.Context(), store.Filter{}, nil, 10)
	must(t, err)
	got := map[string]string{}
	for _, d := range dead {
		got[d.ID] = d.Entry.Destination + " " + d.Entry.ID
	}
	if want := map[string]string{"1": "webhook.d 1", "1@file.e": "file.e 1"}; !maps.Equal(got, want) || len(dead) != 2 {
		t.Errorf("dead letters %q, want %q", got, want)
	}
	must(t, s.Admin().Retry(t.Context(), "1@file.e", nil, false))
	must(t, s.Admin().Discard(t.Context(), "1"))
	same(t, "entries", waiting(t, s.attach("file.e")), []string{"1"})
	if count, err := s.Admin().DeadCount(t.Context()); err != nil || len(count) != 0 {
		t.Errorf("%v dead letters are left, %v", count, err)
	}
}
