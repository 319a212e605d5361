// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
)

// fetchOne opens a source with a resource "p" and fetches one.
func fetchOne(t *testing.T, api *api, config string) error {
	t.Helper()
	s := api.open(`{"base_url": "` + api.URL + `", ` + config + `, "resource": [{"name": "p", "path": "/p/{id}", "query": {"a": "b"},
		"headers": {"X-Level": "resource"}}]}`)
	results, err := s.Fetch(t.Context(), refs("p", "1"))
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Err
}

func TestHeadersAreSentTheNearestLevelFirst(t *testing.T) {
	api := newAPI(t)
	check := func(want map[string]string) {
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			for name, value := range want {
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s %s: %s is %q, want %q", r.Method, r.URL.Path, name, got, value)
				}
			}
			io.WriteString(w, "[]")
		})
	}
	const source = `"auth": {"kind": "bearer", "token": "t"}, "headers": {"x-level": "source", "X-Tenant": "c4n4ry", "User-Agent": "me"}`
	check(map[string]string{"X-Level": "resource", "X-Tenant": "c4n4ry", "User-Agent": "me", "Authorization": "Bearer t"})
	if err := fetchOne(t, api, source); err != nil {
		t.Error(err)
	}
	s := api.open(`{"base_url": "` + api.URL + `", ` + source + `, "feed": [
		{"name": "appointments", "path": "/{since}", "id": "id", "time": "t", "headers": {"X-Level": "feed"}}],
		"resource": [{"name": "q", "path": "/q/{id}"}]}`)
	check(map[string]string{"X-Level": "source"}) // what a feed has is of no other's
	if results, _ := s.Fetch(t.Context(), refs("q", "1")); results[0].Err != nil {
		t.Error(results[0].Err)
	}
	check(map[string]string{"X-Level": "feed", "X-Tenant": "c4n4ry", "Content-Type": ""})
	poll(t, s, sdk.Query{})
	s = api.open(`{"base_url": "` + api.URL + `", ` + source + `, "feed": [
		{"name": "appointments", "path": "/{since}", "id": "id", "time": "t", "method": "POST", "headers": {"content-type": "application/vnd.api+json"}}]}`)
	check(map[string]string{"X-Level": "source", "Content-Type": "application/vnd.api+json"})
	poll(t, s, sdk.Query{})
}

func TestAnAPIKeyIsSentAsConfiguredAndShownNowhere(t *testing.T) {
	for _, tt := range []struct{ auth, header, uri string }{
		{`"key": "c4n4ry", "header": "X-Api-Key"`, "c4n4ry", "/p/1?a=b"},
		{`"key": "c4n4ry+ &", "param": "api key"`, "", "/p/1?a=b&api%20key=c4n4ry%2B%20%26"},
	} {
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Api-Key") != tt.header || r.RequestURI != tt.uri || r.Header.Get("Authorization") != "" {
				t.Errorf("asked %s with %q", r.RequestURI, r.Header.Get("X-Api-Key"))
			}
			w.WriteHeader(http.StatusUnauthorized)
		})
		err := fetchOne(t, api, `"auth": {"kind": "api_key", `+tt.auth+`}`)
		wantError(t, err, sdk.CodeUnauthorized, "GET /p/{id}: 401 Unauthorized")
		api.Close()
		err = fetchOne(t, api, `"timeout": "1ms", "auth": {"kind": "api_key", `+tt.auth+`}`)
		if err == nil || strings.Contains(err.Error(), "c4n4ry") || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("a server that is down: %v", err)
		}
	}
}

