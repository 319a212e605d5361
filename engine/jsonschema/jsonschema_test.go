// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package jsonschema_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/rounds-engine/rounds/engine/jsonschema"
	"github.com/rounds-engine/rounds/scripts"
)

func compile(t testing.TB, name, root string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.Compile(name, root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func nobodys(string) bool { return false }

// write makes a directory of files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What the builders of rounds/redox make is valid by the models' schemas.
func TestTheShippedSchemasTakeWhatTheBuildersMake(t *testing.T) {
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range scripts.SchemaNames() {
		schemas[name] = compile(t, name, "")
	}
	if len(schemas) != 5 {
		t.Fatalf("%d schemas", len(schemas))
	}
	messages, err := filepath.Glob("../script/testdata/redox/*.golden.json")
	if err != nil || len(messages) < 11 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	checked := map[string]bool{}
	for _, file := range append(messages, "../script/testdata/scheduling.golden.json") {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ Meta struct{ DataModel string } }
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		model := "redox/" + strings.ToLower(m.Meta.DataModel)
		if invalid := schemas[model].Check(body, nobodys); invalid != nil {
			t.Errorf("%s %s\n%s", file, invalid.Text, invalid.Detail)
		}
		checked[model] = true
		for name, s := range schemas {
			if name != model && s.Check(body, nobodys) == nil {
				t.Errorf("%s is valid by %s", file, name)
			}
		}
	}
	if len(checked) != len(schemas) {
		t.Errorf("only %v were checked", checked)
	}
}

func TestWhatIsNotValidIsNamedWithoutItsValues(t *testing.T) {
	s := compile(t, "redox/scheduling", "")
	const patient = `"Patient":{"Identifiers":[{"ID":"1","IDType":"MR"}],"Demographics":{}}`
	meta := func(event string) string { return `"Meta":{"DataModel":"Scheduling","EventType":"` + event + `"}` }
	for body, want := range map[string]string{
		`{` + meta("New") + `,"Visit":{"Duration":"CANARY"}}`:                         `/Visit/Duration type: must be null or number`,
		`{` + meta("New") + `,"Visit":{"VisitNumber":4711}}`:                          `/Visit/VisitNumber type: must be null or string`,
		`{` + meta("New") + `}`:                                                       `the whole required: Visit missing`,
		`{` + meta("Arrival") + `,"Visit":{}}`:                                        `/Meta/EventType enum: must be "Cancel" or "Modification" or "New" or "NoShow" or "Reschedule"`,
		`{"Meta":{"DataModel":"Scheduling"},"Visit":{}}`:                              `/Meta required: EventType missing`,
		`{"Meta":{"DataModel":"CANARY","EventType":"New"},"Visit":{}}`:                `/Meta/DataModel const: must be "Scheduling"`,
		`{` + meta("New") + `,"Visit":{"CancelReason":"CANARY"}}`:                     `/Visit additionalProperties: there is no CancelReason`,
		`{` + meta("New") + `,"Visit":{"CANARY":1,"Written":1,"4711":1}}`:             `/Visit additionalProperties: there is no Written, …`,
		`{` + meta("New") + `,"Visit":{"Location":{"CANARY":{"x":1}}}}`:               `/Visit/Location additionalProperties: there is no …`,
		`{` + meta("Cancel") + `,"Visit":{"CancelReason":"x"},` + patient + `,"A":1}`: `the whole additionalProperties: there is no …`,
		`{` + meta("New") + `,"Visit":{},"Patient":{"Identifiers":[],"Demographics":{"Sex":"CANARY"}}}`: `/Patient/Demographics/Sex enum: must be "Female" or "Male" or "Nonbinary" or "Other" or "Unknown" or null; ` +
			`/Patient/Identifiers minItems: at least 1`,
		`{` + meta("New") + `,"Visit":{"Instructions":["a",1],"Status":1,"Type":2,"Reason":3}}`: `/Visit/Instructions/1 type: must be string; ` +
			`/Visit/Reason type: must be null or string; /Visit/Status type: must be null or string; and 1 more`,
		`[]`: `the whole type: must be object`,
	} {
		invalid := s.Check([]byte(body), func(name string) bool { return name == "Written" })
		if invalid == nil {
			t.Errorf("%s is valid", body)
			continue
		}
		if want := "is not valid by redox/scheduling: " + want; invalid.Text != want {
			t.Errorf("%s\n got %s\nwant %s", body, invalid.Text, want)
		}
		if strings.Contains(invalid.Text, "CANARY") || strings.Contains(invalid.Text, "4711") {
			t.Errorf("a value is shown: %s", invalid.Text)
		}
		if invalid.Detail == "" {
			t.Error("nothing is kept of the values")
		}
	}
}

func TestASchemaOfOnesOwn(t *testing.T) {
	dir := write(t, map[string]string{
		"schemas/order.json": `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["id"],
			"properties":{"id":{"$ref":"parts.json#/$defs/id"},"at":{"type":"string","format":"date-time"},
			"patient":{"$ref":"rounds:///redox/common.json#/$defs/Patient"},"either":{"oneOf":[{"type":"string"},{"type":"number"}]}},
			"patternProperties":{"^x-":{"type":"string"}},"propertyNames":{"maxLength":12},"dependentRequired":{"either":["at"]}}`,
		"schemas/parts.json": `{"$defs":{"id":{"type":"string","pattern":"^O-[0-9]+$","minLength":4}}}`,
	})
	s := compile(t, filepath.Join(dir, "schemas/order.json"), dir)
	for body, want := range map[string]string{
		`{"id":"O-47"}`: "",
		`{"id":"O-47","at":"2026-07-01T12:00:00Z","either":1,"x-4711":"a"}`: "",
		`{"id":"CANARY"}`:                      "/id pattern: must match ^O-[0-9]+$",
		`{"id":"O-1"}`:                         "/id minLength: at least 4",
		`{"id":"O-47","at":"CANARY"}`:          "/at format: must be date-time",
		`{"id":"O-47","either":true}`:          "/either oneOf; the whole dependentRequired: at missing",
		`{"id":"O-47","x-4711":1}`:             "/… type: must be string",
		`{"id":"O-47","CANARY-CANARY":1}`:      "the whole propertyNames",
		`{"id":"O-47","patient":{"CANARY":1}}`: "/patient additionalProperties: there is no …; /patient required: Identifiers, Demographics missing",
	} {
		invalid := s.Check([]byte(body), nobodys)
		switch {
		case want == "" && invalid != nil:
			t.Errorf("%s %s", body, invalid.Text)
		case want != "" && (invalid == nil || invalid.Text != "is not valid by schemas/order.json: "+want):
			t.Errorf("%s\n got %+v\nwant %s", body, invalid, want)
		}
	}
}

func TestASchemaThatIsNoneIsExplained(t *testing.T) {
	outside := filepath.Join(write(t, map[string]string{"secret.json": `{"token": "CANARY"}`}), "secret.json")
	dir := write(t, map[string]string{
		"syntax.json":   "{\n  \"type\": \"CANARY\"\n  \"CANARY\"\n}",
		"two.json":      `{} {}`,
		"empty.json":    ``,
		"type.json":     `{"type":"objekt","properties":{"a":{"minLength":"3"}}}`,
		"array.json":    `[]`,
		"web.json":      `{"$ref":"https://schemas.example/order.json"}`,
		"id.json":       `{"$id":"https://schemas.example/order.json","$ref":"parts.json"}`,
		"up.json":       `{"$ref":"../other.json"}`,
		"absolute.json": `{"$ref":"file://` + outside + `"}`,
		"link.json":     `{"$ref":"linked.json"}`,
		"missing.json":  `{"$ref":"nowhere.json"}`,
		"pointer.json":  `{"$ref":"#/$defs/nothing"}`,
		"anchor.json":   `{"$ref":"#nothing"}`,
		"regex.json":    `{"properties":{"a":{"pattern":"("}}}`,
		"draft.json":    `{"$schema":"https://schemas.example/draft"}`,
		"shipped.json":  `{"$ref":"rounds:///redox/claims.json"}`,
	})
	if err := os.Symlink(outside, filepath.Join(dir, "linked.json")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"syntax":   "syntax.json is not JSON from line 3 on",
		"two":      "two.json is not JSON from line 1 on",
		"empty":    "empty.json is not JSON from line 1 on",
		"type":     "type.json is not a JSON Schema: /properties/a/minLength type: must be integer; /type anyOf",
		"array":    "array.json is not a JSON Schema: the whole type: must be boolean or object",
		"web":      "web.json refers to https://schemas.example/order.json, which is not a file; a schema reads nothing from the network: put a copy beside it",
		"id":       "id.json refers to https://schemas.example/parts.json, which is not a file; a schema reads nothing from the network: put a copy beside it",
		"up":       "up.json refers to ../other.json, which does not exist",
		"link":     "link.json refers to linked.json, which is outside of the configuration's directory",
		"missing":  "missing.json refers to nowhere.json, which does not exist",
		"pointer":  "pointer.json refers to pointer.json#/$defs/nothing, which is not there",
		"anchor":   "anchor.json refers to anchor.json#nothing, which is not there",
		"regex":    "regex.json is not a JSON Schema: /properties/a/pattern format: must be regex",
		"draft":    "draft.json refers to https://schemas.example/draft, which is not a file; a schema reads nothing from the network: put a copy beside it",
		"shipped":  "shipped.json refers to redox/claims, which does not ship with Rounds",
		"nowhere":  "nowhere.json does not exist",
		"absolute": "",
	} {
		_, err := jsonschema.Compile(filepath.Join(dir, name+".json"), dir)
		switch {
		case err == nil:
			t.Errorf("%s was compiled", name)
		case strings.Contains(err.Error(), "CANARY"):
			t.Errorf("%s: content is shown: %v", name, err)
		case name == "absolute" && !strings.HasSuffix(err.Error(), "which is outside of the configuration's directory"),
			name != "absolute" && err.Error() != want:
			t.Errorf("%s\n got %v\nwant %s", name, err, want)
		}
	}
	if _, err := jsonschema.Compile("redox/claims", dir); err == nil || err.Error() != "redox/claims does not ship with Rounds" {
		t.Errorf("a schema that does not ship: %v", err)
	}
	if _, err := jsonschema.Compile(outside, dir); err == nil || !strings.HasSuffix(err.Error(), "is outside of the configuration's directory") {
		t.Errorf("a schema elsewhere: %v", err)
	}
}

func TestASchemaIsUsedByManyAtOnce(t *testing.T) {
	s := compile(t, "redox/scheduling", "")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if s.Check([]byte(`{"Meta":{"DataModel":"Scheduling","EventType":"New"},"Visit":{"Duration":30}}`), nobodys) != nil {
					t.Error("a valid message was refused")
				}
				if s.Check([]byte(`{"Meta":{"DataModel":"Scheduling","EventType":"New"},"Visit":{"Duration":"30"}}`), nobodys) == nil {
					t.Error("an invalid message was taken")
				}
			}
		})
	}
	group.Wait()
}

var exponent = regexp.MustCompile(`[0-9][eE]`)

// A schema may be anything, and what is checked as well: it is compiled or refused, checked or refused.
func FuzzSchema(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"$ref":"#"}}}`, `{"a":{"a":1}}`)
	f.Add(`{"$ref":"#/x","x":{"not":{}},"$id":"http://a.example/b"}`, `[null]`)
	f.Add(`{"$dynamicRef":"#a","$defs":{"a":{"$dynamicAnchor":"a","items":true}}}`, `"x"`)
	f.Fuzz(func(t *testing.T, schema, body string) {
		if exponent.MatchString(schema) || exponent.MatchString(body) {
			t.Skip() // an exponent makes a number of any length; scripts can't return one, and who writes a schema may
		}
		dir := write(t, map[string]string{"s.json": schema})
		s, err := jsonschema.Compile(filepath.Join(dir, "s.json"), dir)
		if err != nil {
			return
		}
		s.Check([]byte(body), nobodys)
	})
}

func BenchmarkCheck(b *testing.B) {
	s := compile(b, "redox/scheduling", "")
	body, err := os.ReadFile("../script/testdata/scheduling.golden.json")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if s.Check(body, nobodys) != nil {
			b.Fatal("invalid")
		}
	}
}
