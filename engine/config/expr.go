// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// Expr is an expression that is evaluated for every record. A plain path is a look-up in the record's JSON; for any other
// expression only the paths that it uses are converted for HCL, as the conversion of a whole record costs more than all else.
type Expr struct {
	source    string // as written
	at        string // "main.hcl:23"
	plain     *path  // the whole expression, when it is nothing but a path
	expr      hclsyntax.Expression
	inputs    []input          // the paths that expr uses
	constants *hcl.EvalContext // what is the same for every record: functions, var, local, table
}

// input is a path under the name that stands for it in the expression.
type input struct {
	name string
	path path
	text bool // only its text is wanted, so that a number keeps its digits
}

// String is the expression as it is written.
func (e *Expr) String() string { return e.source }

// MarshalText is String.
func (e *Expr) MarshalText() ([]byte, error) { return []byte(e.source), nil }

// Eval returns the text that the expression gives for a record: of a string its text, of a number its digits, of a bool
// true or false. A plain path gives a text as the server sent it, all else in Unicode's normal form C, which is HCL's: "é" as one
// character where it was sent as two. The value is absent when that is null, missing or an empty string, since none of these identifies anything.
// The error never holds a value. Eval may be called concurrently.
func (e *Expr) Eval(r *record.Record) (value string, present bool, err error) {
	if e.plain != nil {
		v := e.plain.find(r)
		if v.raw == nil {
			return v.text, v.text != "", nil
		}
		text, ok := rawjson.Text(v.raw)
		if !ok && !rawjson.IsNull(v.raw) {
			return "", false, e.errorf("%s is an object or a list; %s", e.source, wanted[cty.String])
		}
		return text, text != "", nil
	}
	v, err := e.evaluate(r)
	if err != nil {
		return "", false, err
	}
	return e.text(v)
}

// EvalBool returns whether an expression holds for a record. It has to give true or false, or a text that says so: null, as
// from a path that leads nowhere, is an error. As in Eval, the error never holds a value.
func (e *Expr) EvalBool(r *record.Record) (bool, error) {
	var v cty.Value
	var err error
	if e.plain != nil {
		if v, err = (&input{path: *e.plain}).value(r); err != nil {
			err = e.errorf("%s", err)
		}
	} else {
		v, err = e.evaluate(r)
	}
	switch {
	case err != nil:
		return false, err
	case v.IsNull():
		return false, e.errorf("the expression gives null; %s (a path that leads nowhere is null: test for it with == null)", wanted[cty.Bool])
	}
	answer, ok := truth(v)
	if !ok {
		return false, e.errorf("the expression gives %s; %s", articled(v.Type()), wanted[cty.Bool])
	}
	return answer, nil
}

// truth reads true or false, or a text that says so.
func truth(v cty.Value) (answer, ok bool) {
	switch v.Type() {
	case cty.Bool:
		return v.True(), true
	case cty.String:
		return v.AsString() == "true", v.AsString() == "true" || v.AsString() == "false"
	}
	return false, false
}

