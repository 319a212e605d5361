// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package schema describes the configuration of an adapter or a destination: what a Go struct says by its tags. The
// description travels to the engine, which checks HCL against it; the values travel back as JSON, which Decode puts into
// the struct.
//
// Tags are those of gohcl, and a few more:
//
//	Token  string        `hcl:"token,sensitive" doc:"Bearer token."`
//	Zone   string        `hcl:"zone,optional" default:"UTC" doc:"Time zone of the server."`
//	Order  string        `hcl:"order,optional" values:"asc,desc"`
//	Name   string        `hcl:"name,label"`   // in the struct of a block
//	Since  *Since        `hcl:"since,block"`  // at most one; a struct instead of a pointer: exactly one
//	Feeds  []Feed        `hcl:"feed,block"`   // any number, told apart by their labels
//	_      struct{}      `doc:"One sentence on the whole struct."`
//
// An attribute is a string, bool, int, int64, float64, time.Duration, []string, map[string]string or json.RawMessage (any
// value). Fields without an hcl tag are left alone.
//
// In JSON, attributes are members by name; a duration is a string such as "1m30s"; a block that may stand once is an
// object, one that may be repeated an array of objects; a label is a member under the name of its field's tag.
package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Schema describes a struct.
type Schema struct {
	Doc        string
	Attributes []Attribute
	Blocks     []Block
}

// Attribute describes a field that holds a value.
type Attribute struct {
	Name      string
	Type      Type
	Required  bool
	Sensitive bool // never to be shown
	Doc       string
	Default   string   // of an optional attribute, as written in the tag; empty: the zero value
	Values    []string // the values that are allowed; empty: all
}

// Block describes a field that holds a nested struct, or several.
type Block struct {
	Name     string
	Labels   []string // in the order in which they are written
	Repeated bool
	Required bool // never set together with Repeated
	Body     Schema
	Doc      string
}

// Type is the type of an attribute.
type Type string

// The types.
const (
	String   Type = "string"
	Number   Type = "number"
	Integer  Type = "integer"
	Bool     Type = "bool"
	Duration Type = "duration"
	List     Type = "list(string)"
	Map      Type = "map(string)"
	Any      Type = "any"
)

// Reserved are the attributes of a source or destination block that are the engine's own: no configuration may use them
// at its top.
var Reserved = []string{"isolate"}

// Error blames a part of a configuration, or of the struct that it is to fill. Text never holds a value.
type Error struct {
	Path string // block types, labels and attribute, joined by dots; empty: the whole
	Text string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Text
	}
	return e.Path + ": " + e.Text
}

// Of describes a struct, or what a pointer to a struct points to. The error names the field that can't be used.
func Of(v any) (Schema, error) {
	b, err := bodyOf(v)
	if err != nil {
		return Schema{}, err
	}
	return b.schema(), nil
}

// body is a struct as its tags describe it.
type body struct {
	doc    string
	fields []field
}

type role int

const (
	attribute role = iota
	label
	block
)

// field is a struct field with an hcl tag.
type field struct {
	index     int
	name      string
	role      role
	typ       Type // attributes
	optional  bool // attributes and blocks
	sensitive bool
	doc       string
	preset    string // the tag `default`
	values    []string
	repeated  bool // blocks, with what follows
	pointer   bool
	body      body
}

func (b body) schema() Schema {
	s := Schema{Doc: b.doc}
	for _, f := range b.fields {
		switch f.role {
		case attribute:
			s.Attributes = append(s.Attributes, Attribute{Name: f.name, Type: f.typ, Required: !f.optional,
				Sensitive: f.sensitive, Doc: f.doc, Default: f.preset, Values: f.values})
		case block:
			doc := f.doc
			if doc == "" {
				doc = f.body.doc
			}
			s.Blocks = append(s.Blocks, Block{Name: f.name, Labels: f.body.labels(), Repeated: f.repeated,
				Required: !f.repeated && !f.optional, Body: f.body.schema(), Doc: doc})
		}
	}
	return s
}

func (b body) labels() []string {
	var names []string
	for _, f := range b.fields {
		if f.role == label {
			names = append(names, f.name)
		}
	}
	return names
}

func bodyOf(v any) (body, error) {
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return body{}, &Error{Text: fmt.Sprintf("a configuration is a struct, not %T", v)}
	}
	b, err := describe(t, nil)
	if err != nil {
		return body{}, err
	}
	for _, f := range b.fields {
		switch {
		case f.role == label:
			return body{}, &Error{Path: f.name, Text: "a label needs a block around it; the top of a configuration has none"}
		case slices.Contains(Reserved, f.name):
			return body{}, &Error{Path: f.name, Text: "is the engine's own name; choose another"}
		}
	}
	return b, nil
}

