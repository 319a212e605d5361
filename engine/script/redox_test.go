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

// mappings are those of testdata/redox, each with a record and what it makes of it.
var mappings = []string{
	"new.js", "reschedule.js", "modification.ts", "cancel.js", "noshow.js",
	"arrival.js", "merge.ts", "order.js", "grouped.js", "results.ts", "note.js",
}

func TestEachEventTypeIsMapped(t *testing.T) {
	for _, name := range mappings {
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
		"PatientAdmin.Arrival({ Visit: {} })":                                           "PatientAdmin.Arrival: Patient is missing",
		"PatientAdmin.Transfer({ Patient: " + patient + ", Visit: [] })":                "PatientAdmin.Transfer: Visit is not an object",
		"PatientAdmin.NewPatient({ Patient: " + patient + ", Visit: {} })":              "PatientAdmin.NewPatient: unknown part; there are Meta, Patient",
		"PatientAdmin.PatientMerge({ Patient: " + patient + " })":                       "PatientAdmin.PatientMerge: Patient.PreviousIdentifiers is missing or empty",
		"PatientAdmin.VisitMerge({ Patient: " + patient + " })":                         "PatientAdmin.VisitMerge: Visit is missing",
		"PatientAdmin.VisitMerge({ Patient: " + patient + ", Visit: {} })":              "PatientAdmin.VisitMerge: Visit.VisitNumber is missing",
		"Order.New({ Patient: " + patient + " })":                                       "Order.New: Order is missing",
		"Order.Update({ Patient: " + patient + ", Order: { Id: 'Doe' } })":              "Order.Update: Order.ID is missing",
		"Order.Cancel({ Order: { ID: 'Doe' } })":                                        "Order.Cancel: Patient is missing",
		"Order.GroupedOrders({ Patient: " + patient + ", Orders: [{ ID: 1 }, {}] })":    "Order.GroupedOrders: Orders[1].ID is missing",
		"Results.New({ Patient: " + patient + ", Orders: [] })":                         "Results.New: Orders is missing or empty",
		"Results.New({ Patient: " + patient + ", Orders: [{ ID: 1, Status: 'New' }] })": "Results.New: Orders[0].Results is missing or empty",
		"Results.New({ Patient: " + patient + ", Orders: [{ ID: 1, Status: 'New', Results: [{ Code: 'Doe', Status: 'Final', Value: '1' }] }] })": "Results.New: Orders[0].Results[0].ValueType is missing",
		"Notes.New({ Patient: " + patient + ", Note: 'Doe' })":                                             "Notes.New: Note is not an object",
		"Notes.Delete({ Patient: " + patient + ", Note: { ContentType: 'Plain Text', DocumentID: '1' } })": "Notes.Delete: Note.DocumentType is missing",
		"({ v: eventType(null, { change: {} }, { canceled: ['Doe'] }) })":                                  "eventType: unknown option; there are start, status, cancelled, noShow, isNew",
		"({ v: identifiers({ MR: { Doe: 1 } }) })":                                                         "identifiers: an ID must be a string or a safe integer",
		"({ v: identifiers({ MR: NaN }) })":                                                                "identifiers: an ID must be a string or a safe integer",
		"({ v: identifiers({ MR: Infinity }) })":                                                           "identifiers: an ID must be a string or a safe integer",
		"({ v: identifiers({ MR: 1e21 }) })":                                                               "identifiers: an ID must be a string or a safe integer",
		"({ v: identifiers({ MR: 1.5 }) })":                                                                "identifiers: an ID must be a string or a safe integer",
		"({ v: identifiers({ MR: 2 ** 53 }) })":                                                            "identifiers: an ID must be a string or a safe integer",
		"({ v: identifiers({ MR: 10n }) })":                                                                "identifiers: an ID must be a string or a safe integer",
		"({ v: identifiers('Doe') })":                                                                      "identifiers: give an object, such as { MR: patient.id }",
	} {
		s := compile(t, "import { eventType, identifiers, Notes, Order, PatientAdmin, Results, Scheduling } from 'rounds/redox';\nexport default () => {\n  return "+call+";\n};")
		body, err := mapRecord(t, s, small(`{}`))
		var own *script.Error
		if !errors.As(err, &own) || own.Text != want || own.File != "map.js" || own.Line != 3 {
			t.Errorf("%s\n got %s, %v\nwant map.js:3: %s", call, body, err, want)
		}
	}
}

