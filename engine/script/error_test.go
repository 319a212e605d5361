// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/script"
)

const wrongFile = "map.js:1:1: "

func TestMistakesAreFoundWhenAScriptIsCompiled(t *testing.T) {
	const body = "export default () => ({});"
	for name, test := range map[string]struct {
		files map[string]string
		want  []string // parts of the error, in order; the first begins it
	}{
		"no file":             {map[string]string{"other.js": body}, []string{wrongFile + "there is no file"}},
		"syntax":              {map[string]string{"map.js": "export default () => {\n  return { a: 1,, };\n};"}, []string{`map.js:2:17: Expected identifier but found ","`}},
		"syntax in an import": {map[string]string{"map.js": `import "./a.js"; ` + body, "a.js": "\n\n  let 1;"}, []string{"a.js:3:7: Expected \";\""}},
		"all mistakes": {
			map[string]string{"map.js": "import './a.js';\nimport './b.js';\nimport './c.js'\n" + body, "a.js": "let 1;", "b.js": "let 2;"},
			[]string{"a.js:1:5: ", "b.js:1:5: ", "map.js:3:8: there is no file \"./c.js\""},
		},
		"missing import":      {map[string]string{"map.js": "import { x } from './lib/none.js';\n" + body}, []string{"map.js:1:19: ", `there is no file "./lib/none.js"`}},
		"missing name":        {map[string]string{"map.js": "import { y } from './a.js';\nexport default () => y;", "a.js": "export const x = 1"}, []string{"map.js:1:10: ", `"y"`}},
		"package":             {map[string]string{"map.js": "import _ from 'lodash';\n" + body, "node_modules/lodash/index.js": "export default 1"}, []string{"map.js:1:15: can't import \"lodash\"", "rounds/hl7v2, rounds/redox, rounds/time"}},
		"absolute":            {map[string]string{"map.js": "import '/etc/passwd';\n" + body}, []string{"map.js:1:8: can't import \"/etc/passwd\""}},
		"URL":                 {map[string]string{"map.js": "import 'https://example.org/x.js';\n" + body}, []string{"map.js:1:8: can't import \"https://example.org/x.js\""}},
		"data URL":            {map[string]string{"map.js": "import x from 'data:application/json,{}';\n" + body}, []string{"map.js:1:15: can't import"}},
		"outside":             {map[string]string{"map.js": "import '../../../../../../../../../../../../etc/passwd.js';\n" + body}, []string{"map.js:1:8: there is no file"}},
		"library":             {map[string]string{"map.js": "import 'rounds/none';\n" + body}, []string{"map.js:1:8: there is no \"rounds/none\" in the library; it has rounds/hl7v2, rounds/redox, rounds/time"}},
		"library's inside":    {map[string]string{"map.js": "import { native } from 'rounds/engine/native';\n" + body}, []string{"map.js:1:24: there is no"}},
		"library's directory": {map[string]string{"map.js": "import 'rounds/../scripts';\n" + body}, []string{"map.js:1:8: there is no"}},
		"import()":            {map[string]string{"map.js": "export default () => import('./map.js');"}, []string{"map.js:1:29: import() gives a promise"}},
		"require":             {map[string]string{"map.js": "const a = require('./a.js');\n" + body, "a.js": ""}, []string{"map.js:1:19: scripts are ES modules"}},
		"CommonJS":            {map[string]string{"map.js": "module.exports = () => ({});"}, []string{wrongFile + "no default export"}},
		"no export":           {map[string]string{"map.js": "function map() {}"}, []string{wrongFile + "no default export"}},
		"no default export":   {map[string]string{"map.js": "export const map = () => ({});"}, []string{wrongFile + "no default export"}},
		"not a function":      {map[string]string{"map.js": "\nexport default { map() {} };"}, []string{wrongFile + "the default export is an object, not a function"}},
		"undefined":           {map[string]string{"map.js": "export default undefined;"}, []string{wrongFile + "no default export"}},
		"async function":      {map[string]string{"map.js": "\n  export default async function () { return {}; }"}, []string{"map.js:2:3: the default export is an async function"}},
		"async arrow":         {map[string]string{"map.js": "const map = async () => ({});\nexport default map;"}, []string{"map.js:1:13: the default export is an async function"}},
		"generator":           {map[string]string{"map.js": "export default function* () {}"}, []string{"map.js:1:16: the default export is a generator function"}},
		"class":               {map[string]string{"map.js": "export default class Map {}"}, []string{"map.js:1:22: the default export is a class"}},
		"async generator":     {map[string]string{"map.js": "export default () => {};\nasync function* f() {}\nf();"}, []string{"map.js:2:1: the script engine does not know this syntax: Async generators are not supported yet"}},
		"eval":                {map[string]string{"map.js": "export default () => eval('({})');"}, []string{"map.js:1:22: "}},
		"top-level await":     {map[string]string{"map.js": "await 1;\n" + body}, []string{"map.js:1:1: Top-level await"}},
		"flag v":              {map[string]string{"map.js": "export default () => ({ v: /a/v.test('a') });"}, []string{"map.js:1:31: The regular expression flag \"v\" is not available"}},
		"property escape":     {map[string]string{"map.js": `export default () => ({ v: /^\p{L}/u.test('a') });`}, []string{"map.js:1:30: Unicode property escapes in regular expressions are not available"}},
		"assigned constant":   {map[string]string{"map.js": "const a = 1;\nexport default () => { a = 2; };"}, []string{"map.js:2:24: "}},
		"throws at once":      {map[string]string{"map.js": "const a = undefined;\nconst b = a.c;\n" + body}, []string{"map.js:2:13: TypeError"}},
		"TypeScript":          {map[string]string{"map.ts": "const a: number = ;\n" + body}, []string{"map.ts:1:19: Unexpected"}},
		"odd extension":       {map[string]string{"map.js": "import './a.css';\n" + body, "a.css": "a{}"}, []string{"map.js:1:8: "}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := script.Compile(write(t, test.files), script.Options{})
			if err == nil {
				t.Fatalf("compiled: %v", s)
			}
			rest := err.Error()
			if !strings.HasPrefix(rest, test.want[0]) {
				t.Errorf("got\n%s\nwant it to begin with\n%s", rest, test.want[0])
			}
			for _, part := range test.want {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Errorf("got\n%s\nwant in it\n%s", err, part)
				}
				rest = after
			}
			var own *script.Error
			if !errors.As(err, &own) {
				t.Errorf("%T is not an *Error", err)
			}
		})
	}
}

