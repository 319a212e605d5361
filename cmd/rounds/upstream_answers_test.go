// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/listen"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// onePatient is the one of whom something is wrong.
const onePatient = "/patient/P100001"

const saysElsewhere = ofList + "redirected to another scheme, host or port, where the credentials would leak"

var (
	withBearer = []string{`  feed "appointments" {`, "  auth \"bearer\" {\n    token = \"c4n4ry-token\"\n  }\n  feed \"appointments\" {"}
	withOAuth  = []string{`  feed "appointments" {`, oauthHCL}
	withID     = []string{`path = "/patient/{id}"`, "path = \"/patient/{id}\"\n    id   = \"id\""}
	withBatch  = []string{`path = "/patient/{id}"`, "path  = \"/patients\"\n    query = { id = \"{ids}\" }\n    batch {\n      id = \"id\"\n    }"}
)

func ehrHangs(_ *upstream, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// ehrTrickles writes until nobody listens.
func ehrTrickles(w http.ResponseWriter, r *http.Request, part string, pause time.Duration) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, part)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(pause) // that is what the fault is
	}
}

// ehrResets ends a connection by RST.
func ehrResets(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	_ = c.Flush()
	conn, _, err := c.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// ehrAnswersRaw answers with status 200 and headers that no server would let through.
func ehrAnswersRaw(body, headers string) ehrAnswer {
	return func(_ *upstream, w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+headers+"\r\n\r\n"+body)
		_ = conn.Close()
	}
}

func ehrAnswersNothing(_ *upstream, w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNoContent)
}

// ehrGivesID gives one item of each page, or all (-1), another id.
func ehrGivesID(n int, id string) ehrAnswer {
	return func(u *upstream, w http.ResponseWriter, r *http.Request) {
		u.items(w, r, func(items []json.RawMessage) []json.RawMessage {
			for i := range items {
				if n < 0 || i == n {
					var item map[string]json.RawMessage
					_ = json.Unmarshal(items[i], &item)
					item["id"] = json.RawMessage(id)
					items[i], _ = json.Marshal(item)
				}
			}
			return items
		})
	}
}

// ehrGivesVersions gives each item with the version before it.
func ehrGivesVersions(choose func(now, before json.RawMessage) []json.RawMessage) ehrAnswer {
	return func(u *upstream, w http.ResponseWriter, r *http.Request) {
		u.items(w, r, func(items []json.RawMessage) (all []json.RawMessage) {
			for _, item := range items {
				var a struct{ ID string }
				_ = json.Unmarshal(item, &a)
				h := u.History(a.ID)[a.ID]
				if len(h) < 2 {
					all = append(all, item)
					continue
				}
				all = append(all, choose(item, h[len(h)-2].JSON)...)
			}
			return all
		})
	}
}

// ehrBeyondFirstPage befalls all ehrBeyondFirstPage but the first.
func ehrBeyondFirstPage(answer ehrAnswer) ehrAnswer {
	return func(u *upstream, w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			u.well(w, r)
			return
		}
		answer(u, w, r)
	}
}

// ehrNamesNext gives another cursor for the ehrNamesNext page, by the one that was asked with.
func ehrNamesNext(cursor func(string) string) ehrAnswer {
	return func(u *upstream, w http.ResponseWriter, r *http.Request) {
		u.changed(w, r, func(body []byte) []byte {
			var page map[string]json.RawMessage
			_ = json.Unmarshal(body, &page)
			page["next"] = json.RawMessage(cursor(r.URL.Query().Get("cursor")))
			body, _ = json.Marshal(page)
			return body
		})
	}
}

// ehrLeadsInACircle has the last page lead to the second.
func ehrLeadsInACircle(u *upstream, w http.ResponseWriter, r *http.Request) {
	u.changed(w, r, func(body []byte) []byte {
		next, _ := rawjson.Get(body, "next")
		if r.URL.Query().Get("cursor") == "" {
			u.second.Store(string(next))
		}
		return []byte(strings.Replace(string(body), `"next":null`, `"next":`+u.second.Load().(string), 1))
	})
}

