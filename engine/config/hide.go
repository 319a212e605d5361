// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"regexp"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// hide covers in the snippets whatever a person may have written out in node although it is secret: all but calls of env,
// secret and file.
func (l *loader) hide(node hclsyntax.Node) {
	_ = hclsyntax.Walk(node, &hider{l: l}) // returns what the walker returns: nothing
}

// conceal is hide for what certainly is secret: the texts in it are not repeated by a message either.
func (l *loader) conceal(expr hclsyntax.Expression) {
	_ = hclsyntax.Walk(expr, &hider{l: l, certain: true})
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

type hider struct {
	l       *loader
	certain bool
	call    int // depth of the calls whose arguments may be shown
}

func (h *hider) Enter(node hclsyntax.Node) hcl.Diagnostics {
	switch n := node.(type) {
	case *hclsyntax.FunctionCallExpr:
		if outsideNames[n.Name] {
			h.call++
		}
	case *hclsyntax.LiteralValueExpr:
		if h.call == 0 {
			if h.certain && n.Val.Type() == cty.String {
				h.l.remember(n.Val, false)
			}
			h.cover(n.SrcRange)
		}
	case *hclsyntax.ScopeTraversalExpr: // a secret whose quotes are missing looks like one
		if h.call == 0 && (len(n.Traversal) < 2 || constants[n.Traversal.RootName()] == "") {
			h.cover(n.SrcRange)
		}
	}
	return nil
}

func (h *hider) cover(at hcl.Range) { h.l.hidden[at.Filename] = append(h.l.hidden[at.Filename], at) }

func (h *hider) Exit(node hclsyntax.Node) hcl.Diagnostics {
	if n, ok := node.(*hclsyntax.FunctionCallExpr); ok && outsideNames[n.Name] {
		h.call--
	}
	return nil
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
		if l.unsure[name] {
			coverLines(c.Bytes)
		}
		covered[name] = &c
	}
	return covered
}

var (
	// assigned is an attribute's name, and what follows it on the line.
	assigned = regexp.MustCompile(`^.*?\b([\w-]+)[ \t]*=(.*)`)
	// listed is text that stands at the beginning of a line, as in a list.
	listed = regexp.MustCompile(`^[ \t]*(".*)`)
	// secretive are names of attributes whose value may be secret.
	secretive = regexp.MustCompile(`(?i)token|secret|pass|pwd|key|auth|cred|cookie|cert|priv|sign`)
	heredoc   = regexp.MustCompile(`<<-?(\w+)[ \t]*\r?$`)
)

// coverLines covers a file that could not be parsed, where nobody knows which attribute is sensitive: quoted text to the
// right of an equals sign, heredocs, and whatever stands behind a name that sounds secret.
func coverLines(src []byte) {
	inside := "" // the quote or the word that ends the text which a line before began
	for line := range bytes.Lines(src) {
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case inside == `"`:
			text, _, closed := bytes.Cut(line, []byte(inside))
			asterisks(text)
			if closed {
				inside = ""
			}
			continue
		case inside != "" && string(bytes.TrimSpace(line)) == inside:
			inside = ""
			continue
		case inside != "":
			asterisks(line)
			continue
		}
		var value []byte
		secret := false
		if m := listed.FindSubmatch(line); m != nil {
			value = m[1]
		} else if m := assigned.FindSubmatch(line); m != nil {
			value, secret = m[2], secretive.Match(m[1])
		}
		if m := heredoc.FindSubmatch(value); m != nil {
			inside = string(m[1])
		} else if quotes := bytes.Count(value, []byte(`"`)); quotes > 0 {
			asterisks(value[bytes.IndexByte(value, '"')+1:])
			if quotes%2 == 1 {
				inside = `"`
			}
		}
		if secret {
			asterisks(value)
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
