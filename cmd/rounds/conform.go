// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine"
	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

func newAdapterTestCommand() *cobra.Command {
	var values valueFlags
	var path, source, start string
	var asJSON, consume bool
	c := &cobra.Command{
		Use:   "test NAME|PATH --config FILE",
		Short: "Test whether an adapter keeps to the contract, by the conformance kit",
		Long: `Starts an adapter, bundled (a name) or a program in any language (a path), as rounds run does, and tests by its answers whether it keeps
to the contract of docs/adapters.md. --config names a .hcl file, or a directory of them, with a source of the adapter; a program takes
the place of the one that the adapter block of its name gives. Only feeds that pipelines poll are read, if any does, and what their fetch blocks would fetch for
the changes is fetched.

Between the adapter and its EHR stands the kit, on an address of this machine that takes the place of each http or https URL in the
source block. So it can answer as an EHR does on a bad day. What can't be tested is said, with the reason.

The EHR has to be one for tests, whose data stand still. It is asked some hundreds of times. Nothing is delivered. What queues hold is
taken away with --consume only. The report holds no record content and no secrets.

The exit code is 1 when a rule failed. Rules: ` + rules() + `.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: bundledNames(),
		RunE: func(c *cobra.Command, args []string) error {
			var from time.Time
			if start != "" {
				var err error
				if from, err = time.Parse(time.RFC3339, start); err != nil {
					return fmt.Errorf("--start has to be an instant as 2022-05-10T10:00:00Z")
				}
			}
			e, err := newEngine(slog.New(slog.DiscardHandler), stateFlags{}, 0, attachFlags{})
			if err != nil {
				return &failure{err}
			}
			return finish(e, func() error {
				cfg, s, err := underTest(c, e, args[0], path, source, values)
				if err != nil {
					return err
				}
				report := e.Conform(c.Context(), cfg, s, from, consume)
				if c.Context().Err() != nil {
					return errStopped
				}
				hide(report, cfg.Secrets)
				if asJSON {
					err = writeJSON(c.OutOrStdout(), report)
				} else {
					err = writeReport(c.OutOrStdout(), report)
				}
				if err == nil && report.Failed() {
					return &failure{}
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&path, "config", "", "a .hcl `FILE` or a directory of them with a source of the adapter")
	c.Flags().StringVar(&source, "source", "", "the `NAME` of the source, where the configuration has several of the adapter")
	c.Flags().StringVar(&start, "start", "", "`INSTANT` that windows begin at; without it the beginning of all records")
	c.Flags().BoolVar(&consume, "consume", false, "take from queues: what they hold is read and acknowledged")
	values.add(c)
	addJSON(c, &asJSON)
	_ = c.MarkFlagRequired("config") // the flag is defined above
	return c
}

// rules are the names of all rules.
func rules() string {
	var names []string
	for _, r := range sdktest.Rules() {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

// underTest finds the source to test an adapter with. A program takes the place of the one that the configuration names for its adapter.
func underTest(c *cobra.Command, e *engine.Engine, adapter, path, source string, values valueFlags) (*config.Config, config.Source, error) {
	read := e.Load
	if bundled[adapter] == nil {
		program, err := filepath.Abs(adapter)
		if err != nil {
			return nil, config.Source{}, err
		}
		d, err := e.Describe(c.Context(), adapter)
		if err != nil {
			return nil, config.Source{}, err
		}
		read = func(ctx context.Context, path string, values ...config.Value) (*config.Config, config.Files, hcl.Diagnostics) {
			return e.LoadWith(ctx, path, d.Info.Name, program, values...)
		}
	}
	cfg, err := loadBy(c.Context(), read, path, values, c.ErrOrStderr())
	if err != nil {
		return nil, config.Source{}, err
	}
	s, err := sourceOf(cfg, adapter, source)
	return cfg, s, err
}

// hide keeps what secret() and sensitive variables gave out of a report, wherever it was used.
func hide(report *sdktest.Report, secrets []string) {
	for i := range report.Rules {
		o := &report.Rules[i]
		for _, s := range secrets {
			if len(s) < 4 { // as the engine: it would hide nothing, and riddle the report
				continue
			}
			o.Reason = strings.ReplaceAll(o.Reason, s, "[secret]")
			for n := range o.Seen {
				o.Seen[n] = strings.ReplaceAll(o.Seen[n], s, "[secret]")
			}
		}
	}
}

var marks = map[sdktest.State]string{
	sdktest.Passed: "ok", sdktest.Failed: "FAILED", sdktest.Unchecked: "not checked", sdktest.Inapplicable: "-",
}

// writeReport shows a line for each rule, and below it what a person should know.
func writeReport(w io.Writer, report *sdktest.Report) error {
	fmt.Fprintf(w, "%s %s\n\n", report.Adapter, report.Version)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	count := map[sdktest.State]int{}
	said := "" // of several rules in a row that can't be checked for one reason, the first says it
	for _, o := range report.Rules {
		count[o.State]++
		fmt.Fprintf(t, "%s\t%s\t%s\n", marks[o.State], o.Rule, o.Promise)
		for _, seen := range o.Seen {
			fmt.Fprintf(t, "\t\t  %s\n", seen)
		}
		if o.Advice != "" {
			fmt.Fprintf(t, "\t\t  What to do: %s.\n", o.Advice)
		}
		switch {
		case o.Reason == "" || o.Reason == said:
		case o.State == sdktest.Inapplicable:
			fmt.Fprintf(t, "\t\t  does not apply: %s\n", o.Reason)
		default:
			fmt.Fprintf(t, "\t\t  not checked: %s\n", o.Reason)
		}
		said = o.Reason
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d not checked, %d do not apply", count[sdktest.Passed], count[sdktest.Failed],
		count[sdktest.Unchecked], count[sdktest.Inapplicable])
	for _, f := range report.Facts {
		fmt.Fprintf(w, "; %s: %s", f.Name, f.Value)
	}
	_, err := fmt.Fprintln(w)
	return err
}
