// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// TestInvariants1To4HoldWhilePeopleOperate: many at once pause, resume, reload, poll and look, while the EHR changes and the receiver
// fails. Nothing is lost, nothing comes twice, the order holds; and nothing of it takes long.
func TestInvariants1To4HoldWhilePeopleOperate(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
	since := versionsNow(c.EHR)
	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	c.Receiver.SetFaults(receiver.Faults{Failing: 0.1, Status: 503})
	engine, err := operate.Dial(t.Context(), filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	changing := make(chan error, 1)
	go func() { changing <- c.Run(ctx, 30) }()

	pipe := operate.Target{Kind: operate.Pipeline, Name: "appointments"}
	to := operate.Target{Kind: operate.Destination, Name: "webhook.scheduling"}
	var made atomic.Int64
	reload := func(ctx context.Context) error {
		hcl := pipelineHCL
		if n := made.Add(1); n%2 == 0 {
			hcl = replaced(t, hcl, `overlap = "10s"`, `overlap = "11s"`, `url = env("NOTIFY_URL")`, fmt.Sprintf("url = env(\"NOTIFY_URL\")\n  parallel = %d", 2+n%7))
		}
		overwrite(t, dir, "main.hcl", hcl)
		_, err := engine.Reload(ctx)
		return err
	}
	var people sync.WaitGroup
	over := time.Now().Add(10 * time.Second)
	for name, act := range map[string]func(context.Context) error{
		"pause pipeline":     func(ctx context.Context) error { return engine.Pause(ctx, pipe, "") },
		"resume pipeline":    func(ctx context.Context) error { return engine.Resume(ctx, pipe) },
		"pause destination":  func(ctx context.Context) error { return engine.Pause(ctx, to, "") },
		"resume destination": func(ctx context.Context) error { return engine.Resume(ctx, to) },
		"reload":             reload,
		"status":             func(ctx context.Context) error { _, err := engine.Status(ctx); return err },
		"adapters":           func(ctx context.Context) error { _, err := engine.Adapters(ctx); return err },
		"position":           func(ctx context.Context) error { _, err := engine.Position(ctx, "appointments"); return err },
		"poll": func(ctx context.Context) error {
			_, err := engine.Poll(ctx, "appointments")
			var refused *operate.Error
			if errors.As(err, &refused) { // paused, or stopped just now
				return nil
			}
			return err
		},
		"list": func(ctx context.Context) error {
			_, dead := engine.Dead(ctx, operate.Filter{}, operate.Page{})
			list, err := engine.Notifications(ctx, operate.Filter{}, operate.Page{Limit: 10})
			if err == nil && len(list.Notifications) > 0 {
				_, err = engine.Trace(ctx, operate.Record{Name: list.Notifications[0].Record})
			}
			return errors.Join(dead, err)
		},
		"backup": func(ctx context.Context) error { return engine.Backup(ctx, io.Discard) },
	} {
		people.Go(func() {
			for n := 0; time.Now().Before(over); n++ {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				err := act(ctx)
				cancel()
				if err != nil {
					t.Errorf("%s, number %d: %v", name, n, err)
					return
				}
				time.Sleep(20 * time.Millisecond) // a pause that is ended at once would be of nothing
			}
		})
	}
	people.Wait()
	stop()
	if err := <-changing; err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(engine.Resume(t.Context(), pipe), engine.Resume(t.Context(), to)); err != nil {
		t.Fatal(err)
	}
	c.Receiver.SetFaults(receiver.Faults{})
	p.eventually(2*time.Minute, "all arrived", func() bool { return settled(c, since) })
	p.stop()
	// What is on its way when a destination is stopped may end: nothing is delivered twice.
	if repeated := oracle(t, c.EHR, c.Received(0), since); repeated > 0 {
		t.Errorf("%d notifications were repeated", repeated)
	}
	t.Logf("%d notifications, %d reloads, %d polls", c.Accepted(), made.Load(), c.polls())
}
