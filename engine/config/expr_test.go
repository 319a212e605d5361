// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

const frame = `
source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
  resource "patient" { path = "/patient/{id}" }
  resource "provider" { path = "/provider/{id}" }
}
destination "stdout" "screen" {}
pipeline "appointments" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "patient" { id = change.data.patientID }
  fetch "provider" { id = fetched.patient.provider }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
    order_by = %s
  }
}
variable "tenant" { default = "north" }
variable "number" { default = 7 }
variable "secret" {
  sensitive = true
  default   = "salt"
}
locals { list = ["x", "y"] }
table "sites" { values = { s1 = "Main", "7" = "Seven" } }
table "rest" {
  values  = { s1 = "Main" }
  default = "Other"
}
`

// large is a table of 10,000 entries, for benchmarks.
func large() string {
	var hcl strings.Builder
	hcl.WriteString("table \"large\" {\n  values = {\n")
	for i := range 10_000 {
		fmt.Fprintf(&hcl, "    p-%d = \"name %d\"\n", i, i)
	}
	return hcl.String() + "  }\n}\n"
}

// expr compiles an expression as an order_by, which stands in line 22 of main.hcl.
func expr(t testing.TB, text string) *config.Expr {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.hcl"), fmt.Sprintf(frame, text))
	write(t, filepath.Join(dir, "a.js"), "")
	write(t, filepath.Join(dir, "salt"), "CANARY-SALT")
	if _, ok := t.(*testing.B); ok {
		write(t, filepath.Join(dir, "large.hcl"), large())
	}
	c, files, diags := config.Load(t.Context(), dir, options(dir))
	if diags.HasErrors() {
		var out strings.Builder
		config.WriteDiagnostics(&out, files, diags, false, 0)
		t.Fatal(out.String())
	}
	return c.Pipelines[0].Delivers[0].OrderBy
}

var appointment = &record.Record{
	Change: sdk.Change{
		Ref: sdk.Ref{Kind: "appointment", ID: "a1"}, Version: "7", Op: sdk.Updated, Event: "appointment.moved", Actor: "front desk",
		Time: time.Date(2026, 1, 31, 8, 0, 0, 500, time.FixedZone("", -5*3600)),
		Data: json.RawMessage(`{"patientID": 12345678901234567890123, "ratio": 1.10, "big": 1e999999999, "new": true, "none": null, "empty": "", "one": 1,
			"mrn": "00123", "site": {"id": "s1", "odd key": 1}, "list": [{"id": "x"}, {"id": "y"}], "nested": [[1, [2, {"a": null}]], true, -0.5]}`),
	},
	Fetched: map[string]json.RawMessage{"patient": json.RawMessage(`{"id": "p1", "provider": "d1", "name": "PATIENT-NAME"}`), "provider": json.RawMessage("null")},
}

