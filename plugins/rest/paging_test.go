// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
)

// counted is a server whose list is paged by number or offset. It gives no more than most items to a page.
type counted struct {
	items, most int
	numbered    bool
	first       int    // number of the first page, or offset of the first item
	beyond      int    // status of a page behind the last; 0: an empty page
	envelope    string // further members of the answer; %d is the number of all, %t whether there are more
}

func (c counted) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size := c.most
	if n, err := strconv.Atoi(q.Get("size")); err == nil {
		size = min(n, c.most)
	}
	at, _ := strconv.Atoi(q.Get("at"))
	from := at - c.first
	if c.numbered {
		from *= size
	}
	to := min(from+size, c.items)
	if from >= c.items && from > 0 && c.beyond != 0 {
		w.WriteHeader(c.beyond)
		return
	}
	var items []string
	for id := from; id < to; id++ {
		items = append(items, item(id, "10:00:00"))
	}
	envelope := c.envelope
	envelope = strings.ReplaceAll(envelope, "%d", strconv.Itoa(c.items))
	envelope = strings.ReplaceAll(envelope, "%t", strconv.FormatBool(to < c.items))
	fmt.Fprintf(w, `{"items": [%s]%s}`, strings.Join(items, ","), envelope)
}

// readWindow reads a window and gives the identifiers in it and the number of calls.
func readWindow(t *testing.T, api *api, s sdk.Source) (map[string]bool, int) {
	t.Helper()
	before := len(api.asked)
	seen := map[string]bool{}
	var q sdk.Query
	for range 100 {
		page := poll(t, s, q)
		for _, c := range page.Changes {
			if c.Err != nil || seen[c.Ref.ID] {
				t.Errorf("%s came twice, or broken: %v", c.Ref.ID, c.Err)
			}
			seen[c.Ref.ID] = true
		}
		if q.Cursor = page.Cursor; q.Cursor == nil {
			if page.Watermark == nil {
				t.Error("the last page has no watermark")
			}
			return seen, len(api.asked) - before
		}
	}
	t.Fatal("the window does not end")
	return nil, 0
}

func TestCountedPagesAreReadToTheLast(t *testing.T) {
	const number, offset = `{"kind": "number", "param": "at"`, `{"kind": "offset", "param": "at"`
	for _, tt := range []struct {
		name   string
		server counted
		page   string
		calls  int
	}{
		{"number, a last page that is not full", counted{items: 21, most: 9, numbered: true, first: 1}, number + `, "size": 9}`, 3},
		{"number, a last page that is full", counted{items: 18, most: 9, numbered: true, first: 1}, number + `, "size": 9}`, 3},
		{"number, nothing", counted{most: 9, numbered: true, first: 1}, number + `, "size": 9}`, 1},
		{"number from 0", counted{items: 21, most: 9, numbered: true}, number + `, "size": 9, "first": "0"}`, 3},
		{"number, size unknown", counted{items: 21, most: 9, numbered: true, first: 1}, number + `}`, 4},
		{"number, size sent", counted{items: 21, most: 9, numbered: true, first: 1}, number + `, "size": 8, "size_param": "size"}`, 3},
		{"number, the server gives fewer than asked for", counted{items: 23, most: 10, numbered: true, first: 1},
			number + `, "size": 100, "size_param": "size"}`, 3},
		{"number, the server gives 64, 100 were asked for", counted{items: 70, most: 64, numbered: true, first: 1},
			number + `, "size": 100, "size_param": "size"}`, 2},
		{"offset, the server gives 24, 100 were asked for", counted{items: 50, most: 24}, offset + `, "size": 100, "size_param": "size"}`, 3},
		{"number, a last page that is round, after full ones", counted{items: 24, most: 20, numbered: true, first: 1}, number + `, "size": 20}`, 2},
		{"number, 404 behind the last", counted{items: 18, most: 9, numbered: true, first: 1, beyond: 404}, number + `, "size": 9}`, 4},
		{"number, total", counted{items: 18, most: 9, numbered: true, first: 1, envelope: `, "meta": {"n": %d}`}, number + `, "total": "meta.n"}`, 2},
		{"number, total as text", counted{items: 18, most: 9, numbered: true, first: 1, envelope: `, "n": "%d"`}, number + `, "total": "n"}`, 2},
		{"number, a total that is too large", counted{items: 18, most: 9, numbered: true, first: 1, envelope: `, "n": 99`}, number + `, "total": "n"}`, 3},
		{"number, more", counted{items: 18, most: 9, numbered: true, first: 1, envelope: `, "more": %t`}, number + `, "more": "more"}`, 2},
		{"offset", counted{items: 21, most: 9}, offset + `, "size": 9}`, 3},
		{"offset from 1", counted{items: 21, most: 9, first: 1}, offset + `, "size": 9, "first": "1"}`, 3},
		{"offset, the server gives fewer than asked for", counted{items: 203, most: 50}, offset + `, "size": 500, "size_param": "size"}`, 5},
		{"offset, total", counted{items: 18, most: 9, envelope: `, "n": %d`}, offset + `, "size": 500, "total": "n"}`, 2},
		{"offset, more", counted{items: 0, most: 9, envelope: `, "more": %t`}, offset + `, "more": "more"}`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newAPI(t)
			api.serve(tt.server.serve)
			s := api.feed(`, "items": "items", "page": ` + tt.page)
			if !s.Catalog().Feeds[0].Drifts {
				t.Error("the engine is not told that these pages shift")
			}
			seen, calls := readWindow(t, api, s)
			if len(seen) != tt.server.items || calls != tt.calls {
				t.Errorf("%d of %d items in %d calls, want %d: %v", len(seen), tt.server.items, calls, tt.calls, api.asked)
			}
		})
	}
}

