// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
)

// TestWhatIsReadAgainSaysTheSame: an expression that uses a table is changed when it is read, and what was parsed is as it was.
func TestWhatIsReadAgainSaysTheSame(t *testing.T) {
	dir := t.TempDir()
	o := options("")
	o.Parsed = new(config.Parsed)
	write(t, filepath.Join(dir, "main.hcl"), `
locals {
  site = "north"
  zone = table.zones["${local.site}-1"]
  name = lookup(table.zones, local.site, "nobody")
}
source "rest" "clinic" {
  base_url = "https://${local.zone}.example/${local.name}/${table.zones["${local.site}-9"]}"
}
`)
	for _, x := range []struct{ table, want string }{
		{`values = { north-1 = "est" }` + "\n default = \"utc\"", "https://est.example/nobody/utc"},
		{`values = { north-1 = "est" }` + "\n default = \"utc\"", "https://est.example/nobody/utc"},
		{`values = { north-1 = "est" }` + "\n default = \"gmt\"", "https://est.example/nobody/gmt"},
		{`values = { north = "N" }` + "\n default = \"gmt\"", "https://gmt.example/N/gmt"},
		{`values = { north-1 = "est" }`, ""}, // a key that is not there is a mistake then
	} {
		write(t, filepath.Join(dir, "tables.hcl"), "table \"zones\" {\n "+x.table+"\n}\n")
		c, files, diags := config.Load(t.Context(), dir, o)
		if diags.HasErrors() != (x.want == "") {
			var text bytes.Buffer
			_ = config.WriteDiagnostics(&text, files, diags, false, 0)
			t.Fatalf("with the table %s:\n%s", x.table, text.String())
		}
		if c != nil && !bytes.Contains(c.Sources[0].Config, []byte(`"`+x.want+`"`)) {
			t.Errorf("with the table %s: %s, want %s", x.table, c.Sources[0].Config, x.want)
		}
	}
}

// TestNullIsAsIfTheAttributeWasNotThere, so that a variable without a value leaves an attribute out.
func TestNullIsAsIfTheAttributeWasNotThere(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "map.js"), "")
	write(t, filepath.Join(dir, "main.hcl"), `
variable "none" { default = null }
source "rest" "clinic" {
  base_url = "https://ehr.example"
  feed "appointments" {
    path = "/appointments"
    id   = "id"
  }
}
destination "webhook" "d" {
  url      = "https://a.example"
  parallel = var.none
  timeout  = null
}
adapter "rest" { memory_limit = null }
pipeline "p" {
  isolate = null
  poll {
    feed    = source.rest.clinic.feed.appointments
    every   = "1m"
    overlap = null
    confirm = null
  }
  deliver "d" {
    to       = destination.webhook.d
    map      = "map.js"
    validate = null
  }
}
web { token = var.none }
history { keep = null }
alert "a" {
  dead_letters_above = 3
  no_traffic_for     = null
  over               = var.none
  map                = null
  to                 = destination.webhook.d
}
`)
	c, files, diags := config.Load(t.Context(), dir, options(""))
	if len(diags) > 0 {
		var text bytes.Buffer
		_ = config.WriteDiagnostics(&text, files, diags, false, 0)
		t.Fatal(text.String())
	}
	if d := c.Destinations[0]; d.Parallel != 16 || d.Timeout != 30*time.Second {
		t.Errorf("the destination is %+v", d)
	}
	if a := c.Alerts[0]; a.Condition != "dead_letters_above" || a.Limit != 3 || a.Over != 0 {
		t.Errorf("the alert is %+v", a)
	}

	write(t, filepath.Join(dir, "main.hcl"), `
destination "webhook" "d" { url = "https://a.example" }
alert "a" {
  no_traffic_for = null
  to             = destination.webhook.d
}
`)
	if c, _, diags := config.Load(t.Context(), dir, options("")); c != nil || !strings.Contains(diags.Error(), "needs a condition") {
		t.Errorf("an alert without a condition is taken: %v", diags)
	}
}
