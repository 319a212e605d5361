// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
)

func TestDocumentsAreFetchedInBatchesAndInOrder(t *testing.T) {
	s := newServer(t)
	s.create("patients")
	refs := make([]sdk.Ref, 0, 256)
	for i := range 250 {
		id := fmt.Sprint("p/", i)
		s.put("patients", id, map[string]any{"n": i})
		refs = append(refs, sdk.Ref{Kind: "patient", ID: id})
	}
	s.put("patients", "p/7", nil)
	refs = append(refs, sdk.Ref{Kind: "patient", ID: "nobody"}, sdk.Ref{Kind: "patient", ID: "p/3"}, sdk.Ref{Kind: "ward", ID: "p/3"},
		sdk.Ref{Kind: "patient"}, sdk.Ref{Kind: "patient", ID: "p/3", Args: "x"})
	results, err := s.open().Fetch(t.Context(), refs)
	if err != nil || len(results) != len(refs) {
		t.Fatal(len(results), err)
	}
	for i, r := range results {
		if r.Ref != refs[i] {
			t.Errorf("result %d is of %v", i, r.Ref)
		}
		want := map[int]sdk.Code{7: sdk.CodeGone, 250: sdk.CodeNotFound, 252: sdk.CodePermanent, 253: sdk.CodePermanent, 254: sdk.CodePermanent}[i]
		if sdk.CodeOf(r.Err) != want {
			t.Errorf("%d: %v", i, r.Err)
		}
		if want == "" && (!strings.Contains(string(r.Data), fmt.Sprintf(`"_id":"%s"`, r.Ref.ID)) || r.Version == "") {
			t.Errorf("%d: %s %s", i, r.Version, r.Data)
		}
	}
	if asked := s.calls(); len(asked) != 3 {
		t.Errorf("%d calls: %q", len(asked), asked)
	}
}

// An answer that is cut off or refused is the failure of those that it would have held, not of others.
func TestAFailedBatchBlamesItsOwn(t *testing.T) {
	s := newServer(t)
	s.create("patients")
	var refs []sdk.Ref
	for i := range 4 {
		s.put("patients", fmt.Sprint("p", i), map[string]any{})
		refs = append(refs, sdk.Ref{Kind: "patient", ID: fmt.Sprint("p", i)})
	}
	source := s.open()
	for _, tt := range []struct {
		status int
		body   string
		want   sdk.Code
		calls  int
	}{
		{200, `{"rows": [{"key": "p0", "value": {"rev": "1-x"}, "doc": {}}, {"key": 5}, {"key": "other", "error": "not_found"}, {}]}`, sdk.CodeRetryable, 1},
		{200, `{"rows": [{"key": "p0", "value": {"rev": "1-x"}, "doc": {}}, {"key": "p1", "value": {"rev": "1-x"}, "doc": null}]}`, sdk.CodeRetryable, 1},
		{401, ``, sdk.CodeUnauthorized, 1},
		{403, ``, sdk.CodeForbidden, 1},
		{404, ``, sdk.CodeRetryable, 1}, // the database is missing: no document is known not to exist
		{400, ``, sdk.CodePermanent, 1},
		{413, ``, sdk.CodePermanent, 7}, // halved until it is one document's own
	} {
		s.calls()
		s.fail = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(tt.status)
			w.Write([]byte(tt.body))
			return true
		}
		results, err := source.Fetch(t.Context(), refs)
		if err != nil || sdk.CodeOf(results[1].Err) != tt.want || tt.status == 200 && results[0].Err != nil {
			t.Errorf("%d %s: %+v %v", tt.status, tt.body, results, err)
		}
		if asked := s.calls(); len(asked) != tt.calls {
			t.Errorf("%d: %d calls", tt.status, len(asked))
		}
	}
	s.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if r.ContentLength > int64(len(`{"keys":["p0"]}`)) {
			w.WriteHeader(413)
			return true
		}
		return false
	}
	if results, err := source.Fetch(t.Context(), refs); err != nil || results[0].Err != nil || results[3].Err != nil {
		t.Errorf("%+v %v", results, err)
	}
}
