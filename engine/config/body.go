// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/rounds-engine/rounds/sdk/schema"
)

// The types of the engine's own attributes that are no values: what refers to another block, and what is evaluated for
// every record.
const (
	reference  schema.Type = "reference"
	expression schema.Type = "expression"
)

// object is a block that was read by a schema.
type object struct {
	schema     schema.Schema
	labels     []string
	header     hcl.Range
	attributes map[string]attribute
	blocks     map[string][]*object
	partial    bool // a value is missing for a mistake that was said elsewhere
}

type attribute struct {
	expr  hclsyntax.Expression
	value any // in its JSON form; nil for reference and expression
	// secret says that the value came from env, secret, file or a sensitive variable, or the schema calls it sensitive.
	secret bool
}

// decode reads a block's body. It says everything that is wrong with it and returns what is right; ok is false when
// something was wrong.
func (l *loader) decode(block *hclsyntax.Block, s schema.Schema) (o *object, ok bool) {
	before := len(l.diags)
	o = &object{schema: s, labels: block.Labels, header: block.DefRange(), attributes: map[string]attribute{}, blocks: map[string][]*object{}}
	where := title(block)
	l.decodeAttributes(block.Body, s, o, where)
	for _, b := range block.Body.Blocks {
		l.decodeBlock(b, s, o, where)
	}
	_, known := namesOf(s)
	given := map[string]bool{}
	for _, b := range block.Body.Blocks {
		given[b.Type], given[nearest(b.Type, known)] = true, true // a misspelt one is not missing as well
	}
	for _, want := range s.Blocks {
		if want.Required && !given[want.Name] {
			l.errorf(o.header, "Missing block", "%s needs a block %q%s", where, want.Name, docs(want.Doc))
		}
	}
	return o, len(l.diags) == before && !o.partial
}

func (l *loader) decodeAttributes(body *hclsyntax.Body, s schema.Schema, o *object, where string) {
	known, _ := namesOf(s)
	given := map[string]bool{}
	for _, attr := range inOrder(body.Attributes) {
		given[attr.Name], given[nearest(attr.Name, known)] = true, true // a misspelt one is not missing as well
		i := slices.IndexFunc(s.Attributes, func(a schema.Attribute) bool { return a.Name == attr.Name })
		if i < 0 {
			l.hide(attr)
			l.unknownAttribute(attr, s, where)
			continue
		}
		a := s.Attributes[i]
		if a.Sensitive {
			l.conceal(attr.Expr)
		}
		if a.Type == reference || a.Type == expression {
			o.attributes[a.Name] = attribute{expr: attr.Expr}
		} else if value, secret, ok := l.value(a, attr); !ok {
			o.partial = true
		} else if value != nil { // null is as if it was not there
			o.attributes[a.Name] = attribute{attr.Expr, value, secret}
		}
	}
	for _, a := range s.Attributes {
		if a.Required && !given[a.Name] {
			l.errorf(o.header, "Missing attribute", "%s needs the attribute %q%s", where, a.Name, docs(a.Doc))
		}
	}
}

func (l *loader) decodeBlock(b *hclsyntax.Block, s schema.Schema, o *object, where string) {
	i := slices.IndexFunc(s.Blocks, func(w schema.Block) bool { return w.Name == b.Type })
	if i < 0 {
		l.hide(b)
		l.unknownBlock(b, s, where)
		return
	}
	want := s.Blocks[i]
	others := o.blocks[want.Name]
	if !l.labels(b, want.Labels) {
		l.hide(b)
		return
	}
	// All of it is checked even when it is one too many: whoever removes the other wants to know.
	child, _ := l.decode(b, want.Body)
	o.blocks[want.Name] = append(others, child)
	o.partial = o.partial || child.partial
	for _, other := range others {
		if !want.Repeated {
			l.errorf(b.DefRange(), "Duplicate block", "%s takes one block %q, and there is one in line %d.", where, b.Type, other.header.Start.Line)
			return
		}
		if len(b.Labels) > 0 && slices.Equal(other.labels, b.Labels) {
			l.errorf(b.DefRange(), "Duplicate name", "There is another %s in line %d.", title(b), other.header.Start.Line)
			return
		}
	}
}

