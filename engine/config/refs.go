// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/rounds-engine/rounds/sdk/schema"
)

// feedReference resolves source.TYPE.NAME.feed.FEED. ID is empty when it was wrong.
func (l *loader) feedReference(expr hclsyntax.Expression) (id, feed string) {
	const form = "source.ADAPTER.NAME.feed.FEED"
	steps := l.steps(expr, "source", form, l.feedNames)
	if steps == nil {
		return "", ""
	}
	at := expr.Range()
	if len(steps) >= 3 && !l.exists(at, "source", steps[1]+"."+steps[2]) {
		return "", ""
	}
	switch {
	case len(steps) == 3:
		l.errorf(at, "Incomplete reference", "This names a source, not one of its feeds. It is written %s.%s", form,
			example(l.feedNames(), strings.Join(steps, ".")+".feed."))
	case len(steps) == 5 && steps[3] == "feed":
		id, feed = steps[1]+"."+steps[2], steps[4]
		if !l.part(at, id, "feed", feed) {
			return "", ""
		}
		return id, feed
	default:
		l.errorf(at, "Invalid reference", "A feed is referred to as %s.", form)
	}
	return "", ""
}

// destinationReference resolves destination.TYPE.NAME. It is empty when it was wrong.
func (l *loader) destinationReference(expr hclsyntax.Expression) string {
	return l.blockReference(expr, "destination", "destination.TYPE.NAME")
}

// blockReference resolves a reference to a block, such as pipeline.NAME. It is empty when it was wrong.
func (l *loader) blockReference(expr hclsyntax.Expression, kind, form string) string {
	steps := l.steps(expr, kind, form, func() []string { return prefixed(kind+".", l.names(kind+".")) })
	if steps == nil {
		return ""
	}
	if len(steps) != strings.Count(form, ".")+1 {
		l.errorf(expr.Range(), "Invalid reference", "A %s is referred to as %s.", kind, form)
		return ""
	}
	if id := strings.Join(steps[1:], "."); l.exists(expr.Range(), kind, id) {
		return id
	}
	return ""
}

// steps returns the names of a reference; the first is root. It is nil when the expression is something else. Known are the
// references that would be right.
func (l *loader) steps(expr hclsyntax.Expression, root, form string, known func() []string) []string {
	at := expr.Range()
	if text, ok := literal(expr); ok {
		// The known reference that ends with the text.
		names := known()
		hint := example(names, "")
		if i := slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix("."+name, "."+text) }); i >= 0 {
			hint = fmt.Sprintf(" Did you mean %s?", names[i])
		}
		l.errorf(at, "Reference wanted", "This is a reference to another block, not text, and is written without quotes: %s.%s", form, hint)
		return nil
	}
	if wrap, ok := expr.(*hclsyntax.TemplateWrapExpr); ok {
		expr = wrap.Wrapped
	}
	traversal, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() {
		l.errorf(at, "Reference wanted", "This is a reference to another block, written %s.%s", form, example(known(), ""))
		return nil
	}
	steps := []string{traversal.RootName()}
	for _, step := range traversal[1:] {
		name, ok := step.(hcl.TraverseAttr)
		if !ok {
			l.errorf(at, "Invalid reference", "A reference is written with dots only: %s.", form)
			return nil
		}
		steps = append(steps, name.Name)
	}
	if steps[0] != root {
		l.errorf(at, "Invalid reference", "A reference to a %s is wanted, written %s.%s", root, form, example(known(), ""))
		return nil
	}
	return steps
}

// exists says whether there is a block of that name. In doubt, as when a file could not be read, it says yes.
func (l *loader) exists(at hcl.Range, kind, id string) bool {
	if l.blocks[kind+"."+id] != nil {
		return true
	}
	if len(l.broken) == 0 {
		l.errorf(at, "Unknown "+kind, "There is no %s.%s.%s", kind, id, l.meantReference(kind, id))
	}
	return false
}

func (l *loader) meantReference(kind, id string) string {
	known := l.names(kind + ".")
	if _, name, _ := strings.Cut(id, "."); name != "" { // the right name under another type
		for _, k := range known {
			if strings.HasSuffix(k, "."+name) {
				return fmt.Sprintf(" Did you mean %s.%s?", kind, k)
			}
		}
	}
	prefixedKnown := prefixed(kind+".", known)
	if text := meant(kind+"."+id, prefixedKnown); text != "" {
		return strings.ReplaceAll(text, `"`, "")
	}
	if len(known) == 0 {
		return fmt.Sprintf(" No %s is declared.", kind)
	}
	return fmt.Sprintf(" Declared are: %s.", list(prefixedKnown))
}

// part checks that a source has what is referred to, a feed or a resource.
func (l *loader) part(at hcl.Range, source, kind, name string) bool {
	names, known := l.parts(source, kind)
	if !known || slices.Contains(names, name) {
		return true
	}
	text := fmt.Sprintf(" The source has no %s.", kind)
	if len(names) > 0 {
		text = meantOr(name, names, "It has")
	}
	l.errorf(at, "Unknown "+kind, "There is no %s %q in source.%s.%s", kind, name, source, text)
	return false
}

// parts returns the names of a source's feeds or resources: those that its blocks declare and those that its adapter brings for
// every source. They are not known where the adapter has no such blocks and tells of none: then the source has to be opened.
func (l *loader) parts(source, kind string) (names []string, known bool) {
	o := l.feeds[source]
	if o == nil {
		return nil, false
	}
	known = slices.ContainsFunc(o.schema.Blocks, func(b schema.Block) bool { return b.Name == kind })
	names = o.names(kind)
	name, _, _ := strings.Cut(source, ".")
	switch info := l.used[name].info; kind {
	case "feed":
		for _, f := range info.Feeds {
			names = append(names, f.Name)
		}
	case "resource":
		for _, r := range info.Resources {
			names = append(names, r.Name)
		}
	}
	return names, known || len(names) > 0
}

// feedNames returns all references to feeds that would be right.
func (l *loader) feedNames() []string {
	var names []string
	for _, id := range keys(l.feeds) {
		feeds, _ := l.parts(id, "feed")
		names = append(names, prefixed("source."+id+".feed.", feeds)...)
	}
	return names
}

func prefixed(prefix string, names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, prefix+name)
	}
	return out
}

// example is a sentence with the first known reference that begins with prefix.
func example(known []string, prefix string) string {
	for _, name := range known {
		if strings.HasPrefix(name, prefix) {
			return fmt.Sprintf(" For example: %s", name)
		}
	}
	return ""
}
