// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package handshake is how a program that starts adapters, the engine or the conformance kit, comes to speak to one whose line of
// greeting it has: TLS with both sides' certificates, and words for what stands in the way. Adapters have no use for it.
// docs/adapter-protocol.md has the other side.
package handshake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// serverName is whom an adapter's certificate has to be for.
const serverName = "localhost"

// Identity is what go-plugin's AutoMTLS does for the engine, with a key that every TLS library takes: theirs is on P-521, which
// adapters with BoringSSL (gRPC's C core and what is built on it: Python, Ruby, …) refused until gRPC 1.60. The environment has the
// certificate for the adapter; the adapter's own comes with its handshake line, and until then nobody is trusted.
func Identity() (c *tls.Config, environment string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	serial, err := rand.Int(rand.Reader, elliptic.P256().Params().N)
	if err != nil {
		return nil, "", err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: serverName, Organization: []string{"Rounds"}},
		DNSNames:     []string{serverName},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		// It is its own authority: libraries ask for both.
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(30, 0, 0), // as long as an engine may run
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      x509.NewCertPool(),
		MinVersion:   tls.VersionTLS12,
		ServerName:   serverName,
	}, "PLUGIN_CLIENT_CERT=" + string(text), nil
}

// Unreadable says what is wrong with the fields of a handshake line behind the versions, "" if nothing is.
func Unreadable(parts []string) string {
	switch {
	case len(parts) < 5 || parts[4] != "grpc":
		return "it does not speak gRPC: the fifth field of its handshake line must be grpc"
	case parts[2] != "unix" && parts[2] != "tcp":
		return "the third field of its handshake line must be unix or tcp"
	case len(parts) < 6 || parts[5] == "":
		return "its handshake line has no certificate: the sixth field must be its server's, for " +
			"TLS that verifies the certificate in PLUGIN_CLIENT_CERT"
	}
	der, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return "the certificate in its handshake line is not base64 without padding"
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return "the certificate in its handshake line is not a single one in DER"
	}
	return ""
}

// contactTime bounds a look at why an adapter can't be spoken to.
const contactTime = 2 * time.Second

// Unreachable connects to where a handshake line leads and says in which step that fails, "" if it does not. It takes some seconds at
// most. gRPC's own errors may quote whatever the other side sent.
func Unreachable(parts []string, c *tls.Config) string {
	if why := Unreadable(parts); why != "" {
		return why
	}
	conn, err := net.DialTimeout(parts[2], parts[3], contactTime)
	if err != nil {
		return "nobody listens at the address in its handshake line, which must be printed after the server has begun to listen"
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(contactTime)) // else the next call fails
	c = c.Clone()
	c.NextProtos = []string{"h2"}
	secure := tls.Client(conn, c)
	err = secure.Handshake()
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var plain tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case err == nil:
	case errors.As(err, &name):
		return "its certificate must have the DNS name " + serverName + " as a subject alternative name"
	case errors.As(err, &authority):
		return "its server shows another certificate than its handshake line gave"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is not valid at this time"
	case errors.As(err, &invalid):
		return "its certificate is not one for a server"
	case errors.As(err, &plain):
		return "its server does not speak TLS"
	case errors.As(err, &alert):
		return "its server ended the TLS handshake: " + alert.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "its server did not answer the TLS handshake"
	case errors.Is(err, io.EOF):
		return "its server closed the connection in the TLS handshake"
	default:
		return "the TLS handshake failed"
	}
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		return "its server does not offer HTTP/2 (h2) by ALPN"
	}
	// With TLS 1.3 a server judges the client's certificate after the client's part of the handshake.
	_, err = secure.Read(make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return "its server does not take the engine's certificate, which is its own authority and in PLUGIN_CLIENT_CERT"
	}
	return ""
}
