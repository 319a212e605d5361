// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/web"
)

// What a record holds in these tests: it would be seen if it came out unescaped, and where it has no business.
const (
	canary   = `Canary<script>alert(1)</script>"'{{.}}</pre></textarea><img src=x onerror=alert(1)>`
	recordID = `id-canary<b>7731`
	named    = "0123456789abcdef" // what logs call it
)

var content, _ = json.Marshal(map[string]any{"change": map[string]any{"id": recordID, "data": canary}})

// engine is an engine that tells made-up things, and notes who asked for what.
type engine struct {
	operate.Engine // what is not faked is not called
	mu             sync.Mutex
	calls          []string
	actors         []string
	dead           []operate.DeadLetter
	page           int // dead letters that one answer holds at most
	refuse         map[string]error
	panics         string // the call that does
	filter         operate.Filter
	trial          operate.Trial
	tried          operate.TriedContent
}

func newEngine() *engine {
	e := &engine{page: 1000, refuse: map[string]error{}}
	e.dead = []operate.DeadLetter{letter("dead1"), letter("dead2"), letter("dead3")}
	e.tried = operate.TriedContent{Pipeline: "appointments", Deliver: "scheduling", File: "map.js", Script: "// " + canary + "\nsecond\n", Change: content, Body: content}
	return e
}

func letter(id string) operate.DeadLetter {
	return operate.DeadLetter{
		ID: id, Pipeline: "appointments", Deliver: "scheduling", Record: named, Kind: "appointment", Generation: 3, Time: time.Now(), Stage: "map",
		Code: "script", Text: "map.js:2:1: TypeError", Attempts: 1,
	}
}

func (e *engine) note(ctx context.Context, call string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, call)
	e.actors = append(e.actors, operate.Actor(ctx))
	if call == e.panics {
		panic(canary)
	}
	return e.refuse[call]
}

func (e *engine) called() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

func (e *engine) Status(ctx context.Context) (*operate.Status, error) {
	return &operate.Status{
		Running: true, Started: time.Now().Add(-time.Hour), Attached: []operate.Attached{{Adapter: "acme", Address: "127.0.0.1:4711"}},
		Pipelines: []operate.PipelineStatus{
			{Name: "appointments", Source: "rest.clinic", Feed: "appointments", Every: "1m", State: "waiting", LastPoll: time.Now(), DeadLetters: len(e.dead)},
			{Name: "broken", State: "gap", Why: "the feed was reset"},
		},
		Sources: []operate.SourceStatus{{Name: "rest.clinic", Adapter: "rest", State: "open"}},
		Destinations: []operate.DestinationStatus{
			{Name: "webhook.scheduling", State: "paused", Why: "the receiver answers 401", Waiting: 4, Oldest: time.Now().Add(-time.Minute), Held: 1},
		},
	}, e.note(ctx, "status")
}

func (e *engine) Pause(ctx context.Context, t operate.Target, why string) error {
	return e.note(ctx, "pause "+t.Kind+" "+t.Name+" "+why)
}

func (e *engine) Resume(ctx context.Context, t operate.Target) error {
	return e.note(ctx, "resume "+t.Kind+" "+t.Name)
}

func (e *engine) Poll(ctx context.Context, pipeline string) (*operate.Polled, error) {
	return &operate.Polled{Changes: 5, New: 2}, e.note(ctx, "poll "+pipeline)
}

func (e *engine) Position(ctx context.Context, pipeline string) (*operate.Position, error) {
	return &operate.Position{Pipeline: pipeline, Started: true, Watermark: json.RawMessage(`{"t":"2026-05-10"}`)}, e.note(ctx, "position")
}

func (e *engine) Dead(ctx context.Context, f operate.Filter, p operate.Page) (*operate.DeadList, error) {
	e.filter = f
	at := 0
	if p.After != "" {
		at = slices.IndexFunc(e.dead, func(d operate.DeadLetter) bool { return d.ID == p.After }) + 1
	}
	end := min(len(e.dead), at+min(e.page, p.Limit))
	out := &operate.DeadList{DeadLetters: e.dead[at:end]}
	if end < len(e.dead) {
		out.Next = e.dead[end-1].ID
	}
	return out, e.note(ctx, "dead")
}

