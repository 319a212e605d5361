// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine"
	"github.com/rounds-engine/rounds/engine/operate"
)

// disk is a file system of its own, in memory.
type disk struct {
	t    *testing.T
	path string
}

// newDisk mounts one at path, which has to exist.
func newDisk(t *testing.T, path, options string) *disk {
	t.Helper()
	switch err := unix.Mount("rounds-test", path, "tmpfs", 0, "mode=0700,"+options); {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		t.Skipf("a file system can be mounted by root only, and not in every container (%v)", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{t, path}
}

// leave changes the size of the disk to one that leaves so many bytes.
func (d *disk) leave(free int64) {
	d.t.Helper()
	var s unix.Statfs_t
	err := unix.Statfs(d.path, &s)
	for tries := 0; ; tries++ { // what is written meanwhile makes it too small for what is there
		if err == nil {
			err = unix.Mount("rounds-test", d.path, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", int64(s.Blocks-s.Bfree)*s.Bsize+free))
		}
		if err == nil {
			return
		}
		if tries == 100 {
			d.t.Fatal(err)
		}
		err = unix.Statfs(d.path, &s)
	}
}

// diskClinic is a clinic whose engine has its state on a disk of its own, with a first notification of each of its appointments delivered.
func diskClinic(t *testing.T, options string) (c *clinic, dir string, d *disk, p *process) {
	t.Helper()
	const appointments = 12
	c = newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: appointments, Patients: 3}}, receiver.Options{})
	dir = write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning) + "\nweb { listen = \"127.0.0.1:0\" }\n", "mapping.js": tellAll})
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	d = newDisk(t, state, options)
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "the first arrived", func() bool { return c.Accepted() == appointments })
	return c, dir, d, p
}

