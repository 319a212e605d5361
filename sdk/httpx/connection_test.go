// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

func TestCancellingEndsACallAtOnce(t *testing.T) {
	entered := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
		close(entered)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	_, err := newClient(t, httpx.Config{}).Do(ctx, patient(s.URL))
	wantSafe(t, err)
	if !errors.Is(err, context.Canceled) || err.Error() != "GET /patient/{id}: canceled" {
		t.Errorf("got %v", err)
	}
}

// TestAConnectionThatIsHandedOverHoldsUpNoCall: after 101, for which nobody asked, the body is the connection, which heeds no context.
func TestAConnectionThatIsHandedOverHoldsUpNoCall(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(io.Discard, conn)
	}()
	c := newClient(t, httpx.Config{Timeout: 5 * time.Second})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Do(t.Context(), patient("http://"+l.Addr().String()))
		ended <- err
	}()
	select {
	case err := <-ended:
		wantSafe(t, err)
		if err == nil || err.Error() != "GET /patient/{id}: 101 Switching Protocols" {
			t.Errorf("got %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("it still waits, long after its time")
	}
	<-closed
}

func TestAConfiguredProxyIsUsed(t *testing.T) {
	var target string
	proxy := serve(t, func(_ http.ResponseWriter, r *http.Request) { target = r.URL.String() })
	u, _ := url.Parse(proxy.URL)
	_, err := newClient(t, httpx.Config{Proxy: u}).Do(t.Context(), httpx.Request{URL: "http://ehr.invalid/a", Template: "/a"})
	if err != nil || target != "http://ehr.invalid/a" {
		t.Errorf("%v: the proxy was asked for %q", err, target)
	}
}

func TestAProxyThatDoesNotConnectIsNamed(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   sdk.Code
		text   string
	}{
		{407, sdk.CodeUnauthorized, "GET /patient/{id}: the proxy did not connect: 407 Proxy Authentication Required"},
		{403, sdk.CodeRetryable, "GET /patient/{id}: the proxy did not connect: 403 Forbidden"},
		{502, sdk.CodeRetryable, "GET /patient/{id}: the proxy did not connect: 502 Bad Gateway"},
		{0, sdk.CodeRetryable, "GET /patient/{id}: proxy: connection refused"},
	} {
		u := &url.URL{Scheme: "http", Host: "127.0.0.1:1", User: url.UserPassword("c4n4ry", "c4n4ry")} // a reserved port
		if tt.status != 0 {
			proxy := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.status) })
			u.Host = strings.TrimPrefix(proxy.URL, "http://")
		}
		_, err := newClient(t, httpx.Config{Proxy: u, Attempts: 1}).Do(t.Context(), patient("https://ehr.invalid"))
		wantSafe(t, err)
		if sdk.CodeOf(err) != tt.code || err.Error() != tt.text {
			t.Errorf("got %s %v, want %s %s", sdk.CodeOf(err), err, tt.code, tt.text)
		}
	}
}

func TestConnectionsAreUsedAgainAfterErrorsToo(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, strings.Repeat("no ", 5000))
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := newClient(t, httpx.Config{Concurrency: 1})
	for i := range 20 {
		c.Do(t.Context(), httpx.Request{URL: s.URL + []string{"/", "/missing"}[i%2], Template: "/"})
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections for 20 calls one after another", conns.Load())
	}
}

// TestAConnectionThatWentSilentIsGivenUp: a firewall forgot it, and nobody tells. Over HTTP/2 all calls share one connection.
func TestAConnectionThatWentSilentIsGivenUp(t *testing.T) {
	defer httpx.PingAfter(100 * time.Millisecond)()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	firewall, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer firewall.Close()
	var forgotten atomic.Int32 // connections up to this number are silent
	var conns atomic.Int32
	go func() {
		for {
			in, err := firewall.Accept()
			if err != nil {
				return
			}
			defer in.Close()
			out, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				return
			}
			defer out.Close()
			number := conns.Add(1)
			pass := func(to, from net.Conn) {
				buf := make([]byte, 32<<10)
				for {
					n, err := from.Read(buf)
					if err != nil {
						return
					}
					if forgotten.Load() < number {
						if _, err := to.Write(buf[:n]); err != nil {
							return
						}
					}
				}
			}
			go pass(in, out)
			go pass(out, in)
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := newClient(t, httpx.Config{TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"}, Timeout: 5 * time.Second})
	for range 2 {
		res, err := c.Do(t.Context(), httpx.Request{URL: "https://" + firewall.Addr().String(), Template: "/"})
		if err != nil || string(res.Body) != "HTTP/2.0" {
			t.Fatalf("%v", err)
		}
		forgotten.Store(conns.Load())
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections, want another after the first went silent", n)
	}
}
