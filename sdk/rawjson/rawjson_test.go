// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rawjson_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk/rawjson"
)

func TestGetFindsTheValueAsTheServerWroteIt(t *testing.T) {
	doc := []byte(` {"a": {"b": [10, {"c\u0021": "x\ty"}, 12345678901234567890]}, "n": null, "d": 1, "d": 2.50, "e":{} } `)
	for _, c := range []struct {
		path []string
		want string
		ok   bool
	}{
		{nil, string(bytes.TrimSpace(doc)), true},
		{[]string{"a", "b", "0"}, "10", true},
		{[]string{"a", "b", "1", "c!"}, `"x\ty"`, true},
		{[]string{"a", "b", "2"}, "12345678901234567890", true},
		{[]string{"a", "b", "3"}, "", false},
		{[]string{"a", "b", "-1"}, "", false},
		{[]string{"a", "b", "x"}, "", false},
		{[]string{"n"}, "null", true},
		{[]string{"n", "x"}, "", false},
		{[]string{"d"}, "2.50", true}, // the last counts
		{[]string{"e", "x"}, "", false},
		{[]string{"x"}, "", false},
	} {
		got, ok := rawjson.Get(doc, c.path...)
		if string(got) != c.want || ok != c.ok {
			t.Errorf("Get(%q) = %q, %v, want %q, %v", c.path, got, ok, c.want, c.ok)
		}
	}
}

func TestGetAllFindsWhatGetFinds(t *testing.T) {
	paths := [][]string{{"a"}, nil, {"a", "b", "1", "c!"}, {"n"}, {"n", "x"}, {"d"}, {"0"}, {"1", "d"}, {"a"}, {"x"}, {"é"}}
	for _, doc := range []string{
		` {"a": {"b": [10, {"c\u0021": 1}]}, "n": null, "d": 1, "d": 2.50, "\u00e9": 3} `, `{"a": {"b": [1, {"c!": 2}]}, "a": 5, "é": 1, "\u0061": 6}`,
		`[{"a": 1}, {"d": 2}]`, `"a"`, `null`, `{}`, `{"0": {"d": 1}, "1": {"d": []}}`, ``,
	} {
		found := make([][]byte, len(paths))
		found[0], found[9] = []byte("was there before"), []byte("was there before")
		rawjson.GetAll([]byte(doc), paths, found)
		for i, path := range paths {
			if want, _ := rawjson.Get([]byte(doc), path...); !bytes.Equal(found[i], want) || (found[i] == nil) != (len(want) == 0) {
				t.Errorf("at %q of %s: %q, and by Get %q", path, doc, found[i], want)
			}
		}
	}
}

func TestTextKeepsEveryDigit(t *testing.T) {
	for _, c := range []struct {
		raw, want string
		ok        bool
	}{
		{`"a"`, "a", true}, {`"\u00e9\n"`, "é\n", true}, {`12345678901234567890123`, "12345678901234567890123", true},
		{`-1.50`, "-1.50", true}, {`true`, "true", true}, {`false`, "false", true}, {`""`, "", true},
		{`null`, "", false}, {`{}`, "", false}, {`[]`, "", false}, {``, "", false},
	} {
		if got, ok := rawjson.Text([]byte(c.raw)); got != c.want || ok != c.ok {
			t.Errorf("Text(%s) = %q, %v, want %q, %v", c.raw, got, ok, c.want, c.ok)
		}
	}
}

