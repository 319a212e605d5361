// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// What stands for record content and secrets in these tests; no error text may hold any of it.
var canaries = []string{"c4n4ry", "127.0.0.1", "localhost"}

func wantSafe(t *testing.T, err error) {
	t.Helper()
	for _, c := range canaries {
		if err != nil && strings.Contains(err.Error(), c) {
			t.Errorf("error text holds %q: %s", c, err)
		}
	}
	var e *sdk.Error
	if err != nil && !errors.As(err, &e) {
		t.Errorf("%T is not an *sdk.Error", err)
	}
}

func newClient(t *testing.T, c httpx.Config) *httpx.Client {
	t.Helper()
	client, err := httpx.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func patient(base string) httpx.Request {
	return httpx.Request{
		URL:      base + "/patient/c4n4ry-id?name=c4n4ry",
		Template: "/patient/{id}",
		Header:   http.Header{"Authorization": {"Bearer c4n4ry-token"}},
	}
}

func TestStatusBecomesATypedErrorThatSaysNoMoreThanMethodTemplateAndStatus(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   sdk.Code
		text   string
	}{
		{301, sdk.CodePermanent, "GET /patient/{id}: 301 Moved Permanently"},
		{304, sdk.CodePermanent, "GET /patient/{id}: 304 Not Modified"},
		{400, sdk.CodePermanent, "GET /patient/{id}: 400 Bad Request"},
		{401, sdk.CodeUnauthorized, "GET /patient/{id}: 401 Unauthorized"},
		{403, sdk.CodeForbidden, "GET /patient/{id}: 403 Forbidden"},
		{404, sdk.CodeNotFound, "GET /patient/{id}: 404 Not Found"},
		{407, sdk.CodeUnauthorized, "GET /patient/{id}: 407 Proxy Authentication Required"},
		{408, sdk.CodeRetryable, "GET /patient/{id}: 408 Request Timeout"},
		{410, sdk.CodeGone, "GET /patient/{id}: 410 Gone"},
		{422, sdk.CodePermanent, "GET /patient/{id}: 422 Unprocessable Entity"},
		{425, sdk.CodeRetryable, "GET /patient/{id}: 425 Too Early"},
		{429, sdk.CodeRateLimited, "GET /patient/{id}: 429 Too Many Requests"},
		{500, sdk.CodeRetryable, "GET /patient/{id}: 500 Internal Server Error"},
		{501, sdk.CodeRetryable, "GET /patient/{id}: 501 Not Implemented"},
		{503, sdk.CodeRetryable, "GET /patient/{id}: 503 Service Unavailable"},
		{599, sdk.CodeRetryable, "GET /patient/{id}: 599"},
	} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Secret", "c4n4ry")
				w.WriteHeader(tt.status)
				fmt.Fprint(w, `{"name":"c4n4ry"}`)
			})
			_, err := newClient(t, httpx.Config{Attempts: 1}).Do(t.Context(), patient(s.URL))
			wantSafe(t, err)
			if sdk.CodeOf(err) != tt.code || err.Error() != tt.text {
				t.Errorf("got %s %q, want %s %q", sdk.CodeOf(err), err, tt.code, tt.text)
			}
			var status *httpx.StatusError
			if !errors.As(err, &status) || status.Status != tt.status {
				t.Errorf("the cause does not tell the status")
			}
		})
	}
}

func TestNetworkErrorsAreNamedByClass(t *testing.T) {

	reset := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	})
	cut := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `{"name":"c4n4ry`)
	})
	garbled := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, `{"name":"c4n4ry"}`)
	})
	flipped := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(`{"name":"c4n4ry"}`))
		z.Close()
		b.Bytes()[b.Len()-6] ^= 1 // of the checksum
		w.Write(b.Bytes())
	})
	mute := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	quiet := log.New(io.Discard, "", 0)
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = quiet
	untrusted.StartTLS()
	defer untrusted.Close()
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = quiet
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	trust := x509.NewCertPool()
	trust.AddCert(untrusted.Certificate())

	for _, tt := range []struct {
		name, url, text string
		tls             *tls.Config
	}{
		{"refused", "http://127.0.0.1:1", "connection refused", nil}, // a reserved port
		{"reset", reset.URL, "connection reset", nil},
		{"cut off", cut.URL, "connection closed before the answer was complete", nil},
		{"no gzip", garbled.URL, "answered in a compression that is broken", nil},
		{"gzip with an error", flipped.URL, "answered in a compression that is broken", nil},
		{"mute", mute.URL, "timed out after 500ms", nil},
		{"untrusted", untrusted.URL, "TLS: certificate is not trusted", nil},
		{"other host", strings.Replace(untrusted.URL, "127.0.0.1", "localhost", 1), "TLS: certificate is for another host",
			&tls.Config{RootCAs: trust}},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), "TLS: the server does not speak it", nil},
		{"old TLS", old.URL, "TLS: handshake failed", &tls.Config{MinVersion: tls.VersionTLS10, RootCAs: trust}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			timeout := 30 * time.Second // far more than any of these needs on a machine under load
			if tt.name == "mute" {
				timeout = 500 * time.Millisecond
			}
			c := newClient(t, httpx.Config{Attempts: 1, Timeout: timeout, TLS: tt.tls})
			_, err := c.Do(t.Context(), patient(tt.url))
			wantSafe(t, err)
			if sdk.CodeOf(err) != sdk.CodeRetryable || !strings.HasPrefix(err.Error(), "GET /patient/{id}: "+tt.text) {
				t.Errorf("got %s %v, want %s", sdk.CodeOf(err), err, tt.text)
			}
		})
	}
}

