// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
)

// patients is a server that answers batches. It knows all patients but those in unknown.
type patients struct {
	unknown []string
	limit   int                                                 // of items to an answer; 0: none
	special func(w http.ResponseWriter, ids []string) (ok bool) // answers in its place
}

func (p patients) open(t *testing.T, batch string) (*api, sdk.Source) {
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		ids := strings.Split(r.URL.Query().Get("ids"), ",")
		if p.special != nil && p.special(w, ids) {
			return
		}
		var items []string
		for _, id := range ids {
			if !slices.Contains(p.unknown, id) && (p.limit == 0 || len(items) < p.limit) {
				items = append(items, fmt.Sprintf(`{"key": {"id": %q}}`, id))
			}
		}
		slices.Reverse(items) // a server owes no order
		fmt.Fprintf(w, `{"data": [%s]}`, strings.Join(items, ","))
	})
	return api, api.open(`{"base_url": "` + api.URL + `", "resource": [{"name": "patient", "path": "/patients", "query": {"ids": "{ids}", "n": "x"},
		"batch": {"items": "data", "id": "key.id"` + batch + `}}, {"name": "doctor", "path": "/doctors", "query": {"ids": "{ids}"},
		"batch": {"items": "data", "id": "key.id"}}]}`)
}

const notFound = "GET /patients: the identifier is not among the items of the answer"

func TestABatchIsMatchedBackToItsRefs(t *testing.T) {
	api, s := patients{unknown: []string{"x"}}.open(t, `, "size": 3`)
	asked := append(refs("patient", "a", "b", "x", "a", "c", "12", "", "d,e", "é&=", "b"), sdk.Ref{Kind: "doctor", ID: "a"},
		sdk.Ref{Kind: "patient", ID: "a", Args: "c4n4ry"}, sdk.Ref{Kind: "nurse", ID: "a"})
	results, err := s.Fetch(t.Context(), asked)
	if err != nil || len(results) != len(asked) {
		t.Fatalf("%v, %d results", err, len(results))
	}
	want := map[int]string{2: notFound, 6: "GET /patients: the identifier is empty or not fit for a path",
		7:  "GET /patients: the identifier holds the batch's separator, so it would be taken for several",
		11: "GET /patients: takes an identifier and no further arguments", 12: `resource "nurse" is not configured`}
	for i, r := range results {
		code := sdk.CodePermanent
		if i == 2 {
			code = sdk.CodeNotFound
		}
		switch {
		case r.Ref != asked[i]:
			t.Errorf("result %d is of %v", i, r.Ref)
		case want[i] != "":
			wantError(t, r.Err, code, want[i])
		case r.Err != nil || string(r.Data) != fmt.Sprintf(`{"key": {"id": %q}}`, asked[i].ID):
			t.Errorf("result %d: %v, %s", i, r.Err, r.Data)
		}
	}
	slices.Sort(api.asked)
	// Two batches of patients, of which the first is asked again for what is missing, and one of doctors.
	if got, want := strings.Join(api.asked, "\n"), "/doctors?ids=a\n/patients?ids=a%2Cb%2Cx&n=x\n/patients?ids=c%2C12%2C%C3%A9%26%3D&n=x\n/patients?ids=x&n=x"; got != want {
		t.Errorf("asked\n%s\nwant\n%s", got, want)
	}
	for _, r := range s.Catalog().Resources {
		if want := map[string]int{"patient": 3, "doctor": 50}[r.Name]; r.Batch != want || !strings.HasPrefix(r.Why, "one GET /") {
			t.Errorf("%+v", r)
		}
	}
}

func TestWhatIsWrongWithOneOfABatchDoesNotTouchTheOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		server patients
		code   sdk.Code // of "bad"
		text   string
	}{
		"404 for all": {patients{special: refusing(404)}, sdk.CodeNotFound, "GET /patients: 404 Not Found"},
		"400 for all": {patients{special: refusing(400)}, sdk.CodePermanent, "GET /patients: 400 Bad Request"},
		"422 for all": {patients{special: refusing(422)}, sdk.CodePermanent, "GET /patients: 422 Unprocessable Entity"},
		"an item without identifier": {patients{special: func(w http.ResponseWriter, ids []string) bool {
			if !slices.Contains(ids, "bad") {
				return false
			}
			items := `{"error": "c4n4ry"}`
			for _, id := range ids {
				if id != "bad" {
					items += fmt.Sprintf(`, {"key": {"id": %q}}`, id)
				}
			}
			fmt.Fprintf(w, `{"data": [%s]}`, items)
			return true
		}}, sdk.CodeRetryable, `GET /patients: an item of the answer has no identifier at "key.id": found nothing there`},
		"null in its place": {patients{special: func(w http.ResponseWriter, ids []string) bool {
			if len(ids) > 1 || ids[0] != "bad" {
				return false
			}
			fmt.Fprint(w, `{"data": [null]}`)
			return true
		}, unknown: []string{"bad"}}, sdk.CodeNotFound, notFound},
		"answers that are cut": {patients{unknown: []string{"bad"}, limit: 2}, sdk.CodeNotFound, notFound},
		"addresses that are too long": {patients{unknown: []string{"bad"}, special: func(w http.ResponseWriter, ids []string) bool {
			if len(ids) > 2 {
				w.WriteHeader(http.StatusRequestURITooLong)
			}
			return len(ids) > 2
		}}, sdk.CodeNotFound, notFound},
	} {
		t.Run(name, func(t *testing.T) {
			_, s := tt.server.open(t, "")
			results, err := s.Fetch(t.Context(), refs("patient", "a", "b", "c", "bad", "d", "e", "f"))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if r.Ref.ID == "bad" {
					wantError(t, r.Err, tt.code, tt.text)
				} else if r.Err != nil || !strings.Contains(string(r.Data), `"`+r.Ref.ID+`"`) {
					t.Errorf("%s: %v, %s", r.Ref.ID, r.Err, r.Data)
				}
			}
		})
	}
}

