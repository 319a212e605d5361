// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/window"
)

func poll(t testing.TB, s sdk.Source, q sdk.Query) sdk.Page {
	t.Helper()
	q.Feed = "appointments"
	page, err := s.Poll(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func TestTheSinceInstantIsWrittenAsConfiguredAndEncoded(t *testing.T) {
	start := sdk.Start{At: utc("2026-05-10T14:10:00.7Z")}
	for _, tt := range []struct {
		feed  string
		start sdk.Start
		want  string
	}{
		{`"path": "/a", "query": {"s": "{since}", "n": "5"}`, start, "/a?n=5&s=2026-05-10T12%3A59%3A59Z"},
		{`"path": "/a", "query": {"s": "gt:{since}"}`, sdk.Start{}, "/a?s=gt%3A1970-01-01T00%3A00%3A00Z"},
		{`"path": "/a/{since}/b"`, start, "/a/2026-05-10T12:59:59Z/b"},
		{`"path": "/a b", "query": {"s": "{since}"}, "since": {"format": "01/02/2006 15:04", "zone": "Asia/Kolkata"}`, start,
			"/a%20b?s=05%2F10%2F2026%2018%3A29"},
		{`"path": "/a", "query": {"s": "{since}"}, "since": {"zone": "Asia/Kolkata"}`, start, "/a?s=2026-05-10T18%3A29%3A59%2B05%3A30"},
	} {
		api := newAPI(t)
		api.answer("[]")
		s := api.open(`{"base_url": "` + api.URL + `/v1/", "feed": [{"name": "appointments", "id": "id", "time": "t", ` + tt.feed + `}]}`)
		poll(t, s, sdk.Query{Start: tt.start, Overlap: time.Hour})
		if got := api.last(); got != "/v1"+tt.want {
			t.Errorf("asked %s, want /v1%s", got, tt.want)
		}
	}
}

func TestIdentifiersAndVersionsKeepEveryDigitWhateverTheirType(t *testing.T) {
	api := newAPI(t)
	api.answer(`{"data": {"list": [
		{"key": {"id": 12345678901234567890}, "v": 1.10, "t": "2026-05-10T10:00:00"},
		{"key": {"id": "007"}, "v": "W/\"1\"", "t": "2026-05-10T10:00:00"},
		{"key": {"id": 1e3}, "v": true, "t": "2026-05-10T10:00:00Z"}
	]}}`)
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "path": "/{since}", "items": "data.list",
		"id": "key.id", "version": "v", "time": "t", "since": {"format": "2006-01-02T15:04:05", "zone": "America/New_York"}}]}`)
	page := poll(t, s, sdk.Query{})
	want := []sdk.Change{
		{Ref: sdk.Ref{Kind: "appointments", ID: "12345678901234567890"}, Version: "1.10", Time: utc("2026-05-10T14:00:00Z")},
		{Ref: sdk.Ref{Kind: "appointments", ID: "007"}, Version: `W/"1"`, Time: utc("2026-05-10T14:00:00Z")},
		{Ref: sdk.Ref{Kind: "appointments", ID: "1e3"}, Version: "true", Time: utc("2026-05-10T10:00:00Z")},
	}
	if len(page.Changes) != len(want) {
		t.Fatalf("%d changes", len(page.Changes))
	}
	for i, c := range page.Changes {
		if c.Ref != want[i].Ref || c.Version != want[i].Version || !c.Time.Equal(want[i].Time) || c.Op != sdk.Upsert || c.Err != nil ||
			!strings.HasPrefix(string(c.Data), `{"key"`) || !strings.HasSuffix(string(c.Data), `}`) {
			t.Errorf("got %+v, want %+v", c, want[i])
		}
	}
	if page.Calls != 1 || page.Cursor != nil || page.Watermark == nil || page.Notes != nil {
		t.Errorf("%+v", page)
	}
}

func TestABrokenItemIsReportedAndTheOthersGoOn(t *testing.T) {
	api := newAPI(t)
	api.answer(`[{"id": 1, "updated": "2026-05-10T10:00:00"},
		{"name": "c4n4ry", "updated": "2026-05-10T10:00:00"},
		{"id": {"c4n4ry": 1}, "updated": "2026-05-10T10:00:00"},
		{"id": "", "updated": "2026-05-10T10:00:00"},
		{"id": null, "updated": "2026-05-10T10:00:00"},
		{"id": "c4n4ry", "updated": "c4n4ry"},
		{"id": "c4n4ry", "updated": 1778421600},
		{"id": "c4n4ry"},
		"c4n4ry",
		{"id": 2, "updated": "2026-05-10T10:00:01"}]`)
	page := poll(t, api.feed(""), sdk.Query{})
	notATime := `the time at "updated" is neither 2006-01-02T15:04:05 in America/New_York nor RFC 3339`
	for i, want := range []string{"", `no identifier at "id": found nothing there`, `no identifier at "id": found an object`,
		`no identifier at "id": found an empty string`, `no identifier at "id": found null`, notATime, notATime,
		`no time at "updated": found nothing there`, `no identifier at "id": found nothing there`, ""} {
		c := page.Changes[i]
		if want == "" {
			if c.Err != nil || c.Ref.ID == "" {
				t.Errorf("item %d: %+v", i+1, c)
			}
			continue
		}
		wantError(t, c.Err, sdk.CodePermanent, fmt.Sprintf("GET /appointments: item %d of the page: %s", i+1, want))
		if len(c.Data) == 0 {
			t.Errorf("item %d came without its data", i+1)
		}
	}
	if string(page.Watermark) != `{"t":"2026-05-10T14:00:01Z"}` {
		t.Errorf("watermark %s", page.Watermark)
	}
}

func TestAPageWithoutItsItemsFailsAndNamesThePath(t *testing.T) {
	for _, tt := range []struct{ items, body, text string }{
		{``, `{"error": "c4n4ry"}`, `GET /appointments: the answer is not an array: found an object; is items missing?`},
		{`, "items": "data.list"`, `[]`, `GET /appointments: no array at "data.list": found nothing there`},
		{`, "items": "data.list"`, `{"data": {"list": "c4n4ry"}}`, `GET /appointments: no array at "data.list": found a string`},
		{`, "items": "data.list"`, `{"data": {"list": null}}`, `GET /appointments: no array at "data.list": found null`},
		{`, "items": "data.list"`, `{"data": {"list": {}}}`, `GET /appointments: no array at "data.list": found an object`},
		{`, "items": "data.list"`, `<html>c4n4ry`, `GET /appointments: answered with JSON that is broken, cut off or nested too deep`},
		{withCursor, `{"items": [], "next": {"c4n4ry": 1}}`, `GET /appointments: no cursor at "next": found an object`},
	} {
		api := newAPI(t)
		api.answer(tt.body)
		_, err := api.feed(tt.items).Poll(t.Context(), sdk.Query{Feed: "appointments"})
		wantError(t, err, sdk.CodeRetryable, tt.text)
	}
	_, err := newAPI(t).feed("").Poll(t.Context(), sdk.Query{Feed: "patients"})
	wantError(t, err, sdk.CodePermanent, `feed "patients" is not configured`)
}

// item is one appointment, changed at a local time of New York on 10 May 2026.
func item(id int, clock string) string {
	return fmt.Sprintf(`{"id": %d, "updated": "2026-05-10T%s"}`, id, clock)
}

func TestInvariant1TheNextWindowBeginsBeforeTheNewestChangeOfThisOne(t *testing.T) {
	for _, tt := range []struct {
		name  string
		date  string // the server's clock
		items string
		next  string // what the next window asks for, with two minutes of overlap
	}{
		{"newest change", "2026-05-10T14:30:00Z", item(1, "10:05:00") + "," + item(2, "10:04:00"), "2026-05-10T10:02:59"},
		{"nothing", "2026-05-10T14:30:00Z", "", "2026-05-10T09:57:59"},
		{"a record of the future", "2026-05-10T14:30:00Z", item(1, "10:05:00") + `,{"id": 2, "updated": "2099-01-01T00:00:00"}`,
			"2026-05-10T10:27:5"},
		{"changed during the call", "2026-05-10T14:30:00Z", item(1, "10:31:00"), "2026-05-10T10:27:5"},
		{"a clock that was set back", "2026-05-10T13:30:00Z", item(1, "10:05:00"), "2026-05-10T09:17:5"},
		{"no server's clock, a record of the future", "", item(1, "10:05:00") + `,{"id": 2, "updated": "2099-01-01T00:00:00"}`,
			"2026-05-10T10:02:59"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newAPI(t)
			if tt.date != "" {
				api.clock = utc(tt.date)
			}
			api.answer("[" + tt.items + "]")
			s := api.feed("")
			q := sdk.Query{Watermark: []byte(`{"t":"2026-05-10T14:00:00Z"}`), Overlap: 2 * time.Minute}
			page := poll(t, s, q)
			if !page.Now.Equal(api.clock) {
				t.Errorf("the server's clock is told as %s", page.Now)
			}
			q.Watermark = page.Watermark
			poll(t, s, q)
			if got := api.last(); !strings.HasPrefix(got, "/appointments?since="+strings.ReplaceAll(tt.next, ":", "%3A")) {
				t.Errorf("asked %s, want %s", got, tt.next)
			}
		})
	}
}

func TestTheOverlapReachesBehindTheStart(t *testing.T) {
	api := newAPI(t)
	api.clock = utc("2026-05-10T14:10:00Z")
	api.answer("[" + item(1, "09:49:00") + "]")
	s := api.feed("")
	q := sdk.Query{Start: sdk.Start{At: utc("2026-05-10T14:00:00Z")}, Overlap: 2 * time.Minute}
	// What becomes visible late may be dated before the start; what the first window did not reach is never asked for.
	for range 2 {
		q.Watermark = poll(t, s, q).Watermark
		if got := api.last(); got != "/appointments?since=2026-05-10T09%3A47%3A59" {
			t.Errorf("asked %s", got)
		}
	}
}

func TestAWindowGoesOnByCursorAfterARestartToo(t *testing.T) {
	api := newAPI(t)
	api.clock = utc("2026-05-10T14:30:00Z")
	bodies := map[string]string{
		"":      `{"items": [` + item(1, "10:20:00") + `], "next": "c 2/&"}`,
		"c 2/&": `{"items": [` + item(2, "10:10:00") + `], "next": 3}`,
		"3":     `{"items": [` + item(3, "10:15:00") + `], "next": null}`,
	}
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		if since := r.URL.Query().Get("since"); since != "2026-05-10T09:57:59" {
			t.Errorf("a page of the window asks since %s", since)
		}
		fmt.Fprint(w, bodies[r.URL.Query().Get("cursor")])
		api.clock = api.clock.Add(time.Hour) // later pages do not move the begin of the window
	})
	q := sdk.Query{Watermark: []byte(`{"t":"2026-05-10T14:00:00Z"}`), Overlap: 2 * time.Minute}
	for i, id := range []string{"1", "2", "3"} {
		page := poll(t, api.feed(withCursor), q) // each page by a source that was just opened
		again := poll(t, api.feed(withCursor), q)
		if len(page.Changes) != 1 || page.Changes[0].Ref.ID != id || again.Changes[0].Ref.ID != id {
			t.Fatalf("page %d: %+v", i+1, page)
		}
		if last := i == 2; last != (page.Cursor == nil) || last != (page.Watermark != nil) {
			t.Errorf("page %d: cursor %s, watermark %s", i+1, page.Cursor, page.Watermark)
		}
		if i == 2 && !strings.HasPrefix(string(page.Watermark), `{"t":"2026-05-10T14:20:00Z",`) {
			t.Errorf("watermark %s, want the newest change of the whole window", page.Watermark)
		}
		q.Cursor = page.Cursor
	}
}

func TestAWindowGoesOnByLink(t *testing.T) {
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer c4n4ry-token" {
			t.Error("a page is asked for without credentials")
		}
		switch r.RequestURI {
		case "/appointments?since=1970-01-01T00%3A00%3A00":
			w.Header().Set("Link", `<https://elsewhere.invalid/>; rel="prev first", <`+api.URL+`/appointments?page=2&q=a%2Fb>; rel="last next"`)
			fmt.Fprint(w, "["+item(1, "10:00:00")+"]")
		case "/appointments?page=2&q=a%2Fb":
			w.Header().Set("Link", `<?page=3>; title="a, \"b\"; c"; REL=Next`)
			fmt.Fprint(w, "["+item(2, "10:00:00")+"]")
		case "/appointments?page=3":
			w.Header().Set("Link", `<?page=2>; rel="prev"`)
			fmt.Fprint(w, "["+item(3, "10:00:00")+"]")
		default:
			t.Errorf("asked %s", r.RequestURI)
		}
	})
	s := api.feed(withLink)
	var q sdk.Query
	for i := range 3 {
		page := poll(t, s, q)
		if page.Changes[0].Ref.ID != fmt.Sprint(i+1) || (page.Watermark != nil) != (i == 2) {
			t.Fatalf("page %d: %+v", i+1, page)
		}
		q.Cursor = page.Cursor
	}
}

