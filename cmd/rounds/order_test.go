// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// changeLog numbers the changes of an EHR in the order in which they were made. A state may come again, also within the second that
// its version tells: what arrives of it can be either.
type changeLog struct {
	mu      sync.Mutex
	made    int
	numbers map[string][]int // by id and hash of the state
}

func (l *changeLog) onChange(c sampleehr.Change) {
	data, _ := json.Marshal(c.Appointment) // the EHR has done the same
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.numbers == nil {
		l.numbers = map[string][]int{}
	}
	l.made++
	state := stateOf(c.Appointment.ID, data)
	l.numbers[state] = append(l.numbers[state], l.made)
}

func stateOf(id string, data []byte) string { return fmt.Sprintf("%s %x", id, rawjson.Hash(data)) }

// inOrder says whether states can have come about in this order.
func (l *changeLog) inOrder(states []string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := 0
	for _, state := range states {
		next := slices.IndexFunc(l.numbers[state], func(n int) bool { return n > last })
		if next < 0 {
			return false
		}
		last = l.numbers[state][next]
	}
	return true
}

// lanesWait checks that nothing was sent of a patient while a notification before it was not yet accepted, and that what was
// repeated was the last that was accepted.
func lanesWait(t *testing.T, received []receiver.Received) {
	t.Helper()
	refused, last, accepted := map[string]string{}, map[string]string{}, map[string]bool{} // webhook-ids, the first two by patient
	for _, r := range received {
		if waits := refused[r.Patient]; waits != "" && waits != r.ID {
			t.Errorf("request %d: %s was sent although %s before it was not accepted", r.Number, r.ID, waits)
		}
		if accepted[r.ID] && last[r.Patient] != r.ID {
			t.Errorf("request %d: %s was repeated after %s", r.Number, r.ID, last[r.Patient])
		}
		refused[r.Patient] = r.ID
		if r.Accepted() {
			refused[r.Patient], last[r.Patient], accepted[r.ID] = "", r.ID, true
		}
	}
}

// byPatient gives what was accepted of each patient, in the order of arrival: the states of their appointments.
func byPatient(t *testing.T, received []receiver.Received) map[string][]string {
	t.Helper()
	states := map[string][]string{}
	for _, r := range received {
		if r.Accepted() {
			n := decode[told](t, r.Body)
			states[r.Patient] = append(states[r.Patient], stateOf(n.ID, n.Data))
		}
	}
	return states
}

func decode[T any](t *testing.T, data []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("no %T: %v", v, err)
	}
	return v
}

// fileLine is a line of the destination "file".
type fileLine struct {
	ID   string
	Body json.RawMessage
}

func readLines(t *testing.T, path string) (lines []fileLine) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, whole := strings.CutSuffix(string(data), "\n")
	if !whole {
		t.Fatal("the last line of the file is torn")
	}
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, decode[fileLine](t, []byte(line)))
	}
	return lines
}

// TestInvariant4OrderPerPatientHoldsWhileTheReceiverFails: patients have several appointments, the receiver is slow, answers
// 503 and closes connections. The order of commit is that of the changes; the file, which never fails, shows that nothing is
// skipped.
func TestInvariant4OrderPerPatientHoldsWhileTheReceiverFails(t *testing.T) {
	t.Parallel()
	var changes changeLog
	c := newClinic(t, sampleehr.Options{Seed: 1, Load: sampleehr.Load{Appointments: 40, Patients: 6}, OnChange: changes.onChange}, receiver.Options{})
	dir := write(t, map[string]string{"mapping.js": tellAll})
	file := filepath.Join(dir, "all.ndjson")
	overwrite(t, dir, "main.hcl", replaced(t, pipelineHCL, `pipeline "app`, `destination "file" "all" { path = "`+file+"\" }\npipeline \"app",
		`  deliver "scheduling"`, "  deliver \"all\" {\n    to = destination.file.all\n    map = \"mapping.js\"\n    order_by = change.data.patientID\n  }\n  deliver \"scheduling\""))
	since := versionsNow(c.EHR)
	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	c.Receiver.SetFaults(receiver.Faults{Failing: 0.15, Status: 503, Closing: 0.1, Latency: 5 * time.Millisecond})
	for range 120 {
		if err := c.Step(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond)
	}
	c.Receiver.SetFaults(receiver.Faults{})
	p.eventually(time.Minute, "all arrived", func() bool { return settled(c, since) })
	p.stop()

	received := c.Received(0)
	oracle(t, c.EHR, received, since) // a connection that was closed after the notification was read explains a repetition
	lanesWait(t, received)
	arrived := byPatient(t, received)
	for patient, states := range arrived {
		if !changes.inOrder(states) {
			t.Errorf("patient %s: the changes arrived in another order than they were made", patient)
		}
	}
	written := map[string][]string{}
	for _, line := range readLines(t, file) {
		n := decode[told](t, line.Body)
		patient := decode[struct{ PatientID string }](t, n.Data).PatientID
		written[patient] = append(written[patient], stateOf(n.ID, n.Data))
	}
	for patient := range written {
		if !slices.Equal(written[patient], arrived[patient]) {
			t.Errorf("patient %s: %d notifications in the file, and %d others or in another order at the receiver", patient, len(written[patient]),
				len(arrived[patient]))
		}
	}
}

