// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

const scanHCL = `
source "rest" "clinic" {
  base_url = env("EHR_URL")
  feed "slots" {
    class  = "scan"
    path   = "/slots"
    items  = "items"
    id     = "id"
    ignore = ["views"]
    page "cursor" {
      next   = "next"
      param  = "after"
      stable = true
    }
  }
  resource "slot" {
    path = "/slots/{id}"
  }
}

destination "webhook" "slots" {
  url = env("NOTIFY_URL")
  allow_private = true
}

pipeline "slots" {
  poll {
    feed    = source.rest.clinic.feed.slots
    every   = "1s"
    start   = "beginning"
    confirm = "slot"
  }
  deliver "slots" {
    to  = destination.webhook.slots
    map = "mapping.js"
  }
}
`

const tellSlot = "export default ({ change }) => ({ id: change.id, op: change.op, state: change.data ? change.data.state : null });\n"

// slots is an API that lists what it has, 7 on a page, and has no idea of changes.
type slots struct {
	mu    sync.Mutex
	has   map[string]string
	views int
	lists int  // whole ones
	empty bool // lists nothing, as a broken one might
}

func (s *slots) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *slots) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if id, one := strings.CutPrefix(r.URL.Path, "/slots/"); one {
		state, there := s.has[id]
		if !there {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"id":%q,"state":%q}`, id, state)
		return
	}
	ids := slices.Sorted(maps.Keys(s.has))
	if s.empty {
		ids = nil
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("after"))
	from = min(from, len(ids))
	page := map[string]any{"items": []any{}}
	var items []any
	for _, id := range ids[from:min(from+7, len(ids))] {
		s.views++
		items = append(items, map[string]any{"id": id, "state": s.has[id], "views": s.views})
	}
	if items != nil {
		page["items"] = items
	}
	if from+7 < len(ids) {
		page["next"] = from + 7
	} else {
		s.lists++
	}
	_ = json.NewEncoder(w).Encode(page)
}

// TestScanTellsDeletesOnce through kills, a list that is suddenly empty, and a record that comes back.
func TestScanTellsDeletesOnce(t *testing.T) {
	t.Parallel()
	api := &slots{has: map[string]string{}}
	for i := range 60 {
		api.has[fmt.Sprintf("s%02d", i)] = "free"
	}
	to, err := receiver.New(receiver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"EHR_URL=" + serve(t, api), "NOTIFY_URL=" + serve(t, to)}
	dir := write(t, map[string]string{"main.hcl": scanHCL, "mapping.js": tellSlot})
	told := func() []string { // each notification once: a kill may have it sent again
		var all []string
		ids := map[string]bool{}
		for _, r := range to.Received(0) {
			if ids[r.ID] {
				continue
			}
			ids[r.ID] = true
			part := func(name string) string {
				raw, _ := rawjson.Get(r.Body, name)
				text, _ := rawjson.Text(raw)
				return text
			}
			all = append(all, strings.TrimSpace(part("id")+" "+part("op")+" "+part("state")))
		}
		return all
	}
	p := startRun(t, dir, env)
	arrived := func(n int) {
		t.Helper()
		p.eventually(30*time.Second, fmt.Sprint(n, " arrived"), func() bool { return len(told()) >= n })
	}
	scans := func(n int) {
		t.Helper()
		var was int
		api.do(func() { was = api.lists })
		p.eventually(30*time.Second, "scanned again", func() (done bool) {
			api.do(func() { done = api.lists > was+n })
			return done
		})
	}
	arrived(60)
	scans(2)
	api.do(func() { delete(api.has, "s07"); delete(api.has, "s33"); api.has["s50"] = "taken" })
	arrived(63)
	p.kill()

	api.do(func() { delete(api.has, "s08") })
	p = startRun(t, dir, env)
	arrived(64)
	api.do(func() { api.empty = true })
	p.logged("too many records are missing from a complete scan")
	api.do(func() { api.empty, api.has["s07"] = false, "free" })
	arrived(65)
	scans(2)
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	got := told()[60:]
	slices.Sort(got[:3])
	want := []string{"s07 deleted", "s33 deleted", "s50 updated taken", "s08 deleted", "s07 created free"}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
