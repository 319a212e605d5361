// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

func buryKeeps(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	e := entry("1", "key")
	e.Record = []byte(`{"change":{"id":"1"}}`)
	commit(t, f, store.Batch{Entries: []record.Entry{e, entry("2", "key")}})
	cause := record.Cause{Stage: record.StageDeliver, Code: "http_422", Text: "the receiver refused", Detail: "field x", Attempts: 2}
	at := place(t, out, "1")
	must(t, out.Bury(t.Context(), at, cause, instant))
	must(t, out.Bury(t.Context(), at, record.Cause{Code: "again"}, instant))
	same(t, "entries", waiting(t, out), []string{"2"})
	s.close()
	s = open(t, o)
	dead := allDead(t, s, 10)
	if len(dead) != 1 {
		t.Fatalf("%d dead letters, want 1", len(dead))
	}
	l := dead[0]
	if l.ID != "1" || l.Pipeline != "p" || l.Deliver != "scheduling" || l.Key != "key" || l.Ref != e.Ref || l.Version != "v1" ||
		l.Generation != 1 || l.Time.IsZero() || l.Cause != cause || !bytes.Equal(l.Record, e.Record) {
		t.Errorf("dead letter %+v", l)
	}
	if n := l.Entry; n == nil || n.ID != "1" || n.Destination != "webhook.d" || !bytes.Equal(n.Body, e.Body) {
		t.Errorf("entry %+v", n)
	}
	if n := pending(t, s, "webhook.d"); n != 1 {
		t.Errorf("%d pending, want 1", n)
	}
}

// buried gives a store whose outbox holds "2" and "3" behind "1", which is buried, all of one key and of refs of their own.
func buried(t *testing.T, o Open) (testStore, store.Feed, store.Outbox) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	list := entries("1", "2", "3")
	list[0].Record = []byte(`{"change":1}`)
	commit(t, f, store.Batch{Entries: list, Rows: []store.Row{{Ref: list[0].Ref, Generation: 1}}})
	must(t, out.Defer(t.Context(), place(t, out, "1"), store.Attempt{Attempts: 5, Next: instant}))
	must(t, out.Bury(t.Context(), place(t, out, "1"), record.Cause{}, instant))
	return s, f, out
}

func retryGoesLast(t *testing.T, o Open) {
	s, _, out := buried(t, o)
	before := place(t, out, "3")
	must(t, s.Admin().Retry(t.Context(), "1", nil, false))
	same(t, "entries", waiting(t, out), []string{"2 3 1"})
	if n := len(allDead(t, s, 10)); n > 0 {
		t.Errorf("%d dead letters after the retry", n)
	}
	e := head(t, out, before.Lane, 3)[2]
	if e.Seq <= before.Seq || e.Attempts != 0 || !e.NextAttempt.IsZero() || len(e.Tries) != 2 || string(e.Record) != `{"change":1}` {
		t.Errorf("entry %+v", e)
	}
	if n := pending(t, s, "webhook.d"); n != 3 {
		t.Errorf("%d pending, want 3", n)
	}
	if err := s.Admin().Retry(t.Context(), "1", nil, false); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("second retry: %v, want ErrNotFound", err)
	}
}

func retrySuperseded(t *testing.T, o Open) {
	s, f, out := buried(t, o)
	commit(t, f, store.Batch{Rows: []store.Row{{Ref: ref("of-1"), Generation: 2}}})
	for _, mapped := range [][]record.Entry{nil, entries("1"), {}} {
		if err := s.Admin().Retry(t.Context(), "1", mapped, false); !errors.Is(err, store.ErrSuperseded) {
			t.Errorf("retry: %v, want ErrSuperseded", err)
		}
	}
	same(t, "entries", waiting(t, out), []string{"2 3"})
	same(t, "dead letters", deadIDs(t, s), []string{"1"})
	must(t, s.Admin().Retry(t.Context(), "1", nil, true))
	same(t, "entries", waiting(t, out), []string{"2 3 1"})
	same(t, "dead letters", deadIDs(t, s), nil)
}

