// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/web"
)

func httptestGet(path string) *http.Request {
	return httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8417"+path, nil)
}

func TestTheTokenOpensASessionOfTwelveHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, web.Options{Token: token, TLS: true})
		w := b.post("/login", url.Values{"token": {token}, "next": {"/dead?pipeline=appointments"}})
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/dead?pipeline=appointments" {
			t.Errorf("the login leads to %q (%d)", to, w.Code)
		}
		c := b.cookies[0]
		if c.Name != "rounds-8417" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.MaxAge != 12*60*60 || c.Path != "/" || len(c.Value) < 26 {
			t.Errorf("the cookie is %+v", c)
		}
		if strings.Contains(c.Value, token) {
			t.Error("the cookie holds the token")
		}
		time.Sleep(12*time.Hour - time.Second)
		if w := b.get("/"); w.Code != http.StatusOK {
			t.Errorf("the session ended before its time: %d", w.Code)
		}
		time.Sleep(2 * time.Second)
		if w := b.get("/"); w.Code != http.StatusSeeOther {
			t.Errorf("the session goes on: %d", w.Code)
		}
	})
}

func TestWithoutTLSTheCookieIsSentWithoutTLS(t *testing.T) {
	if c := loggedIn(t).cookies[0]; c.Secure {
		t.Errorf("the cookie is %+v", c)
	}
}

func TestLogoutEndsTheSession(t *testing.T) {
	b := loggedIn(t)
	kept := slices.Clone(b.cookies)
	if w := b.post("/logout", nil); w.Header().Get("Location") != "/login" || len(b.cookies) > 0 {
		t.Errorf("the logout answers %d, and the cookie is %v", w.Code, b.cookies)
	}
	b.cookies = kept
	if w := b.get("/"); w.Code != http.StatusSeeOther {
		t.Errorf("the session goes on: %d", w.Code)
	}
}

func TestWrongTokensAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, web.Options{Token: token})
		try := func(text string) int { return b.post("/login", url.Values{"token": {text}}).Code }
		for i := range 5 {
			if code := try("wrong"); code != http.StatusUnauthorized {
				t.Fatalf("attempt %d is answered by %d", i, code)
			}
		}
		for _, text := range []string{"wrong", token} {
			if code := try(text); code != http.StatusTooManyRequests {
				t.Errorf("too many attempts, and %q is answered by %d", text, code)
			}
		}
		r := httptestGet("/")
		r.Header.Set("Authorization", "Bearer "+token)
		if w := b.do(r); w.Code != http.StatusTooManyRequests {
			t.Errorf("the header is a way round: %d", w.Code)
		}
		b.from = "192.0.2.2:1"
		if code := try(token); code != http.StatusSeeOther {
			t.Errorf("another address is answered by %d", code)
		}
		b.from = "[2001:db8::1]:1"
		for range 5 {
			try("wrong")
		}
		b.from = "[2001:db8::2]:1"
		if code := try(token); code != http.StatusTooManyRequests {
			t.Errorf("the next address of the same network is answered by %d", code)
		}
		b.from = "192.0.2.1:5000"
		time.Sleep(11 * time.Second)
		if code := try(token); code != http.StatusSeeOther {
			t.Errorf("after a while it is answered by %d", code)
		}
	})
}

// TestWrongTokensAreLoggedHoweverTheyCome, and bounded, so that nobody fills the log who has no token.
func TestWrongTokensAreLoggedHoweverTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		b := open(t, web.Options{Token: token, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		for from, try := range map[string]func(){
			"192.0.2.1": func() { b.post("/login", url.Values{"token": {"a wrong one"}}) },
			"192.0.2.2": func() {
				r := httptestGet("/")
				r.Header.Set("Authorization", "Bearer a wrong one")
				b.do(r)
			},
		} {
			b.from = from + ":1"
			for range 50 {
				try()
			}
			if n := strings.Count(logged.String(), "from="+from+"\n"); n != 5 {
				t.Errorf("50 wrong tokens from %s are logged %d times, want 5\n%s", from, n, logged.String())
			}
		}
		if strings.Contains(logged.String(), "a wrong one") {
			t.Error("the log holds what was given as a token")
		}
	})
}