// A server may repeat the whole query in the address of the next page.
func TestAnAPIKeyIsNotKeptInTheCursor(t *testing.T) {
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); len(q["key"]) != 1 || q.Get("key") != "c4n4ry" {
			t.Errorf("asked %s", r.RequestURI)
		}
		if r.URL.Query().Get("page") != "2" {
			w.Header().Set("Link", "<"+r.RequestURI+"&page=2>; rel=next")
		}
		io.WriteString(w, "[]")
	})
	s := api.open(`{"base_url": "` + api.URL + `", "auth": {"kind": "api_key", "key": "c4n4ry", "param": "key"}, "feed": [
		{"name": "appointments", "path": "/a", "query": {"since": "{since}"}, "id": "id", "time": "t", "page": {"kind": "link"}}]}`)
	page := poll(t, s, sdk.Query{})
	if strings.Contains(string(page.Cursor), "c4n4ry") || !strings.Contains(string(page.Cursor), "page=2") {
		t.Errorf("cursor %s", page.Cursor)
	}
	poll(t, s, sdk.Query{Cursor: page.Cursor})
}

// idp is a server, on another origin than the API, that issues tokens.
func idp(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestATokenIsAskedForAsOAuth2HasIt(t *testing.T) {
	for _, tt := range []struct{ more, authorization, form string }{
		{``, "Basic aWQlMkIxOnMlMkZjNG40cnklMjY=", "grant_type=client_credentials"}, // id%2B1:s%2Fc4n4ry%26
		{`, "client_auth": "header", "scopes": ["a.read", "b"]`, "Basic aWQlMkIxOnMlMkZjNG40cnklMjY=",
			"grant_type=client_credentials&scope=a.read+b"},
		{`, "client_auth": "body", "params": {"audience": "https://api"}`, "",
			"audience=https%3A%2F%2Fapi&client_id=id%2B1&client_secret=s%2Fc4n4ry%26&grant_type=client_credentials"},
	} {
		calls := 0
		tokens := idp(t, func(w http.ResponseWriter, r *http.Request) {
			calls++
			form, _ := io.ReadAll(r.Body)
			if r.Method != http.MethodPost || r.RequestURI != "/token?tenant=1" || string(form) != tt.form ||
				r.Header.Get("Authorization") != tt.authorization || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" ||
				r.Header.Get("X-Tenant") != "" {
				t.Errorf("%s %s %q: %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), form)
			}
			io.WriteString(w, `{"access_token": "tok3n", "token_type": "bearer", "expires_in": "3600"}`)
		})
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer tok3n" {
				t.Errorf("sent %q", r.Header.Get("Authorization"))
			}
			io.WriteString(w, "{}")
		})
		s := api.open(`{"base_url": "` + api.URL + `", "headers": {"X-Tenant": "c4n4ry"}, "auth": {"kind": "oauth2",
			"token_url": "` + tokens.URL + `/token?tenant=1", "client_id": "id+1", "client_secret": "s/c4n4ry&"` + tt.more + `},
			"resource": [{"name": "p", "path": "/p/{id}"}]}`)
		for range 2 {
			results, err := s.Fetch(t.Context(), refs("p", "1", "2", "3", "4", "5", "6"))
			if err != nil || results[5].Err != nil {
				t.Fatal(err, results[5].Err)
			}
		}
		if calls != 1 {
			t.Errorf("%d tokens were issued", calls)
		}
	}
}

