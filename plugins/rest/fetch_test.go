// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
)

func refs(kind string, ids ...string) []sdk.Ref {
	var refs []sdk.Ref
	for _, id := range ids {
		refs = append(refs, sdk.Ref{Kind: kind, ID: id})
	}
	return refs
}

func TestEachRefGetsItsOwnResultInOrderAndDistinctOnesAreFetchedOnce(t *testing.T) {
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		switch id := strings.TrimPrefix(r.URL.Path, "/patient/"); id {
		case "404", "410", "401", "403", "422", "501":
			var status int
			fmt.Sscan(id, &status)
			w.WriteHeader(status)
			fmt.Fprint(w, `{"name": "c4n4ry"}`)
		case "html":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<p>c4n4ry")
		default:
			fmt.Fprintf(w, `{"id": %q}`, id)
		}
	})
	s := api.feed("")
	asked := refs("patient", "a", "404", "b", "a", "410", "401", "403", "422", "501", "html", "b", "a")
	asked = append(asked, sdk.Ref{Kind: "doctor", ID: "c4n4ry"}, sdk.Ref{Kind: "patient", ID: "a", Args: "c4n4ry"})
	asked = append(asked, refs("patient", "", ".", "..")...)
	results, err := s.Fetch(t.Context(), asked)
	if err != nil || len(results) != len(asked) {
		t.Fatalf("%v, %d results", err, len(results))
	}
	unfit := "GET /patient/{id}: the identifier is empty or not fit for a path"
	for i, want := range []struct {
		code sdk.Code
		text string
	}{
		{}, {sdk.CodeNotFound, "GET /patient/{id}: 404 Not Found"}, {}, {},
		{sdk.CodeGone, "GET /patient/{id}: 410 Gone"},
		{sdk.CodeUnauthorized, "GET /patient/{id}: 401 Unauthorized"},
		{sdk.CodeForbidden, "GET /patient/{id}: 403 Forbidden"},
		{sdk.CodePermanent, "GET /patient/{id}: 422 Unprocessable Entity"},
		{sdk.CodeRetryable, "GET /patient/{id}: 501 Not Implemented"},
		{sdk.CodeRetryable, "GET /patient/{id}: answered text/html where JSON was expected"}, {}, {},
		{sdk.CodePermanent, `resource "doctor" is not configured`},
		{sdk.CodePermanent, "GET /patient/{id}: takes an identifier and no further arguments"},
		{sdk.CodePermanent, unfit}, {sdk.CodePermanent, unfit}, {sdk.CodePermanent, unfit},
	} {
		r := results[i]
		if r.Ref != asked[i] {
			t.Errorf("result %d is of %v", i, r.Ref)
		}
		if want.code == "" {
			if data := fmt.Sprintf(`{"id": %q}`, asked[i].ID); r.Err != nil || string(r.Data) != data {
				t.Errorf("result %d: %v, %s", i, r.Err, r.Data)
			}
			continue
		}
		wantError(t, r.Err, want.code, want.text)
		if r.Data != nil {
			t.Errorf("result %d has data beside its error", i)
		}
	}
	if len(api.asked) != 9 {
		t.Errorf("%d calls for 9 distinct refs that can be fetched: %v", len(api.asked), api.asked)
	}
}

// TestAnAnswerWithAnotherIdentifierIsNotTaken where the configuration says where the identifier stands: what a cache that mixes up
// its answers gives would else be sent on as that of another patient.
// A proxy whose server is started anew answers 404 for all records: none of them is missing, and no change is to be dropped for it.
func TestA404OfAProxyIsNotThatOfARecord(t *testing.T) {
	for _, batch := range []string{"", `, "batch": {"id": "id", "size": 2}`} {
		api := newAPI(t)
		known, away := "1 2", false
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			var items []string
			for id := range strings.SplitSeq(path.Base(r.URL.Path), ",") {
				if strings.Contains(known, id) {
					items = append(items, `{"id": "`+id+`"}`)
				}
			}
			if away || len(items) == 0 {
				http.Error(w, "404 page not found", 404)
				return
			}
			if text := strings.Join(items, ","); batch == "" {
				fmt.Fprint(w, text)
			} else {
				fmt.Fprintf(w, "[%s]", text)
			}
		})
		place := map[bool]string{true: "{id}", false: "{ids}"}[batch == ""]
		s := api.open(`{"base_url": "` + api.URL + `", "resource": [{"name": "patient", "path": "/patient/` + place + `"` + batch + `}]}`)
		fetch := func(what string, want sdk.Code, ids ...string) {
			t.Helper()
			var refs []sdk.Ref
			for _, id := range ids {
				refs = append(refs, sdk.Ref{Kind: "patient", ID: id})
			}
			results, err := s.Fetch(t.Context(), refs)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range results {
				want := want
				if !away && strings.Contains(known, ids[i]) {
					want = ""
				}
				if code := sdk.CodeOf(r.Err); code != want {
					t.Errorf("%s: %s is %v, want %q", what, ids[i], r.Err, want)
				}
			}
		}
		fetch("nothing was there before", sdk.CodeNotFound, "8", "9")
		fetch("some are there", sdk.CodeNotFound, "1", "9")
		fetch("the server says that it is missing", sdk.CodeNotFound, "9")
		away = true
		fetch("while the server is away", sdk.CodeRetryable, "2", "9")
		away = false
		fetch("and is there again", sdk.CodeNotFound, "2", "9")
		known = "1" // the one that was there last is deleted
		fetch("what was there is not any more", sdk.CodeRetryable, "9")
		fetch("and does not tell anything for ever", sdk.CodeNotFound, "9")
	}
}

