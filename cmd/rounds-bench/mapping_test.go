// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

func TestAllContendersMakeTheSameBytes(t *testing.T) {
	ehr, err := sampleehr.New(load(200, 50))
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := script.Compile("mapping.js", script.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for id, versions := range ehr.History("") {
		a, err := ehr.Appointment(id)
		if err != nil {
			t.Fatal(err)
		}
		p := ehr.Patient(a.PatientID)
		patient, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := time.ParseInLocation(sampleehr.Layout, a.LastUpdated, ehr.Zone())
		if err != nil {
			t.Fatal(err)
		}
		r := &record.Record{
			Change:  sdk.Change{Ref: sdk.Ref{Kind: "appointments", ID: id}, Version: a.LastUpdated, Time: changed, Data: versions[0].JSON},
			Fetched: map[string]json.RawMessage{"patient": patient},
		}
		got, err := mapping.Map(t.Context(), r, script.Context{Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if want, err := encode(mapNatively(&a, &p, changed)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v\n%s\n%s", err, got, want)
		}
	}
}
