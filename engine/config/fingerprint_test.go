// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
)

const fingerprinted = `
locals {
  site  = "north"
  other = "x"
}
variable "key" { default = "patientID" }
table "codes" { values = { a = "1" } }
source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
  resource "patient" { path = "/patient" }
}
destination "webhook" "d" { url = "https://a.example" }
pipeline "p" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1m"
  }
  fetch "patient" { id = change.data.patientID }
  deliver "d" {
    to       = destination.webhook.d
    map      = "map.js"
    filter   = change.data.site == local.site && change.data.kind != file("kind.txt")
    order_by = table.codes[change.data.code]
  }
}
`

// What a pipeline is told to do decides, and nothing beside it: that is what lets a reload leave the others alone.
func TestAFingerprintIsThatOfWhatThePipelineDoes(t *testing.T) {
	of := func(t *testing.T, text, kind string) [32]byte {
		t.Helper()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "main.hcl"), text)
		write(t, filepath.Join(dir, "map.js"), "")
		write(t, filepath.Join(dir, "kind.txt"), kind)
		cfg, files, diags := config.Load(t.Context(), dir, options(""))
		if diags.HasErrors() {
			var shown strings.Builder
			_ = config.WriteDiagnostics(&shown, files, diags, false, 100)
			t.Fatal(shown.String())
		}
		// The directory is another each time, and is none of what is compared here.
		cfg.Pipelines[0].Delivers[0].Script = ""
		return cfg.Pipelines[0].Fingerprint()
	}
	first := of(t, fingerprinted, "k")
	for _, x := range []struct {
		name, old, new string
		differs        bool
	}{
		{"the same again", "", "", false},
		{"a comment", "pipeline \"p\" {", "# why\npipeline \"p\" {", false},
		{"a local that it does not use", `"x"`, `"y"`, false},
		{"another destination's attribute", "https://a.example", "https://b.example", false},
		{"its interval", `"1m"`, `"2m"`, true},
		{"an expression", "change.data.patientID", "change.data.patient", true},
		{"a local that it uses", `"north"`, `"south"`, true},
		{"a table that it uses", `a = "1"`, `a = "2"`, true},
		{"a filter more", `fetch "patient" { id = change.data.patientID }`, "fetch \"patient\" {\n id = change.data.patientID\n when = change.data.x\n}", true},
	} {
		text := strings.Replace(fingerprinted, x.old, x.new, 1)
		if x.old != "" && text == fingerprinted {
			t.Fatalf("%s: nothing was replaced", x.name)
		}
		if got := of(t, text, "k") != first; got != x.differs {
			t.Errorf("%s: differs is %v", x.name, got)
		}
	}
	if of(t, fingerprinted, "other") == first {
		t.Error("what a function of an expression reads changed, and the fingerprint did not")
	}

	// A table with a default, or in lookup, takes the place of its key.
	const before = `table.codes[change.data.code]`
	withDefault := strings.NewReplacer(`{ values = { a = "1" } }`, "{\n values = { a = \"1\" }\n default = \"none\"\n}")
	for _, x := range []struct{ name, orderBy, old, new, kind string }{
		{"a local in the key of a table", `table.codes["${local.site}-${change.data.code}"]`, `"north"`, `"south"`, "k"},
		{"a local in the key of lookup", `lookup(table.codes, "${local.site}-${change.data.code}", "none")`, `"north"`, `"south"`, "k"},
		{"a file in the key of a table", `table.codes["${file("kind.txt")}-${change.data.code}"]`, "", "", "other"},
		{"a file that a local names", `"${file("${local.other}.txt")}-${change.data.code}"`, "", "", "other"},
	} {
		text := withDefault.Replace(strings.Replace(fingerprinted, before, x.orderBy, 1))
		text = strings.Replace(text, `"x"`, `"kind"`, 1)
		if !strings.Contains(text, x.orderBy) || !strings.Contains(text, x.old) {
			t.Fatalf("%s: there is nothing to be replaced", x.name)
		}
		// The filter has the same in it, and is none of this.
		text = strings.Replace(text, `change.data.site == local.site && change.data.kind != file("kind.txt")`, "true", 1)
		was := of(t, text, "k")
		if of(t, text, "k") != was {
			t.Errorf("%s: the same is not the same", x.name)
		}
		if was == of(t, strings.Replace(text, x.old, x.new, 1), x.kind) {
			t.Errorf("%s: it changed, and the fingerprint did not", x.name)
		}
	}
}
