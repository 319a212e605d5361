// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// hide covers in the snippets whatever a person may have written out in node although it is secret: all of its expressions but
// what is public.
func (l *loader) hide(node hclsyntax.Node) { l.hideIn(node, func(hclsyntax.Expression) {}) }

// conceal is hide for what certainly is secret: the texts and names in it are not repeated by a message either.
func (l *loader) conceal(expr hclsyntax.Expression) {
	l.hideIn(expr, func(expr hclsyntax.Expression) {
		switch n := expr.(type) {
		case *hclsyntax.LiteralValueExpr:
			l.remember(n.Val, false)
		case *hclsyntax.FunctionCallExpr:
			if _, known := l.eval.Functions[n.Name]; !known {
				l.written = append(l.written, n.Name)
			}
		case *hclsyntax.ScopeTraversalExpr: // a secret whose quotes are missing looks like one
			root := n.Traversal.RootName()
			if known := []string{"change", "fetched", "parent", "var", "local", "table"}; !slices.Contains(known, root) && l.meantConstant(root) == "" {
				l.written = append(l.written, root)
				l.rememberSteps(n.Traversal)
			}
		case *hclsyntax.RelativeTraversalExpr:
			l.rememberSteps(n.Traversal)
		}
	})
}

func (l *loader) rememberSteps(t hcl.Traversal) {
	for _, step := range t {
		text, _ := stepText(step)
		l.written = append(l.written, text)
	}
}

// hideIn calls also for every expression in node that is not public.
func (l *loader) hideIn(node hclsyntax.Node, also func(hclsyntax.Expression)) {
	var shown hcl.Range
	_ = hclsyntax.VisitAll(node, func(node hclsyntax.Node) hcl.Diagnostics {
		expr, ok := node.(hclsyntax.Expression)
		if !ok || shown.Overlaps(node.Range()) { // a part of it, as the whole comes before its parts
			return nil
		}
		at := expr.Range()
		if public(expr) {
			shown = at
			l.shown[at.Filename] = append(l.shown[at.Filename], at)
			return nil
		}
		l.hidden[at.Filename] = append(l.hidden[at.Filename], at)
		also(expr)
		return nil
	})
}

// public says that an expression tells nothing that is secret: a name of a constant, or a call of env, secret or file whose arguments
// are written out.
func public(expr hclsyntax.Expression) bool {
	switch n := expr.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		return len(n.Traversal) > 1 && constants[n.Traversal.RootName()] != ""
	case *hclsyntax.FunctionCallExpr:
		return outsideNames[n.Name] && !slices.ContainsFunc(n.Args, func(arg hclsyntax.Expression) bool {
			_, written := literal(arg)
			return !written && !public(arg)
		})
	}
	return false
}

// hideUsed covers where the locals and variables that an expression uses are written out.
func (l *loader) hideUsed(expr hclsyntax.Expression, seen map[string]bool) {
	for _, t := range hclsyntax.Variables(expr) {
		if len(t) < 2 {
			continue
		}
		name, _ := stepText(t[1])
		id := t.RootName() + "." + name
		if seen[id] {
			continue
		}
		seen[id] = true
		switch t.RootName() {
		case "var":
			for _, written := range l.valuesOf[name] {
				l.conceal(written)
			}
		case "local":
			if attr := l.localOf[name]; attr != nil {
				l.conceal(attr.Expr)
				l.hideUsed(attr.Expr, seen)
			}
		}
	}
}

// cover returns the files with the hidden ranges covered. Ranges of diagnostics stay true, as no byte moves.
func (l *loader) cover() Files {
	covered := Files{}
	for name, file := range l.files {
		c := *file
		c.Bytes = append([]byte(nil), file.Bytes...)
		for _, at := range l.hidden[name] {
			if at.CanSliceBytes(c.Bytes) {
				asterisks(at.SliceBytes(c.Bytes))
			}
		}
		for _, at := range l.shown[name] {
			if at.CanSliceBytes(c.Bytes) {
				copy(at.SliceBytes(c.Bytes), at.SliceBytes(file.Bytes))
			}
		}
		if l.unsure[name] {
			coverLines(c.Bytes)
		}
		covered[name] = &c
	}
	return covered
}

// structure begins a line that tells how a file is built: the header of a block, or the name of an attribute. (The = that ends a
// secret in base64 has nothing around it.)
var structure = regexp.MustCompile(`^[ \t]*[\w-]+(?:(?:[ \t]+"[\w-]*")*[ \t]*\{|[ \t]+=|=[ \t]*[^=\s])`)

// coverLines covers a file that could not be parsed, where nobody knows what is secret: all but names in structures, and punctuation.
func coverLines(src []byte) {
	for line := range bytes.Lines(src) {
		if structure.Match(line) {
			line = line[bytes.IndexAny(line, "={"):]
		}
		for i, c := range line {
			if c > ' ' && strings.IndexByte(`=:{}[]",`, c) < 0 {
				line[i] = '*'
			}
		}
	}
}

// asterisks leaves quotes and white space, so that one still sees how a line is built.
func asterisks(text []byte) {
	for i, c := range text {
		if c > ' ' && c != '"' {
			text[i] = '*'
		}
	}
}
