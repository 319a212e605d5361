// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
)

// record is an item of 1.5 KB.
func record(id int) string {
	return fmt.Sprintf(`{"id":"A-%06d","patientID":"P-%06d","updated":"2026-05-10T10:00:%02d","status":"booked","start":"2026-06-01T10:00:00",`+
		`"location":{"facility":"Main Street Clinic","room":"12 b","bed":null},"reasons":[{"code":"J45.909","text":"Unspecified asthma"}],`+
		`"note":"%s","duration":30}`, id, id%200, id%60, strings.Repeat("Follow-up after the visit. ", 45))
}

// BenchmarkPoll1000 reads a page of 1.5 MB from a server, whose allocations are counted, too.
func BenchmarkPoll1000(b *testing.B) {
	items := make([]string, 1000)
	for i := range items {
		items[i] = record(i)
	}
	body := []byte("[" + strings.Join(items, ",") + "]")
	api := newAPI(b)
	api.serve(func(w http.ResponseWriter, _ *http.Request) { api.asked = nil; w.Write(body) })
	s := api.feed("")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if page, err := s.Poll(b.Context(), sdk.Query{Feed: "appointments"}); err != nil || len(page.Changes) != 1000 {
			b.Fatal(err)
		}
	}
}

// BenchmarkFetch256 fetches by a call for each, of a server whose allocations are counted, too.
func BenchmarkFetch256(b *testing.B) {
	body := []byte(record(1))
	api := newAPI(b)
	api.serve(func(w http.ResponseWriter, _ *http.Request) { api.asked = nil; w.Write(body) })
	s := api.feed("")
	refs := make([]sdk.Ref, 256)
	for i := range refs {
		refs[i] = sdk.Ref{Kind: "patient", ID: fmt.Sprintf("P-%06d", i)}
	}
	b.SetBytes(int64(len(refs) * len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if results, err := s.Fetch(b.Context(), refs); err != nil || results[255].Err != nil {
			b.Fatal(err)
		}
	}
}
