// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package rawjson looks things up in JSON text without decoding it: a record stays the bytes that the server sent, no digit
// of an identifier is lost, and only what is asked for is paid for.
//
// Documents must be valid JSON; check with Valid where they come in. What an invalid document gives is unspecified, but no
// function panics or reads past its end. As in JavaScript, the last of several members of one name counts.
package rawjson

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"unicode/utf8"
)

// Get walks from doc along path: a step names the member of an object or, in decimal, the element of an array. It returns
// the raw value, which lies inside doc, and false when a step leads nowhere. A JSON null at the end of the path is found.
func Get(doc []byte, path ...string) ([]byte, bool) {
	v := trim(doc)
	for _, step := range path {
		if len(v) == 0 {
			return nil, false
		}
		next, found := []byte(nil), false
		switch v[0] {
		case '{':
			for key, value := range members(v) {
				if keyIs(key, step) {
					next, found = value, true
				}
			}
		case '[':
			index, err := strconv.Atoi(step)
			if err != nil || index < 0 {
				return nil, false
			}
			for value := range Elements(v) {
				if index == 0 {
					next, found = value, true
					break
				}
				index--
			}
		}
		if !found {
			return nil, false
		}
		v = next
	}
	return v, len(v) > 0
}

// GetAll is Get for several paths, of which an object is walked but once. found gets the value of each path, nil where there is none.
func GetAll(doc []byte, paths [][]string, found [][]byte) {
	doc = trim(doc)
	if len(doc) == 0 || doc[0] != '{' {
		for i, path := range paths {
			found[i] = nil
			if v, ok := Get(doc, path...); ok {
				found[i] = v
			}
		}
		return
	}
	for i, path := range paths {
		found[i] = nil
		if len(path) == 0 {
			found[i] = doc
		}
	}
	for key, value := range members(doc) {
		for i, path := range paths {
			if len(path) > 0 && keyIs(key, path[0]) {
				found[i], _ = Get(value, path[1:]...)
			}
		}
	}
}

// Text gives a scalar as text: the value of a string, the literal digits of a number, "true" or "false". It is false for
// null, objects and arrays.
func Text(raw []byte) (string, bool) {
	raw = trim(raw)
	if len(raw) == 0 {
		return "", false
	}
	switch c := raw[0]; {
	case c == '"':
		return unquote(raw)
	case c == '-' || c >= '0' && c <= '9' || c == 't' || c == 'f':
		return string(raw), true
	}
	return "", false
}

// IsNull says whether raw is JSON null or nothing at all.
func IsNull(raw []byte) bool {
	raw = trim(raw)
	return len(raw) == 0 || raw[0] == 'n'
}

// Found says what Get found, by its type alone, for an error.
func Found(raw []byte, ok bool) string {
	if !ok || len(raw) == 0 {
		return "nothing there"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		if len(raw) == 2 {
			return "an empty string"
		}
		return "a string"
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	}
	return "a number"
}

// Elements walks the elements of an array; anything else has none.
func Elements(raw []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		raw := trim(raw)
		if len(raw) == 0 || raw[0] != '[' {
			return
		}
		for i := skipSpace(raw, 1); i < len(raw) && raw[i] != ']'; {
			end := skipValue(raw, i)
			if end <= i || !yield(raw[i:end]) {
				return
			}
			i = skipSpace(raw, end)
			if i < len(raw) && raw[i] == ',' {
				i = skipSpace(raw, i+1)
			}
		}
	}
}

// Members walks the members of an object in the order of the text; anything else has none.
func Members(raw []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for key, value := range members(trim(raw)) {
			name, ok := unquote(key)
			if !ok || !yield(name, value) {
				return
			}
		}
	}
}

// members walks an object; keys are raw, quotes included.
func members(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		if len(raw) == 0 || raw[0] != '{' {
			return
		}
		for i := skipSpace(raw, 1); i < len(raw) && raw[i] == '"'; {
			keyEnd := skipString(raw, i)
			colon := skipSpace(raw, keyEnd)
			if colon >= len(raw) || raw[colon] != ':' {
				return
			}
			start := skipSpace(raw, colon+1)
			end := skipValue(raw, start)
			if end <= start || !yield(raw[i:keyEnd], raw[start:end]) {
				return
			}
			i = skipSpace(raw, end)
			if i < len(raw) && raw[i] == ',' {
				i = skipSpace(raw, i+1)
			}
		}
	}
}

// keyIs compares a raw key with a name.
func keyIs(raw []byte, name string) bool {
	if len(raw) == len(name)+2 && string(raw[1:len(raw)-1]) == name {
		return bytes.IndexByte(raw, '\\') < 0
	}
	for _, c := range raw {
		if c == '\\' || c >= utf8.RuneSelf { // it may be written in another way
			s, ok := unquote(raw)
			return ok && s == name
		}
	}
	return false
}

func unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

func trim(doc []byte) []byte {
	i := skipSpace(doc, 0)
	j := len(doc)
	for j > i && isSpace(doc[j-1]) {
		j--
	}
	return doc[i:j]
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func skipSpace(doc []byte, i int) int {
	for i < len(doc) && isSpace(doc[i]) {
		i++
	}
	return i
}

// skipString returns the index after the string that starts at i.
func skipString(doc []byte, i int) int {
	for i++; ; i++ {
		i = plainEnd(doc, i)
		switch {
		case i >= len(doc):
			return len(doc)
		case doc[i] == '"':
			return i + 1
		case doc[i] == '\\':
			i++ // the escaped character may be the quote
		}
	}
}

// skipValue returns the index after the value that starts at i.
func skipValue(doc []byte, i int) int {
	if i >= len(doc) {
		return i
	}
	switch doc[i] {
	case '"':
		return skipString(doc, i)
	case '{', '[':
		depth := 0
		for i < len(doc) {
			switch doc[i] {
			case '"':
				i = skipString(doc, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
				if depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return i
	}
	for i < len(doc) {
		switch doc[i] {
		case ',', '}', ']', ':', ' ', '\n', '\r', '\t':
			return i
		}
		i++
	}
	return i
}
