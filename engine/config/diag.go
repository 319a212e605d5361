// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Files are the files that were read, by name, for the snippets of diagnostics. Their bytes are covered with asterisks where
// they may hold a secret that somebody wrote into the configuration.
type Files map[string]*hcl.File

// WriteDiagnostics prints diagnostics for a person, with the lines they are about. A width of 0 does not wrap.
func WriteDiagnostics(w io.Writer, files Files, diags hcl.Diagnostics, color bool, width uint) error {
	return hcl.NewDiagnosticTextWriter(w, files, width, color).WriteDiagnostics(plain(diags))
}

// DiagnosticsJSON is the form of diagnostics for programs.
func DiagnosticsJSON(diags hcl.Diagnostics) ([]byte, error) {
	type pos struct {
		Line   int `json:"line"`
		Column int `json:"column"`
		Byte   int `json:"byte"`
	}
	type rng struct {
		Filename string `json:"filename"`
		Start    pos    `json:"start"`
		End      pos    `json:"end"`
	}
	type diagnostic struct {
		Severity string `json:"severity"`
		Summary  string `json:"summary"`
		Detail   string `json:"detail"`
		Range    *rng   `json:"range,omitempty"`
	}
	doc := struct {
		Valid       bool         `json:"valid"`
		Errors      int          `json:"error_count"`
		Warnings    int          `json:"warning_count"`
		Diagnostics []diagnostic `json:"diagnostics"`
	}{Valid: !diags.HasErrors(), Diagnostics: []diagnostic{}}
	for _, d := range diags {
		out := diagnostic{Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			out.Severity = "warning"
			doc.Warnings++
		} else {
			doc.Errors++
		}
		if s := d.Subject; s != nil {
			out.Range = &rng{s.Filename, pos(s.Start), pos(s.End)}
		}
		doc.Diagnostics = append(doc.Diagnostics, out)
	}
	return json.MarshalIndent(doc, "", "  ")
}

// plain takes from diagnostics what HCL would print values from.
func plain(diags hcl.Diagnostics) hcl.Diagnostics {
	out := make(hcl.Diagnostics, 0, len(diags))
	for _, d := range diags {
		c := *d
		c.Expression, c.EvalContext, c.Extra = nil, nil, nil
		out = append(out, &c)
	}
	return out
}

func (l *loader) errorf(at hcl.Range, summary, detail string, args ...any) {
	l.diags = append(l.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(detail, args...), Subject: &at,
	})
}

// evaluation takes over what HCL says about an expression. Where a function of this package failed, its own words count; those
// of others, which may quote arguments, do not when the expression is secret.
func (l *loader) evaluation(diags hcl.Diagnostics, secret bool) {
	for _, d := range diags {
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok {
			if c := causeOf(d); c != nil {
				d.Summary, d.Detail = c.summary, c.detail
			} else if secret && call.FunctionCallError() != nil {
				d.Detail = fmt.Sprintf("%s failed. Why is not shown, as the value is sensitive.", call.CalledFunctionName())
			}
		}
		if d.Summary == "Duplicate object key" { // HCL quotes the key, which may be made of a secret
			d.Detail = "Two items have the same key here. Where that is meant, ... behind the value gathers all values of a key in a list."
		}
		l.diags = append(l.diags, d)
	}
}

// causeOf is the error of a function of this package; nil if it is another's.
func causeOf(d *hcl.Diagnostic) (c *cause) {
	if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok {
		errors.As(call.FunctionCallError(), &c)
	}
	return c
}

// blame shows an error of an adapter or a destination at the attribute that it names, or at what is nearest to it.
func (l *loader) blame(err error, summary string, places places) {
	var path, text string
	if e := (*schema.Error)(nil); errors.As(err, &e) {
		path, text = e.Path, e.Text
	} else {
		safe := sdk.Safe(err)
		path, text = safe.Path, safe.Text
	}
	if path != "" {
		text = path + ": " + text
	}
	l.errorf(places.find(path), summary, "%s", sentence(text))
}

func sentence(text string) string {
	if text != "" && !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	return text
}

// places tells where in the files the parts of a block stand, by path: block types, labels and attribute joined by dots. The
// block itself is "".
type places map[string]hcl.Range

// find returns the place of the longest part of path that exists.
func (p places) find(path string) hcl.Range {
	for path != "" {
		if at, ok := p[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	return p[""]
}

// finish brings the diagnostics into the order of the files and makes sure that none holds a value.
func (l *loader) finish() hcl.Diagnostics {
	values := append(l.outside.values(), l.written...)
	// The longest first, lest the rest of one be left that begins with another.
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	var hide []string
	for _, text := range values {
		if len(text) < 4 {
			continue // so short that hiding it would spoil the texts, and to know it is to know little
		}
		quoted := fmt.Sprintf("%q", text) // looks different when it holds quotes or control characters
		hide = append(hide, text, "(hidden)", quoted[1:len(quoted)-1], "(hidden)")
	}
	scrub := strings.NewReplacer(hide...)
	diags := plain(l.diags)
	for _, d := range diags {
		d.Summary, d.Detail = scrub.Replace(d.Summary), scrub.Replace(d.Detail)
	}
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		if a.Subject == nil || b.Subject == nil {
			return cmp.Compare(btoi(a.Subject != nil), btoi(b.Subject != nil))
		}
		return cmp.Or(strings.Compare(a.Subject.Filename, b.Subject.Filename),
			cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte))
	})
	return slices.CompactFunc(diags, func(a, b *hcl.Diagnostic) bool {
		return a.Summary == b.Summary && a.Detail == b.Detail && a.Subject != nil && b.Subject != nil && *a.Subject == *b.Subject
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// nearest is the known name that is most like the given one; empty when none is.
func nearest(given string, known []string) string {
	if slices.Contains(known, given) {
		return given
	}
	best, distance := "", max(len(given)/3, 2)+1
	for _, name := range known {
		d := levenshtein.Distance(strings.ToLower(given), strings.ToLower(name), nil)
		if d < distance {
			best, distance = name, d
		}
	}
	return best
}

// meant is a sentence with the name that is nearest, or nothing.
func meant(given string, known []string) string {
	if name := nearest(given, known); name != "" && name != given {
		return fmt.Sprintf(" Did you mean %q?", name)
	}
	return ""
}

// meantOr is meant, or else a sentence with all known names.
func meantOr(given string, known []string, otherwise string) string {
	if text := meant(given, known); text != "" {
		return text
	}
	if len(known) == 0 || len(known) > 20 {
		return ""
	}
	return " " + otherwise + " " + list(known) + "."
}

// list joins names for a sentence.
func list(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

func keys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
