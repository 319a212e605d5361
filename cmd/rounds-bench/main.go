// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Rounds-bench measures Rounds on appointments that wait in a sample EHR, beside what somebody would write instead: a bare
// Go loop and a plain Node.js script, neither of which keeps anything on disk. EHR and receiver are processes of their own
// and are not measured.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/listen"
	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
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
	var b bench
	f := flag.NewFlagSet("rounds-bench", flag.ContinueOnError)
	f.IntVar(&b.Appointments, "appointments", 20000, "changed appointments that wait in the EHR")
	f.IntVar(&b.Patients, "patients", 4000, "patients that they belong to")
	f.IntVar(&b.Page, "page", 0, "appointments per page; 0: all in one answer")
	f.DurationVar(&b.History, "history", 7*24*time.Hour, "how long rounds keeps delivered notifications, with their records; 0: not at all")
	f.IntVar(&b.Rounds, "rounds", 1, "repetitions; medians are reported")
	f.StringVar(&b.Binary, "binary", "", "the rounds binary; empty: built from this tree")
	asJSON := f.Bool("json", false, "report as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || b.Appointments < 1 || b.Patients < 1 || b.Rounds < 1 || b.Page < 0 {
		return errors.New("no arguments, and numbers above 0 (see -h)")
	}
	report, err := b.run(ctx)
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

// load is the EHR's data; the same for the same numbers, but for their times.
func load(appointments, patients int) sampleehr.Options {
	return sampleehr.Options{Seed: seed, Load: sampleehr.Load{Appointments: appointments, Patients: patients}}
}

func serveEHR(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("ehr", flag.ContinueOnError)
	appointments, patients := f.Int("appointments", 0, ""), f.Int("patients", 0, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	ehr, err := sampleehr.New(load(*appointments, *patients))
	if err != nil {
		return err
	}
	var first atomic.Pointer[time.Time]
	control := http.NewServeMux()
	control.Handle("/", ehr.Control())
	control.HandleFunc("POST /begin", func(http.ResponseWriter, *http.Request) { first.Store(nil) })
	control.HandleFunc("GET /begin", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(first.Load()) })
	return serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first.Load() == nil {
			now := time.Now()
			first.CompareAndSwap(nil, &now)
		}
		ehr.ServeHTTP(w, r)
	}), control)
}

func serveReceiver(ctx context.Context) error {
	r, err := receiver.New(receiver.Options{})
	if err != nil {
		return err
	}
	return serve(ctx, r, r.Control())
}

// serve says where it listens, and ends when ctx is done or when its standard input is closed: it does not outlive the bench.
func serve(ctx context.Context, h, control http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.Handle("/_control/", http.StripPrefix("/_control", control))
	s, err := listen.Serve("127.0.0.1:0", mux)
	if err != nil {
		return err
	}
	fmt.Println(s.URL)
	ctx, stop := context.WithCancel(ctx)
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		stop()
	}()
	<-ctx.Done()
	return s.Close()
}
