// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Rounds-bench measures what Rounds promises of its speed and holds it against the bounds: appointments that wait in a sample EHR,
// beside what somebody would write instead, a bare Go loop and a plain Node.js script, neither of which keeps anything on disk; a slow
// EHR; a steady trickle; a kill; a start; rest; a state that has grown. EHR and receiver are processes of their own and are not measured.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	zoneName = "America/New_York" // of the sample EHR
	parallel = 16                 // calls at a time, of every contender
	seed     = 1
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "rounds-bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 { // this program starts itself in these parts
		switch args[0] {
		case "ehr":
			return serveEHR(ctx, args[1:])
		case "receiver":
			return serveReceiver(ctx)
		case "bare":
			return bare(ctx)
		}
	}
	b := bench{Page: 1000, Trickle: time.Minute, Rest: 10 * time.Second, Settle: 2 * time.Second}
	f := flag.NewFlagSet("rounds-bench", flag.ContinueOnError)
	only := f.String("only", "", "what to measure, separated by commas, of "+strings.Join(modeNames(), ", ")+"; empty: all of it")
	f.IntVar(&b.Appointments, "appointments", 20000, "changed appointments that wait in the EHR")
	f.IntVar(&b.Patients, "patients", 4000, "patients that they belong to")
	f.IntVar(&b.Rounds, "rounds", 3, "repetitions; medians are reported")
	f.IntVar(&b.Rows, "rows", 1_000_000, "rows of the grown state, which is held against one of 10,000")
	f.StringVar(&b.Binary, "binary", "", "the rounds binary; empty: built from this tree")
	asJSON := f.Bool("json", false, "report as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || b.Appointments < 1 || b.Patients < 1 || b.Rounds < 1 || b.Rows < 1 {
		return errors.New("no arguments, and numbers above 0 (see -h)")
	}
	report, err := b.run(ctx, strings.FieldsFunc(*only, func(r rune) bool { return r == ',' }))
	if err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	report.print(os.Stdout)
	return nil
}
