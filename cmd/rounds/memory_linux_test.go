// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// TestOthersOfTheSameUserReadNeitherEngineNorAdapters runs the engine as a user without privileges and looks at it as that user.
func TestOthersOfTheSameUserReadNeitherEngineNorAdapters(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir, err := os.MkdirTemp("", "rt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, text := range map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(binary, filepath.Join(dir, "rounds")); err != nil {
		t.Fatal(err)
	}
	// As root could read everything, another user is taken then.
	user := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, append(c.env(), "TMPDIR="+dir, "HOME="+dir, "SECRET="+canarySecret)
		if os.Geteuid() == 0 {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			for _, file := range []string{"", "main.hcl", "mapping.js"} {
				if err := os.Chown(filepath.Join(dir, file), nobody, nobody); err != nil {
					t.Fatal(err)
				}
			}
		}
		return cmd
	}
	run := func(cmd *exec.Cmd) int {
		log := &output{}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("what it wrote:\n%s", tail(log.String(), 60))
			}
		})
		return cmd.Process.Pid
	}
	proc := func(pid int, file string) string { return filepath.Join("/proc", strconv.Itoa(pid), file) }

	other := run(user("sleep", "60"))
	engine := run(user(filepath.Join(dir, "rounds"), "run", "--state", filepath.Join(dir, "state"), dir))
	eventually(t, 30*time.Second, "polled", func() bool { return c.polls() > 0 })
	adapters := children(t, engine)
	if len(adapters) != 1 {
		t.Fatalf("the engine has the children %v, want one adapter", adapters)
	}
	// That this user may look at processes of its own at all:
	eventually(t, 10*time.Second, "an ordinary process is readable", func() bool {
		out, err := user("cat", proc(other, "environ")).Output()
		return err == nil && strings.Contains(string(out), canarySecret)
	})
	for name, pid := range map[string]int{"the engine": engine, "the adapter": adapters[0]} {
		for _, file := range []string{"environ", "mem", "maps"} {
			out, err := user("cat", proc(pid, file)).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "Permission denied") {
				t.Errorf("%s of %s can be read: %v", file, name, err)
			}
		}
		noCoreDump(t, pid)
	}
	score := func(pid int) int {
		text, err := os.ReadFile(proc(pid, "oom_score_adj"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if its, own := score(adapters[0]), score(engine); its <= own && own < 1000 {
		t.Errorf("the adapter's oom_score_adj is %d, the engine's %d", its, own)
	}
}

// noCoreDump checks that no crash of a process can write its memory to a file.
func noCoreDump(t *testing.T, pid int) {
	t.Helper()
	limits, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "limits"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			if got := strings.Fields(rest); got[0] != "0" || got[1] != "0" {
				t.Errorf("process %d may write core dumps: %v", pid, got)
			}
			return
		}
	}
	t.Errorf("process %d: the system tells no limit on core dumps", pid)
}
