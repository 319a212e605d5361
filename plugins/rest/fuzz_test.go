// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
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
	} {
		f.Add([]byte(s))
	}
	c, err := compile(Config{BaseURL: "https://ehr.invalid", Feeds: []Feed{{Name: "f", Path: "/{since}", Items: "list", ID: "id",
		Version: "v", Time: "t", Since: &Since{Format: "2006-01-02T15:04:05", Zone: "America/New_York"}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !rawjson.Valid(body) {
			return
		}
		var page sdk.Page
		err := c.feeds["f"].read(body, &position{}, time.Now(), &page)
		changes := page.Changes
		if err != nil && len(changes) > 0 {
			t.Error("changes beside an error")
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
