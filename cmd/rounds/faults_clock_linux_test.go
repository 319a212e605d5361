// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	endian "encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// skewGo lets the wall clock of a program, and not the one that nobody sets, be as many seconds ahead as a file beside it says.
const skewGo = `package time

import (
	"syscall"
	"unsafe"
)

var skewed *int64

func init() {
	buf := make([]byte, 4096)
	n, err := syscall.Readlink("/proc/self/exe", buf)
	if err != nil {
		return
	}
	fd, err := syscall.Open(string(buf[:n])+".clock", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err == nil {
		skewed = (*int64)(unsafe.Pointer(&b[0]))
	}
}

func skew() int64 {
	if skewed == nil {
		return 0
	}
	return *skewed
}
`

// clockedBinary builds the command with a clock that the test sets, and gives it with what sets it. The adapters are the same program.
func clockedBinary(t *testing.T) (path string, set func(ahead time.Duration)) {
	t.Helper()
	dir := t.TempDir()
	std := filepath.Join(runtime.GOROOT(), "src", "time")
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	read := "\tsec, nsec, mono := runtimeNow()\n"
	files := map[string]string{
		"time.go": replaced(t, string(source), "func Now() Time {\n"+read, "func Now() Time {\n"+read+"\tsec += skew()\n"), "skew.go": skewGo,
	}
	overlay := map[string]string{}
	for name, text := range files {
		overlay[filepath.Join(std, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "rounds")
	clock, err := os.OpenFile(path+".clock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clock.Close() })
	set = func(ahead time.Duration) {
		t.Helper()
		if _, err := clock.WriteAt(endian.NativeEndian.AppendUint64(nil, uint64(ahead/time.Second)), 0); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	if out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path, set
}

// TestAnEngineWhoseClockIsSetGoesOn: the wall clock of the engine and its adapters is set, forward and back, by up to ten years, while they
// run and while they don't, with notifications that wait for another attempt. Nothing is lost or repeated, nothing stands still, and
// nothing runs in circles.
func TestAnEngineWhoseClockIsSetGoesOn(t *testing.T) {
	if os.Getenv("ROUNDS_LONG") == "" {
		t.Skip("it builds the standard library anew: ROUNDS_LONG=1 runs it")
	}
	path, set := clockedBinary(t)
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	run := func() *process {
		return launch(t, exec.Command(path, "run", "--state", filepath.Join(dir, "state"), "--log-level", "debug", dir), c.env(), (*exec.Cmd).Start)
	}
	p := run()
	p.eventually(20*time.Second, "the first arrived", func() bool { return c.Accepted() == 12 })
	for _, x := range []struct {
		ahead   time.Duration
		restart bool
	}{
		{time.Hour, false}, {-time.Hour, false}, {3 * day, false}, {-3 * day, false}, {10 * year, false}, {-10 * year, false},
		{time.Hour, true}, {-time.Hour, true}, {10 * year, true}, {-10 * year, true}, {0, true},
	} {
		// What waits has failed some times, and is to be tried again at a time of the clock before.
		c.Receiver.SetFaults(receiver.Faults{Failing: 1, Status: 503})
		refused := len(c.Received(0))
		c.moveAll(t)
		p.eventually(20*time.Second, "some failed twice", func() bool { return len(c.Received(0)) > refused+6 })
		if x.restart {
			p.stop()
		}
		set(x.ahead)
		polls, begun := c.polls(), time.Now()
		if x.restart {
			p = run()
		}
		c.Receiver.SetFaults(receiver.Faults{})
		p.eventually(20*time.Second, "what waited arrived", func() bool { return settled(c, nil) })
		c.moveAll(t)
		p.eventually(20*time.Second, "what changed then arrived", func() bool { return settled(c, nil) })
		p.pollsMore(c, 2)
		if n, most := c.polls()-polls, int(time.Since(begun).Seconds())+3; n > most {
			t.Errorf("the clock is %s ahead, and %d polls were made in a time for %d", x.ahead, n, most)
		}
		st := asked[operate.Status](t, dir, 0, "status")
		if is := st.Started.Sub(time.Now()); x.restart && (is-x.ahead).Abs() > time.Minute {
			t.Fatalf("the clock of the engine is %s ahead, want %s: it was not set", is, x.ahead)
		}
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}