func TestExpression(t *testing.T) {
	for _, c := range []struct {
		expr, want string // want empty: absent
	}{
		// look-ups
		{`change.id`, "a1"}, {`change.kind`, "appointment"}, {`change.version`, "7"}, {`change.op`, "updated"},
		{`change.event`, "appointment.moved"}, {`change.actor`, "front desk"}, {`change.time`, "2026-01-31T13:00:00.0000005Z"},
		{`change.data.patientID`, "12345678901234567890123"}, {`change.data.ratio`, "1.10"}, {`change.data.new`, "true"},
		{`change.data.mrn`, "00123"}, {`change.data.list[1].id`, "y"}, {`change.data.list.0.id`, "x"}, {`change.data.site["odd key"]`, "1"},
		{`change["data"].site.id`, "s1"}, {`fetched.patient.id`, "p1"}, {`fetched["patient"].id`, "p1"}, {`(change.id)`, "a1"}, {`"${change.data.mrn}"`, "00123"},
		{`change.data.big`, "1e999999999"},
		{`change.data.none`, ""}, {`change.data.missing.deep`, ""}, {`change.data.empty`, ""}, {`change.data.list[7].id`, ""},
		{`fetched.provider.id`, ""}, {`fetched.provider`, ""},
		// evaluated
		{`"${change.kind}/${change.data.patientID}"`, "appointment/12345678901234567890123"}, {`"${change.data.ratio} ${change.data.new}"`, "1.10 true"},
		{`change.data.ratio + 1`, "2.1"}, {`change.data.patientID + 0`, "12345678901234567890123"}, {`change.data.new ? change.id : "old"`, "a1"},
		{`change.data.missing == null ? "none" : "some"`, "none"}, {`change.data.none == null ? null : "x${change.data.none}"`, ""},
		{`change.data.site.id == "s1"`, "true"}, {`change.data.site.id == "s1" ? "" : "x"`, ""}, {`change.version == "7" ? "seven" : "other"`, "seven"},
		{`change.data.list[change.data.new ? 1 : 0].id`, "y"}, {`[for x in change.data.list : x.id][0]`, "x"}, {`[for change in [1] : change][0]`, "1"},
		{`[for id in change.data.list[*].id : id][1]`, "y"}, {`change.data.nested[0][1][0]`, "2"}, {`{ for k, v in change.data.site : v => k }["s1"]`, "id"},
		{`"${secret("salt")}-${change.id}"`, "CANARY-SALT-a1"}, {`"${file("salt")}${env("TENANT")}"`, "CANARY-SALTCANARY-TENANT"},
		{`"one lane"`, "one lane"}, {`null`, ""}, {`5`, "5"},
		// constants
		{`var.tenant`, "north"}, {`"${var.tenant}/${change.id}"`, "north/a1"}, {`local.list[var.number - 6]`, "y"}, {`(var.number)`, "7"},
		{`secret(var.secret)`, "CANARY-SALT"}, {`secret(lower("SALT"))`, "CANARY-SALT"}, {`[for var in ["x"] : var][0]`, "x"},
		{`table.sites[change.data.site.id]`, "Main"}, {`table.sites[fetched.patient.id == "p1" ? 7 : 8]`, "Seven"}, {`table.sites.s1`, "Main"},
		{`table.rest[change.data.site.id]`, "Main"}, {`table.rest[change.data.mrn]`, "Other"}, {`table.rest[change.data.none]`, "Other"},
		{`"${table.rest[table.rest[change.data.missing]]}"`, "Other"}, {`[for table in [{ rest = { a = "b" } }] : table.rest["a"]][0]`, "b"},
		{`lookup(table.sites, change.data.mrn, "none")`, "none"}, {`lookup(table.sites, change.data.site.id, "none")`, "Main"},
		{`lookup(table.sites, change.data.missing, "none")`, "none"}, {`lookup(change.data.site, "id", "none")`, "s1"},
		{`lookup(change.data.site, change.data.mrn, "none")`, "none"}, {`lookup({ a = var.secret, b = "5" }, "a", "")`, "salt"},
		{`lookup(table.sites, change.data.mrn, 7)`, "7"}, {`lookup(table.rest, change.data.mrn, "none")`, "none"},
		{`lookup(table.sites, lookup(table.sites, table.rest["s1"], "s1"), "none")`, "Main"},
		// functions
		{`upper(change.data.site.id)`, "S1"}, {`join("/", change.data.list[*].id)`, "x/y"}, {`split(".", change.event)[1]`, "moved"},
		{`format("%05d-%s", length(change.data.list), change.id)`, "00002-a1"}, {`replace(change.data.mrn, "/^0+/", "")`, "123"},
		{`replace(change.data.mrn, "0", "-")`, "--123"}, {`regex("[1-9]+", change.data.mrn)`, "123"}, {`coalesce(change.data.none, change.id)`, "a1"},
		{`contains(keys(change.data.site), "id")`, "true"}, {`trimprefix(change.data.mrn, "00")`, "123"}, {`length(change.data.mrn)`, "5"},
		{`length(change.data.site)`, "2"}, {`jsonencode(change.data.list)`, `[{"id":"x"},{"id":"y"}]`}, {`jsondecode("[\"${change.id}\"]")[0]`, "a1"},
		{`formatdate("YYYY-MM", change.time)`, "2026-01"}, {`tonumber(change.data.mrn) + 1`, "124"}, {`merge(change.data.site, { id = "x" }).id`, "x"},
		{`startswith(change.event, "appointment.")`, "true"}, {`endswith(change.event, "x")`, "false"}, {`strcontains(change.event, "nt.m")`, "true"},
		{`max(change.data.ratio, 2)`, "2"}, {`substr(var.secret, 0, 2)`, "sa"}, {`tostring(change.data.ratio)`, "1.1"},
		{`contains(local.list, fetched.patient.id) ? "in" : "out"`, "out"}, {`length(concat(local.list, change.data.list[*].id))`, "4"},
	} {
		got, present, err := expr(t, c.expr).Eval(appointment)
		if got != c.want || present != (c.want != "") || err != nil {
			t.Errorf("%s = %q, %v, %v, want %q", c.expr, got, present, err, c.want)
		}
	}
}

