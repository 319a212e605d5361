// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pseudonym

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

func fixed(seed string) *Replacer { return newReplacer([]byte(seed)) }

const chart = `{
	"id": "P-2044", "mrn": 20440077, "ssn": "987-65-4320", "sex": "female", "active": true, "weight": 71.5, "none": null,
	"name": {"first": "Annabel", "last": "Müller-Krause", "full": "Annabel MÜLLER"},
	"birthDate": "1990-01-02", "birthYear": 1990, "phones": {"home": "617-867-5309", "useType": "home"}, "fax": "+49 30 1234567",
	"email": "annabel.mueller@hospital.example.com", "portal": "https://ehr.hospital.example.com/chart/P-2044?token=sesame",
	"address": {"street": "12 Beacon Street", "city": "Boston", "state": "MA", "postalCode": "02108"}, "location": {"lat": 42.3601, "lng": -71.0589},
	"note": "Annabel called on Tuesday about P-2044", "careTeam": [{"reference": "Practitioner/2044", "display": "Dr. Gregory House"}],
	"byPatient": {"P-2044": {"seen": 3}}, "orders": [{"code": "4548-4", "system": "http://loinc.org", "display": "HbA1c", "minutes": 30}],
	"lastUpdated": 1747000000, "at": "20260510143000-0400", "visit": {"status": "Checked In", "start": "05/12/2026 9:30 AM", "clock": "09:30"}
}`

// told are what of the chart and its change must not be in what comes out, in any case.
var told = []string{"2044", "20440077", "987", "4320", "annabel", "müller", "mueller", "krause", "1990-01-02", "1990", "867", "5309", "1234567", "hospital",
	"sesame", "beacon", "boston", "02108", "42.36", "71.05", "tuesday", "gregory", "house", "1747000000", "20260510", "05/12/2026", "2026-05-10", "clerk"}

func original() *record.Record {
	change := sdk.Change{Ref: sdk.Ref{Kind: "visit", ID: "P-2044"}, Version: "2026-05-10T10:00:00", Op: sdk.Updated, Event: "moved", Actor: "clerk.7",
		Time: time.Date(2026, 5, 10, 14, 0, 0, 0, time.UTC), Data: json.RawMessage(chart)}
	parent := change
	return &record.Record{Change: change, Parent: &parent, Fetched: map[string]json.RawMessage{"patient": json.RawMessage(chart), "none": nil}}
}

func TestNothingOfAPersonIsLeft(t *testing.T) {
	for i := range 50 {
		out, err := fixed(fmt.Sprint(i)).Record(original())
		if err != nil {
			t.Fatal(err)
		}
		data, err := out.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		lower := strings.ToLower(string(data))
		for _, secret := range told {
			if len(secret) > 3 && strings.Contains(lower, secret) {
				t.Errorf("key %d: %q is left:\n%s", i, secret, data)
			}
		}
	}
}