func TestANameThatIsNotFoundIsNamedSo(t *testing.T) {
	c := newClient(t, httpx.Config{Attempts: 1, Transport: transport(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "c4n4ry", IsNotFound: true}}
	})})
	_, err := c.Do(t.Context(), call)
	wantSafe(t, err)
	if err == nil || err.Error() != "GET /a: DNS lookup failed: no such host" {
		t.Errorf("got %v", err)
	}
}

func TestOnlyIdempotentCallsAreRepeatedOnTheirOwn(t *testing.T) {
	for _, tt := range []struct {
		method string
		repeat bool
		calls  int32
	}{{"", false, 3}, {"GET", false, 3}, {"HEAD", false, 3}, {"POST", false, 1}, {"PUT", false, 1}, {"POST", true, 3}} {
		t.Run(fmt.Sprint(tt.method, tt.repeat), func(t *testing.T) {
			var calls atomic.Int32
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if b, _ := io.ReadAll(r.Body); tt.method == "POST" && string(b) != "body" {
					t.Errorf("a repetition carries %q", b)
				}
				if calls.Add(1) < 3 {
					w.WriteHeader(http.StatusBadGateway)
				}
			})
			r := patient(s.URL)
			r.Method, r.Repeat = tt.method, tt.repeat
			if tt.method == "POST" {
				r.Body = []byte("body")
			}
			res, err := newClient(t, httpx.Config{}).Do(t.Context(), r)
			if calls.Load() != tt.calls {
				t.Errorf("%d calls, want %d", calls.Load(), tt.calls)
			}
			if tt.calls == 3 && (err != nil || res.Calls != 3) {
				t.Errorf("got %v, %+v", err, res)
			}
			if tt.calls == 1 && sdk.CodeOf(err) != sdk.CodeRetryable {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestARedirectIsFollowedOnTheSameOriginOnly(t *testing.T) {
	var leaked atomic.Int32
	other := serve(t, func(http.ResponseWriter, *http.Request) { leaked.Add(1) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end?id=c4n4ry", http.StatusFound)
		case "/end":
			fmt.Fprint(w, r.Header.Get("Authorization"))
		case "/other":
			http.Redirect(w, r, other.URL+"/c4n4ry", http.StatusFound)
		case "/scheme":
			http.Redirect(w, r, "https://"+r.Host, http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	})
	c := newClient(t, httpx.Config{})
	get := func(method, path string) (*httpx.Response, error) {
		return c.Do(t.Context(), httpx.Request{Method: method, URL: s.URL + path, Template: path,
			Header: http.Header{"Authorization": {"Bearer c4n4ry"}}})
	}

	res, err := get("GET", "/same")
	if err != nil || string(res.Body) != "Bearer c4n4ry" || res.Calls != 2 {
		t.Errorf("same origin: %v, %+v", err, res)
	}
	for _, tt := range [][2]string{{"GET", "/other"}, {"GET", "/scheme"}, {"GET", "/loop"}, {"POST", "/same"}} {
		_, err := get(tt[0], tt[1])
		wantSafe(t, err)
		if sdk.CodeOf(err) != sdk.CodePermanent || !strings.Contains(err.Error(), "redirected") {
			t.Errorf("%s %s: %v", tt[0], tt[1], err)
		}
	}
	if leaked.Load() != 0 {
		t.Error("the other origin was called")
	}
}

func TestABodyIsBoundedAfterDecompression(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Error("compression was not asked for")
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		var n int
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		z.Write(make([]byte, n))
		z.Close()
	})
	c := newClient(t, httpx.Config{MaxBody: 100_000})
	res, err := c.Do(t.Context(), httpx.Request{URL: s.URL + "?n=100000", Template: "/"})
	if err != nil || len(res.Body) != 100_000 {
		t.Fatalf("at the bound: %v", err)
	}
	_, err = c.Do(t.Context(), httpx.Request{URL: s.URL + "?n=100001", Template: "/"})
	if sdk.CodeOf(err) != sdk.CodePermanent || err.Error() != "GET /: the answer is larger than 100000 bytes; ask for smaller pages" {
		t.Errorf("beyond the bound: %v", err)
	}
}

func TestAnswersThatAreNotJSONAreClearErrors(t *testing.T) {
	for _, tt := range []struct {
		media, body, text string
	}{
		{"text/html; charset=utf-8", "<html>c4n4ry</html>", "answered text/html where JSON was expected"},
		{"text/plain", "c4n4ry", "answered text/plain where JSON was expected"},
		{"x/c4n4ry", "c4n4ry", "answered something else where JSON was expected"},
		{"application/json", `{"name":"c4n4ry`, "answered with JSON that is broken, cut off or nested too deep"},
		{"application/fhir+json", `[1,]`, "answered with JSON that is broken, cut off or nested too deep"},
		{"application/json", " \n", "answered nothing where JSON was expected"},
		{"application/json; charset=iso-8859-1", "{\"name\":\"c4n4ry M\xfcller\"}", "answered in another character encoding than UTF-8"},
		{"application/json", `{"a":1}`, ""},
		{"text/html", "\xef\xbb\xbf[]", ""},
		{"", `null`, ""},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{tt.media}
			io.WriteString(w, tt.body)
		})
		res, err := newClient(t, httpx.Config{}).JSON(t.Context(), patient(s.URL))
		wantSafe(t, err)
		switch {
		case tt.text == "" && err != nil:
			t.Errorf("%q: %v", tt.body, err)
		case tt.text == "" && strings.HasPrefix(string(res.Body), "\xef"):
			t.Errorf("%q: the byte order mark is still there", tt.body)
		case tt.text != "" && (err == nil || err.Error() != "GET /patient/{id}: "+tt.text):
			t.Errorf("%q: got %v, want %s", tt.body, err, tt.text)
		}
	}
}

