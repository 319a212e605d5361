// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
)

// inParts lets parts have about ten of the test's items.
func inParts(t *testing.T, most int) { rest.InParts(t, 1000, most, time.Minute, time.Minute) }

// list is an answer of items of a hundred bytes, of which of gives each one's identifier.
func list(n int, of func(int) int) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(`{"id": %4d, "updated": "2026-05-10T10:00:%02d", "n": %4d, "text": "%s"}`, of(i), i%60, i, strings.Repeat("x", 33))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func itself(i int) int { return i }

// parts polls to the end of a window.
func parts(t *testing.T, s sdk.Source, q sdk.Query) []sdk.Page {
	t.Helper()
	var pages []sdk.Page
	for {
		page := poll(t, s, q)
		if (page.Cursor == nil) == (page.Watermark == nil) || page.Complete != (page.Cursor == nil && page.Complete) {
			t.Fatalf("cursor %s, watermark %s, complete %v", page.Cursor, page.Watermark, page.Complete)
		}
		pages = append(pages, page)
		if q.Cursor = page.Cursor; q.Cursor == nil {
			return pages
		}
	}
}

func idsOf(pages []sdk.Page) (ids []string) {
	for _, page := range pages {
		for _, c := range page.Changes {
			ids = append(ids, c.Ref.ID)
		}
	}
	return ids
}

func TestALargeAnswerComesInPartsOfOneCall(t *testing.T) {
	inParts(t, 1<<20)
	api := newAPI(t)
	api.clock = utc("2026-05-10T14:30:00Z")
	api.answer(list(95, itself))
	s := api.feed("")
	q := sdk.Query{Watermark: []byte(`{"t":"2026-05-10T14:00:00Z"}`), Overlap: -time.Hour} // all are older than is asked for: it is said once
	rest.InParts(t, 1<<20, 0, 0, 0)
	whole := parts(t, s, q)
	inParts(t, 1<<20)
	pages := parts(t, s, q)
	if len(whole) != 1 || len(pages) != 10 || len(api.asked) != 2 {
		t.Fatalf("%d parts and whole %d, by %d calls", len(pages), len(whole), len(api.asked))
	}
	if last := pages[9]; string(last.Watermark) != string(whole[0].Watermark) {
		t.Errorf("watermark %s, and whole %s", last.Watermark, whole[0].Watermark)
	}
	n := 0
	for i, page := range pages {
		for _, c := range page.Changes {
			if want := whole[0].Changes[n]; c.Ref != want.Ref || c.Version != want.Version || !c.Time.Equal(want.Time) || string(c.Data) != string(want.Data) || c.Err != nil {
				t.Fatalf("change %d: %+v, and whole %+v", n, c, want)
			}
			n++
		}
		if calls := map[bool]int{true: 1}[i == 0]; page.Calls != calls || (len(page.Notes) > 0) != (i == 0) {
			t.Errorf("part %d: %d calls, notes %v", i+1, page.Calls, page.Notes)
		}
		// The server's clock goes on while parts are given.
		if page.Now.Before(api.clock) || page.Now.Sub(api.clock) > time.Minute || i > 0 && !page.Now.After(api.clock) {
			t.Errorf("part %d: the server's clock is %s", i+1, page.Now)
		}
	}
	if n != 95 {
		t.Errorf("%d changes", n)
	}
	// What was asked for is given again, each part, also by several at once.
	again := q
	again.Cursor = pages[3].Cursor
	for range 2 {
		if page := poll(t, s, again); page.Changes[0].Ref != pages[4].Changes[0].Ref || string(page.Cursor) != string(pages[4].Cursor) {
			t.Errorf("asked again: %+v", page)
		}
	}
	if len(api.asked) != 2 {
		t.Errorf("%d calls", len(api.asked))
	}
}

