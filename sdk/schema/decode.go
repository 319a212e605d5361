// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Decode puts the JSON form of a configuration into a struct, whose fields should be zero before. Everything that the tags
// don't allow is an *Error: unknown and missing names, wrong types, values out of range. JSON null means "not given".
func Decode(data []byte, into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return &Error{Text: fmt.Sprintf("a configuration is decoded into a pointer to a struct, not %T", into)}
	}
	b, err := bodyOf(into)
	if err != nil {
		return err
	}
	if !json.Valid(data) {
		return &Error{Text: "is not valid JSON"}
	}
	if err := b.decode(data, v.Elem(), ""); err != nil {
		return err
	}
	return nil
}

func (b body) decode(data []byte, v reflect.Value, path string) *Error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return &Error{Path: path, Text: "must be an object"}
	}
	// Labels first: they are part of the path that the other errors name.
	for _, f := range b.fields {
		if f.role != label {
			continue
		}
		raw, ok := members[f.name]
		if !ok || isNull(raw) {
			return &Error{Path: path, Text: fmt.Sprintf("the label %q is missing", f.name)}
		}
		if err := f.set(raw, v.Field(f.index)); err != nil {
			return &Error{Path: path, Text: fmt.Sprintf("the label %q %s", f.name, err.Text)}
		}
		path = join(path, v.Field(f.index).String())
	}
	for _, f := range b.fields {
		raw, ok := members[f.name]
		delete(members, f.name)
		if f.role == label {
			continue
		}
		if err := f.decode(raw, ok && !isNull(raw), v.Field(f.index), path); err != nil {
			return err
		}
	}
	if len(members) > 0 {
		unknown := make([]string, 0, len(members))
		for name := range members {
			unknown = append(unknown, name)
		}
		sort.Strings(unknown)
		return &Error{Path: join(path, unknown[0]), Text: "is not known here"}
	}
	return nil
}

func (f field) decode(raw json.RawMessage, given bool, v reflect.Value, path string) *Error {
	here := join(path, f.name)
	switch {
	case f.role == block && f.repeated:
		return f.decodeEach(raw, given, v, here)
	case f.role == block && !given && f.optional:
		return nil
	case f.role == block && !given:
		return &Error{Path: path, Text: fmt.Sprintf("the block %q is missing", f.name)}
	case f.role == block:
		if f.pointer {
			v.Set(reflect.New(v.Type().Elem()))
			v = v.Elem()
		}
		return f.body.decode(raw, v, here)
	case !given && !f.optional:
		return &Error{Path: here, Text: "is required"}
	case !given && f.preset != "":
		return at(here, f.setPreset(v))
	case !given:
		return nil
	}
	return at(here, f.set(raw, v))
}

// decodeEach decodes a repeated block.
func (f field) decodeEach(raw json.RawMessage, given bool, v reflect.Value, path string) *Error {
	var items []json.RawMessage
	if given {
		if err := json.Unmarshal(raw, &items); err != nil {
			return &Error{Path: path, Text: "must be an array of objects"}
		}
	}
	if len(items) == 0 {
		return nil
	}
	seen := map[string]bool{}
	all := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := f.body.decode(item, all.Index(i), path); err != nil {
			return err
		}
		labels := f.body.labelsOf(all.Index(i))
		if len(labels) == 0 {
			continue
		}
		if key := strings.Join(labels, "\x00"); seen[key] {
			return &Error{Path: join(path, strings.Join(labels, ".")), Text: "is declared twice"}
		} else {
			seen[key] = true
		}
	}
	v.Set(all)
	return nil
}

func (b body) labelsOf(v reflect.Value) []string {
	var labels []string
	for _, f := range b.fields {
		if f.role == label {
			labels = append(labels, v.Field(f.index).String())
		}
	}
	return labels
}

