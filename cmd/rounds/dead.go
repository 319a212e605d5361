// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/operate"
)

// filterFlags choose dead letters or notifications.
type filterFlags struct {
	pipeline, destination, code, record string
	older, newer                        time.Duration
	since, until                        string
}

func (f *filterFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.pipeline, "pipeline", "", "only of this pipeline")
	c.Flags().StringVar(&f.destination, "destination", "", "only for this destination, as TYPE.NAME")
	c.Flags().StringVar(&f.record, "record", "", "only of the record with this name in logs, or with --pipeline this id; - reads it from the standard input")
	c.Flags().StringVar(&f.since, "since", "", "only from this instant on (RFC 3339)")
	c.Flags().StringVar(&f.until, "until", "", "only before this instant (RFC 3339)")
	c.Flags().DurationVar(&f.older, "older-than", 0, "only what is older, such as 24h")
	c.Flags().DurationVar(&f.newer, "newer-than", 0, "only what is newer, such as 1h")
}

func (f *filterFlags) filter(c *cobra.Command, now time.Time) (operate.Filter, error) {
	if err := fromStdin(c, "record", &f.record); err != nil {
		return operate.Filter{}, err
	}
	out := operate.Filter{Pipeline: f.pipeline, Destination: f.destination, Code: f.code, Record: f.record}
	for _, x := range []struct {
		flag, text string
		into       *time.Time
	}{{"since", f.since, &out.From}, {"until", f.until, &out.To}} {
		if x.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, x.text)
		if err != nil {
			return out, fmt.Errorf("--%s %q: must be an instant such as 2026-05-10T10:00:00Z", x.flag, x.text)
		}
		*x.into = at
	}
	if f.older > 0 && (out.To.IsZero() || now.Add(-f.older).Before(out.To)) {
		out.To = now.Add(-f.older)
	}
	if f.newer > 0 && now.Add(-f.newer).After(out.From) {
		out.From = now.Add(-f.newer)
	}
	return out, nil
}

// fromStdin reads the value of a flag from the standard input if it is "-": the command line is shown to all users of the machine by ps,
// and kept by the shell.
func fromStdin(c *cobra.Command, flag string, value *string) error {
	if *value != "-" {
		return nil
	}
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(c.InOrStdin(), most))
	if *value = strings.TrimSpace(string(text)); err != nil || *value == "" || len(text) == most {
		return fmt.Errorf("--%s -: the standard input has to hold the value, and nothing else", flag)
	}
	return nil
}

// chosen says that something restricts the choice.
func (f *filterFlags) chosen() bool { return *f != filterFlags{} }

func newDeadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead",
		Short: "List, show, retry or discard dead letters",
		Long:  `Dead letters are changes and notifications that can't succeed without a person. They are kept until a person retries or discards them.`,
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newDeadListCommand(), newDeadShowCommand(), newDeadRetryCommand(), newDeadDiscardCommand())
	return c
}

func newDeadListCommand() *cobra.Command {
	var state stateFlags
	var filter filterFlags
	var limit int
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first, without what they hold",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := filter.filter(c, time.Now())
			if err != nil {
				return err
			}
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				all := []operate.DeadLetter{}
				err := eachDead(ctx, e, f, limit, func(d operate.DeadLetter) error {
					all = append(all, d)
					return nil
				})
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), all)
				}
				return writeDead(c.OutOrStdout(), all, time.Now())
			})
		},
	}
	state.add(c)
	filter.add(c)
	c.Flags().StringVar(&filter.code, "cause", "", "only with this code of the cause, such as script or http_422")
	c.Flags().IntVar(&limit, "limit", 1000, "how many are listed at most; 0: all")
	addJSON(c, &asJSON)
	return c
}

func writeDead(w io.Writer, all []operate.DeadLetter, now time.Time) error {
	if len(all) == 0 {
		fmt.Fprintln(w, "There are no dead letters.")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "ID\tAGE\tPIPELINE\tDELIVER\tRECORD\tCAUSE\tTEXT\n")
	for _, d := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, span(now.Sub(d.Time)), d.Pipeline, d.Deliver, d.Record, d.Code, d.Text)
	}
	return t.Flush()
}

// eachDead goes through dead letters, limit at most unless it is 0.
func eachDead(ctx context.Context, e operate.Engine, f operate.Filter, limit int, do func(operate.DeadLetter) error) error {
	var page operate.Page
	for n := 0; ; {
		list, err := e.Dead(ctx, f, page)
		if err != nil {
			return err
		}
		for _, d := range list.DeadLetters {
			if n++; limit > 0 && n > limit {
				return nil
			}
			if err := do(d); err != nil {
				return err
			}
		}
		if page.After = list.Next; page.After == "" {
			return nil
		}
	}
}

func newDeadShowCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show all of a dead letter: patients' data",
		Long:  `Shows a dead letter with the record, what the script threw or the receiver answered. The look is written to the audit log.`,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				d, err := e.DeadLetter(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), d)
				}
				w := terminal{c.OutOrStdout()}
				fmt.Fprintf(w, "pipeline:    %s\ndeliver:     %s\nrecord:      %s %s, version %s, generation %d (%s in logs)\nfailed:      %s, in %s, after %d attempts\n"+
					"cause:       %s: %s\n", d.Pipeline, d.Deliver, d.Kind, d.RecordID, d.Version, d.Generation, d.Record, d.Time.UTC().Format(time.RFC3339), d.Stage,
					d.Attempts, d.Code, d.Text)
				if d.Detail != "" {
					fmt.Fprintf(w, "detail:      %s\n", d.Detail)
				}
				if d.Superseded {
					fmt.Fprintln(w, "The record has changed since: a retry needs --force.")
				}
				for _, x := range []struct {
					what string
					data json.RawMessage
				}{{"record", d.Change}, {"record before", d.Previous}, {"notification", d.Body}} {
					if len(x.data) > 0 {
						fmt.Fprintf(w, "\n%s:\n%s\n", x.what, pretty(x.data))
					}
				}
				return nil
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

