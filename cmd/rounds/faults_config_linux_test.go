// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// TestAReloadWithoutItsFilesChangesNothing: a file that the configuration needs is gone or can't be read.
func TestAReloadWithoutItsFilesChangesNothing(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	dir := write(t, map[string]string{"mapping.js": tellAll, "credentials/signing": "whsec_" + strings.Repeat("YWJj", 8),
		"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, "allow_private = true", "allow_private = true\n  signing_secrets = [secret(\"signing\")]")})
	p := startRun(t, dir, append(c.env(), "CREDENTIALS_DIRECTORY="+filepath.Join(dir, "credentials")))
	p.eventually(20*time.Second, "the first arrived", func() bool { return c.Accepted() == 12 })
	const gone, unreadable = true, false // unreadable for root too: a link to itself
	for _, x := range []struct {
		file string
		how  bool
		said string
	}{
		{"credentials", gone, `There is no file "signing"`},
		{"credentials/signing", unreadable, "Unreadable secret"},
		{"mapping.js", gone, `There is no file "mapping.js"`},
		{"mapping.js", unreadable, `"mapping.js" can't be read`},
		{"main.hcl", unreadable, "main.hcl"},
	} {
		path := filepath.Join(dir, x.file)
		err := os.Rename(path, path+".away")
		if x.how == unreadable {
			err = errors.Join(err, os.Symlink(filepath.Base(path), path))
		}
		if err != nil {
			t.Fatal(err)
		}
		_, stderr := command(t, dir, 1, "reload")
		says(t, strings.Join(strings.Fields(stderr), " "), "the one before goes on", x.said)
		if st := statusOf(t, dir); st.Reload == nil || st.Reload.Error == "" {
			t.Errorf("%s: the status tells of the reload %+v", x.file, st.Reload)
		}
		was := c.Accepted()
		if err := c.Move(c.IDs()[0], time.Hour); err != nil {
			t.Fatal(err)
		}
		p.eventually(20*time.Second, "the old configuration goes on", func() bool { return c.Accepted() == was+1 })
		_ = os.Remove(path) // the link, where there is one
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		command(t, dir, 0, "reload")
	}
	p.stop()
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// TestWhatIsRemovedWhileEntriesWaitIsKept: first the pipeline, then the source and the destination as well, and over a restart. When they are
// back, what waited arrives, then what changed meanwhile, and nothing twice.
func TestWhatIsRemovedWhileEntriesWaitIsKept(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	good := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning)
	without := func(t *testing.T, kept string) {
		t.Helper()
		overwrite(t, dir, "main.hcl", kept)
		command(t, dir, 0, "reload")
	}
	waiting := func(n int) func() bool {
		return func() bool { return ofDestination(t, statusOf(t, dir), "webhook.scheduling").Waiting == n }
	}
	c.Receiver.SetFaults(receiver.Faults{Status: 503, Failing: 1})
	c.moveAll(t)
	p.eventually(20*time.Second, "the changes wait", waiting(12))
	beside := `
destination "file" "beside" {
  path = "` + filepath.Join(dir, "beside.jsonl") + `"
}
`
	other := strings.NewReplacer(`pipeline "appointments"`, `pipeline "beside"`, "webhook.scheduling", "file.beside", `"beginning"`, `"now"`)
	source, _, _ := strings.Cut(good, "\ndestination")
	pipe := other.Replace(good[strings.Index(good, "\npipeline"):])
	destination := good[strings.Index(good, "\ndestination"):strings.Index(good, "\npipeline")]

	without(t, source+destination+beside+pipe)
	st := statusOf(t, dir)
	if to := ofDestination(t, st, "webhook.scheduling"); ofPipeline(t, st, "appointments").State != "orphan" || to.State == "orphan" || to.Waiting != 12 {
		t.Errorf("without the pipeline the status is %+v", st)
	}
	without(t, strings.ReplaceAll(source+beside+pipe, "clinic", "again"))
	if to := ofDestination(t, statusOf(t, dir), "webhook.scheduling"); to.State != "orphan" || to.Waiting != 12 {
		t.Errorf("without the destination it is %+v", to)
	}
	p.logged("notifications wait for a destination that the configuration does not name")
	p.stop()
	c.Receiver.SetFaults(receiver.Faults{})
	p = startRun(t, dir, c.env())
	if err := c.Move(c.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	p.pollsMore(c, 2)
	if to := ofDestination(t, statusOf(t, dir), "webhook.scheduling"); to.State != "orphan" || to.Waiting != 12 || c.Accepted() != 12 {
		t.Errorf("after a restart without it %d arrived, and it is %+v", c.Accepted(), to)
	}
	without(t, good)
	p.eventually(20*time.Second, "everything arrived", func() bool { return settled(c, nil) })
	p.eventually(20*time.Second, "nothing waits", waiting(0))
	p.stop()
	if n := c.Accepted(); n != 25 {
		t.Errorf("%d notifications, want 12 of the beginning, 12 that waited, and one", n)
	}
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// stands stops a process by a signal, and waits until all its threads have stopped: until then it may still send.
func (p *process) stands() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(p.t, 20*time.Second, "the process has stopped", func() bool {
		threads, err := filepath.Glob("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/task/*/stat")
		return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(file string) bool {
			stat, _ := os.ReadFile(file)
			_, after, _ := strings.Cut(string(stat), ") ")
			return !strings.HasPrefix(after, "T")
		})
	})
}

// TestAnEngineThatStoodStillGoesOn: it is stopped by a signal for longer than a delivery, a poll and an answer of its adapter may take, as
// happens to a machine that is suspended.
func TestAnEngineThatStoodStillGoesOn(t *testing.T) {
	t.Parallel()
	c, dir, env, g := hanging(t)
	hcl := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, "allow_private = true", "allow_private = true\n  timeout = \"5s\"",
		`every   = "1s"`, "every   = \"1s\"\n    timeout = \"1s\"")
	overwrite(t, dir, "main.hcl", hcl)
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "a delivery of each patient is on its way", func() bool { return g.waiting.Load() == 8 })
	p.stands()
	close(g.opened)
	stood := time.Now()
	eventually(t, 20*time.Second, "what was on its way arrived", func() bool { return c.Accepted() == 8 })
	c.moveAll(t)
	time.Sleep(time.Until(stood.Add(6 * time.Second))) // the fault itself
	p.signal(syscall.SIGCONT)
	p.eventually(30*time.Second, "everything arrived", func() bool { return settled(c, nil) })
	if st := statusOf(t, dir); ofPipeline(t, st, "appointments").State == "claiming" {
		t.Errorf("the status is %+v", st)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 8 {
		t.Errorf("%d notifications were repeated; 8 were on their way", n)
	}
}