// refusing answers a batch with "bad" in it by a status.
func refusing(status int) func(http.ResponseWriter, []string) bool {
	return func(w http.ResponseWriter, ids []string) bool {
		bad := slices.Contains(ids, "bad")
		if bad {
			w.WriteHeader(status)
		}
		return bad
	}
}

func TestABatchThatFailsAsAWholeNeverMeansNotFound(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		code   sdk.Code
		text   string
		calls  int
	}{
		{200, `{"data": [{"key": {"id": "c4n4ry"}}]}`, sdk.CodeRetryable,
			`GET /patients: none of the answer's 1 items was asked for; is "key.id" their identifier?`, 1},
		{200, `{"data": [{"id": "a"}]}`, sdk.CodeRetryable,
			`GET /patients: an item of the answer has no identifier at "key.id": found nothing there`, 1},
		{200, `{"data": null}`, sdk.CodeRetryable, `GET /patients: no array at "data": found null`, 1},
		{200, `[]`, sdk.CodeRetryable, `GET /patients: no array at "data": found nothing there`, 1},
		{401, ``, sdk.CodeUnauthorized, `GET /patients: 401 Unauthorized`, 1},
		{403, ``, sdk.CodeForbidden, `GET /patients: 403 Forbidden`, 1},
		{501, ``, sdk.CodeRetryable, `GET /patients: 501 Not Implemented`, 1},
	} {
		api, s := patients{special: func(w http.ResponseWriter, _ []string) bool {
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
			return true
		}}.open(t, "")
		results, err := s.Fetch(t.Context(), refs("patient", "a", "b", "c"))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			wantError(t, r.Err, tt.code, tt.text)
		}
		if len(api.asked) != tt.calls {
			t.Errorf("%s: %d calls, want %d", tt.text, len(api.asked), tt.calls)
		}
	}
}

func TestTheAddressOfABatchIsBounded(t *testing.T) {
	api, s := patients{}.open(t, `, "size": 1000`)
	var ids []string
	for n := range 300 {
		ids = append(ids, fmt.Sprintf("%04d-ä&", n)) // 15 bytes when encoded, and three for the separator
	}
	ids = append(ids, strings.Repeat("x", 3000)) // goes alone
	results, err := s.Fetch(t.Context(), refs("patient", ids...))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Errorf("%s: %v", r.Ref.ID, r.Err)
		}
	}
	for _, uri := range api.asked {
		if n := len(api.URL) + len(uri); n > 2048 && strings.Contains(uri, "%2C") {
			t.Errorf("an address of %d bytes", n)
		}
	}
	if len(api.asked) != 4 {
		t.Errorf("%d calls", len(api.asked))
	}
}

func TestEmbeddedResourcesComeWithThePage(t *testing.T) {
	api := newAPI(t)
	api.answer(`[
		{"id": 1, "updated": "2026-05-10T10:00:00", "visit": {"patient": {"id": 7, "v": 1}}, "doctors": [{"npi": "d1"}, null, {"npi": "d2"}]},
		{"id": 2, "updated": "2026-05-10T10:00:00", "visit": {"patient": {"id": "7", "v": 2}}, "doctors": []},
		{"id": 3, "updated": "2026-05-10T10:00:00", "visit": {"patient": null}},
		{"id": 4, "updated": "2026-05-10T10:00:00", "visit": {"patient": "c4n4ry"}},
		{"id": 5, "updated": "2026-05-10T10:00:00", "visit": {"patient": {"name": "c4n4ry"}}}]`)
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "path": "/{since}", "id": "id", "time": "updated",
		"since": {"format": "2006-01-02T15:04:05"}, "include": [{"name": "patient", "path": "visit.patient", "id": "id"},
		{"name": "doctor", "path": "doctors", "id": "npi"}]}],
		"resource": [{"name": "patient", "path": "/patient/{id}"}, {"name": "doctor", "path": "/doctor/{id}"}]}`)
	page := poll(t, s, sdk.Query{})
	var got []string
	for _, r := range page.Included {
		got = append(got, fmt.Sprintf("%s %s %s %v", r.Ref.Kind, r.Ref.ID, r.Data, r.Err))
	}
	if got, want := strings.Join(got, "\n"), `patient 7 {"id": "7", "v": 2} <nil>
doctor d1 {"npi": "d1"} <nil>
doctor d2 {"npi": "d2"} <nil>`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// A server that lists the newest first, with copies from the time of each item: what the newest embeds is not older than any of them.
	api.answer(`[
		{"id": 1, "updated": "2026-05-10T10:05:00", "visit": {"patient": {"id": 7, "v": 2}}},
		{"id": 2, "updated": "2026-05-10T10:00:00", "visit": {"patient": {"id": 7, "v": 1}}}]`)
	if in := poll(t, s, sdk.Query{}).Included; len(in) != 1 || string(in[0].Data) != `{"id": 7, "v": 2}` {
		t.Errorf("of two copies of a patient it took %v", in)
	}
	if len(page.Notes) != 1 || page.Notes[0].Code != "include-unfit" ||
		page.Notes[0].Text != `2 values at "visit.patient" are not objects with an identifier at "id"; what they stand for is fetched` {
		t.Errorf("%+v", page.Notes)
	}
}
