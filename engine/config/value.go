// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/rounds-engine/rounds/sdk/schema"
)

// described says what a value of a type must be, for a person.
var described = map[schema.Type]string{
	schema.String: "a string", schema.Number: "a number", schema.Integer: "a whole number", schema.Bool: "true or false",
	schema.Duration: `a duration such as "90s", "1m30s" or "12h"`, schema.List: "a list of strings, in brackets",
	schema.Map: "a map of strings, in braces", schema.Any: "a value",
}

// value evaluates an attribute that is a plain value and returns it in its JSON form; nil for null, which is as good as
// absent. Secret says that it is not to be shown.
func (l *loader) value(a schema.Attribute, attr *hclsyntax.Attribute) (value any, secret, ok bool) {
	if !l.checkNames(a, attr.Expr) {
		return nil, false, false
	}
	if a.Sensitive {
		l.hideUsed(attr.Expr, map[string]bool{})
	}
	v, diags := l.withTables(attr.Expr).Value(l.eval)
	if l.evaluation(diags, a.Sensitive); diags.HasErrors() {
		return nil, false, false
	}
	if !v.IsWhollyKnown() && l.diags.HasErrors() {
		return nil, false, false // what is wrong with a name in it has been said
	}
	l.rememberMarked(v)
	secret = a.Sensitive || v.ContainsMarked()
	v, _ = v.UnmarkDeep()
	if v.IsNull() {
		if a.Required {
			l.errorf(attr.Expr.Range(), "Missing attribute", "%q is null and is required%s", a.Name, docs(a.Doc))
		}
		return nil, secret, !a.Required
	}
	fail := func(format string, args ...any) (any, bool, bool) {
		l.errorf(attr.Expr.Range(), "Wrong value", "%q must be %s", a.Name, fmt.Sprintf(format, args...))
		return nil, false, false
	}
	if !v.IsWhollyKnown() || !sane(v) {
		return fail("%s within the usual range.", described[a.Type])
	}
	out, ok := toJSON(a.Type, v)
	if !ok {
		return fail("%s%s", described[a.Type], afterWrong(a.Type, v, secret))
	}
	if text, isText := out.(string); isText && len(a.Values) > 0 && !slices.Contains(a.Values, text) {
		if secret {
			text = "" // what it is like says what it is
		}
		return fail("one of %s.%s", list(a.Values), meant(text, a.Values))
	}
	if a.Sensitive {
		l.remember(v, false)
	}
	return out, secret, true
}

// afterWrong ends the sentence on a wrong value; a secret one is not looked at.
func afterWrong(want schema.Type, v cty.Value, secret bool) string {
	if want != schema.Duration || secret {
		return fmt.Sprintf("; this is %s.", articled(v.Type()))
	}
	switch text, err := convert.Convert(v, cty.String); {
	case err != nil:
	case v.Type() == cty.Number:
		return fmt.Sprintf(`. A number needs a unit: "%ss".`, text.AsString())
	default:
		if n, found := cutDay(text.AsString()); found {
			return fmt.Sprintf(`. The longest unit is the hour: "%dh".`, 24*n)
		}
	}
	return ". The units are h, m, s and ms."
}

// cutDay reads "2d".
func cutDay(text string) (n int, ok bool) {
	var unit string
	_, err := fmt.Sscanf(text, "%d%s", &n, &unit)
	return n, err == nil && (unit == "d" || unit == "day" || unit == "days") && n > 0 && n < 10000
}

func articled(t cty.Type) string {
	switch {
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		return "a list"
	}
	return "an object"
}