// What happened to an appointment is told by what it was and what it is.
func TestTheEventTypeIsInferred(t *testing.T) {
	appointment := func(op sdk.Op, data string) *record.Record {
		r := state("2", data, "")
		r.Change.Op = op
		return r
	}
	const booked, later, none = `{"status":"booked","start":"a"}`, `{"status":"booked","start":"b"}`, ""
	withOptions := `, { start: ({ change }) => change.data.at, status: (r) => r.change.data.state, cancelled: ["X", 9], noShow: ["DNA"],
		isNew: ({ change }) => change.data.created === true }`
	for name, test := range map[string]struct {
		op      sdk.Op
		before  string // none: no record before
		now     string
		options string
		want    string
	}{
		"seen for the first time":              {sdk.Created, none, booked, "", `"New"`},
		"known, but not how it was":            {sdk.Updated, none, booked, "", `"Modification"`},
		"cancelled when seen first":            {sdk.Created, none, `{"status":"Canceled"}`, "", `"Cancel"`},
		"another start":                        {sdk.Updated, booked, later, "", `"Reschedule","a"`},
		"the same start":                       {sdk.Updated, booked, `{"status":"arrived","start":"a"}`, "", `"Modification"`},
		"a start that was not there":           {sdk.Updated, `{"status":"booked"}`, later, "", `"Modification"`},
		"a start that went":                    {sdk.Updated, booked, `{"status":"booked","start":null}`, "", `"Modification"`},
		"cancelled":                            {sdk.Updated, booked, `{"status":"CANCELLED","start":"b"}`, "", `"Cancel"`},
		"cancelled, and changed again":         {sdk.Updated, `{"status":"cancelled"}`, `{"status":"cancelled","note":1}`, "", `"Cancel"`},
		"cancelled, and booked again":          {sdk.Updated, `{"status":"cancelled","start":"a"}`, later, "", `"New"`},
		"did not come":                         {sdk.Updated, booked, `{"status":"No-Show","start":"a"}`, "", `"NoShow"`},
		"came after all":                       {sdk.Updated, `{"status":"noshow","start":"a"}`, booked, "", `"Modification"`},
		"deleted":                              {sdk.Deleted, booked, "null", "", `"Cancel"`},
		"deleted, with data":                   {sdk.Deleted, booked, later, "", `"Cancel"`},
		"deleted, and back":                    {sdk.Created, "deleted", booked, "", `"New"`},
		"without data":                         {sdk.Updated, "null", "null", "", `"Modification"`},
		"no status at all":                     {sdk.Updated, `{"status":null,"start":"a"}`, `{"start":"b"}`, "", `"Reschedule","a"`},
		"options: made just now":               {sdk.Created, none, `{"created":true}`, withOptions, `"New"`},
		"options: made long ago":               {sdk.Created, none, `{"created":false}`, withOptions, `"Modification"`},
		"options: moved":                       {sdk.Updated, `{"state":"B","at":"a"}`, `{"state":"B","at":"b"}`, withOptions, `"Reschedule","a"`},
		"options: cancelled":                   {sdk.Updated, `{"state":"B","at":"a"}`, `{"state":"x","at":"a"}`, withOptions, `"Cancel"`},
		"options: cancelled, by a number":      {sdk.Updated, `{"state":"B","at":"a"}`, `{"state":9,"at":"a"}`, withOptions, `"Cancel"`},
		"options: did not come":                {sdk.Updated, `{"state":"B","at":"a"}`, `{"state":"DNA","at":"a"}`, withOptions, `"NoShow"`},
		"options: not the words of the others": {sdk.Updated, `{"state":"B","at":"a"}`, `{"state":"cancelled","at":"a"}`, withOptions, `"Modification"`},
	} {
		t.Run(name, func(t *testing.T) {
			var previous *record.Record
			switch test.before {
			case none:
			case "deleted":
				previous = appointment(sdk.Deleted, "null")
			default:
				previous = appointment(sdk.Updated, test.before)
			}
			s := compile(t, `import { eventType, oldDateTime } from "rounds/redox";
				export default (record, { previous }) => ({
					v: [eventType(previous, record`+test.options+`), oldDateTime(previous, record`+test.options+`)].filter((v) => v !== undefined) });`)
			if got := mapWith(t, s, appointment(test.op, test.now), script.Context{Previous: previous}); got != `{"v":[`+test.want+`]}` {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestOnlyWhatAScriptUsesOfTheLibraryIsInItsProgram(t *testing.T) {
	s := compile(t, `import { Results } from "rounds/redox"; export default () => Results.New({});`)
	whole := compile(t, `import * as redox from "rounds/redox"; export default () => ({ n: Object.keys(redox).length });`)
	if got := mapWith(t, whole, small("{}"), script.Context{}); got != `{"n":8}` {
		t.Errorf("the library has %s", got)
	}
	if one, all := script.CodeOf(s), script.CodeOf(whole); strings.Contains(one, "NoShow") || !strings.Contains(all, "NoShow") {
		t.Error("a model that the script does not import is in its program")
	}
	_, err := script.Compile(write(t, map[string]string{"map.js": `import { build } from "rounds/redox/message"; export default build;`}), script.Options{})
	if err == nil || !strings.Contains(err.Error(), `there is no "rounds/redox/message" in the library`) {
		t.Errorf("a module that is the library's own can be imported: %v", err)
	}
}
