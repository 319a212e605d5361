// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Value gives variables values: one by name, or those in a file.
type Value struct {
	Name, Text string // without a name: a mistake
	File       string // when it is not empty
}

// variablePrefix begins the names of environment variables that give variables values.
const variablePrefix = "ROUNDS_VAR_"

// variable is a declared variable.
type variable struct {
	name      string
	block     *hclsyntax.Block
	typ       cty.Type
	literal   bool // a value that is given as text is a text, not an expression
	sensitive bool
	fallback  hclsyntax.Expression // nil: a value must be given
}

// given is a value for a variable, as it was given.
type given struct {
	from string               // for a person
	text string               // when expr is nil
	expr hclsyntax.Expression // from a file of values
}

// variables reads the variable blocks and the values that were given for them.
func (l *loader) variables() {
	values := map[string]cty.Value{}
	for _, name := range l.names("variable.") {
		values[name] = cty.DynamicVal // unless something better comes: one in a broken file, say
	}
	var declared []variable
	for _, block := range l.of("variable") {
		if v, ok := l.variable(block); ok {
			declared = append(declared, v)
		}
	}
	all, complete := l.given(declared)
	for _, v := range declared {
		value := cty.DynamicVal
		switch g, ok := all[v.name]; {
		case ok:
			value = l.valueOf(v, g)
		case v.fallback != nil:
			value = l.constantOf(v, v.fallback, "the default")
		case complete:
			l.errorf(v.block.DefRange(), "Missing variable", "The variable %q has no default, so a value is to be given: with -var %s=…, "+
				"in a file named by -var-file, or in the environment variable %s%s.", v.name, v.name, variablePrefix, v.name)
		}
		if v.sensitive {
			l.remember(value, true)
			l.config.Secrets = append(l.config.Secrets, textsOf(value, false)...)
			value = value.Mark(sensitive)
		}
		values[v.name] = value
	}
	l.eval.Variables["var"] = cty.ObjectVal(values)
}

func (l *loader) variable(block *hclsyntax.Block) (variable, bool) {
	o, ok := l.decode(block, variableSchema)
	v := variable{name: block.Labels[0], block: block, typ: cty.DynamicPseudoType, literal: true}
	v.sensitive, _ = take(o, "sensitive", !ok) // in doubt it is
	if d, has := o.attributes["default"]; has {
		v.fallback = d.expr
		l.valuesOf[v.name] = append(l.valuesOf[v.name], d.expr)
		if v.sensitive {
			l.conceal(d.expr)
		}
	}
	if t, has := o.attributes["type"]; has {
		typ, diags := typeexpr.TypeConstraint(t.expr)
		if diags.HasErrors() {
			l.errorf(t.expr.Range(), "Invalid type", "A type is written without quotes: string, number, bool, list(string), map(string) or any.%s",
				meantType(t.expr))
			l.hide(block)
			return v, false
		}
		v.typ, v.literal = typ, typ.IsPrimitiveType()
	}
	return v, ok
}

func meantType(expr hclsyntax.Expression) string {
	text, isText := literal(expr)
	if !isText {
		text = hcl.ExprAsKeyword(expr)
	}
	for _, known := range []string{"string", "number", "bool", "any", "list(string)", "map(string)"} {
		if text == known {
			return fmt.Sprintf(" Did you mean %s?", known)
		}
	}
	return strings.ReplaceAll(meant(text, []string{"string", "number", "bool", "any"}), `"`, "")
}

// given returns the values that were given, by name; those that count more come later and replace others. It is not complete
// when a file of values could not be read.
func (l *loader) given(declared []variable) (all map[string]given, complete bool) {
	all, complete = map[string]given{}, true
	known, secret := map[string]bool{}, map[string]bool{}
	for _, v := range declared {
		known[v.name], secret[v.name] = true, v.sensitive
		if text, ok := l.opts.LookupEnv(variablePrefix + v.name); ok {
			all[v.name] = given{from: variablePrefix + v.name, text: text}
		}
	}
	for _, v := range l.opts.Values {
		if v.File != "" {
			complete = l.givenIn(v.File, all, known, secret) && complete
			continue
		}
		if v.Name == "" {
			l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Wrong -var", Detail: "-var is written NAME=VALUE."})
			continue
		}
		if l.blocks["variable."+v.Name] == nil && len(l.broken) == 0 {
			l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown variable",
				Detail: fmt.Sprintf("-var gives a value for %q, and no variable of that name is declared.%s", v.Name, l.meantName("variable", v.Name))})
		}
		all[v.Name] = given{from: "-var " + v.Name, text: v.Text}
	}
	return all, complete
}

