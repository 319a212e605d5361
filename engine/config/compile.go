// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

var texts = cty.List(cty.String)

// wanted says what a per-record expression of a type must give.
var wanted = map[cty.Type]string{
	cty.String: "a text or a number is wanted", cty.Bool: "true or false is wanted", texts: "a list of texts or numbers is wanted",
}

func listing(t cty.Type) bool { return t.IsTupleType() || t.IsListType() || t.IsSetType() }

// compile checks a per-record expression that is to give a type and returns it with the labels of the fetches that it uses.
// Self is the label of the fetch that it belongs to, labels are those of all fetches of the pipeline. It is nil when
// something is wrong.
func (l *loader) compile(expr hclsyntax.Expression, labels []string, self string, want cty.Type) (*Expr, []string) {
	before := len(l.diags)
	at := expr.Range()
	if text, ok := literal(expr); ok && (strings.HasPrefix(text, "change.") || strings.HasPrefix(text, "fetched.")) {
		l.errorf(at, "Text instead of a path", "In quotes this is the same text for every record. Without quotes it is a path in the record: %s", text)
		return nil, nil
	}
	expr = l.own(expr)
	c := &compiler{loader: l, labels: labels, self: self, constants: map[hclsyntax.Node]bool{}}
	_ = hclsyntax.VisitAll(expr, c.pathAsKey)
	for _, use := range uses(expr) {
		c.input(use)
	}
	_ = hclsyntax.VisitAll(expr, c.constantArguments)
	if len(l.diags) > before || c.failed {
		return nil, nil
	}
	l.translate(expr)
	slices.Sort(c.needs)
	needs := slices.Compact(c.needs)
	e := &Expr{
		source: string(at.SliceBytes(l.files[at.Filename].Bytes)), at: fmt.Sprintf("%s:%d", at.Filename, at.Start.Line),
		expr: expr, inputs: c.inputs, constants: l.eval,
	}
	switch whole := unwrap(expr).(type) {
	case *hclsyntax.ScopeTraversalExpr:
		if !c.constants[whole] {
			e.plain = &c.inputs[0].path
			return e, needs
		}
	case *hclsyntax.SplatExpr, *hclsyntax.ForExpr:
		if want != texts {
			l.errorf(at, "Wrong type", "The expression gives a list or an object; %s.", wanted[want])
			return nil, nil
		}
	}
	// With inputs that are not known yet, HCL finds what would be wrong for every record.
	unknown := map[string]cty.Value{}
	for _, in := range e.inputs {
		unknown[in.name] = cty.DynamicVal
	}
	v, diags := expr.Value(e.context(unknown))
	l.evaluation(diags, false)
	if !diags.HasErrors() && !gives(v, want) {
		what := articled(v.Type())
		if v.IsNull() {
			what = "null"
		}
		l.errorf(at, "Wrong type", "The expression gives %s; %s.", what, wanted[want])
	}
	if len(l.diags) > before {
		return nil, nil
	}
	return e, needs
}

// own gives an expression that may be changed: what was parsed serves the next reading, too.
func (l *loader) own(expr hclsyntax.Expression) hclsyntax.Expression {
	if path, ok := expr.(*hclsyntax.ScopeTraversalExpr); ok {
		own := *path
		return &own
	}
	at := expr.Range()
	own, diags := hclsyntax.ParseExpression(at.SliceBytes(l.files[at.Filename].Bytes), at.Filename, at.Start)
	if len(diags) == 0 && own.Range() == at && len(bounded(own)) == 0 {
		return own
	}
	if l.opts.Parsed != nil {
		delete(l.opts.Parsed.files, at.Filename) // as it is changed, it does not serve again
	}
	return expr
}

// gives says whether a value, which may be known in part, can be one of a type.
func gives(v cty.Value, want cty.Type) bool {
	v, _ = v.UnmarkDeep()
	t := v.Type()
	switch {
	case v.IsNull():
		return want != cty.Bool
	case t == cty.DynamicPseudoType:
		return true
	case want == cty.Bool && v.IsKnown():
		_, ok := truth(v)
		return ok
	case want == cty.Bool:
		return t == cty.Bool || t == cty.String
	case want.Equals(texts):
		return listing(t)
	}
	return t.IsPrimitiveType()
}

