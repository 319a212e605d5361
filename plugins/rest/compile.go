// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
)

const agent = "rounds"

// Validate finds what the schema can't say: addresses, layouts, zones, placeholders, labels. It calls nobody.
func (c Config) Validate() error {
	// Whoever writes zero does not want the default, which stands in what was not given.
	if c.Timeout == 0 {
		return sdk.Misconfigured("timeout", "must be more than nothing")
	}
	if c.Limits != nil && c.Limits.Concurrency == 0 {
		return sdk.Misconfigured("limits.concurrency", "must be at least 1")
	}
	_, err := compile(c)
	return err
}

// compile checks a configuration and makes a source of it that has no client yet.
func compile(c Config) (*source, error) {
	s := &source{feeds: map[string]*feed{}, resources: map[string]resource{}}
	var err error
	if s.base, err = baseURL(c.BaseURL); err != nil {
		return nil, err
	}
	if c.Timeout < 0 {
		return nil, sdk.Misconfigured("timeout", "must be more than nothing")
	}
	if l := c.Limits; l != nil {
		switch {
		case l.Concurrency < 0:
			return nil, sdk.Misconfigured("limits.concurrency", "must be at least 1")
		case !(l.PerSecond >= 0 && l.PerSecond <= 1e6):
			return nil, sdk.Misconfigured("limits.per_second", "must be a number of calls a second, more than 0; leave it out for no limit")
		}
	}
	if s.tls, err = compileTLS(c.TLS); err != nil {
		return nil, err
	}
	if c.TLS != nil && s.base.Scheme == "http" && (c.Auth == nil || !strings.HasPrefix(c.Auth.TokenURL, "https:")) {
		return nil, sdk.Misconfigured("tls", "has no meaning, as base_url is http")
	}
	if s.proxy, err = compileProxy(c.Proxy); err != nil {
		return nil, err
	}
	base := strings.TrimRight(s.base.String(), "/")
	if s.header, err = mergeHeaders(http.Header{"User-Agent": {agent}}, c.Headers, "", "headers"); err != nil {
		return nil, err
	}
	if s.auth, err = compileAuth(c.Auth, base, s.header); err != nil {
		return nil, err
	}
	if name := textproto.CanonicalMIMEHeaderKey(s.auth.header); s.header[name] != nil {
		return nil, sdk.Misconfigured("headers", "%s is what the auth block sets; leave it out here", name)
	}
	for _, f := range c.Feeds {
		compiled, err := s.compileFeed(f, base, c.Resources)
		if err != nil {
			return nil, err
		}
		s.feeds[f.Name] = compiled
		s.catalog.Feeds = append(s.catalog.Feeds, compiled.describe())
	}
	for _, r := range c.Resources {
		compiled, err := s.compileResource(r, base)
		if err != nil {
			return nil, err
		}
		s.resources[r.Name] = compiled
		s.catalog.Resources = append(s.catalog.Resources, compiled.describe(r.Name))
	}
	return s, nil
}

func baseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return nil, sdk.Misconfigured("base_url", "is not an address like https://host or https://host/path")
	case u.User != nil:
		return nil, sdk.Misconfigured("base_url", "must not hold credentials; they belong into an auth block")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, sdk.Misconfigured("base_url", "must end with the path; parameters belong into query of a feed or resource")
	}
	return u, nil
}

// plain says whether calls to u leave this machine unencrypted.
func plain(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}
