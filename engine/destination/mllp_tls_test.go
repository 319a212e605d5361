// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
)

func TestMLLPOverTLS(t *testing.T) {
	authority, authorityKey := certificate(t, "authority", nil, nil)
	server, serverKey := certificate(t, "his.example", authority, authorityKey)
	client, clientKey := certificate(t, "rounds", authority, authorityKey)
	pair, err := tls.X509KeyPair([]byte(pemOf(t, server)), []byte(pemOf(t, serverKey)))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(authority)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newHospital(t, tls.NewListener(plain, &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	}), answers(func(control string) string { return acknowledge("AA", control) }))

	ca, cert, key := pemOf(t, authority), pemOf(t, client), pemOf(t, clientKey)
	d := open(t, "mllp", map[string]any{"address": h.Addr().String(),
		"tls": map[string]any{"ca": ca, "cert": cert, "key": key, "server_name": "his.example"}})
	for range 3 {
		if err := d.Send(t.Context(), hl7Note(hl7ID)); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.opened.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for want, config := range map[string]map[string]any{
		"is signed by an unknown authority": {"server_name": "his.example"},
		"is for another name":               {"ca": ca},
	} {
		d := open(t, "mllp", map[string]any{"address": h.Addr().String(), "tls": config})
		if e := sendError(t, d.Send(t.Context(), hl7Note(hl7ID))); e.Code != "tls" || e.Verdict != record.Retry || !strings.Contains(e.Text, want) {
			t.Errorf("%s: %s, %q", want, e.Code, e.Text)
		}
	}
	d = open(t, "mllp", map[string]any{"address": h.Addr().String(), "tls": map[string]any{"ca": ca, "server_name": "his.example"}})
	if e := sendError(t, d.Send(t.Context(), hl7Note(hl7ID))); e.Verdict != record.Retry {
		t.Errorf("without a client certificate: verdict %d, %q", e.Verdict, e.Text)
	}
}

// certificate makes a certificate for a name, signed by an authority, or an authority when that is nil.
func certificate(t *testing.T, name string, by *x509.Certificate, byKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, BasicConstraintsValid: true, IsCA: by == nil}
	if by == nil {
		by, byKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func pemOf(t *testing.T, v any) string {
	t.Helper()
	if c, ok := v.(*x509.Certificate); ok {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