func TestHashSeesWhatIsSaidNotHowItIsWritten(t *testing.T) {
	same := []string{
		`{"a":1,"b":[1,2,{"x":"é/","y":null}],"c":"A\"\n"}`,
		" { \"c\" : \"\\u0041\\u0022\\u000a\", \"b\":[1, 2,{\"y\":null,\"x\":\"\\u00e9\\/\"}],\n\"\\u0061\":1 } ",
		`{"a":7,"a":1,"b":[1,2,{"x":"é/","y":null}],"c":"A\"\u000A"}`,
	}
	want := rawjson.Hash([]byte(same[0]))
	for _, doc := range same {
		if got := rawjson.Hash([]byte(doc)); got != want {
			t.Errorf("the hash of %s is another one", doc)
		}
	}
	seen := map[[16]byte]string{want: same[0]}
	for _, doc := range []string{
		`{}`, `[]`, `null`, `""`, `"a"`, `["a"]`, `[["a"]]`, `{"a":"b"}`, `{"a":{"b":1}}`, `{"a":{},"b":1}`, `[1,2]`, `[12]`, `[1,[2]]`,
		`1`, `1.0`, `"1"`, `{"a":1,"b":[2,1,{"x":"é/","y":null}],"c":"A\"\n"}`, `{"a,b":1}`, `{"a":"1,\"b\":2"}`, `{"a":1,"b":2}`,
	} {
		h := rawjson.Hash([]byte(doc))
		if other, ok := seen[h]; ok {
			t.Errorf("%s and %s have one hash", doc, other)
		}
		seen[h] = doc
	}
}

func TestValidIsWhatEncodingJSONReads(t *testing.T) {
	values := []string{`{}`, `[]`, `""`, `"a"`, `0`, `-0`, `1`, `-1`, `10`, `1.5`, `0.50`, `1e5`, `1E+5`, `0e-5`, `12345678901234567890`, `true`, `false`, `null`,
		`"\u00eF"`, `"\\\"\/\b\f\n\r\t"`, `"a string that is longer than one word of the machine"`, "\"é\x7f\xff\"", `[1,2]`, `[[],[[]]]`,
		`{"a":1}`, `{"a":{"b":[{}]},"a":2}`, " [ 1 , { \"a\" :\t2 } ,\r\n3 ] "}
	broken := []string{``, ` `, `-`, `+1`, `01`, `-01`, `1.`, `.5`, `1.e5`, `1e`, `1e+`, `0x1`, `1 2`, `tru`, `truE`, `nul`, `nulll`, `falsey`, `NaN`, `"`, `"a`, `"\`,
		`"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u`, "\"\n\"", "\"a string with\x00in it\"", "\"a string that ends with\x1f\"", `[`, `]`, `[,]`, `[1,]`, `[1 2]`,
		`[1}`, `{`, `}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1]`, `{1:1}`, `{"a",1}`, `'a'`, "\ufeff{}", `{}x`, "\v1", "1\u00a0"}
	for _, doc := range slices.Concat(values, broken) {
		for at := range len(doc) + 1 { // cut off anywhere, too
			for _, doc := range []string{doc[:at], doc[at:], "[" + doc[:at] + "]", `{"k":` + doc[at:] + "}", "[1," + doc + ",2]"} {
				if got, want := rawjson.Valid([]byte(doc)), json.Valid([]byte(doc)); got != want {
					t.Errorf("Valid(%q) = %v, and by encoding/json %v", doc, got, want)
				}
			}
		}
	}
	for _, doc := range values {
		if !rawjson.Valid([]byte(doc)) {
			t.Errorf("%q is not valid", doc)
		}
	}
	for _, depth := range []int{9_999, 10_000, 10_001, 1_000_000} {
		for _, in := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
			doc := []byte(strings.Repeat(in[0], depth) + "1" + strings.Repeat(in[1], depth))
			if got, want := rawjson.Valid(doc), json.Valid(doc); got != want {
				t.Errorf("%d times %s: %v, and by encoding/json %v", depth, in[0], got, want)
			}
		}
	}
}