func retryMapped(t *testing.T, o Open) {
	s, _, out := buried(t, o)
	again := entries("1a", "1b")
	again[1].Destination = "webhook.e"
	must(t, s.Admin().Retry(t.Context(), "1", again, false))
	same(t, "entries", waiting(t, out), []string{"2 3 1a"})
	same(t, "entries", waiting(t, s.attach("webhook.e")), []string{"1b"})
	same(t, "dead letters", deadIDs(t, s), nil)

	// Mapped again and filtered: nothing is left to send.
	must(t, out.Bury(t.Context(), place(t, out, "2"), record.Cause{}, instant))
	must(t, s.Admin().Retry(t.Context(), "2", []record.Entry{}, false))
	same(t, "entries", waiting(t, out), []string{"3 1a"})
	same(t, "dead letters", deadIDs(t, s), nil)
}

func retryRefused(t *testing.T, o Open) {
	s, f, out := buried(t, o)
	commit(t, f, store.Batch{Dead: []record.DeadLetter{{ID: "unmapped", Pipeline: "p", Ref: ref("x")}}})
	if err := s.Admin().Retry(t.Context(), "unmapped", nil, true); err == nil {
		t.Error("a dead letter without a notification was put into the outbox")
	}
	other := entries("x")
	other[0].Pipeline = "q"
	if err := s.Admin().Retry(t.Context(), "1", other, true); err == nil {
		t.Error("an entry of another pipeline was taken")
	}
	if err := s.Admin().Retry(t.Context(), "none", nil, true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown dead letter: %v, want ErrNotFound", err)
	}
	same(t, "entries", waiting(t, out), []string{"2 3"})
	same(t, "dead letters", deadIDs(t, s), []string{"1", "unmapped"})
	if n := pending(t, s, "webhook.d"); n != 2 {
		t.Errorf("%d pending, want 2", n)
	}
}

func discard(t *testing.T, o Open) {
	s, _, out := buried(t, o)
	must(t, s.Admin().Discard(t.Context(), "1"))
	if err := s.Admin().Discard(t.Context(), "1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("second discard: %v, want ErrNotFound", err)
	}
	same(t, "dead letters", deadIDs(t, s), nil)
	same(t, "entries", waiting(t, out), []string{"2 3"})
	s.close()
	same(t, "dead letters", deadIDs(t, open(t, o)), nil)
}

func deadPaged(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	var want []string
	for i := range 60 {
		l := record.DeadLetter{ID: fmt.Sprint("d", (i*37)%60), Pipeline: "p", Time: instant}
		commit(t, f, store.Batch{Dead: []record.DeadLetter{l}})
		want = append(want, l.ID)
	}
	same(t, "dead letters", deadIDs(t, s), want)

	// Discarding what was shown, and new ones coming, do not hide others.
	var got []string
	var token []byte
	for i := 0; ; i++ {
		page, next, err := s.Admin().Dead(t.Context(), store.Filter{}, token, 7)
		must(t, err)
		for _, l := range page {
			got = append(got, l.ID)
		}
		if next == nil {
			break
		}
		token = next
		must(t, s.Admin().Discard(t.Context(), page[0].ID))
		must(t, s.Admin().Discard(t.Context(), page[len(page)-1].ID))
		if i < 3 {
			l := record.DeadLetter{ID: fmt.Sprint("new", i), Pipeline: "p"}
			commit(t, f, store.Batch{Dead: []record.DeadLetter{l}})
			want = append(want, l.ID)
		}
	}
	same(t, "dead letters", got, want)
	if _, _, err := s.Admin().Dead(t.Context(), store.Filter{}, []byte("no token"), 1); err == nil {
		t.Error("a token that was never given was taken")
	}

	// A dead letter with the id of another takes its place.
	same(t, "first", deadIDs(t, s)[:1], want[1:2])
	commit(t, f, store.Batch{Dead: []record.DeadLetter{{ID: want[1], Pipeline: "p", Version: "later"}}})
	left := allDead(t, s, 7)
	n := slices.IndexFunc(left, func(l record.DeadLetter) bool { return l.ID == want[1] })
	if n != len(left)-1 || left[n].Version != "later" {
		t.Errorf("the later dead letter of one id stands at %d of %d, version %q", n, len(left), left[n].Version)
	}
}

