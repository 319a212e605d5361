// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/athenahealth"
	"github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

const canary = "c4n4ry"

// clinic is a simulated practice, with a clock of its own, and a source of it.
type clinic struct {
	*simulator.Server
	*testing.T
	sdk.Source
	url string

	mu    sync.Mutex
	clock time.Time
	asked []string // method, path and query of each call but those for tokens

	before, after func(http.ResponseWriter, *http.Request) bool
}

var monday = time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)

// open makes a practice and opens a source; more is configuration.
func open(t *testing.T, o simulator.Options, more string) *clinic {
	t.Helper()
	c := &clinic{T: t, clock: monday}
	o.TokenLife = 10_000 * time.Hour // by the clock of the practice, which is set as one likes
	o.ClientID, o.Secret, o.Now = "rounds", canary+"-secret", c.now
	o.Before = func(w http.ResponseWriter, r *http.Request) bool {
		c.mu.Lock()
		if !strings.HasPrefix(r.URL.Path, "/oauth2") {
			c.asked = append(c.asked, r.Method+" "+r.RequestURI)
		}
		before := c.before
		c.mu.Unlock()
		return before != nil && before(w, r)
	}
	o.After = func(w http.ResponseWriter, r *http.Request) bool {
		c.mu.Lock()
		after := c.after
		c.mu.Unlock()
		return after != nil && after(w, r)
	}
	c.Server = simulator.New(o)
	server := httptest.NewServer(c.Server)
	t.Cleanup(server.Close)
	c.url = server.URL
	c.Source = c.another(more)
	return c
}

// another opens a further source of the practice, as after a restart.
func (c *clinic) another(more string) sdk.Source {
	c.Helper()
	s, err := athenahealth.Open(c.Context(), config(c.T, c.url, more), sdk.Env{})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = s.Close() })
	return s
}

func config(t *testing.T, url, more string) athenahealth.Config {
	t.Helper()
	text := fmt.Sprintf(`{"environment": "preview", "practice_id": "195900", "client_id": "rounds", "client_secret": "%s-secret", "base_url": %q,
		"limits": {"per_second": 0}%s}`, canary, url, more)
	var c athenahealth.Config
	if err := schema.Decode([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *clinic) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

func (c *clinic) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = c.clock.Add(d)
}

// do changes what the server does.
func (c *clinic) do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// calls are those since it was asked last.
func (c *clinic) calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.asked
	c.asked = nil
	return calls
}

// appointment changes one now.
func (c *clinic) appointment(id, status string) {
	c.Set("appointments", id, map[string]any{"appointmentstatus": status, "patientid": "7", "departmentid": "1", "note": canary})
}

// reader reads a feed as the engine does: what it committed it knows, a page that was not committed is asked for again.
type reader struct {
	c                 *clinic
	feed              string
	watermark, cursor []byte
	recover           bool
	got               []string            // committed, in order: id/status
	notes             map[string]sdk.Note // by code
	lose              func(page int) bool // the page is read and not committed
	pages             int
	listed            int // changes on all pages
}

func (c *clinic) reader(feed string) *reader {
	return &reader{c: c, feed: feed, recover: true, notes: map[string]sdk.Note{}}
}

// window reads one, or to what fails.
func (r *reader) window() error {
	r.c.Helper()
	for range 1000 {
		page, err := r.c.Poll(r.c.Context(), sdk.Query{Feed: r.feed, Watermark: r.watermark, Cursor: r.cursor, Recover: r.recover, Overlap: 2 * time.Minute})
		r.recover = true
		if err != nil {
			return err
		}
		r.listed += len(page.Changes)
		for _, n := range page.Notes {
			r.notes[n.Code] = n
		}
		if (page.Cursor == nil) == (page.Watermark == nil) {
			r.c.Fatalf("a page with cursor %s and watermark %s", page.Cursor, page.Watermark)
		}
		if r.pages++; r.lose != nil && r.lose(r.pages) {
			return errLost
		}
		for _, c := range page.Changes {
			if c.Err != nil {
				return c.Err
			}
			if state := stateOf(c); !slices.Contains(r.got, state) {
				r.got = append(r.got, state)
			}
		}
		r.cursor, r.recover = page.Cursor, false
		if page.Watermark != nil {
			r.watermark = page.Watermark
			return nil
		}
	}
	r.c.Fatal("a window that does not end")
	return nil
}

var errLost = sdk.Retryable("not committed")

func stateOf(c sdk.Change) string {
	var data struct{ AppointmentStatus string }
	_ = json.Unmarshal(c.Data, &data)
	return c.Ref.ID + "/" + data.AppointmentStatus
}

// expect wants to have committed these, whatever else was asked.
func (r *reader) expect(want ...string) {
	r.c.Helper()
	if !slices.Equal(r.got, want) {
		r.c.Errorf("committed is %q, want %q", r.got, want)
	}
}

// wantError checks code and text, and that the text holds nothing it must not.
func wantError(t *testing.T, err error, code sdk.Code, text string) {
	t.Helper()
	if sdk.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("got %s: %v\nwant %s: %s", sdk.CodeOf(err), err, code, text)
	}
	for _, secret := range []string{canary, "127.0.0.1", "195900", "token-"} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error says what it must not: %v", err)
		}
	}
}
