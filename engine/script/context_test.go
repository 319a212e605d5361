// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// state is a record with data and what was fetched under the label "patient"; "" is nothing.
func state(version, data, patient string) *record.Record {
	r := &record.Record{
		Change: sdk.Change{
			Ref: sdk.Ref{Kind: "appointment", ID: "A1"}, Version: version, Op: sdk.Updated,
			Time: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), Data: json.RawMessage(data),
		},
	}
	if patient != "" {
		r.Fetched = map[string]json.RawMessage{"patient": json.RawMessage(patient)}
	}
	return r
}

func mapWith(t *testing.T, s *script.Script, r *record.Record, c script.Context) string {
	t.Helper()
	c.Now, c.Attempt = now, 1
	body, err := mapBoth(t, s, r, c)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestPreviousIsTheRecordAsItWas(t *testing.T) {
	s := compile(t, `export default ({ change }, context) => {
		const { previous } = context;
		if (previous === null) return { first: true, changed: context.changed };
		previous.change.data.start = previous.change.data.start + "!"; // a copy, as the record is
		return { same: previous === context.previous, was: previous, is: change.data, changed: context.changed };
	};`)
	r := state("2", `{"start":"b"}`, `{"id":9007199254740993}`)
	previous := state("1", `{"start":"a"}`, `{"id":9007199254740993}`)
	want := `{"same":true,"was":{"change":{"id":"A1","kind":"appointment","version":"1","op":"updated","event":"","actor":"",` +
		`"time":"2026-07-01T12:00:00Z","data":{"start":"a!"}},"fetched":{"patient":{"id":"9007199254740993"}}},"is":{"start":"b"},` +
		`"changed":["change.data.start"]}`
	for range 2 {
		if got := mapWith(t, s, r, script.Context{Previous: previous}); got != want {
			t.Errorf("got\n%s, want\n%s", got, want)
		}
	}
	if got, want := mapWith(t, s, r, script.Context{}), `{"first":true,"changed":[]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestChangedNamesWhatDiffers(t *testing.T) {
	many := func(n int, of string) string { return "[" + strings.Repeat(of+",", n-1) + of + "]" }
	deep := func(n int, of string) string { return strings.Repeat(`{"a":`, n) + of + strings.Repeat("}", n) }
	s := compile(t, `export default (_, { changed }) => ({ changed });`)
	for name, test := range map[string]struct {
		before, now     string
		patient, patNow string
		want            []string
	}{
		"nothing":                    {before: `{"a":1}`, now: `{"a":1}`, want: []string{}},
		"only written differently":   {before: `{"a":1, "b":"\u00e9"}`, now: `{"b":"é","a":1}`, want: []string{}},
		"the digits of a number":     {before: `{"a":1}`, now: `{"a":1.0}`, want: []string{"change.data.a"}},
		"members, sorted":            {before: `{"b":1,"a":{"c":1,"d":2}}`, now: `{"b":2,"a":{"c":2,"d":2}}`, want: []string{"change.data.a.c", "change.data.b"}},
		"came and went":              {before: `{"a":{"x":1}}`, now: `{"b":{"x":1}}`, want: []string{"change.data.a", "change.data.b"}},
		"null is not missing":        {before: `{"a":null}`, now: `{}`, want: []string{"change.data.a"}},
		"another kind of value":      {before: `{"a":{"x":1}}`, now: `{"a":[1]}`, want: []string{"change.data.a"}},
		"elements by index":          {before: `{"a":[1,{"x":1},3]}`, now: `{"a":[1,{"x":2}]}`, want: []string{"change.data.a.1.x", "change.data.a.2"}},
		"data that are no object":    {before: `1`, now: `2`, want: []string{"change.data"}},
		"data that went":             {before: `{"a":1}`, now: `null`, want: []string{"change.data"}},
		"data that never came":       {before: `null`, now: ``, want: []string{}},
		"fetched":                    {before: `{}`, now: `{}`, patient: `{"n":"a","p":[1]}`, patNow: `{"n":"b","p":[2]}`, want: []string{"fetched.patient.n", "fetched.patient.p.0"}},
		"fetched only now":           {before: `{}`, now: `{}`, patNow: `{"n":"b"}`, want: []string{"fetched.patient"}},
		"fetched only before":        {before: `{}`, now: `{}`, patient: `{"n":"b"}`, want: []string{"fetched.patient"}},
		"nothing to fetch, as ever":  {before: `{}`, now: `{}`, patNow: `null`, want: []string{}},
		"the last of one name":       {before: `{"a":1,"a":2}`, now: `{"a":3,"a":2}`, want: []string{}},
		"too many in one part":       {before: many(257, "1"), now: many(257, "2"), patient: `{"n":1}`, patNow: `{"n":2}`, want: []string{"change.data", "fetched.patient.n"}},
		"as deep as it goes":         {before: deep(32, "1"), now: deep(32, "2"), want: []string{"change.data" + strings.Repeat(".a", 32)}},
		"deeper than it goes":        {before: deep(500, "1"), now: deep(500, "2"), want: []string{"change.data" + strings.Repeat(".a", 32)}},
		"deeper, written otherwise":  {before: deep(500, "1"), now: deep(500, " 1"), want: []string{}},
		"a name with a dot as it is": {before: `{"a.b":1}`, now: `{"a.b":2}`, want: []string{"change.data.a.b"}},
	} {
		t.Run(name, func(t *testing.T) {
			body := mapWith(t, s, state("2", test.now, test.patNow), script.Context{Previous: state("1", test.before, test.patient)})
			var got struct{ Changed []string }
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Changed, test.want) {
				t.Errorf("got %q, want %q", got.Changed, test.want)
			}
		})
	}
	before, after := many(256, "1"), many(256, "2")
	body := mapWith(t, s, state("2", after, ""), script.Context{Previous: state("1", before, "")})
	if n := strings.Count(body, "change.data."); n != 256 {
		t.Errorf("%d paths of 256", n)
	}
}

// Whatever two documents hold, they differ somewhere if and only if they say something else, and in the same places both ways.
func FuzzChanged(f *testing.F) {
	f.Add(`{"a":[1,{"b":null}],"a":2}`, `{"a":[1,{"b":0}]}`)
	f.Add(`{"a":{"b":1}}`, `{"a":[],"":"\u00e9"}`)
	f.Add(` null`, `[[[]]]`)
	f.Fuzz(func(t *testing.T, a, b string) {
		if !json.Valid([]byte(a)) || !json.Valid([]byte(b)) || !utf8.ValidString(a+b) {
			t.Skip()
		}
		paths := script.Differences("d", []byte(a), []byte(b))
		if same := rawjson.Hash([]byte(a)) == rawjson.Hash([]byte(b)); same != (len(paths) == 0) {
			t.Errorf("the same: %v, but the paths are %q", same, paths)
		}
		if back := script.Differences("d", []byte(b), []byte(a)); !slices.Equal(paths, back) {
			t.Errorf("one way %q, the other %q", paths, back)
		}
		if len(paths) > 256 {
			t.Errorf("%d paths", len(paths))
		}
	})
}

func TestTablesTranslate(t *testing.T) {
	o := script.Options{
		Tables: map[string]map[string]string{
			"sites": {"1": "Main", "2": "Annex", "constructor": "Site 3", "__proto__": "Site 4"}, "sexes": {"f": "Female", "m": "Male"}, "empty": {},
		},
		TableDefaults: map[string]string{"sexes": "Unknown"},
	}
	for call, want := range map[string]string{
		"tables.sites[1]":                                        `"Main"`,
		"tables.sites['2']":                                      `"Annex"`,
		"tables.sites.constructor":                               `"Site 3"`,
		"tables.sites['__proto__']":                              `"Site 4"`,
		"tables.sites[3] ?? 'none'":                              `"none"`,
		"tables.sites.toString ?? 'none'":                        `"none"`,
		"tables.sexes.f + tables.sexes[null] + tables.sexes.x":   `"FemaleUnknownUnknown"`,
		"['f', 'x'].map((k) => k in tables.sexes)":               `[true,false]`,
		"Object.keys(tables)":                                    `["empty","sexes","sites"]`,
		"tables.sexes":                                           `{"f":"Female","m":"Male"}`,
		"tables.sites === tables.sites && tables === c.tables":   `true`,
		"tables.nowhere ?? 'none'":                               `"none"`,
		"tables.toString ?? 'none'":                              `"none"`,
		"Object.entries(tables.sexes)":                           `[["f","Female"],["m","Male"]]`,
		"attempt(() => { tables.sexes.f = 'x' })":                `"TypeError"`,
		"attempt(() => { tables.sexes.x = 'x' })":                `"TypeError"`,
		"attempt(() => { delete tables.sexes.f })":               `"TypeError"`,
		"attempt(() => { tables.more = {} })":                    `"TypeError"`,
		"attempt(() => { Object.assign(tables.sexes, {f: 1}) })": `"TypeError"`,
		"attempt(() => { c.tables = {} })":                       `"TypeError"`,
	} {
		t.Run(call, func(t *testing.T) {
			s, err := script.Compile(write(t, map[string]string{"map.js": `
				const attempt = (f) => { try { f(); return "done"; } catch (e) { return e.name; } };
				export default (_, c) => { const { tables } = c; return { v: ` + call + ` }; };`}), o)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // what one call does, the next does not see
				if got := mapWith(t, s, state("1", "{}", ""), script.Context{}); got != `{"v":`+want+`}` {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	s := compile(t, `export default (_, { tables }) => ({ n: Object.keys(tables).length });`)
	if got := mapWith(t, s, state("1", "{}", ""), script.Context{}); got != `{"n":0}` {
		t.Errorf("without tables: %s", got)
	}
}

func BenchmarkPreviousAndTables(b *testing.B) {
	table := map[string]string{}
	for i := range 100_000 {
		table[fmt.Sprint(i)] = "x"
	}
	for name, source := range map[string]string{
		"unused":   `export default () => ({});`,
		"previous": `export default (_, { previous }) => ({ id: previous.change.id });`,
		"changed":  `export default (_, { changed }) => ({ n: changed.length });`,
		"table":    `export default (_, { tables }) => ({ v: tables.large["4711"] });`,
	} {
		b.Run(name, func(b *testing.B) {
			s, err := script.Compile(write(b, map[string]string{"map.js": source}), script.Options{Tables: map[string]map[string]string{"large": table}})
			if err != nil {
				b.Fatal(err)
			}
			r, previous := appointment(b), appointment(b)
			previous.Change.Data = []byte(strings.Replace(string(previous.Change.Data), "10", "11", 1))
			for b.Loop() {
				if _, err := s.Map(b.Context(), r, script.Context{Previous: previous, Now: now}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