// brokenHCL is a configuration in which everything is broken that can be, and one healthy pipeline, which shares its source
// and its script's folder with broken ones.
const brokenHCL = pipelineHCL + `
source "rest" "refused" {
  base_url = env("CLOSED_URL")
  feed "appointments" {
    path  = "/appointments"
    query = { changedsince = "{since}" }
    id    = "id"
    time  = "lastUpdated"
  }
}
source "rest" "silent" {
  base_url = env("SILENT_URL")
  feed "appointments" {
    path  = "/appointments"
    query = { changedsince = "{since}" }
    id    = "id"
    time  = "lastUpdated"
  }
}
destination "webhook" "refused" {
  url           = env("CLOSED_URL")
  allow_private = true
}
destination "webhook" "silent" {
  url           = env("SILENT_URL")
  allow_private = true
  timeout       = "1s"
}
pipeline "throws" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1s"
  }
  deliver "throws" {
    to  = destination.webhook.scheduling
    map = "throws.js"
  }
}
pipeline "loops" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1s"
  }
  deliver "loops" {
    to  = destination.webhook.scheduling
    map = "loops.js"
  }
}
pipeline "unheard" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1s"
  }
  fetch "patient" { id = change.data.patientID }
  deliver "refused" {
    to  = destination.webhook.refused
    map = "mapping.js"
  }
  deliver "silent" {
    to  = destination.webhook.silent
    map = "mapping.js"
  }
}
pipeline "refused" {
  poll {
    feed  = source.rest.refused.feed.appointments
    every = "1s"
  }
  deliver "refused" {
    to  = destination.webhook.scheduling
    map = "mapping.js"
  }
}
pipeline "silent" {
  poll {
    feed    = source.rest.silent.feed.appointments
    every   = "1s"
    timeout = "1s"
  }
  deliver "silent" {
    to  = destination.webhook.scheduling
    map = "mapping.js"
  }
}
`

// silent gives the URL of a server that never answers; closed, it lets its clients go.
func silent(t *testing.T) string {
	t.Helper()
	return serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-t.Context().Done():
		}
	}))
}

// TestInvariant8WhatIsBrokenDisturbsNothingElse: refused and silent EHRs and receivers, mappings that throw and that never end.
func TestInvariant8WhatIsBrokenDisturbsNothingElse(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 30, Patients: 5}}, receiver.Options{})
	since := versionsNow(c.EHR)
	dir := write(t, map[string]string{"main.hcl": brokenHCL, "mapping.js": tellAll,
		"throws.js": `export default () => { throw new Error("always"); };`, "loops.js": `export default () => { for (;;); };`})
	p := startRun(t, dir, append(c.env(), "CLOSED_URL=http://"+quietAddress(t), "SILENT_URL="+silent(t)), "--grace", "1s")
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 2 })
	var slowest time.Duration
	for i := range 5 {
		id := c.IDs()[i]
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
		made, n := time.Now(), i+1
		p.eventually(20*time.Second, "arrived", func() bool { return c.Accepted() >= n })
		slowest = max(slowest, time.Since(made))
	}
	p.logged(`pipeline=throws error="every new change failed at deliver \"throws\"`, `pipeline=loops error="`, `loops.js:1:16: took longer than the limit`,
		`pipeline=refused error="GET /appointments: connection refused`, `pipeline=silent error="GET /appointments: `,
		`destination=webhook.refused pipeline=unheard`, `destination=webhook.silent pipeline=unheard`)
	p.stop()
	// A poll a second, and what a busy machine adds.
	if slowest > 5*time.Second {
		t.Errorf("the slowest notification took %v", slowest)
	}
	if n := oracle(t, c.EHR, c.Received(0), since); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}
