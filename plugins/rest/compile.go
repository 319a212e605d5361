// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"cmp"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
	"github.com/rounds-engine/rounds/sdk/httpx"
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
	_, err := compile(c, nil)
	return err
}

// compile checks a configuration and makes a source of it that has no client yet.
func compile(c Config, state *sdk.State) (*source, error) {
	s := &source{feeds: map[string]*feed{}, resources: map[string]resource{}, witnesses: witnesses{ids: map[string]string{}}}
	var err error
	if s.base, err = httpx.BaseURL(c.BaseURL, "https://host or https://host/path"); err != nil {
		return nil, err
	}
	if c.Timeout < 0 {
		return nil, sdk.Misconfigured("timeout", "must be more than nothing")
	}
	if s.parallel, s.limits, err = c.Limits.compile(); err != nil {
		return nil, err
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
	base := s.base.String()
	if s.header, err = mergeHeaders(http.Header{"User-Agent": {agent}}, c.Headers, "", "headers"); err != nil {
		return nil, err
	}
	if s.auth, err = compileAuth(c.Auth, base, s.header, state.Section("oauth2")); err != nil {
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

// compile checks a limits block.
func (l *Limits) compile() (parallel int, out budget.Limits, err error) {
	if l == nil {
		return httpx.DefaultConcurrency, out, nil
	}
	if l.Concurrency < 0 {
		return 0, out, sdk.Misconfigured("limits.concurrency", "must be at least 1")
	}
	if !(l.PerSecond >= 0 && l.PerSecond <= 1e6) {
		return 0, out, sdk.Misconfigured("limits.per_second", "must be a number of calls a second, more than 0; leave it out for no limit")
	}
	for _, n := range []struct {
		name string
		n    int
	}{{"per_minute", l.PerMinute}, {"per_hour", l.PerHour}, {"per_day", l.PerDay}} {
		if n.n < 0 {
			return 0, out, sdk.Misconfigured("limits."+n.name, "must be a number of calls, more than 0; leave it out for no limit")
		}
	}
	zone, err := time.LoadLocation(l.DayZone)
	if err != nil || l.DayZone == "Local" {
		return 0, out, sdk.Misconfigured("limits.day_zone", "%q is not a time zone; there are UTC and names like America/New_York", l.DayZone)
	}
	return cmp.Or(l.Concurrency, httpx.DefaultConcurrency), budget.Limits{PerSecond: l.PerSecond, PerMinute: l.PerMinute, PerHour: l.PerHour,
		PerDay: l.PerDay, DayZone: zone, After429: budget.Period(l.After429)}, nil
}
