// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// TestAnEngineWhoseStateTakesNoMoreWritesEnds, so that a supervisor starts it again, and nothing is lost: the state's database
// can't begin a new log, as the process may open no more files.
func TestAnEngineWhoseStateTakesNoMoreWritesEnds(t *testing.T) {
	t.Parallel()
	const appointments, patients = 1_200, 200
	large := replaced(t, tellAll, "fetched,\n", "fetched, padding: 'x'.repeat(20_000),\n") // together more than a log holds
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: appointments, Patients: patients}}, receiver.Options{})
	c.EHR.SetFaults(sampleehr.Faults{ServerErrors: 1})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": large})
	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	open, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "fd"))
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		t.Skip("how many files an engine has open is for root to see")
	}
	if err != nil {
		t.Fatal(err)
	}
	limit := unix.Rlimit{Cur: uint64(len(open)), Max: uint64(len(open))}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	c.EHR.SetFaults(sampleehr.Faults{})
	if code := p.wait(time.Minute); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	says(t, p.log.String(), "the state takes no more writes; the engine ends, to be started again", "too many open files")
	p = startRun(t, dir, c.env())
	// What was accepted and not acknowledged at the end comes again, and counts twice.
	p.eventually(2*time.Minute, "all arrived", func() bool { return c.Accepted() >= appointments && settled(c, nil) })
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	oracle(t, c.EHR, c.Received(0), nil)
}
