// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/store"
)

// ending is a context that is done when it was asked n times.
type ending struct {
	context.Context
	n int
}

func (c *ending) Err() error {
	if c.n--; c.n < 0 {
		return context.Canceled
	}
	return nil
}

// TestStateIsMovedBackWhateverFailsAfterwards: else the old configuration, which goes on, would find nothing under its names.
func TestStateIsMovedBackWhateverFailsAfterwards(t *testing.T) {
	_, r := stateOnly(t)
	feed, err := r.state.Claim(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(feed.Commit(t.Context(), store.Batch{Position: &store.Position{Watermark: []byte("1")}}), feed.Release(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	names := func() []string {
		positions, err := r.state.Admin().Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(positions))
	}
	cfg := &config.Config{Moves: []config.Move{{Kind: "pipeline", From: "old", To: "new"}}}
	if err := r.rename(&ending{t.Context(), 1}, cfg); err == nil || !slices.Equal(names(), []string{"old"}) {
		t.Errorf("what failed (%v) left state under %q", err, names())
	}
	if err := r.rename(t.Context(), cfg); err != nil || !slices.Equal(names(), []string{"new"}) {
		t.Errorf("%v, and state is under %q", err, names())
	}
}
