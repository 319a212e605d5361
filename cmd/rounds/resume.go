// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

func newResumeCommand() *cobra.Command {
	var state, from string
	c := &cobra.Command{
		Use:   "resume PIPELINE --from now|beginning|INSTANT",
		Short: "Accept a gap in a feed and say where to go on",
		Long: `Accepts that changes since a pipeline's watermark can't all be had any more (the pipeline paused and said so), and says where
polling goes on: now, the beginning of all records, or an instant such as 2026-05-10T10:00:00Z. Records are remembered: what did
not change since it was last seen is not delivered again, except by feeds that number their changes, whose numbers may have
begun anew. The engine must not be running on the state.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			at, err := startInstant(from)
			if err != nil {
				return err
			}
			if err := resume(c.Context(), state, args[0], at); err != nil {
				return &failure{err}
			}
			fmt.Fprintf(c.OutOrStdout(), "Pipeline %s goes on from %s at the next run.\n", args[0], from)
			return nil
		},
	}
	c.Flags().StringVar(&state, "state", ".rounds", "directory of the state")
	c.Flags().StringVar(&from, "from", "", "now, beginning, or an instant (RFC 3339)")
	_ = c.MarkFlagRequired("from") // the flag is defined on the line above
	return c
}

func startInstant(from string) (time.Time, error) {
	switch from {
	case "now":
		return time.Now(), nil
	case "beginning":
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, from)
	if err != nil {
		return at, fmt.Errorf("--from %q: must be now, beginning, or an instant such as 2026-05-10T10:00:00Z", from)
	}
	return at, nil
}

func resume(ctx context.Context, dir, pipeline string, at time.Time) (err error) {
	state, err := badgerstore.Open(dir, badgerstore.Options{Existing: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	known, err := state.Admin().Positions(ctx)
	if err != nil {
		return err
	}
	if _, ok := known[pipeline]; !ok {
		return fmt.Errorf("the state in %s knows no pipeline %q; it knows: %s", dir, pipeline,
			cmp.Or(strings.Join(slices.Sorted(maps.Keys(known)), ", "), "none"))
	}
	feed, err := state.Claim(ctx, pipeline)
	if err != nil {
		return err
	}
	// The feed may have been reset: what a sequence's numbers meant before counts no more.
	pos := feed.Position()
	pos.Watermark, pos.Cursor, pos.Start, pos.Started = nil, nil, at, true
	pos.Epoch++
	if err := feed.Commit(ctx, store.Batch{Base: pos.Commit, Position: &pos}); err != nil {
		return err
	}
	return feed.Release(ctx)
}