// fetchFrame has a fetch whose for_each and when are in lines 13 and 14 of main.hcl.
const fetchFrame = `
source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
  resource "patient" { path = "/patient/{id}" }
}
destination "stdout" "screen" {}
pipeline "appointments" {
  fetch "patient" {
    for_each = %s
    when     = %s
  }
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  deliver "screen" {
    to  = destination.stdout.screen
    map = "a.js"
  }
}
`

func fetch(t testing.TB, forEach, when string) config.Fetch {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.hcl"), fmt.Sprintf(fetchFrame, forEach, when))
	write(t, filepath.Join(dir, "a.js"), "")
	c, _, diags := config.Load(t.Context(), dir, options(dir))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return c.Pipelines[0].Fetches[0]
}

func TestParentExpression(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.hcl"), strings.Replace(fmt.Sprintf(frame, `"${parent.id}/${parent.data.site.id}/${change.id}"`),
		`  fetch "patient" { id = change.data.patientID }`, `  fetch "patient" { id = parent.data.mrn }
  expand "provider" {
    id  = change.data.patientID
    key = "id"
  }`, 1))
	write(t, filepath.Join(dir, "a.js"), "")
	c, _, diags := config.Load(t.Context(), dir, options(dir))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	p := c.Pipelines[0]
	child := &record.Record{Change: sdk.Change{Ref: sdk.Ref{ID: "c1"}}, Parent: &appointment.Change}
	for _, x := range []struct {
		expr *config.Expr
		of   *record.Record
		want string
	}{
		{p.Expand.ID, appointment, "12345678901234567890123"}, {p.Fetches[0].ID, child, "00123"}, {p.Delivers[0].OrderBy, child, "a1/s1/c1"},
		{p.Fetches[0].ID, &record.Record{}, ""},
	} {
		if got, _, err := x.expr.Eval(x.of); got != x.want || err != nil {
			t.Errorf("%s = %q, %v, want %q", x.expr, got, err, x.want)
		}
	}
}

func TestListExpression(t *testing.T) {
	for _, c := range []struct {
		expr string
		want []string
		err  string
	}{
		{`change.data.mixed`, []string{"a", "", "12345678901234567890123", "true"}, ""},
		{`change.data.list[*].id`, []string{"x", "y"}, ""},
		{`[for x in change.data.list : x.id if x.id != "x"]`, []string{"y"}, ""},
		{`[change.id, change.data.none, change.data.empty, change.data.patientID]`, []string{"a1", "", "", "12345678901234567890123"}, ""},
		{`change.data.none`, nil, ""}, {`change.data.missing`, nil, ""}, {`change.event == "x" ? ["a"] : null`, nil, ""},
		{`change.data.missing[*].id`, nil, ""}, {`change.data.hollow`, nil, ""},
		{`change.data.mrn`, nil, "main.hcl:13: change.data.mrn is no list"},
		{`change.id`, nil, "main.hcl:13: change.id is no list"},
		{`change.data.site`, nil, "main.hcl:13: change.data.site is no list"},
		{`change.data.list`, nil, "main.hcl:13: change.data.list holds an object or a list; texts or numbers are wanted"},
		{`change.data.list[*]`, nil, "main.hcl:13: the expression gives an object; a text or a number is wanted"},
		{`change.data.list[*].name`, nil, "main.hcl:13: Unsupported attribute (a path that leads nowhere is null: test for it with == null)"},
		{`change.data.new ? change.data.mrn : null`, nil, "main.hcl:13: the expression gives a string; a list of texts or numbers is wanted"},
	} {
		got, err := fetch(t, c.expr, "true").ForEach.EvalList(lists)
		if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s = %q, %v, want %q, %q", c.expr, got, err, c.want, c.err)
		}
	}
}

