// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/engine/script/worker"
	"github.com/rounds-engine/rounds/sdk"
)

var now = time.Date(2026, 3, 8, 6, 30, 0, 250e6, time.UTC)

// write makes a directory of files and gives the path of map.js, or of map.ts.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := files["map.ts"]; ok {
		return filepath.Join(dir, "map.ts")
	}
	return filepath.Join(dir, "map.js")
}

func compile(t testing.TB, source string) *script.Script {
	t.Helper()
	return compileFiles(t, map[string]string{"map.js": source})
}

func compileFiles(t testing.TB, files map[string]string) *script.Script {
	t.Helper()
	s, err := script.Compile(write(t, files), script.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// body makes a script whose mapping returns { v: expression }.
func returning(expression string) string {
	return "export default ({ change, fetched }, context) => ({ v: " + expression + " });"
}

func mapRecord(t testing.TB, s *script.Script, r *record.Record) (string, error) {
	t.Helper()
	return mapBoth(t, s, r, script.Context{Pipeline: "appointments", Source: "rest.clinic", Deliver: "scheduling", Now: now, Attempt: 2})
}

// mapBoth maps in this process and in a worker, and has them give the same.
func mapBoth(t testing.TB, s *script.Script, r *record.Record, c script.Context) (string, error) {
	t.Helper()
	body, err := s.Map(t.Context(), r, c)
	apart, errApart := isolated.Map(t.Context(), s.Bundle, r, c)
	var here, there *script.Error
	late := func(e **script.Error, err error) bool { return errors.As(err, e) && (*e).TimedOut }
	for range 5 { // a machine under load
		switch a, b := late(&here, err), late(&there, errApart); {
		case a && !b:
			body, err = s.Map(t.Context(), r, c)
		case b && !a:
			apart, errApart = isolated.Map(t.Context(), s.Bundle, r, c)
		}
	}
	if errors.As(err, &here) && errors.As(errApart, &there) {
		a, b := *here, *there
		if a.TimedOut { // where it was just then
			b.Line, b.Column, b.Detail = a.Line, a.Column, a.Detail
		}
		if a != b {
			t.Errorf("the worker says\n%+v\nand without one it is\n%+v", b, a)
		}
	} else if string(apart) != string(body) || (apart == nil) != (body == nil) || (err == nil) != (errApart == nil) {
		t.Errorf("the worker gives\n%s, %v\nand without one it is\n%s, %v", apart, errApart, body, err)
	}
	return string(body), err
}

// isolated is the worker of all tests, another process of this program.
var isolated = worker.New(worker.Options{Command: []string{os.Args[0]}, Name: "the tests", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})

func TestMain(m *testing.M) {
	if os.Getenv(sdk.CookieVariable) == sdk.CookieValue {
		if err := worker.Serve(os.Stdin, os.Stdout, worker.Memory); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	isolated.End()
	os.Exit(code)
}

func small(data string) *record.Record {
	return &record.Record{
		Change: sdk.Change{
			Ref: sdk.Ref{Kind: "appointment", ID: "A1"}, Version: "7", Op: sdk.Updated, Event: "moved", Actor: "desk",
			Time: now.Add(-time.Minute), Data: json.RawMessage(data),
		},
		Fetched: map[string]json.RawMessage{"patient": json.RawMessage(`{"id":"P1","name":{"last":"Doe"}}`), "room": nil},
	}
}

func TestMappingGetsTheRecordAndTheContext(t *testing.T) {
	s := compile(t, `export default (record, context) => ({ record, context });`)
	got, err := mapRecord(t, s, small(`{"start":"2026-03-08T10:00:00","n":[1,2.5,true,null]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"record":{"change":{"id":"A1","kind":"appointment","version":"7","op":"updated","event":"moved","actor":"desk",` +
		`"time":"2026-03-08T06:29:00.25Z","data":{"start":"2026-03-08T10:00:00","n":[1,2.5,true,null]}},` +
		`"fetched":{"patient":{"id":"P1","name":{"last":"Doe"}},"room":null}},` +
		`"context":{"pipeline":"appointments","source":"rest.clinic","deliver":"scheduling",` +
		`"now":"2026-03-08T06:30:00.250Z","attempt":2,"previous":null,"changed":[],"tables":{}}}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r := small("")
	r.Change.Time = time.Time{}
	got, err = mapRecord(t, compile(t, returning("[change.time, change.data]")), r)
	if want := `{"v":[null,null]}`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestAChildHasItsParent(t *testing.T) {
	r := small(`{"number":5}`)
	parent := sdk.Change{Ref: sdk.Ref{Kind: "patient", ID: "P1"}, Op: sdk.Updated, Data: json.RawMessage(`{"mrn":"7"}`)}
	s := compile(t, `export default ({ change, parent }) => ({ v: parent ? [change.data.number, parent.id, parent.time, parent.data.mrn] : "none" });`)
	if got, err := mapRecord(t, s, r); err != nil || got != `{"v":"none"}` {
		t.Errorf("without a parent: %s, %v", got, err)
	}
	r.Parent = &parent
	if got, err := mapRecord(t, s, r); err != nil || got != `{"v":[5,"P1",null,"7"]}` {
		t.Errorf("with a parent: %s, %v", got, err)
	}
	parent.Data = json.RawMessage(`{"CANARY`)
	if _, err := mapRecord(t, s, r); err == nil || strings.Contains(err.Error(), "CANARY") || !strings.Contains(err.Error(), "parent.data") {
		t.Errorf("a parent that is no JSON: %v", err)
	}
}

func TestNullFiltersTheChangeOut(t *testing.T) {
	body, err := compile(t, "export default () => null;").Map(t.Context(), small(`{}`), script.Context{})
	if body != nil || err != nil {
		t.Errorf("got %q, %v, want nil, nil", body, err)
	}
}

// What a script does to anything that it can reach is gone at the next call.
func TestNothingSurvivesACall(t *testing.T) {
	for name, source := range map[string]string{
		"module variable": `let n = 0; export default () => ({ v: ++n });`,
		"imported module": `import { seen } from "./state.js"; export default () => { seen.push(1); return { v: seen.length }; };`,
		"globalThis":      `export default () => { globalThis.n = (globalThis.n ?? 0) + 1; return { v: globalThis.n }; };`,
		"prototype":       `export default () => { const v = ({}).n ?? 1; Object.prototype.n = 2; return { v }; };`,
		"array prototype": `export default () => { const v = [].n ?? 1; Array.prototype.n = 2; return { v }; };`,
		"intrinsic": `export default () => { const v = JSON.stringify({ a: 1 }).length - 6;
			JSON.stringify = () => "............"; Math.max = () => 9; return { v }; };`,
		"function property": `function f() {} export default function map() { map.n = (map.n ?? 0) + 1; return { v: map.n }; }`,
		"regexp state":      `const re = /a/g; export default () => { re.exec("aaa"); return { v: re.lastIndex }; };`,
		"symbol registry":   `export default () => { const s = Symbol.for("x"); const v = globalThis[s] ?? 1; globalThis[s] = 2; return { v }; };`,
		"tagged template": `const tag = (s) => s; const t = () => tag` + "`a`" + `; const seen = new WeakSet();
			export default () => { const v = seen.has(t()) ? 2 : 1; seen.add(t()); return { v }; };`,
		"date":       `export default () => { const v = Date.n ?? 1; Date.n = 2; Date.now = () => 0; return { v }; };`,
		"the record": `export default ({ change }) => { const v = change.data.v; change.data.v = 2; delete change.id; return { v }; };`,
	} {
		t.Run(name, func(t *testing.T) {
			s := compileFiles(t, map[string]string{"map.js": source, "state.js": "export const seen = [];"})
			r := small(`{"v":1}`)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 5 {
						if got, err := mapRecord(t, s, r); err != nil || got != `{"v":1}` {
							t.Errorf("got %s, %v, want the same at each call", got, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// Regular expressions, classes and templates of one program are used by many runtimes at the same time.
func TestOneScriptServesManyGoroutines(t *testing.T) {
	s := compile(t, `
		const re = /(?<=-)(\d+)$/u, word = /[a-z]+/gi;
		class Name { #n; constructor(n) { this.#n = n; } get upper() { return this.#n.toUpperCase(); } }
		export default ({ change, fetched }) => ({
			id: re.exec(change.id)[1], words: change.data.text.match(word), name: new Name(fetched.patient.name.last).upper,
			day: new Date(change.data.at).toISOString().slice(0, 10), r: Math.random(),
		});`)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				r := small(fmt.Sprintf(`{"text":"ab %d cd","at":"2026-03-08T10:00:00"}`, i))
				r.Change.Ref.ID = fmt.Sprintf("A-%d", g*1000+i)
				r.Fetched["patient"] = json.RawMessage(fmt.Sprintf(`{"name":{"last":"doe%d"}}`, g))
				got, err := mapRecord(t, s, r)
				want := fmt.Sprintf(`{"id":"%d","words":["ab","cd"],"name":"DOE%d","day":"2026-03-08","r":`, g*1000+i, g)
				if err != nil || !strings.HasPrefix(got, want) {
					t.Errorf("got %s, %v, want %s…", got, err, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestTheSameRecordGivesTheSameNotification(t *testing.T) {
	s := compile(t, returning("[Math.random(), Math.random(), Date.now(), new Date().toISOString(), Date()]"))
	first, err := mapRecord(t, s, small(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	again, err := mapRecord(t, s, small(`{}`))
	if err != nil || first != again {
		t.Errorf("got %s and %s, %v", first, again, err)
	}
	if !strings.Contains(first, `"2026-03-08T06:30:00.250Z","Sun Mar 08 2026 06:30:00 GMT+0000 (UTC)"`) {
		t.Errorf("the time is not the context's: %s", first)
	}
	other := small(`{}`)
	other.Change.Version = "8"
	if got, err := mapRecord(t, s, other); err != nil || got == first {
		t.Errorf("another version has the same random numbers: %s, %v", got, err)
	}
}

func TestDatesAreInUTC(t *testing.T) {
	for expression, want := range map[string]string{
		`new Date("2026-03-08T02:30:00").toISOString()`:                                                                      `"2026-03-08T02:30:00.000Z"`,
		`new Date("2026-03-08T02:30:00-05:00").toISOString()`:                                                                `"2026-03-08T07:30:00.000Z"`,
		`new Date("2026-03-08T02:30").toISOString()`:                                                                         `"2026-03-08T02:30:00.000Z"`,
		`new Date("2026-03-08 02:30:00").toISOString()`:                                                                      `"2026-03-08T02:30:00.000Z"`,
		`new Date("2026-03-08").toISOString()`:                                                                               `"2026-03-08T00:00:00.000Z"`,
		`new Date("03/08/2026").toISOString()`:                                                                               `"2026-03-08T00:00:00.000Z"`,
		`new Date("03/08/2026 2:30 PM").toISOString()`:                                                                       `"2026-03-08T14:30:00.000Z"`,
		`new Date("Mar 8, 2026 02:30").toISOString()`:                                                                        `"2026-03-08T02:30:00.000Z"`,
		`new Date("Sun Mar 08 2026 02:30:00 GMT-0500 (EST)").toISOString()`:                                                  `"2026-03-08T07:30:00.000Z"`,
		`new Date("Sun Mar 08 2026 02:30:00 EST").toISOString()`:                                                             `"2026-03-08T07:30:00.000Z"`,
		`new Date("Sun, 08 Mar 2026 02:30:00 GMT").toISOString()`:                                                            `"2026-03-08T02:30:00.000Z"`,
		`Date.parse("2026-03-08T02:30:00")`:                                                                                  `1772937000000`,
		`isNaN(Date.parse("no date")) && isNaN(new Date("x")) && isNaN(+new Date(undefined))`:                                `true`,
		`new Date(2026, 2, 8, 2, 30).toISOString()`:                                                                          `"2026-03-08T02:30:00.000Z"`,
		`new Date(26, 0).getFullYear()`:                                                                                      `1926`,
		`new Date(1772937000000).getHours()`:                                                                                 `2`,
		`new Date(new Date(5)).getTime() + new Date(new String("1970-01-01")).getTime() + new Date(new Number(2)).getTime()`: `7`,
		`new Date(null).getTime()`:                                                                                           `0`,
		`(d => { d.setHours(23); d.setMonth(0, 31); return d.toISOString() })(new Date("2026-03-08T02:30:00"))`:              `"2026-01-31T23:30:00.000Z"`,
		`new Date(2026, 2, 8).getTimezoneOffset()`:                                                                           `0`,
		`String(new Date(2026, 2, 8, 1))`:                                                                                    `"Sun Mar 08 2026 01:00:00 GMT+0000 (UTC)"`,
		`new Date(2026, 2, 8, 1).toLocaleString()`:                                                                           `"03/08/2026, 01:00:00"`,
		`new Date(2026, 2, 8, 1).toDateString()`:                                                                             `"Sun Mar 08 2026"`,
		`new Date(2026, 2, 8, 1)`:                                                                                            `"2026-03-08T01:00:00.000Z"`,
		`new Date(2026, 2, 8) - new Date(2026, 2, 7)`:                                                                        `86400000`,
		`[new Date() instanceof Date, typeof Date(), Date.length, Date.name]`:                                                `[true,"string",7,"Date"]`,
		`[new Date().constructor === Date, Object.keys(Date)]`:                                                               `[true,[]]`,
		`new (class Later extends Date { more() { return this.getHours() + 1 } })("2026-03-08T02:30:00").more()`:             `3`,
		`new (globalThis["Da" + "te"])("2026-03-08T02:30:00").getHours()`:                                                    `2`,
	} {
		got, err := mapRecord(t, compile(t, returning(expression)), small(`{}`))
		if want := `{"v":` + want + `}`; err != nil || got != want {
			t.Errorf("%s\n got %s, %v\nwant %s", expression, got, err, want)
		}
	}
}

func TestDatesAreInUTCWhateverTheZoneOfTheHost(t *testing.T) {
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^(TestDatesAreInUTC|TestTheSameRecordGivesTheSameNotification)$", "-test.v")
	again.Env = append(os.Environ(), "TZ=America/New_York")
	if output, err := again.CombinedOutput(); err != nil || !strings.Contains(string(output), "--- PASS: TestDatesAreInUTC") {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestContextThatEndedIsNoFaultOfTheScript(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := compile(t, "export default () => { for (;;) {} };")
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err := s.Map(ctx, small(`{}`), script.Context{})
	var own *script.Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &own) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := s.Map(ctx, small(`{}`), script.Context{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestWhatIsReturnedIsChecked(t *testing.T) {
	var checked []string
	o := script.Options{Check: func(body []byte, authors func(string) bool) *script.Refusal {
		checked = append(checked, string(body))
		if strings.Contains(string(body), "good") {
			return nil
		}
		return &script.Refusal{Text: fmt.Sprintf("is not good: %v %v", authors("member"), authors("Doe")), Detail: strings.Repeat("Doe", 10_000)}
	}}
	s, err := script.Compile(write(t, map[string]string{"map.js": "\nexport default ({ change }) => change.data && { member: change.data };"}), o)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := mapRecord(t, s, small(`"good"`)); body != `{"member":"good"}` || err != nil {
		t.Errorf("got %s, %v", body, err)
	}
	body, err := mapRecord(t, s, small(`"Doe"`))
	var own *script.Error
	if !errors.As(err, &own) || body != "" || own.Error() != "map.js:2:16: returned an object that is not good: true false" {
		t.Errorf("got %s, %v", body, err)
	}
	if !strings.HasPrefix(own.Detail, "DoeDoe") || len(own.Detail) > 8<<10 {
		t.Errorf("%d bytes of detail", len(own.Detail))
	}
	if body, err := mapRecord(t, s, small(`null`)); body != "" || err != nil {
		t.Errorf("what is filtered: %s, %v", body, err)
	}
	if want := []string{`{"member":"good"}`, `{"member":"Doe"}`}; !slices.Equal(slices.Compact(checked), want) || len(checked) != 4 { // here, and of a worker
		t.Errorf("checked were %q, want %q", checked, want)
	}
}