func TestAPageOnAnotherOriginIsNeverAskedFor(t *testing.T) {
	called := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer other.Close()
	for _, link := range []string{other.URL + "/c4n4ry", "//elsewhere.invalid/c4n4ry", "https:/c4n4ry", "mailto:c4n4ry"} {
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "<"+link+">; rel=next")
			w.Write([]byte("[]"))
		})
		_, err := api.feed(withLink).Poll(t.Context(), sdk.Query{Feed: "appointments"})
		wantError(t, err, sdk.CodePermanent, "GET /appointments: the Link header's next leads to another scheme, host or port, "+
			"where the credentials would leak; if that is where the API lives, configure it as base_url")
	}
	if called {
		t.Error("the other origin was called")
	}
}

func TestPagingThatNeverEndsIsNoticed(t *testing.T) {
	api := newAPI(t)
	api.answer(`{"items": [], "next": "c4n4ry"}`)
	s := api.feed(withCursor)
	page := poll(t, s, sdk.Query{})
	_, err := s.Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: page.Cursor})
	wantError(t, err, sdk.CodeRetryable, "GET /appointments (next page): the next page is the same page again, so paging would never end")
}

// TestPagesThatLeadInACircleAreNoticed, however long the circle and the way into it.
func TestPagesThatLeadInACircleAreNoticed(t *testing.T) {
	for _, tt := range []struct {
		way, circle int
		kind        string
	}{{0, 2, withLink}, {0, 3, withCursor}, {1, 2, withCursor}, {5, 7, withLink}, {40, 13, withCursor}} {
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			at, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
			next := at + 1
			if next == tt.way+tt.circle {
				next = tt.way
			}
			w.Header().Set("Link", fmt.Sprintf("</appointments?cursor=%d>; rel=next", next))
			if items := "[" + item(at, "10:00:00") + "]"; tt.kind == withLink {
				fmt.Fprint(w, items)
			} else {
				fmt.Fprintf(w, `{"items": %s, "next": %d}`, items, next)
			}
		})
		s := api.feed(tt.kind)
		q := sdk.Query{Feed: "appointments"}
		var err error
		calls := 0
		for most := 4 * (tt.way + tt.circle); err == nil && calls < most; calls++ {
			var page sdk.Page
			page, err = s.Poll(t.Context(), q)
			q.Cursor = page.Cursor
		}
		wantError(t, err, sdk.CodeRetryable, "GET /appointments (next page): the pages lead in a circle, so paging would never end")
		if calls < tt.way+tt.circle {
			t.Errorf("a circle of %d pages is said to be there after %d", tt.circle, calls)
		}
	}
}