func TestConditionExpression(t *testing.T) {
	for _, c := range []struct {
		expr string
		want bool
		err  string
	}{
		{`change.data.new`, true, ""}, {`!change.data.new`, false, ""}, {`change.op == "updated"`, true, ""}, {`false`, false, ""},
		{`change.data.missing == "x"`, false, ""}, {`change.data.missing == true`, false, ""}, {`change.data.said`, true, ""},
		{`change.data.missing`, false, "main.hcl:14: the expression gives null; true or false is wanted"},
		{`change.data.none`, false, "main.hcl:14: the expression gives null"},
		{`change.data.mrn`, false, "main.hcl:14: the expression gives a string; true or false is wanted"},
		{`change.id`, false, "main.hcl:14: the expression gives a string; true or false is wanted"},
		{`change.data.list`, false, "main.hcl:14: the expression gives a list; true or false is wanted"},
		{`change.data.mrn > 5 && change.data.site > 5`, false, "main.hcl:14: "},
	} {
		got, err := fetch(t, `change.data.list[*].id`, c.expr).When.EvalBool(lists)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s = %v, %v, want %v, %q", c.expr, got, err, c.want, c.err)
		}
	}
}

var lists = &record.Record{Change: sdk.Change{
	Ref: sdk.Ref{Kind: "appointment", ID: "a1"}, Op: sdk.Updated,
	Data: json.RawMessage(`{"patientID": 12345678901234567890123, "new": true, "none": null, "empty": "", "mrn": "00123", "site": {"id": "s1"}, "said": "true",
		"list": [{"id": "x"}, {"id": "y"}], "mixed": ["a", null, 12345678901234567890123, true], "hollow": []}`),
}}

func TestExpressionsGiveNormalFormCAndPathsWhatWasSent(t *testing.T) {
	r := &record.Record{Change: sdk.Change{Ref: sdk.Ref{ID: "e\u0301"}, Data: json.RawMessage(`{"id": "e\u0301"}`)}}
	for text, want := range map[string]string{
		`change.id`: "e\u0301", `change.data.id`: "e\u0301", `"x${change.id}"`: "x\u00e9", `change.data.id == change.id ? change.data.id : ""`: "\u00e9",
		`change.data.id == "e\u0301"`: "true", `change.data.id == "\u00e9"`: "true",
	} {
		if got, _, err := expr(t, text).Eval(r); got != want || err != nil {
			t.Errorf("%s = %+q, %v, want %+q", text, got, err, want)
		}
	}
}

func TestExpressionOnARecordThatHasNothing(t *testing.T) {
	for _, text := range []string{`change.data.x`, `change.time`, `change.event`, `fetched.patient.id`, `change.data`, `fetched.patient`,
		`change.event == null ? null : "x"`, `change.data.x == null ? null : "x"`, `fetched.patient == null ? null : "x"`} {
		if got, present, err := expr(t, text).Eval(&record.Record{}); got != "" || present || err != nil {
			t.Errorf("%s = %q, %v, %v", text, got, present, err)
		}
	}
}

