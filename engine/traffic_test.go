// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

// stateOnly is an engine that nothing runs on, with history.
func stateOnly(t *testing.T) (*Engine, *running) {
	t.Helper()
	e := New(Options{StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	state, err := badgerstore.Open(e.o.StateDir, badgerstore.Options{Logger: e.o.Logger, Keep: time.Hour, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = state.Close() })
	e.running = newRunning(t.Context(), e, state)
	return e, e.running
}

// delivered is a state in which these generations of a record, of which there are two, were delivered to webhook.out, in this order.
func delivered(t *testing.T, generations ...uint64) (*Engine, *running) {
	t.Helper()
	e, r := stateOnly(t)
	feed, err := r.state.Claim(t.Context(), "visits")
	if err != nil {
		t.Fatal(err)
	}
	box, err := r.state.Attach(t.Context(), "webhook.out")
	if err != nil {
		t.Fatal(err)
	}
	ref := sdk.Ref{Kind: "visit", ID: "1"}
	at := time.Now().Add(-time.Minute)
	for i, generation := range generations {
		err := feed.Commit(t.Context(), store.Batch{
			Base: uint64(i), Rows: []store.Row{{Ref: ref, Generation: 2}},
			Entries: []record.Entry{{
				ID: fmt.Sprint(generation), Pipeline: "visits", Deliver: "out", Destination: "webhook.out", Key: "k", Ref: ref, Generation: generation,
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		lanes, _, err := box.Lanes(t.Context(), nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		head, err := box.Head(t.Context(), lanes[0], 1)
		if err != nil {
			t.Fatal(err)
		}
		id := store.EntryID{Lane: lanes[0], Seq: head[0].Seq, ID: head[0].ID}
		if err := box.Ack(t.Context(), store.Done{EntryID: id, At: at.Add(time.Duration(i) * time.Second), Code: "accepted"}); err != nil {
			t.Fatal(err)
		}
	}
	return e, r
}

// TestInvariant4AReplayEndsWithTheNewestGeneration: what was delivered after a newer generation, as by force, is superseded by that,
// although both are replayed.
func TestInvariant4AReplayEndsWithTheNewestGeneration(t *testing.T) {
	e, r := delivered(t, 1, 2, 1)
	waiting := func() (ids []string) {
		all, _, err := r.state.Admin().Waiting(t.Context(), store.Filter{}, nil, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			ids = append(ids, e.ID)
		}
		return ids
	}
	done, err := e.Replay(t.Context(), operate.Replay{})
	if got := waiting(); err != nil || !slices.Equal(got, []string{"1", "2"}) || *done != (operate.Replayed{Notifications: 2, Superseded: 1}) {
		t.Errorf("replayed %q, %+v, %v", got, done, err)
	}
	done, err = e.Replay(t.Context(), operate.Replay{Force: true})
	if got := waiting(); err != nil || !slices.Equal(got, []string{"1", "2", "1", "2", "1"}) || *done != (operate.Replayed{Notifications: 3}) {
		t.Errorf("replayed by force %q, %+v, %v", got, done, err)
	}
}

// TestAReplayTakesNothingTwice: what it lets be delivered is not chosen by it once more, whatever the filter says.
func TestAReplayTakesNothingTwice(t *testing.T) {
	e, r := stateOnly(t)
	const all = 3000
	feed, err := r.state.Claim(t.Context(), "visits")
	if err != nil {
		t.Fatal(err)
	}
	box, err := r.state.Attach(t.Context(), "webhook.out")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < all; {
		b := store.Batch{Base: feed.Position().Commit}
		for ; i < all && len(b.Entries) < 200; i++ {
			ref := sdk.Ref{Kind: "visit", ID: fmt.Sprint(i)}
			b.Rows = append(b.Rows, store.Row{Ref: ref, Generation: 1})
			b.Entries = append(b.Entries, record.Entry{
				ID: fmt.Sprint(i), Pipeline: "visits", Deliver: "out", Destination: "webhook.out", Key: fmt.Sprint(i % 7), Ref: ref, Generation: 1,
			})
		}
		if err := feed.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	// deliver accepts all that waits, and says how much that was.
	deliver := func(ctx context.Context) (n int, err error) {
		lanes, _, err := box.Lanes(ctx, nil, 100)
		if err != nil {
			return 0, err
		}
		for _, lane := range lanes {
			head, err := box.Head(ctx, lane, 100)
			if err != nil {
				return n, err
			}
			var done []store.Done
			for _, e := range head {
				done = append(done, store.Done{EntryID: store.EntryID{Lane: lane, Seq: e.Seq, ID: e.ID}, At: time.Now(), Code: "accepted"})
			}
			if err := box.Ack(ctx, done...); err != nil {
				return n, err
			}
			n += len(done)
		}
		return n, nil
	}
	for n := 1; n > 0; {
		if n, err = deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	delivering, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for delivering.Err() == nil {
			if _, err := deliver(delivering); err != nil && delivering.Err() == nil {
				t.Error(err)
				return
			}
		}
	}()
	done, err := e.Replay(ctx, operate.Replay{Filter: operate.Filter{To: time.Now().Add(time.Hour)}})
	stop()
	<-ended
	if err != nil || *done != (operate.Replayed{Notifications: all}) {
		t.Errorf("replayed %+v, %v; %d were delivered", done, err, all)
	}
}

// TestNothingIsReplayedToADestinationThatHasGoneMeanwhile, as nothing is retried.
func TestNothingIsReplayedToADestinationThatHasGoneMeanwhile(t *testing.T) {
	for n := range 8 {
		e, r := delivered(t, 2)
		named := func(name string) {
			e.mu.Lock()
			defer e.mu.Unlock()
			r.build = newBuilder(&config.Config{Destinations: []config.Destination{{Type: "webhook", Name: name}}}, e.o.Logger)
		}
		named("out")
		renamed := false
		_, err := e.Replay(&meanwhile{t.Context(), n + 1, func() {
			if e.changing.TryLock() {
				defer e.changing.Unlock()
				named("renamed")
				renamed = true
			}
		}}, operate.Replay{})
		waiting, pending := r.state.Admin().Pending(t.Context())
		if pending != nil {
			t.Fatal(pending)
		}
		if (err != nil) != renamed || (len(waiting) == 0) != renamed {
			t.Errorf("renamed at look %d: %t, %v, and there wait %v", n+1, renamed, err, waiting)
		}
	}
}
