// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

var update = flag.Bool("update", false, "write what mappings return into the golden files")

// recordFile reads a record in the form that a mapping sees it.
func recordFile(t *testing.T, name string) *record.Record {
	t.Helper()
	var r struct {
		Change struct {
			ID, Kind, Version string
			Op                sdk.Op
			Time              time.Time
			Data              json.RawMessage
		}
		Fetched map[string]json.RawMessage
	}
	if err := json.Unmarshal(read(t, name), &r); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c := r.Change
	return &record.Record{
		Change:  sdk.Change{Ref: sdk.Ref{Kind: c.Kind, ID: c.ID}, Version: c.Version, Op: c.Op, Time: c.Time, Data: c.Data},
		Fetched: r.Fetched,
	}
}

func TestEachEventTypeIsMapped(t *testing.T) {
	for _, name := range []string{"new.js", "reschedule.js", "modification.ts", "cancel.js", "noshow.js"} {
		t.Run(name, func(t *testing.T) {
			s, err := script.Compile(filepath.Join("testdata/redox", name), script.Options{})
			if err != nil {
				t.Fatal(err)
			}
			stem := filepath.Join("testdata/redox", strings.TrimSuffix(name, filepath.Ext(name)))
			golden(t, s, recordFile(t, stem+".record.json"), stem+".golden.json")
		})
	}
}

func TestRealisticMapping(t *testing.T) {
	s, err := script.Compile("testdata/scheduling.ts", script.Options{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, s, appointment(t), "testdata/scheduling.golden.json")
}

func golden(t *testing.T, s *script.Script, r *record.Record, name string) {
	t.Helper()
	body, err := mapRecord(t, s, r)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, []byte(body), "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	if *update {
		if err := os.WriteFile(name, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, name); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

func TestABuilderRefusesAMessageThatIsNotWellFormed(t *testing.T) {
	const patient = "{ Identifiers: [{ ID: 'P1' }], Demographics: {} }"
	for call, want := range map[string]string{
		"Scheduling.New()":                                                              "Scheduling.New: give the parts of the message as an object",
		"Scheduling.New([])":                                                            "Scheduling.New: give the parts of the message as an object",
		"Scheduling.New({ Patient: " + patient + " })":                                  "Scheduling.New: Visit is missing",
		"Scheduling.Cancel({ Visit: null })":                                            "Scheduling.Cancel: Visit is missing",
		"Scheduling.Reschedule({ Visit: {}, patient: {} })":                             "Scheduling.Reschedule: unknown part; there are Meta, Patient, Visit, AppointmentInfo",
		"Scheduling.NoShow({ Visit: {}, Patient: {} })":                                 "Scheduling.NoShow: Patient.Identifiers is missing or empty",
		"Scheduling.NoShow({ Visit: {}, Patient: 'Doe' })":                              "Scheduling.NoShow: Patient is not an object",
		"Scheduling.New({ Visit: {}, Patient: { Identifiers: [], Demographics: {} } })": "Scheduling.New: Patient.Identifiers is missing or empty",
		"Scheduling.New({ Visit: {}, Patient: { Identifiers: [{}] } })":                 "Scheduling.New: Patient.Demographics is missing",
		"Scheduling.Modification({ Visit: {}, Meta: { EventType: 'New' } })":            "Scheduling.Modification: DataModel and EventType of Meta are set by the builder",
		"Scheduling.Modification({ Visit: {}, Meta: 'Doe' })":                           "Scheduling.Modification: Meta is not an object",
		"({ v: identifiers({ MR: { Doe: 1 } }) })":                                      "identifiers: an ID must be a string or a number",
		"({ v: identifiers('Doe') })":                                                   "identifiers: give an object, such as { MR: patient.id }",
	} {
		s := compile(t, "import { identifiers, Scheduling } from 'rounds/redox';\nexport default () => {\n  return "+call+";\n};")
		body, err := mapRecord(t, s, small(`{}`))
		var own *script.Error
		if !errors.As(err, &own) || own.Text != want || own.File != "map.js" || own.Line != 3 {
			t.Errorf("%s\n got %s, %v\nwant map.js:3: %s", call, body, err, want)
		}
	}
}