func TestTheServersClockIsToldAsOfTheQuestion(t *testing.T) {
	date := time.Date(2026, 5, 10, 10, 0, 0, 0, time.UTC)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mute" {
			w.Header()["Date"] = nil
			return
		}
		w.Header().Set("Date", date.Format(http.TimeFormat))
	})
	c := newClient(t, httpx.Config{})
	res, err := c.Do(t.Context(), httpx.Request{URL: s.URL, Template: "/"})
	if err != nil || !res.Date.Equal(date) || !res.Asked.Before(date) || date.Sub(res.Asked) > time.Minute {
		t.Errorf("%v: Date %v, Asked %v", err, res.Date, res.Asked)
	}
	res, err = c.Do(t.Context(), httpx.Request{URL: s.URL + "/mute", Template: "/mute"})
	if err != nil || !res.Date.IsZero() || !res.Asked.IsZero() {
		t.Errorf("%v: a clock was made up: %v, %v", err, res.Date, res.Asked)
	}
}

func TestSameOrigin(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"https://a.example/x", "https://A.example:443/y?z", true},
		{"http://a.example:80", "http://a.example", true},
		{"http://a.example", "https://a.example", false},
		{"http://a.example:443", "https://a.example", false},
		{"https://a.example", "https://a.example:8443", false},
		{"https://a.example", "https://b.example", false},
		{"https://a.example", "https://a.example.evil", false},
		{"https://a.example", "https://a.example@evil.example", false},
		{"https://a.example", "//a.example", false},
	} {
		a, _ := url.Parse(tt.a)
		b, err := url.Parse(tt.b)
		if err != nil {
			t.Fatal(err)
		}
		if got := httpx.SameOrigin(a, b); got != tt.want {
			t.Errorf("%s, %s: %v", tt.a, tt.b, got)
		}
	}
}

func TestLimitsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, c := range []httpx.Config{{Timeout: -1}, {Concurrency: -1}, {Attempts: -1}, {MaxBody: -1}, {Limits: budget.Limits{PerSecond: -1}}} {
		if _, err := httpx.New(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
