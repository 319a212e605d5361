// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine"
)

func newCheckCommand() *cobra.Command {
	var state stateFlags
	var values valueFlags
	var attach attachFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "check [PATH]",
		Short: "Test everything that can be tested before a run, and consume nothing",
		Long: `Tests what rounds run needs: the configuration (as rounds validate does) with the hashes of its adapters, each source by asking each
feed that a pipeline polls for one page, the EHR's clock, each destination by reaching it, and the room for the state. Nothing is
written or delivered, and queues are read without taking anything away, or not at all. PATH is a .hcl file or a directory of them (default: the
working directory).

The exit code is 3 when something was found.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			log, err := (&logFlags{level: "error", format: "text"}).logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			e, err := newEngine(log, state, 0, attach)
			if err != nil {
				return &failure{err}
			}
			return finish(e, func() error {
				cfg, err := load(c.Context(), e, pathOf(args), values, c.ErrOrStderr())
				if err != nil {
					return err
				}
				found := e.Check(c.Context(), cfg)
				if asJSON {
					err = writeJSON(c.OutOrStdout(), found)
				} else {
					err = writeFindings(c.OutOrStdout(), found)
				}
				if err == nil && slices.ContainsFunc(found, func(f engine.Finding) bool { return !f.OK }) {
					return errWanting
				}
				return err
			})
		},
	}
	state.add(c)
	values.add(c)
	attach.add(c)
	addJSON(c, &asJSON)
	return c
}

func writeFindings(w io.Writer, found []engine.Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range found {
		mark := "ok"
		if !f.OK {
			mark = "WRONG"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", mark, f.Subject, f.What, f.Text)
	}
	return t.Flush()
}
