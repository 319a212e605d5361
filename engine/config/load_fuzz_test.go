// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
)

func BenchmarkLoadThousandPipelines(b *testing.B) {
	var hcl strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&hcl, `
source "rest" "s%d" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
}
destination "webhook" "d%d" { url = "https://receiver.example" }
pipeline "p%d" {
  poll {
    feed  = source.rest.s%d.feed.appointments
    every = "1m"
  }
  deliver "d" {
    to  = destination.webhook.d%d
    map = "a.js"
  }
}
`, i, i, i, i, i)
	}
	dir := b.TempDir()
	write(b, filepath.Join(dir, "a.js"), "")
	write(b, filepath.Join(dir, "main.hcl"), hcl.String())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, diags := config.Load(b.Context(), dir, options(dir)); diags.HasErrors() {
			b.Fatal(diags)
		}
	}
}

// FuzzLoad promises: no panic, a configuration or an error, never both, nothing of the environment or of a secret in a diagnostic, and the same
// at the second reading.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*/*.hcl"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			src, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			// Literals of the cases are no secrets here, where bytes move and names get lost.
			f.Add(bytes.ReplaceAll(src, []byte("CANARY-LITERAL"), []byte("literal")))
		}
	}
	dir := f.TempDir()
	write(f, filepath.Join(dir, "appointment.js"), "")
	write(f, filepath.Join(dir, "canary"), "CANARY-SECRET")
	f.Fuzz(func(t *testing.T, src []byte) {
		write(t, filepath.Join(dir, "main.hcl"), string(src))
		o := options(dir)
		o.Parsed = new(config.Parsed)
		var out [2]bytes.Buffer
		var loaded [2][]byte
		for i := range out {
			c, files, diags := config.Load(t.Context(), filepath.Join(dir, "main.hcl"), o)
			if (c == nil) != diags.HasErrors() {
				t.Fatalf("config %v with diagnostics %v", c != nil, diags)
			}
			err := config.WriteDiagnostics(&out[i], files, diags, false, 80)
			if err == nil {
				loaded[i], err = json.Marshal(c)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if out[0].String() != out[1].String() || !bytes.Equal(loaded[0], loaded[1]) {
			t.Errorf("the second reading says\n%s%s\nand the first\n%s%s", out[1].String(), loaded[1], out[0].String(), loaded[0])
		}
		for _, value := range append(slices.Collect(maps.Values(environment)), "CANARY-SECRET") {
			if strings.Contains(out[0].String(), value) && !bytes.Contains(src, []byte(value)) {
				t.Errorf("a value is shown:\n%s", out[0].String())
			}
		}
	})
}

// FuzzReadCSV promises: no panic, every key once, and an error that quotes nothing but names of columns.
func FuzzReadCSV(f *testing.F) {
	f.Add("code,name\nA,a\n\"B\nB\",\"b \"\"b\"\"\"\n")
	f.Add("\ufeffname;code\r\n")
	f.Add("\no,m,CANARY\n")
	f.Add("code,name\nA,CANARY\nA,CANARY\n")
	f.Add("code,name\nA,\"CANARY\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := config.ReadCSV(text, "code", "name")
		if err == nil {
			if len(entries) > strings.Count(text, ",") {
				t.Errorf("%d entries", len(entries))
			}
			return
		}
		text = strings.TrimLeft(strings.TrimPrefix(text, "\ufeff"), "\r\n") // lines that are empty name nothing
		_, rows, _ := strings.Cut(text, "\n")
		if strings.Contains(err.Error(), "CANARY") && strings.Contains(rows, "CANARY") && !strings.Contains(text[:len(text)-len(rows)], "CANARY") {
			t.Errorf("content is shown: %v", err)
		}
	})
}

// FuzzValues promises of what is given for variables: no panic, a configuration or an error, and nothing sensitive in a diagnostic.
func FuzzValues(f *testing.F) {
	f.Add("any = { a = [1, null] }\nlist = [\"a\"]\nsecret = [\"CANARY\"]\n", `["x"]`)
	f.Add("secret = upper(\"CANARY\")\nnumber = 1e999999999\n", `{ a = "CANARY"`)
	f.Add("secret {\n", "<<EOT\nCANARY\nEOT")
	dir := f.TempDir()
	write(f, filepath.Join(dir, "main.hcl"), `
variable "any" { default = 1 }
variable "list" {
  type    = list(string)
  default = []
}
variable "number" {
  type    = number
  default = 1
}
variable "secret" {
  type      = list(string)
  sensitive = true
  default   = []
}
locals { all = [var.any, upper(var.secret[0]), tonumber(var.secret[1]), var.number, concat(var.list, var.secret)] }
`)
	values := filepath.Join(dir, "values")
	f.Fuzz(func(t *testing.T, file, text string) {
		write(t, values, file)
		o := options(dir)
		o.Values = []config.Value{{File: values}, {Name: "any", Text: "x"}, {Name: "secret", Text: text}}
		c, files, diags := config.Load(t.Context(), filepath.Join(dir, "main.hcl"), o)
		if (c == nil) != diags.HasErrors() {
			t.Fatalf("config %v with diagnostics %v", c != nil, diags)
		}
		var out bytes.Buffer
		if err := config.WriteDiagnostics(&out, files, diags, false, 80); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToUpper(text), "CANARY") && !strings.Contains(strings.ToUpper(file), "CANARY") &&
			strings.Contains(strings.ToUpper(out.String()), "CANARY") {
			t.Errorf("a value is shown:\n%s", &out)
		}
	})
}
