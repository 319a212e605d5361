// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

// appointment is a record of realistic size: an appointment of 0.7 KB and a patient of 1.7 KB.
func appointment(t testing.TB) *record.Record {
	return &record.Record{
		Change: sdk.Change{
			Ref: sdk.Ref{Kind: "appointment", ID: "A-1001"}, Version: "3", Op: sdk.Updated,
			Time: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), Data: read(t, "testdata/appointment.json"),
		},
		Fetched: map[string]json.RawMessage{"patient": read(t, "testdata/patient.json")},
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func BenchmarkMap(b *testing.B) {
	benchmark(b, "testdata/scheduling.ts", "", appointment(b))
}

// BenchmarkMapClinic is what cmd/rounds-bench has mapped: its mapping, with an appointment and a patient of its sample EHR.
func BenchmarkMapClinic(b *testing.B) {
	r := appointment(b)
	r.Change.Data = read(b, "testdata/clinic/appointment.json")
	r.Fetched["patient"] = read(b, "testdata/clinic/patient.json")
	benchmark(b, "../../cmd/rounds-bench/mapping.js", "../..", r)
}

// BenchmarkMapNothing is what any call costs.
func BenchmarkMapNothing(b *testing.B) {
	benchmark(b, write(b, map[string]string{"map.js": "export default () => ({});"}), "", &record.Record{})
}

func benchmark(b *testing.B, path, root string, r *record.Record) {
	s, err := script.Compile(path, script.Options{Root: root})
	if err != nil {
		b.Fatal(err)
	}
	c := script.Context{Pipeline: "appointments", Source: "rest.clinic", Deliver: "scheduling", Now: time.Now(), Attempt: 1}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Map(b.Context(), r, c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := script.Compile("testdata/scheduling.ts", script.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