// describe reads the tags of a struct; outer are the structs around it.
func describe(t reflect.Type, outer []reflect.Type) (body, *Error) {
	if slices.Contains(outer, t) {
		return body{}, &Error{Text: fmt.Sprintf("%s contains itself; a configuration can't be recursive", t)}
	}
	outer = append(outer, t)
	var b body
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Name == "_" {
			b.doc = sf.Tag.Get("doc")
			continue
		}
		tag, ok := sf.Tag.Lookup("hcl")
		if !ok || tag == "-" {
			continue
		}
		f, err := describeField(sf, tag, outer)
		if err != nil {
			path := t.Name() + "." + sf.Name
			if err.Path != "" { // from a nested struct, which is the better place to look at
				path = err.Path
			}
			return body{}, &Error{Path: path, Text: err.Text}
		}
		f.index = i
		if slices.ContainsFunc(b.fields, func(o field) bool { return o.name == f.name }) {
			return body{}, &Error{Path: t.Name() + "." + sf.Name, Text: fmt.Sprintf("the name %q is used twice", f.name)}
		}
		b.fields = append(b.fields, f)
	}
	return b, nil
}

func describeField(sf reflect.StructField, tag string, outer []reflect.Type) (field, *Error) {
	parts := strings.Split(tag, ",")
	f := field{name: parts[0], doc: sf.Tag.Get("doc")}
	for _, option := range parts[1:] {
		switch option {
		case "attr":
		case "optional":
			f.optional = true
		case "sensitive":
			f.sensitive = true
		case "label":
			f.role = label
		case "block":
			f.role = block
		default:
			return f, &Error{Text: fmt.Sprintf("unknown option %q in its hcl tag; there are optional, sensitive, label, block",
				option)}
		}
	}
	preset, hasPreset := sf.Tag.Lookup("default")
	f.preset = preset
	if values, ok := sf.Tag.Lookup("values"); ok {
		f.values = strings.Split(values, ",")
	}
	switch {
	case !sf.IsExported():
		return f, &Error{Text: "must be exported to be set"}
	case !isIdentifier(f.name):
		return f, &Error{Text: fmt.Sprintf("%q is no HCL name: letters, digits, _ and -, beginning with a letter", f.name)}
	case f.role != attribute && (f.optional || f.sensitive || hasPreset):
		return f, &Error{Text: "only an attribute can be optional, sensitive or have a default " +
			"(a block is optional by being a pointer or a slice)"}
	case f.role == block && f.values != nil:
		return f, &Error{Text: "a block has no values"}
	}
	switch f.role {
	case block:
		return describeBlock(f, sf.Type, outer)
	case label:
		if sf.Type.Kind() != reflect.String {
			return f, &Error{Text: fmt.Sprintf("a label is a string, not %s", sf.Type)}
		}
		f.typ = String
		return f, nil
	}
	if f.typ = typeOf(sf.Type); f.typ == "" {
		return f, &Error{Text: fmt.Sprintf("%s can't be configured; use string, bool, int, int64, float64, time.Duration, "+
			"[]string, map[string]string, json.RawMessage, or a struct with ,block", sf.Type)}
	}
	if f.values != nil && f.typ != String {
		return f, &Error{Text: "only a string can have values to choose from"}
	}
	if hasPreset {
		if !f.optional {
			return f, &Error{Text: "has a default, so it must be optional"}
		}
		if err := f.setPreset(reflect.New(sf.Type).Elem()); err != nil {
			return f, &Error{Text: "its default can't be used: " + err.Text}
		}
	}
	return f, nil
}

func describeBlock(f field, t reflect.Type, outer []reflect.Type) (field, *Error) {
	switch t.Kind() {
	case reflect.Slice:
		f.repeated, f.optional, t = true, true, t.Elem()
	case reflect.Pointer:
		f.pointer, f.optional, t = true, true, t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return f, &Error{Text: fmt.Sprintf("a block is a struct, a pointer to one or a slice of them, not %s", t)}
	}
	b, err := describe(t, outer)
	if err != nil {
		return f, err
	}
	f.body = b
	return f, nil
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	rawType      = reflect.TypeFor[json.RawMessage]()
)

// typeOf is empty for a type that an attribute can't have.
func typeOf(t reflect.Type) Type {
	switch t {
	case durationType:
		return Duration
	case rawType:
		return Any
	}
	switch t.Kind() {
	case reflect.String:
		return String
	case reflect.Bool:
		return Bool
	case reflect.Int, reflect.Int64:
		return Integer
	case reflect.Float64:
		return Number
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return List
		}
	case reflect.Map:
		if t.Key().Kind() == reflect.String && t.Elem().Kind() == reflect.String {
			return Map
		}
	}
	return ""
}

func isIdentifier(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}