func (e *engine) DeadLetter(ctx context.Context, id string) (*operate.DeadContent, error) {
	return &operate.DeadContent{
		DeadLetter: letter(id), RecordID: recordID, Version: canary, Detail: canary, Change: content, Previous: content, Body: content, Superseded: true,
		Tries: []operate.Try{{Time: time.Now(), Code: "http_500"}},
	}, e.note(ctx, "dead letter")
}

func (e *engine) Retry(ctx context.Context, id string, force bool) (*operate.Retried, error) {
	call := "retry " + id
	if force {
		call += " force"
	}
	return &operate.Retried{Notifications: 1}, e.note(ctx, call)
}

func (e *engine) Discard(ctx context.Context, id string) error { return e.note(ctx, "discard "+id) }

func (e *engine) Notifications(ctx context.Context, f operate.Filter, p operate.Page) (*operate.NotificationList, error) {
	e.filter = f
	return &operate.NotificationList{Notifications: []operate.Notification{notification("n1")}, Next: "next"}, e.note(ctx, "notifications after "+p.After)
}

func notification(id string) operate.Notification {
	return operate.Notification{
		ID: id, Pipeline: "appointments", Deliver: "scheduling", Destination: "webhook.scheduling", Record: named, Kind: "appointment", Generation: 3,
		State: "delivered", Polled: time.Now(), Delivered: time.Now(), Code: "accepted", Attempts: 1, Tries: []operate.Try{{Time: time.Now(), Code: "http_500"}},
	}
}

func (e *engine) Notification(ctx context.Context, id string) (*operate.NotificationContent, error) {
	return &operate.NotificationContent{Notification: notification(id), RecordID: recordID, Version: canary, Change: content, Body: content}, e.note(ctx, "notification")
}

func (e *engine) Trace(ctx context.Context, r operate.Record) (*operate.TraceContent, error) {
	if r.Name != named && r.ID != recordID {
		_ = e.note(ctx, "trace of nobody")
		return nil, &operate.Error{Kind: operate.ErrNotFound, Text: "the state knows no such record"}
	}
	return &operate.TraceContent{
		Record: operate.Record{Name: named, Pipeline: "appointments", Kind: "appointment", ID: recordID}, Generation: 2, Version: canary,
		Events: []operate.Event{
			{Time: time.Now(), What: "polled", Generation: 1}, {Time: time.Now(), What: "delivered", Generation: 1, ID: "n1", Code: "accepted"},
			{Time: time.Now(), What: "dead_letter", Generation: 2, ID: "dead1", Text: canary},
		},
	}, e.note(ctx, "trace")
}

func (e *engine) Try(ctx context.Context, t operate.Trial) (*operate.TriedContent, error) {
	e.trial = t
	tried := e.tried
	return &tried, e.note(ctx, "try")
}

func (e *engine) Reload(ctx context.Context) (*operate.Reloaded, error) {
	return &operate.Reloaded{Started: []string{"pipeline.new"}, Unchanged: 3}, e.note(ctx, "reload")
}

const token = "correct horse battery staple"

// browser is a browser, as far as cookies go, in front of a site.
type browser struct {
	t       *testing.T
	site    *web.Site
	engine  *engine
	cookies []*http.Cookie
	from    string
}

func open(t *testing.T, o web.Options) *browser {
	t.Helper()
	e := newEngine()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Samples == nil {
		o.Samples = web.NewSamples()
	}
	return &browser{t: t, engine: e, site: web.New(e, o), from: "192.0.2.1:5000"}
}

func loggedIn(t *testing.T) *browser {
	t.Helper()
	b := open(t, web.Options{Token: token})
	if got := b.post("/login", url.Values{"token": {token}}); got.Code != http.StatusSeeOther {
		t.Fatalf("the login answers %d: %s", got.Code, got.Body)
	}
	return b
}

func (b *browser) do(r *http.Request) *httptest.ResponseRecorder {
	b.t.Helper()
	r.RemoteAddr = b.from
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	b.site.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookies = slices.DeleteFunc(b.cookies, func(old *http.Cookie) bool { return old.Name == c.Name })
		if c.MaxAge >= 0 {
			b.cookies = append(b.cookies, c)
		}
	}
	return w
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8417"+path, nil))
}

func (b *browser) post(path string, f url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(posted(path, f))
}

func posted(path string, f url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8417"+path, strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://127.0.0.1:8417")
	return r
}

// holds fails the test unless a page has each of the texts.
func holds(t *testing.T, w *httptest.ResponseRecorder, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("the page (%d) does not hold %q:\n%s", w.Code, text, w.Body)
		}
	}
}
