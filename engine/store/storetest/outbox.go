// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

func attachFences(t *testing.T, o Open) {
	s := open(t, o)
	f, old, other := s.claim("p"), s.attach("webhook.d"), s.attach("webhook.e")
	commit(t, f, store.Batch{Entries: entries("1", "2", "3")})
	at := places(t, old)
	now := s.attach("webhook.d")
	if !isLost(old.Lost()) {
		t.Error("the fenced owner is not told")
	}
	if !isOpen(other.Lost()) {
		t.Error("the owner of another destination is fenced")
	}
	for what, err := range map[string]error{
		"ack":   old.Ack(t.Context(), done(at["1"])...),
		"defer": old.Defer(t.Context(), at["2"], store.Attempt{Attempts: 1}),
		"bury":  old.Bury(t.Context(), at["3"], record.Cause{}, instant),
	} {
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s of the fenced owner: %v, want ErrFenced", what, err)
		}
	}
	same(t, "entries", waiting(t, now), []string{"1 2 3"})
	if e := head(t, now, at["2"].Lane, 2)[1]; e.Attempts != 0 {
		t.Error("the fenced owner's attempt was kept")
	}
	must(t, old.Release(t.Context()))
	must(t, now.Ack(t.Context(), done(at["1"])...))
}

func laneOrder(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	commit(t, f, store.Batch{Entries: entries("9", "3", "5")})
	commit(t, f, store.Batch{Entries: entries("1", "8")})
	lanes := allLanes(t, out, 100)
	if len(lanes) != 1 {
		t.Fatalf("%d lanes, want 1", len(lanes))
	}
	check := func(out store.Outbox) {
		t.Helper()
		var got []string
		last := uint64(0)
		for _, e := range head(t, out, lanes[0], 100) {
			if e.Seq <= last {
				t.Errorf("number %d after %d", e.Seq, last)
			}
			got, last = append(got, e.ID), e.Seq
		}
		same(t, "order", got, []string{"9", "3", "5", "1", "8"})
	}
	check(out)
	if got := head(t, out, lanes[0], 2); len(got) != 2 || got[0].ID != "9" || got[1].ID != "3" {
		t.Errorf("the first two are %d others", len(got))
	}
	if got := head(t, out, lanes[0], 0); len(got) != 0 {
		t.Errorf("%d entries were asked for and 0 wanted", len(got))
	}
	want := entry("whole", "w")
	want.Record, want.Ref.Args, want.Version = []byte(`{"change":{}}`), "args", ""
	commit(t, f, store.Batch{Entries: []record.Entry{want}})
	at := place(t, out, "whole")
	want.Seq = at.Seq
	if got := head(t, out, at.Lane, 1)[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("entry %+v, want %+v", got, want)
	}
	must(t, out.Ack(t.Context(), done(at)...))
	s.close()
	check(open(t, o).attach("webhook.d"))
}

// An ordering key may hold any bytes; each has its own lane, in each pipeline.
func lanesExact(t *testing.T, o Open) {
	s := open(t, o)
	long := strings.Repeat("k", 70_000)
	keys := []string{
		"", "\x00", "\x00\x00", "a", "a\x00", "a\x00b", "ab", "abc", "A", "é", "e\u0301", "\xff", "\xff\xff", "p", "/", "a/b",
		long, long + "\x00", long + "a",
	}
	type laneKey struct{ pipeline, key string }
	want := map[laneKey][]string{}
	for _, pipeline := range []string{"p", "pa", "q"} {
		f := s.claim(pipeline)
		for round := range 3 {
			for i, key := range keys {
				e := entry(fmt.Sprintf("%s-%d-%d", pipeline, i, round), key)
				e.Pipeline = pipeline
				commit(t, f, store.Batch{Entries: []record.Entry{e}})
				want[laneKey{pipeline, key}] = append(want[laneKey{pipeline, key}], e.ID)
			}
		}
	}
	out := s.attach("webhook.d")
	lanes := allLanes(t, out, 5)
	if len(lanes) != len(want) {
		t.Fatalf("%d lanes, want %d", len(lanes), len(want))
	}
	for _, lane := range lanes {
		var got []string
		var key laneKey
		for _, e := range head(t, out, lane, 10) {
			got, key = append(got, e.ID), laneKey{e.Pipeline, e.Key}
		}
		if !slices.Equal(got, want[key]) {
			t.Errorf("a lane of pipeline %s holds %v, want %v", key.pipeline, got, want[key])
		}
		delete(want, key)
	}
	if len(head(t, out, "no such lane", 1)) > 0 {
		t.Error("a lane that does not exist has entries")
	}
}

// A listing gives every lane that has entries from its begin to its end, while lanes come and go.
func lanesPaged(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	const stay, go_ = 300, 300
	for i := range stay {
		commit(t, f, store.Batch{Entries: []record.Entry{entry(fmt.Sprint("stays", i), fmt.Sprint("s", i)), entry(fmt.Sprint("goes", i), fmt.Sprint("g", i))}})
	}
	at := places(t, out)
	if len(at) != stay+go_ {
		t.Fatalf("%d entries, want %d", len(at), stay+go_)
	}
	seen := map[string]bool{}
	var token []byte
	for i := 0; ; i++ {
		lanes, next, err := out.Lanes(t.Context(), token, 7)
		must(t, err)
		for _, lane := range lanes {
			seen[lane] = true
		}
		if next == nil {
			break
		}
		if i > 10_000 {
			t.Fatal("the listing has no end")
		}
		token = next
		if i < go_ {
			must(t, out.Ack(t.Context(), done(at[fmt.Sprint("goes", i)])...))
			commit(t, f, store.Batch{Entries: []record.Entry{entry(fmt.Sprint("new", i), fmt.Sprint("n", i))}})
		}
	}
	for i := range stay {
		if id := fmt.Sprint("stays", i); !seen[at[id].Lane] {
			t.Errorf("the lane of %s is missing", id)
		}
	}
	if _, _, err := out.Lanes(t.Context(), []byte("no token"), 1); err == nil {
		t.Error("a token that was never given was taken")
	}
}

