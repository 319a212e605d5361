// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"slices"

	"github.com/rounds-engine/rounds/sdk"
)

// compileTLS checks a tls block. crypto/tls does not quote keys in its errors, but they help nobody, so none is shown.
func compileTLS(t *TLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, sdk.Misconfigured("tls.ca", `holds no certificate in PEM; it is given by value, as in file("ca.pem")`)
		}
	}
	switch {
	case t.Cert == "" && t.Key == "":
		return c, nil
	case t.Cert == "":
		return nil, sdk.Misconfigured("tls.cert", "must be given, as there is a key")
	case t.Key == "":
		return nil, sdk.Misconfigured("tls.key", "must be given, as there is a certificate")
	case !x509.NewCertPool().AppendCertsFromPEM([]byte(t.Cert)):
		return nil, sdk.Misconfigured("tls.cert", `holds no certificate in PEM; it is given by value, as in file("client.pem")`)
	}
	pair, err := tls.X509KeyPair([]byte(t.Cert), []byte(t.Key))
	if err != nil {
		return nil, sdk.Misconfigured("tls.key", "is not the private key of the certificate, in PEM and without a password; "+
			`it is given by value, as in secret("client_key")`).Because(err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// compileProxy checks the address of a proxy, which may hold user and password.
func compileProxy(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme),
		u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, sdk.Misconfigured("proxy", "is not an address like http://host:3128 or http://user:password@host:3128; "+
			"there are http, https and socks5")
	}
	return u, nil
}
