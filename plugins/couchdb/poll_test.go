// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

func both(t *testing.T, test func(t *testing.T, s *server)) {
	for _, numbers := range []bool{false, true} {
		name := "text"
		if numbers {
			name = "numbers"
		}
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.numbers = numbers
			s.create("visits")
			test(t, s)
		})
	}
}

func TestEachDocumentComesAsItIsNow(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		source := s.open()
		told, next := window(t, source, sdk.Query{})
		if told != nil {
			t.Errorf("an empty database told %q", told)
		}
		for i := range 7 {
			s.put("visits", fmt.Sprint("v", i), map[string]any{"n": i})
		}
		s.put("visits", "v1", map[string]any{"n": "changed"})
		s.put("visits", "_design/views", map[string]any{"views": 1})
		s.put("visits", "v2", nil)
		s.put("visits", "v3", map[string]any{"_deleted": true, "by": "ward"})
		s.put("visits", "v/é \"5\"", map[string]any{"n": 1, "_attachments": map[string]any{"scan": map[string]any{"stub": true}}})
		told, next = window(t, source, next)
		want := []string{
			`v0  1-8 {"_id":"v0","_rev":"1-8","n":0}`, `v4  1-8 {"_id":"v4","_rev":"1-8","n":4}`, `v5  1-8 {"_id":"v5","_rev":"1-8","n":5}`,
			`v6  1-8 {"_id":"v6","_rev":"1-8","n":6}`, `v1  2-e {"_id":"v1","_rev":"2-e","n":"changed"}`, `v2 deleted 2-5 `,
			`v3 deleted 2-1a {"_deleted":true,"_id":"v3","_rev":"2-1a","by":"ward"}`,
			`v/é "5"  1-2e {"_attachments":{"scan":{"stub":true}},"_id":"v/é \"5\"","_rev":"1-2e","n":1}`,
		}
		if !slices.Equal(told, want) {
			t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
		}
		s.put("visits", "v2", map[string]any{"n": "again"})
		told, next = window(t, source, next)
		if len(told) != 1 || !strings.HasPrefix(told[0], `v2  3-`) {
			t.Errorf("told %q of what was made again", told)
		}
		s.calls()
		if told, _ = window(t, source, next); told != nil {
			t.Errorf("told %q, though nothing changed", told)
		}
		if asked := s.calls(); len(asked) != 2 || asked[0] != "GET /visits" {
			t.Errorf("asked %q", asked)
		}
	})
}

func TestTheSameQueryGivesTheSamePage(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		for i := range 8 {
			s.put("visits", fmt.Sprint("v", i), map[string]any{"n": i})
		}
		source := s.open()
		q := sdk.Query{Feed: "visits"}
		for q.Watermark == nil {
			a, err := source.Poll(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			b, err := s.open().Poll(t.Context(), q)
			a.Now, b.Now = time.Time{}, time.Time{}
			if fmt.Sprint(a) != fmt.Sprint(b) || err != nil {
				t.Errorf("%v\n%v\n%v", a, b, err)
			}
			q.Cursor, q.Watermark = a.Cursor, a.Watermark
		}
	})
}

func TestAFullLastPageEndsTheWindow(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		for i := range 3 {
			s.put("visits", fmt.Sprint("v", i), map[string]any{"n": i})
		}
		if told, _ := window(t, s.open(), sdk.Query{}); len(told) != 3 {
			t.Errorf("told %q", told)
		}
	})
}

// A page of large documents does not hold the feed up.
func TestAnAnswerThatIsTooLargeIsAskedForInSmallerOnes(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		for i := range 5 {
			s.put("visits", fmt.Sprint("v", i), map[string]any{"n": i})
		}
		s.fail = func(w http.ResponseWriter, r *http.Request) bool {
			if limit := r.URL.Query().Get("limit"); limit == "" || limit == "1" {
				return false
			}
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return true
		}
		if told, _ := window(t, s.open(), sdk.Query{}); len(told) != 5 {
			t.Errorf("told %q", told)
		}
		s.fail = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "_changes") {
				return false
			}
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return true
		}
		if _, err := s.open().Poll(t.Context(), sdk.Query{Feed: "visits"}); sdk.CodeOf(err) != sdk.CodePermanent {
			t.Error(err)
		}
	})
}

