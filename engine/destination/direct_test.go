// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

// scripted is a server that reads whole requests and answers each with the same bytes; last: it then closes the connection.
func scripted(t *testing.T, answer string, last bool) (url string, connections *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connections = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if body, err := io.ReadAll(r.Body); err != nil || string(body) != `{"a":1}` || r.Header.Get("Webhook-Id") != "n" {
						t.Errorf("the body is %q: %v", body, err)
					}
					io.WriteString(c, answer)
					if last {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), connections
}

// TestDirectCalls: what kinds of answers there are, whether they are understood, and whether their connection serves the next call.
func TestDirectCalls(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		last   bool
		code   string // of the failure; empty: accepted
		text   string
		conns  int64 // for three calls
	}{
		"no content":                  {answer: "HTTP/1.1 204 No Content\r\n\r\n", conns: 1},
		"with a body":                 {answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", conns: 1},
		"in chunks":                   {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", conns: 1},
		"a long body":                 {answer: "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("x", 50_000), conns: 1},
		"longer than is read":         {answer: "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000), conns: 3},
		"refused":                     {answer: "HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\nno", code: "http_422", conns: 1},
		"interim answers":             {answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 5) + "HTTP/1.1 204 No Content\r\n\r\n", conns: 1},
		"interim answers for ever":    {answer: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), code: "network", text: "no usable answer", conns: 3},
		"says that it closes":         {answer: "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", last: true, conns: 3},
		"closes without saying":       {answer: "HTTP/1.1 204 No Content\r\n\r\n", last: true, conns: 3},
		"of HTTP/1.0":                 {answer: "HTTP/1.0 200 OK\r\n\r\nok", last: true, conns: 3},
		"more than one":               {answer: "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n", conns: 3},
		"hands the connection over":   {answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", code: "http_101", conns: 3},
		"not HTTP":                    {answer: "SSH-2.0-OpenSSH_9.7\r\n", last: true, code: "network", text: "no usable answer", conns: 3},
		"headers longer than allowed": {answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", code: "network", text: "no usable answer", conns: 3},
		"headers that do not end":     {answer: "HTTP/1.1 200 OK\r\nX: x\r\n", last: true, code: "network", text: "closed the connection without an answer", conns: 3},
		"nothing":                     {last: true, code: "network", text: "closed the connection without an answer", conns: 3},
	} {
		t.Run(name, func(t *testing.T) {
			url, conns := scripted(t, c.answer, c.last)
			config := &webhookConfig{URL: url, AllowPrivate: true}
			if err := config.check(); err != nil {
				t.Fatal(err)
			}
			w := config.open().(*webhook)
			defer w.Close()
			if _, ok := w.transport.(*direct); !ok {
				t.Fatalf("it goes by %T", w.transport)
			}
			for range 3 {
				err := w.Send(t.Context(), delivery.Notification{ID: "n", Body: []byte(`{"a":1}`)})
				var e *record.SendError
				if c.code == "" && err != nil || c.code != "" && (!errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Text, c.text)) {
					t.Fatalf("got %v", err)
				}
				if c.conns > 1 {
					letGo(t, w.transport.(*direct))
				}
			}
			if n := conns.Load(); n != c.conns {
				t.Errorf("%d connections for three calls, want %d", n, c.conns)
			}
		})
	}
}

// TestHostsThatDirectCallsCanNotName: on the wire they are written otherwise than in the configuration, which net/http knows.
func TestHostsThatDirectCallsCanNotName(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if os.Getenv(name) != "" {
			t.Skip("a proxy of this machine stands between")
		}
	}
	for url, want := range map[string]string{
		"https://receiver.example/x":   "receiver.example:443",
		"http://receiver.example:8080": "receiver.example:8080",
		"http://[2001:db8::1]/x":       "[2001:db8::1]:80",
		"https://empfänger.example/x":  "",
		"http://[fe80::1%25eth0]/x":    "",
	} {
		config := &webhookConfig{URL: url, AllowPrivate: true}
		if err := config.check(); err != nil {
			t.Fatal(err)
		}
		d, ok := config.transport().(*direct)
		if ok != (want != "") || ok && d.address != want {
			t.Errorf("%s goes by %T to %q, want %q", url, config.transport(), d.address, want)
		}
	}
}

// letGo waits until no connection rests, as the server closes it or says more on it.
func letGo(t *testing.T, d *direct) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		d.resting.mu.Lock()
		n := len(d.resting.conns)
		d.resting.mu.Unlock()
		if n == 0 {
			return
		}
	}
	t.Fatal("a connection is kept that can't serve another call")
}

// TestDirectCallsWhileTheServerReadsNoMore: it has answered, and a body that it does not read must not hold the call up.
func TestDirectCallsWhileTheServerReadsNoMore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	held := make(chan struct{})
	defer close(held)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Read(make([]byte, 100))
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		<-held
	}()
	config := &webhookConfig{URL: "http://" + l.Addr().String(), AllowPrivate: true}
	if err := config.check(); err != nil {
		t.Fatal(err)
	}
	w := config.open().(*webhook)
	defer w.Close()
	err = w.Send(t.Context(), delivery.Notification{ID: "n", Body: make([]byte, 64<<20)}) // more than the sockets take
	var e *record.SendError
	if !errors.As(err, &e) || e.Code != "http_413" {
		t.Errorf("got %v", err)
	}
}