// handled says what became of dead letters.
type handled struct {
	Retried       int               `json:"retried"`
	Notifications int               `json:"notifications"`
	Filtered      int               `json:"filtered"`
	Discarded     int               `json:"discarded"`
	Failed        map[string]string `json:"failed"` // by id: why it stays
}

// someDead are the flags of commands that work on one dead letter, or on all that are chosen.
type someDead struct {
	state  stateFlags
	filter filterFlags
	all    bool
	asJSON bool
}

func (s *someDead) add(c *cobra.Command) {
	s.state.add(c)
	s.filter.add(c)
	c.Flags().StringVar(&s.filter.code, "cause", "", "only with this code of the cause, such as script or http_422")
	c.Flags().BoolVar(&s.all, "all", false, "all dead letters, where nothing else restricts the choice")
	addJSON(c, &s.asJSON)
}

// run does something to each that is chosen. One that fails stays, and the others go on.
func (s *someDead) run(c *cobra.Command, ids []string, from *configuration, do func(ctx context.Context, e operate.Engine, id string, h *handled) error) error {
	if len(ids) == 0 && !s.all && !s.filter.chosen() {
		return errors.New("which ones? Give ids, or flags that choose, or --all")
	}
	if len(ids) > 0 && (s.all || s.filter.chosen()) {
		return errors.New("give ids, or flags that choose, not both")
	}
	f, err := s.filter.filter(c, time.Now())
	if err != nil {
		return err
	}
	if now := time.Now(); f.To.IsZero() || f.To.After(now) {
		f.To = now // what comes to nothing again meanwhile is not taken up again
	}
	return operating(c, s.state, from, func(ctx context.Context, e operate.Engine) error {
		h := &handled{Failed: map[string]string{}}
		each := func(id string) error {
			err := do(ctx, e, id, h)
			if errors.Is(err, operate.ErrNotRunning) || ctx.Err() != nil {
				return err
			}
			if err != nil {
				h.Failed[id] = err.Error()
			}
			return nil
		}
		var failure error
		if len(ids) == 0 {
			failure = eachDead(ctx, e, f, 0, func(d operate.DeadLetter) error { return each(d.ID) })
		}
		for _, id := range ids {
			if failure = each(id); failure != nil {
				break
			}
		}
		if err := s.tell(c.OutOrStdout(), h); err != nil {
			return err
		}
		if failure == nil && len(h.Failed) > 0 {
			failure = fmt.Errorf("%d dead letters stay", len(h.Failed))
		}
		return failure
	})
}

func (s *someDead) tell(w io.Writer, h *handled) error {
	if s.asJSON {
		return writeJSON(w, h)
	}
	if h.Retried > 0 {
		fmt.Fprintf(w, "%d retried: %d notifications are in the outbox, %d are filtered now.\n", h.Retried, h.Notifications, h.Filtered)
	}
	if h.Discarded > 0 {
		fmt.Fprintf(w, "%d discarded.\n", h.Discarded)
	}
	if h.Retried+h.Discarded+len(h.Failed) == 0 {
		fmt.Fprintln(w, "There are none.")
	}
	for _, id := range slices.Sorted(maps.Keys(h.Failed)) {
		fmt.Fprintf(w, "%s stays: %s\n", id, h.Failed[id])
	}
	return nil
}

func newDeadRetryCommand() *cobra.Command {
	var some someDead
	var from configuration
	var force bool
	c := &cobra.Command{
		Use:   "retry [ID…]",
		Short: "Give dead letters another way, mapped by today's script",
		Long: `Gives dead letters another way. What failed to be fetched is fetched again; what was fetched is mapped again, by the mapping that is
in use now; a notification whose record was not kept is sent as it was. One that fails again stays. They go to the ends of their lanes.

A record may have changed since. What a newer generation superseded would be delivered after it, and stays unless --force is given.`,
		RunE: func(c *cobra.Command, args []string) error {
			return some.run(c, args, &from, func(ctx context.Context, e operate.Engine, id string, h *handled) error {
				r, err := e.Retry(ctx, id, force)
				if err != nil {
					return err
				}
				h.Retried++
				h.Notifications += r.Notifications
				if r.Filtered {
					h.Filtered++
				}
				return nil
			})
		},
	}
	some.add(c)
	from.add(c)
	c.Flags().BoolVar(&force, "force", false, "also what a newer generation superseded")
	return c
}

func newDeadDiscardCommand() *cobra.Command {
	var some someDead
	c := &cobra.Command{
		Use:   "discard [ID…]",
		Short: "Remove dead letters for good",
		Long:  `Removes dead letters for good. Their records are delivered again when they next change in the EHR. Each is written to the audit log.`,
		RunE: func(c *cobra.Command, args []string) error {
			return some.run(c, args, nil, func(ctx context.Context, e operate.Engine, id string, h *handled) error {
				if err := e.Discard(ctx, id); err != nil {
					return err
				}
				h.Discarded++
				return nil
			})
		},
	}
	some.add(c)
	return c
}
