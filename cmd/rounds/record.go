// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/record"
)

func newRecordCommand() *cobra.Command {
	var values valueFlags
	var attach attachFlags
	var dir string
	var n int
	var since time.Duration
	c := &cobra.Command{
		Use:   "record PIPELINE --to DIR [PATH]",
		Short: "Capture records of a live EHR, made unrecognisable, to test mappings with",
		Long: `Polls the source of a pipeline once, fetches the details of what changed lately, and writes the records into files for "rounds map"
and "rounds test". No state is opened, nothing is delivered, and nothing is acknowledged to the EHR. Names, dates, identifiers, addresses,
phone numbers, e-mail addresses and free text are replaced, the same by the same throughout one run; codes, small numbers and times of a day
stay. That goes by the names of members and by what values look like, and can't be right for every EHR: a person must look at each file
before it is shared or committed. The files can be read by their owner only.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if n < 1 || n > 1000 {
				return errors.New("--n has to be between 1 and 1000")
			}
			if since <= 0 {
				return errors.New("--since has to be above 0")
			}
			e, err := newEngine(slog.New(slog.DiscardHandler), stateFlags{}, 0, attach)
			if err != nil {
				return &failure{err}
			}
			return finish(e, func() error {
				cfg, err := load(c.Context(), e, pathOf(args[1:]), values, c.ErrOrStderr())
				if err != nil {
					return err
				}
				if err := vacant(dir, n); err != nil { // before an EHR is asked in vain
					return err
				}
				got, err := e.Record(c.Context(), cfg, args[0], n, time.Now().Add(-since))
				if len(got.Records) > 0 {
					if err := writeRecords(dir, got.Records); err != nil {
						return err
					}
					fmt.Fprintf(c.OutOrStdout(), "%d records are in %s. What may tell whose they are was replaced, by rules that can't know every field of "+
						"every EHR:\na person must look at each file before it is shared or committed.\n", len(got.Records), dir)
				}
				if got.Failed > 0 {
					fmt.Fprintf(c.ErrOrStderr(), "%d changes could not be read or fetched; rounds plan says why.\n", got.Failed)
				}
				if got.SavedState {
					fmt.Fprintln(c.ErrOrStderr(), "The adapter saved something, such as a new refresh token, which is lost: the source may want new credentials.")
				}
				switch {
				case err != nil:
					return err
				case len(got.Records) == 0:
					return fmt.Errorf("the source listed no records that changed in the last %v; --since 720h would look further back", since)
				}
				return nil
			})
		},
	}
	values.add(c)
	attach.add(c)
	c.Flags().IntVar(&n, "n", 20, "how many records at most")
	c.Flags().StringVar(&dir, "to", "", "`DIR` that the files are written to; made when missing")
	c.Flags().DurationVar(&since, "since", 7*24*time.Hour, "how far back to look for changes")
	_ = c.MarkFlagRequired("to") // the flag is defined above
	return c
}

func recordFile(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("%03d%s", i+1, recordSuffix))
}

// vacant says whether there is room for n records: none is overwritten.
func vacant(dir string, n int) error {
	for i := range n {
		if _, err := os.Lstat(recordFile(dir, i)); err == nil {
			return fmt.Errorf("%s is there already, and would be overwritten: choose another directory", recordFile(dir, i))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func writeRecords(dir string, records []*record.Record) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for i, r := range records {
		data, err := r.Marshal()
		if err != nil {
			return err
		}
		if err := create(recordFile(dir, i), pretty(data), 0o600); err != nil {
			return err
		}
	}
	return nil
}