// ehrIgnoresCursors gives the first page each time, with a cursor that looks new.
func ehrIgnoresCursors(u *upstream, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	q.Del("cursor")
	r.URL.RawQuery = q.Encode()
	zeros := strings.Repeat("0", int(u.hits.Load()))
	u.changed(w, r, func(body []byte) []byte {
		return []byte(strings.Replace(string(body), `"next":"`, `"next":"`+zeros, 1))
	})
}

func ehrRedirects(to func(*upstream) string) ehrAnswer {
	return func(u *upstream, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to(u), http.StatusFound)
	}
}

func ehrClock(ahead time.Duration) func(*upstream) {
	return func(u *upstream) { u.ahead.Store(int64(ahead)) }
}

// ehrGivesShortTokens has tokens live for two seconds.
func ehrGivesShortTokens(_ *testing.T, u *upstream) { u.life = `, "expires_in": 2` }

// ehrAnswers answers with status 200.
func ehrAnswers(kind, body string) ehrAnswer {
	return func(_ *upstream, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, body)
	}
}

// ehrRefuses answers with a status, and headers in pairs.
func ehrRefuses(code int, header ...string) ehrAnswer {
	return func(_ *upstream, w http.ResponseWriter, _ *http.Request) {
		for pair := range slices.Chunk(header, 2) {
			w.Header().Set(pair[0], pair[1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "c4n4ry")
	}
}

// ehrUpdatesTwice makes a version of everything that was never shown before the next one.
func ehrUpdatesTwice(u *upstream) {
	for _, id := range u.IDs() {
		_ = u.Update(id, time.Now().Add(-5*time.Second), func(a *sampleehr.Appointment) { a.Comment = "the first of two changes" }) // it is there
	}
}

func ehrWithAClockAhead(t *testing.T, u *upstream) {
	ehrClock(3 * time.Hour)(u)
	if err := u.Move(u.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
}

// ehrAtItsOwnAddress has the EHR listen where nobody does while the fault lasts.
func ehrAtItsOwnAddress(t *testing.T, u *upstream) {
	s, err := listen.Serve("127.0.0.1:0", u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	u.url = s.URL
	u.breaks = func(u *upstream) { _ = s.Close() }
	u.mend = func(t *testing.T, u *upstream) {
		if s, err = listen.Serve(strings.TrimPrefix(u.url, "http://"), u); err != nil {
			t.Fatal(err)
		}
	}
}

// The certificates that an EHR may have.
const (
	good = iota
	badExpired
	badName
	badAuthority
)

// ehrOverTLS has the EHR speak TLS, with a bad certificate while the fault lasts.
func ehrOverTLS(t *testing.T, u *upstream) {
	authority := func() (*x509.Certificate, *ecdsa.PrivateKey) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, k
	}
	by, key := authority()
	issue := func(kind int) tls.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour)}
		signer := key
		switch kind {
		case badExpired:
			c.NotAfter = time.Now().Add(-time.Minute)
		case badName:
			c.IPAddresses, c.DNSNames = nil, []string{"c4n4ry.example"}
		case badAuthority:
			_, signer = authority()
		}
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by, &k.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
	}
	ca, err := x509.CreateCertificate(rand.Reader, by, by, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(u)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.SetKeepAlivesEnabled(false) // so that each call sees the certificate
	well, ill := issue(good), issue(u.bad)
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if u.ill.Load() {
			return &tls.Config{Certificates: []tls.Certificate{ill}}, nil
		}
		return &tls.Config{Certificates: []tls.Certificate{well}}, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	u.url = s.URL
	u.files = map[string]string{u.name + ".pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}))}
	u.config = append(slices.Clone(u.config), `  timeout  = "1s"`, "  timeout  = \"1s\"\n  tls {\n    ca = file(\""+u.name+".pem\")\n  }")
}