// TestStatesOfOneRecordComeInOnePart: which of them is the newest, and whether an older one was seen before, the engine tells by one page.
func TestStatesOfOneRecordComeInOnePart(t *testing.T) {
	inParts(t, 1<<20)
	for name, tt := range map[string]struct {
		of    func(int) int
		sizes []int
	}{
		"none twice":       {itself, []int{10, 10, 10, 10, 10, 10}},
		"side by side":     {func(i int) int { return i / 2 }, []int{10, 10, 10, 10, 10, 10}},
		"across a border":  {func(i int) int { return map[int]int{9: 10}[i] + map[bool]int{true: i}[i != 9] }, []int{11, 10, 10, 10, 10, 9}},
		"one in all of it": {func(i int) int { return map[bool]int{true: 1000, false: i}[i%59 == 0] }, []int{60}},
		"in the middle":    {func(i int) int { return map[bool]int{true: 1000, false: i}[i == 15 || i == 44] }, []int{10, 35, 10, 5}},
		"the newest first": {func(i int) int { return map[bool]int{true: 59 - i, false: i}[i >= 25 && i < 35] }, []int{10, 10, 10, 10, 10, 10}},
		"all of them one":  {func(int) int { return 7 }, []int{60}},
		"twice, interlocked": {func(i int) int {
			return map[int]int{5: 1005, 14: 1005, 12: 1012, 23: 1012}[i] + i*map[bool]int{true: 1}[i != 5 && i != 14 && i != 12 && i != 23]
		}, []int{24, 10, 10, 10, 6}},
	} {
		api := newAPI(t)
		api.answer(list(60, tt.of))
		s := api.feed("")
		var sizes []int
		in := map[string]int{}
		pages := parts(t, s, sdk.Query{})
		for i, page := range pages {
			sizes = append(sizes, len(page.Changes))
			for _, c := range page.Changes {
				if at, seen := in[c.Ref.ID]; seen && at != i {
					t.Errorf("%s: a record is in parts %d and %d", name, at+1, i+1)
				}
				in[c.Ref.ID] = i
			}
		}
		if !slices.Equal(sizes, tt.sizes) || len(api.asked) != 1 {
			t.Errorf("%s: parts of %v, want %v; %d calls", name, sizes, tt.sizes, len(api.asked))
		}
		s.Close()
	}
}

func TestAnAnswerThatIsGoneIsAskedForAgain(t *testing.T) {
	for name, lose := range map[string]func(api *api, s sdk.Source) sdk.Source{
		"restarted": func(api *api, _ sdk.Source) sdk.Source { return api.feed("") },
		"closed":    func(api *api, s sdk.Source) sdk.Source { s.Close(); return api.feed("") },
		"idle":      func(api *api, s sdk.Source) sdk.Source { awaitNone(api.t); return s },
	} {
		t.Run(name, func(t *testing.T) { testGone(t, name, lose) })
	}
}

