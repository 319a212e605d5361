// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine"
	"github.com/rounds-engine/rounds/engine/pipeline"
)

func newMapCommand() *cobra.Command {
	var m mapper
	var watching bool
	c := &cobra.Command{
		Use:   "map PIPELINE --record FILE [PATH]",
		Short: "Show what a mapping makes of a record",
		Long: `Takes a record from a file through the filter, the order_by and the mapping of each deliver block of a pipeline, just as the engine
does, and prints what would be sent; or why nothing would, with exit code 1. No EHR is asked and no state is opened. The file holds
{"change": {…}, "fetched": {…}}, and may hold the record before as "previous"; context.now is the change's time, or the begin of the
year 2000 if it has none. Content of the record is shown, also in what a script throws.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := newEngine(slog.New(slog.DiscardHandler), stateFlags{}, 0, nil)
			if err != nil {
				return &failure{err}
			}
			m.pipeline, m.path, m.stdout, m.stderr = args[0], pathOf(args[1:]), c.OutOrStdout(), c.ErrOrStderr()
			return finish(e, func() error {
				if !watching {
					return m.show(c.Context(), e)
				}
				return watch(c.Context(), configFilesOf(m.path), append(m.values.files(), m.record), func() {
					if err := m.show(c.Context(), e); err != nil {
						showError(m.stderr, err)
					}
				})
			})
		},
	}
	m.values.add(c)
	c.Flags().StringVar(&m.record, "record", "", "`FILE` with a record")
	c.Flags().StringVar(&m.deliver, "deliver", "", "`NAME` of the only deliver block to look at")
	c.Flags().BoolVar(&watching, "watch", false, "map again whenever the record, a script or the configuration changes, until Ctrl-C")
	c.Flags().BoolVar(&m.asJSON, "json", false, "print the result as JSON")
	_ = c.MarkFlagRequired("record") // the flag is defined above
	return c
}

// mapper shows what a pipeline's mappings make of a record.
type mapper struct {
	path, pipeline, deliver, record string
	values                          valueFlags
	asJSON                          bool
	stdout, stderr                  io.Writer
}

func (m *mapper) show(ctx context.Context, e *engine.Engine) error {
	cfg, err := load(ctx, e, m.path, m.values, m.stderr)
	if err != nil {
		return err
	}
	trial, err := e.Trial(cfg, m.pipeline, m.deliver)
	if err != nil {
		return err
	}
	defer trial.Close()
	file, err := os.ReadFile(m.record)
	if err != nil {
		return err
	}
	outcomes, err := trial.Map(ctx, file)
	if err != nil {
		return fmt.Errorf("%s: %w", m.record, err)
	}
	if m.asJSON {
		err = m.writeJSON(outcomes)
	} else {
		err = m.write(outcomes)
	}
	for _, o := range outcomes {
		if err == nil && o.Body == nil {
			return &failure{}
		}
	}
	return err
}

func (m *mapper) write(outcomes []pipeline.Outcome) error {
	for _, o := range outcomes {
		if o.Body == nil {
			fmt.Fprintln(m.stderr, strings.Map(forTerminal, whyNot(o)))
			continue
		}
		if len(outcomes) > 1 {
			fmt.Fprintf(m.stderr, "deliver %q:\n", o.Deliver)
		}
		if _, err := m.stdout.Write(pretty(o.Body)); err != nil {
			return err
		}
	}
	return nil
}

// whyNot says why nothing would be sent, with what was thrown: it is told to who has the record.
func whyNot(o pipeline.Outcome) string {
	switch {
	case o.Cause != nil && o.Cause.Detail != "":
		return o.Cause.Text + "\n    " + strings.ReplaceAll(strings.TrimSpace(o.Cause.Detail), "\n", "\n    ")
	case o.Cause != nil:
		return o.Cause.Text
	case o.Unwanted:
		return fmt.Sprintf("deliver %q: filtered out, as its filter does not hold for this record", o.Deliver)
	}
	return fmt.Sprintf("deliver %q: filtered out, as the mapping returned null", o.Deliver)
}

// pretty lays out the JSON of a body.
func pretty(body []byte) []byte {
	var out bytes.Buffer
	_ = json.Indent(&out, body, "", "  ") // the engine made it
	out.WriteByte('\n')
	return out.Bytes()
}

// mapResult is what --json tells of one deliver block.
type mapResult struct {
	Deliver     string          `json:"deliver"`
	Destination string          `json:"destination"`
	Result      string          `json:"result"` // "mapped", "filtered" or "failed"
	Key         string          `json:"ordering_key,omitempty"`
	Body        json.RawMessage `json:"body,omitempty"`
	Why         string          `json:"why,omitempty"` // not mapped
}

func (m *mapper) writeJSON(outcomes []pipeline.Outcome) error {
	results := make([]mapResult, len(outcomes))
	for i, o := range outcomes {
		results[i] = mapResult{o.Deliver, o.Destination, "mapped", o.Key, o.Body, ""}
		if o.Body != nil {
			continue
		}
		results[i] = mapResult{Deliver: o.Deliver, Destination: o.Destination, Result: "filtered", Why: whyNot(o)}
		if o.Cause != nil {
			results[i].Result = "failed"
		}
	}
	out := json.NewEncoder(m.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(results)
}

// showError shows what went wrong where the command goes on.
func showError(stderr io.Writer, err error) {
	var shown *failure
	if !errors.As(err, &shown) && !errors.Is(err, errStopped) {
		fmt.Fprintf(stderr, "Error: %v\n", err)
	}
}