func TestImportsStayInsideTheRoot(t *testing.T) {
	path := write(t, map[string]string{
		"maps/deep/map.js": "import { a } from '../../shared/a.js';\nexport default () => ({ a });",
		"shared/a.js":      "export const a = 1;",
		"map.js":           "",
	})
	root := filepath.Dir(path)
	inner := filepath.Join(root, "maps", "deep", "map.js")
	_, err := script.Compile(inner, script.Options{})
	if want := `map.js:1:19: "../../shared/a.js" is outside of the configuration's directory`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = script.Compile(path, script.Options{Root: filepath.Join(root, "maps")})
	if err == nil || !strings.HasSuffix(err.Error(), ":1:1: the script is outside of the configuration's directory") {
		t.Errorf("got %v", err)
	}
	_, err = script.Compile(filepath.Join(root, "none", "map.js"), script.Options{})
	if err == nil || !strings.HasPrefix(err.Error(), wrongFile+"the directory of the script") {
		t.Errorf("got %v", err)
	}
	s, err := script.Compile(inner, script.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{inner, filepath.Join(root, "shared", "a.js")}
	if got := s.Files(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("files are %q, want %q", got, want)
	}
}

// A mounted Kubernetes ConfigMap is a directory of links, whose targets change with each update.
func TestLinksAreFollowedInsideTheRootOnly(t *testing.T) {
	root := filepath.Dir(write(t, map[string]string{
		"..1/map.js": "import { a } from './a.js';\nexport default () => ({ a });", "..1/a.js": "export const a = 1;",
		"..1/out.js": "import { a } from './far.js';\nexport default () => ({ a });",
	}))
	far := write(t, map[string]string{"map.js": "export const a = 2;"})
	for link, to := range map[string]string{
		"..data": "..1", "map.js": "..data/map.js", "a.js": "..data/a.js", "out.js": "..data/out.js", "far.js": far,
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	linked := filepath.Join(t.TempDir(), "linked")
	if err := os.Symlink(root, linked); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{root, linked} {
		s, err := script.Compile(filepath.Join(dir, "map.js"), script.Options{Root: dir})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{filepath.Join(dir, "a.js"), filepath.Join(dir, "map.js")}; !slices.Equal(s.Files(), want) {
			t.Errorf("files are %q, want %q", s.Files(), want)
		}
		_, err = script.Compile(filepath.Join(dir, "out.js"), script.Options{Root: dir})
		if want := `out.js:1:19: "./far.js" is outside of the configuration's directory`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestErrorsNameTheAuthorsLine(t *testing.T) {
	lib := "// é ü 😀 a comment that is gone in the generated code\n\nexport function surname(patient) {\n  return patient.name.last.toUpperCase();\n}\n" +
		"export const boom = () => { throw new RangeError('secret Doe'); };\n"
	for name, test := range map[string]struct {
		source string
		want   string
		detail string
	}{
		"in the script": {
			"// a comment\nexport default ({ fetched }) => {\n  const p = fetched.patient;\n  return { v: 'é' + p.address.city };\n};",
			"map.js:4:31: TypeError (the message is withheld, it may quote the record)", "Cannot read property 'city' of undefined",
		},
		"in an import": {
			"import { surname } from './lib/names.ts';\nexport default ({ change }) => ({ v: surname(change.data) });",
			"lib/names.ts:4:", "map.js:2:38",
		},
		"thrown error": {
			"import { boom } from './lib/names.ts';\nexport default () => boom();",
			"lib/names.ts:6:35: RangeError (the message is withheld, it may quote the record)", "RangeError: secret Doe\n    at boom (lib/names.ts:6:35)\n    at map_default (map.js:2:22)",
		},
		"own class": {
			"class NoPatient extends TypeError {}\nexport default () => { throw new NoPatient('Doe'); };",
			"map.js:2:30: TypeError (", "Doe",
		},
		"thrown string": {
			"export default () => {\n  throw 'Doe';\n};",
			"map.js:2:3: a value that is not an Error was thrown (", "Doe",
		},
		"in a callback": {
			"export default ({ change }) => ({\n  v: [1].map(() => change.nothing.at),\n});",
			"map.js:2:35: TypeError (", "map.js:2:10",
		},
		"in a getter": {
			"export default () => ({\n  get v() { return null.x; },\n});", "map.js:2:25: TypeError (", "",
		},
		"in toJSON": {
			"class V { toJSON() { throw new Error('Doe'); } }\nexport default () => ({ v: new V() });", "map.js:1:28: Error (", "Doe",
		},
		"unknown name":    {"export default () => ({\n  v: console.log(1),\n});", "map.js:2:6: ReferenceError (", "console is not defined"},
		"recursion":       {"const f = (n) => f(n + 1) + 1;\nexport default () => ({ v: f(0) });", "map.js:1:", "at f (map.js:1:"},
		"thrown toString": {"export default () => {\n  throw { toString() { throw 1; } };\n};", "map.js:2:3: a value that is not an Error was thrown", ""},
		"broken classes":  {"export default () => {\n  globalThis.TypeError = 5;\n  throw new Error('Doe');\n};", "map.js:3:9: ", "Doe"},
	} {
		t.Run(name, func(t *testing.T) {
			s := compileFiles(t, map[string]string{"map.js": test.source, "lib/names.ts": lib})
			body, err := mapRecord(t, s, small(`{"id":"P9"}`))
			var own *script.Error
			if !errors.As(err, &own) {
				t.Fatalf("got %q, %v, want an *Error", body, err)
			}
			if !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got\n%s\nwant\n%s", err, test.want)
			}
			if !strings.Contains(own.Detail, test.detail) {
				t.Errorf("detail is\n%s\nwant in it\n%s", own.Detail, test.detail)
			}
			if strings.Contains(own.Detail, "rounds-bundle") {
				t.Errorf("the detail names places in the generated code: %s", own.Detail)
			}
			if strings.Contains(err.Error(), "Doe") {
				t.Errorf("the text quotes the record: %s", err)
			}
		})
	}
}

func TestWhatCannotBeSentIsAnErrorWithItsPath(t *testing.T) {
	const place = "map.js:1:16: "
	for expression, want := range map[string]string{
		"undefined":                       "returned undefined; return an object, or null to filter the change out",
		"Promise.resolve({})":             "returned a promise; return",
		"'Doe'":                           "returned a string; return",
		"5":                               "returned a number; return",
		"NaN":                             "returned a number; return",
		"true":                            "returned a boolean; return",
		"10n":                             "returned a BigInt; return",
		"Symbol()":                        "returned a symbol; return",
		"[]":                              "returned an array; return",
		"() => 1":                         "returned a function; return",
		"new Date()":                      "returned a Date; return",
		"new Map()":                       "returned a Map; return",
		"new Error('Doe')":                "returned an error; return",
		"{ Patient: { Age: NaN } }":       "returned an object that can't be sent: Patient.Age is NaN",
		"{ Patient: { Age: -Infinity } }": "returned an object that can't be sent: Patient.Age is -Infinity",
		"{ Notes: [1, { Text: 0 / 0 }] }": "returned an object that can't be sent: Notes[1].Text is NaN",
		"{ Notes: [[() => 1]] }":          "returned an object that can't be sent: Notes[0][0] is a function",
		"{ Visit: Symbol() }":             "returned an object that can't be sent: Visit is a symbol, which JSON can't hold",
		"{ Visit: 5n }":                   "returned an object that can't be sent: Visit is a BigInt, which JSON can't hold",
		"{ Visit: Promise.resolve(1) }":   "returned an object that can't be sent: Visit is a promise",
		"{ Visit: new Map() }":            "returned an object that can't be sent: Visit is a Map",
		"{ Visit: new Set() }":            "returned an object that can't be sent: Visit is a Set",
		"{ Visit: /a/ }":                  "returned an object that can't be sent: Visit is a RegExp",
		"{ Visit: new Error('Doe') }":     "returned an object that can't be sent: Visit is an error",
		"{ Visit: new Date(NaN) }":        "returned an object that can't be sent: Visit is an invalid Date",
		"{ Visit: new Number(NaN) }":      "returned an object that can't be sent: Visit is NaN",
		"(o => { o.Visit = { o }; return o })({})":                         "returned an object that can't be sent: Visit.o contains itself",
		"(a => { a.push([a]); return { a } })([])":                         "returned an object that can't be sent: a[0][0] contains itself",
		"{ Patient: { [fetched.patient.name.last]: NaN } }":                "returned an object that can't be sent: Patient[…] is NaN",
		"{ v: 'x'.repeat(4096).repeat(1025) }":                             "returned more than the limit of 4 MiB",
		"{ v: new Array(1025).fill('x'.repeat(4096)) }":                    "returned more than the limit of 4 MiB",
		"(o => { for (let i = 0; i < 600; i++) o = { o }; return o })({})": "returned objects nested deeper than 500",
		"new Proxy({}, { ownKeys() { throw new TypeError('Doe') } })":      "TypeError (",
		"{ v: new Proxy([1], {}) }":                                        "returned an object that can't be sent: v is a Proxy",
		"{ v: [].values() }":                                               "returned an object that can't be sent: v is a Array Iterator",
		"{ v: new Uint8Array(2) }":                                         "returned an object that can't be sent: v is not a plain object",
		"new (class A { toJSON() { return 'Doe' } })":                      "returned a string; return an object, or null",
		"new (class A { toJSON() {} })":                                    "returned undefined; return an object, or null",
		"{ v: new (class A { toJSON() { return { w: { y: NaN } } } }) }":   "returned an object that can't be sent: v.w.y is NaN",
		"{ v: new (class A { toJSON() { return { w: this } } }) }":         "returned objects nested deeper than 500",
		"(a => { a.b.toJSON = () => a; return a })({ b: new (class {}) })": "returned an object that can't be sent: b contains itself",
		"{ toJSON: () => 1 }":                                              "returned an object that can't be sent: toJSON is a function",
	} {
		s := compile(t, "export default ({ fetched }) => ("+expression+");")
		body, err := mapRecord(t, s, small(`{}`))
		if err == nil {
			t.Errorf("%s: got %s, want an error", expression, body)
			continue
		}
		if got := err.Error(); !strings.Contains(got, want) || strings.Contains(got, "Doe") {
			t.Errorf("%s\n got %s\nwant %s", expression, got, want)
		} else if !strings.HasPrefix(want, "TypeError") && !strings.HasPrefix(got, place) {
			t.Errorf("%s: got %s, want it at the default export", expression, got)
		}
	}
}

func TestInvariant5WhatDoesNotEndFailsWithinTheLimit(t *testing.T) {
	for name, source := range map[string]string{
		"endless loop":       "export default () => {\n  for (;;) {}\n};",
		"caught":             "export default () => {\n  for (;;) { try { for (;;) {} } catch { } finally { } }\n};",
		"module":             "if (Date.now() < 1.8e12) {\n  for (;;) {}\n}\nexport default () => ({});",
		"getter":             "export default () => ({\n  get v() { for (;;) {} },\n});",
		"toJSON":             "class V {\n  toJSON() { for (;;) {} }\n}\nexport default () => ({ v: new V() });",
		"promise job":        "export default () => {\n  const f = () => Promise.resolve().then(f); f();\n  return {};\n};",
		"regular expression": "export default () => ({\n  v: /^(?=(a+)+$)/.test('a'.repeat(64) + '!'),\n});",
		"last expression":    "const re = /(x+x+)+(?=y)/;\nexport default () => re.test('x'.repeat(64)) ? null : null;",
		"made regexp":        "export default () => {\n  new RegExp('^(?=(a+)+$)').test('a'.repeat(64) + '!');\n  return {};\n};",
		"split":              "export default () => ({\n  v: ('a'.repeat(64) + '!').split(/(?=a)(a+)+$/),\n});",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := script.Compile(write(t, map[string]string{"map.js": source}), script.Options{})
			if name != "module" && err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			body := ""
			if err == nil {
				body, err = mapRecord(t, s, small(`{}`))
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			if err == nil || !strings.Contains(err.Error(), "took longer than the limit of 1s") || body != "" {
				t.Errorf("got %q, %v", body, err)
			}
		})
	}
}

// A mapping that is imported, or whose file is in a directory named like the library, has its own line too.
func TestErrorsNameTheImportedMappingsLine(t *testing.T) {
	for name, test := range map[string]struct{ lib, want string }{
		"returned":  {"\n\n\nexport default () => ({ v: NaN });", "rounds/lib.js:4:16: returned an object that can't be sent: v is NaN"},
		"thrown":    {"\n\n\nexport default () => null.x;", "rounds/lib.js:4:27: TypeError ("},
		"anonymous": {"import { toUTC } from 'rounds/time';\nexport default () => toUTC('x', 'UTC');", "rounds/lib.js:2:22: toUTC: not a local time"},
		"library's": {"import { toUTC } from 'rounds/time';\nexport default (r) => toUTC('x', r);\nexport { toUTC };", "rounds/lib.js:2:23: toUTC: no such time zone"},
	} {
		s := compileFiles(t, map[string]string{"map.js": "import d from './rounds/lib.js';\n\nexport default d;", "rounds/lib.js": test.lib})
		if _, err := mapRecord(t, s, small(`{}`)); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	s := compileFiles(t, map[string]string{"map.js": "import { toUTC } from 'rounds/time';\n\nexport default toUTC;"})
	if _, err := mapRecord(t, s, small(`{}`)); err == nil || !strings.HasPrefix(err.Error(), wrongFile+"toUTC: the local time is not a string") {
		t.Errorf("got %v", err)
	}
}

func TestDetailIsBounded(t *testing.T) {
	s := compile(t, "const f = (n) => { if (n === 0) throw new Error('é'.repeat(1e6)); f(n - 1); };\nexport default () => f(300);")
	_, err := mapRecord(t, s, small(`{}`))
	var own *script.Error
	if !errors.As(err, &own) || len(own.Detail) > 8<<10 || !strings.Contains(own.Detail, "at f (map.js:1:") {
		t.Errorf("got %v with a detail of %d bytes", err, len(own.Detail))
	}
}
