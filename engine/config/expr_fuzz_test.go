// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// FuzzExprEval promises that a look-up and HCL agree on every record, and that HCL copes with whatever JSON came.
func FuzzExprEval(f *testing.F) {
	lookUp, template := expr(f, `change.data.a`), expr(f, `"${change.data.a}!"`)
	whole := expr(f, `change.data == null ? "null" : [for x in [change.data] : "some"][0]`)
	f.Add([]byte(`{"a": "x\u00e9", "b": [1, 1.50, -2e3, null, true, {}]}`))
	f.Add([]byte(`{"a": 1e999999999}`))
	f.Add([]byte(`{"a": {"a": [[[]]]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			return
		}
		r := &record.Record{Change: sdk.Change{Data: data}}
		plain, present, err := lookUp.Eval(r)
		text, _, err2 := template.Eval(r)
		if present && (err2 != nil || text != cty.NormalizeString(plain+"!")) {
			t.Errorf("%q: look-up %q, %v; template %q, %v", data, plain, err, text, err2)
		}
		if text, _, err := whole.Eval(r); err == nil && text != "some" && text != "null" {
			t.Errorf("%q: %q, %v", data, text, err)
		}
	})
}

// bigRecord has about 2 KB of data; the value that is asked for stands near the end.
func bigRecord() *record.Record {
	var data strings.Builder
	data.WriteString(`{"id": "a1", "items": [`)
	for i := range 25 {
		fmt.Fprintf(&data, `{"code": "c%02d", "text": "what a clinician wrote down here, number %02d", "value": %d.5},`, i, i, i)
	}
	data.WriteString(`{"code": "last"}], "patient": {"name": {"first": "A", "last": "B"}, "id": "p-4711"}, "site": "s1"}`)
	return &record.Record{Change: sdk.Change{Ref: sdk.Ref{Kind: "appointment", ID: "a1"}, Data: json.RawMessage(data.String())}}
}

func BenchmarkExprEval(b *testing.B) {
	r := bigRecord()
	for _, c := range []struct{ name, text string }{
		{"attribute", `change.id`},
		{"look-up", `change.data.patient.id`},
		{"template", `"${change.data.site}/${change.data.patient.id}"`},
		{"conditional", `change.data.site == "s1" ? change.data.patient.id : change.id`},
		{"function", `upper(trimprefix(change.data.site, "x"))`},
		{"table", `table.large[change.data.patient.id]`},
		{"lookup", `lookup(table.large, change.data.patient.id, "none")`},
		{"whole-list", `[for code in change.data.items[*].code : code][0]`},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := expr(b, c.text)
			b.SetBytes(int64(len(r.Change.Data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, present, err := e.Eval(r); !present || err != nil {
					b.Fatal(present, err)
				}
			}
		})
	}
}