func TestCountedPagesGoOnAfterARestart(t *testing.T) {
	api := newAPI(t)
	api.serve(counted{items: 21, most: 9}.serve)
	const page = `, "items": "items", "page": {"kind": "offset", "param": "at", "size": 9}`
	q := sdk.Query{}
	for _, want := range []string{"at=0", "at=9", "at=18"} {
		q.Cursor = poll(t, api.feed(page), q).Cursor
		if got := api.last(); !strings.HasPrefix(got, "/appointments?"+want+"&since=") {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
}

// A record that changes while pages are read goes to the end of the list, and those behind its place move to a page that was read
// before. Read again until nothing unseen comes, as the engine does for what drifts, the window shows them all.
func TestWhatMovesBetweenCountedPagesIsFoundByReadingAgain(t *testing.T) {
	for _, page := range []string{`"kind": "number", "first": "0"`, `"kind": "offset"`} {
		var list []int
		for id := range 40 {
			list = append(list, id)
		}
		moves := 12
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			from, _ := strconv.Atoi(r.URL.Query().Get("at"))
			if strings.Contains(page, "number") {
				from *= 8
			}
			var items []string
			for _, id := range list[min(from, len(list)):min(from+8, len(list))] {
				items = append(items, item(id, "10:00:00"))
			}
			fmt.Fprintf(w, `{"items": [%s]}`, strings.Join(items, ","))
			if moves > 0 { // the first, which was read already
				moves--
				list = append(list[1:], list[0])
			}
		})
		s := api.feed(`, "items": "items", "page": {` + page + `, "param": "at", "size": 8}`)
		seen := map[string]bool{}
		passes, skipped := 0, 0
		for clean := false; !clean; passes++ {
			if clean = true; passes == 10 {
				t.Fatal("reading again does not end")
			}
			var q sdk.Query
			for more := true; more; more = q.Cursor != nil {
				p := poll(t, s, q)
				for _, c := range p.Changes {
					clean = clean && seen[c.Ref.ID]
					seen[c.Ref.ID] = true
				}
				q.Cursor = p.Cursor
			}
			if passes == 0 {
				skipped = 40 - len(seen)
			}
		}
		if len(seen) != 40 || skipped == 0 {
			t.Errorf("%s: %d of 40 records after %d readings; the first missed %d", page, len(seen), passes, skipped)
		}
	}
}

