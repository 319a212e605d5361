// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/cmd/internal/listen"
	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/examples"
)

type demo struct {
	For    time.Duration
	Rate   float64
	Faults string
	Serve  bool
}

func newDemoCommand() *cobra.Command {
	var d demo
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show Rounds at work on a sample EHR",
		Long: `Starts a sample EHR (synthetic data) whose appointments keep changing, and a receiver of notifications, both on loopback
ports; runs the quickstart between them through a real adapter process; and shows what is polled, fetched, mapped and delivered.
It leaves nothing behind.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return d.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr()) },
	}
	c.Flags().DurationVar(&d.For, "for", 20*time.Second, "how long changes are made; 0: until Ctrl-C")
	c.Flags().Float64Var(&d.Rate, "rate", 1, "changes per second")
	c.Flags().StringVar(&d.Faults, "faults", "", "let the EHR misbehave: any of "+sampleehr.FaultNames)
	c.Flags().BoolVar(&d.Serve, "serve", false, "only the sample EHR on 127.0.0.1:4010 and the receiver on :4011, until Ctrl-C: run Rounds yourself")
	return c
}

// run shows the demo until its time is over or ctx is done.
func (d *demo) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	faults, err := sampleehr.ParseFaults(d.Faults)
	if err != nil {
		return fmt.Errorf("--faults: %w", err)
	}
	if d.Rate <= 0 || d.For < 0 {
		return errors.New("--rate must be above 0, --for not under 0")
	}
	shown := newScreen(stdout, isTerminal(stdout))
	shown.serving = d.Serve
	o := sampleehr.Options{OnChange: shown.onChange, OnRequest: shown.onRequest}
	if faults.Drift > 0 {
		o.PageSize = 4 // pages must end for anything to shift between them
	}
	ehr, err := sampleehr.New(o)
	if err != nil {
		return &failure{err}
	}
	ehr.SetFaults(faults)
	shown.zone, shown.name = ehr.Zone(), func(id string) string { return fullName(ehr.Patient(id).Name) }
	taker, err := receiver.New(receiver.Options{OnReceive: shown.onReceive})
	if err != nil {
		return &failure{err}
	}
	ehrAddr, takerAddr := "127.0.0.1:0", "127.0.0.1:0"
	if d.Serve {
		ehrAddr, takerAddr = "127.0.0.1:4010", "127.0.0.1:4011"
	}
	ehrServer, err := listen.Serve(ehrAddr, ehr)
	if err != nil {
		return &failure{err}
	}
	defer func() { err = errors.Join(err, ehrServer.Close()) }()
	takerServer, err := listen.Serve(takerAddr, taker)
	if err != nil {
		return &failure{err}
	}
	defer func() { err = errors.Join(err, takerServer.Close()) }()

	if d.Serve {
		fmt.Fprintf(stdout, "  The sample EHR is at %s, the receiver at %s, until Ctrl-C. In another terminal:\n\n"+
			"    EHR_URL=%[1]s NOTIFY_URL=%[2]s rounds run examples/quickstart\n\n", ehrServer.URL, takerServer.URL)
		if err := ehr.Run(ctx, d.Rate); err != nil {
			return &failure{err}
		}
		return nil
	}
	fmt.Fprintf(stdout, intro, d.Rate)
	began := time.Now()
	err = d.between(ctx, ehr, shown, ehrServer.URL, takerServer.URL, stderr)
	if err != nil {
		return err
	}
	shown.summary(time.Since(began))
	return nil
}

const intro = `
  Rounds turns an EHR that has an API to ask, and no messages to send, into one that sends messages. Here:
    change   a sample EHR (synthetic patients) changes about %v appointments a second, and tells nobody;
    poll     Rounds asks it every 2 s what changed since it last asked, through an adapter process of its own;
    fetch    it asks for the patient of each changed appointment, and
    map      makes a notification of both with appointment.js, kept on disk until
    deliver  the receiver has accepted it: one for each changed appointment.

`

// between runs the quickstart between the EHR and the receiver, in a directory that is removed at the end.
func (d *demo) between(ctx context.Context, ehr *sampleehr.EHR, shown *screen, ehrURL, takerURL string, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "rounds-demo-")
	if err != nil {
		return &failure{err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	config := filepath.Join(dir, "quickstart")
	quickstart, err := fs.Sub(examples.Files, "quickstart")
	if err != nil {
		return &failure{err}
	}
	if err := os.CopyFS(config, quickstart); err != nil {
		return &failure{err}
	}
	if ehr.Faults().Drift > 0 {
		if err := followPages(filepath.Join(config, "rounds.hcl")); err != nil {
			return &failure{err}
		}
	}
	for name, value := range map[string]string{"EHR_URL": ehrURL, "NOTIFY_URL": takerURL} {
		if err := os.Setenv(name, value); err != nil { // what the quickstart reads; this process is the demo's alone
			return &failure{err}
		}
	}
	e, err := newEngine(slog.New(demoLog{screen: shown}), stateFlags{dir: filepath.Join(dir, "state")}, 2*time.Second, nil)
	if err != nil {
		return &failure{err}
	}
	return finish(e, func() error {
		cfg, err := load(ctx, e, config, nil, stderr)
		switch {
		case errors.Is(err, errStopped):
			return nil
		case err != nil:
			return err
		}
		engineCtx, stop := context.WithCancel(ctx)
		defer stop()
		done := make(chan error, 1)
		go func() {
			defer stop() // an engine that ended by itself ends the demo
			done <- e.Run(engineCtx, cfg, nil)
		}()
		err = d.changes(engineCtx, ehr, shown)
		stop()
		return errors.Join(err, <-done)
	})
}

// followPages lets the quickstart follow the pages of an EHR that no longer answers everything at once.
func followPages(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	paged := strings.Replace(string(data), "    since {", "    page \"link\" {}\n    since {", 1)
	if paged == string(data) {
		return errors.New("the quickstart has no since block to put a page block before")
	}
	return os.WriteFile(file, []byte(paged), 0o600)
}

// changes makes changes for a while, and waits until the last of them has arrived.
func (d *demo) changes(ctx context.Context, ehr *sampleehr.EHR, shown *screen) error {
	select {
	case <-shown.ready: // "now" is before the first poll: what changed earlier is none of the pipeline's business
	case <-ctx.Done():
	}
	making := ctx
	if d.For > 0 {
		limited, cancel := context.WithTimeout(ctx, d.For)
		defer cancel()
		making = limited
	}
	if err := ehr.Run(making, d.Rate); err != nil {
		return err
	}
	faults := ehr.Faults()
	faults.Drift = 0 // reading would make changes for ever
	ehr.SetFaults(faults)
	last := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for time.Since(last) < time.Minute && !shown.settled(last) {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}
