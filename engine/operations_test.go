// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/store"
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
