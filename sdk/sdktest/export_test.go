// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"crypto/tls"
	"crypto/x509"
)

// Skip leaves rules out.
func Skip(o *Options, rules ...string) { o.skip = rules }

// Trust has the kit trust an EHR of a test.
func Trust(c *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(c)
	transport().TLSClientConfig = &tls.Config{RootCAs: pool}
}