// givenIn reads a file of values: attributes only, which are the same wherever they are read.
func (l *loader) givenIn(name string, all map[string]given, known, secret map[string]bool) bool {
	text, err := readBounded(name, maxHCL)
	if err != nil {
		detail := fmt.Sprintf("The file %q, which -var-file names, can't be read: %s.", name, reason(err))
		if errors.Is(err, fs.ErrNotExist) {
			detail = fmt.Sprintf("There is no file %q, which -var-file names.%s", name, meant(filepath.Base(name), filesIn(filepath.Dir(name))))
		}
		l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing file of values", Detail: detail})
		return false
	}
	if l.files[name] != nil {
		l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Configuration as values",
			Detail: fmt.Sprintf("The file %q, which -var-file names, is read as configuration or as values already. Keep values in another directory.", name)})
		return false
	}
	body, ok := l.parse(name, text)
	if !ok {
		return false
	}
	for _, block := range body.Blocks {
		l.hide(block)
		l.errorf(block.TypeRange, "Unexpected block", "A file of values holds only lines of the form NAME = VALUE.")
	}
	for _, attr := range inOrder(body.Attributes) {
		if !known[attr.Name] || secret[attr.Name] {
			l.conceal(attr.Expr)
		}
		if l.blocks["variable."+attr.Name] == nil && len(l.broken) == 0 {
			l.errorf(attr.NameRange, "Unknown variable", "No variable %q is declared.%s", attr.Name, l.meantName("variable", attr.Name))
		}
		all[attr.Name] = given{from: filepath.Base(name), expr: attr.Expr}
		l.valuesOf[attr.Name] = append(l.valuesOf[attr.Name], attr.Expr)
	}
	return true
}

// valueOf makes a given value one of the variable's type; unknown when it can't be.
func (l *loader) valueOf(v variable, g given) cty.Value {
	if g.expr != nil {
		return l.constantOf(v, g.expr, "the value")
	}
	value := cty.StringVal(g.text)
	fail := func(format string, args ...any) cty.Value {
		l.errorf(v.block.DefRange(), "Wrong value", "The value of variable %q, given by %s, %s.",
			v.name, g.from, fmt.Sprintf(format, args...))
		return cty.DynamicVal
	}
	if !v.literal {
		var ok bool
		if value, ok = parseValue(g.text); !ok {
			return fail("can't be read as an expression; a list is written [\"a\", \"b\"], a map {a = \"b\"}, and a text stands in quotes")
		}
	}
	out, err := convert.Convert(value, v.typ)
	if w := weigh(out); err != nil || !w.sane {
		return fail("is not of its type, which is %s", typeexpr.TypeString(v.typ))
	}
	return out
}

// parseValue reads a value that is given as text and is no plain text.
func parseValue(text string) (cty.Value, bool) {
	if tooDeep([]byte(text), "") != nil {
		return cty.NilVal, false
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() || len(bounded(expr)) > 0 {
		return cty.NilVal, false
	}
	value, diags := expr.Value(nil)
	return value, !diags.HasErrors()
}

// constantOf evaluates an expression that is given for a variable in a file; unknown when it can't be.
func (l *loader) constantOf(v variable, expr hclsyntax.Expression, what string) cty.Value {
	value, diags := expr.Value(nil)
	if diags.HasErrors() {
		l.errorf(expr.Range(), "Wrong value",
			"In %s of a variable there are no functions, nor names of other blocks. Text stands in quotes.", what)
		return cty.DynamicVal
	}
	out, err := convert.Convert(value, v.typ)
	if w := weigh(out); err != nil || !w.sane {
		l.errorf(expr.Range(), "Wrong value", "The variable %q is of type %s; this is %s.",
			v.name, typeexpr.TypeString(v.typ), articled(value.Type()))
		return cty.DynamicVal
	}
	return out
}
