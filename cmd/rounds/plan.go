// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine"
)

func newPlanCommand() *cobra.Command {
	var values valueFlags
	var state stateFlags
	var attach attachFlags
	var show, asJSON bool
	c := &cobra.Command{
		Use:   "plan [PIPELINE…] [PATH]",
		Short: "Show what pipelines would do now, and do nothing",
		Long: `Polls the EHR once for each pipeline named, or for all, and shows what rounds run would make of it: how many changes are new, seen,
stale, before the start, filtered or dead, the notifications, and the calls to the EHR with a forecast. Nothing is written, delivered
or acknowledged. Notifications are masked: each value is replaced by its type and length, unless --show is given. PATH is a .hcl file
or a directory of them (default: the working directory); the last argument is taken for it if there is such a file or directory.

The state is read to know what was seen; the engine must not be running on it. Feeds that a reading empties are read without that where they can be, and else refused.`,
		RunE: func(c *cobra.Command, args []string) error {
			log, err := (&logFlags{level: "warn", format: "text"}).logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			e, err := newEngine(log.With("plan", true), state, 0, attach)
			if err != nil {
				return &failure{err}
			}
			return finish(e, func() error {
				names, path := planArgs(args)
				cfg, err := load(c.Context(), e, path, values, c.ErrOrStderr())
				if err != nil {
					return err
				}
				plan, err := e.Plan(c.Context(), cfg, engine.PlanOptions{Pipelines: names, Show: show})
				if err != nil {
					return err
				}
				if err := writePlan(c.OutOrStdout(), plan, asJSON); err != nil {
					return err
				}
				if plan.Failed() {
					return &failure{}
				}
				return nil
			})
		},
	}
	values.add(c)
	state.add(c)
	attach.add(c)
	c.Flags().BoolVar(&show, "show", false, "show what the notifications hold: patients' data")
	c.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return c
}

// planArgs tells names of pipelines from the path.
func planArgs(args []string) (names []string, path string) {
	if len(args) == 0 {
		return nil, "."
	}
	last := args[len(args)-1]
	_, err := os.Stat(last)
	if err == nil || strings.ContainsRune(last, filepath.Separator) || filepath.Ext(last) == ".hcl" {
		return args[:len(args)-1], last
	}
	return args, "."
}

// writePlan writes to memory first: what is shown of a plan is all of it.
func writePlan(w io.Writer, plan *engine.Plan, asJSON bool) error {
	var out bytes.Buffer
	if asJSON {
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(plan); err != nil {
			return fmt.Errorf("the plan has no JSON form (%T)", err)
		}
		_, err := w.Write(out.Bytes())
		return err
	}
	planText(&out, plan)
	_, err := w.Write(bytes.Map(forTerminal, out.Bytes()))
	return err
}

// forTerminal replaces what would steer a terminal: what is shown comes from an EHR.
func forTerminal(r rune) rune {
	if unicode.IsControl(r) && r != '\n' {
		return unicode.ReplacementChar
	}
	return r
}

// terminal writes what forTerminal leaves.
type terminal struct{ io.Writer }