func testGone(t *testing.T, name string, lose func(*api, sdk.Source) sdk.Source) {
	idle := map[bool]time.Duration{true: 100 * time.Millisecond, false: time.Minute}[name == "idle"]
	rest.InParts(t, 1000, 1<<20, idle, idle)
	api := newAPI(t)
	api.clock = utc("2026-05-10T14:30:00Z")
	api.answer(list(60, itself))
	s := api.feed("")
	first := poll(t, s, sdk.Query{})
	second := poll(t, s, sdk.Query{Cursor: first.Cursor})
	s = lose(api, s)
	if name == "closed" {
		if n, size := rest.Kept(); n != 0 || size != 0 {
			t.Errorf("after Close %d answers of %d bytes are kept", n, size)
		}
	}
	api.clock = api.clock.Add(time.Hour) // the window was begun before that
	rest.InParts(t, 1000, 1<<20, time.Minute, time.Minute)
	pages := parts(t, s, sdk.Query{Cursor: second.Cursor})
	if got := slices.Concat(idsOf([]sdk.Page{first, second}), idsOf(pages)); len(got) != 60 || got[20] != "20" || len(slices.Compact(slices.Sorted(slices.Values(got)))) != 60 {
		t.Errorf("%v", got)
	}
	if len(api.asked) != 2 || pages[0].Calls != 1 || pages[1].Calls != 0 {
		t.Errorf("%d calls", len(api.asked))
	}
	if last := string(pages[len(pages)-1].Watermark); !strings.HasPrefix(last, `{"t":"2026-05-10T14:00:59Z",`) {
		t.Errorf("watermark %s", last)
	}

	// What has changed meanwhile is read from the begin.
	s = api.feed("")
	api.answer(list(61, itself))
	_, err := s.Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: second.Cursor})
	wantError(t, err, sdk.CodeCursorExpired, "GET /appointments: the answer that was being given is gone, and another now; the window is read again")
	api.answer(`[]`)
	_, err = s.Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: second.Cursor})
	wantError(t, err, sdk.CodeCursorExpired, "GET /appointments: the answer that was being given is gone, and another now; the window is read again")
	_, err = api.open(`{"base_url": "`+api.URL+`", "feed": [{"name": "appointments", "path": "/others", "query": {"since": "{since}"}, "id": "id", "time": "t"}]}`).
		Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: second.Cursor})
	wantError(t, err, sdk.CodeCursorExpired, `what feed "appointments" asks for was changed in the middle of a window, which is read again`)
	tampered := strings.Replace(string(second.Cursor), `"item":20`, `"item":60`, 1)
	api.answer(list(60, itself))
	_, err = s.Poll(t.Context(), sdk.Query{Feed: "appointments", Cursor: []byte(tampered)})
	wantError(t, err, sdk.CodeCursorExpired, `the cursor of feed "appointments" is none of this adapter's; the window is read again`)
}

func awaitNone(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if n, _ := rest.Kept(); n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("an answer is kept though nobody asks for it")
		}
	}
}

// TestWhatIsKeptIsBounded over all sources: what finds no room is given whole.
func TestWhatIsKeptIsBounded(t *testing.T) {
	inParts(t, 10_000)
	api := newAPI(t)
	api.answer(list(60, itself)) // 6,000 bytes
	one, two := api.feed(""), api.feed("")
	pages := []sdk.Page{poll(t, one, sdk.Query{})}
	if whole := parts(t, two, sdk.Query{}); len(whole) != 1 || len(whole[0].Changes) != 60 {
		t.Fatalf("beside one that is kept another comes in %d parts", len(whole))
	}
	if n, size := rest.Kept(); n != 1 || size < 6_000 || size > 10_000 {
		t.Errorf("%d are kept, of %d bytes", n, size)
	}
	// The same again takes the place of itself, and so do two that read one list at the same time.
	other := poll(t, one, sdk.Query{})
	pages = append(pages, parts(t, one, sdk.Query{Cursor: pages[0].Cursor})...)
	if rest := parts(t, one, sdk.Query{Cursor: other.Cursor}); len(idsOf(pages)) != 60 || len(idsOf(rest)) != 50 || len(api.asked) != 3 {
		t.Errorf("%d and %d changes by %d calls", len(idsOf(pages)), len(idsOf(rest)), len(api.asked))
	}
	one.Close()
	if n, size := rest.Kept(); n != 0 || size != 0 {
		t.Errorf("%d are kept, of %d bytes", n, size)
	}
	// Then there is room; and what was given to its end is let go soon.
	rest.InParts(t, 1000, 10_000, time.Minute, 50*time.Millisecond)
	if pages := parts(t, two, sdk.Query{}); len(pages) != 6 {
		t.Errorf("with room again it comes in %d parts", len(pages))
	}
	awaitNone(t)
	// One that can't be cut is not kept.
	api.answer(list(60, func(int) int { return 1 }))
	if pages := parts(t, two, sdk.Query{}); len(pages) != 1 {
		t.Errorf("%d parts", len(pages))
	}
	if n, _ := rest.Kept(); n != 0 {
		t.Errorf("%d are kept", n)
	}
}

