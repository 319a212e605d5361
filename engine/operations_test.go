// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// TestWhatIsPausedDoesNotRun: whoever pauses may be gone before it is done, and what is kept as paused, but runs, is stopped.
func TestWhatIsPausedDoesNotRun(t *testing.T) {
	e, r := stateOnly(t)
	stopped := 0
	p := &polling{config: config.Pipeline{Name: "visits"}}
	r.pipelines["visits"] = p
	runs := func() { p.stop = func() { stopped++ } }
	target := operate.Target{Kind: operate.Pipeline, Name: "visits"}
	gone, leave := context.WithCancel(t.Context())
	leave()
	runs()
	if err := e.Pause(gone, target, "a test"); err != nil || stopped != 1 || !r.isPaused(store.Pipeline, "visits") {
		t.Errorf("by somebody who is gone: %v, stopped %d times", err, stopped)
	}
	runs()
	if err := e.Pause(t.Context(), target, "a test"); err != nil || stopped != 2 || p.stop != nil {
		t.Errorf("once more: %v, stopped %d times", err, stopped)
	}
	// Why is told with each status, and is no place for a file.
	if err := e.Pause(t.Context(), target, strings.Repeat("x", maxWhy+1)); !errors.Is(err, operate.ErrInvalid) {
		t.Errorf("for a reason without an end: %v", err)
	}
}

// accepting is a destination that takes everything over.
type accepting chan delivery.Notification

func (a accepting) Send(_ context.Context, n delivery.Notification) error { a <- n; return nil }
func (a accepting) Close() error                                          { return nil }

// TestAPausedDestinationThatIsResumedWaitsForNoEarlierPause, which its receiver asked for before the person paused it.
func TestAPausedDestinationThatIsResumedWaitsForNoEarlierPause(t *testing.T) {
	e, r := stateOnly(t)
	feed, err := r.state.Claim(t.Context(), "visits")
	if err != nil {
		t.Fatal(err)
	}
	err = feed.Commit(t.Context(), store.Batch{Entries: []record.Entry{{
		ID: "1", Pipeline: "visits", Deliver: "out", Destination: "webhook.out", Key: "k", Ref: sdk.Ref{Kind: "visit", ID: "1"}, Generation: 1,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	box, err := r.state.Attach(t.Context(), "webhook.out")
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
	at := time.Now()
	failed := store.Attempt{Attempts: 1, At: at, Next: at.Add(time.Hour), Code: "http_429"}
	if err := box.Defer(t.Context(), store.EntryID{Lane: lanes[0], Seq: head[0].Seq, ID: "1"}, failed); err != nil {
		t.Fatal(err)
	}
	to := make(accepting, 1)
	d := &delivering{config: config.Destination{Type: "webhook", Name: "out", Timeout: time.Second}, to: to}
	r.destinations["webhook.out"] = d
	target := operate.Target{Kind: operate.Destination, Name: "webhook.out"}
	if err := e.Pause(t.Context(), target, "a test"); err != nil {
		t.Fatal(err)
	}
	if err := e.Resume(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-to:
		if n.Attempt != 2 {
			t.Errorf("attempt %d", n.Attempt)
		}
	case <-time.After(10 * time.Second):
		t.Error("it is not sent")
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}
