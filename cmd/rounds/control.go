// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/operate"
)

// targetOf reads the name of a pipeline or destination as a configuration refers to it.
func targetOf(text string) (operate.Target, error) {
	for _, kind := range []string{operate.Pipeline, operate.Destination} {
		if name, ok := strings.CutPrefix(text, kind+"."); ok && name != "" {
			return operate.Target{Kind: kind, Name: name}, nil
		}
	}
	return operate.Target{}, fmt.Errorf("%q: must be pipeline.NAME or destination.TYPE.NAME", text)
}

func newPauseCommand() *cobra.Command {
	var state stateFlags
	var why string
	var asJSON bool
	c := &cobra.Command{
		Use:   "pause pipeline.NAME|destination.TYPE.NAME",
		Short: "Keep a pipeline from polling, or a destination from sending",
		Long: `Keeps a pipeline from polling or a destination from sending, over restarts too, until rounds resume. Nothing is lost meanwhile: a
pipeline makes up for what it missed with its next poll, and what is for a destination waits in the outbox.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completing(&state, targetNames),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := targetOf(args[0])
			if err != nil {
				return err
			}
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				if err := e.Pause(ctx, t, why); err != nil {
					return err
				}
				return say(c, asJSON, map[string]any{"name": args[0], "paused": true}, "%s is paused, until: rounds resume %[1]s\n", args[0])
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	c.Flags().StringVar(&why, "why", "", "reason, for whoever looks at the status")
	return c
}

func newResumeCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "resume pipeline.NAME|destination.TYPE.NAME",
		Short: "Let a pipeline or a destination go on",
		Long: `Lets a pipeline or a destination go on that was paused. A destination that paused itself, since its receiver refused everything,
sends again; one that backs off or holds lanes tries at once. A gap in a feed is not resumed from: see rounds state set.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completing(&state, targetNames),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := targetOf(args[0])
			if err != nil {
				return err
			}
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				if err := e.Resume(ctx, t); err != nil {
					return err
				}
				return say(c, asJSON, map[string]any{"name": args[0], "paused": false}, "%s goes on.\n", args[0])
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

func newPollCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:               "poll PIPELINE",
		Short:             "Poll now, and tell what came of it",
		Long:              `Lets the running engine poll at once, whatever the interval, waits for the end of the poll and tells what came of it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completing(&state, pipelineNames),
		RunE: func(c *cobra.Command, args []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				p, err := e.Poll(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), p)
				}
				fmt.Fprintf(c.OutOrStdout(), "%d changes: %d new, %d seen, %d stale, %d before the start. %d notifications, %d filtered, %d skipped, "+
					"%d dead letters.\n", p.Changes, p.New, p.Seen, p.Stale, p.BeforeStart, p.Mapped, p.Filtered, p.Skipped, p.Dead)
				return nil
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

func newStateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "state",
		Short: "Show or set where a pipeline stands; change the key of the state",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newStateShowCommand(), newStateSetCommand(), newStateRekeyCommand())
	return c
}

func newStateShowCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:               "show PIPELINE",
		Short:             "Show where a pipeline stands",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completing(&state, pipelineNames),
		RunE: func(c *cobra.Command, args []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				p, err := e.Position(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), p)
				}
				start := "the beginning of all records"
				if !p.Start.IsZero() {
					start = p.Start.UTC().Format(time.RFC3339)
				}
				if !p.Started {
					start = "not decided yet: the pipeline has not polled"
				}
				w := c.OutOrStdout()
				fmt.Fprintf(w, "start:      %s\nlast poll:  %s\nwatermark:  %s\n", start, ago(time.Now(), p.LastPoll), p.Watermark)
				if p.HalfRead {
					fmt.Fprintln(w, "A window was begun and not finished yet.")
				}
				return nil
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

func newStateSetCommand() *cobra.Command {
	var state stateFlags
	var start string
	var asJSON bool
	c := &cobra.Command{
		Use:   "set PIPELINE --start now|beginning|INSTANT",
		Short: "Say where a pipeline goes on: after a gap, or to read a feed again",
		Long: `Says where a pipeline goes on: now, from the beginning of all records, or from an instant such as 2026-05-10T10:00:00Z. This is how
a gap is accepted, when an EHR no longer tells all that changed since the last poll; it also serves to read a feed again.

Records are remembered: what did not change since it was last seen is not delivered again, except by feeds that number their changes,
whose numbers may have begun anew.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completing(&state, pipelineNames),
		RunE: func(c *cobra.Command, args []string) error {
			at, err := startInstant(start)
			if err != nil {
				return err
			}
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				if err := e.SetPosition(ctx, args[0], at); err != nil {
					return err
				}
				return say(c, asJSON, map[string]any{"pipeline": args[0], "start": start}, "Pipeline %s goes on from %s.\n", args[0], start)
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	c.Flags().StringVar(&start, "start", "", "now, beginning, or an instant (RFC 3339)")
	_ = c.MarkFlagRequired("start") // the flag is defined on the line above
	return c
}

func newStateRekeyCommand() *cobra.Command {
	var state stateFlags
	var to string
	var asJSON bool
	c := &cobra.Command{
		Use:   "rekey --new-key FILE",
		Short: "Change the key that encrypts the state",
		Long: `Lets the state be opened by another key from now on; the engine must not be running on it. What encrypts the data themselves, and is
encrypted by this key, stays the same: if it may be known to somebody, restore a backup into a new directory instead.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			key, err := keyFrom(to)
			if err != nil {
				return &failure{err}
			}
			e, err := newEngine(slog.New(slog.DiscardHandler), state, 0, nil)
			if err != nil {
				return &failure{err}
			}
			return finish(e, func() error {
				if err := e.Rekey(key); err != nil {
					return err
				}
				return say(c, asJSON, map[string]any{"state": state.dir}, "The state in %s is opened by the new key from now on.\n", state.dir)
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	c.Flags().StringVar(&to, "new-key", "", "`FILE` with the new key, as --state-key")
	_ = c.MarkFlagRequired("new-key") // the flag is defined on the line above
	return c
}

func startInstant(start string) (time.Time, error) {
	switch start {
	case "now":
		return time.Now(), nil
	case "beginning":
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, start)
	if err != nil {
		return at, fmt.Errorf("--start %q: must be now, beginning, or an instant such as 2026-05-10T10:00:00Z", start)
	}
	return at, nil
}

func newReloadCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Let the running engine read its configuration again",
		Long: `Lets the running engine read its configuration, mappings and secrets again, as SIGHUP does. What did not change goes on undisturbed.
A configuration with a mistake changes nothing; the mistakes are shown, and the exit code is 1.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				r, err := e.Reload(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), r)
				}
				w := c.OutOrStdout()
				for _, x := range []struct {
					what  string
					names []string
				}{{"Started", r.Started}, {"Stopped", r.Stopped}, {"Restarted", r.Restarted}} {
					if len(x.names) > 0 {
						fmt.Fprintf(w, "%s: %s\n", x.what, strings.Join(x.names, ", "))
					}
				}
				fmt.Fprintf(w, "Unchanged: %d\n", r.Unchanged)
				return nil
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}
