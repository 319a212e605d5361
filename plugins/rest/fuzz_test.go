// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

func TestTheNextLinkIsFound(t *testing.T) {
	for _, tt := range []struct {
		headers []string
		want    string
	}{
		{nil, ""},
		{[]string{`<a>; rel=next`}, "a"},
		{[]string{`<a>; rel="next"`}, "a"},
		{[]string{`<a>;rel = "prev NEXT"`}, "a"},
		{[]string{`<a>; rel=prev, <b>; rel=next`}, "b"},
		{[]string{`<a>; rel=prev`, `<b>; rel=next`}, "b"},
		{[]string{`<a,b;c>; rel=next`}, "a,b;c"},
		{[]string{`<a>; title="x, <y>; rel=next"; rel=prev, <b>; rel=next`}, "b"},
		{[]string{`<a>; title="\""; rel=next`}, "a"},
		{[]string{`<a>; rel=prev; rel=next`}, ""},
		{[]string{`<a>; crossorigin; rel=next`}, "a"},
		{[]string{` , <a>; rel=next`}, "a"},
		{[]string{`<a>; rel=nextish`}, ""},
		{[]string{`<a>`}, ""},
		{[]string{`a; rel=next`}, ""},
		{[]string{`<a; rel=next`}, ""},
		{[]string{`<a>; rel="next`}, ""},
		{[]string{`broken`, `<b>; rel=next`}, "b"},
	} {
		if got := nextLink(tt.headers); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.headers, got, tt.want)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	for _, s := range []string{`<a>; rel="next"`, `<a>; title="\"`, `<a>;;;,<b> ;rel= next`, `<`, `<>; rel=next`, "<a>;="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target := nextLink([]string{s})
		if target != "" && !strings.Contains(s, "<"+target+">") {
			t.Errorf("%q gives %q, which is no target in it", s, target)
		}
	})
}

func FuzzItems(f *testing.F) {
	for _, s := range []string{
		`{"list": [{"id": 1, "t": "2026-05-10T10:00:00", "v": {}}]}`, `{"list": [null, [], "", 1e9, {"id": [], "t": 5}]}`, `[]`,
		`{"list": [{"id": "\ud800", "t": "\u0000"}]}`, `{"list": {}, "list": [{}]}`,
		`{"list": [{"id": 1, "t": "2026-05-10T10:00:00Z", "v": [{"id": "a"}, null, {"id": ""}, 5]}]}`,
	} {
		f.Add([]byte(s))
	}
	c, err := compile(Config{BaseURL: "https://ehr.invalid", Feeds: []Feed{{Name: "f", Path: "/{since}", Items: "list", ID: "id",
		Version: "v", Time: "t", Since: &Since{Format: "2006-01-02T15:04:05", Zone: "America/New_York"},
		Include: []Include{{Name: "r", Path: "v", ID: "id"}}}}, Resources: []Resource{{Name: "r", Path: "/{id}"}}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !rawjson.Valid(body) {
			return
		}
		page, err := c.feeds["f"].read(body, &position{}, &answer{now: time.Now()})
		changes := page.Changes
		if err != nil && len(changes) > 0 {
			t.Error("changes beside an error")
		}
		for _, r := range page.Included {
			if !rawjson.Valid(r.Data) || r.Ref.ID == "" {
				t.Errorf("embedded: %+v", r)
			}
		}
		for _, c := range changes {
			if !rawjson.Valid(c.Data) {
				t.Errorf("data is not JSON: %q", c.Data)
			}
			if c.Err == nil && (c.Ref.ID == "" || c.Time.Location() != time.UTC) {
				t.Errorf("neither identifier nor error: %+v", c)
			}
		}
	})
}

// What a server says of the next page leads to a request of the same origin, or ends the window, or is an error.
func FuzzNextPage(f *testing.F) {
	for _, s := range []string{`{"next": "?page=2"}`, `{"next": "//elsewhere/"}`, `{"next": "/a?key=k&b"}`, `{"next": 1e400, "n": "9", "list": [1]}`,
		`{"n": 5, "list": [1, 2, 3]}`, `{"n": true, "list": []}`, `{"n": 99999999999999999999, "list": [{}]}`} {
		f.Add([]byte(s))
	}
	c := Config{BaseURL: "https://ehr.invalid/api", Auth: &Auth{Kind: "api_key", Key: "k", Param: "key"}}
	for _, page := range []Page{{Kind: byNextURL, Next: "next"}, {Kind: byCursor, Next: "next", Param: "c"}, {Kind: byNumber, Param: "p", Total: "n"},
		{Kind: byOffset, Param: "p", More: "n"}, {Kind: byOffset, Param: "p", Size: 2}} {
		c.Feeds = append(c.Feeds, Feed{Name: page.Kind + page.Total + page.More, Path: "/{since}", Items: "list", ID: "id", Time: "t", Page: &page})
	}
	s, err := compile(c, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !rawjson.Valid(body) {
			return
		}
		for _, feed := range s.feeds {
			p := position{Kind: feed.page.kind}
			next, err := s.next(feed, &p, s.call(feed, p), &httpx.Response{Body: body})
			if err != nil || next == nil {
				continue
			}
			p.Next, p.Pages = next, 1
			if !feed.page.fits(p) {
				t.Errorf("%s: reading can't go on at %s", feed.name, next)
			}
			u, err := url.Parse(s.call(feed, p).URL)
			if err != nil || !httpx.SameOrigin(u, s.base) || u.Query().Has("key") {
				t.Errorf("%s: the next page is at %s, %v", feed.name, u, err)
			}
		}
	})
}

func FuzzBatch(f *testing.F) {
	for _, s := range []string{`[{"id": 1}, {"id": "1"}, null]`, `[{"id": 3}]`, `[{}]`, `{}`, `[1, {"id": 2}]`} {
		f.Add([]byte(s))
	}
	r := resource{request: template{method: "GET", path: "/p"}, batch: &batch{id: dotted{"id"}}}
	asked := map[string]bool{"1": true, "2": true}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !rawjson.Valid(body) {
			return
		}
		items, _ := r.match(body, asked)
		for id, item := range items {
			if !asked[id] || !rawjson.Valid(item) {
				t.Errorf("%q is given %s", id, item)
			}
		}
	})
}

// Whatever body is configured, a request made of it is JSON, and what it says besides the placeholders stays.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"a": "{since}", "b": [1e400, null, "<{since}>"]}`, `[]`, `{"p": {"q": 1}}`, `{"p": "x"}`, `"{since}"`} {
		f.Add([]byte(s), "p.q")
	}
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		if !rawjson.Valid(raw) || !utf8.ValidString(name) { // as all that comes from HCL
			return
		}
		body, ok := decodeBody(raw)
		if !ok {
			return
		}
		r := template{method: "POST", path: "/{since}", body: body, placeholder: "{since}", number: true}
		var more []param
		if r.check("feed.f") == nil && r.free(name, "feed.f.page.cursor.param") == nil {
			more = append(more, param{name, number(7)})
		}
		content := r.request("5", more).Body
		if !rawjson.Valid(content) {
			t.Fatalf("%s makes %s", raw, content)
		}
		if len(more) > 0 {
			if got, _ := rawjson.Get(content, strings.Split(name, ".")...); string(got) != "7" {
				t.Errorf("%q of %s is %s", name, content, got)
			}
		}
	})
}