// TestACursorThatTheServerIgnoresIsNoticed, although it gives another one each time.
func TestACursorThatTheServerIgnoresIsNoticed(t *testing.T) {
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"items": [%s], "next": "c4n4ry-%d"}`, item(1, "10:00:00"), len(api.asked))
	})
	s := api.feed(withCursor)
	page := poll(t, s, sdk.Query{})
	_, err := s.Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: page.Cursor})
	wantError(t, err, sdk.CodeRetryable, `GET /appointments (next page): the next page is the same page again, so paging would never end; is "cursor" the right parameter?`)
}

func TestARefusedCursorHasExpired(t *testing.T) {
	for _, tt := range []struct {
		status      int
		first, next sdk.Code
		text        string
	}{
		{400, sdk.CodePermanent, sdk.CodeCursorExpired, "400 Bad Request"},
		{401, sdk.CodeUnauthorized, sdk.CodeUnauthorized, "401 Unauthorized"},
		{404, sdk.CodeNotFound, sdk.CodeCursorExpired, "404 Not Found"},
		{410, sdk.CodeGone, sdk.CodeCursorExpired, "410 Gone"},
		{422, sdk.CodePermanent, sdk.CodePermanent, "422 Unprocessable Entity"},
		{501, sdk.CodeRetryable, sdk.CodeRetryable, "501 Not Implemented"},
	} {
		for _, kind := range []string{withCursor, withLink} {
			api := newAPI(t)
			api.serve(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Link", "</c4n4ry>; rel=next")
				if kind == withLink {
					fmt.Fprint(w, `[]`)
				} else {
					fmt.Fprint(w, `{"items": [], "next": "c4n4ry"}`)
				}
			})
			s := api.feed(kind)
			cursor := poll(t, s, sdk.Query{}).Cursor
			api.serve(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(tt.status) })
			_, err := s.Poll(t.Context(), sdk.Query{Feed: "appointments"})
			wantError(t, err, tt.first, "GET /appointments: "+tt.text)
			_, err = s.Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: cursor})
			wantError(t, err, tt.next, "GET /appointments (next page): "+tt.text)
		}
	}
}

func TestACursorOfAnotherConfigurationHasExpired(t *testing.T) {
	api := newAPI(t)
	api.answer(`{"items": [], "next": "2"}`)
	cursor := poll(t, api.feed(withCursor), sdk.Query{}).Cursor
	for _, tt := range []struct {
		feed   string
		cursor []byte
	}{{withLink, cursor}, {"", cursor}, {withCursor, []byte("c4n4ry")}, {withCursor, []byte(`{}`)}} {
		_, err := api.feed(tt.feed).Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: tt.cursor})
		wantError(t, err, sdk.CodeCursorExpired, `the paging of feed "appointments" was changed in the middle of a window, which is read again`)
	}
	_, err := api.feed("").Poll(t.Context(), sdk.Query{Feed: "appointments", Watermark: []byte("c4n4ry")})
	if sdk.CodeOf(err) != sdk.CodeWatermarkExpired || strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("a foreign watermark: %v", err)
	}
}

func TestWhatLooksWrongIsNoted(t *testing.T) {
	api := newAPI(t)
	api.clock = utc("2026-05-10T14:30:00Z")
	api.answer(`[{"id": 1, "updated": "2026-05-10T10:10:00"}, {"id": 2, "updated": "2026-05-10T09:50:00"}]`)
	q := sdk.Query{Watermark: []byte(`{"t":"2026-05-10T14:00:00Z"}`), Overlap: 2 * time.Minute}
	page := poll(t, api.feed(""), q)
	if len(page.Notes) != 1 || page.Notes[0].Code != "filter-ignored" || !strings.HasPrefix(page.Notes[0].Text, "1 of 2 items are older") {
		t.Errorf("%+v", page.Notes)
	}
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "path": "/{since}", "id": "id", "version": "etag",
		"time": "updated", "since": {"format": "2006-01-02T15:04:05"}}]}`)
	page = poll(t, s, sdk.Query{})
	if len(page.Notes) != 1 || page.Notes[0].Code != "version-missing" || page.Notes[0].Text != `2 of 2 items have no version at "etag"` {
		t.Errorf("%+v", page.Notes)
	}
}

