// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// maskedElements is how many elements of an array are shown by their form.
const maskedElements = 3

// plainName is what a member's name looks like that an author wrote. Where an object is keyed by what a record holds, such as
// by identifiers, names are values.
var plainName = regexp.MustCompile(`^[A-Za-z_$@][A-Za-z_$@:.-]{0,62}[0-9]{0,2}$`)

// mask gives the form of a JSON document: the names of its members, and in the place of each value its type and length.
// Invariant 6 holds for what comes out.
func mask(doc []byte) json.RawMessage {
	if !json.Valid(doc) {
		return quoted("not JSON (%d bytes)", len(doc))
	}
	var out strings.Builder
	maskInto(&out, doc)
	return json.RawMessage(out.String())
}

func maskInto(out *strings.Builder, raw []byte) {
	switch raw = []byte(strings.TrimSpace(string(raw))); raw[0] {
	case '{':
		out.WriteByte('{')
		n := 0
		for name, value := range rawjson.Members(raw) {
			if n++; n > 1 {
				out.WriteByte(',')
			}
			if plainName.MatchString(name) {
				out.Write(quoted("%s", name))
			} else {
				out.Write(quoted("(name %d, %d characters)", n, utf8.RuneCountInString(name))) // numbered: names differ
			}
			out.WriteByte(':')
			maskInto(out, value)
		}
		out.WriteByte('}')
	case '[':
		out.WriteByte('[')
		n := 0
		for value := range rawjson.Elements(raw) {
			if n++; n > maskedElements {
				continue
			}
			if n > 1 {
				out.WriteByte(',')
			}
			maskInto(out, value)
		}
		if n > maskedElements {
			out.WriteByte(',')
			out.Write(quoted("and %d more", n-maskedElements))
		}
		out.WriteByte(']')
	case '"':
		text, _ := rawjson.Text(raw)
		out.Write(quoted("string (%d)", utf8.RuneCountInString(text)))
	case 't', 'f':
		out.Write(quoted("boolean"))
	case 'n':
		out.WriteString("null")
	default:
		out.Write(quoted("number (%d)", len(raw)))
	}
}

func quoted(format string, args ...any) json.RawMessage {
	data, _ := json.Marshal(fmt.Sprintf(format, args...)) // a string always has a JSON form
	return data
}
