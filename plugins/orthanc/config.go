// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on what is installed where the engine runs

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/window"
)

// stable is the usual Config.Trigger.
const stable = "stable"

// Config is the body of a source "orthanc" block.
type Config struct {
	_ struct{} `doc:"An Orthanc server, whose list of changes is polled."`

	BaseURL  string `hcl:"base_url" doc:"Where Orthanc's REST API is, https://host:8042, or https://host/path behind a proxy."`
	Username string `hcl:"username,optional" doc:"Of Orthanc's RegisteredUsers. Without it: no authentication."`
	Password string `hcl:"password,optional,sensitive" doc:"Of that user."`
	Trigger  string `hcl:"trigger,optional" default:"stable" values:"stable,new" doc:"What makes a change of a patient, study or series: that no instance has come for a while, or that the first one has come. An instance has only the latter."`
	Updates  bool   `hcl:"updates,optional" doc:"User-defined metadata or an attachment that is set makes a change too."`
	Zone     string `hcl:"zone,optional" default:"UTC" doc:"Time zone of the dates of changes, which have none. Orthanc writes UTC, and before version 1.3.2 wrote local time."`
	// Timeout is for one attempt; a call that may be repeated has several.
	Timeout time.Duration `hcl:"timeout,optional" default:"30s" doc:"How long one attempt of a call may take."`
	TLS     *TLS          `hcl:"tls,block"`
	Limits  *httpx.Load   `hcl:"limits,block"`
}

// TLS says whom to trust and as whom to appear. All values are PEM text.
type TLS struct {
	_ struct{} `doc:"Whom to trust and as whom to appear; certificates and keys are given by value, with file() or secret()."`

	CA   string `hcl:"ca,optional" doc:"Certificates, in PEM, of the authorities that are trusted, in the place of the system's. Of a certificate that Orthanc has signed itself: that certificate."`
	Cert string `hcl:"cert,optional" doc:"Client certificate in PEM, for an Orthanc with SslVerifyPeers."`
	Key  string `hcl:"key,optional,sensitive" doc:"Private key of the client certificate, in PEM, without a password."`
}

// dates is how Orthanc writes the date of a change.
const dates = "20060102T150405"

// Validate finds offline what the schema can't say.
func (c Config) Validate() error {
	// Whoever writes zero does not want the default, which stands in what was not given.
	if c.Timeout <= 0 {
		return sdk.Misconfigured("timeout", "must be more than nothing")
	}
	if err := c.Limits.Validate(); err != nil {
		return err
	}
	_, err := c.compile()
	return err
}

// compile checks the configuration and makes the source of it, which has called nobody.
func (c Config) compile() (*source, error) {
	c.Trigger = cmp.Or(c.Trigger, stable)
	base, err := httpx.BaseURL(c.BaseURL, "https://host:8042")
	if err != nil {
		return nil, err
	}
	s := &source{config: c, base: base, header: http.Header{"User-Agent": {"rounds"}}}
	switch {
	case c.TLS != nil && base.Scheme == "http":
		return nil, sdk.Misconfigured("tls", "has no meaning, as base_url is http")
	case c.Username == "" && c.Password != "":
		return nil, sdk.Misconfigured("username", "must be given, as there is a password")
	case c.Username != "" && c.Password == "":
		return nil, sdk.Misconfigured("password", "must be given, as there is a username")
	case strings.Contains(c.Username, ":"):
		return nil, sdk.Misconfigured("username", "can't hold a colon, which ends it in basic authentication")
	}
	if c.Username != "" {
		s.header.Set("Authorization", httpx.Basic(c.Username, c.Password))
	}
	zone, err := time.LoadLocation(cmp.Or(c.Zone, "UTC"))
	if err != nil || c.Zone == "Local" {
		return nil, sdk.Misconfigured("zone", "%q is not a time zone like America/New_York", c.Zone)
	}
	if s.format, err = window.New(dates, zone); err != nil {
		return nil, sdk.Misconfigured("zone", "can't be used").Because(err)
	}
	secure, err := c.TLS.compile()
	if err != nil {
		return nil, err
	}
	client := c.Limits.Config(c.Timeout)
	client.TLS = secure
	s.client, err = httpx.New(client)
	if err != nil {
		return nil, sdk.Misconfigured("limits", "can't be used").Because(err)
	}
	return s, nil
}

// compile checks a tls block. Keys help nobody in an error, so none is shown.
func (t *TLS) compile() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
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
	}
	pair, err := tls.X509KeyPair([]byte(t.Cert), []byte(t.Key))
	if err != nil {
		return nil, sdk.Misconfigured("tls.key", "is not the private key of the certificate, both in PEM and the key without a password; "+
			`they are given by value, as in file("client.pem") and secret("client_key")`).Because(err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