// TestLargePagesGoOnByTheirCursors: where pages don't shift they are given in parts, else not.
func TestLargePagesGoOnByTheirCursors(t *testing.T) {
	inParts(t, 1<<20)
	for _, stable := range []bool{true, false} {
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") == "" {
				fmt.Fprintf(w, `{"items": %s, "next": "2"}`, list(35, itself))
				return
			}
			fmt.Fprintf(w, `{"items": %s, "next": null}`, list(25, func(i int) int { return 35 + i }))
		})
		s := api.feed(fmt.Sprintf(`, "class": "timestamp", "items": "items", "page": {"kind": "cursor", "next": "next", "param": "cursor", "stable": %v}`, stable))
		pages := parts(t, s, sdk.Query{})
		ids := idsOf(pages)
		if want := map[bool]int{true: 7, false: 2}[stable]; len(pages) != want || len(ids) != 60 || len(api.asked) != 2 {
			t.Errorf("stable %v: %d parts of %d changes by %d calls", stable, len(pages), len(ids), len(api.asked))
		}
		for i, id := range ids {
			if id != fmt.Sprint(i) {
				t.Fatalf("change %d is %s", i, id)
			}
		}
		if stable { // the last part of a page and all of the next, after a restart
			pages = parts(t, api.feed(`, "items": "items", "page": {"kind": "cursor", "next": "next", "param": "cursor", "stable": true}`), sdk.Query{Cursor: pages[2].Cursor})
			if ids := idsOf(pages); len(ids) != 30 || ids[0] != "30" {
				t.Errorf("after a restart: %v", ids)
			}
		}
		s.Close()
	}
}

// TestOnlyTheLastPartOfAScanSaysThatItIsComplete (invariant 7).
func TestOnlyTheLastPartOfAScanSaysThatItIsComplete(t *testing.T) {
	inParts(t, 1<<20)
	api := newAPI(t)
	api.answer(list(60, itself))
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "class": "scan", "path": "/a", "id": "id"}]}`)
	pages := parts(t, s, sdk.Query{})
	for i, page := range pages {
		if page.Complete != (i == len(pages)-1) {
			t.Errorf("part %d of %d: complete %v", i+1, len(pages), page.Complete)
		}
	}
	if len(pages) != 6 || len(idsOf(pages)) != 60 {
		t.Errorf("%d parts", len(pages))
	}
}

// TestWhatItemsEmbedComesWithTheirPart, of each the copy in the newest item of the whole answer.
func TestWhatItemsEmbedComesWithTheirPart(t *testing.T) {
	inParts(t, 1<<20)
	api := newAPI(t)
	items := make([]string, 40)
	for i := range items {
		items[i] = fmt.Sprintf(`{"id": %d, "updated": "2026-05-10T10:00:%02d", "of": {"id": "P%d", "copy": %d}, "text": "%s"}`, i, i, i%3, i, strings.Repeat("x", 30))
	}
	items[5] = strings.Replace(items[5], `"id": "P2"`, `"no": "P2"`, 1)
	api.answer("[" + strings.Join(items, ",") + "]")
	s := api.feed(`, "include": [{"name": "patient", "path": "of", "id": "id"}]`)
	for i, page := range parts(t, s, sdk.Query{}) {
		if len(page.Included) != 3 || (len(page.Notes) == 1) != (i == 0) {
			t.Errorf("part %d: %d embedded, notes %v", i+1, len(page.Included), page.Notes)
		}
		for _, r := range page.Included {
			want := map[string]string{"P0": `{"id": "P0", "copy": 39}`, "P1": `{"id": "P1", "copy": 37}`, "P2": `{"id": "P2", "copy": 38}`}[r.Ref.ID]
			if string(r.Data) != want || r.Ref.Kind != "patient" {
				t.Errorf("part %d: %s is %s", i+1, r.Ref.ID, r.Data)
			}
		}
	}
}