// EvalList returns the texts of a list, as Eval would each; an element that Eval calls absent is empty. A list that is null
// or missing is empty. Like Eval.
func (e *Expr) EvalList(r *record.Record) ([]string, error) {
	if e.plain != nil {
		raw := e.plain.find(r).raw
		if rawjson.IsNull(raw) && e.plain.find(r).text == "" {
			return nil, nil
		}
		if raw == nil || raw[0] != '[' {
			return nil, e.errorf("%s is no list", e.source)
		}
		var list []string
		for element := range rawjson.Elements(raw) {
			text, ok := rawjson.Text(element)
			if !ok && !rawjson.IsNull(element) {
				return nil, e.errorf("%s holds an object or a list; texts or numbers are wanted", e.source)
			}
			list = append(list, text)
		}
		return list, nil
	}
	v, err := e.evaluate(r)
	switch t := v.Type(); {
	case err != nil || v.IsNull():
		return nil, err
	case !listing(t):
		return nil, e.errorf("the expression gives %s; %s", articled(t), wanted[texts])
	}
	var list []string
	for _, element := range v.AsValueSlice() {
		text, _, err := e.text(element)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

// evaluate evaluates what is more than a path. The value has no marks.
func (e *Expr) evaluate(r *record.Record) (cty.Value, error) {
	variables := make(map[string]cty.Value, len(e.inputs))
	for _, in := range e.inputs {
		v, err := in.value(r)
		if err != nil {
			return cty.NilVal, e.errorf("%s", err)
		}
		variables[in.name] = v
	}
	v, diags := e.expr.Value(e.context(variables))
	if diags.HasErrors() {
		if c := causeOf(diags[0]); c != nil {
			return cty.NilVal, e.errorf("%s", c.summary)
		}
		text := diags[0].Summary // details may quote a key that came from the record
		if text == "Operation failed" {
			text = strings.TrimSuffix(diags[0].Detail, ".") // but these hold no values, and the summary says nothing
		}
		return cty.NilVal, e.errorf("%s (a path that leads nowhere is null: test for it with == null)", text)
	}
	v, _ = v.UnmarkDeep()
	if !sane(v) {
		return cty.NilVal, e.errorf("the number is out of range")
	}
	return v, nil
}

// context is what the expression is evaluated in, with values for its inputs.
func (e *Expr) context(inputs map[string]cty.Value) *hcl.EvalContext {
	c := e.constants.NewChild()
	c.Variables = inputs
	return c
}

func (e *Expr) text(v cty.Value) (string, bool, error) {
	if v.IsNull() {
		return "", false, nil
	}
	text, err := convert.Convert(v, cty.String)
	if err != nil || !text.IsKnown() {
		return "", false, e.errorf("the expression gives %s; %s", articled(v.Type()), wanted[cty.String])
	}
	return text.AsString(), text.AsString() != "", nil
}

func (e *Expr) errorf(format string, args ...any) error {
	return sdk.Permanent("%s: %s", e.at, fmt.Sprintf(format, args...))
}

// path leads to a value of a record.
type path struct {
	fetch  string // label of a fetch; empty: the change
	parent bool   // of the change's parent
	name   string // attribute of the change
	steps  []string
}

// The attributes of a change, as in scripts.
var changeAttributes = []string{"id", "kind", "version", "op", "event", "actor", "time", "data"}

// found is the raw JSON at a path, or the text of an attribute of the change.
type found struct {
	raw  []byte
	text string
}

func (p *path) find(r *record.Record) found {
	if p.fetch != "" {
		return inside(r.Fetched[p.fetch], p.steps)
	}
	c := &r.Change
	if p.parent {
		if c = r.Parent; c == nil {
			return found{}
		}
	}
	switch p.name {
	case "id":
		return found{text: c.Ref.ID}
	case "kind":
		return found{text: c.Ref.Kind}
	case "version":
		return found{text: c.Version}
	case "op":
		return found{text: string(c.Op)}
	case "event":
		return found{text: c.Event}
	case "actor":
		return found{text: c.Actor}
	case "time":
		if c.Time.IsZero() {
			return found{}
		}
		return found{text: c.Time.UTC().Format(time.RFC3339Nano)}
	}
	return inside(c.Data, p.steps)
}

func inside(doc []byte, steps []string) found {
	raw, _ := rawjson.Get(doc, steps...)
	return found{raw: raw}
}

// value converts what is at the path for HCL. What is missing is null.
func (in *input) value(r *record.Record) (cty.Value, error) {
	v := in.path.find(r)
	switch {
	case v.text != "":
		return cty.StringVal(v.text), nil
	case rawjson.IsNull(v.raw):
		return cty.NullVal(cty.DynamicPseudoType), nil
	}
	if in.text {
		if text, ok := rawjson.Text(v.raw); ok {
			return cty.StringVal(text), nil
		}
	}
	return fromJSON(v.raw)
}

// fromJSON converts a JSON value. Numbers keep their digits as far as HCL's do: 512 bits.
func fromJSON(raw []byte) (cty.Value, error) {
	if rawjson.IsNull(raw) {
		return cty.NullVal(cty.DynamicPseudoType), nil
	}
	switch raw[0] {
	case '{':
		members := map[string]cty.Value{}
		for name, member := range rawjson.Members(raw) {
			v, err := fromJSON(member)
			if err != nil {
				return cty.NilVal, err
			}
			members[name] = v
		}
		return cty.ObjectVal(members), nil
	case '[':
		var elements []cty.Value
		for element := range rawjson.Elements(raw) {
			v, err := fromJSON(element)
			if err != nil {
				return cty.NilVal, err
			}
			elements = append(elements, v)
		}
		return cty.TupleVal(elements), nil
	}
	text, ok := rawjson.Text(raw)
	switch {
	case !ok:
		return cty.NilVal, errors.New("the record is not valid JSON")
	case raw[0] == '"':
		return cty.StringVal(text), nil
	case text == "true" || text == "false":
		return cty.BoolVal(text == "true"), nil
	}
	if v, err := cty.ParseNumberVal(text); err == nil && sane(v) {
		return v, nil
	}
	return cty.NilVal, errors.New("a number in the record is out of range")
}