// unwrap takes off what does not change a value: parentheses, and a template that is nothing but one interpolation.
func unwrap(expr hclsyntax.Expression) hclsyntax.Expression {
	for {
		switch e := expr.(type) {
		case *hclsyntax.ParenthesesExpr:
			expr = e.Expression
		case *hclsyntax.TemplateWrapExpr:
			expr = e.Wrapped
		default:
			return expr
		}
	}
}

// use is a place of an expression where a name from outside is used.
type use struct {
	expr *hclsyntax.ScopeTraversalExpr
	text bool // as a part of a template, where only its text counts
	// index or lookup is the expression that takes one element of it, if that is all that is done with it.
	index  *hclsyntax.IndexExpr
	lookup *hclsyntax.FunctionCallExpr
}

// uses returns the uses in an expression, without those of the variables that the expression makes itself.
func uses(expr hclsyntax.Expression) []use {
	w := &useWalker{texts: map[hclsyntax.Node]bool{}, indexes: map[hclsyntax.Node]*hclsyntax.IndexExpr{},
		lookups: map[hclsyntax.Node]*hclsyntax.FunctionCallExpr{}}
	_ = hclsyntax.Walk(expr, w) // returns what the walker returns: nothing
	return w.uses
}

type useWalker struct {
	uses    []use
	texts   map[hclsyntax.Node]bool
	indexes map[hclsyntax.Node]*hclsyntax.IndexExpr
	lookups map[hclsyntax.Node]*hclsyntax.FunctionCallExpr
	local   []map[string]struct{}
}

func (w *useWalker) Enter(node hclsyntax.Node) hcl.Diagnostics {
	switch n := node.(type) {
	case *hclsyntax.TemplateExpr:
		for _, part := range n.Parts {
			w.texts[part] = true
		}
	case *hclsyntax.IndexExpr:
		w.indexes[n.Collection] = n
	case *hclsyntax.FunctionCallExpr:
		if n.Name == "lookup" && len(n.Args) == 3 && !n.ExpandFinal {
			w.lookups[n.Args[0]] = n
		}
	case hclsyntax.ChildScope:
		w.local = append(w.local, n.LocalNames)
		return nil
	case *hclsyntax.ScopeTraversalExpr:
		for _, names := range w.local {
			if _, ok := names[n.Traversal.RootName()]; ok {
				return nil
			}
		}
		w.uses = append(w.uses, use{n, w.texts[node], w.indexes[node], w.lookups[node]})
	}
	return nil
}

func (w *useWalker) Exit(node hclsyntax.Node) hcl.Diagnostics {
	if _, ok := node.(hclsyntax.ChildScope); ok {
		w.local = w.local[:len(w.local)-1]
	}
	return nil
}

// compiler collects what an expression needs.
type compiler struct {
	*loader
	labels []string
	self   string
	inputs []input
	needs  []string
	// constants are the uses of names that are the same for every record.
	constants map[hclsyntax.Node]bool
	failed    bool // a name can't be had, for a mistake that was said elsewhere
}

// input makes a use an input, and puts the input's name in its place. That name can't be written in HCL, so that it hides
// nothing.
func (c *compiler) input(u use) {
	if constants[u.expr.Traversal.RootName()] != "" {
		c.constants[u.expr] = true
		c.failed = !c.constant(u.expr.Traversal) || c.failed
		return
	}
	p, ok := c.path(u.expr.Traversal)
	if !ok {
		return
	}
	name := fmt.Sprintf("#%d", len(c.inputs))
	c.inputs = append(c.inputs, input{name: name, path: p, text: u.text})
	u.expr.Traversal = hcl.Traversal{hcl.TraverseRoot{Name: name, SrcRange: u.expr.SrcRange}}
}