func deadWhole(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	n := entry("n", "key")
	n.Record, n.Attempts = []byte("record"), 3
	want := []record.DeadLetter{
		{ID: "", Pipeline: "p"},
		{
			ID: "1", Pipeline: "p", Deliver: "s", Key: "k\x00", Ref: n.Ref, Version: "v", Generation: 9, Time: instant,
			Cause:  record.Cause{Stage: record.StageMap, Code: "script_error", Text: "t", Detail: "d", Attempts: 4},
			Record: []byte("record"), Entry: &n,
		},
		{ID: "2", Pipeline: "p", Record: bytes.Repeat([]byte("r"), 1<<20+4096)},
	}
	commit(t, f, store.Batch{Dead: want})
	if got := allDead(t, s, 2); !reflect.DeepEqual(got, want) {
		t.Errorf("dead letters %+v, want %+v", got[:2], want[:2])
	}
}

func positions(t *testing.T, o Open) {
	s := open(t, o)
	commit(t, s.claim("a"), store.Batch{Position: &store.Position{Watermark: []byte("1")}})
	commit(t, s.claim("b"), store.Batch{Rows: []store.Row{row("x", 1)}})
	must(t, s.claim("b").Release(t.Context()))
	s.close()
	got, err := open(t, o).Admin().Positions(t.Context())
	must(t, err)
	want := map[string]store.Position{"a": {Watermark: []byte("1"), Commit: 1}, "b": {Commit: 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("positions %+v, want %+v", got, want)
	}
}

func savedState(t *testing.T, o Open) {
	s := open(t, o)
	large := bytes.Repeat([]byte("s"), 2<<20)
	if got, err := s.LoadState(t.Context(), "rest.a"); err != nil || got != nil {
		t.Errorf("state %q, %v before any was saved", got, err)
	}
	for source, state := range map[string][]byte{"rest.a": []byte("old"), "rest.ab": []byte("\x00b"), "rest.c": large} {
		must(t, s.SaveState(t.Context(), source, state))
	}
	must(t, s.SaveState(t.Context(), "rest.a", []byte("new")))
	s.close()
	s = open(t, o)
	for source, want := range map[string][]byte{"rest.a": []byte("new"), "rest.ab": []byte("\x00b"), "rest.c": large, "rest": nil} {
		if got, err := s.LoadState(t.Context(), source); err != nil || !bytes.Equal(got, want) {
			t.Errorf("state of %s: %d bytes, %v, want %d", source, len(got), err, len(want))
		}
	}
}

func secret(t *testing.T, o Open) {
	s := open(t, o)
	first := s.Secret()
	if len(first) != 32 || bytes.Equal(first, make([]byte, 32)) {
		t.Errorf("%d bytes", len(first))
	}
	clear(s.Secret())
	s.close()
	if !bytes.Equal(open(t, o).Secret(), first) {
		t.Error("the secret changed")
	}
}

func closed(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	s.close()
	if !isLost(f.Lost()) || !isLost(out.Lost()) {
		t.Error("the owners are not told")
	}
	if err := f.Commit(background, full("a")); err == nil {
		t.Error("a closed store took a commit")
	}
	if _, err := f.Seen(background, nil); err == nil {
		t.Error("a closed store was read")
	}
	if _, err := s.Claim(background, "p"); err == nil {
		t.Error("a closed store gave a claim")
	}
	if _, err := s.LoadState(background, "x"); err == nil {
		t.Error("a closed store was read")
	}
	must(t, s.Close())
}
