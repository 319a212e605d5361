// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

var starterFiles = []string{"README.md", "appointment.ts", "rounds.d.ts", "rounds.hcl", "tsconfig.json"}

func TestInitWritesAConfigurationThatRuns(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir := filepath.Join(t.TempDir(), "new", "clinic")
	if code, stdout, stderr := rounds(t, nil, "init", dir); code != 0 || !strings.Contains(stdout, strings.Join(starterFiles, ", ")) {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, nil, "validate", dir); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	text, err := os.ReadFile(filepath.Join(dir, "rounds.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	hcl := replaced(t, string(text), "http://127.0.0.1:4010", c.ehrURL, "http://127.0.0.1:4011", c.receiverURL)
	overwrite(t, dir, "rounds.hcl", hcl)
	p := startRun(t, dir, nil)
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	id := c.IDs()[0]
	before, err := c.Appointment(id)
	if err != nil {
		t.Fatal(err)
	}
	visit := func(n int, event string) (v struct{ OldDateTime, VisitDateTime, CancelReason *string }) {
		t.Helper()
		p.eventually(20*time.Second, event, func() bool { return c.Accepted() == n })
		r := c.Received(0)[n-1]
		if r.Event != event || r.Visit != before.VisitNumber || r.Patient != before.PatientID {
			t.Errorf("want %s of %s, got %s", event, before.VisitNumber, r.Body)
		}
		var message struct{ Visit json.RawMessage }
		if err := json.Unmarshal(r.Body, &message); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(message.Visit, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	// The state before the first change that is seen is not known; that of the second is.
	if err := c.Move(id, time.Hour); err != nil {
		t.Fatal(err)
	}
	first := visit(1, "Modification")
	if first.OldDateTime != nil || first.VisitDateTime == nil {
		t.Errorf("the first notification: %+v", first)
	}
	if err := c.Move(id, time.Hour); err != nil {
		t.Fatal(err)
	}
	second := visit(2, "Reschedule")
	if second.OldDateTime == nil || *second.OldDateTime != *first.VisitDateTime || *second.VisitDateTime == *first.VisitDateTime {
		t.Errorf("the second notification does not say from where the appointment was moved: %+v", second)
	}
	if err := c.Cancel(id, "Patient"); err != nil {
		t.Fatal(err)
	}
	if third := visit(3, "Cancel"); third.CancelReason == nil || third.OldDateTime != nil {
		t.Errorf("the third notification: %+v", third)
	}
	p.stop()
	if dead := deadLetters(t, dir, 0); len(dead) > 0 {
		t.Errorf("%d dead letters", len(dead))
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range starterFiles {
		dir := write(t, map[string]string{name: "mine", "other.txt": "mine"})
		code, stdout, stderr := rounds(t, nil, "init", dir)
		if code != 1 || !strings.Contains(stderr, "nothing was written: "+dir+" already has "+name+";") {
			t.Errorf("%s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 {
			t.Errorf("%s: there are %d files, %v", name, len(entries), err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != "mine" {
			t.Errorf("%s was changed, %v", name, err)
		}
	}
	dir := write(t, map[string]string{"file": ""})
	if code, _, stderr := rounds(t, nil, "init", filepath.Join(dir, "file")); code != 1 || !strings.Contains(stderr, "can't be written") {
		t.Errorf("into a file: exit code %d\n%s", code, stderr)
	}
	if code, _, _ := rounds(t, nil, "init", dir, "more"); code != 2 {
		t.Errorf("two directories: exit code %d", code)
	}
}
