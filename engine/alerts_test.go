// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/record"
)

// TestAnAlertIsOneThatItsDestinationCanSend: what is no HL7 message would wait at an mllp destination for ever, and nobody be told.
func TestAnAlertIsOneThatItsDestinationCanSend(t *testing.T) {
	dir := t.TempDir()
	hcl := `
destination "mllp" "his" { address = "his.example:2575" }
destination "stdout" "screen" {}
alert "told" {
  dead_letters_above = 0
  to                 = destination.stdout.screen
}
alert "letters" {
  dead_letters_above = 0
  to                 = destination.mllp.his
  MAP
}
`
	load := func(how string) (*config.Config, string) {
		err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(strings.Replace(hcl, "MAP", how, 1)), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		e := New(Options{StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
		cfg, _, diags := e.Load(t.Context(), dir)
		return cfg, diags.Error()
	}
	if cfg, said := load(""); cfg != nil || !strings.Contains(said, `alert "letters" needs "map"`) {
		t.Errorf("an alert that is no HL7 message: %s", said)
	}
	if err := os.WriteFile(filepath.Join(dir, "alert.js"), []byte("export default ({ change }) => ({ text: change.data.text });"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, said := load(`map = "alert.js"`)
	if cfg == nil {
		t.Fatal(said)
	}
	rules, err := newBuilder(cfg, slog.New(slog.DiscardHandler)).alerts()
	if err != nil || len(rules) != 2 {
		t.Fatal(err)
	}
	var r record.Record
	r.Change.Data = []byte(`{"text":"x"}`)
	if body, err := rules[1].Map(t.Context(), &r); err == nil {
		t.Errorf("what is no HL7 message is taken for one: %s", body)
	}
}
