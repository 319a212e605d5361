// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
)

// api is a real server whose answers and clock are the test's.
type api struct {
	*httptest.Server
	t testing.TB

	mu      sync.Mutex
	handler http.HandlerFunc
	asked   []string  // path and query of each call
	clock   time.Time // of the Date header; zero: none is sent
}

func newAPI(t testing.TB) *api {
	a := &api{t: t}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked = append(a.asked, r.RequestURI)
		w.Header()["Date"] = nil
		if !a.clock.IsZero() {
			w.Header().Set("Date", a.clock.UTC().Format(http.TimeFormat))
		}
		w.Header().Set("Content-Type", "application/json")
		a.handler(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) serve(h http.HandlerFunc) { a.handler = h }

// answer has every call answered by the same body.
func (a *api) answer(body string) {
	a.serve(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) })
}

// last is the path and query of the last call.
func (a *api) last() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.asked) == 0 {
		return ""
	}
	return a.asked[len(a.asked)-1]
}

func (a *api) open(config string) sdk.Source {
	a.t.Helper()
	s, err := rest.Open(a.t.Context(), decode(a.t, config), sdk.Env{})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { s.Close() })
	return s
}

// feed opens a source with a feed "appointments" of local time in New York; more is further JSON of the feed.
func (a *api) feed(more string) sdk.Source {
	return a.open(`{"base_url": "` + a.URL + `", "auth": {"kind": "bearer", "token": "c4n4ry-token"},
		"feed": [{"name": "appointments", "path": "/appointments", "query": {"since": "{since}"}, "id": "id", "version": "updated",
			"time": "updated", "since": {"format": "2006-01-02T15:04:05", "zone": "America/New_York"}` + more + `}],
		"resource": [{"name": "patient", "path": "/patient/{id}"}, {"name": "by query", "path": "/p", "query": {"q": "id:{id}"}}]}`)
}

const (
	withCursor = `, "items": "items", "page": {"kind": "cursor", "next": "next", "param": "cursor"}`
	withLink   = `, "page": {"kind": "link"}`
)

// wantError checks code and text, and that the text holds nothing it must not.
func wantError(t testing.TB, err error, code sdk.Code, text string) {
	t.Helper()
	var e *sdk.Error
	if !errors.As(err, &e) || e.Code != code || e.Text != text {
		t.Errorf("got %s: %v\nwant %s: %s", sdk.CodeOf(err), err, code, text)
	}
	if err != nil && (strings.Contains(err.Error(), "c4n4ry") || strings.Contains(err.Error(), "127.0.0.1")) {
		t.Errorf("the error says what it must not: %v", err)
	}
}

func utc(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}
