// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

func secret(seed byte) string {
	key := make([]byte, 32)
	for i := range key {
		key[i] = seed + byte(i)
	}
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

func receiver(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func note(body string) delivery.Notification {
	return delivery.Notification{ID: "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", Pipeline: "p", Deliver: "d", Body: []byte(body), Attempt: 1}
}

func TestWebhookIsAcceptedByTheStandardsOwnVerifier(t *testing.T) {
	const body = `{"name":"Żółć","n":1}`
	for name, secrets := range map[string][]string{"one": {secret(1)}, "two while rotating": {secret(1), secret(2)}} {
		t.Run(name, func(t *testing.T) {
			var requests int
			url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				got, _ := io.ReadAll(r.Body)
				if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || string(got) != body {
					t.Errorf("%s %s %q", r.Method, r.Header.Get("Content-Type"), got)
				}
				if !strings.HasPrefix(r.Header.Get("User-Agent"), "Rounds/") || r.Header.Get("Authorization") != "Bearer x" {
					t.Errorf("headers are %v", r.Header)
				}
				for _, s := range secrets {
					v, err := standardwebhooks.NewWebhook(s)
					if err != nil {
						t.Fatal(err)
					}
					if err := v.Verify(got, r.Header); err != nil {
						t.Errorf("not accepted: %v", err)
					}
				}
				if v, _ := standardwebhooks.NewWebhook(secret(9)); v.Verify(got, r.Header) == nil {
					t.Error("accepted with another secret")
				}
				w.WriteHeader(http.StatusNoContent)
			})
			d := open(t, "webhook", map[string]any{
				"allow_private": true, "url": url, "signing_secrets": secrets, "headers": map[string]string{"authorization": "Bearer x"},
			})
			if err := d.Send(t.Context(), note(body)); err != nil {
				t.Fatal(err)
			}
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

func TestWebhookIDStaysTheSameInEveryAttempt(t *testing.T) {
	var ids []string
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		ids = append(ids, r.Header.Get("webhook-id"))
		if _, err := strconv.Atoi(r.Header.Get("webhook-timestamp")); err != nil {
			t.Error("no timestamp")
		}
		if r.Header["Webhook-Signature"] != nil {
			t.Error("a signature without secrets")
		}
		if len(ids) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	d := open(t, "webhook", map[string]any{"allow_private": true, "url": url})
	if sendError(t, d.Send(t.Context(), note("{}"))).Verdict != record.Retry {
		t.Error("500 is not retried")
	}
	if err := d.Send(t.Context(), note("{}")); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 2 || ids[0] != ids[1] || ids[0] == "" {
		t.Errorf("ids are %q", ids)
	}
}

func TestWebhookStatusesHaveTheirVerdicts(t *testing.T) {
	const private = "MRN-12345"
	verdicts := map[int]record.Verdict{
		300: record.Retry, 301: record.Pause, 302: record.Retry, 303: record.Retry, 304: record.Retry, 307: record.Retry, 308: record.Pause,
		400: record.Reject, 401: record.Pause, 402: record.Reject, 403: record.Pause, 404: record.Pause, 405: record.Reject, 407: record.Pause,
		408: record.Retry, 409: record.Reject, 410: record.Pause, 413: record.Reject, 422: record.Reject, 425: record.Retry, 429: record.Retry,
		499: record.Reject, 500: record.Retry, 501: record.Retry, 503: record.Retry, 599: record.Retry, 700: record.Retry,
	}
	var requests atomic.Int64
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		w.Header().Set("Location", "/elsewhere")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		io.WriteString(w, strings.Repeat(private, 1000))
	})
	for status, want := range verdicts {
		d := open(t, "webhook", map[string]any{"allow_private": true, "url": fmt.Sprintf("%s/?token=hush&status=%d", url, status)})
		e := sendError(t, d.Send(t.Context(), note(`{"id":"`+private+`"}`)))
		if e.Verdict != want || e.Code != fmt.Sprintf("http_%d", status) {
			t.Errorf("%d: verdict %d, code %s", status, e.Verdict, e.Code)
		}
		if !strings.HasPrefix(e.Text, fmt.Sprintf("the receiver answered %d", status)) || strings.Contains(e.Text, "hush") ||
			strings.Contains(e.Text, private) || strings.Contains(e.Text, "127.0.0.1") {
			t.Errorf("%d: text is %q", status, e.Text)
		}
		if status != 304 && (len(e.Detail) != 2048 || !strings.HasPrefix(e.Detail, private)) {
			t.Errorf("%d: detail has %d bytes", status, len(e.Detail))
		}
		if e.After != 7*time.Second {
			t.Errorf("%d: after is %s", status, e.After)
		}
	}
	if int(requests.Load()) != len(verdicts) {
		t.Errorf("%d requests for %d notifications: a redirect was followed", requests.Load(), len(verdicts))
	}
	for _, status := range []int{200, 201, 202, 204, 299} {
		d := open(t, "webhook", map[string]any{"allow_private": true, "url": fmt.Sprintf("%s/?status=%d", url, status)})
		if err := d.Send(t.Context(), note("{}")); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestWebhookNetworkErrorsSayWhyAndNotWhere(t *testing.T) {
	refused, _ := net.Listen("tcp", "127.0.0.1:0")
	refused.Close()
	hangsUp, _ := net.Listen("tcp", "127.0.0.1:0")
	defer hangsUp.Close()
	go func() {
		for {
			c, err := hangsUp.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 10_000))
			c.Close()
		}
	}()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	plain := receiver(t, func(http.ResponseWriter, *http.Request) {})

	for url, want := range map[string]string{
		"http://" + refused.Addr().String() + "/hush":             "connection refused",
		"http://" + hangsUp.Addr().String() + "/hush":             "the receiver closed the connection without an answer",
		"http://hush.invalid/":                                    "host name",
		secure.URL + "/hush":                                      "the receiver's certificate is signed by an unknown authority",
		strings.Replace(plain, "http:", "https:", 1) + "/hush":    "the TLS handshake with the receiver failed",
		strings.Replace(secure.URL, "https:", "http:", 1) + "/hu": "the receiver answered 400",
	} {
		d := open(t, "webhook", map[string]any{"allow_private": true, "url": url})
		e := sendError(t, d.Send(t.Context(), note("{}")))
		if !strings.Contains(e.Text, want) || strings.Contains(e.Text, "hush") || strings.Contains(e.Text, "127.0.0.1") {
			t.Errorf("%s: text is %q, want %q", url, e.Text, want)
		}
		if e.Code != "http_400" && e.Verdict != record.Retry {
			t.Errorf("%s: verdict %d", url, e.Verdict)
		}
	}
}

func TestWebhookEndsWithItsContext(t *testing.T) {
	free := make(chan struct{})
	url := receiver(t, func(_ http.ResponseWriter, r *http.Request) { <-free })
	defer close(free)
	d := open(t, "webhook", map[string]any{"allow_private": true, "url": url})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.Send(ctx, note("{}")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWebhookTakesTheStatusAsTheReceiversWord(t *testing.T) {
	for name, answer := range map[string]string{
		"answers before it reads the body": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"breaks off its answer":            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				buf := make([]byte, 100)
				c.Read(buf)
				io.WriteString(c, answer)
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
				c.Close()
			}()
			d := open(t, "webhook", map[string]any{"allow_private": true, "url": "http://" + l.Addr().String()})
			if err := d.Send(t.Context(), note(`"`+strings.Repeat("x", 100_000)+`"`)); err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWebhookIsNotHeldUpByAnEndlessAnswer(t *testing.T) {
	stop := make(chan struct{})
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		<-stop
	})
	defer close(stop)
	d := open(t, "webhook", map[string]any{"allow_private": true, "url": url})
	begun := time.Now()
	if err := d.Send(t.Context(), note("{}")); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestWebhookIsNotHeldUpByAConnectionThatIsHandedOver: after 101 the connection is the caller's, and heeds no context any more.
func TestWebhookIsNotHeldUpByAConnectionThatIsHandedOver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(io.Discard, c)
	}()
	d := open(t, "webhook", map[string]any{"allow_private": true, "url": "http://" + l.Addr().String()})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- d.Send(ctx, note("{}")) }()
	select {
	case err := <-sent:
		if e := sendError(t, err); e.Verdict != record.Retry || e.Code != "http_101" {
			t.Errorf("verdict %d, code %s", e.Verdict, e.Code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it still waits, long after its time")
	}
	<-closed
}

func TestWebhookKeepsItsConnections(t *testing.T) {
	var opened atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"ok":true}`)
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	d := open(t, "webhook", map[string]any{"allow_private": true, "url": s.URL})
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 20 {
				if err := d.Send(t.Context(), note("{}")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	// A few more may be dialled while a request waits and is served by one that came free.
	if n := opened.Load(); n > 2*64 {
		t.Errorf("%d connections for 1280 requests of 64 lanes", n)
	}
}

func BenchmarkWebhook(b *testing.B) {
	url := receiver(b, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	})
	d := open(b, "webhook", map[string]any{"allow_private": true, "url": url, "signing_secrets": []string{secret(1)}})
	n := note(`"` + strings.Repeat("x", 1500) + `"`)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := d.Send(b.Context(), n); err != nil {
				b.Fatal(err)
			}
		}
	})
}
