// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// front stands before a receiver that is well, and has one bad habit until it is mended.
type front struct {
	*receiver.Receiver
	habit  func(f *front, w http.ResponseWriter, r *http.Request)
	mended atomic.Bool
	asked  atomic.Int32 // requests that met the bad habit
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.mended.Load() {
		f.Receiver.ServeHTTP(w, r)
		return
	}
	f.asked.Add(1)
	f.habit(f, w, r)
}

// take lets the receiver have the notification, whatever its sender is told of that.
func (f *front) take(r *http.Request) { f.Receiver.ServeHTTP(httptest.NewRecorder(), r) }

// answersWith is a habit of answering with a status and headers, without reading the notification or keeping it.
func answersWith(code int, headers ...string) func(*front, http.ResponseWriter, *http.Request) {
	return func(_ *front, w http.ResponseWriter, _ *http.Request) {
		for pair := range slices.Chunk(headers, 2) {
			w.Header().Set(pair[0], pair[1])
		}
		w.WriteHeader(code)
	}
}

// raw is a habit with the connection itself; what is taken over is read whole before.
func raw(takes bool, talk func(c net.Conn, in *bufio.ReadWriter)) func(*front, http.ResponseWriter, *http.Request) {
	return func(f *front, w http.ResponseWriter, r *http.Request) {
		if takes {
			f.take(r)
		}
		c, in, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		talk(c, in)
	}
}

// gone reads until the other side has closed the connection.
func gone(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// receiverFault is a bad habit, and what is to come of it.
type receiverFault struct {
	name   string
	habit  func(*front, http.ResponseWriter, *http.Request)
	server func(*testing.T, *front) (url string) // nil: plain HTTP
	hcl    string                                // further attributes of the destination
	why    string                                // in its status; empty: all is well, as the receiver said that it took everything over
	resume bool                                  // a person has to say that it is mended
	again  bool                                  // it takes over what its sender can't know of: the same comes again
}

// receiverFaults are the habits; elsewhere is where redirects lead.
func receiverFaults(t *testing.T, elsewhere string) []*receiverFault {
	moved := func(code int) func(*front, http.ResponseWriter, *http.Request) {
		return answersWith(code, "Location", elsewhere)
	}
	certs := newCertificates(t)
	return []*receiverFault{
		{name: "moved_301", habit: moved(301), why: "answered 301: it has moved", resume: true},
		{name: "moved_302", habit: moved(302), why: "answered 302"},
		{name: "moved_303", habit: moved(303), why: "answered 303"},
		{name: "moved_307", habit: moved(307), why: "answered 307"},
		{name: "moved_308", habit: moved(308), why: "answered 308: it has moved", resume: true},
		{name: "gone_410", habit: answersWith(410), why: "answered 410", resume: true},
		{name: "limited", habit: answersWith(429), why: "answered 429"},
		{name: "limited_1s", habit: answersWith(429, "Retry-After", "1"), why: "answered 429"},
		{name: "limited_absurdly", habit: answersWith(429, "Retry-After", "99999999999999999999"), why: "answered 429", resume: true},
		{name: "limited_by_date", habit: answersWith(429, "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), why: "answered 429", resume: true},
		{name: "limited_by_nonsense", habit: answersWith(429, "Retry-After", "-5 moons"), why: "answered 429"},
		{name: "fails", habit: answersWith(500), why: "answered 500"},
		{name: "resets", habit: raw(false, func(c net.Conn, _ *bufio.ReadWriter) { _ = c.(*net.TCPConn).SetLinger(0) }),
			why: "closed the connection without an answer"},
		{name: "closes", habit: raw(true, func(net.Conn, *bufio.ReadWriter) {}), why: "closed the connection without an answer", again: true},
		{name: "closes_in_headers", habit: raw(true, func(c net.Conn, _ *bufio.ReadWriter) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le") }),
			why: "no usable answer", again: true},
		{name: "closes_in_body", habit: raw(true, func(c net.Conn, _ *bufio.ReadWriter) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhush")
		})},
		{name: "answers_late", hcl: `timeout = "1s"`, habit: func(f *front, _ http.ResponseWriter, r *http.Request) {
			f.take(r)
			<-r.Context().Done()
		}, why: "no answer within 1s", again: true},
		{name: "answers_a_byte_a_second", hcl: `timeout = "1s"`, habit: raw(true, func(c net.Conn, _ *bufio.ReadWriter) {
			for _, b := range []byte("HTTP/1.1 200 OK\r\n") {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}), why: "no answer within 1s", again: true},
		{name: "reads_nothing", hcl: `timeout = "1s"`, habit: raw(false, func(c net.Conn, _ *bufio.ReadWriter) { time.Sleep(2 * time.Second) }),
			why: "no answer within 1s"},
		{name: "answers_before_it_reads", habit: func(f *front, w http.ResponseWriter, r *http.Request) {
			raw(false, func(c net.Conn, in *bufio.ReadWriter) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				body := make([]byte, r.ContentLength)
				if _, err := io.ReadFull(in, body); err == nil {
					r.Body = io.NopCloser(bytes.NewReader(body))
					f.take(r)
				}
			})(f, w, r)
		}},
		{name: "never_ends_its_answer", habit: raw(true, func(c net.Conn, _ *bufio.ReadWriter) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for err == nil {
				_, err = io.WriteString(c, "1000\r\n"+strings.Repeat("hush", 1024)+"\r\n")
			}
		})},
		{name: "stops_in_its_answer", habit: raw(true, func(c net.Conn, _ *bufio.ReadWriter) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhush")
			gone(c)
		})},
		{name: "has_huge_headers", habit: raw(true, func(c net.Conn, _ *bufio.ReadWriter) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("hush", 1<<18)+"\r\n\r\n")
		}), why: "no usable answer", again: true},
		{name: "never_ends_its_headers", habit: raw(true, func(c net.Conn, _ *bufio.ReadWriter) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(c, "X: hush\r\n")
			}
		}), why: "no usable answer", again: true},
		{name: "continues_for_ever", hcl: `timeout = "1s"`, habit: raw(true, func(c net.Conn, _ *bufio.ReadWriter) {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			}
		}), why: "no usable answer", again: true},
		{name: "is_no_http_server", habit: raw(false, func(c net.Conn, _ *bufio.ReadWriter) { _, _ = io.WriteString(c, "SSH-2.0-hush\r\n") }),
			why: "no usable answer"},
		// SETTINGS and GOAWAY: this client never asks for HTTP/2.
		{name: "speaks_http2", habit: raw(false, func(c net.Conn, _ *bufio.ReadWriter) {
			_, _ = io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		}), why: "no usable answer"},
		{name: "shows_a_strangers_certificate", server: certs.serving(certs.stranger), hcl: certs.trust(), why: "signed by an unknown authority"},
		{name: "shows_an_old_certificate", server: certs.serving(certs.old), hcl: certs.trust(), why: "has expired"},
		{name: "has_no_name", why: "the receiver's host name"},
	}
}