func (l *loader) unknownAttribute(attr *hclsyntax.Attribute, s schema.Schema, where string) {
	attributes, blocks := namesOf(s)
	if slices.Contains(blocks, attr.Name) {
		l.errorf(attr.NameRange, "Unknown attribute", "In %s, %q is a block and is written without an equals sign: %s { … }", where, attr.Name, attr.Name)
		return
	}
	l.errorf(attr.NameRange, "Unknown attribute", "%s has no attribute %q.%s", where, attr.Name, meantOr(attr.Name, attributes, "Its attributes are"))
}

func (l *loader) unknownBlock(b *hclsyntax.Block, s schema.Schema, where string) {
	attributes, blocks := namesOf(s)
	if slices.Contains(attributes, b.Type) {
		l.errorf(b.TypeRange, "Unknown block", "In %s, %q is an attribute and is written with an equals sign: %s = …", where, b.Type, b.Type)
		return
	}
	l.errorf(b.TypeRange, "Unknown block", "%s has no block %q.%s", where, b.Type, meantOr(b.Type, blocks, "Its blocks are"))
}

func namesOf(s schema.Schema) (attributes, blocks []string) {
	for _, a := range s.Attributes {
		attributes = append(attributes, a.Name)
	}
	for _, b := range s.Blocks {
		blocks = append(blocks, b.Name)
	}
	return attributes, blocks
}

// docs ends a sentence with what something is for.
func docs(doc string) string {
	if doc == "" {
		return "."
	}
	if r := []rune(doc); len(r) > 1 && !unicode.IsUpper(r[1]) { // else it begins with an abbreviation
		r[0] = unicode.ToLower(r[0])
		doc = string(r)
	}
	return ": " + sentence(doc)
}

// inOrder returns attributes in the order of the file.
func inOrder(attributes hclsyntax.Attributes) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(attributes), func(a, b *hclsyntax.Attribute) int {
		return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte
	})
}

// JSON returns the object in the form that schema.Decode reads.
func (o *object) JSON() (json.RawMessage, error) { return json.Marshal(o.members()) }

func (o *object) members() map[string]any {
	m := map[string]any{}
	for name, a := range o.attributes {
		if a.value != nil {
			m[name] = a.value
		}
	}
	for _, b := range o.schema.Blocks {
		var each []map[string]any
		for _, child := range o.blocks[b.Name] {
			c := child.members()
			for i, label := range b.Labels {
				c[label] = child.labels[i]
			}
			each = append(each, c)
		}
		switch {
		case len(each) == 0:
		case b.Repeated:
			m[b.Name] = each
		default:
			m[b.Name] = each[0]
		}
	}
	return m
}

// places returns where the parts of the object stand.
func (o *object) places() places {
	p := places{}
	o.addPlaces(p, "")
	p[""] = o.header
	return p
}

func (o *object) addPlaces(p places, prefix string) {
	add := func(path string, at hcl.Range) {
		if _, ok := p[path]; !ok { // of repeated blocks without labels the first stands for all
			p[path] = at
		}
	}
	for name, a := range o.attributes {
		add(prefix+name, a.expr.Range())
	}
	for name, children := range o.blocks {
		for _, child := range children {
			path := prefix + name
			add(path, child.header)
			for _, label := range child.labels {
				path += "." + label
				add(path, child.header)
			}
			child.addPlaces(p, path+".")
		}
	}
}

// take removes an attribute that is the engine's own and returns its value, or the default if it is not given.
func take[T any](o *object, name string, otherwise T) (value T, at hcl.Range) {
	a, ok := o.attributes[name]
	if !ok {
		return otherwise, o.header
	}
	delete(o.attributes, name)
	if v, ok := a.value.(T); ok {
		return v, a.expr.Range()
	}
	return otherwise, a.expr.Range()
}

// with returns the schema with attributes added to it.
func with(s schema.Schema, own ...schema.Attribute) schema.Schema {
	s.Attributes = slices.Concat(own, s.Attributes)
	return s
}

// names returns the labels of the nested blocks of one type.
func (o *object) names(block string) []string {
	var names []string
	for _, child := range o.blocks[block] {
		names = append(names, strings.Join(child.labels, "."))
	}
	return names
}
