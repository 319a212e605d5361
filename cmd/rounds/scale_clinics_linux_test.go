// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// clinics are many small EHRs behind one address, a base URL each, and the receiver of what is told of them. They keep nothing: which
// records change when follows from the clock, so that a poll costs them next to nothing.
//
// Pipeline n polls feed n / Sources of source n % Sources. In a feed one record changes every Period; each change is numbered.
type clinics struct {
	size
	t     *testing.T
	began time.Time // of the changes
	*httptest.Server

	mu      sync.Mutex
	polls   [][]time.Time // by pipeline: when each was asked
	arrived []map[int]int // by pipeline: how often the change of a number arrived
}

// size is how many and how much there is.
type size struct {
	Sources, Pipelines int
	Every, Period      time.Duration
}

const recordsOfFeed = 40 // that change in turn

func newClinics(t *testing.T, s size) *clinics {
	t.Helper()
	c := &clinics{size: s, t: t, began: time.Now().Add(-time.Hour).Truncate(time.Second),
		polls: make([][]time.Time, s.Pipelines), arrived: make([]map[int]int, s.Pipelines)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ehr/{source}/feed/{feed}", c.list)
	mux.HandleFunc("GET /ehr/{source}/patient/{id}", c.patient)
	mux.HandleFunc("POST /notify", c.accept)
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// name is that of a pipeline.
func (c *clinics) name(n int) string { return fmt.Sprintf("p%05d", n) }

// changedAt is when the change of a number was made.
func (c *clinics) changedAt(pipeline, number int) time.Time {
	shift := time.Duration(pipeline) * 7919 * time.Millisecond % c.Period
	return c.began.Add(shift + time.Duration(number)*c.Period).Truncate(time.Second)
}

// list answers the last changes since an instant, of each record the last one.
func (c *clinics) list(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	source, err := strconv.Atoi(r.PathValue("source"))
	feed, err2 := strconv.Atoi(r.PathValue("feed"))
	since, err3 := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
	pipeline := feed*c.Sources + source
	if err != nil || err2 != nil || err3 != nil || pipeline >= c.Pipelines {
		http.Error(w, "no such list", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.polls[pipeline] = append(c.polls[pipeline], now)
	c.mu.Unlock()
	type item struct {
		ID, Patient, Changed string
		Number               int
		Text                 string
	}
	items := []item{}
	last := int(now.Sub(c.began) / c.Period)
	for c.changedAt(pipeline, last).After(now) {
		last--
	}
	for n := last; n > last-recordsOfFeed && n >= 0 && !c.changedAt(pipeline, n).Before(since); n-- {
		id := strconv.Itoa(n % recordsOfFeed)
		items = append(items, item{"r" + id, "m" + id, c.changedAt(pipeline, n).UTC().Format(time.RFC3339), n, strings.Repeat("x", 300)})
	}
	c.answer(w, items)
}

func (c *clinics) patient(w http.ResponseWriter, r *http.Request) {
	c.answer(w, map[string]string{"id": r.PathValue("id"), "name": strings.Repeat("y", 300)})
}

func (c *clinics) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		c.t.Error(err)
	}
}

func (c *clinics) accept(_ http.ResponseWriter, r *http.Request) {
	var told struct{ Pipeline, Number int }
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil || told.Pipeline < 0 || told.Pipeline >= c.Pipelines {
		c.t.Errorf("a notification is not what the mapping makes: %+v, %v", told, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.arrived[told.Pipeline] == nil {
		c.arrived[told.Pipeline] = map[int]int{}
	}
	c.arrived[told.Pipeline][told.Number]++
}

// config writes the configuration: so many sources and their pipelines to a file.
func (c *clinics) config(extra string) map[string]string {
	const perFile = 100
	files := map[string]string{
		"main.hcl": fmt.Sprintf("destination \"webhook\" \"all\" {\n  url           = %q\n  allow_private = true\n}\n%s", c.URL+"/notify", extra),
		"map.js":   "export default ({ change, fetched }, { pipeline }) => ({ Pipeline: Number(pipeline.slice(1)), Number: change.data.Number, of: fetched.patient.id });\n",
	}
	var b strings.Builder
	for s := range c.Sources {
		fmt.Fprintf(&b, "source \"rest\" \"s%05d\" {\n  base_url = %q\n  auth \"bearer\" {\n    token = \"token-of-%05d\"\n  }\n", s, fmt.Sprintf("%s/ehr/%d", c.URL, s), s)
		for n := s; n < c.Pipelines; n += c.Sources {
			fmt.Fprintf(&b, "  feed \"f%d\" {\n    path    = \"/feed/%[1]d\"\n    query   = { since = \"{since}\" }\n"+
				"    id      = \"ID\"\n    version = \"Changed\"\n    time    = \"Changed\"\n  }\n", n/c.Sources)
		}
		b.WriteString("  resource \"patient\" {\n    path = \"/patient/{id}\"\n  }\n}\n")
		for n := s; n < c.Pipelines; n += c.Sources {
			fmt.Fprintf(&b, "pipeline %q {\n  poll {\n    feed    = source.rest.s%05d.feed.f%d\n    every   = %q\n    overlap = %[4]q\n  }\n"+
				"  fetch \"patient\" {\n    id = change.data.Patient\n  }\n  deliver \"all\" {\n    to       = destination.webhook.all\n    map      = \"map.js\"\n"+
				"    order_by = change.id\n  }\n}\n", c.name(n), s, n/c.Sources, c.Every)
		}
		if s%perFile == perFile-1 || s == c.Sources-1 {
			files[fmt.Sprintf("clinics%03d.hcl", s/perFile)] = b.String()
			b.Reset()
		}
	}
	return files
}

// tick is the last instant, up to t and a little more, at which a pipeline is to poll: ticks are as far apart as Every says, shifted by
// a hash of the name, over restarts too.
func (c *clinics) tick(pipeline int, t time.Time) time.Time {
	h := fnv.New64a()
	h.Write([]byte(c.name(pipeline)))
	base := time.Unix(0, 0).Add(time.Duration(h.Sum64() % uint64(c.Every)))
	return base.Add(t.Sub(base).Truncate(c.Every))
}

// pollsBetween gives when each pipeline was polled from one instant to another.
func (c *clinics) pollsBetween(from, to time.Time) [][]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([][]time.Time, c.Pipelines)
	for i, all := range c.polls {
		for _, at := range all {
			if !at.Before(from) && at.Before(to) {
				out[i] = append(out[i], at)
			}
		}
	}
	return out
}

// unpolled counts the pipelines that were not polled since an instant.
func (c *clinics) unpolled(since time.Time) (n int) {
	for _, polls := range c.pollsBetween(since, time.Now()) {
		if len(polls) == 0 {
			n++
		}
	}
	return n
}

// lost counts the changes of which nothing arrived although a later one of the same feed, made before an instant, did; and those that
// arrived more than once.
func (c *clinics) lost(before time.Time) (arrived, lost, repeated int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for pipeline, numbers := range c.arrived {
		first, last := -1, -1
		for n, times := range numbers {
			arrived++
			if times > 1 {
				repeated++
			}
			if first < 0 || n < first {
				first = n
			}
			if !c.changedAt(pipeline, n).After(before) {
				last = max(last, n)
			}
		}
		for n := first; n >= 0 && n < last; n++ {
			if numbers[n] == 0 {
				lost++
			}
		}
	}
	return arrived, lost, repeated
}
