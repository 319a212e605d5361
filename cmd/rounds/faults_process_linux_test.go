// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// runCommand is what startRun starts.
func runCommand(dir string) *exec.Cmd {
	return exec.Command(binary, "run", "--state", filepath.Join(dir, "state"), "--log-level", "debug", dir)
}

// startBound starts a command as somebody whom the modes of files bind, which they don't root.
func startBound(cmd *exec.Cmd) error {
	if os.Geteuid() != 0 {
		return cmd.Start()
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what it lost
		for _, right := range []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH} {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, right, 0, 0, 0); err != nil {
				started <- err
				return
			}
		}
		started <- cmd.Start()
	}()
	return <-started
}

// noise makes 240 KB that can't be compressed to much less.
const noise = `
function noise(id) {
  let s = 1, out = [];
  for (const c of id) s = (s * 31 + c.charCodeAt(0)) % 2147483647;
  for (let i = 0; i < 40_000; i++) {
    s = (s * 16807) % 2147483647;
    out.push(s.toString(36));
  }
  return out.join("");
}
`

// TestAStateThatMayNotBeWrittenIsSaid: its directory is read-only at a start, and in the long form becomes so while the engine runs, which
// shows when the database begins another file. Nothing is lost.
func TestAStateThatMayNotBeWrittenIsSaid(t *testing.T) {
	t.Parallel()
	load, script := sampleehr.Load{Appointments: 12, Patients: 3}, tellAll
	long := os.Getenv("ROUNDS_LONG") != ""
	if long { // together more than a log holds
		load, script = sampleehr.Load{Appointments: 120, Patients: 30}, noise+replaced(t, tellAll, "fetched,\n", "fetched, padding: noise(change.id),\n")
	}
	c := newClinic(t, sampleehr.Options{Load: load}, receiver.Options{})
	c.EHR.SetFaults(sampleehr.Faults{ServerErrors: 1})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": script})
	state := filepath.Join(dir, "state")
	p := launch(t, runCommand(dir), c.env(), startBound)
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	t.Cleanup(func() { chmod(t, state, 0o700) })
	if long {
		chmod(t, state, 0o500)
		c.EHR.SetFaults(sampleehr.Faults{})
		if code := p.wait(time.Minute); code != 1 {
			t.Errorf("exit code %d of the engine whose state became read-only, want 1", code)
		}
		says(t, p.log.String(), "the state takes no more writes; the engine ends, to be started again", "permission denied")
	} else {
		p.stop()
		chmod(t, state, 0o500)
		c.EHR.SetFaults(sampleehr.Faults{})
	}
	p = launch(t, runCommand(dir), c.env(), startBound)
	if code := p.wait(time.Minute); code != 1 {
		t.Errorf("exit code %d of a start on a read-only state, want 1", code)
	}
	says(t, p.log.String(), state, "permission denied")

	chmod(t, state, 0o700)
	p = launch(t, runCommand(dir), c.env(), startBound)
	// What was accepted and not acknowledged at the end comes again, and counts twice.
	p.eventually(2*time.Minute, "all arrived", func() bool { return c.Accepted() >= load.Appointments && settled(c, nil) })
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	oracle(t, c.EHR, c.Received(0), nil)
}

// TestAnEngineWhoseStateIsRemovedEnds instead of working on in files that nobody will find. Put back, or restored, it goes on.
func TestAnEngineWhoseStateIsRemovedEnds(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	state, backup := filepath.Join(dir, "state"), filepath.Join(dir, "backup")
	command(t, dir, 0, "backup", backup)
	was := c.Accepted()
	for what, x := range map[string]struct{ lose, mend func() error }{
		"moved": {func() error { return os.Rename(state, state+".away") }, func() error { return os.Rename(state+".away", state) }},
		"removed": {func() error { return os.RemoveAll(state) }, func() error {
			command(t, dir, 0, "restore", backup)
			return nil
		}},
	} {
		if err := x.lose(); err != nil {
			t.Fatal(err)
		}
		if code := p.wait(20 * time.Second); code != 1 {
			t.Errorf("%s: exit code %d, want 1", what, code)
		}
		says(t, p.log.String(), "the directory of the state, "+state+": it was removed or replaced while it was in use: put it back, or restore a backup")
		if exists(state) {
			t.Errorf("%s: the engine made another state in its place", what)
		}
		c.moveAll(t)
		if err := x.mend(); err != nil {
			t.Fatal(err)
		}
		p = startRun(t, dir, c.env())
		p.eventually(20*time.Second, "all arrived", func() bool { return settled(c, nil) })
	}
	p.stop()
	if n := c.Accepted(); n < was+len(c.IDs()) {
		t.Errorf("%d notifications", n)
	}
}

// TestAnEngineWhoseOutputIsClosedGoesOn: whoever read its standard output, or its log, has ended.
func TestAnEngineWhoseOutputIsClosedGoesOn(t *testing.T) {
	t.Parallel()
	closed := func() (r, w *os.File) {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	dir := write(t, map[string]string{"mapping.js": tellAll, "main.hcl": replaced(t, pipelineHCL, notifyHCL, `destination "stdout" "scheduling" {}`,
		"destination.webhook", "destination.stdout", `start   = "now"`, fromTheBeginning)})
	r, w := closed()
	cmd := runCommand(dir)
	cmd.Stdout = w
	p := launch(t, cmd, c.env(), (*exec.Cmd).Start)
	w.Close()
	in := bufio.NewReader(r)
	for range 12 {
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	c.moveAll(t)
	p.logged("cannot write to standard output: broken pipe")
	st := statusOf(t, dir)
	if to := ofDestination(t, st, "stdout.scheduling"); !strings.Contains(to.Why, "broken pipe") || to.Waiting == 0 {
		t.Errorf("its state is %+v", to)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM: %v", code, p.cmd.ProcessState)
	}

	// What waited is printed by the next one, whose log nobody reads.
	r, w = closed()
	cmd = runCommand(dir)
	cmd.Stderr = w
	p = launch(t, cmd, c.env(), (*exec.Cmd).Start)
	w.Close()
	r.Close()
	p.eventually(30*time.Second, "what waited was printed", func() bool { return strings.Count(p.stdout.String(), "\n") == 12 })
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM: %v", code, p.cmd.ProcessState)
	}
	var bodies [][]byte
	for line := range strings.Lines(p.stdout.String()) {
		bodies = append(bodies, []byte(line))
	}
	if !lastStatesIn(t, c.EHR, bodies, nil) {
		t.Error("what was printed does not end with the last states")
	}
}

// TestAnEngineThatMayOpenFewFilesSaysSo at its start.
func TestAnEngineThatMayOpenFewFilesSaysSo(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	few := exec.Command("sh", append([]string{"-c", `ulimit -n 10; exec "$0" "$@"`}, runCommand(dir).Args...)...)
	p := launch(t, few, c.env(), (*exec.Cmd).Start)
	p.logged("too many open files")
	select { // an adapter's directory may be left: to remove it takes a file
	case <-p.ended:
	case <-time.After(20 * time.Second):
		t.Error("it did not end")
	}
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "all arrived", func() bool { return settled(c, nil) })
	p.stop()
	oracle(t, c.EHR, c.Received(0), nil)
}
