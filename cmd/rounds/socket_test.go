// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// TestTheAdminSocketIsItsOwnersAlone, is left over by a kill without harm, and is gone after a stop.
func TestTheAdminSocketIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	state := filepath.Join(dir, "state")
	socket := filepath.Join(state, operate.SocketName)
	for path, mode := range map[string]os.FileMode{socket: 0o600, state: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, mode)
		}
	}
	p.kill()
	if !exists(socket) {
		t.Fatal("a kill left no socket: the test is of nothing")
	}
	_, stderr := command(t, dir, 0, "status") // the socket that is left leads nowhere
	says(t, stderr, byTheState)
	p = startRun(t, dir, c.env())
	p.logged("msg=running")
	_, stderr = command(t, dir, 0, "status")
	says(t, stderr, byTheEngine)

	// A second engine leaves the first one's socket alone.
	code, _, stderr := rounds(t, c.env(), "run", "--state", state, dir)
	if code != 1 || !strings.Contains(stderr, fmt.Sprintf("is in use by process %d", p.cmd.Process.Pid)) {
		t.Errorf("a second engine: exit code %d\n%s", code, stderr)
	}
	command(t, dir, 0, "status")
	p.stop()
	if exists(socket) {
		t.Error("the socket is left after a stop")
	}
}

// TestALongPathOfTheState: longer than the path of a socket can be.
func TestALongPathOfTheState(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 5, Patients: 2}}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	long := filepath.Join(dir, strings.Repeat("long", 40))
	p := start(t, c.env(), "run", "--state", filepath.Join(long, "state"), dir)
	p.eventually(30*time.Second, "all arrived", func() bool { return c.Accepted() == 5 })
	_, stderr := command(t, long, 0, "status")
	says(t, stderr, byTheEngine)
	p.stop()
	_, stderr = command(t, long, 0, "status")
	says(t, stderr, byTheState)
}

// TestAnEngineThatStopsSaysSo to whoever asks meanwhile; it is not taken for none.
func TestAnEngineThatStopsSaysSo(t *testing.T) {
	t.Parallel()
	_, dir, env, g := hanging(t)
	p := start(t, env, "run", "--grace", "1m", "--state", filepath.Join(dir, "state"), dir)
	p.eventually(20*time.Second, "a delivery of each patient is on its way", func() bool { return g.waiting.Load() == 8 })
	p.signal(os.Interrupt)
	p.logged("stopping")
	for _, args := range [][]string{{"status"}, {"pause", "pipeline.appointments"}, {"poll", "appointments"}, {"reload"}, {"dead", "list"}} {
		_, stderr := command(t, dir, 1, args...)
		says(t, stderr, byTheEngine, "the engine is starting or stopping: try again")
	}
	close(g.opened)
	p.wait(20 * time.Second)
	if _, stderr := command(t, dir, 0, "status"); !strings.Contains(stderr, byTheState) {
		t.Errorf("after the stop: %s", stderr)
	}
}

// TestACommandWaitsForNoBusyState: where the state is in use by what has no socket, the command says by whom.
func TestACommandWaitsForNoBusyState(t *testing.T) {
	t.Parallel()
	_, dir, p := smallClinic(t)
	if err := os.Remove(filepath.Join(dir, "state", operate.SocketName)); err != nil {
		t.Fatal(err)
	}
	_, stderr := command(t, dir, 1, "status")
	says(t, stderr, fmt.Sprintf("is in use by process %d", p.cmd.Process.Pid))
	p.stop()
}
