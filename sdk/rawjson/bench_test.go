// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rawjson_test

import (
	"testing"

	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// appointment is a record as EHRs have them.
var appointment = []byte(`{"id":"a-123","patientID":"p-1","lastUpdated":"2026-01-02T03:04:05","status":"booked","start":"2026-02-01T10:00:00","end":"2026-02-01T10:30:00",` +
	`"visit":{"number":"V-774-12","type":{"code":"FUP","display":"Follow-up visit"},"location":{"facility":"Main Street Clinic","room":"12 b","bed":null}},` +
	`"provider":{"id":"d1","name":{"first":"Ada","last":"Bērziņš"},"phones":["+1 555 010 20 30","+1 555 010 20 31"],"npi":1234567893,"active":true},` +
	`"reasons":[{"code":"J45.909","system":"ICD-10","text":"Unspecified asthma, uncomplicated"},{"code":"Z00.00","system":"ICD-10","text":"General check-up"}],` +
	`"notes":"some text that is as long as such a text tends to be, or so, with a \"quote\" in it\nand a second line","copay":25.50,"duration":30}`)

func bench(b *testing.B, f func()) {
	b.SetBytes(int64(len(appointment)))
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
}

func BenchmarkValid(b *testing.B) { bench(b, func() { rawjson.Valid(appointment) }) }

func BenchmarkGet(b *testing.B) {
	bench(b, func() { rawjson.Get(appointment, "provider", "name", "last") })
}

func BenchmarkGetAll(b *testing.B) {
	paths, found := [][]string{{"id"}, {"lastUpdated"}, {"visit", "number"}}, make([][]byte, 3)
	bench(b, func() { rawjson.GetAll(appointment, paths, found) })
}

func BenchmarkHash(b *testing.B) { bench(b, func() { rawjson.Hash(appointment) }) }
