// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/script"
)

func TestRecordsComeThroughAsTheyAre(t *testing.T) {
	s := compile(t, returning("change.data"))
	for in, want := range map[string]string{
		`{"a":[1,-2.5,true,false,null,"x",{"b":[]},{}]}`: "",
		" {\r\n\t\"a\" : [ 1 , 2 ] } ":                   `{"a":[1,2]}`,
		`""`:                                             "",
		`"\"\\\/\b\f\n\r\t\u0001\u00e9\ud83d\ude00"`:     `"\"\\/\b\f\n\r\t\u0001é😀"`,
		`"Müller 😀 \u2028"`:                              "\"Müller 😀 \u2028\"",
		`"\ud83d x \ude00"`:                              "\"\uFFFD x \uFFFD\"",
		`"\ud83d\u0041"`:                                 "\"\uFFFDA\"",
		"\"a\xffb\"":                                     "\"a\uFFFDb\"",
		`{"__proto__":{"admin":true},"constructor":1,"toString":2}`: "",
		`{"b":1,"a":2,"10":3,"9":4}`:                                `{"9":4,"10":3,"b":1,"a":2}`,
		`{"a":1,"a":2}`:                                             `{"a":2}`,
		`{"":{"":1}}`:                                               "",
		`[1.0,1e2,0.1,1e21,1e-7,123456789.125,-0,0.000001]`:         `[1,100,0.1,1e+21,1e-7,123456789.125,0,0.000001]`,
		// An integer that a double can't hold and a number beyond its range stay digits.
		`[9007199254740991,-9007199254740991]`:              "",
		`[9007199254740992,-9007199254740993]`:              `["9007199254740992","-9007199254740993"]`,
		`{"id":123456789012345678901234567890}`:             `{"id":"123456789012345678901234567890"}`,
		`[1e400,-1e400]`:                                    `["1e400","-1e400"]`,
		strings.Repeat("[", 400) + strings.Repeat("]", 400): "",
	} {
		if want == "" {
			want = in
		}
		if got, err := mapRecord(t, s, small(in)); err != nil || got != `{"v":`+want+`}` {
			t.Errorf("%s\n got %s, %v\nwant %s", in, got, err, want)
		}
	}
}

// A number that a record's would become a string of is one wherever JSON is read.
func TestNoJSONLosesDigits(t *testing.T) {
	const doc = `{"id":9007199254740993,"n":[-9007199254740993,1e400,1,-0,0.1,1e2],"9007199254740993":"a \"9007199254740993\" \\"}`
	const want = `{"9007199254740993":"a \"9007199254740993\" \\","id":"9007199254740993","n":["-9007199254740993","1e400",1,0,0.1,100]}`
	s := compileFiles(t, map[string]string{
		"map.js":     "import v from './lib/t.json';\nimport bom from './bom.json';\nexport default ({ change }) => ({ v, bom, parsed: JSON.parse(change.data.s) });",
		"lib/t.json": doc, "bom.json": "\uFEFF" + doc,
	})
	text, _ := json.Marshal(doc) // a string always marshals
	got, err := mapRecord(t, s, small(`{"s":`+string(text)+`}`))
	if err != nil || !sameJSON(t, got, `{"v":`+want+`,"bom":`+want+`,"parsed":`+want+`}`) {
		t.Errorf("got %s, %v, want thrice %s", got, err, want)
	}
}

func TestJSONParseIsThatOfTheLanguage(t *testing.T) {
	for expression, want := range map[string]string{
		`JSON.parse(' {"a":[1,"x",null,true]} ')`:                                                                `{"a":[1,"x",null,true]}`,
		`JSON.parse({ toString: () => "5" })`:                                                                    `5`,
		`JSON.parse('{"__proto__":1}')`:                                                                          `{"__proto__":1}`,
		`JSON.parse('{"a":[1,2,{"b":3}]}', (k, v) => (typeof v === "number" ? v * 2 : v))`:                       `{"a":[2,4,{"b":6}]}`,
		`JSON.parse('{"a":1,"b":[1,2],"c":3}', (k, v) => (k === "c" ? undefined : v))`:                           `{"a":1,"b":[1,2]}`,
		`JSON.parse('{"a":{"b":1}}', function (k, v) { if (k === "b") this.z = 1; return v; })`:                  `{"a":{"b":1,"z":1}}`,
		`(keys => { JSON.parse('{"a":[1,{"b":2}]}', (k, v) => { keys.push(k); return v; }); return keys; })([])`: `["0","b","1","a",""]`,
		`JSON.parse("1", 5)`: `1`,
		`["", "{", "[1,]", undefined, "01", "1 2"].map((s) => { try { JSON.parse(s); } catch (e) { return e instanceof SyntaxError; } })`: `[true,true,true,true,true,true]`,
		`(() => { try { JSON.parse("1", () => { throw new RangeError(); }); } catch (e) { return e.name; } })()`:                          `"RangeError"`,
	} {
		got, err := mapRecord(t, compile(t, returning(expression)), small(`{}`))
		if want := `{"v":` + want + `}`; err != nil || got != want {
			t.Errorf("%s\n got %s, %v\nwant %s", expression, got, err, want)
		}
	}
}

