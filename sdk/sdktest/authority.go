// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"
)

// authority is who vouches for the kit's addresses to an adapter that wants https.
type authority struct {
	tls  *tls.Config
	file string // with its certificate, and those that are trusted beside it
}

// newAuthority makes one that is trusted by those who are told to, and for an hour.
func newAuthority() (_ *authority, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "Rounds conformance kit"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if path := os.Getenv("SSL_CERT_FILE"); path != "" {
		more, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		bundle = append(bundle, more...)
	}
	file, err := os.CreateTemp("", "rounds-kit-*.pem")
	if err != nil {
		return nil, err
	}
	_, err = file.Write(bundle)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(file.Name()))
	}
	return &authority{&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, file.Name()}, nil
}

// environment tells a program to trust it: OpenSSL and Go, Node.js, and Python's requests.
func (a *authority) environment() []string {
	if a == nil {
		return nil
	}
	return []string{"SSL_CERT_FILE=" + a.file, "NODE_EXTRA_CA_CERTS=" + a.file, "REQUESTS_CA_BUNDLE=" + a.file}
}

func (a *authority) close() {
	if a != nil {
		_ = os.Remove(a.file) // it is in the directory for temporary files
	}
}