// moveAll changes every appointment.
func (c *clinic) moveAll(t *testing.T) {
	t.Helper()
	for _, id := range c.IDs() {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
}

// scraped is what Prometheus would read.
func scraped(t *testing.T, p *process) string {
	t.Helper()
	answer, err := http.Get(p.webAt(1) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const roomy = 400 << 20

// TestAFullDiskPausesPollingAndRecovers: what waits is delivered while the disk is nearly full, nothing is while it is full to the last
// byte, and the engine lives. When there is room again everything arrives.
func TestAFullDiskPausesPollingAndRecovers(t *testing.T) {
	t.Parallel()
	c, dir, d, p := diskClinic(t, fmt.Sprint("size=", roomy))
	waiting := func() int {
		t.Helper()
		st := statusOf(t, dir)
		return ofDestination(t, st, "webhook.scheduling").Waiting
	}
	appointments := len(c.IDs())
	for _, free := range []int64{200 << 20, 0} {
		c.Receiver.SetFaults(receiver.Faults{Failing: 1, Status: 503})
		was := c.Accepted()
		c.moveAll(t)
		p.eventually(20*time.Second, "all wait", func() bool { return waiting() == appointments })
		d.leave(free)
		c.moveAll(t)
		var pipe operate.PipelineStatus
		p.eventually(20*time.Second, "polling pauses", func() bool {
			pipe = ofPipeline(t, statusOf(t, dir), "appointments")
			return pipe.Failures > 1
		})
		command(t, dir, 3, "status")
		says(t, pipe.Why, "no space left for state", "MiB free and must keep", "make room")
		p.logged("no space left for state")
		says(t, scraped(t, p), `rounds_pipeline_state{pipeline="appointments",source="rest.clinic",state="failing"} 1`)
		if strings.Contains(scraped(t, p), "rounds_commit_failures_total 0\n") {
			t.Error("no metric tells of the commits that failed")
		}
		if free == 0 {
			// The rest of the last page of each file is still there to be written, so it takes a few.
			for range 100 {
				if code, _, stderr := rounds(t, nil, "history", "record", "--pipeline", "appointments", "--id", c.IDs()[0], "--state", filepath.Join(dir, "state")); code != 0 {
					says(t, stderr, "the audit log can't be written, so nothing is shown")
					break
				}
			}
			_, stderr := command(t, dir, 1, "backup", filepath.Join(dir, "state", "backup"))
			says(t, stderr, "no space left on device")
			if left, err := filepath.Glob(filepath.Join(dir, "state", "backup*")); err != nil || len(left) > 0 {
				t.Errorf("parts of a backup are left: %v %v", left, err)
			}
		}
		c.Receiver.SetFaults(receiver.Faults{})
		if free > 0 {
			p.eventually(20*time.Second, "what waited was delivered", func() bool { return c.Accepted() == was+appointments && waiting() == 0 })
		} else {
			p.logged("the store fails; deliveries wait for it")
		}
		d.leave(roomy)
		p.eventually(30*time.Second, "all arrived", func() bool { return settled(c, nil) && waiting() == 0 })
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
	audit, err := os.ReadFile(filepath.Join(dir, "state", engine.AuditLog))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(audit)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("the audit log has a line that was cut off: %q", line)
		}
	}
}

// TestAnEngineStopsAndStartsOnAFullDisk: a stop is none by SIGBUS, a start says what is wrong, and what waited is delivered when there is
// room again.
func TestAnEngineStopsAndStartsOnAFullDisk(t *testing.T) {
	t.Parallel()
	c, dir, d, p := diskClinic(t, fmt.Sprint("size=", roomy))
	c.Receiver.SetFaults(receiver.Faults{Failing: 1, Status: 503})
	c.moveAll(t)
	p.eventually(20*time.Second, "all wait", func() bool {
		st := statusOf(t, dir)
		return ofDestination(t, st, "webhook.scheduling").Waiting == len(c.IDs())
	})
	d.leave(0)
	if code := p.stop(); code != 1 {
		t.Errorf("exit code %d after SIGTERM, want 1: %v", code, p.cmd.ProcessState)
	}
	says(t, p.log.String(), "the state was not closed, which is as good as after a kill", "make room")
	p = startRun(t, dir, c.env())
	if code := p.wait(20 * time.Second); code != 1 {
		t.Errorf("exit code %d of a start on a full disk, want 1: %v", code, p.cmd.ProcessState)
	}
	says(t, p.log.String(), "the state can't be opened: no space left for state", "make room")
	d.leave(roomy)
	c.Receiver.SetFaults(receiver.Faults{})
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "all arrived", func() bool { return settled(c, nil) })
	p.stop()
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// TestADiskWithoutInodesPausesPollingAndRecovers: bytes are left, and files can't be made.
func TestADiskWithoutInodesPausesPollingAndRecovers(t *testing.T) {
	t.Parallel()
	c, dir, d, p := diskClinic(t, fmt.Sprintf("size=%d,nr_inodes=200", roomy))
	var files []string
	for n := 0; ; n++ {
		file := filepath.Join(d.path, fmt.Sprint("other", n))
		if err := os.WriteFile(file, nil, 0o600); errors.Is(err, unix.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	c.moveAll(t)
	p.eventually(20*time.Second, "polling pauses", func() bool {
		pipe := ofPipeline(t, statusOf(t, dir), "appointments")
		return pipe.Failures > 0 && strings.Contains(pipe.Why, "has 0 inodes left")
	})
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	p.eventually(30*time.Second, "all arrived", func() bool { return settled(c, nil) })
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// TestAFileDestinationOnAFullDiskWaits: a line that found no room is taken back, and comes again.
func TestAFileDestinationOnAFullDiskWaits(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 40, Patients: 8}}, receiver.Options{})
	dir := write(t, map[string]string{"mapping.js": tellAll, "out/x": ""})
	d := newDisk(t, filepath.Join(dir, "out"), "size=64k") // less than all of them take
	file := filepath.Join(d.path, "out.ndjson")
	overwrite(t, dir, "main.hcl", replaced(t, pipelineHCL, notifyHCL, `destination "file" "scheduling" { path = "`+file+`" }`,
		"destination.webhook", "destination.file", `start   = "now"`, fromTheBeginning))
	p := startRun(t, dir, c.env())
	p.logged("cannot write the file: no space left on device")
	st := statusOf(t, dir)
	to := ofDestination(t, st, "file.scheduling")
	if !strings.Contains(to.Why, "no space left on device") || to.Waiting == 0 {
		t.Errorf("its state is %+v", to)
	}
	p.pollsMore(c, 1)
	d.leave(roomy)
	p.eventually(30*time.Second, "all were written", func() bool {
		return ofDestination(t, statusOf(t, dir), "file.scheduling").Waiting == 0 // lines that come again make more than 40
	})
	p.stop()
	received := asReceived(t, readLines(t, file))
	lanesWait(t, received)
	// A write of several lines that fails in the last of them comes again as a whole.
	if n := oracle(t, c.EHR, received, nil); n > 16 {
		t.Errorf("%d lines were repeated", n)
	}
}