// TestEachFaultOfAReceiverEndsInRecovery: a pipeline tells many receivers of the same changes. All work; then each gets a bad habit, and
// its destination says which; then they are mended, and each gets everything, in order, and nothing twice but what it took over without
// saying so in time. Where redirects lead gets nothing.
func TestEachFaultOfAReceiverEndsInRecovery(t *testing.T) {
	t.Parallel()
	const appointments = 4
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: appointments, Patients: 2}}, receiver.Options{})
	var led atomic.Int32
	elsewhere := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	faults := receiverFaults(t, elsewhere)
	fronts, urls := map[string]*front{}, map[string]string{}
	for _, x := range faults {
		r, err := receiver.New(receiver.Options{})
		if err != nil {
			t.Fatal(err)
		}
		f := &front{Receiver: r, habit: x.habit}
		f.mended.Store(true)
		fronts[x.name] = f
		if x.server != nil {
			urls[x.name] = x.server(t, f)
		} else {
			urls[x.name] = serve(t, f)
		}
	}
	hcl := func(urls map[string]string) string {
		to, deliver := "", ""
		for _, x := range faults {
			to += fmt.Sprintf("destination \"webhook\" %q {\n  url = %q\n  allow_private = true\n  %s\n}\n", x.name, urls[x.name], x.hcl)
			deliver += fmt.Sprintf("  deliver %q {\n    to = destination.webhook.%[1]s\n    map = \"mapping.js\"\n    order_by = change.data.patientID\n  }\n", x.name)
		}
		head, tail, _ := strings.Cut(replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, notifyHCL, to), "  deliver ")
		_, tail, _ = strings.Cut(tail, "  }\n")
		return head + deliver + tail
	}
	dir := write(t, map[string]string{"main.hcl": hcl(urls), "mapping.js": tellAll})
	p := startRun(t, dir, []string{"EHR_URL=" + c.ehrURL})
	all := func(n int) func() bool {
		return func() bool {
			return !slices.ContainsFunc(faults, func(x *receiverFault) bool { return len(accepted(fronts[x.name])) < n })
		}
	}
	p.eventually(30*time.Second, "the first arrived everywhere", all(appointments))

	for _, f := range fronts {
		f.mended.Store(false)
	}
	lost := map[string]string{}
	for name, url := range urls {
		lost[name] = url
	}
	lost["has_no_name"] = "http://hush.invalid/"
	overwrite(t, dir, "main.hcl", hcl(lost))
	command(t, dir, 0, "reload")
	for range 2 {
		for _, id := range c.IDs() {
			if err := c.Move(id, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		p.pollsMore(c, 1)
	}
	var st operate.Status
	p.eventually(30*time.Second, "every fault is told of", func() bool {
		st = asked[operate.Status](t, dir, 3, "status")
		return !slices.ContainsFunc(faults, func(x *receiverFault) bool {
			to := ofDestination(t, st, "webhook."+x.name)
			return x.why != "" && to.Why == "" || x.why == "" && to.Waiting > 0
		})
	})
	for _, x := range faults {
		to := ofDestination(t, st, "webhook."+x.name)
		if paused := to.State == "paused"; !strings.Contains(to.Why, x.why) || x.why == "" && to.Why != "" || paused && !x.resume {
			t.Errorf("%s: its state is %s, %q, want %q", x.name, to.State, to.Why, x.why)
		}
		if n := fronts[x.name].asked.Load(); n > 50 {
			t.Errorf("%s: it was asked %d times", x.name, n)
		}
	}

	for _, f := range fronts {
		f.mended.Store(true)
	}
	overwrite(t, dir, "main.hcl", hcl(urls))
	command(t, dir, 0, "reload")
	for _, x := range faults {
		if x.resume {
			command(t, dir, 0, "resume", "destination.webhook."+x.name)
		}
	}
	p.eventually(30*time.Second, "everything arrived", all(3*appointments))
	p.stop()
	for _, x := range faults {
		t.Run(x.name, func(t *testing.T) {
			received := fronts[x.name].Received(0)
			lanesWait(t, received)
			if n := oracle(t, c.EHR, received, nil); n > 0 != x.again {
				t.Errorf("%d notifications came again", n)
			}
		})
	}
	if n := led.Load(); n > 0 {
		t.Errorf("%d requests were sent to where a redirect leads", n)
	}
	if log := p.log.String(); strings.Contains(log, "hush") || strings.Contains(log, elsewhere) {
		t.Error("the log holds what a receiver answered, or where it is")
	}
	deadLetters(t, dir, 0)
}

// accepted are the notifications that a receiver took over, each once.
func accepted(f *front) map[string]bool {
	ids := map[string]bool{}
	for _, r := range f.Received(0) {
		if r.Accepted() {
			ids[r.ID] = true
		}
	}
	return ids
}

// certificates are what a receiver can show, and the authority that signed some of them.
type certificates struct {
	authority           []byte // PEM
	good, stranger, old tls.Certificate
}

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	sign := func(authority bool, until time.Time, parent *tls.Certificate) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
			IsCA: authority, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		by := tls.Certificate{Leaf: c, PrivateKey: key}
		if parent != nil {
			by = *parent
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by.Leaf, &key.PublicKey, by.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	}
	soon := time.Now().Add(time.Hour)
	ours, other := sign(true, soon, nil), sign(true, soon, nil)
	return &certificates{
		authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ours.Certificate[0]}),
		good:      sign(false, soon, &ours), stranger: sign(false, soon, &other), old: sign(false, time.Now().Add(-time.Hour), &ours),
	}
}

// trust is the block that trusts the authority.
func (c *certificates) trust() string { return fmt.Sprintf("tls {\n    ca = %q\n  }", c.authority) }

// serving serves by TLS, with one certificate while the habit lasts and the good one else.
func (c *certificates) serving(bad tls.Certificate) func(*testing.T, *front) string {
	return func(t *testing.T, f *front) string {
		s := httptest.NewUnstartedServer(f)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.Config.SetKeepAlivesEnabled(false) // a certificate is seen when a connection is made
		s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if f.mended.Load() {
				return &tls.Config{Certificates: []tls.Certificate{c.good}}, nil
			}
			return &tls.Config{Certificates: []tls.Certificate{bad}}, nil
		}}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
}
