// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// tables reads the table blocks.
func (l *loader) tables() {
	values := map[string]cty.Value{}
	for _, name := range l.names("table.") {
		values[name] = cty.DynamicVal // unless something better comes: one in a broken file, say
	}
	l.config.Tables, l.config.TableDefaults = map[string]map[string]string{}, map[string]string{}
	for _, block := range l.of("table") {
		o, ok := l.decode(block, tableSchema)
		if !ok {
			continue
		}
		entries, ok := l.table(o)
		if !ok {
			continue
		}
		name := block.Labels[0]
		l.config.Tables[name] = entries
		if text, given := o.attributes["default"].value.(string); given {
			l.config.TableDefaults[name] = text
		}
		v := cty.MapValEmpty(cty.String)
		if len(entries) > 0 {
			m := map[string]cty.Value{}
			for k, text := range entries {
				m[k] = cty.StringVal(text)
			}
			v = cty.MapVal(m)
		}
		values[name] = v
		if slices.ContainsFunc(keys(o.attributes), func(name string) bool { return o.attributes[name].secret }) {
			values[name] = v.Mark(sensitive)
		}
	}
	l.eval.Variables["table"] = cty.ObjectVal(values)
}

// table gives the entries of one table.
func (l *loader) table(o *object) (map[string]string, bool) {
	inline := o.attributes["values"]
	entries, isInline := inline.value.(map[string]string)
	name, isCSV := o.attributes["csv"].value.(string)
	switch {
	case isInline == isCSV:
		l.errorf(o.header, "Wrong table", "A table has its entries in the map \"values\" or in the file that \"csv\" names: one of the two.")
		return nil, false
	case isInline:
		for _, name := range []string{"key", "value"} {
			if a, given := o.attributes[name]; given {
				l.errorf(a.expr.Range(), "Wrong table", "%q names a column of a CSV file; this table has its entries in \"values\".", name)
				return nil, false
			}
		}
		return entries, l.onlyOnce(inline.expr)
	}
	key, _ := take(o, "key", "")
	value, _ := take(o, "value", "")
	if key == "" || value == "" {
		l.errorf(o.header, "Wrong table", "A table from a CSV file names two of its columns: key and value.")
		return nil, false
	}
	at := o.attributes["csv"].expr.Range()
	path := absolute(l.dir, name)
	text, err := readBounded(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.errorf(at, "Missing file", "There is no file %q. A relative path starts at the directory of the .hcl file.%s",
			name, meant(filepath.Base(path), filesIn(filepath.Dir(path))))
		return nil, false
	case err != nil:
		l.errorf(at, "Unreadable file", "The file %q can't be read: %s.", name, reason(err))
		return nil, false
	}
	entries, err = readCSV(text, key, value)
	if err != nil {
		l.errorf(at, "Wrong table", "%s: %s", name, sentence(err.Error()))
		return nil, false
	}
	return entries, true
}

// onlyOnce refuses keys that are written out twice: HCL lets the last one count.
func (l *loader) onlyOnce(expr hclsyntax.Expression) bool {
	m, ok := unwrap(expr).(*hclsyntax.ObjectConsExpr)
	if !ok {
		return true
	}
	lines, good := map[string]int{}, true
	for _, item := range m.Items {
		k, diags := item.KeyExpr.Value(l.eval)
		if diags.HasErrors() || !k.IsKnown() || k.IsNull() {
			continue
		}
		k, _ = k.Unmark()
		if k, err := convert.Convert(k, cty.String); err == nil {
			at := item.KeyExpr.Range()
			if line, twice := lines[k.AsString()]; twice {
				l.errorf(at, "Duplicate key", "This key stands in line %d too.", line)
				good = false
			}
			lines[k.AsString()] = at.Start.Line
		}
	}
	return good
}

