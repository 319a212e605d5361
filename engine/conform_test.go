// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// anAdapter has nothing to configure.
type anAdapter struct{}

func (anAdapter) Describe(context.Context, config.Adapter) (sdk.Info, schema.Schema, error) {
	return sdk.Info{}, schema.Schema{}, nil
}
func (anAdapter) Validate(context.Context, config.Adapter, []byte) error { return nil }

func TestTheKitFetchesWhatPipelinesDo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "m.js"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(`
source "a" "b" {}
destination "stdout" "s" {}
pipeline "plain" {
  poll {
    feed    = source.a.b.feed.f
    every   = "1m"
    confirm = "visit"
  }
  fetch "patient" {
    id = change.data.patient
  }
  fetch "ward" {
    when = change.data.inpatient
    id   = "W-${change.data.ward}"
  }
  fetch "order" {
    for_each = change.data.orders
  }
  fetch "doctor" {
    id = fetched.patient.doctor
  }
  deliver "s" {
    to  = destination.stdout.s
    map = "m.js"
  }
}
pipeline "parents" {
  poll {
    feed  = source.a.b.feed.f
    every = "1m"
  }
  expand "order" {
    from  = "orders_of"
    id    = change.id
    items = ""
    key   = "id"
  }
  fetch "patient" {
    id = change.data.patient
  }
  deliver "s" {
    to  = destination.stdout.s
    map = "m.js"
  }
}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, diags := config.Load(t.Context(), dir, config.Options{Adapters: anAdapter{}, Bundled: []string{"a"}, Destinations: destination.Schemas()})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	change := func(data string) sdk.Change {
		return sdk.Change{Ref: sdk.Ref{Kind: "visit", ID: "V1"}, Data: []byte(data)}
	}
	for _, tt := range []struct {
		data string
		want []sdk.Ref
	}{
		{`{"patient": 7, "inpatient": true, "ward": 3, "orders": ["a", "", "b"]}`, []sdk.Ref{
			{Kind: "visit", ID: "V1"}, {Kind: "patient", ID: "7"}, {Kind: "ward", ID: "W-3"}, {Kind: "order", ID: "a"}, {Kind: "order", ID: "b"}}},
		{`{"inpatient": false, "ward": 3}`, []sdk.Ref{{Kind: "visit", ID: "V1"}}},
		{`[]`, []sdk.Ref{{Kind: "visit", ID: "V1"}}},
	} {
		if got := refs(cfg.Pipelines[0], change(tt.data)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v", tt.data, got)
		}
	}
	if got := refs(cfg.Pipelines[1], change(`{"patient": 7}`)); !slices.Equal(got, []sdk.Ref{{Kind: "orders_of", ID: "V1"}}) {
		t.Errorf("%v", got)
	}
}
