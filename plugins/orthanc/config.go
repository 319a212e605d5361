// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on what is installed where the engine runs

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
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
	Limits  *Limits       `hcl:"limits,block"`
}

// TLS says whom to trust and as whom to appear. All values are PEM text.
type TLS struct {
	_ struct{} `doc:"Whom to trust and as whom to appear; certificates and keys are given by value, with file() or secret()."`

	CA   string `hcl:"ca,optional" doc:"Certificates, in PEM, of the authorities that are trusted, in the place of the system's. Of a certificate that Orthanc has signed itself: that certificate."`
	Cert string `hcl:"cert,optional" doc:"Client certificate in PEM, for an Orthanc with SslVerifyPeers."`
	Key  string `hcl:"key,optional,sensitive" doc:"Private key of the client certificate, in PEM, without a password."`
}

// Limits bound what Orthanc has to bear, all pipelines of the source together.
type Limits struct {
	_ struct{} `doc:"What Orthanc has to bear at most, all pipelines that use this source together."`

	Concurrency int     `hcl:"concurrency,optional" default:"8" doc:"Calls under way at once."`
	PerSecond   float64 `hcl:"per_second,optional" doc:"Calls a second, evenly spaced. Without it: as fast as answers come."`
}

// dates is how Orthanc writes the date of a change.
const dates = "20060102T150405"

// Validate finds offline what the schema can't say.
func (c Config) Validate() error {
	// Whoever writes zero does not want the default, which stands in what was not given.
	if c.Timeout == 0 {
		return sdk.Misconfigured("timeout", "must be more than nothing")
	}
	if c.Limits != nil && c.Limits.Concurrency == 0 {
		return sdk.Misconfigured("limits.concurrency", "must be at least 1")
	}
	_, err := c.compile()
	return err
}

// compile checks the configuration and makes the source of it, which has called nobody.
func (c Config) compile() (*source, error) {
	c.Trigger = cmp.Or(c.Trigger, stable)
	s := &source{config: c, header: http.Header{"User-Agent": {"rounds"}}}
	u, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, sdk.Misconfigured("base_url", "is not an address like https://host:8042")
	case u.User != nil:
		return nil, sdk.Misconfigured("base_url", "must not hold credentials; they belong into username and password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, sdk.Misconfigured("base_url", "must end with the path")
	case c.TLS != nil && u.Scheme == "http":
		return nil, sdk.Misconfigured("tls", "has no meaning, as base_url is http")
	case c.Username == "" && c.Password != "":
		return nil, sdk.Misconfigured("username", "must be given, as there is a password")
	case c.Username != "" && c.Password == "":
		return nil, sdk.Misconfigured("password", "must be given, as there is a username")
	case strings.Contains(c.Username, ":"):
		return nil, sdk.Misconfigured("username", "can't hold a colon, which ends it in basic authentication")
	case c.Timeout < 0:
		return nil, sdk.Misconfigured("timeout", "must be more than nothing")
	}
	s.base = strings.TrimRight(u.String(), "/")
	if c.Username != "" {
		s.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password)))
	}
	zone, err := time.LoadLocation(cmp.Or(c.Zone, "UTC"))
	if err != nil || c.Zone == "Local" {
		return nil, sdk.Misconfigured("zone", "%q is not a time zone like America/New_York", c.Zone)
	}
	if s.format, err = window.New(dates, zone); err != nil {
		return nil, sdk.Misconfigured("zone", "can't be used").Because(err)
	}
	var l Limits
	if c.Limits != nil {
		l = *c.Limits
	}
	switch {
	case l.Concurrency < 0:
		return nil, sdk.Misconfigured("limits.concurrency", "must be at least 1")
	case !(l.PerSecond >= 0 && l.PerSecond <= 1e6):
		return nil, sdk.Misconfigured("limits.per_second", "must be a number of calls a second, more than 0; leave it out for no limit")
	}
	secure, err := c.TLS.compile()
	if err != nil {
		return nil, err
	}
	s.parallel = cmp.Or(l.Concurrency, httpx.DefaultConcurrency)
	s.client, err = httpx.New(httpx.Config{Timeout: c.Timeout, Concurrency: s.parallel, Limits: budget.Limits{PerSecond: l.PerSecond}, TLS: secure})
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

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
