// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
)

func TestEachResourceIsFetchedByItsPath(t *testing.T) {
	s := newServer(t)
	one := id("x")
	s.override = func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"path": %q}`, r.RequestURI) }
	want := map[string]string{
		"patient": "/patients/" + one, "study": "/studies/" + one, "study_statistics": "/studies/" + one + "/statistics",
		"series": "/series/" + one, "instance": "/instances/" + one, "instance_tags": "/instances/" + one + "/simplified-tags",
	}
	source := s.open("")
	var refs []sdk.Ref
	for _, r := range source.Catalog().Resources {
		refs = append(refs, sdk.Ref{Kind: r.Name, ID: one})
	}
	results, err := source.Fetch(t.Context(), refs)
	if err != nil || len(results) != len(want) {
		t.Fatal(err, results)
	}
	for i, r := range results {
		if r.Err != nil || r.Ref != refs[i] || !bytes.Contains(r.Data, []byte(`"`+want[r.Ref.Kind]+`"`)) {
			t.Errorf("%+v %s", r, r.Data)
		}
	}
}

func TestWhatWasDeletedSinceIsNotFoundAndTheOthersAreThere(t *testing.T) {
	s := newServer(t)
	study, other := s.store("A", "1", 1), s.store("B", "1", 1)
	s.remove("/studies/" + study)
	results, err := s.open("").Fetch(t.Context(), []sdk.Ref{{Kind: "study", ID: study}, {Kind: "study", ID: other}})
	if err != nil {
		t.Fatal(err)
	}
	if err := results[0].Err; sdk.CodeOf(err) != sdk.CodeNotFound || err.Error() != "GET /studies/{id}: 404 Not Found" {
		t.Error(err)
	}
	if results[1].Err != nil || !bytes.Contains(results[1].Data, []byte(other)) {
		t.Errorf("%+v", results[1])
	}
}

// A proxy that has lost its way to Orthanc says 404 of everything: that is not Orthanc's word that a study was deleted.
func TestAPageOfAProxyDoesNotSayThatAStudyIsNotThere(t *testing.T) {
	s := newServer(t)
	study := s.store("A", "1", 1)
	source := s.open("")
	page, err := source.Poll(t.Context(), sdk.Query{Feed: "studies"})
	if err != nil {
		t.Fatal(err)
	}
	s.override = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/studies/") {
			http.Error(w, "\n<html><body>404 Not Found</body></html>", http.StatusNotFound)
			return
		}
		s.changes(w, r)
	}
	results, err := source.Fetch(t.Context(), []sdk.Ref{{Kind: "study", ID: study}})
	if err != nil || sdk.CodeOf(results[0].Err) != sdk.CodeRetryable || !strings.HasPrefix(results[0].Err.Error(), "GET /studies/{id}: 404 Not Found, ") {
		t.Errorf("%v %+v", err, results)
	}
	if page, err = source.Poll(t.Context(), sdk.Query{Feed: "studies", Watermark: page.Watermark}); err != nil || !strings.Contains(string(page.Watermark), `"waiting"`) {
		t.Errorf("what waits to be stable is forgotten: %v %s", err, page.Watermark)
	}
}

// Orthanc goes up from dots in a path, percent-encoded ones too: /studies/../system is /system to it.
func TestWhatIsNoIdentifierOfOrthancIsNotAskedFor(t *testing.T) {
	s := newServer(t)
	s.store("A", "1", 1)
	for _, id := range []string{"", ".", "..", "../system", "c4n4ry", "1.2.840.1", "a?b", "a/b", "%2e%2e", strings.Repeat("a", 65)} {
		results, err := s.open("").Fetch(t.Context(), []sdk.Ref{{Kind: "study", ID: id}})
		if err != nil || sdk.CodeOf(results[0].Err) != sdk.CodeNotFound || strings.Contains(results[0].Err.Error(), "c4n4ry") {
			t.Errorf("%q: %v %+v", id, err, results)
		}
	}
	if calls := s.calls(); len(calls) != 0 {
		t.Errorf("asked %q", calls)
	}
}

func TestOtherResourcesAreRefused(t *testing.T) {
	s := newServer(t)
	results, err := s.open("").Fetch(t.Context(), []sdk.Ref{{Kind: "worklist", ID: id("x")}})
	if err != nil || sdk.CodeOf(results[0].Err) != sdk.CodePermanent || !strings.Contains(results[0].Err.Error(), `there is no resource "worklist"`) {
		t.Errorf("%v %+v", err, results)
	}
}