// set puts a JSON value that is not null into an attribute or a label.
func (f field) set(raw json.RawMessage, v reflect.Value) *Error {
	switch f.typ {
	case Any:
		v.SetBytes(slices.Clone(raw))
		return nil
	case Integer:
		n, err := integer(raw)
		if err != nil {
			return err
		}
		if v.OverflowInt(n) {
			return &Error{Text: "is out of range"}
		}
		v.SetInt(n)
		return nil
	case Number:
		if raw[0] == '"' {
			return &Error{Text: "must be a number"}
		}
		n, err := strconv.ParseFloat(string(raw), 64)
		if err != nil {
			return &Error{Text: "must be a number within the range of a 64-bit float"}
		}
		v.SetFloat(n)
		return nil
	case Duration:
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return &Error{Text: `must be a duration such as "1m30s"`}
		}
		return setDuration(s, v)
	case List, Map:
		return setMany(f.typ, raw, v)
	}
	into := reflect.New(v.Type())
	if json.Unmarshal(raw, into.Interface()) != nil {
		return &Error{Text: fmt.Sprintf("must be a %s", f.typ)}
	}
	if f.typ == String {
		if err := f.allow(into.Elem().String()); err != nil {
			return err
		}
	}
	v.Set(into.Elem())
	return nil
}

// setMany sets a list or a map of strings. A null in it is an error: encoding/json would take it for "".
func setMany(typ Type, raw json.RawMessage, v reflect.Value) *Error {
	wrong := &Error{Text: "must be a list of strings"}
	var elements []json.RawMessage
	if typ == Map {
		wrong.Text = "must be a map of strings"
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil {
			return wrong
		}
		for _, m := range members {
			elements = append(elements, m)
		}
	} else if json.Unmarshal(raw, &elements) != nil {
		return wrong
	}
	if slices.ContainsFunc(elements, func(e json.RawMessage) bool { return e[0] != '"' }) {
		return wrong
	}
	into := reflect.New(v.Type())
	if json.Unmarshal(raw, into.Interface()) != nil {
		return wrong
	}
	v.Set(into.Elem())
	return nil
}

// setPreset sets an attribute to the default of its tag.
func (f field) setPreset(v reflect.Value) *Error {
	switch f.typ {
	case String:
		if err := f.allow(f.preset); err != nil {
			return err
		}
		v.SetString(f.preset)
		return nil
	case Duration:
		return setDuration(f.preset, v)
	case Bool, Integer, Number:
		if !json.Valid([]byte(f.preset)) || isNull([]byte(f.preset)) {
			return &Error{Text: fmt.Sprintf("must be a %s", f.typ)}
		}
		return f.set(json.RawMessage(f.preset), v)
	}
	return &Error{Text: fmt.Sprintf("a %s has no default", f.typ)}
}

func (f field) allow(s string) *Error {
	if len(f.values) > 0 && !slices.Contains(f.values, s) {
		return &Error{Text: "must be one of " + strings.Join(f.values, ", ")}
	}
	return nil
}

func setDuration(s string, v reflect.Value) *Error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return &Error{Text: `must be a duration such as "1m30s"`}
	}
	v.SetInt(int64(d))
	return nil
}

// integer accepts every way of writing a whole number: 10, 10.0, 1e1.
func integer(raw json.RawMessage) (int64, *Error) {
	s := string(raw)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	n, err := strconv.ParseFloat(s, 64)
	switch {
	case s[0] == '"' || err != nil && !math.IsInf(n, 0):
		return 0, &Error{Text: "must be a whole number"}
	case n != math.Trunc(n):
		return 0, &Error{Text: "must be a whole number"}
	case math.Abs(n) >= 1<<53: // from there on a float skips whole numbers
		return 0, &Error{Text: "is out of range"}
	}
	return int64(n), nil
}

func isNull(raw []byte) bool { return string(raw) == "null" }

func at(path string, err *Error) *Error {
	if err != nil {
		err.Path = path
	}
	return err
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