func ackExact(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	commit(t, f, store.Batch{Entries: entries("1", "2", "3", "4", "5")})
	at := places(t, out)
	must(t, out.Ack(t.Context(), done(at["3"], at["3"])...))
	must(t, out.Ack(t.Context(), done(at["3"])...))
	same(t, "entries", waiting(t, out), []string{"1 2 4 5"})
	wrong := []store.EntryID{
		{Lane: at["1"].Lane, Seq: at["1"].Seq, ID: "2"},
		{Lane: at["1"].Lane, Seq: at["1"].Seq + 1000, ID: "1"},
		{Lane: "no such lane", Seq: at["1"].Seq, ID: "1"},
		{ID: "1"},
	}
	must(t, out.Ack(t.Context(), done(wrong...)...))
	for _, id := range wrong {
		must(t, out.Defer(t.Context(), id, store.Attempt{Attempts: 1}))
		must(t, out.Bury(t.Context(), id, record.Cause{}, instant))
	}
	same(t, "entries", waiting(t, out), []string{"1 2 4 5"})
	must(t, out.Ack(t.Context(), done(at["5"], at["1"])...))
	same(t, "entries", waiting(t, out), []string{"2 4"})
	if n := pending(t, s, "webhook.d"); n != 2 {
		t.Errorf("%d pending, want 2", n)
	}
	must(t, out.Ack(t.Context(), done(at["2"], at["4"])...))
	if lanes := allLanes(t, out, 10); len(lanes) > 0 {
		t.Errorf("%d lanes without entries", len(lanes))
	}
}

func ackSurvives(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	commit(t, f, store.Batch{Entries: entries("1", "2", "3")})
	at := places(t, out)
	must(t, out.Ack(t.Context(), done(at["1"])...))
	must(t, out.Bury(t.Context(), at["2"], record.Cause{}, instant))
	s.close()
	s = open(t, o)
	f, out = s.claim("p"), s.attach("webhook.d")
	same(t, "entries", waiting(t, out), []string{"3"})
	commit(t, f, store.Batch{Entries: entries("4")})
	if now := place(t, out, "4"); now.Seq <= at["3"].Seq {
		t.Errorf("number %d was given after %d", now.Seq, at["3"].Seq)
	}
}

func deferKeeps(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	commit(t, f, store.Batch{Entries: entries("1", "2")})
	at := place(t, out, "1")
	must(t, out.Defer(t.Context(), at, store.Attempt{Attempts: 3, Next: instant}))
	check := func(out store.Outbox) {
		t.Helper()
		same(t, "entries", waiting(t, out), []string{"1 2"})
		e := head(t, out, at.Lane, 1)[0]
		if e.Attempts != 3 || !e.NextAttempt.Equal(instant) || string(e.Body) != `{"id":"1"}` || e.Seq != at.Seq {
			t.Errorf("entry %+v", e)
		}
	}
	check(out)
	s.close()
	s = open(t, o)
	out = s.attach("webhook.d")
	check(out)
	must(t, out.Ack(t.Context(), done(at)...))
	must(t, out.Defer(t.Context(), at, store.Attempt{Attempts: 4}))
	same(t, "entries", waiting(t, out), []string{"2"})
}

func wake(t *testing.T, o Open) {
	s := open(t, o)
	f, out, other := s.claim("p"), s.attach("webhook.d"), s.attach("webhook.e")
	commit(t, f, store.Batch{Entries: entries("1")})
	if !isLost(out.Wake()) {
		t.Error("a commit with entries does not wake")
	}
	must(t, out.Bury(t.Context(), place(t, out, "1"), record.Cause{}, instant))
	must(t, s.Admin().Retry(t.Context(), deadIDs(t, s)[0], nil, false))
	if !isLost(out.Wake()) {
		t.Error("a retry does not wake")
	}
	if !isOpen(other.Wake()) {
		t.Error("a commit wakes a destination that got nothing")
	}
}

func entryLeaves(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	commit(t, f, store.Batch{Entries: entries("acked", "buried", "deferred", "waits")})
	at := places(t, out)
	must(t, out.Ack(t.Context(), done(at["acked"])...))
	must(t, out.Bury(t.Context(), at["buried"], record.Cause{Code: "http_422"}, instant))
	must(t, out.Defer(t.Context(), at["deferred"], store.Attempt{Attempts: 1_000_000}))
	commit(t, s.claim("p"), store.Batch{Entries: entries("acked"), Rows: []store.Row{row("r", 2)}})
	must(t, out.Release(t.Context()))
	s.close()
	s = open(t, o)
	same(t, "entries", waiting(t, s.attach("webhook.d")), []string{"deferred waits acked"})
	same(t, "dead letters", deadIDs(t, s), []string{"buried"})
	if n := pending(t, s, "webhook.d"); n != 3 {
		t.Errorf("%d pending, want 3", n)
	}
}