func TestWhatIsOfNoPersonStays(t *testing.T) {
	out, err := fixed("a").Record(original())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"sex":"female"`, `"active":true`, `"weight":71.5`, `"none":null`, `"useType":"home"`, `"code":"4548-4"`,
		`"system":"http://loinc.org"`, `"minutes":30`, `"status":"Checked In"`, `"clock":"09:30"`, `"seen":3`, `"reference":"Practitioner/`, `@example.org"`} {
		if !strings.Contains(string(out.Change.Data), part) {
			t.Errorf("%s is not there: %s", part, out.Change.Data)
		}
	}
	c := out.Change
	if c.Ref.Kind != "visit" || c.Op != sdk.Updated || c.Event != "moved" || out.Parent == nil || string(out.Fetched["none"]) != "null" {
		t.Errorf("%+v", c)
	}
	if string(out.Change.Data) != string(out.Fetched["patient"]) || out.Parent.Ref != c.Ref {
		t.Error("the same did not become the same")
	}
}

func TestReplacementsHoldTogetherAndKeepTheirForm(t *testing.T) {
	r := fixed("b")
	out, err := r.Record(original())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ID   string
		MRN  json.Number
		SSN  string
		Name struct{ First, Last, Full string }
		Note string
		Fax  string
		Team []struct{ Reference string } `json:"careTeam"`
		Map  map[string]any               `json:"byPatient"`
		At   string
	}
	if err := json.Unmarshal(out.Change.Data, &got); err != nil {
		t.Fatal(err)
	}
	digits := strings.TrimPrefix(got.ID, got.ID[:2])
	if got.ID != out.Change.Ref.ID || got.Team[0].Reference != "Practitioner/"+digits || got.Map[got.ID] == nil || !strings.HasSuffix(got.Note, got.ID) {
		t.Errorf("references lead nowhere: %+v", got)
	}
	last, _, _ := strings.Cut(got.Name.Last, "-")
	if got.Name.Full != got.Name.First+" "+strings.ToUpper(last) || !strings.HasPrefix(got.Note, got.Name.First+" ") {
		t.Errorf("names differ: %+v", got)
	}
	for text, form := range map[string]string{
		got.ID: `^[A-Z]-[1-9]\d{3}$`, got.MRN.String(): `^[1-9]\d{7}$`, got.SSN: `^[1-9]\d\d-[1-9]\d-[1-9]\d{3}$`, got.Name.First: `^[A-Z][a-z]{6}$`,
		got.Name.Last: `^[A-Z][äéñöü][a-z]{4}-[A-Z][a-z]{5}$`, got.Fax: `^\+\d\d \d\d 55501\d\d$`, got.At: `^20\d{6}143000-0400$`,
	} {
		if !regexp.MustCompile(form).MatchString(text) {
			t.Errorf("%q is not of the form %s", text, form)
		}
	}
	again, err := fixed("b").Record(original())
	if err != nil || !reflect.DeepEqual(again, out) {
		t.Error("the same key gives something else")
	}
	other, err := New().Record(original())
	if err != nil || other.Change.Ref.ID == out.Change.Ref.ID && string(other.Change.Data) == string(out.Change.Data) {
		t.Error("another key gives the same")
	}
}

func TestWhatDiffersStaysDifferent(t *testing.T) {
	r := fixed("c")
	seen := map[string]int{}
	for i := 100; i < 700; i++ {
		id := r.text("id", fmt.Sprint(i))
		if other, taken := seen[id]; taken {
			t.Fatalf("%d and %d both became %s", i, other, id)
		}
		if n := r.numeral("id", fmt.Sprint(i)); n != id {
			t.Errorf("as a number %d became %s, as a text %s", i, n, id)
		}
		seen[id] = i
	}
}

// TestSmallNumbersThatNameSomebodyAreReplaced: EHRs number what they hold from 1 on, and name it in more ways than patientId.
func TestSmallNumbersThatNameSomebodyAreReplaced(t *testing.T) {
	r := fixed("e")
	id := r.text("id", "4711")
	for _, member := range []string{"id", "patientId", "patientid", "PATIENTID", "encounterids", "uid", "patient", "subject", "visit", "pk"} {
		if got := r.numeral(member, "4711"); got != id {
			t.Errorf("%s: 4711 became %s, and as the record's id %s", member, got, id)
		}
	}
	for _, member := range []string{"weight", "paid", "amount_paid", "visits", "minutes"} {
		if got := r.numeral(member, "4711"); got != "4711" {
			t.Errorf("%s: 4711 became %s", member, got)
		}
	}
}

func TestDatesMoveTogether(t *testing.T) {
	r := fixed("d")
	if r.days%7 != 0 || r.days < 100 {
		t.Fatalf("%d days", r.days)
	}
	for _, x := range []struct{ member, text, layout string }{
		{"x", "2026-05-12", time.DateOnly}, {"x", "2026-05-12T09:30:00.123-04:00", "2006-01-02T15:04:05.000Z07:00"}, {"x", "2026-05-12 09:30", "2006-01-02 15:04"},
		{"x", "05/12/2026", "01/02/2006"}, {"x", "05/12/2026 9:30 PM", "01/02/2006 3:04 PM"}, {"x", "31/12/2026", "02/01/2006"}, {"x", "31.12.2026 09:30", "02.01.2006 15:04"},
		{"dob", "20260512", "20060102"}, {"eventTime", "202605120930", "200601021504"},
	} {
		before, err := time.Parse(x.layout, x.text)
		if err != nil {
			t.Fatal(err)
		}
		moved, err := time.Parse(x.layout, r.text(x.member, x.text))
		if err != nil || before.Sub(moved) != time.Duration(r.days)*24*time.Hour || moved.Weekday() != before.Weekday() {
			t.Errorf("%s became %v, %v", x.text, moved, err)
		}
	}
	day := int64(r.days) * 86400
	for text, want := range map[string]string{"1747000000": fmt.Sprint(1747000000 - day), "1747000000123": fmt.Sprint(1747000000123 - 1000*day)} {
		if got := r.numeral("lastUpdated", text); got != want || r.text("version", text) != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
	}
	if got := r.numeral("amount", "1747000000"); got == "1747000000" || len(got) != 10 {
		t.Errorf("a large number that is no time became %s", got)
	}
}

func TestTheWordsOfAName(t *testing.T) {
	for name, want := range map[string]string{
		"patientID": "patient id", "patient_id": "patient id", "IDType": "id type", "Patient ID": "patient id", "MRN": "mrn", "postalCode": "postal code",
		"": "", "x1": "x", "lastUpdated": "last updated", "NPINumber": "npi number",
	} {
		if got := strings.Join(words(name), " "); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// FuzzDocument: whatever JSON a record holds, what comes out is JSON of the same shape, the same each time.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(chart))
	f.Add([]byte("5E577"))
	f.Add([]byte(`[1e9, -0.5, "", "İ", {"": {"a@b.c": 12345}}, "\ud800", 0]`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		r := fixed("f")
		out, err := r.document(doc)
		if err != nil {
			if json.Valid(doc) {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%s became %s", doc, out)
		}
		if again, _ := r.document(doc); string(again) != string(out) {
			t.Fatalf("%s became %s, then %s", doc, out, again)
		}
		shape := func(doc []byte) string {
			var v any
			d := json.NewDecoder(bytes.NewReader(doc))
			d.UseNumber() // of any size
			if d.Decode(&v) != nil {
				return ""
			}
			return fmt.Sprint(reflect.TypeOf(v))
		}
		if json.Valid(doc) && shape(doc) != shape(out) {
			t.Fatalf("%s became %s", doc, out)
		}
	})
}