// toJSON converts a known value that is not null.
func toJSON(want schema.Type, v cty.Value) (any, bool) {
	target := map[schema.Type]cty.Type{schema.String: cty.String, schema.Duration: cty.String, schema.Number: cty.Number,
		schema.Integer: cty.Number, schema.Bool: cty.Bool, schema.List: cty.List(cty.String), schema.Map: cty.Map(cty.String)}[want]
	if want == schema.Any {
		raw, err := ctyjson.Marshal(v, v.Type())
		return json.RawMessage(raw), err == nil
	}
	v, err := convert.Convert(v, target)
	if err != nil || !sane(v) { // a text may hold a number of any length
		return nil, false
	}
	switch want {
	case schema.Duration:
		_, err := time.ParseDuration(v.AsString())
		return v.AsString(), err == nil
	case schema.Number:
		return json.Number(v.AsBigFloat().Text('f', -1)), true
	case schema.Integer:
		n, accuracy := v.AsBigFloat().Int64()
		return n, accuracy == big.Exact
	case schema.Bool:
		return v.True(), true
	case schema.List:
		texts := []string{}
		for _, e := range v.AsValueSlice() {
			if e.IsNull() {
				return nil, false
			}
			texts = append(texts, e.AsString())
		}
		return texts, true
	case schema.Map:
		texts := map[string]string{}
		for k, e := range v.AsValueMap() {
			if e.IsNull() {
				return nil, false
			}
			texts[k] = e.AsString()
		}
		return texts, true
	}
	return v.AsString(), true
}

// sane is false when a number in v is so long that writing it out would eat the memory: 1e999999999.
func sane(v cty.Value) bool {
	ok := true
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v, _ = v.Unmark(); v.Type() == cty.Number && !v.IsNull() && v.IsKnown() {
			exponent := v.AsBigFloat().MantExp(nil)
			ok = ok && !v.AsBigFloat().IsInf() && exponent < 4096 && exponent > -4096
		}
		return ok, nil
	})
	return ok
}

// remember keeps the texts of a sensitive value, so that no diagnostic repeats them.
func (l *loader) remember(v cty.Value, withKeys bool) {
	l.written = append(l.written, textsOf(v, withKeys)...)
}

// textsOf are the texts and numbers in a value.
func textsOf(v cty.Value, withKeys bool) (texts []string) {
	v, _ = v.UnmarkDeep()
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.IsNull() || !v.IsKnown() {
			return false, nil
		}
		switch t := v.Type(); {
		case t == cty.String:
			texts = append(texts, v.AsString())
		case t == cty.Number && sane(v):
			texts = append(texts, v.AsBigFloat().Text('f', -1))
		case withKeys && (t.IsMapType() || t.IsObjectType()):
			texts = append(texts, keys(v.AsValueMap())...)
		}
		return true, nil
	})
	return texts
}

// rememberMarked keeps the texts of what is sensitive in a value.
func (l *loader) rememberMarked(v cty.Value) {
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.IsMarked() {
			l.remember(v, true)
		}
		return !v.IsMarked(), nil
	})
}

// checkNames refuses names in a plain value but those of constants, as no others are values when a configuration is loaded.
func (l *loader) checkNames(a schema.Attribute, expr hclsyntax.Expression) bool {
	good := true
	for _, name := range hclsyntax.Variables(expr) {
		var text string
		switch root := name.RootName(); {
		case constants[root] != "":
			good = l.constant(name) && good
			continue
		case a.Sensitive: // may be a secret whose quotes are missing
			text = "There is no such name. Text stands in quotes; better is secret(\"…\") or env(\"…\")."
		case root == "change" || root == "fetched":
			text = fmt.Sprintf("%q is a record's, and there is no record yet when this is read: it can be used in a fetch's id, for_each and when, and a "+
				"deliver's filter and order_by.", root)
		case root == "source" || root == "destination":
			text = "A reference to another block is no value here."
		case len(name) == 1:
			text = fmt.Sprintf("There is no name %q.%s If it is meant as text, it stands in quotes.", root, l.meantConstant(root))
		default:
			text = fmt.Sprintf("There is no name %q.%s", root, meant(root, keys(constants)))
		}
		l.errorf(name.SourceRange(), "Unknown name", "%s", text)
		good = false
	}
	return good
}

// meantConstant is the constant of a name that was written without what it begins with.
func (l *loader) meantConstant(name string) string {
	for _, root := range []string{"local", "var", "table"} {
		if slices.Contains(l.declared(constants[root]), name) {
			return fmt.Sprintf(" Did you mean %s.%s?", root, name)
		}
	}
	return ""
}

// literal returns the text of an expression that is nothing but a text in quotes.
func literal(expr hclsyntax.Expression) (string, bool) {
	t, ok := expr.(*hclsyntax.TemplateExpr)
	if !ok || !t.IsStringLiteral() {
		return "", false
	}
	v, diags := t.Value(&hcl.EvalContext{})
	if diags.HasErrors() || v.IsNull() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}
