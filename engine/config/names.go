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

	"github.com/rounds-engine/rounds/sdk/schema"
)

// constants are the names whose values are known when a configuration is loaded, and the blocks that declare them.
var constants = map[string]string{"var": "variable", "local": "local", "table": "table"}

// constant checks a use of such a name.
func (l *loader) constant(t hcl.Traversal) bool {
	root, at := t.RootName(), t.SourceRange()
	kind := constants[root]
	if _, yet := l.eval.Variables[root]; !yet {
		l.errorf(at, "Unknown name", "A %s can't be used here: variables come first, then tables, then locals, then all else.", kind)
		return false
	}
	var name string
	if len(t) > 1 {
		name, _ = stepText(t[1])
	}
	if name == "" {
		l.errorf(at, "Incomplete path", "%q holds everything of its kind. A path goes on: %s.NAME.%s", root, root,
			example(prefixed(root+".", l.declared(kind)), ""))
		return false
	}
	if l.localOf[name] == nil && kind == "local" || l.blocks[kind+"."+name] == nil && kind != "local" {
		if len(l.broken) == 0 {
			l.errorf(at, "Unknown "+kind, "There is no %s.%s.%s", root, name, l.meantName(kind, name))
		}
		return false
	}
	if entries, ok := l.config.Tables[name]; ok && kind == "table" && len(t) > 2 {
		if key, ok := stepText(t[2]); ok {
			if _, ok := entries[key]; !ok {
				l.errorf(at, "Unknown key", "The table %q has no key %q.%s", name, key, meant(key, keys(entries)))
				return false
			}
		}
	}
	return true
}

// declared returns the names of one kind that can be used.
func (l *loader) declared(kind string) []string {
	if kind == "local" {
		return keys(l.localOf)
	}
	return l.names(kind + ".")
}

// meantName ends a sentence about a name that is not declared.
func (l *loader) meantName(kind, name string) string {
	known := l.declared(kind)
	if len(known) == 0 {
		return fmt.Sprintf(" No %s is declared.", kind)
	}
	return meantOr(name, known, "Declared are")
}

// declareLocals takes in a locals block.
func (l *loader) declareLocals(block *hclsyntax.Block) {
	for _, b := range block.Body.Blocks {
		l.hide(b)
		l.errorf(b.TypeRange, "Unexpected block", "A locals block holds only lines of the form NAME = VALUE.")
	}
	for _, attr := range inOrder(block.Body.Attributes) {
		if other, ok := l.localOf[attr.Name]; ok {
			l.errorf(attr.NameRange, "Duplicate name", "There is another local %q at %s:%d.",
				attr.Name, other.NameRange.Filename, other.NameRange.Start.Line)
			continue
		}
		l.localOf[attr.Name] = attr
		l.localOrder = append(l.localOrder, attr.Name)
	}
}

// locals evaluates the locals, each after those that it uses.
func (l *loader) locals() {
	needs := map[string][]string{}
	for name, attr := range l.localOf {
		for _, t := range hclsyntax.Variables(attr.Expr) {
			if t.RootName() != "local" || len(t) < 2 {
				continue
			}
			if other, ok := stepText(t[1]); ok && l.localOf[other] != nil {
				needs[name] = append(needs[name], other)
			}
		}
	}
	values := map[string]cty.Value{}
	for _, circle := range circles(needs, l.localOrder) {
		first := circle[0]
		l.errorf(l.localOf[first].Expr.Range(), "Cycle between locals", "Each of these needs the next one: %s.",
			strings.Join(append(circle, first), " → "))
		for _, name := range circle {
			values[name] = cty.DynamicVal
		}
	}
	l.eval.Variables["local"] = cty.EmptyObjectVal
	var evaluate func(name string)
	evaluate = func(name string) {
		if _, done := values[name]; done {
			return
		}
		values[name] = cty.DynamicVal // of what leads into a cycle, there may be more than one way
		used := map[string]cty.Value{}
		for _, other := range needs[name] {
			evaluate(other)
			used[other] = values[other]
		}
		values[name] = l.local(l.localOf[name], used)
	}
	for _, name := range l.localOrder {
		evaluate(name)
	}
	l.eval.Variables["local"] = cty.ObjectVal(values)
}

// local evaluates one local with the others that it uses; unknown when that fails.
func (l *loader) local(attr *hclsyntax.Attribute, used map[string]cty.Value) cty.Value {
	if !l.checkNames(schema.Attribute{Name: attr.Name}, attr.Expr) {
		return cty.DynamicVal
	}
	ctx := l.eval.NewChild()
	ctx.Variables = map[string]cty.Value{"local": cty.ObjectVal(used)}
	v, diags := l.withTables(attr.Expr).Value(ctx)
	if l.evaluation(diags, false); diags.HasErrors() {
		return cty.DynamicVal
	}
	if w := weigh(v); !w.sane || w.text > maxText || w.values > maxValues {
		l.errorf(attr.Expr.Range(), "Wrong value", "The local %q is too large, or holds a number out of the usual range.", attr.Name)
		return cty.DynamicVal
	}
	return v
}

// circles returns the ways in which names wait for each other, each once, in the order of the names.
func circles(needs map[string][]string, order []string) [][]string {
	var all [][]string
	said := map[string]bool{}
	for _, name := range order {
		path := cycle(needs, []string{name}, map[string]bool{})
		if path == nil || slices.ContainsFunc(path, func(name string) bool { return said[name] }) {
			continue
		}
		for _, name := range path {
			said[name] = true
		}
		all = append(all, path)
	}
	return all
}

// cycle returns the way from the first of path back to it, or nil. Of what is seen already no way leads back.
func cycle(needs map[string][]string, path []string, seen map[string]bool) []string {
	for _, next := range needs[path[len(path)-1]] {
		if next == path[0] {
			return path
		}
		if seen[next] {
			continue
		}
		seen[next] = true
		if found := cycle(needs, append(path, next), seen); found != nil {
			return found
		}
	}
	return nil
}
