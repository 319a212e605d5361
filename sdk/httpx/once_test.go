// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// TestACallThatTakesSomethingIsMadeOnce: a second one would take more, and what the first took would be lost.
func TestACallThatTakesSomethingIsMadeOnce(t *testing.T) {
	var calls atomic.Int32
	for name, answer := range map[string]http.HandlerFunc{
		"a status that is repeated else": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"a redirect":                     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"an answer that is cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
		},
	} {
		calls.Store(0)
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			answer(w, r)
		})
		r := patient(server.URL)
		r.Once = true
		_, err := newClient(t, httpx.Config{}).Do(t.Context(), r)
		if wantSafe(t, err); err == nil || calls.Load() != 1 {
			t.Errorf("%s: %d calls, %v", name, calls.Load(), err)
		}
	}
}

// TestACallThatTakesSomethingAndWasSentTwiceFails: net/http sends a GET again when a connection that was used before breaks.
func TestACallThatTakesSomethingAndWasSentTwiceFails(t *testing.T) {
	for once, want := range map[bool]sdk.Code{false: "", true: sdk.CodeRetryable} {
		var taken atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/first" {
				return
			}
			if taken.Add(1) > 1 {
				return // the second time it is answered
			}
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.(*net.TCPConn).SetLinger(0) // reset, with nothing said
			_ = conn.Close()
		}))
		client := newClient(t, httpx.Config{Attempts: 1})
		if _, err := client.Do(t.Context(), httpx.Request{URL: server.URL + "/first", Template: "/first"}); err != nil {
			t.Fatal(err)
		}
		_, err := client.Do(t.Context(), httpx.Request{URL: server.URL + "/changed", Template: "/changed", Once: once})
		if sdk.CodeOf(err) != want || taken.Load() != 2 {
			t.Errorf("once %t: taken %d times, %v", once, taken.Load(), err)
		}
		if once && !strings.Contains(err.Error(), "sent again") {
			t.Errorf("it does not say what happened: %v", err)
		}
		server.Close()
	}
}

// TestACallThatIsMadeOnceGoesThroughAProxy: to connect is no call.
func TestACallThatIsMadeOnceGoesThroughAProxy(t *testing.T) {
	ehr := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	defer ehr.Close()
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		there, err := net.Dial("tcp", r.Host)
		if err != nil || r.Method != http.MethodConnect {
			t.Errorf("%s, %v", r.Method, err)
			return
		}
		w.WriteHeader(http.StatusOK)
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			_, _ = io.Copy(there, here)
			_ = there.Close()
		}()
		_, _ = io.Copy(here, there)
		_ = here.Close()
	})
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, httpx.Config{Proxy: u, TLS: ehr.Client().Transport.(*http.Transport).TLSClientConfig})
	for range 2 {
		if _, err := client.Do(t.Context(), httpx.Request{URL: ehr.URL + "/changed", Template: "/changed", Once: true}); err != nil {
			t.Error(err)
		}
	}
}
