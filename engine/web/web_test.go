// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/web"
)

// gets and posts are every page behind a session.
var gets = []string{
	"/", "/pipelines/appointments", "/pipelines/broken", "/destinations/webhook.scheduling", "/dead", "/dead/dead1", "/notifications", "/notifications/n1",
	"/records", "/records/" + named, "/playground", "/playground?dead_letter=dead1", "/playground?notification=n1",
}

var posts = map[string]url.Values{
	"/reload": {}, "/poll": {"name": {"appointments"}}, "/pause": {"kind": {"pipeline"}, "name": {"appointments"}},
	"/resume": {"kind": {"pipeline"}, "name": {"appointments"}}, "/dead": {"after": {"dead1"}},
	"/dead/confirm":  {"action": {"retry"}, "id": {"dead1"}},
	"/dead/do":       {"action": {"discard"}, "id": {"dead1"}},
	"/notifications": {"after": {"x"}}, "/records": {"record": {recordID}, "pipeline": {"appointments"}},
	"/playground": {"dead_letter": {"dead1"}, "script": {"x"}},
}

func TestNothingIsShownWithoutASession(t *testing.T) {
	b := open(t, web.Options{Token: token})
	b.cookies = []*http.Cookie{{Name: "rounds-8417", Value: "MADEUPMADEUPMADEUPMADEUP"}}
	check := func(what string, code int, body string, want int) {
		if code != want {
			t.Errorf("%s answers %d, want %d", what, code, want)
		}
		for _, never := range []string{"Canary", "id-canary", named, "appointments", "webhook.scheduling"} {
			if strings.Contains(body, never) {
				t.Errorf("%s tells %q to nobody in particular", what, never)
			}
		}
	}
	for _, path := range append(slices.Clone(gets), "/no-such-page") {
		w := b.get(path)
		check("GET "+path, w.Code, strings.ReplaceAll(w.Body.String(), url.QueryEscape(path), ""), http.StatusSeeOther)
		if to := w.Header().Get("Location"); !strings.HasPrefix(to, "/login") {
			t.Errorf("GET %s leads to %s", path, to)
		}
	}
	for path, f := range posts {
		w := b.post(path, f)
		check("POST "+path, w.Code, w.Body.String(), http.StatusUnauthorized)
	}
	for _, path := range []string{"/login", "/open", "/open?code=x"} {
		w := b.get(path)
		check("GET "+path, w.Code, w.Body.String(), http.StatusOK)
	}
	part := posted("/playground", posts["/playground"])
	part.Header.Set("HX-Request", "true")
	if w := b.do(part); w.Code != http.StatusUnauthorized || w.Header().Get("HX-Redirect") != "/login" {
		t.Errorf("a part of a page is answered %d, and leads to %q", w.Code, w.Header().Get("HX-Redirect"))
	}
	if calls := b.engine.called(); len(calls) > 0 {
		t.Errorf("the engine was asked for nobody: %v", calls)
	}
}

func TestEveryLookTellsTheEngineWhoLooks(t *testing.T) {
	b := loggedIn(t)
	for _, path := range gets {
		if w := b.get(path); w.Code != http.StatusOK {
			t.Errorf("GET %s answers %d: %s", path, w.Code, w.Body)
		}
	}
	for path, f := range posts {
		if w := b.post(path, f); w.Code >= 400 {
			t.Errorf("POST %s answers %d: %s", path, w.Code, w.Body)
		}
	}
	who := regexp.MustCompile(`^web page, token, session [0-9a-f]{8}, from 192\.0\.2\.1$`)
	for i, call := range b.engine.calls {
		if !who.MatchString(b.engine.actors[i]) {
			t.Errorf("%s was asked for by %q", call, b.engine.actors[i])
		}
	}
	for _, call := range []string{"dead letter", "notification", "trace", "try"} {
		if !slices.Contains(b.engine.calls, call) {
			t.Errorf("nobody asked for %s", call)
		}
	}
}