func TestTheTokenMayBeSentAlong(t *testing.T) {
	b := open(t, web.Options{Token: token})
	for header, want := range map[string]int{"Bearer " + token: 200, "Bearer wrong": 401, "Bearer ": 401, "Basic " + token: 401} {
		r := httptestGet("/dead/dead1")
		r.Header.Set("Authorization", header)
		if w := b.do(r); w.Code != want {
			t.Errorf("%q: %d, want %d", header, w.Code, want)
		}
	}
	if got := b.engine.actors; len(got) != 1 || got[0] != "web page, token without a session, from 192.0.2.1" {
		t.Errorf("the engine was asked by %q", got)
	}
}

func TestWithoutATokenNoTokenOpens(t *testing.T) {
	b := open(t, web.Options{})
	if w := b.post("/login", url.Values{"token": {""}}); w.Code != http.StatusUnauthorized {
		t.Errorf("an empty token is answered by %d", w.Code)
	}
	r := httptestGet("/")
	r.Header.Set("Authorization", "Bearer ")
	if w := b.do(r); w.Code != http.StatusUnauthorized {
		t.Errorf("an empty header is answered by %d", w.Code)
	}
	holds(t, b.get("/login"), "rounds web --state DIR")
}

func TestALinkOpensOnceForWhoAskedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, web.Options{})
		link := b.site.Link("admin socket, uid 1000")
		code := url.Values{"code": {strings.TrimPrefix(link, "/open?code=")}}
		for range 2 { // looking ahead uses nothing up
			holds(t, b.get(link), code.Get("code"))
		}
		if w := b.post("/open", code); w.Header().Get("Location") != "/" {
			t.Fatalf("the link is answered by %d: %s", w.Code, w.Body)
		}
		b.get("/dead/dead1")
		if who := b.engine.actors[0]; !strings.HasPrefix(who, "web page, link for admin socket, uid 1000, session ") {
			t.Errorf("the engine was asked by %q", who)
		}
		b.cookies = nil
		if w := b.post("/open", code); w.Code != http.StatusNotFound || len(b.cookies) > 0 {
			t.Errorf("the link opens twice: %d", w.Code)
		}
		late := url.Values{"code": {strings.TrimPrefix(b.site.Link("x"), "/open?code=")}}
		time.Sleep(2*time.Minute + time.Second)
		if w := b.post("/open", late); w.Code != http.StatusNotFound || len(b.cookies) > 0 {
			t.Errorf("an old link opens: %d", w.Code)
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, web.Options{Token: token})
		var first []*http.Cookie
		for range 65 {
			b.cookies = nil
			b.post("/login", url.Values{"token": {token}})
			if first == nil {
				first = b.cookies
			}
			time.Sleep(time.Second)
		}
		if w := b.get("/"); w.Code != http.StatusOK {
			t.Errorf("the newest session: %d", w.Code)
		}
		if b.cookies = first; b.get("/").Code != http.StatusSeeOther {
			t.Error("the oldest session goes on")
		}
	})
}

func TestTheLoginLeadsNowhereElse(t *testing.T) {
	for next, want := range map[string]string{
		"/dead?pipeline=a": "/dead?pipeline=a", "": "/", "https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/", "javascript:alert(1)": "/",
		"dead": "/", "/\t/evil.example": "/",
	} {
		b := open(t, web.Options{Token: token})
		if to := b.post("/login", url.Values{"token": {token}, "next": {next}}).Header().Get("Location"); to != want {
			t.Errorf("%q leads to %q, want %q", next, to, want)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	b := open(t, web.Options{Token: token})
	if w := b.post("/login", url.Values{"token": {strings.Repeat("x", 5<<10)}}); w.Code < 400 || len(b.cookies) > 0 {
		t.Errorf("a large login is answered by %d", w.Code)
	}
}