func TestRecordThatIsNoJSONIsNotQuoted(t *testing.T) {
	s := compile(t, returning("change.data"))
	for _, in := range []string{
		`{`, `{"Doe"`, `{"Doe":}`, `{"Doe":1,}`, `{Doe:1}`, `[1,]`, `[`, `[1 2]`, `"Doe`, "\"Doe\n\"", `"Doe\q"`, `"Doe\u12g4"`, `"Doe\`, `tru`,
		`nul`, `01`, `1.`, `.5`, `-`, `1e`, `+1`, `NaN`, `1 2`, ` `, `{"a":1}Doe`, strings.Repeat("[", 20000), "\x00",
	} {
		got, err := mapRecord(t, s, small(in))
		if err == nil || strings.Contains(err.Error(), "Doe") || !strings.Contains(err.Error(), "change.data is not valid JSON at byte ") {
			t.Errorf("%.40s: got %s, %v", in, got, err)
		}
	}
}

func TestNotificationIsWhatJSONStringifyMakes(t *testing.T) {
	for _, expression := range []string{
		`{ b: 1, a: undefined, c: [undefined, , null], 2: "x", 1: "y" }`,
		`{ n: [0, -0, 1.5, 1e21, 1e-7, 123456789012345680000, 0.1 + 0.2, Number.MIN_VALUE, Number.MAX_SAFE_INTEGER, 2 ** 31, -(2 ** 53)] }`,
		`{ s: ["", "é", "😀", "\u2028", "\"\\/\b\f\n\r\t\u0000\u001f\u007f<>&"] }`,
		`{ d: new Date(0), old: new Date(-62198755200000), far: new Date(8.64e15) }`,
		`{ o: new String("x"), n: new Number(1.5), b: new Boolean(false) }`,
		`{ c: new (class A { x = 1; #y = 2; get z() { return 3 } static s = 4 }) }`,
		`{ c: new (class B { toJSON() { return { k: [this.constructor.name.length] } } }) }`,
		`{ c: new (class A { x = 1; toJSON() { return this } }), l: [new (class A { toJSON() { return this } })] }`,
		`{ c: new (class A { toJSON() {} }), d: 1, l: [new (class A { toJSON() {} })] }`,
		`{ c: new (class A { toJSON() { return new A() } }) }`,
		`{ c: new (class A { toJSON(name) { return name } }), l: [new (class A { toJSON(name) { return name } })] }`,
		`new (class A { toJSON() { return { a: new (class B { toJSON() { return null } }) } } })`,
		`(Date.prototype.toJSON = function (name) { return name + this.getTime() }, { d: new Date(5), l: [new Date(6)] })`,
		`{ d: new (class A extends Date { toJSON() { return { day: this.getUTCDay() } } })(0), e: new Date(0) }`,
		`{ d: Object.assign(new Date(0), { toJSON() { return [this.getTime()] } }), l: Object.assign([1], { toJSON() { return "l" } }) }`,
		`{ s: new (class A extends String { toJSON() {} })("x"), l: new (class A extends Array { toJSON(name) { return [name] } })(3) }`,
		`{ c: Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true }, hidden: { value: 3 } }) }`,
		`{ c: Object.assign(Object.create(null), { a: 1 }) }`,
		`{ get g() { return [1].concat([2]) } }`,
		`{ p: new Proxy({ a: 1 }, {}) }`,
		`{ f: function () {}.prototype, a: (function () { return arguments })(1, 2) }`,
		`{ g: globalThis }`,
		`{ same: (o => [o, o])({ a: 1 }) }`,
		`{ a: (function () { return Array.from(arguments) })(1, 2), e: [], o: {} }`,
		`{ t: "x".repeat(1000), u: ["a" + "é", ("é" + "😀").slice(0, 3)] }`,
		`{ ["__proto__"]: 1, ["a.b"]: { "": 2 } }`,
		`{ s: Object.assign([1, 2], { extra: 3 }), [Symbol("x")]: 4 }`,
	} {
		s := compile(t, "export default () => ({ json: JSON.stringify("+expression+"), value: "+expression+" });")
		got, err := mapRecord(t, s, small(`{}`))
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		var result struct {
			JSON  string
			Value json.RawMessage
		}
		if err := json.Unmarshal([]byte(got), &result); err != nil {
			t.Errorf("%s: %v in %s", expression, err, got)
			continue
		}
		if string(result.Value) != result.JSON {
			t.Errorf("%s\n got %s\nwant %s", expression, result.Value, result.JSON)
		}
	}
}

func TestHalfASurrogatePairIsReplaced(t *testing.T) {
	got, err := mapRecord(t, compile(t, returning(`"a\ud83d" + "b"`)), small(`{}`))
	if want := "{\"v\":\"a\uFFFDb\"}"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// A member whose name is half a surrogate pair is not left out: what is sent would lack it, and nobody would know.
func TestAMemberNamedByHalfASurrogatePairIsNotLost(t *testing.T) {
	for _, expression := range []string{`{ ["\ud83d"]: 1 }`, `{ a: { ["x" + "\ud83d\ude00"[0]]: 1, b: 2 } }`, `{ ["\ud83d"]: 1, ["\ude00"]: 2, ["\uFFFD"]: 3 }`} {
		got, err := mapRecord(t, compile(t, returning(expression)), small(`{}`))
		var refused *script.Error
		if !errors.As(err, &refused) || !strings.Contains(refused.Text, "surrogate") {
			t.Errorf("%s became %s, %v", expression, got, err)
		}
	}
	// One that is whole, and a name that holds the replacement itself, are sent.
	got, err := mapRecord(t, compile(t, returning(`{ "😀": 1, ["\uFFFD"]: 2 }`)), small(`{}`))
	if want := "{\"v\":{\"😀\":1,\"\uFFFD\":2}}"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// FuzzIdentity holds reading and writing against encoding/json: any document comes through a mapping as it is, and what is
// not a document is an error.
func FuzzIdentity(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5e3,true,null,"x\u00e9\ud83d\ude00"],"b":{"c":{}}}`, `"\ud800"`, `[1e400,9007199254740993]`, `{"__proto__":1,"a":1,"a":2}`,
		`{`, `[1,]`, `"\u12"`, `-0`, "\"\xff\"",
	} {
		f.Add([]byte(seed))
	}
	s := compile(f, "export default ({ change }) => ({ v: change.data });")
	f.Fuzz(func(t *testing.T, doc []byte) {
		body, err := s.Map(t.Context(), small(string(doc)), script.Context{})
		if len(doc) == 0 {
			return // no data
		}
		if !json.Valid(doc) {
			if err == nil {
				t.Fatalf("no error for %q: %s", doc, body)
			}
			return
		}
		if err != nil {
			if strings.Contains(err.Error(), "nested deeper than") && bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) > script.DepthLimit-2 {
				return
			}
			t.Fatalf("%q: %v", doc, err)
		}
		if !json.Valid(body) {
			t.Fatalf("%q became %q", doc, body)
		}
		var got struct{ V any }
		var want any
		if decode(t, body, &got); !decode(t, doc, &want) {
			return
		}
		if !reflect.DeepEqual(got.V, normal(want)) {
			t.Errorf("%q became %q", doc, body)
		}
	})
}

func decode(t *testing.T, doc []byte, into any) bool {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%q: %v", doc, err)
	}
	return true
}

// normal is what becomes of a document on its way: numbers in JavaScript's form, those too large as strings.
func normal(v any) any {
	switch v := v.(type) {
	case json.Number:
		integer := !strings.ContainsAny(v.String(), ".eE")
		f, err := v.Float64()
		if n, e := v.Int64(); err != nil || integer && (e != nil || n > 1<<53-1 || n < -(1<<53-1)) {
			return v.String()
		}
		return number(f)
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = normal(v[name])
		}
	}
	return v
}

// number is a double in the digits that are fewest and give it back, as JavaScript writes it.
func number(f float64) json.Number {
	if f == 0 {
		return "0" // -0 too
	}
	text, _ := json.Marshal(f) // encoding/json writes numbers as ES6 does
	return json.Number(text)
}
