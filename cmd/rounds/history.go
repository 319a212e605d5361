// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/operate"
)

func newHistoryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "history",
		Short: "Search notifications, and tell what happened to a record",
		Long: `Searches notifications that wait or were delivered, and tells what happened to one record. Delivered notifications are kept for 7 days,
or as the history block of the configuration says.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(newHistoryListCommand(), newHistoryShowCommand(), newHistoryRecordCommand())
	return c
}

func newHistoryListCommand() *cobra.Command {
	var state stateFlags
	var filter filterFlags
	var limit int
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List notifications: those that wait, then those that were delivered, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := filter.filter(c, time.Now())
			if err != nil {
				return err
			}
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				all := []operate.Notification{}
				for page := (operate.Page{}); ; {
					list, err := e.Notifications(ctx, f, page)
					if err != nil {
						return err
					}
					all = append(all, list.Notifications...)
					if page.After = list.Next; page.After == "" || limit > 0 && len(all) >= limit {
						break
					}
				}
				if limit > 0 {
					all = all[:min(limit, len(all))]
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), all)
				}
				return writeNotifications(c.OutOrStdout(), all, time.Now())
			})
		},
	}
	state.add(c)
	filter.add(c)
	c.Flags().IntVar(&limit, "limit", 100, "how many are listed at most; 0: all")
	addJSON(c, &asJSON)
	return c
}

func writeNotifications(w io.Writer, all []operate.Notification, now time.Time) error {
	if len(all) == 0 {
		fmt.Fprintln(w, "There are no such notifications.")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "ID\tSTATE\tWHEN\tPIPELINE\tDELIVER\tDESTINATION\tRECORD\tFAILED ATTEMPTS\n")
	for _, n := range all {
		when := n.Polled
		if !n.Delivered.IsZero() {
			when = n.Delivered
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", n.ID, n.State, ago(now, when), n.Pipeline, n.Deliver, n.Destination, n.Record, n.Attempts)
	}
	return t.Flush()
}

func newHistoryShowCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show all of a notification: patients' data",
		Long:  `Shows a notification, and the record that it was mapped from where that is kept. The look is written to the audit log.`,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				n, err := e.Notification(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), n)
				}
				w := terminal{c.OutOrStdout()}
				fmt.Fprintf(w, "pipeline:     %s\ndeliver:      %s\ndestination:  %s\nrecord:       %s %s, version %s, generation %d (%s in logs)\nstate:        %s\n",
					n.Pipeline, n.Deliver, n.Destination, n.Kind, n.RecordID, n.Version, n.Generation, n.Record, n.State)
				for _, x := range n.Tries {
					fmt.Fprintf(w, "attempt:      %s %s\n", x.Time.UTC().Format(time.RFC3339), x.Code)
				}
				if !n.Delivered.IsZero() {
					fmt.Fprintf(w, "delivered:    %s %s\n", n.Delivered.UTC().Format(time.RFC3339), n.Code)
				}
				if len(n.Change) > 0 {
					fmt.Fprintf(w, "\nrecord:\n%s\n", pretty(n.Change))
				}
				fmt.Fprintf(w, "\nnotification:\n%s\n", pretty(n.Body))
				return nil
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

func newHistoryRecordCommand() *cobra.Command {
	var state stateFlags
	var want operate.Record
	var asJSON bool
	c := &cobra.Command{
		Use:   "record NAME | --pipeline PIPELINE --id ID",
		Short: "Tell what happened to a record, and what it is",
		Long: `Tells what happened to a record: when it was polled, mapped and delivered, each attempt with its code and time. The record is named as
logs do (record=…, 16 hexadecimal digits), which this resolves, or by its pipeline and id. The look is written to the audit log.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				want.Name = args[0]
			}
			if err := fromStdin(c, "id", &want.ID); err != nil {
				return err
			}
			if (want.Name == "") == (want.ID == "") || want.ID != "" && want.Pipeline == "" {
				return errors.New("which record? Give its name in logs, or --pipeline and --id")
			}
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				t, err := e.Trace(ctx, want)
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), t)
				}
				return writeTrace(terminal{c.OutOrStdout()}, t)
			})
		},
	}
	state.add(c)
	c.Flags().StringVar(&want.Pipeline, "pipeline", "", "its pipeline")
	c.Flags().StringVar(&want.ID, "id", "", "its id in the EHR; - reads it from the standard input, as ps shows the command line to all users of the machine")
	c.Flags().StringVar(&want.Kind, "kind", "", "its kind, where several have that id")
	addJSON(c, &asJSON)
	return c
}

func writeTrace(w io.Writer, t *operate.TraceContent) error {
	fmt.Fprintf(w, "%s %s of pipeline %s (%s in logs): version %s, changed %d times", t.Record.Kind, t.Record.ID, t.Record.Pipeline, t.Record.Name,
		t.Version, t.Generation)
	if t.Deleted {
		fmt.Fprint(w, ", deleted")
	}
	fmt.Fprintln(w, ".")
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(out, "\nTIME\tWHAT\tGENERATION\tDELIVER\tDESTINATION\tCODE\tTEXT\tID\n")
	for _, e := range t.Events {
		fmt.Fprintf(out, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", e.Time.UTC().Format(time.RFC3339), e.What, e.Generation, e.Deliver, e.Destination, e.Code, e.Text, e.ID)
	}
	return out.Flush()
}

func newReplayCommand() *cobra.Command {
	var state stateFlags
	var filter filterFlags
	var o operate.Replay
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "replay",
		Short: "Deliver notifications again that were delivered",
		Long: `Puts notifications that were delivered into the outbox again, in the order in which they were delivered: to the same destination, or to
another one with --to. They keep their ids, so that a receiver may take them for repetitions; --as-new gives them new ones.

A record may have changed since: what a newer notification superseded, which is not replayed as well, is left out unless --force is
given. How long delivered notifications are kept is what the history block of the configuration says.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !filter.chosen() && !all {
				return errors.New("which ones? Give flags that choose, such as --newer-than 24h, or --all")
			}
			var err error
			if o.Filter, err = filter.filter(c, time.Now()); err != nil {
				return err
			}
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				r, err := e.Replay(ctx, o)
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), r)
				}
				verb := "are"
				if o.DryRun {
					verb = "would be"
				}
				fmt.Fprintf(c.OutOrStdout(), "%d notifications %s in the outbox; %d are left out, as a newer one superseded them.\n", r.Notifications, verb, r.Superseded)
				return nil
			})
		},
	}
	state.add(c)
	filter.add(c)
	c.Flags().BoolVar(&all, "all", false, "all that is kept, where nothing else restricts the choice")
	c.Flags().StringVar(&o.To, "to", "", "destination, as TYPE.NAME; without it the one that each went to")
	c.Flags().BoolVar(&o.AsNew, "as-new", false, "with new ids")
	c.Flags().BoolVar(&o.Force, "force", false, "also what a newer notification superseded")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only tell how many there are")
	addJSON(c, &asJSON)
	return c
}