// What a poll waits for, its turn or a server that asks for a pause, is not by how much the server's clock is ahead: else the next poll, which
// has nothing to wait for, would find that clock set back, and tell what is older than the start.
func TestATimeOfWaitingIsNotTakenForADifferenceOfClocks(t *testing.T) {
	api := newAPI(t)
	busy := true
	api.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
		if busy {
			busy = false
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(503)
			return
		}
		w.Write([]byte(`[]`))
	})
	page := poll(t, api.feed(""), sdk.Query{Start: sdk.Start{At: time.Now()}})
	var mark window.Mark
	if err := json.Unmarshal(page.Watermark, &mark); err != nil || mark.Ahead == nil || *mark.Ahead < -1 || *mark.Ahead > 1 {
		t.Errorf("after a pause of three seconds the watermark is %s, %v", page.Watermark, err)
	}
}

func TestCallsAreCountedWithRepetitions(t *testing.T) {
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		if len(api.asked) == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Write([]byte("[]"))
	})
	if page := poll(t, api.feed(""), sdk.Query{}); page.Calls != 2 {
		t.Errorf("%d calls", page.Calls)
	}
}

func TestCancellingEndsAPoll(t *testing.T) {
	api := newAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := api.feed("").Poll(ctx, sdk.Query{Feed: "appointments"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