func TestADatabasesNameIsOneSegment(t *testing.T) {
	s := newServer(t)
	s.create("ward/1+")
	s.put("ward/1+", "v", map[string]any{})
	page, err := s.open().Poll(t.Context(), sdk.Query{Feed: "wards"})
	if err != nil || len(page.Changes) != 1 {
		t.Errorf("%+v %v", page, err)
	}
	if asked := s.calls(); !strings.HasPrefix(asked[1], "GET /ward%2F1+/_changes?") || !strings.Contains(asked[1], "limit=200") {
		t.Errorf("asked %q", asked)
	}
}

// A start of "now" reads nothing of what was there: documents have no times by which the engine could leave it out.
func TestAStartOfNowReadsNothingOld(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		s.put("visits", "old", map[string]any{})
		source := s.open()
		now := sdk.Query{Start: sdk.Start{At: time.Now()}, Overlap: time.Hour}
		told, next := window(t, source, now)
		if told != nil {
			t.Errorf("told %q", told)
		}
		s.put("visits", "new", map[string]any{})
		if told, _ = window(t, source, next); len(told) != 1 {
			t.Errorf("told %q", told)
		}
		now.Feed = "visits"
		for _, late := range []time.Duration{time.Minute, time.Hour, -time.Hour} {
			now.Start.At = time.Now().Add(-late)
			page, err := source.Poll(t.Context(), now)
			if late == time.Minute {
				if err != nil || len(page.Notes) != 1 || page.Notes[0].Code != "start-late" || !strings.Contains(page.Notes[0].Text, "1m0s") {
					t.Errorf("%+v %v", page, err)
				}
			} else if sdk.CodeOf(err) != sdk.CodeWatermarkExpired {
				t.Errorf("a start %s ago: %v", late, err)
			}
		}
	})
}

func TestADatabaseThatWasMadeAnewIsAGap(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after string // instance_start_time
		numbers       bool
		then          func(s *server)
		want          sdk.Code
	}{
		"created at another time":        {"1700000000", "1700000001", false, nil, sdk.CodeWatermarkExpired},
		"a number that is behind":        {"", "", true, nil, sdk.CodeWatermarkExpired},
		"text instead of numbers":        {"", "", true, func(s *server) { s.numbers = false }, sdk.CodeWatermarkExpired},
		"numbers instead of text":        {"", "", false, func(s *server) { s.numbers = true }, sdk.CodeWatermarkExpired},
		"an upgrade to CouchDB 3.3":      {"0", "1700000000", false, func(s *server) { s.databases["visits"].seq = 9 }, ""},
		"a node that is not upgraded":    {"1700000000", "0", false, func(s *server) { s.databases["visits"].seq = 9 }, ""},
		"PouchDB, whose process started": {"1700000000", "1700000001", true, func(s *server) { s.databases["visits"].seq = 9 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.numbers, s.created = tt.numbers, tt.before
			s.create("visits")
			for i := range 4 {
				s.put("visits", fmt.Sprint("v", i), map[string]any{})
			}
			source := s.open()
			_, next := window(t, source, sdk.Query{})
			s.created = tt.after
			s.create("visits")
			s.put("visits", "v", map[string]any{})
			if tt.then != nil {
				tt.then(s)
			}
			next.Feed = "visits"
			page, err := source.Poll(t.Context(), next)
			if sdk.CodeOf(err) != tt.want {
				t.Errorf("%+v %v", page, err)
			}
		})
	}
}

// What a later version knows is kept: an upgrade tells the creation, and the next recreation is seen.
func TestTheCreationIsLearntLater(t *testing.T) {
	s := newServer(t)
	s.created = "0"
	s.create("visits")
	source := s.open()
	_, next := window(t, source, sdk.Query{})
	s.databases["visits"].created = "1700000000"
	_, next = window(t, source, next)
	s.databases["visits"].created = "0" // another node answers
	_, next = window(t, source, next)
	s.databases["visits"].created = "1800000000"
	next.Feed = "visits"
	if _, err := source.Poll(t.Context(), next); sdk.CodeOf(err) != sdk.CodeWatermarkExpired {
		t.Error(err)
	}
}