func TestWhatIsWrongWithCountedPagesIsSaid(t *testing.T) {
	full := `{"items": [` + item(1, "10:00:00") + `], "x": "c4n4ry", "yes": true, "minus": -1}`
	for _, tt := range []struct {
		page, body string
		polls      int
		text       string
	}{
		{`"kind": "number", "param": "p", "size": 1`, full, 2, `GET /appointments (next page): the next page is the same page again, ` +
			`so paging would never end; is "p" the right parameter?`},
		{`"kind": "number", "param": "p", "total": "x"`, full, 1, `GET /appointments: no number of items at "x": found a string`},
		{`"kind": "number", "param": "p", "total": "y"`, full, 1, `GET /appointments: no number of items at "y": found nothing there`},
		{`"kind": "number", "param": "p", "total": "minus"`, full, 1, `GET /appointments: no number of items at "minus": found a number`},
		{`"kind": "offset", "param": "p", "more": "x"`, full, 1, `GET /appointments: neither true nor false at "x": found a string`},
		{`"kind": "offset", "param": "p", "more": "yes"`, `{"items": [], "yes": true}`, 1,
			`GET /appointments: a page without items says that there is more, so paging would never end`},
	} {
		api := newAPI(t)
		api.answer(tt.body)
		s := api.feed(`, "items": "items", "page": {` + tt.page + `}`)
		q := sdk.Query{Feed: "appointments"}
		for range tt.polls - 1 {
			q.Cursor = poll(t, s, q).Cursor
		}
		_, err := s.Poll(t.Context(), q)
		wantError(t, err, sdk.CodeRetryable, tt.text)
	}
	// Where the answers say which page is the last, there is none behind it that may be missing.
	api := newAPI(t)
	api.answer(full)
	s := api.feed(`, "items": "items", "page": {"kind": "number", "param": "p", "more": "yes"}`)
	q := sdk.Query{Feed: "appointments", Cursor: poll(t, s, sdk.Query{}).Cursor}
	api.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	_, err := s.Poll(t.Context(), q)
	wantError(t, err, sdk.CodeCursorExpired, "GET /appointments (next page): 404 Not Found")
}

// Invariant 1: a 404 behind a page is the end of the list only if the list is there, and not where a proxy answers whose server is started
// anew. The window would end with the newest change of the first page, and those on the second be passed.
func TestInvariant1A404OfAProxyIsNotTheLastPage(t *testing.T) {
	for _, tt := range []struct {
		name string
		away http.HandlerFunc // what answers while the server is away
		code sdk.Code
		text string
	}{
		{"nothing is there", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "404 page not found", 404) }, sdk.CodeRetryable,
			"GET /appointments (next page): 404 Not Found, and no longer the first page either: GET /appointments: 404 Not Found"},
		{"it is down", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(map[bool]int{true: 404, false: 403}[r.URL.Query().Get("at") == "2"])
		}, sdk.CodeForbidden, "GET /appointments: 403 Forbidden"},
		{"something else is there", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("at") == "2" {
				w.WriteHeader(404)
			}
			fmt.Fprint(w, `{"error": "c4n4ry"}`)
		}, sdk.CodeRetryable, `GET /appointments: no array at "items": found nothing there`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newAPI(t)
			server := counted{items: 18, most: 9, numbered: true, first: 1, beyond: 404}
			api.serve(server.serve)
			s := api.feed(`, "items": "items", "page": {"kind": "number", "param": "at", "size": 9, "stable": true}`)
			q := sdk.Query{Feed: "appointments", Cursor: poll(t, s, sdk.Query{}).Cursor}
			api.serve(tt.away)
			_, err := s.Poll(t.Context(), q)
			wantError(t, err, tt.code, tt.text)
			api.serve(server.serve)
			for n := 9; n >= 0; n -= 9 {
				page := poll(t, s, q)
				if len(page.Changes) != n || (page.Cursor == nil) != (n == 0) {
					t.Errorf("a page has %d changes, want %d", len(page.Changes), n)
				}
				q.Cursor = page.Cursor
			}
		})
	}
}

const withNextURL = `, "items": "items", "page": {"kind": "next_url", "next": "links.next"}`