func TestARefreshTokenIsKeptAlthoughItsSourceCloses(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	tokens := idp(t, func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		io.WriteString(w, `{"access_token": "a", "refresh_token": "r1-c4n4ry"}`)
	})
	api := newAPI(t)
	var saved []byte
	s, err := rest.Open(t.Context(), decode(t, `{"base_url": "`+api.URL+`", "auth": {"kind": "oauth2", "token_url": "`+tokens.URL+`", "client_id": "a",
		"refresh_token": "r0-c4n4ry"}, "resource": [{"name": "p", "path": "/p/{id}"}]}`), sdk.Env{
		State: sdk.NewState(nil, func(_ context.Context, stored []byte) error { saved = stored; return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fetched := make(chan error)
	go func() {
		_, err := s.Fetch(ctx, refs("p", "1"))
		fetched <- err
	}()
	<-asked
	cancel() // as the engine does before it closes a source
	<-fetched
	time.AfterFunc(50*time.Millisecond, func() { close(answer) })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if kept := sdk.NewState(saved, nil).Section("oauth2").Load(); !strings.Contains(string(kept), "r1-c4n4ry") {
		t.Error("a refresh token that was under way is lost")
	}
}

func TestATokenIsAskedForWithAnAssertionOrARefreshToken(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	if err != nil {
		t.Fatal(err)
	}
	var form url.Values
	rotated := 0
	tokens := idp(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		form = r.PostForm
		rotated++
		fmt.Fprintf(w, `{"access_token": "tok3n", "refresh_token": "r%d"}`, rotated)
	})
	api := newAPI(t)
	api.answer(`{}`)
	var stored []byte
	fetch := func(auth string) {
		t.Helper()
		env := sdk.Env{State: sdk.NewState(stored, func(_ context.Context, s []byte) error { stored = s; return nil })}
		s, err := rest.Open(t.Context(), decode(t, `{"base_url": "`+api.URL+`", "auth": {"kind": "oauth2", "token_url": "`+tokens.URL+
			`/token", "client_id": "poller", `+auth+`}, "resource": [{"name": "p", "path": "/p/{id}"}]}`), env)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if results, _ := s.Fetch(t.Context(), refs("p", "1")); results[0].Err != nil {
			t.Error(results[0].Err)
		}
	}

	fetch(`"private_key": ` + string(text) + `, "key_id": "k1", "key_audience": "https://ehr.example", "scopes": ["system/Patient.rs"]`)
	assertion := strings.Split(form.Get("client_assertion"), ".")
	if len(assertion) != 3 || form.Get("scope") != "system/Patient.rs" || form.Get("client_secret") != "" {
		t.Fatalf("asked with %v", form)
	}
	for i, want := range []string{`{"alg":"ES384","kid":"k1","typ":"JWT"}`, `{"aud":"https://ehr.example",`} {
		if part, err := base64.RawURLEncoding.DecodeString(assertion[i]); err != nil || !strings.HasPrefix(string(part), want) {
			t.Errorf("%s, %v; want %s", part, err, want)
		}
	}

	rotated = 0
	for _, want := range []string{"configured", "r1", "r2"} {
		if fetch(`"client_secret": "c4n4ry", "client_auth": "body", "refresh_token": "configured"`); form.Get("refresh_token") != want ||
			form.Get("grant_type") != "refresh_token" || form.Get("client_secret") != "c4n4ry" {
			t.Errorf("asked with %v, want the refresh token %s", form, want)
		}
	}
}

func TestLimitsAreKeptOverRestartsAndTheReasonIsTold(t *testing.T) {
	api := newAPI(t)
	api.answer(`{}`)
	var stored []byte
	made := 0
	for range 3 {
		env := sdk.Env{State: sdk.NewState(stored, func(_ context.Context, s []byte) error { stored = s; return nil })}
		s, err := rest.Open(t.Context(), decode(t, `{"base_url": "`+api.URL+`", "limits": {"per_day": 5, "day_zone": "`+farFromMidnight()+`"},
			"resource": [{"name": "p", "path": "/p/{id}"}]}`), env)
		if err != nil {
			t.Fatal(err)
		}
		results, _ := s.Fetch(t.Context(), refs("p", "1", "2"))
		for _, r := range results {
			if r.Err == nil {
				made++
				continue
			}
			if e := sdk.Safe(r.Err); e.Code != sdk.CodeRateLimited || e.After < time.Hour || e.Text != "GET /p/{id}: not called, the budget of 5 calls a day is spent" {
				t.Errorf("got %v", r.Err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if made != 5 {
		t.Errorf("%d calls", made)
	}
}

// farFromMidnight is a time zone in which the day does not end soon.
func farFromMidnight() string {
	if time.Now().UTC().Hour() >= 12 {
		return "Etc/GMT+12"
	}
	return "UTC"
}

func TestALoginGivesATokenThatIsSentAsConfigured(t *testing.T) {
	for _, tt := range []struct{ more, header, want string }{
		{``, "Authorization", "Bearer tok3n"},
		{`, "value": "Session {token}"`, "Authorization", "Session tok3n"},
		{`, "value": "{token}"`, "Authorization", "tok3n"},
		{`, "header": "x-session"`, "X-Session", "tok3n"},
		{`, "header": "Cookie", "value": "sid={token}"`, "Cookie", "sid=tok3n"},
	} {
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			if r.RequestURI == "/v1/login" {
				b, _ := io.ReadAll(r.Body)
				if r.Method != http.MethodPost || string(b) != `{"password":"c4n4ry","user":{"name":"u"}}` || r.Header.Get("X-Tenant") != "7" ||
					r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "" {
					t.Errorf("%s: %s", r.Method, b)
				}
				io.WriteString(w, `{"data": {"token": "tok3n", "expires": 900}}`)
				return
			}
			if got := r.Header.Get(tt.header); got != tt.want {
				t.Errorf("%s: sent %q, want %q", tt.more, got, tt.want)
			}
			io.WriteString(w, `{}`)
		})
		s := api.open(`{"base_url": "` + api.URL + `/v1", "headers": {"X-Tenant": "7"}, "auth": {"kind": "login", "path": "/login",
			"body": {"user": {"name": "u"}, "password": "c4n4ry"}, "token_path": "data.token", "expires_path": "data.expires"` + tt.more + `},
			"resource": [{"name": "p", "path": "/p/{id}"}]}`)
		if results, _ := s.Fetch(t.Context(), refs("p", "1", "2")); results[0].Err != nil || results[1].Err != nil {
			t.Error(results)
		}
	}
}

// What fails when a token is asked for must never count against the record that it was wanted for.
func TestWithoutATokenNoRecordIsBlamed(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		code   sdk.Code
		text   string
	}{
		{400, `{"error": "invalid_client", "error_description": "c4n4ry"}`, sdk.CodeUnauthorized, "400 Bad Request (invalid_client)"},
		{400, `{"error": "c4n4ry"}`, sdk.CodeUnauthorized, "400 Bad Request"},
		{401, `c4n4ry`, sdk.CodeUnauthorized, "401 Unauthorized"},
		{403, `c4n4ry`, sdk.CodeUnauthorized, "403 Forbidden"},
		{404, `c4n4ry`, sdk.CodeUnauthorized, "404 Not Found"},
		{410, `c4n4ry`, sdk.CodeUnauthorized, "410 Gone"},
		{501, `c4n4ry`, sdk.CodeRetryable, "501 Not Implemented"},
		{200, `<html>c4n4ry`, sdk.CodeRetryable, "answered something else where JSON was expected"},
		{200, `{"token": "c4n4ry"}`, sdk.CodeRetryable, `no token at "access_token": found nothing there`},
		{200, `{"access_token": ""}`, sdk.CodeRetryable, `no token at "access_token": found an empty string`},
		{200, `{"access_token": 5}`, sdk.CodeRetryable, `no token at "access_token": found a number`},
		{200, `{"access_token": "c4n4ry\r\nX: y"}`, sdk.CodeRetryable, `no token at "access_token": found a string`},
		{200, `{"access_token": "c4n4ry", "expires_in": "soon"}`, sdk.CodeRetryable, `no number of seconds at "expires_in": found a string`},
		{200, `{"access_token": "c4n4ry", "expires_in": -1}`, sdk.CodeRetryable, `no number of seconds at "expires_in": found a number`},
	} {
		tokens := idp(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "x/y")
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		api := newAPI(t)
		api.serve(func(http.ResponseWriter, *http.Request) { t.Error("called without a token") })
		err := fetchOne(t, api, `"auth": {"kind": "oauth2", "token_url": "`+tokens.URL+`/c/token", "client_id": "c4n4ry", "client_secret": "c4n4ry"}`)
		wantError(t, err, tt.code, "no token: POST /c/token: "+tt.text)
	}
}

func TestARefusalOfTheCredentialsIsNotOneOfAPageOrABatch(t *testing.T) {
	asked := 0
	tokens := idp(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusBadRequest)
	})
	api := newAPI(t)
	api.serve(func(http.ResponseWriter, *http.Request) { t.Error("called without a token") })
	s := api.open(`{"base_url": "` + api.URL + `", "auth": {"kind": "oauth2", "token_url": "` + tokens.URL + `/login", "client_id": "a", "client_secret": "c4n4ry"},
		"feed": [{"name": "f", "path": "/{since}", "id": "id", "time": "t", "page": {"kind": "number", "param": "p"}}],
		"resource": [{"name": "p", "path": "/{ids}", "batch": {"id": "id"}}]}`)
	const text = "no token: POST /login: 400 Bad Request"
	cursor := []byte(`{"kind": "number", "next": 2, "pages": 1, "reading": {"asked": "2026-05-10T14:00:00Z"}}`)
	_, err := s.Poll(t.Context(), sdk.Query{Feed: "f", Cursor: cursor})
	wantError(t, err, sdk.CodeUnauthorized, text)
	results, err := s.Fetch(t.Context(), refs("p", "1", "2", "3"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		wantError(t, r.Err, sdk.CodeUnauthorized, text)
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestCredentialsDoNotFollowARedirect(t *testing.T) {
	called := false
	elsewhere := idp(t, func(http.ResponseWriter, *http.Request) { called = true })
	tokens := idp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			return
		}
		io.WriteString(w, `{"access_token": "c4n4ry"}`)
	})
	api := newAPI(t)
	api.serve(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) })
	for _, tt := range []struct{ path, text string }{
		{"/moved", "no token: POST /moved: redirected, which only GET and HEAD follow"},
		{"/token", "GET /p/{id}: redirected to another scheme, host or port, where the credentials would leak; " +
			"if that is where the API lives, configure it as the base URL"},
	} {
		err := fetchOne(t, api, `"auth": {"kind": "oauth2", "token_url": "`+tokens.URL+tt.path+`", "client_id": "a", "client_secret": "c4n4ry"}`)
		code := sdk.CodePermanent
		if tt.path == "/moved" {
			code = sdk.CodeUnauthorized
		}
		wantError(t, err, code, tt.text)
	}
	if called {
		t.Error("credentials went elsewhere")
	}
}