func TestExpressionErrorsNameTheLineAndNoValue(t *testing.T) {
	for text, want := range map[string]string{
		`change.data.site`:                                         "change.data.site is an object or a list",
		`change.data.list`:                                         "change.data.list is an object or a list",
		`change.data.new ? change.data.site : null`:                "the expression gives an object",
		`change.data.new ? change.data.list : null`:                "the expression gives a list",
		`"x${change.data.missing}"`:                                "Invalid template interpolation value",
		`fetched.patient[fetched.patient.name]`:                    "Invalid index",
		`fetched.patient.name + 1`:                                 "Invalid operand",
		`change.data.big + 1`:                                      "a number in the record is out of range",
		`[for x in change.data.list : x[change.data.mrn]][0]`:      "Invalid index",
		`{ for x in ["a", "b"] : fetched.patient.name => x }["a"]`: "Duplicate object key",
		`table.sites[fetched.patient.name]`:                        "Invalid index",
		`tonumber(fetched.patient.name)`:                           "Invalid function argument",
		`lookup(change.data.list, change.id, "")`:                  "Invalid function argument",
		`lookup(change.data.missing, change.id, "")`:               "Invalid function argument",
		`lookup(table.sites, change.id, change.data.list)`:         "Invalid function argument",
		`upper(change.data.missing)`:                               "Invalid function argument",
		`jsondecode(fetched.patient.name)`:                         "Error in function call",
		`format("%${change.data.patientID}d", 1)`:                  "Result out of range",
	} {
		got, present, err := expr(t, text).Eval(appointment)
		if got != "" || present || err == nil {
			t.Errorf("%s = %q, %v, want an error", text, got, present)
			continue
		}
		if !strings.Contains(err.Error(), "main.hcl:22: "+want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		for _, value := range []string{"PATIENT", "00123", "999999999", "s1"} {
			if strings.Contains(err.Error(), value) {
				t.Errorf("%s: the error holds a value: %v", text, err)
			}
		}
		if sdk.CodeOf(err) != sdk.CodePermanent {
			t.Errorf("%s: %s, but no repetition mends it", text, sdk.CodeOf(err))
		}
	}
}

// filter compiles an expression as a filter, which stands in line 22 of main.hcl.
func filter(t testing.TB, text string) *config.Expr {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.hcl"), strings.Replace(fmt.Sprintf(frame, text), "order_by =", "filter =", 1))
	write(t, filepath.Join(dir, "a.js"), "")
	c, _, diags := config.Load(t.Context(), dir, options(dir))
	if diags.HasErrors() {
		t.Fatal(text, diags)
	}
	return c.Pipelines[0].Delivers[0].Filter
}

func TestFilter(t *testing.T) {
	for text, want := range map[string]bool{
		`change.data.new`: true, `!change.data.new`: false, `change.data.flag`: false, `"${change.data.flag}"`: false, `true`: true,
		`change.data.status != "draft"`: true, `change.data.mrn == "00123" && fetched.patient.id == "p1"`: true, `change.data.missing == null`: true,
		`contains(["x"], var.tenant)`: false, `table.rest[change.data.mrn] == "Other"`: true, `change.event == "x" ? change.data.missing : false`: false,
	} {
		r := *appointment
		r.Change.Data = json.RawMessage(strings.Replace(string(r.Change.Data), `"new"`, `"flag": "false", "new"`, 1))
		if got, err := filter(t, text).EvalBool(&r); got != want || err != nil {
			t.Errorf("%s = %v, %v", text, got, err)
		}
	}
}

func TestFilterThatGivesNeitherTrueNorFalseIsAnError(t *testing.T) {
	for text, want := range map[string]string{
		`change.data.missing`: "gives null", `change.event == "x" ? true : null`: "gives null", `change.data.none`: "gives null",
		`change.data.mrn`: "the expression gives a", `change.data.site`: "the expression gives a", `change.data.ratio`: "the expression gives a",
		`change.data.empty`: "the expression gives a", `change.id`: "the expression gives a", `"${change.data.mrn}"`: "the expression gives a",
		`change.data.list[0]`: "the expression gives a", `change.data.one`: "the expression gives a",
		`change.data.big`:              "a number in the record is out of range",
		`fetched.patient.name && true`: "Invalid operand",
	} {
		got, err := filter(t, text).EvalBool(appointment)
		if got || err == nil || !strings.Contains(err.Error(), "main.hcl:22: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %v, %v, want %s", text, got, err, want)
			continue
		}
		for _, value := range []string{"PATIENT", "00123", "s1"} {
			if strings.Contains(err.Error(), value) {
				t.Errorf("%s: the error holds a value: %v", text, err)
			}
		}
	}
}