func TestWhatAnotherWroteIsNotTakenForTheBeginning(t *testing.T) {
	s := newServer(t)
	s.create("visits")
	source := s.open()
	for text, q := range map[string]sdk.Query{
		"":         {Watermark: []byte(`{"t": "2026-05-10T10:00:00Z"}`)},
		"null":     {Watermark: []byte(`null`)},
		"number":   {Watermark: []byte(`41`)},
		"no seq":   {Watermark: []byte(`{}`)},
		"refused":  {Watermark: []byte(`{"seq": "what"}`)},
		"cursor":   {Cursor: []byte(`{"next": 4}`)},
		"cursor 2": {Cursor: []byte(`{"seq": "what"}`)},
	} {
		want := sdk.CodeWatermarkExpired
		if q.Cursor != nil {
			want = sdk.CodeCursorExpired
		}
		q.Feed = "visits"
		if _, err := source.Poll(t.Context(), q); sdk.CodeOf(err) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestFailuresMeanWhatTheyMean(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		code   sdk.Code
		text   string
	}{
		{401, `{"reason": "c4n4ry"}`, sdk.CodeUnauthorized, "GET /visits: 401 Unauthorized"},
		{403, `{"reason": "c4n4ry"}`, sdk.CodeForbidden, "GET /visits: 403 Forbidden"},
		{429, `c4n4ry`, sdk.CodeRateLimited, "GET /visits: 429 Too Many Requests"},
		{404, `{"error": "not_found"}`, sdk.CodeNotFound, "GET /visits: 404 Not Found"},
		{200, `<html>c4n4ry</html>`, sdk.CodeRetryable, "GET /visits: answered text/html where JSON was expected"},
		{200, `{"welcome": "c4n4ry"}`, sdk.CodeRetryable, "GET /visits: the answer does not describe a database; is base_url that of a CouchDB?"},
	} {
		s := newServer(t)
		s.create("visits")
		s.fail = func(w http.ResponseWriter, _ *http.Request) bool {
			if tt.body[0] == '<' {
				w.Header().Set("Content-Type", "text/html")
			}
			if tt.status == 429 {
				w.Header().Set("Retry-After", "60")
			}
			w.WriteHeader(tt.status)
			w.Write([]byte(tt.body))
			return true
		}
		_, err := s.open().Poll(t.Context(), sdk.Query{Feed: "visits"})
		var e *sdk.Error
		if !errors.As(err, &e) || e.Code != tt.code || e.Text != tt.text || tt.status == 429 && e.After != time.Minute {
			t.Errorf("%d %s: %s %v", tt.status, tt.body, sdk.CodeOf(err), err)
		}
	}
	s := newServer(t)
	if _, err := s.open().Poll(t.Context(), sdk.Query{Feed: "others"}); sdk.CodeOf(err) != sdk.CodePermanent {
		t.Error(err)
	}
}

func TestAnswersOfAnotherFormAreNoEmptyLists(t *testing.T) {
	for _, body := range []string{`{}`, `[]`, `{"results": {}, "last_seq": 5}`, `{"results": []}`, `{"results": [], "last_seq": null}`,
		`{"results": [{"id": "a"}, {"id": "b"}, {"id": "c"}], "last_seq": 0}`, `{"error": "c4n4ry", "reason": "c4n4ry"}`} {
		s := newServer(t)
		s.numbers = true
		s.create("visits")
		s.fail = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "_changes") {
				return false
			}
			w.Write([]byte(body))
			return true
		}
		page, err := s.open().Poll(t.Context(), sdk.Query{Feed: "visits"})
		if sdk.CodeOf(err) != sdk.CodeRetryable || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %+v %v", body, page, err)
		}
	}
}
