// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/operate"
)

func newStatusCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how pipelines, sources and destinations are",
		Long: `Shows of the engine that runs on a state: what each pipeline does, when it was last read to its end and why it is not, which sources
are open, what waits for each destination and since when. Without a running engine it shows what the state tells.

The exit code is 3 when something wants a person: a pipeline that fails, has a gap or is paused, a destination that is paused, backs
off or holds lanes, dead letters, an adapter that is attached to be debugged, or something in the state that the configuration no longer
names.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				st, err := e.Status(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					err = writeJSON(c.OutOrStdout(), st)
				} else {
					err = writeStatus(c.OutOrStdout(), st, time.Now())
				}
				if err == nil && wanting(st) {
					return errWanting
				}
				return err
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

func addJSON(c *cobra.Command, asJSON *bool) {
	c.Flags().BoolVar(asJSON, "json", false, "print the result as JSON")
}

// say tells what was done: as JSON, or in words.
func say(c *cobra.Command, asJSON bool, v any, format string, args ...any) error {
	if asJSON {
		return writeJSON(c.OutOrStdout(), v)
	}
	fmt.Fprintf(c.OutOrStdout(), format, args...)
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// wanting says whether something wants a person.
func wanting(st *operate.Status) bool {
	for _, p := range st.Pipelines {
		switch p.State {
		case "failing", "gap", "paused", "orphan":
			return true
		}
		if p.DeadLetters > 0 || p.Failures > 0 {
			return true
		}
	}
	for _, d := range st.Destinations {
		switch d.State {
		case "backing_off", "paused", "orphan":
			return true
		}
		if d.Held > 0 {
			return true
		}
	}
	return st.Reload != nil && st.Reload.Error != "" || len(st.Attached) > 0
}

func writeStatus(w io.Writer, st *operate.Status, now time.Time) error {
	if st.Running {
		fmt.Fprintf(w, "rounds %s runs since %s (pid %d).\n", st.Version, st.Started.UTC().Format(time.RFC3339), st.PID)
	}
	if st.Reload != nil && st.Reload.Error != "" {
		fmt.Fprintf(w, "The configuration was read again at %s and changes nothing:\n%s\n", st.Reload.Time.UTC().Format(time.RFC3339), indent(st.Reload.Error))
	}
	for _, a := range st.Attached {
		fmt.Fprintf(w, "WARNING: the adapter %s is attached to be debugged, at %s. A debugger reads what it is given, secrets and records.\n", a.Adapter, a.Address)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\nPIPELINE\tSTATE\tLAST POLL\tNEXT POLL\tDEAD\tWHY\n")
	for _, p := range st.Pipelines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", p.Name, p.State, ago(now, p.LastPoll), in(now, p.NextPoll), p.DeadLetters, p.Why)
	}
	fmt.Fprint(t, "\nSOURCE\tSTATE\tADAPTER\tWHY\n")
	for _, s := range st.Sources {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Name, s.State, s.Adapter, s.Why)
	}
	fmt.Fprint(t, "\nDESTINATION\tSTATE\tWAITING\tOLDEST\tHELD LANES\tDELIVERED\tWHY\n")
	for _, d := range st.Destinations {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d\t%d\t%s\n", d.Name, d.State, d.Waiting, ago(now, d.Oldest), d.Held, d.Delivered, d.Why)
	}
	return t.Flush()
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// ago and in are how long an instant is away, for a person.
func ago(now, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return span(now.Sub(at)) + " ago"
}

func in(now, at time.Time) string {
	switch {
	case at.IsZero():
		return "-"
	case !at.After(now):
		return "now"
	}
	return "in " + span(at.Sub(now))
}

func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
