// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

const notifyHCL = `destination "webhook" "scheduling" {
  url = env("NOTIFY_URL")
  allow_private = true
}`

// asReceived gives lines the form that the oracle takes: as if each had been accepted by a receiver.
func asReceived(t *testing.T, lines []fileLine) (received []receiver.Received) {
	t.Helper()
	for i, line := range lines {
		data := decode[told](t, line.Body).Data
		received = append(received, receiver.Received{Number: i + 1, ID: line.ID, Status: 204, Hash: fmt.Sprintf("%x", line.Body), Body: line.Body,
			Patient: decode[struct{ PatientID string }](t, data).PatientID})
	}
	return received
}

// lastStatesIn says whether a list of notifications ends, for each appointment that changed, with its last state.
func lastStatesIn(t *testing.T, ehr *sampleehr.EHR, bodies [][]byte, since map[string]int) bool {
	t.Helper()
	last := map[string]string{}
	for _, body := range bodies {
		n := decode[told](t, body)
		last[n.ID] = stateOf(n.ID, n.Data)
	}
	for id, versions := range ehr.History("") {
		if len(versions) > since[id] && last[id] != stateOf(id, versions[len(versions)-1].JSON) {
			return false
		}
	}
	return true
}

// wholeLines gives the lines of a text without the last if it is still under way.
func wholeLines(text string) (lines [][]byte) {
	for line := range strings.Lines(text) {
		if strings.HasSuffix(line, "\n") {
			lines = append(lines, []byte(line))
		}
	}
	return lines
}

// TestAFileKeepsEveryLineWholeWhenTheEngineIsKilled: the file is read by others at the same time, is moved away by a rotation,
// and its writer is killed again and again.
func TestAFileKeepsEveryLineWholeWhenTheEngineIsKilled(t *testing.T) {
	t.Parallel()
	const kills, lanes = 6, 16
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 60, Patients: 12}}, receiver.Options{})
	dir := write(t, map[string]string{"mapping.js": tellAll})
	file := filepath.Join(dir, "out.ndjson")
	overwrite(t, dir, "main.hcl", replaced(t, pipelineHCL, notifyHCL, `destination "file" "scheduling" { path = "`+file+`" }`,
		"destination.webhook", "destination.file", `start   = "now"`, fromTheBeginning))
	ctx, stop := context.WithCancel(t.Context())
	changing := make(chan error, 1)
	go func() { changing <- c.Run(ctx, 80) }()
	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "written", func() bool { return exists(file) })
	for range kills {
		time.Sleep(time.Duration(100+rand.IntN(700)) * time.Millisecond)
		p.kill()
		p = startRun(t, dir, c.env())
	}
	stop()
	if err := <-changing; err != nil {
		t.Fatal(err)
	}
	whole := func() (bodies [][]byte) { // as far as it is written
		for _, path := range []string{file + ".1", file} {
			data, _ := os.ReadFile(path) // which need not be there yet
			for _, line := range wholeLines(string(data)) {
				bodies = append(bodies, decode[fileLine](t, line).Body)
			}
		}
		return bodies
	}
	p.eventually(30*time.Second, "all written", func() bool { return lastStatesIn(t, c.EHR, whole(), nil) })
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Step(); err != nil {
		t.Fatal(err)
	}
	p.eventually(30*time.Second, "written to a new file", func() bool { return lastStatesIn(t, c.EHR, whole(), nil) })
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	received := asReceived(t, append(readLines(t, file+".1"), readLines(t, file)...))
	lanesWait(t, received)
	if n := oracle(t, c.EHR, received, nil); n > kills*lanes {
		t.Errorf("%d lines were repeated; %d kills with %d lanes explain %d", n, kills, lanes, kills*lanes)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v: others may read the file: %v", err, info.Mode())
	}
}

// TestStdoutHasOnlyNotifications: what is for people goes to stderr, so that stdout can be piped on.
func TestStdoutHasOnlyNotifications(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 30, Patients: 5}}, receiver.Options{})
	dir := write(t, map[string]string{"mapping.js": tellAll, "main.hcl": replaced(t, pipelineHCL, notifyHCL, `destination "stdout" "scheduling" {}`,
		"destination.webhook", "destination.stdout", `start   = "now"`, fromTheBeginning)})
	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "all printed", func() bool { return lastStatesIn(t, c.EHR, wholeLines(p.stdout.String()), nil) })
	p.kill()
	first := wholeLines(p.stdout.String())
	for _, id := range c.IDs()[:10] {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "the rest was printed", func() bool {
		return lastStatesIn(t, c.EHR, slices.Concat(first, wholeLines(p.stdout.String())), nil)
	})
	p.stop()
	// Lines that the kill caught between their printing and the note of it come again: at most one for each patient.
	if n := len(first) + len(wholeLines(p.stdout.String())); n < 40 || n > 40+5 {
		t.Errorf("%d lines were printed, want 40", n)
	}
}