func TestContentOfRecordsIsInert(t *testing.T) {
	b := loggedIn(t)
	pages := map[string]string{}
	for _, path := range gets {
		pages[path] = b.get(path).Body.String()
	}
	pages["a trial"] = b.post("/playground", url.Values{"dead_letter": {"dead1"}, "script": {canary}, "record": {string(content)}}).Body.String()
	b.engine.tried.Error, b.engine.tried.Detail = "map.js:1:4: "+canary, canary
	pages["a trial that fails"] = b.post("/playground", url.Values{"dead_letter": {"dead1"}, "script": {canary}}).Body.String()
	b.engine.refuse["retry "+canary] = &operate.Error{Text: canary}
	pages["results"] = b.post("/dead/do", url.Values{"action": {"retry"}, "id": {canary}}).Body.String()
	pages["a confirmation"] = b.post("/dead/confirm", url.Values{"action": {"retry"}, "id": {canary}, "code": {canary}}).Body.String()
	pages["no such pipeline"] = b.get("/pipelines/" + url.PathEscape(canary)).Body.String()
	pages["a login"] = open(t, web.Options{Token: token}).get("/login?next=/" + url.QueryEscape(canary)).Body.String()
	shown := 0
	for path, body := range pages {
		if n := strings.Count(body, "<script"); n != 2 {
			t.Errorf("%s has %d scripts, want its own two", path, n)
		}
		for _, never := range []string{"<img src=x", "<b>7731", "</textarea><img", " style=", " onclick=", "javascript:"} {
			if strings.Contains(body, never) {
				t.Errorf("%s holds %q", path, never)
			}
		}
		if strings.Contains(body, "Canary") {
			shown++
		}
	}
	if shown < 8 {
		t.Errorf("%d pages show the canary: this test proves nothing of the others", shown)
	}
}

func TestNoURLHoldsContent(t *testing.T) {
	b := loggedIn(t)
	w := b.post("/records", url.Values{"record": {recordID}, "pipeline": {"appointments"}})
	if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/records/"+named {
		t.Errorf("an identifier leads to %q (%d)", to, w.Code)
	}
	link := regexp.MustCompile(`(?:href|action|src|hx-get|hx-post)="([^"]*)"`)
	for _, path := range gets {
		for _, at := range link.FindAllStringSubmatch(b.get(path).Body.String(), -1) {
			if strings.Contains(strings.ToLower(at[1]), "canary") {
				t.Errorf("%s leads to %s", path, at[1])
			}
			if !strings.HasPrefix(at[1], "/") && !strings.HasPrefix(at[1], "#") {
				t.Errorf("%s leads elsewhere: %s", path, at[1])
			}
		}
	}
	// Where a list goes on may tell of a record: it is not taken from a URL.
	b.get("/notifications?after=secret")
	if calls := b.engine.called(); calls[len(calls)-1] != "notifications after " {
		t.Errorf("the place in the list was taken from the URL: %s", calls[len(calls)-1])
	}
}