func (t terminal) Write(text []byte) (int, error) {
	if _, err := t.Writer.Write(bytes.Map(forTerminal, text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// planShown is how many notifications of a pipeline the screen shows.
const planShown = 10

func planText(out *bytes.Buffer, plan *engine.Plan) {
	if plan.StateExists {
		fmt.Fprintf(out, "What was seen is read from the state in %s. Nothing was written, delivered or acknowledged.\n", plan.StateDir)
	} else {
		fmt.Fprintf(out, "There is no state in %s, so nothing counts as seen. Nothing was written, delivered or acknowledged.\n", plan.StateDir)
	}
	for i := range plan.Pipelines {
		planPipeline(out, &plan.Pipelines[i])
	}
	for _, s := range plan.Sources {
		fmt.Fprintf(out, "\nSource %s: %d calls at most; if each poll is like this one, at most %d an hour and %d a day.\n",
			s.ID, s.Calls.Sum(), s.Forecast.PerHour, s.Forecast.PerDay)
		switch {
		case s.OverLimit:
			fmt.Fprintf(out, "  WARNING: its limits allow %s: polls would have to wait.\n", allowed(s.Allowed))
		case s.Allowed.PerDay > 0:
			fmt.Fprintf(out, "  Its limits allow %s.\n", allowed(s.Allowed))
		}
		if s.SavedState {
			out.WriteString("  WARNING: its adapter saved something, and a plan keeps nothing. If that was a rotated token, the next run may have to be\n" +
				"  given new credentials.\n")
		}
	}
}

func allowed(a engine.Forecast) string {
	if a.PerHour == 0 {
		return fmt.Sprintf("%d a day", a.PerDay)
	}
	return fmt.Sprintf("%d an hour and %d a day", a.PerHour, a.PerDay)
}

func planPipeline(out *bytes.Buffer, p *engine.PipelinePlan) {
	fmt.Fprintf(out, "\nPipeline %s: feed %s of %s, every %s\n", p.Name, p.Feed, p.Source, p.Every)
	fmt.Fprintf(out, "  changes        %d on %d pages\n", p.Changes, p.Pages)
	if p.Expanded > 0 {
		fmt.Fprintf(out, "  expanded       %d, with %d children\n", p.Expanded, p.Children)
	}
	fmt.Fprintf(out, "  new            %d\n  seen           %d\n  stale          %d\n  before start   %d\n", p.New, p.Seen, p.Stale, p.BeforeStart)
	if p.Deleted > 0 {
		fmt.Fprintf(out, "  deleted        %d of the new\n", p.Deleted)
	}
	fmt.Fprintf(out, "  filtered       %d\n", p.Filtered)
	if p.Skipped > 0 {
		fmt.Fprintf(out, "  skipped        %d\n", p.Skipped)
	}
	fmt.Fprintf(out, "  dead letters   %d\n", p.Dead)
	if len(p.DeadLetters) > 0 {
		first := &p.DeadLetters[0]
		fmt.Fprintf(out, "                 the first: %s (%s)\n", first.Text, first.Code)
		if first.Detail != "" {
			fmt.Fprintf(out, "                 %s\n", strings.ReplaceAll(first.Detail, "\n", "\n                 "))
		}
	}
	fmt.Fprintf(out, "  notifications  %d\n", p.Mapped)
	fmt.Fprintf(out, "  calls          %d to poll, %d at most to fetch; if each poll is like this one, at most %d an hour and %d a day\n",
		p.Calls.Poll, p.Calls.Fetch, p.Forecast.PerHour, p.Forecast.PerDay)
	for _, r := range p.Remarks {
		fmt.Fprintf(out, "  the adapter remarks: %s\n", r)
	}
	if !p.Complete {
		fmt.Fprintf(out, "  FAILED: %s\n", p.Error)
	}
	for i, n := range p.Notifications[:min(planShown, len(p.Notifications))] {
		fmt.Fprintf(out, "\n  %d. deliver %q to %s: %s, generation %d", i+1, n.Deliver, n.Destination, n.Kind, n.Generation)
		if n.Record != "" {
			fmt.Fprintf(out, ", record=%s", n.Record)
		}
		if n.ID != "" {
			fmt.Fprintf(out, ", id %q, ordering key %q, webhook-id %s", n.RecordID, n.Key, n.ID)
		}
		var body bytes.Buffer
		if json.Indent(&body, n.Body, "     ", "  ") != nil {
			body.Reset()
			body.Write(n.Body)
		}
		fmt.Fprintf(out, "\n     %s\n", body.Bytes())
	}
	if more := p.Mapped - planShown; more > 0 {
		fmt.Fprintf(out, "\n  … and %d more; --json shows the first thousand\n", more)
	}
}