func TestAnAnswerWithAnotherIdentifierIsNotTaken(t *testing.T) {
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		body, _ := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/p/"))
		fmt.Fprint(w, map[string]string{"a": `{"data": {"mrn": "a"}}`, "17": `{"data": {"mrn": 17}}`, "b": `{"data": {"mrn": "c4n4ry"}}`,
			"c": `{"mrn": "c"}`, "d": `{"data": {"mrn": {"c4n4ry": 1}}}`, "017": `{"data": {"mrn": 17}}`}[body])
	})
	s := api.open(`{"base_url": "` + api.URL + `", "resource": [{"name": "p", "path": "/p/{id}", "id": "data.mrn"}]}`)
	results, err := s.Fetch(t.Context(), refs("p", "a", "17", "b", "c", "d", "017"))
	if err != nil {
		t.Fatal(err)
	}
	const another = `GET /p/{id}: answered with another record than was asked for, by the identifier at "data.mrn"`
	for i, want := range []string{"", "", another, `GET /p/{id}: no identifier at "data.mrn": found nothing there`,
		`GET /p/{id}: no identifier at "data.mrn": found an object`, another} {
		if want != "" {
			wantError(t, results[i].Err, sdk.CodeRetryable, want)
		} else if results[i].Err != nil {
			t.Error(results[i].Err)
		}
		if (want == "") != (results[i].Data != nil) {
			t.Errorf("result %d: %s", i, results[i].Data)
		}
	}
}

// TestAFetchHoldsABoundedAmount: hundreds of records are asked for by one Fetch, and each may be large.
func TestAFetchHoldsABoundedAmount(t *testing.T) {
	rest.FetchAtMost(t, 3<<20)
	api := newAPI(t)
	api.answer(`{"scan": "` + strings.Repeat("c4n4ry", (1<<20-100)/6) + `"}`)
	s := api.open(`{"base_url": "` + api.URL + `", "limits": {"concurrency": 2}, "resource": [{"name": "p", "path": "/p/{id}"}]}`)
	ids := strings.Split("abcdefghijklmnopqrst", "")
	_, err := s.Fetch(t.Context(), refs("p", ids...))
	wantError(t, err, sdk.CodePermanent, "the answers for 20 records are larger than 3 MiB together; ask for less at a time")
	if n := len(api.asked); n > 6 {
		t.Errorf("%d records of 1 MiB were asked for", n)
	}
	for _, some := range [][]string{ids[:3], ids[:1]} {
		results, err := s.Fetch(t.Context(), refs("p", some...))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil {
				t.Error(r.Err)
			}
		}
	}
	rest.FetchAtMost(t, 1)
	if results, err := s.Fetch(t.Context(), refs("p", "a")); err != nil || results[0].Err != nil {
		t.Errorf("one alone: %v, %v", err, results[0].Err)
	}
}

func TestIdentifiersAreEncoded(t *testing.T) {
	for _, tt := range []struct{ kind, id, want string }{
		{"patient", "a/b?c#d%20e f+g", "/patient/a%2Fb%3Fc%23d%2520e%20f+g"},
		{"patient", "../../admin", "/patient/..%2F..%2Fadmin"},
		{"patient", "ä\n", "/patient/%C3%A4%0A"},
		{"patient", "{id}", "/patient/%7Bid%7D"},
		{"by query", "a&b=c+d e", "/p?q=id%3Aa%26b%3Dc%2Bd%20e"},
	} {
		api := newAPI(t)
		api.answer(`{}`)
		r, err := api.feed("").Fetch(t.Context(), refs(tt.kind, tt.id))
		if err != nil || r[0].Err != nil {
			t.Errorf("%q: %v, %v", tt.id, err, r[0].Err)
		}
		if got := api.last(); got != tt.want {
			t.Errorf("%q: asked %s, want %s", tt.id, got, tt.want)
		}
	}
}

func TestFetchesRunSideBySideWithinTheLimit(t *testing.T) {
	var now, most atomic.Int32
	full := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 3 {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		select { // the first calls wait until as many are under way as may be
		case <-full:
		case <-time.After(10 * time.Second):
			t.Error("the limit was never reached")
		}
		fmt.Fprint(w, "{}")
	}))
	defer s.Close()
	source := newAPI(t).open(`{"base_url": "` + s.URL + `", "limits": {"concurrency": 3}, "resource": [{"name": "p", "path": "/{id}"}]}`)
	results, err := source.Fetch(t.Context(), refs("p", strings.Split("abcdefghijklmnopqrst", "")...))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d calls at once, want 3", most.Load())
	}
}
