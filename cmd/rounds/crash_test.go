// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// children lists the processes that a process started.
func children(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		// After the command's name, which is in parentheses and may hold anything: state, parent.
		rest := string(data)[strings.LastIndexByte(string(data), ')')+1:]
		fields := strings.Fields(rest)
		if parent, err := strconv.Atoi(fields[1]); err == nil && parent == pid && fields[0] != "Z" {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, child)
		}
	}
	return found
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// TestInvariants1To4HoldWhenTheProcessesAreKilled kills the engine or its adapter at random instants while the EHR keeps
// changing, faults included. At the end the last version of each record has arrived, every version that arrived existed,
// the order per record held, one generation had one id, and what came twice was in flight at a kill.
func TestInvariants1To4HoldWhenTheProcessesAreKilled(t *testing.T) {
	t.Parallel()
	const kills, lanes = 30, 4
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	c := newClinic(t, sampleehr.Options{Seed: seed}, receiver.Options{Seed: seed})
	hcl := strings.Replace(pipelineHCL, `url = env("NOTIFY_URL")`, "url      = env(\"NOTIFY_URL\")\n  parallel = "+strconv.Itoa(lanes), 1)
	dir := write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll})
	since := versionsNow(c.EHR)

	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	c.EHR.SetFaults(sampleehr.Faults{ServerErrors: 0.05, Resets: 0.05, Ties: 3, Late: 3 * time.Second})
	c.Receiver.SetFaults(receiver.Faults{Failing: 0.05, Status: 503, Closing: 0.05, Latency: 20 * time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	changing := make(chan error, 1)
	go func() { changing <- c.Run(ctx, 60) }()

	engineKills, orphans := 0, []int{}
	for range kills {
		if random.IntN(4) > 0 { // at work, else perhaps still starting
			was := c.polls()
			p.eventually(30*time.Second, "polled", func() bool { return c.polls() > was })
		}
		time.Sleep(time.Duration(50+random.IntN(600)) * time.Millisecond)
		adapters := children(t, p.cmd.Process.Pid)
		// An engine that starts gives up when its adapter is killed while it asks for the configuration to be checked.
		running := strings.Contains(p.log.String(), "msg=running")
		if random.IntN(3) == 0 && len(adapters) > 0 && running {
			_ = syscall.Kill(adapters[0], syscall.SIGKILL) // it may have ended by itself
			continue
		}
		p.kill()
		engineKills++
		orphans = append(orphans, adapters...)
		p = startRun(t, dir, c.env())
	}
	stop()
	if err := <-changing; err != nil {
		t.Fatal(err)
	}
	c.EHR.SetFaults(sampleehr.Faults{})
	c.Receiver.SetFaults(receiver.Faults{})
	p.eventually(2*time.Minute, "all arrived", func() bool { return settled(c, since) })
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	eventually(t, 10*time.Second, "all adapters of killed engines ended", func() bool {
		for _, pid := range orphans {
			if alive(pid) {
				return false
			}
		}
		return true
	})

	lanesWait(t, c.Received(0))
	repeated := oracle(t, c.EHR, c.Received(0), since)
	t.Logf("%d notifications, %d repeated, %d engines killed", len(c.Received(0)), repeated, engineKills)
	// A connection that the receiver closed after it had taken the notification (and not refused it) is none of these:
	// the receiver counts it as not accepted.
	if most := engineKills * lanes; repeated > most {
		t.Errorf("%d notifications were repeated; %d kills with %d lanes in flight explain %d", repeated, engineKills, lanes, most)
	}
}