func TestAWindowGoesOnByTheAddressInTheBody(t *testing.T) {
	for _, style := range []string{"absolute", "relative", "query"} {
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.URL.Query().Get("p"))
			next := fmt.Sprintf("?p=%d&q=a%%2Fb", n+1)
			switch style {
			case "absolute":
				next = api.URL + "/appointments" + next
			case "relative":
				next = "/appointments" + next
			}
			body := fmt.Sprintf(`{"items": [%s], "links": {"next": %q}}`, item(n, "10:00:00"), next)
			if n > 0 && r.RequestURI != fmt.Sprintf("/appointments?p=%d&q=a%%2Fb", n) {
				t.Errorf("asked %s", r.RequestURI)
			}
			if n == 3 {
				body = `{"items": [], "links": {"next": null}}`
			}
			io.WriteString(w, body)
		})
		if seen, calls := readWindow(t, api, api.feed(withNextURL)); len(seen) != 3 || calls != 4 {
			t.Errorf("%s: %v in %d calls", style, seen, calls)
		}
	}
	for _, last := range []string{`{"items": []}`, `{"items": [], "links": {"next": ""}}`, `{"items": [], "links": {"next": false}}`} {
		api := newAPI(t)
		api.answer(last)
		readWindow(t, api, api.feed(withNextURL))
	}
}

func TestAnAddressInTheBodyMustBeOneOfTheSameOrigin(t *testing.T) {
	called := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer other.Close()
	elsewhere := `GET /appointments: the address at "links.next" leads to another scheme, host or port, where the credentials ` +
		`would leak; if that is where the API lives, configure it as base_url`
	for _, tt := range []struct {
		next, text string
		code       sdk.Code
	}{
		{`"` + other.URL + `/c4n4ry"`, elsewhere, sdk.CodePermanent},
		{`"//elsewhere.invalid/c4n4ry"`, elsewhere, sdk.CodePermanent},
		{`"http://user:c4n4ry@elsewhere.invalid/"`, elsewhere, sdk.CodePermanent},
		{`"javascript:c4n4ry"`, elsewhere, sdk.CodePermanent},
		{`"/c4n4ry%zz"`, `GET /appointments: the address at "links.next" is not an address`, sdk.CodeRetryable},
		{`{"href": "c4n4ry"}`, `GET /appointments: no address at "links.next": found an object`, sdk.CodeRetryable},
		{`12`, `GET /appointments: no address at "links.next": found a number`, sdk.CodeRetryable},
	} {
		api := newAPI(t)
		api.answer(`{"items": [], "links": {"next": ` + tt.next + `}}`)
		_, err := api.feed(withNextURL).Poll(t.Context(), sdk.Query{Feed: "appointments"})
		wantError(t, err, tt.code, tt.text)
	}
	if called {
		t.Error("the other origin was called")
	}
}

func TestACursorThatCanNotBeGoneOnFromHasExpired(t *testing.T) {
	const byNumber = `, "items": "items", "page": {"kind": "number", "param": "p"}`
	for _, tt := range []struct{ feed, cursor string }{
		{byNumber, `{"kind": "number", "next": "c4n4ry", "pages": 1, "reading": {}}`},
		{byNumber, `{"kind": "number", "next": -1, "pages": 1, "reading": {}}`},
		{byNumber, `{"kind": "offset", "next": 1, "pages": 1, "reading": {}}`},
		{byNumber, `{"kind": "number", "next": 1, "pages": 0, "reading": {}}`},
		{byNumber, `{"kind": "number", "pages": 1, "reading": {}}`},
		{withNextURL, `{"kind": "next_url", "next": "https://c4n4ry.invalid", "pages": 1, "reading": {}}`},
		{withCursor, `{"kind": "cursor", "next": {"c4n4ry": 1}, "pages": 1, "reading": {}}`},
		{withCursor, `{"kind": "cursor", "next": null, "pages": 1, "reading": {}}`},
	} {
		_, err := newAPI(t).feed(tt.feed).Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: []byte(tt.cursor)})
		wantError(t, err, sdk.CodeCursorExpired, `the paging of feed "appointments" was changed in the middle of a window, which is read again`)
	}
}

