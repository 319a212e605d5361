// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// gate is a receiver behind a gate: what comes while it is closed waits for its opening.
type gate struct {
	http.Handler
	opened  chan struct{}
	waiting atomic.Int32 // requests at the closed gate
}

func newGate(h http.Handler) *gate { return &gate{Handler: h, opened: make(chan struct{})} }

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // only then net/http notices that the client goes away
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-g.opened:
		g.Handler.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}

// hanging is a clinic with 40 changes of 8 patients waiting, whose receiver does not answer until the gate is opened.
func hanging(t *testing.T) (c *clinic, dir string, env []string, g *gate) {
	t.Helper()
	c = newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 40, Patients: 8}}, receiver.Options{})
	g = newGate(c.Receiver)
	dir = write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	return c, dir, []string{"EHR_URL=" + c.ehrURL, "NOTIFY_URL=" + serve(t, g)}, g
}

func TestAStopLetsDeliveriesEndAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	c, dir, env, g := hanging(t)
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "a delivery of each patient is on its way", func() bool { return g.waiting.Load() == 8 })
	p.signal(syscall.SIGTERM)
	p.logged("stopping")
	close(g.opened)
	if code := p.wait(20 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := c.Accepted(); n != 8 {
		t.Errorf("%d were accepted, want the 8 that were on their way and none that was begun after the stop", n)
	}
	p = startRun(t, dir, env)
	p.eventually(20*time.Second, "the rest arrived", func() bool { return settled(c, nil) })
	p.stop()
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

func TestAStopDoesNotWaitForDeliveriesThatHang(t *testing.T) {
	t.Parallel()
	c, dir, env, g := hanging(t)
	p := startRun(t, dir, env, "--grace", "1s")
	p.eventually(20*time.Second, "a delivery of each patient is on its way", func() bool { return g.waiting.Load() == 8 })
	began := time.Now()
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took < time.Second || took > 8*time.Second {
		t.Errorf("the stop took %v with a grace of 1 s", took)
	}
	close(g.opened)
	p = startRun(t, dir, env)
	p.eventually(20*time.Second, "everything arrived", func() bool { return settled(c, nil) })
	p.stop()
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	c, dir, env, g := hanging(t)
	p := startRun(t, dir, env, "--grace", "10m")
	p.eventually(20*time.Second, "a delivery of each patient is on its way", func() bool { return g.waiting.Load() == 8 })
	p.signal(syscall.SIGTERM)
	p.logged("stopping")
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the process did not end at the second signal")
	}
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", p.cmd.ProcessState)
	}
	eventually(t, 10*time.Second, "the adapter has ended", func() bool { return len(processesWith(t, p.temp)) == 0 })
	nothingIsLeft(t, p.temp)
	close(g.opened)
	p = startRun(t, dir, env)
	p.eventually(20*time.Second, "everything arrived", func() bool { return settled(c, nil) })
	p.stop()
	oracle(t, c.EHR, c.Received(0), nil)
}

// TestAStopCutsOffAPollThatHangs: an EHR that does not answer must not hold up the stop.
func TestAStopCutsOffAPollThatHangs(t *testing.T) {
	t.Parallel()
	polled := make(chan struct{}, 1)
	url := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case polled <- struct{}{}:
		default:
		}
		<-r.Context().Done()
	}))
	dir := write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
	p := startRun(t, dir, []string{"EHR_URL=" + url, "NOTIFY_URL=" + url})
	<-polled
	began := time.Now()
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

// TestAStopWhileTheConfigurationIsCheckedIsNoMistakeOfIt: an adapter that never says hello holds up the check.
func TestAStopWhileTheConfigurationIsCheckedIsNoMistakeOfIt(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]int{"run": 0, "validate": 1} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"main.hcl": ledgerHCL, "order.js": "export default () => null;",
				"adapter": "#!/bin/sh\n: > \"$0.started\"\nexec sleep 600\n"})
			chmod(t, dir+"/adapter", 0o700)
			args := []string{command, dir}
			if command == "run" {
				args = append(args, "--state", dir+"/state")
			}
			p := start(t, []string{"LEDGER=" + dir + "/adapter", "LEDGER_FILE=/dev/null", "NOTIFY_URL=http://localhost"}, args...)
			p.eventually(20*time.Second, "the adapter was started", func() bool { return exists(dir + "/adapter.started") })
			p.signal(syscall.SIGTERM)
			if code := p.wait(10 * time.Second); code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
			if log := p.log.String(); strings.Contains(log, "main.hcl") {
				t.Errorf("the stop is told as a mistake of the configuration:\n%s", log)
			}
		})
	}
}