func TestFunctionsRefuseWhatWouldEatTheMemory(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	r := &record.Record{Change: sdk.Change{Data: json.RawMessage(fmt.Sprintf(`{"long": %q, "format": %q, "groups": %q}`,
		long, strings.Repeat("%[1]s", 20_000), strings.Repeat("$1", 500)))}}
	for _, text := range []string{
		`replace(change.data.long, "", change.data.long)`, `replace(change.data.long, "/./", change.data.long)`,
		`replace(change.data.long, "/(.*)/", change.data.groups)`, `join(change.data.long, split("", change.data.long))`,
		`format(change.data.format, change.data.long)`, `distinct(split("", change.data.long))[0]`,
	} {
		got, _, err := expr(t, text).Eval(r)
		if err == nil || !strings.Contains(err.Error(), "Result out of range") {
			t.Errorf("%s: %d bytes, %v", text, len(got), err)
		}
	}
}

// TestNumbersWrittenAsTextAreBoundedToo: of a number of a hundred million digits, not one is written.
func TestNumbersWrittenAsTextAreBoundedToo(t *testing.T) {
	r := &record.Record{Change: sdk.Change{Data: json.RawMessage(`{"s": "1e99999999", "id": "24E12345", "zero": 0}`)}}
	for text, want := range map[string]string{
		`"x${change.data.s + 0}"`: "out of the usual range", `"${-change.data.s}"`: "out of the usual range",
		`"x${1 / change.data.zero}"`: "out of the usual range", `change.data.s - 1`: "out of the usual range",
		`tostring(change.data.s * 2)`: "out of the usual range", `tonumber(change.data.s)`: "Result out of range",
		`format("%d", change.data.s)`: "Result out of range", `format("%s %5.1f", "", change.data.s)`: "Result out of range",
		`[0][change.data.s]`: "Invalid index", `{ (change.data.s + 0) = 1 }["a"]`: "out of the usual range",
	} {
		if got, _, err := expr(t, text).Eval(r); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "99999999") {
			t.Errorf("%s: %.20q, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{ // numbers by their looks, and identifiers
		`"x${change.data.id}"`: "x24E12345", `format("%s-%v", change.data.id, 1)`: "24E12345-1", `change.data.s > 5`: "true",
		`change.data.s * 0`: "0",
	} {
		if got, _, err := expr(t, text).Eval(r); got != want || err != nil {
			t.Errorf("%s = %.20q, %v, want %s", text, got, err, want)
		}
	}
}

func TestExpressionIsEvaluatedConcurrently(t *testing.T) {
	e := expr(t, `"${[for id in change.data.list[*].id : id][0]}-${secret("salt")}"`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got, _, err := e.Eval(appointment); got != "x-CANARY-SALT" || err != nil {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestManyFetchesThatNeedEachOtherAreChecked(t *testing.T) {
	// Each needs all before it: no cycle, and more ways through than could be walked.
	var hcl strings.Builder
	for i := range 40 {
		fmt.Fprintf(&hcl, "fetch \"f%d\" {\nid = \"${change.id}", i)
		for j := range i {
			fmt.Fprintf(&hcl, "${fetched.f%d.id}", j)
		}
		hcl.WriteString("\"\n}\n")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.js"), "")
	text := strings.Replace(fmt.Sprintf(frame, "change.id"), `resource "provider" { path = "/provider/{id}" }`, "", 1)
	text = strings.Replace(text, `fetch "provider" { id = fetched.patient.provider }`, hcl.String(), 1)
	for i := range 40 {
		text = strings.Replace(text, `resource "patient"`, fmt.Sprintf("resource \"f%d\" { path = \"/x\" }\n  resource \"patient\"", i), 1)
	}
	write(t, filepath.Join(dir, "main.hcl"), text)
	c, _, diags := config.Load(t.Context(), dir, options(dir))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	last := c.Pipelines[0].Fetches[40]
	if last.Name != "f39" || len(last.Needs) != 39 {
		t.Errorf("%s needs %v", last.Name, last.Needs)
	}
}
