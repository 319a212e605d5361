// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"crypto/tls"
	"crypto/x509"
)

// tlsConfig says whom to trust and as whom to appear.
type tlsConfig struct {
	_          struct{} `doc:"Speaks TLS: whom to trust, and as whom to appear. Certificates and keys are PEM text, as from file() and secret()."`
	CA         string   `hcl:"ca,optional" doc:"Certificates of the authorities that are trusted, in the place of the system's."`
	Cert       string   `hcl:"cert,optional" doc:"Client certificate, followed by those between it and its authority."`
	Key        string   `hcl:"key,optional,sensitive" doc:"Private key of the client certificate, without a password."`
	ServerName string   `hcl:"server_name,optional" doc:"The name that the receiver's certificate is for, if it is not the host of the address."`
}

// compile checks the block; where there is none, the system's roots are trusted. crypto/tls does not quote keys in its errors,
// but they help nobody, so none is shown.
func (t *tlsConfig) compile() (*tls.Config, error) {
	if t == nil {
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, blame("tls.ca", `holds no certificate in PEM; it is given by value, as in file("ca.pem")`)
		}
	}
	switch {
	case t.Cert == "" && t.Key == "":
		return c, nil
	case t.Cert == "":
		return nil, blame("tls.cert", "must be given, as there is a key")
	case t.Key == "":
		return nil, blame("tls.key", "must be given, as there is a certificate")
	case !x509.NewCertPool().AppendCertsFromPEM([]byte(t.Cert)):
		return nil, blame("tls.cert", `holds no certificate in PEM; it is given by value, as in file("client.pem")`)
	}
	pair, err := tls.X509KeyPair([]byte(t.Cert), []byte(t.Key))
	if err != nil {
		return nil, blame("tls.key", "is not the private key of the certificate, in PEM and without a password; "+
			`it is given by value, as in secret("client_key")`)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