// posted records the bodies of POSTs.
func posted(t *testing.T, api *api, answers ...string) *[]string {
	var bodies []string
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || !json.Valid(b) {
			t.Errorf("%s with %s: %s", r.Method, r.Header.Get("Content-Type"), b)
		}
		bodies = append(bodies, string(b))
		io.WriteString(w, answers[min(len(bodies), len(answers))-1])
	})
	return &bodies
}

// Invariant 1: a configuration that is changed while a window is read asks for another list, in which what was not read yet stands at other
// places: with a filter that leaves out half of it, all on pages that were read.
func TestInvariant1AWindowIsReadAgainWhenItsListIsAnother(t *testing.T) {
	api := newAPI(t)
	api.serve(counted{items: 21, most: 9, numbered: true, first: 1}.serve)
	const config = `{"base_url": "BASE", "feed": [{"name": "appointments", "path": "/appointments", "query": {"since": "{since}", "q": "x"}, "id": "id",
		"time": "updated", "since": {"format": "2006-01-02T15:04:05", "zone": "UTC"}, "items": "items", "headers": {"X-Tenant": "1"},
		"page": {"kind": "number", "param": "at", "size": 9, "size_param": "size"}}]}`
	open := func(config string) sdk.Source { return api.open(strings.ReplaceAll(config, "BASE", api.URL)) }
	first := poll(t, open(config), sdk.Query{})
	for _, tt := range []struct {
		old, now string
		goesOn   bool
	}{
		{`"q": "x"`, `"q": "y"`, false},
		{`"q": "x"`, `"q": "x", "status": "all"`, false},
		{`"/appointments"`, `"/visits"`, false},
		{`"BASE"`, `"BASE/v2"`, false},
		{`"UTC"`, `"America/New_York"`, false},
		{`"size": 9`, `"size": 8`, false},
		{`"param": "at"`, `"param": "at", "first": "0"`, false},
		{`"items": "items"`, `"items": "other"`, false},
		{`"query": {`, `"method": "POST", "body": {"status": "all"}, "query": {`, false},
		{`"X-Tenant": "1"`, `"X-Tenant": "2"`, false},
		{`"time": "updated"`, `"time": "updated", "version": "updated"`, true},
		{`"size": 9`, `"size": 9, "stable": true`, true},
		{`BASE"`, `BASE/"`, true},
	} {
		if !strings.Contains(config, tt.old) {
			t.Fatal(tt.old)
		}
		s := open(strings.Replace(config, tt.old, tt.now, 1))
		page, err := s.Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: first.Cursor})
		if tt.goesOn {
			if err != nil || len(page.Changes) != 9 || page.Changes[0].Ref.ID != "9" {
				t.Errorf("%s: %v", tt.now, err)
			}
			continue
		}
		wantError(t, err, sdk.CodeCursorExpired, `what feed "appointments" asks for was changed in the middle of a window, which is read again`)
	}
}

