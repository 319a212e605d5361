// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// pipelineHCL polls the sample EHR every second. The mapping tells exactly what was polled and fetched, so that the test
// can hold it against the EHR's history.
const pipelineHCL = `
source "rest" "clinic" {
  base_url = env("EHR_URL")
  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" }
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
  }
  resource "patient" {
    path = "/patient/{id}"
  }
}

destination "webhook" "scheduling" {
  url = env("NOTIFY_URL")
  allow_private = true
}

pipeline "appointments" {
  poll {
    feed    = source.rest.clinic.feed.appointments
    every   = "1s"
    overlap = "10s"
    start   = "now"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "scheduling" {
    to       = destination.webhook.scheduling
    map      = "mapping.js"
    order_by = change.data.patientID
  }
}
`

const tellAll = `
export default function ({ change, fetched }) {
  return {
    Patient: { Identifiers: [{ ID: fetched.patient.id }] }, // where the receiver looks for it
    id: change.id, version: change.version, data: change.data, fetched,
  };
}
`

// told is a notification of the mapping above.
type told struct {
	ID, Version string
	Data        json.RawMessage
	Fetched     struct{ Patient json.RawMessage }
}

// patientOf is the JSON of a patient's record as the EHR gives it out.
func patientOf(t *testing.T, ehr *sampleehr.EHR, id string) []byte {
	t.Helper()
	data, err := json.Marshal(ehr.Patient(id))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// oracle holds what arrived against what happened. Repetitions of one notification (the same webhook-id) are counted; they
// are allowed only where a process was killed.
func oracle(t *testing.T, ehr *sampleehr.EHR, arrived []receiver.Received, since map[string]int) (repeated int) {
	t.Helper()
	type key struct{ id, hash string }
	numbers := map[key][]int{}
	last := map[string][16]byte{}
	history := ehr.History("")
	for id, versions := range history {
		for _, v := range versions {
			k := key{id, fmt.Sprint(rawjson.Hash(v.JSON))}
			numbers[k] = append(numbers[k], v.Number)
			last[id] = rawjson.Hash(v.JSON)
		}
	}
	ids := map[string]string{}       // webhook-id → body
	reached := map[string]int{}      // appointment → number of the last version that arrived
	final := map[string][16]byte{}   // appointment → hash of what arrived last
	byContent := map[string]string{} // appointment and version number → webhook-id
	for _, r := range arrived {
		if !r.Accepted() {
			continue
		}
		var n told
		if err := json.Unmarshal(r.Body, &n); err != nil {
			t.Fatalf("notification %d is no JSON: %v", r.Number, err)
		}
		if before, again := ids[r.ID]; again {
			repeated++
			if before != r.Hash {
				t.Errorf("notification %s was repeated with another body", r.ID)
			}
			continue
		}
		ids[r.ID] = r.Hash
		var data struct{ ID, PatientID, LastUpdated string }
		if err := json.Unmarshal(n.Data, &data); err != nil {
			t.Fatal(err)
		}
		if data.ID != n.ID || n.Version != data.LastUpdated {
			t.Errorf("appointment %s of %s was told with the data of %s of %s", n.ID, n.Version, data.ID, data.LastUpdated)
		}
		if data.PatientID != r.Patient || rawjson.Hash(n.Fetched.Patient) != rawjson.Hash(patientOf(t, ehr, data.PatientID)) {
			t.Errorf("appointment %s came with the patient of another", n.ID)
		}
		hash := rawjson.Hash(n.Data)
		existed := numbers[key{n.ID, fmt.Sprint(hash)}]
		if len(existed) == 0 {
			t.Errorf("notification %d tells a state of %s that never existed", r.Number, n.ID)
			continue
		}
		// A state that existed several times (A→B→A) stands for the first that is not before what was told.
		number := existed[len(existed)-1]
		for _, e := range existed {
			if e > reached[n.ID] {
				number = e
				break
			}
		}
		if number <= since[n.ID] {
			t.Errorf("version %d of %s arrived, which did not change since the start", number, n.ID)
		}
		if number <= reached[n.ID] {
			t.Errorf("%s: version %d arrived after version %d", n.ID, number, reached[n.ID])
		}
		reached[n.ID] = number
		final[n.ID] = hash
		content := fmt.Sprint(n.ID, "#", number)
		if other, twice := byContent[content]; twice {
			t.Errorf("%s arrived as two notifications, %s and %s", content, other, r.ID)
		}
		byContent[content] = r.ID
	}
	for _, id := range slices.Sorted(maps.Keys(history)) {
		versions := history[id]
		if len(versions) > since[id] && final[id] != last[id] {
			t.Errorf("%s: the last of %d versions did not arrive (version %d did)", id, len(versions), reached[id])
		}
	}
	return repeated
}

// versionsNow counts the versions of each appointment.
func versionsNow(ehr *sampleehr.EHR) map[string]int {
	n := map[string]int{}
	for id, versions := range ehr.History("") {
		n[id] = len(versions)
	}
	return n
}

// settled says whether the last version of every appointment that changed has arrived.
func settled(c *clinic, since map[string]int) bool {
	final := map[string][16]byte{}
	for _, r := range c.Received(0) {
		var n told
		if r.Accepted() && json.Unmarshal(r.Body, &n) == nil {
			final[n.ID] = rawjson.Hash(n.Data)
		}
	}
	for id, versions := range c.History("") {
		if len(versions) > since[id] && final[id] != rawjson.Hash(versions[len(versions)-1].JSON) {
			return false
		}
	}
	return true
}

func TestEveryChangeArrivesOnceWithTheRightPatientInOrder(t *testing.T) {
	for name, faults := range map[string]string{
		"calm": "", "equal timestamps": "ties=5", "late commits within the overlap": "late=5s",
		"errors and resets": "5xx=0.2,reset=0.2,html=0.05", "rate limits": "429=0.2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t, sampleehr.Options{Seed: 7}, receiver.Options{})
			f, err := sampleehr.ParseFaults(faults)
			if err != nil {
				t.Fatal(err)
			}
			since := versionsNow(c.EHR)
			p := startRun(t, write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll}), c.env())
			p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
			c.EHR.SetFaults(f)
			for range 150 {
				if err := c.Step(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Millisecond)
			}
			c.EHR.SetFaults(sampleehr.Faults{})
			p.eventually(time.Minute, "all arrived", func() bool { return settled(c, since) })
			if code := p.stop(); code != 0 {
				t.Errorf("exit code %d after SIGTERM", code)
			}
			if n := oracle(t, c.EHR, c.Received(0), since); n > 0 {
				t.Errorf("%d notifications were repeated", n)
			}
		})
	}
}