// path checks a name and what follows it.
func (c *compiler) path(t hcl.Traversal) (path, bool) {
	fail := func(summary, detail string, args ...any) (path, bool) {
		c.errorf(t.SourceRange(), summary, detail, args...)
		return path{}, false
	}
	root := t.RootName()
	steps := make([]string, 0, len(t)-1)
	for _, step := range t[1:] {
		text, ok := stepText(step)
		if !ok {
			return fail("Invalid index", "An index is a whole number from 0, or a text.")
		}
		steps = append(steps, text)
	}
	isChange := root == "change" || root == "parent"
	switch {
	case root == "parent" && !c.expands:
		return fail("Unknown name", "There is a parent only where a pipeline has an expand block.")
	case isChange && len(steps) == 0:
		return fail("Incomplete path", "\"%s\" is the whole change. A path goes on: %[1]s.id, or %[1]s.data.NAME for what the server sent.", root)
	case isChange && !slices.Contains(changeAttributes, steps[0]):
		return fail("Unknown name", "A change has no attribute %q.%s What the server sent is in %s.data.", steps[0],
			meantOr(steps[0], changeAttributes, "Its attributes are"), root)
	case isChange && steps[0] != "data" && len(steps) > 1:
		return fail("Invalid path", "%s.%s is a text, there is nothing in it.", root, steps[0])
	case isChange:
		return path{parent: root == "parent", name: steps[0], steps: steps[1:]}, true
	case root == "fetched" && len(c.labels) == 0:
		return fail("Unknown fetch", "This pipeline fetches nothing.")
	case root == "fetched" && len(steps) == 0:
		return fail("Incomplete path", "\"fetched\" holds everything that was fetched. A path goes on: fetched.%s.NAME", c.labels[0])
	case root == "fetched" && !slices.Contains(c.labels, steps[0]):
		return fail("Unknown fetch", "This pipeline has no fetch %q.%s", steps[0], meantOr(steps[0], c.labels, "It fetches"))
	case root == "fetched" && steps[0] == c.self:
		return fail("Cycle between fetches", "The fetch %q can't use what it fetches itself.", c.self)
	case root == "fetched":
		c.needs = append(c.needs, steps[0])
		return path{fetch: steps[0], steps: steps[1:]}, true
	case slices.Contains(c.labels, root):
		return fail("Unknown name", "There is no %q. Did you mean fetched.%s?", root, root)
	case slices.Contains(changeAttributes, root):
		return fail("Unknown name", "There is no %q. Did you mean change.%s?", root, root)
	}
	known := []string{"change", "fetched", "local", "table", "var"}
	hint := c.meantConstant(root)
	if hint == "" {
		hint = meant(root, known)
	}
	return fail("Unknown name", "There is no %q.%s What an expression for a record can use begins with %s.", root, hint, list(known))
}

func stepText(step hcl.Traverser) (string, bool) {
	switch s := step.(type) {
	case hcl.TraverseAttr:
		return s.Name, true
	case hcl.TraverseIndex:
		switch {
		case s.Key.Type() == cty.String:
			return s.Key.AsString(), true
		case s.Key.Type() == cty.Number && s.Key.AsBigFloat().IsInt() && s.Key.AsBigFloat().Sign() >= 0 && sane(s.Key):
			return s.Key.AsBigFloat().Text('f', 0), true
		}
	}
	return "", false
}

// pathAsKey refuses what HCL takes for neither a text nor a path, but would for a text once an input's name has taken its place.
func (c *compiler) pathAsKey(node hclsyntax.Node) hcl.Diagnostics {
	if key, ok := node.(*hclsyntax.ObjectConsKeyExpr); ok && !key.ForceNonLiteral {
		if path, ok := key.Wrapped.(*hclsyntax.ScopeTraversalExpr); ok && len(path.Traversal) > 1 {
			c.errorf(path.SrcRange, "Ambiguous key", "A path that is a key stands in parentheses. Text stands in quotes.")
		}
	}
	return nil
}

// constantArguments refuses env, secret and file with an argument that comes from a record: what a server sent must not choose
// a file.
func (c *compiler) constantArguments(node hclsyntax.Node) hcl.Diagnostics {
	call, ok := node.(*hclsyntax.FunctionCallExpr)
	if !ok || !outsideNames[call.Name] {
		return nil
	}
	for _, arg := range call.Args {
		_ = hclsyntax.VisitAll(arg, func(node hclsyntax.Node) hcl.Diagnostics {
			if t, ok := node.(*hclsyntax.ScopeTraversalExpr); ok && !c.constants[t] {
				c.errorf(t.SrcRange, "Argument is not constant", "The argument of %s must be the same for every record.", call.Name)
			}
			return nil
		})
	}
	return nil
}
