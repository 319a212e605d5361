// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// TestAScanListsEverything: it asks for no instant, needs no times, and says on its last page that this was all.
func TestAScanListsEverything(t *testing.T) {
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			w.Write([]byte(`{"next": "2", "list": [{"id": 1, "v": "a", "at": "2026-05-10T10:00:00Z"}, {"id": 2}]}`))
			return
		}
		w.Write([]byte(`{"next": null, "list": [{"id": 3}, {"no": "id"}]}`))
	})
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "class": "scan", "path": "/a", "query": {"all": "yes"},
		"items": "list", "id": "id", "ignore": ["meta.seen"], "page": {"kind": "cursor", "next": "next", "param": "cursor"}}]}`)
	f := s.Catalog().Feeds[0]
	if f.Class != sdk.Scan || f.Version != sdk.None || !slices.Equal(f.Ignore, []string{"meta.seen"}) || !f.Drifts {
		t.Errorf("feed %+v", f)
	}
	for _, q := range []sdk.Query{{Start: sdk.Start{At: utc("2026-05-10T10:00:00Z")}, Overlap: time.Hour}, {}} {
		first := poll(t, s, q)
		if got := api.last(); got != "/a?all=yes" {
			t.Errorf("asked %s", got)
		}
		if len(first.Changes) != 2 || first.Cursor == nil || first.Complete || first.Changes[0].Err != nil || !first.Changes[0].Time.IsZero() {
			t.Errorf("first page %+v", first)
		}
		q.Cursor = first.Cursor
		last := poll(t, s, q)
		if got := api.last(); got != "/a?all=yes&cursor=2" {
			t.Errorf("asked %s", got)
		}
		if len(last.Changes) != 2 || last.Cursor != nil || !last.Complete || last.Watermark == nil || last.Changes[1].Err == nil || last.Notes != nil {
			t.Errorf("last page %+v", last)
		}
		q.Watermark = last.Watermark
		poll(t, s, sdk.Query{Watermark: last.Watermark})
		if got := api.last(); got != "/a?all=yes" {
			t.Errorf("asked %s after a whole scan", got)
		}
	}
}

func TestAScanMayTellTimesAndVersions(t *testing.T) {
	api := newAPI(t)
	api.answer(`[{"id": 1, "v": 7, "at": "2020-05-10T10:00:00Z"}, {"id": 2, "v": 7}]`)
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "class": "scan", "path": "/a", "id": "id", "version": "v",
		"time": "at"}]}`)
	if f := s.Catalog().Feeds[0]; f.Version != sdk.Coarse {
		t.Errorf("feed %+v", f)
	}
	page := poll(t, s, sdk.Query{Start: sdk.Start{At: utc("2026-05-10T10:00:00Z")}})
	if c := page.Changes; !c[0].Time.Equal(utc("2020-05-10T10:00:00Z")) || c[0].Version != "7" || c[1].Err == nil || page.Notes != nil || !page.Complete {
		t.Errorf("%+v", page)
	}
}

func TestAFeedOfChangesIsNeverComplete(t *testing.T) {
	api := newAPI(t)
	api.answer(`[]`)
	s := api.open(`{"base_url": "` + api.URL + `", "feed": [{"name": "appointments", "path": "/{since}", "id": "id", "time": "at"}]}`)
	if page := poll(t, s, sdk.Query{}); page.Complete {
		t.Error("what changed since an instant is not everything")
	}
}
