// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.pem, _ = a.issue(template)
	return a
}

// issue gives certificate and key in PEM. The first is the authority's own.
func (a *authority) issue(template *x509.Certificate) (cert, key string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, k
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &k.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		a.key = k
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func (a *authority) client() (cert, key string) {
	return a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// serve starts a server on 127.0.0.1 that wants a client certificate of clients, if given.
func (a *authority) serve(newest uint16, clients *authority) *httptest.Server {
	cert, key := a.issue(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		a.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		io.WriteString(w, `{"client": "`+name+`"}`)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: newest}
	if clients != nil {
		s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		s.TLS.ClientCAs.AddCert(clients.cert)
	}
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s
}

// fetchOver fetches one resource from a server with the attributes of a tls block, and further JSON of the source.
func fetchOver(t *testing.T, url string, attributes map[string]string, more string) (string, error) {
	t.Helper()
	block, err := json.Marshal(attributes)
	if err != nil {
		t.Fatal(err)
	}
	s := newAPI(t).open(`{"base_url": "` + url + `", "tls": ` + string(block) + more + `, "resource": [{"name": "p", "path": "/p/{id}"}]}`)
	results, err := s.Fetch(t.Context(), refs("p", "1"))
	if err != nil {
		t.Fatal(err)
	}
	return string(results[0].Data), results[0].Err
}

func TestTLSTrustsAndAppearsAsConfigured(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	clientCert, clientKey := ours.client()
	strangerCert, strangerKey := theirs.client()
	plain, mutual, old := ours.serve(0, nil), ours.serve(tls.VersionTLS12, ours), ours.serve(tls.VersionTLS12, nil)
	const failed = "GET /p/{id}: TLS: handshake failed"
	for _, tt := range []struct {
		name  string
		at    *httptest.Server
		block map[string]string
		text  string // of the error
		data  string
	}{
		{"own authority", plain, map[string]string{"ca": ours.pem}, "", `{"client": ""}`},
		{"several authorities", plain, map[string]string{"ca": theirs.pem + ours.pem}, "", `{"client": ""}`},
		{"another's authority", plain, map[string]string{"ca": theirs.pem}, "GET /p/{id}: TLS: certificate is not trusted", ""},
		{"the system's authorities", plain, map[string]string{}, "GET /p/{id}: TLS: certificate is not trusted", ""},
		{"client certificate", mutual, map[string]string{"ca": ours.pem, "cert": clientCert, "key": clientKey}, "", `{"client": "client"}`},
		{"no client certificate", mutual, map[string]string{"ca": ours.pem}, failed, ""},
		{"a stranger's certificate", mutual, map[string]string{"ca": ours.pem, "cert": strangerCert, "key": strangerKey}, failed, ""},
		{"an old server", old, map[string]string{"ca": ours.pem, "min_version": "1.2"}, "", `{"client": ""}`},
		{"too old a server", old, map[string]string{"ca": ours.pem, "min_version": "1.3"}, failed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := fetchOver(t, tt.at.URL, tt.block, "")
			if tt.text != "" {
				wantError(t, err, sdk.CodeRetryable, tt.text)
			} else if err != nil || data != tt.data {
				t.Errorf("%s, %v", data, err)
			}
		})
	}
}

func TestAKeyThatDoesNotFitIsBlamedAndNotShown(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.client()
	_, other := a.client()
	for name, wrong := range map[string]string{"another's": other, "cut off": key[:len(key)/2], "a certificate": cert} {
		err := rest.Config{BaseURL: "https://ehr.invalid", Timeout: time.Second, TLS: &rest.TLS{Cert: cert, Key: wrong}}.Validate()
		var e *sdk.Error
		if !errors.As(err, &e) || e.Code != sdk.CodeMisconfigured || e.Path != "tls.key" || !strings.Contains(e.Text, "is not the private key") ||
			strings.Contains(e.Text, strings.Split(wrong, "\n")[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A forward proxy that tunnels, as for https.
func TestAProxyTunnelsAndItsCredentialsAreShownNowhere(t *testing.T) {
	a := newAuthority(t)
	server := a.serve(0, nil)
	var tunnels atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != "Basic dTpjNG40cnk=" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		tunnels.Add(1)
		there, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer here.Close()
		io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			io.Copy(there, buffered)
			there.Close()
		}()
		io.Copy(here, there)
	}))
	defer proxy.Close()
	host := strings.TrimPrefix(proxy.URL, "http://")
	block := map[string]string{"ca": a.pem}
	data, err := fetchOver(t, server.URL, block, `, "proxy": "http://u:c4n4ry@`+host+`"`)
	if err != nil || data != `{"client": ""}` || tunnels.Load() != 1 {
		t.Errorf("%s, %v, %d tunnels", data, err, tunnels.Load())
	}
	_, err = fetchOver(t, server.URL, block, `, "proxy": "http://wrong:c4n4ry@`+host+`"`)
	wantError(t, err, sdk.CodeUnauthorized, "GET /p/{id}: the proxy did not connect: 407 Proxy Authentication Required")
	_, err = fetchOver(t, server.URL, block, `, "proxy": "http://u:c4n4ry@127.0.0.1:1", "timeout": "5s"`) // a reserved port
	wantError(t, err, sdk.CodeRetryable, "GET /p/{id}: proxy: connection refused")
}
