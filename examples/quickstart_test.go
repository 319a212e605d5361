// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

const patient = `{"id": "P1", "mrn": "M1", "name": {"first": "Ann", "last": "Lee"}, "birthDate": "1990-01-02", "sex": "female",
	"ethnicity": "Hispanic or Latino", "language": "en-US", "phones": {"home": "555-555-0100"}, "email": "ann@example.org",
	"address": {"street": "1 Main St", "city": "Boston", "state": "MA", "postalCode": "02108", "country": "US"}}`

func TestTheQuickstartTellsWhatHappenedToAnAppointment(t *testing.T) {
	mapping, err := script.Compile("quickstart/appointment.js", script.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const moved = `"previousStart": "2026-05-11T09:00:00-04:00",`
	for _, c := range []struct{ name, status, extra, created, want string }{
		{"made", "booked", "", "2026-05-10T10:00:00", "New"},
		{"edited", "booked", "", "2026-05-09T10:00:00", "Modification"},
		{"moved", "booked", moved, "2026-05-09T10:00:00", "Reschedule"},
		{"arrived after it was moved", "arrived", moved, "2026-05-09T10:00:00", "Modification"},
		{"cancelled", "cancelled", `"cancelReason": "Patient",`, "2026-05-09T10:00:00", "Cancel"},
		{"noshow", "noshow", "", "2026-05-09T10:00:00", "NoShow"},
	} {
		data := `{"id": "A1", "visitNumber": "V1", "patientID": "P1", "created": "` + c.created + `", "lastUpdated": "2026-05-10T10:00:00",
			"status": "` + c.status + `", ` + c.extra + ` "start": "2026-05-12T09:00:00-04:00", "minutes": 30, "type": {"name": "Routine visit"},
			"reason": {"name": "Check-up"}, "orders": [], "location": {}, "provider": {"npi": "1", "name": {"first": "Al", "last": "Doe"}}}`
		body, err := mapping.Map(t.Context(), &record.Record{
			Change: sdk.Change{
				Ref: sdk.Ref{Kind: "appointments", ID: "A1"}, Version: "2026-05-10T10:00:00", Data: json.RawMessage(data),
				Time: time.Date(2026, 5, 10, 14, 0, 0, 0, time.UTC),
			},
			Fetched: map[string]json.RawMessage{"patient": json.RawMessage(patient)},
		}, script.Context{Now: time.Now()})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var n struct {
			Meta    struct{ EventType, EventDateTime string }
			Patient struct {
				Identifiers  []struct{ ID, IDType string }
				Demographics struct{ LastName string }
			}
			Visit struct{ VisitNumber, VisitDateTime, OldDateTime, CancelReason string }
		}
		if err := json.Unmarshal(body, &n); err != nil {
			t.Fatal(err)
		}
		if n.Meta.EventType != c.want || n.Meta.EventDateTime != "2026-05-10T14:00:00.000Z" || n.Patient.Identifiers[0].ID != "P1" ||
			n.Patient.Demographics.LastName != "Lee" || n.Visit.VisitNumber != "V1" || n.Visit.VisitDateTime != "2026-05-12T13:00:00.000Z" ||
			(n.Visit.OldDateTime != "") != (c.want == "Reschedule") || (n.Visit.CancelReason != "") != (c.want == "Cancel") {
			t.Errorf("%s: %s", c.name, body)
		}
	}
}
