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
)

// tryHCL has three deliver blocks, one with a filter.
const tryHCL = `
source "rest" "clinic" {
  base_url = "http://localhost:1"
  feed "appointments" {
    path  = "/appointments"
    query = { since = "{since}" }
    id    = "id"
    time  = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05Z07:00"
    }
  }
  resource "patient" {
    path = "/patient/{id}"
  }
}

destination "stdout" "a" {}

pipeline "appointments" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1s"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "one" {
    to       = destination.stdout.a
    map      = "one.js"
    order_by = change.data.patientID
  }
  deliver "two" {
    to     = destination.stdout.a
    map    = "two.js"
    filter = change.data.status == "booked"
  }
}
`

const (
	oneJS = `import { full } from "./names";

export default ({ change, fetched }, context) => ({ id: change.id, name: full(fetched.patient), now: context.now });
`
	namesJS = "export const full = (p) => `${p.name.first} <${p.name.last}>`;\n"
	twoJS   = "export default ({ change }) => (change.data.urgent ? { id: change.id } : null);\n"

	tryRecord = `{
  "change": {"id": "A1", "time": "2026-05-10T14:00:00Z", "data": {"patientID": "P1", "status": "booked", "urgent": true}},
  "fetched": {"patient": {"name": {"first": "Ana", "last": "Lee"}}}
}
`
)

func tryFiles() map[string]string {
	return map[string]string{"main.hcl": tryHCL, "one.js": oneJS, "names.js": namesJS, "two.js": twoJS, "x.json": tryRecord}
}

