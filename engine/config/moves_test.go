// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
)

// TestWhatWasRenamedTwiceHasBothMoves: state that was moved to the second name already would be left there by one from the first to the last.
func TestWhatWasRenamedTwiceHasBothMoves(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.hcl"), `
destination "webhook" "d" { url = "https://a.example" }
destination "webhook" "z" { url = "https://z.example" }
moved {
  from = destination.webhook.c
  to   = destination.webhook.d
}
moved {
  from = destination.webhook.a
  to   = destination.webhook.b
}
moved {
  from = destination.webhook.y
  to   = destination.webhook.z
}
moved {
  from = destination.webhook.b
  to   = destination.webhook.c
}
`)
	c, files, diags := config.Load(t.Context(), dir, options(""))
	if len(diags) > 0 {
		var text bytes.Buffer
		_ = config.WriteDiagnostics(&text, files, diags, false, 0)
		t.Fatal(text.String())
	}
	var got []string
	for _, m := range c.Moves {
		got = append(got, m.From+">"+m.To)
	}
	if want := []string{"webhook.a>webhook.b", "webhook.b>webhook.c", "webhook.c>webhook.d", "webhook.y>webhook.z"}; !slices.Equal(got, want) {
		t.Errorf("the moves are made in the order %v, want %v", got, want)
	}
}
