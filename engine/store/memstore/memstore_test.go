// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
)

func TestTheOldestDeliveredGiveWay(t *testing.T) {
	s := (&memstore.Memory{Keep: time.Hour, KeepBytes: 10_000}).Open(store.Limits{})
	f, err := s.Claim(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Attach(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(id string, ago time.Duration) {
		t.Helper()
		e := record.Entry{ID: id, Pipeline: "p", Destination: "d", Body: make([]byte, 3000)}
		if err := f.Commit(t.Context(), store.Batch{Base: f.Position().Commit, Entries: []record.Entry{e}}); err != nil {
			t.Fatal(err)
		}
		lanes, _, _ := o.Lanes(t.Context(), nil, 1)
		head, _ := o.Head(t.Context(), lanes[0], 1)
		done := store.Done{EntryID: store.EntryID{Lane: lanes[0], Seq: head[0].Seq, ID: id}, At: time.Now().Add(-ago)}
		if err := o.Ack(t.Context(), done); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		id   string
		ago  time.Duration
		want string
	}{
		{"over", 2 * time.Hour, ""}, {"a", 50 * time.Minute, "a"}, {"b", 40 * time.Minute, "ab"}, {"c", 30 * time.Minute, "abc"},
		{"d", 20 * time.Minute, "bcd"}, {"e", 45 * time.Minute, "bcd"},
	} {
		deliver(x.id, x.ago)
		list, _, err := s.Admin().Delivered(t.Context(), store.Filter{}, false, nil, 10)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, d := range list {
			got += d.ID
		}
		if got != x.want {
			t.Errorf("after %s there are %q, want %q", x.id, got, x.want)
		}
	}
}

func TestKeepsThePromisesOfAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Open {
		m := memstore.Memory{Keep: 24 * time.Hour}
		return func(_ *testing.T, limits store.Limits) store.Store { return m.Open(limits) }
	})
}