func TestAFeedCanBeAskedByPOST(t *testing.T) {
	for _, tt := range []struct {
		feed    string
		answers []string
		bodies  []string
	}{
		{`"body": {"filter": [{"from": "{since}", "n": 10000000000000000001, "x": null, "html": "<&>"}]}`, []string{`{"items": []}`},
			[]string{`{"filter":[{"from":"1970-01-01T00:00:00Z","html":"<&>","n":10000000000000000001,"x":null}]}`}},
		{`"body": {"q": "updated>={since}", "from": "{since}"}, "since": {"format": "unix_ms"}`, []string{`{"items": []}`},
			[]string{`{"from":0,"q":"updated>=0"}`}},
		{`"body": ["{since}"]`, []string{`{"items": []}`}, []string{`["1970-01-01T00:00:00Z"]`}},
		{`"query": {"s": "{since}"}`, []string{`{"items": []}`}, []string{`{}`}},
		{`"body": {"s": "{since}"}, "page": {"kind": "cursor", "next": "next", "param": "paging.after"}`,
			[]string{`{"items": [], "next": 7}`, `{"items": [], "next": "a\"b"}`, `{"items": []}`},
			[]string{`{"s":"1970-01-01T00:00:00Z"}`, `{"paging":{"after":7},"s":"1970-01-01T00:00:00Z"}`,
				`{"paging":{"after":"a\"b"},"s":"1970-01-01T00:00:00Z"}`}},
		{`"body": {"s": "{since}", "paging": {"sort": "t"}}, "page": {"kind": "offset", "param": "paging.from", "size": 2, "size_param": "paging.size"}`,
			[]string{`{"items": [{"id": 1, "t": "2026-05-10T10:00:00Z"}, {"id": 2, "t": "2026-05-10T10:00:00Z"}]}`, `{"items": []}`},
			[]string{`{"paging":{"from":0,"size":2,"sort":"t"},"s":"1970-01-01T00:00:00Z"}`,
				`{"paging":{"from":2,"size":2,"sort":"t"},"s":"1970-01-01T00:00:00Z"}`}},
		{`"body": {"s": "{since}"}, "page": {"kind": "next_url", "next": "next"}`,
			[]string{`{"items": [], "next": "?p=2"}`, `{"items": []}`},
			[]string{`{"s":"1970-01-01T00:00:00Z"}`, `{"s":"1970-01-01T00:00:00Z"}`}},
	} {
		api := newAPI(t)
		bodies := posted(t, api, tt.answers...)
		s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "path": "/search", "method": "POST", "items": "items",
			"id": "id", "time": "t", ` + tt.feed + `}]}`)
		if _, calls := readWindow(t, api, s); calls != len(tt.bodies) {
			t.Errorf("%s: %d calls", tt.feed, calls)
		}
		if got, want := strings.Join(*bodies, "\n"), strings.Join(tt.bodies, "\n"); got != want {
			t.Errorf("%s: posted\n%s\nwant\n%s", tt.feed, got, want)
		}
	}
}

func TestAPOSTThatReadsIsRepeatedAndItsErrorsNameIt(t *testing.T) {
	api := newAPI(t)
	calls := 0
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		io.WriteString(w, `{"c4n4ry": 1}`)
	})
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "path": "/search", "method": "POST", "items": "items",
		"id": "id", "time": "t", "body": {"from": "{since}"}}]}`)
	_, err := s.Poll(t.Context(), sdk.Query{Feed: "appointments"})
	wantError(t, err, sdk.CodeRetryable, `POST /search: no array at "items": found nothing there`)
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
	if why := s.Catalog().Feeds[0].Why; !strings.HasPrefix(why, "POST /search answers") {
		t.Error(why)
	}
}

func TestTimesAreReadAndWrittenAsNumbersToo(t *testing.T) {
	for _, tt := range []struct{ format, items, since string }{
		{"unix", `{"id": 1, "updated": 1778421600}, {"id": 2, "updated": "1778421600.0"}`, "1778421479"},
		{"unix_ms", `{"id": 1, "updated": 1778421600000}, {"id": 2, "updated": "1778421600000"}`, "1778421479999"},
	} {
		api := newAPI(t)
		api.clock = utc("2026-05-10T15:00:00Z")
		api.answer("[" + tt.items + "]")
		s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "path": "/a", "query": {"since": "{since}"},
			"id": "id", "time": "updated", "since": {"format": "` + tt.format + `"}}]}`)
		page := poll(t, s, sdk.Query{})
		if got := api.last(); got != "/a?since=0" {
			t.Errorf("from the beginning, asked %s", got)
		}
		for _, c := range page.Changes {
			if c.Err != nil || !c.Time.Equal(utc("2026-05-10T14:00:00Z")) {
				t.Errorf("%s: %s, %v", tt.format, c.Time, c.Err)
			}
		}
		poll(t, s, sdk.Query{Watermark: page.Watermark, Overlap: 2 * 60e9})
		if got := api.last(); got != "/a?since="+tt.since {
			t.Errorf("asked %s, want %s", got, tt.since)
		}
	}
	api := newAPI(t)
	api.answer(`[{"id": 1, "updated": 1778421600000}]`)
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "path": "/{since}", "id": "id", "time": "updated",
		"since": {"format": "unix"}}]}`)
	wantError(t, poll(t, s, sdk.Query{}).Changes[0].Err, sdk.CodePermanent,
		`GET /{since}: item 1 of the page: the time at "updated" is neither seconds since 1970 nor RFC 3339`)
}
