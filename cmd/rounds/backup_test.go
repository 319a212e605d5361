// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// TestALostMachineIsRestored: the state is backed up under load, and gone some time later. With the backup nothing is lost, and what
// comes again has the ids that it had.
func TestALostMachineIsRestored(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
	since := versionsNow(c.EHR)
	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	c.Receiver.SetFaults(receiver.Faults{Failing: 0.2, Status: 503})
	ctx, stop := context.WithCancel(t.Context())
	changing := make(chan error, 1)
	go func() { changing <- c.Run(ctx, 40) }()
	p.eventually(20*time.Second, "some arrived", func() bool { return c.Accepted() > 20 })
	backup := filepath.Join(dir, "backup")
	stdout, stderr := command(t, dir, 0, "backup", backup, "--json")
	says(t, stderr, byTheEngine)
	info, err := os.Stat(backup)
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		File  string
		Bytes int64
	}
	if json.Unmarshal([]byte(stdout), &made) != nil || made.File != backup || made.Bytes != info.Size() {
		t.Errorf("of a backup of %d bytes it says %s", info.Size(), stdout)
	}
	before := c.Accepted()
	p.eventually(20*time.Second, "more arrived", func() bool { return c.Accepted() > before+40 })
	p.kill()
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	stdout, _ = command(t, dir, 0, "restore", backup)
	says(t, stdout, "The state is in ")
	_, stderr = command(t, dir, 1, "restore", backup) // only into an empty directory
	says(t, stderr, "state")
	p = startRun(t, dir, c.env())
	p.pollsMore(c, 2)
	stop()
	if err := <-changing; err != nil {
		t.Fatal(err)
	}
	c.Receiver.SetFaults(receiver.Faults{})
	p.eventually(2*time.Minute, "all arrived", func() bool { return settled(c, since) })
	p.stop()

	arrived := map[string]string{}
	for _, r := range c.Received(0) {
		if !r.Accepted() {
			continue
		}
		if body, again := arrived[r.ID]; again && body != r.Hash {
			t.Errorf("notification %s came again with another body", r.ID)
		}
		arrived[r.ID] = r.Hash
	}
}

// TestABackupIsWholeOrNotThere in either mode, to a file or the standard output.
func TestABackupIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	restored := func(backup string) {
		t.Helper()
		to := t.TempDir()
		command(t, to, 0, "restore", backup)
		if pos := asked[operate.Position](t, to, 0, "state", "show", "appointments"); !pos.Started || len(pos.Watermark) == 0 {
			t.Errorf("the restored state stands at %+v", pos)
		}
		if n := len(asked[[]operate.Notification](t, to, 0, "history", "list")); n != 12 {
			t.Errorf("the restored state has a history of %d", n)
		}
	}
	p.eventually(20*time.Second, "the history is whole", func() bool { return len(asked[[]operate.Notification](t, dir, 0, "history", "list")) == 12 })
	backup := filepath.Join(dir, "backup")
	stdout, _ := command(t, dir, 0, "backup", "-")
	if err := os.WriteFile(backup, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	restored(backup)
	command(t, dir, 0, "backup", backup) // in the place of the one before
	restored(backup)
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v %v", info.Mode(), err)
	}
	_, stderr := command(t, dir, 1, "backup", filepath.Join(dir, "no", "backup"))
	says(t, stderr, "no such file or directory")
	p.stop()
	_, stderr = command(t, dir, 0, "backup", backup)
	says(t, stderr, byTheState)
	restored(backup)

	whole, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"cut":     whole[:len(whole)/2],
		"empty":   nil,
		"another": bytes.Repeat([]byte("no backup\n"), 100),
	} {
		if err := os.WriteFile(backup, data, 0o600); err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		_, stderr := command(t, to, 1, "restore", backup)
		if !strings.Contains(stderr, "Error: ") || strings.Contains(stderr, "The state is in") {
			t.Errorf("%s: %s", name, stderr)
		}
		if _, stderr := command(t, to, 1, "status"); !strings.Contains(stderr, "Error: ") {
			t.Errorf("%s: what could not be restored is a state: %s", name, stderr)
		}
	}
	_, stderr = command(t, t.TempDir(), 1, "restore", filepath.Join(dir, "nothing"))
	says(t, stderr, "there is no file")
	left, err := filepath.Glob(filepath.Join(dir, "*.part*"))
	if err != nil || len(left) > 0 {
		t.Errorf("parts of backups are left: %v %v", left, err)
	}
	if n := c.Accepted(); n != 12 {
		t.Errorf("%d notifications", n)
	}
}

// TestAnEncryptedStateIsOperatedWithItsKey while no engine runs; a running one needs none of whoever asks.
func TestAnEncryptedStateIsOperatedWithItsKey(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll,
		"key": strings.Repeat("ab", 32), "new": strings.Repeat("cd", 32)})
	key, renewed := filepath.Join(dir, "key"), filepath.Join(dir, "new")
	p := startRun(t, dir, append(c.env(), "ROUNDS_STATE_KEY="+strings.Repeat("ab", 32)))
	p.eventually(30*time.Second, "all arrived", func() bool { return c.Accepted() == 12 })
	command(t, dir, 0, "status")
	p.stop()
	command(t, dir, 0, "status", "--state-key", key)
	_, stderr := command(t, dir, 1, "status")
	says(t, stderr, "encrypted")
	_, stderr = command(t, dir, 1, "status", "--state-key", renewed)
	says(t, stderr, "key")
	command(t, dir, 0, "state", "rekey", "--state-key", key, "--new-key", renewed)
	command(t, dir, 0, "status", "--state-key", renewed)
	command(t, dir, 1, "status", "--state-key", key)
	backup := filepath.Join(dir, "backup")
	command(t, dir, 0, "backup", backup, "--state-key", renewed)
	if data, err := os.ReadFile(backup); err != nil || bytes.Contains(data, []byte(c.IDs()[0])) {
		t.Errorf("the backup of an encrypted state can be read: %v", err)
	}
}