func TestEveryAnswerIsClosedToOthers(t *testing.T) {
	b := loggedIn(t)
	for _, path := range append(slices.Clone(gets), "/login", "/no-such-page") {
		h := b.get(path).Header()
		for name, want := range map[string]string{
			"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; " +
				"frame-ancestors 'none'; base-uri 'none'",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s has %s %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestPostsFromOtherSitesAreRefused(t *testing.T) {
	for name, foreign := range map[string]map[string]string{
		"by what the browser says": {"Sec-Fetch-Site": "cross-site"}, "from another port": {"Sec-Fetch-Site": "same-site"},
		"by an old browser": {"Origin": "https://evil.example"},
	} {
		b := loggedIn(t)
		for path, f := range posts {
			r := posted(path, f)
			for k, v := range foreign {
				r.Header.Set(k, v)
			}
			if w := b.do(r); w.Code != http.StatusForbidden {
				t.Errorf("%s: POST %s answers %d", name, path, w.Code)
			}
		}
		if calls := b.engine.called(); len(calls) > 0 {
			t.Errorf("%s: the engine was asked: %v", name, calls)
		}
	}
}

func TestThePageIsKnownByItsOwnNamesOnly(t *testing.T) {
	b := open(t, web.Options{Token: token, Host: func(name string) bool { return name == "rounds.clinic.example" }})
	for host, want := range map[string]int{
		"127.0.0.1:8417": 200, "localhost:9000": 200, "[::1]:8417": 200, "192.0.2.7": 200, "rounds.clinic.example:8417": 200,
		"evil.example:8417": 421, "localhost.evil.example": 421, "": 421,
	} {
		r := httptestGet("/login")
		r.Host = host
		if w := b.do(r); w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
	}
}

func TestErrorsHaveTheirStatus(t *testing.T) {
	for _, x := range []struct {
		err  error
		want int
	}{
		{operate.ErrNotFound, 404}, {operate.ErrNotRunning, 503}, {operate.ErrInvalid, 422}, {operate.ErrSuperseded, 409}, {nil, 500},
	} {
		b := loggedIn(t)
		b.engine.refuse["dead letter"] = &operate.Error{Kind: x.err, Text: "for a person"}
		w := b.get("/dead/dead1")
		if w.Code != x.want {
			t.Errorf("%v: %d, want %d", x.err, w.Code, x.want)
		}
		holds(t, w, "for a person")
	}
}

func TestInvariant6ADefectOfAPageShowsNoContent(t *testing.T) {
	var logged bytes.Buffer
	b := open(t, web.Options{Token: token, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	b.post("/login", url.Values{"token": {token}})
	b.engine.panics = "dead letter"
	w := b.get("/dead/dead1")
	if w.Code != http.StatusInternalServerError || !strings.Contains(logged.String(), "DeadLetter") {
		t.Errorf("it is answered by %d, and the log has: %s", w.Code, logged.String())
	}
	if all := w.Body.String() + logged.String(); strings.Contains(all, "Canary") {
		t.Errorf("the value of the panic is shown: %s", all)
	}
}

func TestWhatIsDoneIsSaidOnce(t *testing.T) {
	for path, want := range map[string]struct{ call, to, said string }{
		"/reload": {"reload", "/", "3 unchanged; started pipeline.new"},
		"/poll":   {"poll appointments", "/pipelines/appointments", "5 changes, of which 2 are new"},
		"/pause":  {"pause pipeline appointments ", "/pipelines/appointments", "was paused"},
		"/resume": {"resume pipeline appointments", "/pipelines/appointments", "was resumed"},
	} {
		b := loggedIn(t)
		w := b.post(path, posts[path])
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != want.to {
			t.Errorf("%s leads to %q (%d): %s", path, to, w.Code, w.Body)
		}
		if !slices.Contains(b.engine.called(), want.call) {
			t.Errorf("%s called %v", path, b.engine.called())
		}
		refresh := httptestGet(want.to)
		refresh.Header.Set("HX-Request", "true")
		b.do(refresh) // shows a part of the page only
		holds(t, b.get(want.to), want.said)
		if strings.Contains(b.get(want.to).Body.String(), want.said) {
			t.Errorf("%s: it is said twice", path)
		}
	}
}

func TestReloadShowsTheMistakes(t *testing.T) {
	b := loggedIn(t)
	b.engine.refuse["reload"] = &operate.Error{Kind: operate.ErrInvalid, Text: "rounds.hcl:3: <mistake>"}
	w := b.post("/reload", nil)
	if w.Code != http.StatusUnprocessableEntity {
		t.Errorf("a mistake is answered by %d", w.Code)
	}
	holds(t, w, "rounds.hcl:3: &lt;mistake&gt;")
}

func TestOverviewTellsWhatWantsAPerson(t *testing.T) {
	w := loggedIn(t).get("/")
	holds(t, w, "5 things want a person", "attached to be debugged, at 127.0.0.1:4711", "3 dead letters", "the feed was reset", "the receiver answers 401", "1 lane is held", `class="badge warn">paused`)
}

func TestDeadLettersAreRetriedOneByOne(t *testing.T) {
	b := loggedIn(t)
	b.engine.refuse["retry dead2"] = &operate.Error{Kind: operate.ErrInvalid, Text: "it fails again, and stays"}
	w := b.post("/dead/confirm", url.Values{"action": {"retry"}, "all": {"1"}, "pipeline": {"appointments"}})
	holds(t, w, "Retry 3 dead letters?", `name="pipeline" value="appointments"`, `name="to" value="2`)
	if calls := b.engine.called(); slices.Contains(calls, "retry dead1") {
		t.Fatal("it was done before it was confirmed")
	}
	w = b.post("/dead/do", url.Values{"action": {"retry"}, "all": {"1"}, "pipeline": {"appointments"}, "to": {"2026-05-10T10:00:00.5Z"}})
	holds(t, w, "2 retried, 1 stays", "it fails again, and stays", "in the outbox again")
	if f := b.engine.filter; f.Pipeline != "appointments" || f.To.Nanosecond() != 5e8 {
		t.Errorf("the filter was %+v", f)
	}
	for _, want := range []string{"retry dead1", "retry dead2", "retry dead3"} {
		if !slices.Contains(b.engine.called(), want) {
			t.Errorf("%s was not done", want)
		}
	}
	w = b.post("/dead/do", url.Values{"action": {"retry"}, "id": {"dead2"}, "force": {"1"}})
	if !slices.Contains(b.engine.called(), "retry dead2 force") {
		t.Errorf("force did not arrive: %s", w.Body)
	}
	for name, f := range map[string]url.Values{"nothing is chosen": {"action": {"retry"}}, "no such action": {"action": {"eat"}, "id": {"dead1"}}} {
		if w := b.post("/dead/do", f); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestMoreDeadLettersThanAtOnceGoOnBehindThoseThatStay(t *testing.T) {
	b := loggedIn(t)
	b.engine.page = 2
	b.engine.refuse["discard dead1"] = &operate.Error{Text: "it stays"}
	w := b.post("/dead/do", url.Values{"action": {"discard"}, "all": {"1"}})
	holds(t, w, "1 discarded, 1 stays", `name="after" value="dead2"`)
	holds(t, b.post("/dead/do", url.Values{"action": {"discard"}, "all": {"1"}, "after": {"dead2"}}), "1 discarded")
	if calls := b.engine.called(); calls[len(calls)-1] != "discard dead3" {
		t.Errorf("it went on with %v", calls)
	}
}

// TestWhoIsGoneIsNoDefect: that nobody is there any more to be told what came of it is nothing for the log.
func TestWhoIsGoneIsNoDefect(t *testing.T) {
	var log bytes.Buffer
	b := open(t, web.Options{Token: token, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b.post("/login", url.Values{"token": {token}})
	log.Reset()
	gone, leave := context.WithCancel(t.Context())
	leave()
	b.do(posted("/dead/do", url.Values{"action": {"discard"}, "id": {"dead1", "dead2"}}).WithContext(gone))
	if calls := b.engine.called(); !slices.Contains(calls, "discard dead1") || slices.Contains(calls, "discard dead2") {
		t.Errorf("what was done: %v", calls)
	}
	if log.Len() > 0 {
		t.Errorf("the log says: %s", log.String())
	}
}

func TestFiltersReachTheEngine(t *testing.T) {
	b := loggedIn(t)
	w := b.get("/dead?pipeline=appointments&destination=webhook.scheduling&code=script&from=2026-05-10T10:00&to=2026-05-11T10:00")
	if got := fmt.Sprintf("%+v", b.engine.filter); !strings.Contains(got, "Pipeline:appointments Destination:webhook.scheduling Code:script Record: From:2026-05-10 10:00:00") {
		t.Errorf("the filter was %s", got)
	}
	holds(t, w, `<option selected>appointments`, `value="2026-05-11T10:00"`)
	if w := b.get("/dead?from=yesterday"); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("a wrong time is answered by %d", w.Code)
	}
}

func TestRecordsAreFoundByNameOrIdentifier(t *testing.T) {
	for name, f := range map[string]url.Values{
		"name": {"record": {" " + named + " "}}, "identifier": {"record": {recordID}, "pipeline": {"appointments"}},
	} {
		if w := loggedIn(t).post("/records", f); w.Header().Get("Location") != "/records/"+named {
			t.Errorf("by %s: %d %s", name, w.Code, w.Body)
		}
	}
	for name, f := range map[string]url.Values{
		"nothing": {}, "an identifier of any pipeline": {"record": {recordID}}, "one that nobody knows": {"record": {"who"}, "pipeline": {"appointments"}},
	} {
		if w := loggedIn(t).post("/records", f); w.Code < 400 || w.Header().Get("Location") != "" {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	holds(t, loggedIn(t).get("/records/"+named), "Generation 2", "Generation 1", `href="/dead/dead1"`, `href="/notifications/n1"`)
	b := loggedIn(t)
	if w := b.get("/records/" + url.PathEscape(recordID)); w.Code != http.StatusNotFound || len(b.engine.called()) > 0 {
		t.Errorf("an identifier in the URL is answered by %d, and looked for: %v", w.Code, b.engine.called())
	}
	if w := b.post("/records?record="+url.QueryEscape(recordID)+"&pipeline=appointments", nil); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("an identifier in the URL of a POST is answered by %d", w.Code)
	}
}

func TestPlaygroundTriesWhatStandsInTheForm(t *testing.T) {
	b := loggedIn(t)
	b.engine.tried.Error = `deliver "scheduling": map.js:2:7: TypeError`
	r := posted("/playground", url.Values{
		"pipeline": {"appointments"}, "deliver": {"scheduling"}, "dead_letter": {"dead1"}, "script": {"one\r\n  two\r\n"}, "record": {"{\"a\": 1}"},
	})
	r.Header.Set("HX-Request", "true")
	w := b.do(r)
	holds(t, w, `data-line="2"`, "<code>two</code>")
	if strings.Contains(w.Body.String(), "<html") {
		t.Error("htmx gets a whole page")
	}
	got := b.engine.trial
	if got.Script == nil || *got.Script != "one\n  two\n" || string(got.Change) != `{"a": 1}` || got.DeadLetter != "dead1" || got.Pipeline != "appointments" {
		t.Errorf("tried was %+v", got)
	}
	for name, f := range map[string]url.Values{"no record": {"pipeline": {"appointments"}}, "no JSON": {"record": {"{"}}} {
		before := len(b.engine.called())
		w := b.post("/playground", f)
		holds(t, w, `class="verdict bad"`)
		if slices.Contains(b.engine.called()[before:], "try") {
			t.Errorf("%s was tried", name)
		}
	}
	b.engine.tried.Error, b.engine.tried.Filtered = "", true
	holds(t, b.post("/playground", posts["/playground"]), "it would be filtered")
}

func TestAssetsAreTheirOwnAndKept(t *testing.T) {
	b := open(t, web.Options{Token: token})
	page := b.get("/login").Body.String()
	for _, path := range regexp.MustCompile(`/assets/[0-9a-f]{16}\.[a-z.]+`).FindAllString(page, -1) {
		w := b.get(path)
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Body.Len() == 0 {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := b.get("/assets/htmx.min.js"); w.Code != http.StatusNotFound {
		t.Errorf("a file without its hash is answered by %d", w.Code)
	}
	readme, err := os.ReadFile("assets/README.md")
	if err != nil {
		t.Fatal(err)
	}
	htmx, err := os.ReadFile("assets/htmx.min.js")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(htmx)
	if !strings.Contains(string(readme), hex.EncodeToString(sum[:])) {
		t.Error("htmx.min.js is not the file that assets/README.md tells of")
	}
	files, err := filepath.Glob("templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, "assets/style.css", "assets/page.js") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := regexp.MustCompile(`https?://|url\(|@import|<style|style="`).Find(data); at != nil {
			t.Errorf("%s has %q: nothing comes from elsewhere, and nothing is inline", name, at)
		}
	}
}