// readCSV reads two columns of a CSV file whose first line that is not empty names them. The error names the line and nothing that stands in it
// but names of columns.
func readCSV(text, key, value string) (map[string]string, error) {
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff")))
	r.ReuseRecord = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; its first line names the columns")
	}
	if err != nil {
		return nil, lineError(err, 1)
	}
	header = slices.Clone(header)
	names, _ := r.FieldPos(0) // their line
	column := func(name string) (int, error) {
		i := slices.Index(header, name)
		if i < 0 {
			return 0, fmt.Errorf("line %d names no column %q.%s", names, name, meantOr(name, header, "It names"))
		}
		if slices.Contains(header[i+1:], name) {
			return 0, fmt.Errorf("line %d names the column %q more than once", names, name)
		}
		return i, nil
	}
	keyColumn, err := column(key)
	if err != nil {
		return nil, err
	}
	valueColumn, err := column(value)
	if err != nil {
		return nil, err
	}
	entries, lines := map[string]string{}, map[string]int{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, lineError(err, names)
		}
		line, _ := r.FieldPos(keyColumn)
		k := cty.NormalizeString(record[keyColumn]) // as HCL compares texts
		if first, twice := lines[k]; twice {
			return nil, fmt.Errorf("the key in line %d stands in line %d too", line, first)
		}
		if k == "" {
			return nil, fmt.Errorf("line %d has no key", line)
		}
		entries[k], lines[k] = record[valueColumn], line
	}
}

// lineError tells of an error in a file whose columns are named in a line.
func lineError(err error, names int) error {
	e := (*csv.ParseError)(nil)
	if !errors.As(err, &e) {
		return errors.New("it can't be read")
	}
	if errors.Is(e.Err, csv.ErrFieldCount) {
		return fmt.Errorf("line %d has another number of fields than line %d", e.Line, names)
	}
	return fmt.Errorf("line %d has quotes that do not belong there or are not closed", e.Line)
}

// translate lets table.NAME[KEY] give the table's default for a key that the table does not have. It also takes what lookup looks
// at out of the table before, as functions walk through all of their arguments: 12 ms for 10,000 entries. It changes the
// expression, which is none that was parsed for later readings too, and comes after all checks of it.
func (l *loader) translate(expr hclsyntax.Expression) {
	for _, u := range uses(expr) {
		t := u.expr.Traversal
		if t.RootName() != "table" || len(t) != 2 {
			continue
		}
		name, _ := stepText(t[1])
		fallback, hasDefault := l.config.TableDefaults[name]
		switch {
		case u.index != nil && hasDefault:
			u.index.Collection, u.index.Key = translated(u.expr, u.index.Key, &fallback)
		case u.lookup != nil:
			u.lookup.Args[0], u.lookup.Args[1] = translated(u.expr, u.lookup.Args[1], nil)
		}
	}
}

// withTables is translate for an expression as it was parsed: what is changed is another one.
func (l *loader) withTables(parsed hclsyntax.Expression) hclsyntax.Expression {
	if !slices.ContainsFunc(uses(parsed), func(u use) bool { return u.expr.Traversal.RootName() == "table" }) {
		return parsed
	}
	own := l.own(parsed)
	l.translate(own)
	return own
}

// translated gives expressions to put in the place of a table and a key: a map of at most one entry, and its key.
func translated(table, key hclsyntax.Expression, fallback *string) (one, itsKey hclsyntax.Expression) {
	return &translation{table, key, fallback}, &hclsyntax.LiteralValueExpr{Val: cty.StringVal(""), SrcRange: key.Range()}
}

// translation is a table that has one entry under "", what a key is translated to, or none.
type translation struct {
	hclsyntax.Expression
	key      hclsyntax.Expression
	fallback *string // of a key that the table does not have; nil: no entry
}

// Value implements hclsyntax.Expression.
func (t *translation) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	table, diags := t.Expression.Value(ctx)
	key, more := t.key.Value(ctx)
	diags = append(diags, more...)
	text, err := convert.Convert(key, cty.String)
	if err != nil {
		at := t.key.Range()
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid index", Detail: "The key of a table is a text.", Subject: &at})
	}
	if diags.HasErrors() || !table.IsKnown() || !text.IsKnown() {
		return cty.UnknownVal(cty.Map(cty.String)), diags
	}
	table, marks := table.Unmark()
	text, ofText := text.Unmark()
	found := cty.MapValEmpty(cty.String)
	switch {
	case !text.IsNull() && table.HasIndex(text).True():
		found = cty.MapVal(map[string]cty.Value{"": table.Index(text)})
	case t.fallback != nil:
		found = cty.MapVal(map[string]cty.Value{"": cty.StringVal(*t.fallback)})
	}
	return found.WithMarks(marks, ofText), diags
}
