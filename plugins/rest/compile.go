// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on what is installed where the engine runs

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/window"
)

// Validate finds what the schema can't say: addresses, layouts, zones, placeholders, labels. It calls nobody.
func (c Config) Validate() error {
	_, err := compile(c)
	return err
}

// compile checks a configuration and makes a source of it that has no client yet.
func compile(c Config) (*source, error) {
	s := &source{feeds: map[string]*feed{}, resources: map[string]template{}}
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
	if s.header, err = header(c.Auth); err != nil {
		return nil, err
	}
	base := strings.TrimRight(s.base.String(), "/")
	for _, f := range c.Feeds {
		compiled, err := compileFeed(f, base)
		if err != nil {
			return nil, err
		}
		s.feeds[f.Name] = compiled
		s.catalog.Feeds = append(s.catalog.Feeds, compiled.describe())
	}
	for _, r := range c.Resources {
		t, err := newTemplate(base, r.Path, r.Query, "{id}", "resource."+r.Name)
		if err != nil {
			return nil, err
		}
		s.resources[r.Name] = t
		s.catalog.Resources = append(s.catalog.Resources, sdk.Resource{Name: r.Name, Batch: 1,
			Why: "one GET " + r.Path + " for each identifier"})
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

// local says whether calls to u stay on this machine.
func local(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// header makes what every call carries.
func header(a *Auth) (http.Header, error) {
	h := http.Header{"User-Agent": {"rounds"}}
	if a == nil {
		a = &Auth{Kind: "none"}
	}
	at := "auth." + a.Kind
	var allowed []string
	switch a.Kind {
	case "none":
	case "basic":
		if a.Username == "" || strings.Contains(a.Username, ":") {
			return nil, sdk.Misconfigured(at+".username", "must be given, without a colon")
		}
		allowed = []string{"username", "password"}
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password)))
	case "bearer":
		if a.Token == "" || strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, sdk.Misconfigured(at+".token", "must be given, of printable ASCII without blanks; "+
				"the word Bearer is not part of it")
		}
		allowed = []string{"token"}
		h.Set("Authorization", "Bearer "+a.Token)
	default:
		return nil, sdk.Misconfigured(at, "is not a way to authenticate; there are none, basic and bearer")
	}
	for _, given := range []struct{ name, value string }{
		{"username", a.Username}, {"password", a.Password}, {"token", a.Token},
	} {
		if given.value != "" && !slices.Contains(allowed, given.name) {
			return nil, sdk.Misconfigured(at+"."+given.name, "has no meaning for auth %q", a.Kind)
		}
	}
	return h, nil
}

func compileFeed(f Feed, base string) (*feed, error) {
	at := "feed." + f.Name
	c := &feed{name: f.Name, scan: f.Class == string(sdk.Scan), ignore: f.Ignore}
	var err error
	placeholder := "{since}"
	if c.scan {
		placeholder = "" // it lists the same whenever it is asked
	}
	if c.request, err = newTemplate(base, f.Path, f.Query, placeholder, at); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		name, value string
		into        *dotted
		optional    bool
	}{{"items", f.Items, &c.items, true}, {"id", f.ID, &c.id, false}, {"version", f.Version, &c.version, true}, {"time", f.Time, &c.time, c.scan}} {
		if *p.into, err = parseDotted(p.value); err != nil || len(*p.into) == 0 && !p.optional {
			return nil, sdk.Misconfigured(at+"."+p.name, "is not a dotted path like meta.lastUpdated")
		}
	}
	for _, path := range f.Ignore {
		if d, err := parseDotted(path); err != nil || len(d) == 0 {
			return nil, sdk.Misconfigured(at+".ignore", "%q is not a dotted path like meta.lastSeen", path)
		}
	}
	if c.format, c.written, err = compileSince(f.Since, at); err != nil {
		return nil, err
	}
	if c.page, err = compilePage(f.Page, f.Query, at); err != nil {
		return nil, err
	}
	return c, nil
}

func compileSince(s *Since, at string) (window.Format, string, error) {
	layout, zone := time.RFC3339, time.UTC
	written := "RFC 3339"
	if s != nil {
		if s.Zone != "" {
			var err error
			// Local is the zone of the machine, which is no fact about the API.
			if zone, err = time.LoadLocation(s.Zone); err != nil || s.Zone == "Local" {
				return window.Format{}, "", sdk.Misconfigured(at+".since.zone", "%q is not a time zone; names are like America/New_York", s.Zone)
			}
		}
		if s.Format != "" {
			layout, written = s.Format, s.Format
		}
	}
	f, err := window.New(layout, zone)
	if err != nil {
		return f, "", sdk.Misconfigured(at+".since.format", "%s", err)
	}
	return f, fmt.Sprintf("%s in %s", written, zone), nil
}

func compilePage(p *Page, query map[string]string, at string) (paging, error) {
	if p == nil {
		return paging{}, nil
	}
	at += ".page." + p.Kind
	c := paging{kind: p.Kind, param: p.Param, stable: p.Stable}
	switch p.Kind {
	case "cursor":
		var err error
		if c.next, err = parseDotted(p.Next); err != nil || len(c.next) == 0 {
			return c, sdk.Misconfigured(at+".next", "must be given, as a dotted path like meta.next")
		}
		if p.Param == "" {
			return c, sdk.Misconfigured(at+".param", "must be given: the query parameter that carries the cursor")
		}
		if _, taken := query[p.Param]; taken {
			return c, sdk.Misconfigured(at+".param", "is set in query as well; leave it out there")
		}
	case "link":
		if p.Next != "" || p.Param != "" {
			return c, sdk.Misconfigured(at, "takes neither next nor param: the Link header says it all")
		}
	default:
		return c, sdk.Misconfigured(at, "is not a way of paging; there are cursor and link")
	}
	return c, nil
}