func TestMapShowsWhatWouldBeSent(t *testing.T) {
	t.Parallel()
	dir := write(t, tryFiles())
	file := filepath.Join(dir, "x.json")
	const one = "{\n  \"id\": \"A1\",\n  \"name\": \"Ana <Lee>\",\n  \"now\": \"2026-05-10T14:00:00.000Z\"\n}\n"
	code, stdout, stderr := rounds(t, nil, "map", "appointments", "--record", file, "--deliver", "one", dir)
	if code != 0 || stdout != one || stderr != "" {
		t.Errorf("one: exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = rounds(t, nil, "map", "appointments", "--record", file, dir)
	if code != 0 || stdout != one+"{\n  \"id\": \"A1\"\n}\n" || stderr != "deliver \"one\":\ndeliver \"two\":\n" {
		t.Errorf("both: exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = rounds(t, nil, "map", "appointments", "--record", file, "--json", dir)
	var results []struct {
		Deliver, Destination, Result string
		Key                          string `json:"ordering_key"`
		Body                         struct{ Name string }
	}
	if err := json.Unmarshal([]byte(stdout), &results); err != nil || code != 0 || len(results) != 2 || results[0].Key != "P1" ||
		results[0].Result != "mapped" || results[0].Destination != "stdout.a" || results[0].Body.Name != "Ana <Lee>" || results[1].Deliver != "two" {
		t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(tryFiles()) {
		t.Errorf("map left something beside the configuration: %v", left)
	}
}

func TestMapShowsWhyNothingWouldBeSent(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		deliver        string
		oldnew         []string // in the record
		stdout, stderr string   // parts
	}{
		"filter":      {"two", []string{"booked", "draft"}, "", `deliver "two": filtered out, as its filter does not hold for this record`},
		"null":        {"two", []string{"true", "false"}, "", `deliver "two": filtered out, as the mapping returned null`},
		"throws":      {"one", []string{`{"name": {"first": "Ana", "last": "Lee"}}`, `{}`}, "", "names.js:1:38: TypeError"},
		"what":        {"one", []string{`{"name": {"first": "Ana", "last": "Lee"}}`, `{}`}, "", "TypeError: Cannot read property 'first' of undefined"},
		"one of two":  {"", []string{"true", "false"}, `"Ana <Lee>"`, `deliver "two": filtered out`},
		"bad record":  {"", []string{"booked", `book"ed`}, "", "x.json: line 2, column 102: this is not valid JSON"},
		"no fetch":    {"", []string{`"patient"`, `"person"`}, "", "no fetch block for; it has 1: patient"},
		"no previous": {"one", []string{`  "fetched"`, `  "previous": {"change": {}}, "fetched"`}, "", "pipeline appointments has no keep_previous"},
		"no pipeline": {"three", []string{"booked", "booked"}, "", `no deliver block "three"; it has: one, two`},
	} {
		files := tryFiles()
		files["x.json"] = replaced(t, tryRecord, x.oldnew...)
		dir := write(t, files)
		args := []string{"map", "appointments", "--record", filepath.Join(dir, "x.json"), "--deliver", x.deliver, dir}
		code, stdout, stderr := rounds(t, nil, args...)
		if code != 1 || !strings.Contains(stdout, x.stdout) || x.stdout == "" && stdout != "" || !strings.Contains(stderr, x.stderr) {
			t.Errorf("%s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
	}
	dir := write(t, tryFiles())
	code, stdout, stderr := rounds(t, nil, "map", "appointments", "--record", filepath.Join(dir, "none.json"), dir)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "none.json: no such file") {
		t.Errorf("no record: exit code %d\n%s%s", code, stdout, stderr)
	}
	overwrite(t, dir, "x.json", replaced(t, tryRecord, "booked", "draft"))
	code, stdout, _ = rounds(t, nil, "map", "appointments", "--record", filepath.Join(dir, "x.json"), "--deliver", "two", "--json", dir)
	if code != 1 || !strings.Contains(stdout, `"result": "filtered"`) || strings.Contains(stdout, "ordering_key") {
		t.Errorf("as JSON: exit code %d\n%s", code, stdout)
	}
}

// TestMapUsesAllThatTheConfigurationSays: the record before, tables and schemas.
func TestMapUsesAllThatTheConfigurationSays(t *testing.T) {
	t.Parallel()
	files := tryFiles()
	files["main.hcl"] = replaced(t, tryHCL, `pipeline "appointments" {`, "table \"sites\" {\n  values = { N = \"North\" }\n}\n\npipeline \"appointments\" {\n  keep_previous = true",
		`map      = "one.js"`, "map      = \"one.js\"\n    validate = \"schema.json\"")
	files["one.js"] = "export default ({ change }, { previous, changed, tables }) =>\n" +
		"  ({ op: change.op, was: previous?.change.data.status ?? null, changed, site: tables.sites.N });\n"
	files["schema.json"] = `{"properties": {"was": {"type": "string"}}}`
	dir := write(t, files)
	args := []string{"map", "appointments", "--record", filepath.Join(dir, "x.json"), "--deliver", "one", dir}
	code, stdout, stderr := rounds(t, nil, args...)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "not valid by schema.json: /was type") {
		t.Errorf("not valid: exit code %d\n%s%s", code, stdout, stderr)
	}
	overwrite(t, dir, "x.json", replaced(t, tryRecord, `  "fetched"`, `  "previous": {"change": {"data": {"patientID": "P1", "status": "draft", "urgent": true}}}, "fetched"`))
	code, stdout, stderr = rounds(t, nil, args...)
	want := "{\n  \"op\": \"updated\",\n  \"was\": \"draft\",\n  \"changed\": [\n    \"change.data.status\",\n    \"fetched.patient\"\n  ],\n  \"site\": \"North\"\n}\n"
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// TestMapWatches changes each kind of file that what is shown is made of, a broken script on the way.
func TestMapWatches(t *testing.T) {
	t.Parallel()
	dir := write(t, tryFiles())
	elsewhere := write(t, map[string]string{"x.json": tryRecord})
	p := start(t, nil, "map", "appointments", "--record", filepath.Join(elsewhere, "x.json"), "--deliver", "one", "--watch", dir)
	shown := func(where *output, what string) {
		t.Helper()
		p.eventually(20*time.Second, what, func() bool { return strings.Contains(where.String(), what) })
	}
	shown(p.stdout, `"Ana <Lee>"`)
	overwrite(t, elsewhere, "x.json", replaced(t, tryRecord, "Ana", "Bea"))
	shown(p.stdout, `"Bea <Lee>"`)
	overwrite(t, dir, "names.js", replaced(t, namesJS, "<", "("))
	shown(p.stdout, `"Bea (Lee>"`)
	overwrite(t, dir, "one.js", "let = ;")
	shown(p.log, "one.js:1")
	overwrite(t, dir, "one.js", replaced(t, oneJS, "change.id", `"mended"`))
	shown(p.stdout, `"mended"`)
	overwrite(t, dir, "main.hcl", replaced(t, tryHCL, `"one.js"`, `"two.js"`))
	shown(p.stdout, "{\n  \"id\": \"A1\"\n}\n")
	if err := os.Remove(filepath.Join(elsewhere, "x.json")); err != nil {
		t.Fatal(err)
	}
	shown(p.log, "no such file")
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
