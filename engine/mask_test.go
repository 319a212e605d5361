// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/json"
	"testing"
)

func TestMaskKeepsTheFormOnly(t *testing.T) {
	for doc, want := range map[string]string{
		`{"Meta": {"DataModel": "Größe"}, "n": -12.5, "yes": true, "no": false, "none": null}`: `{"Meta":{"DataModel":"string (5)"},"n":"number (5)","yes":"boolean","no":"boolean","none":null}`,
		`["a", {}, [], 1, 2]`:                             `["string (1)",{},[],"and 2 more"]`,
		`{"4711": 1, "Ada Lovelace": 2, "address2": 3}`:   `{"(name 1, 4 characters)":"number (1)","(name 2, 12 characters)":"number (1)","address2":"number (1)"}`,
		`{"MRN123": "x", "":"", "a\u0022b": "", "é": ""}`: `{"(name 1, 6 characters)":"string (1)","(name 2, 0 characters)":"string (0)","(name 3, 3 characters)":"string (0)","(name 4, 1 characters)":"string (0)"}`,
		`"\ud83d\ude00 text"`:                             `"string (6)"`,
		` 5 `:                                             `"number (1)"`,
		`{broken`:                                         `"not JSON (7 bytes)"`,
		``:                                                `"not JSON (0 bytes)"`,
	} {
		if got := string(mask([]byte(doc))); got != want {
			t.Errorf("%s:\n got %s\nwant %s", doc, got, want)
		}
	}
}

// FuzzMask: whatever a mapping makes, its form is JSON, and has a form itself.
func FuzzMask(f *testing.F) {
	for _, doc := range []string{`{"a": [1, "b", null]}`, `[{}, [], ""]`, `"\u0000"`, "\"\xff\"", `{"a":1,"a":2}`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		masked := mask(doc)
		if !json.Valid(masked) {
			t.Errorf("%q gave %q", doc, masked)
		}
		mask(masked)
	})
}