func TestAProxyIsUsedForAllCallsTokensIncluded(t *testing.T) {
	var hosts []string
	proxy := idp(t, func(w http.ResponseWriter, r *http.Request) { // a forward proxy for plain http
		if r.Header.Get("Proxy-Authorization") != "Basic dTpjNG40cnk=" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		hosts = append(hosts, r.URL.Host+r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/token") {
			fmt.Fprint(w, `{"access_token": "tok3n"}`)
			return
		}
		fmt.Fprintf(w, `{"auth": %q}`, r.Header.Get("Authorization"))
	})
	u, _ := url.Parse(proxy.URL)
	for _, tt := range []struct{ user, text string }{{"u:c4n4ry", ""}, {"u:wrong-c4n4ry", "no token: POST /token: 407 Proxy Authentication Required"}} {
		s := newAPI(t).open(`{"base_url": "http://ehr.invalid", "proxy": "http://` + tt.user + `@` + u.Host + `", "auth": {"kind": "oauth2",
			"token_url": "http://id.invalid/token", "client_id": "a", "client_secret": "b"}, "resource": [{"name": "p", "path": "/p/{id}"}]}`)
		results, err := s.Fetch(t.Context(), refs("p", "1"))
		switch {
		case err != nil:
			t.Fatal(err)
		case tt.text != "":
			wantError(t, results[0].Err, sdk.CodeUnauthorized, tt.text)
		case results[0].Err != nil || string(results[0].Data) != `{"auth": "Bearer tok3n"}`:
			t.Errorf("%v, %s", results[0].Err, results[0].Data)
		}
	}
	if got := strings.Join(hosts, " "); got != "id.invalid/token ehr.invalid/p/1" {
		t.Errorf("the proxy was asked for %s", got)
	}
}