// FuzzRawJSON compares with encoding/json: the same is valid, the same values at the same paths, and one hash before and after rewriting.
func FuzzRawJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"c"}],"d":null}`, `"x\u00e9"`, ` [ 1 , 2 ] `, `{"a":1`, `{"a" 1}`, `[1 2]`, `{"\ud800":1}`, `]`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		rawjson.Hash(doc)
		found := make([][]byte, 1)
		rawjson.GetAll(doc, [][]string{{"a", "0", "b"}}, found)
		if want, ok := rawjson.Get(doc, "a", "0", "b"); ok && !bytes.Equal(found[0], want) || !ok && found[0] != nil {
			t.Errorf("GetAll of %q gives %q, and Get %q", doc, found[0], want)
		}
		if got, want := rawjson.Valid(doc), json.Valid(doc); got != want {
			t.Fatalf("Valid(%q) = %v, and by encoding/json %v", doc, got, want)
		} else if !got {
			return
		}
		compare(t, doc)
		var buf bytes.Buffer
		if err := json.Indent(&buf, doc, " ", "  "); err == nil && rawjson.Hash(buf.Bytes()) != rawjson.Hash(doc) {
			t.Errorf("indenting %q changed its hash", doc)
		}
	})
}

func compare(t *testing.T, raw []byte) {
	switch bytes.TrimSpace(raw)[0] {
	case '{':
		var want map[string]json.RawMessage
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for name, v := range rawjson.Members(raw) {
			seen[name] = true
			compare(t, v)
		}
		for name := range want {
			if !seen[name] {
				t.Errorf("member %q of %q was not walked", name, raw)
			}
			if _, ok := rawjson.Get(raw, name); !ok {
				t.Errorf("member %q of %q was not found", name, raw)
			}
		}
	case '[':
		var want []json.RawMessage
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		i := 0
		for v := range rawjson.Elements(raw) {
			if i >= len(want) || !bytes.Equal(bytes.TrimSpace(want[i]), v) {
				t.Fatalf("element %d of %q is %q", i, raw, v)
			}
			if got, ok := rawjson.Get(raw, strconv.Itoa(i)); !ok || !bytes.Equal(got, v) {
				t.Errorf("Get(%d) of %q is %q", i, raw, got)
			}
			i++
		}
		if i != len(want) {
			t.Errorf("%d of %d elements of %q", i, len(want), raw)
		}
	case '"':
		var want string
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		if got, ok := rawjson.Text(raw); !ok || got != want {
			t.Errorf("Text(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestHashWithoutLeavesPathsOut(t *testing.T) {
	doc := `{"id": 1, "seen": "10:00", "visit": {"seen": 5, "by": "x"}, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 4]}`
	for _, c := range []struct {
		ignore string
		other  string
		same   bool
	}{
		{"seen", `{"id": 1, "seen": "11:00", "visit": {"seen": 5, "by": "x"}, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 4]}`, true},
		{"seen", `{"id": 1, "visit": {"seen": 5, "by": "x"}, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 4]}`, true},
		{"seen", `{"id": 1, "s\u0065en": {}, "visit": {"seen": 5, "by": "x"}, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 4]}`, true},
		{"seen", `{"id": 1, "seen": "10:00", "visit": {"seen": 6, "by": "x"}, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 4]}`, false},
		{"visit.seen", `{"id": 1, "seen": "10:00", "visit": {"seen": 6, "by": "x"}, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 4]}`, true},
		{"visit.seen", `{"id": 1, "seen": "10:00", "visit": {"seen": 5, "by": "y"}, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 4]}`, false},
		{"visit", `{"id": 1, "seen": "10:00", "visit": null, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 4]}`, true},
		{"list.seen", `{"id": 1, "seen": "10:00", "visit": {"seen": 5, "by": "x"}, "list": [{"seen": 9, "id": 2}, [{"seen": 8}], 4]}`, true},
		{"list.seen", `{"id": 1, "seen": "10:00", "visit": {"seen": 5, "by": "x"}, "list": [{"seen": 1, "id": 2}, [{"seen": 3}], 5]}`, false},
		{"id.deeper", doc, true}, {"nothing.here", doc, true},
	} {
		paths := rawjson.ParsePaths([]string{"unrelated", c.ignore})
		if same := rawjson.HashWithout([]byte(doc), paths) == rawjson.HashWithout([]byte(c.other), paths); same != c.same {
			t.Errorf("without %s the same: %v, want %v: %s", c.ignore, same, c.same, c.other)
		}
	}
	if rawjson.HashWithout([]byte(doc), nil) != rawjson.Hash([]byte(doc)) {
		t.Error("without nothing it is another hash")
	}
}
