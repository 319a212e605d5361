// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"cmp"
	"fmt"
	"net/http"
	"time"
	_ "time/tzdata" // zones must not depend on what is installed where the engine runs

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/window"
)

func (s *source) compileFeed(f Feed, base string, resources []Resource) (*feed, error) {
	at := "feed." + f.Name
	c := &feed{name: f.Name, scan: f.Class == string(sdk.Scan), ignore: f.Ignore}
	var err error
	if c.format, c.written, err = compileSince(f.Since, at); err != nil {
		return nil, err
	}
	if c.request, err = s.feedRequest(f, base, at); err != nil {
		return nil, err
	}
	c.request.number = c.format.IsEpoch()
	for _, p := range []struct {
		name, value string
		into        *dotted
		optional    bool
	}{
		{"items", f.Items, &c.items, true}, {"id", f.ID, &c.id, false}, {"version", f.Version, &c.version, true}, {"time", f.Time, &c.time, c.scan},
	} {
		if *p.into, err = parseDotted(p.value); err != nil || len(*p.into) == 0 && !p.optional {
			return nil, sdk.Misconfigured(at+"."+p.name, "is not a dotted path like meta.lastUpdated")
		}
	}
	c.paths = [3][]string{c.id, c.version, c.time}
	for _, path := range f.Ignore {
		if d, err := parseDotted(path); err != nil || len(d) == 0 {
			return nil, sdk.Misconfigured(at+".ignore", "%q is not a dotted path like meta.lastSeen", path)
		}
	}
	if c.page, err = compilePage(f.Page, c.request, at); err != nil {
		return nil, err
	}
	if c.include, err = compileIncludes(f.Include, resources, at); err != nil {
		return nil, err
	}
	c.list = s.identify(c)
	return c, nil
}

func (s *source) feedRequest(f Feed, base, at string) (template, error) {
	t := template{method: cmp.Or(f.Method, http.MethodGet), base: base, path: f.Path, query: f.Query, placeholder: "{since}",
		constant: f.Class == string(sdk.Scan), credential: s.auth.param}
	header := s.header
	if t.method == http.MethodPost {
		header = header.Clone()
		if header.Get("Content-Type") == "" {
			header.Set("Content-Type", "application/json")
		}
		var ok bool
		if t.body, ok = decodeBody(f.Body); !ok {
			return t, sdk.Misconfigured(at+".body", "must be an object or a list")
		}
	} else if f.Body != nil {
		return t, sdk.Misconfigured(at+".body", `has no meaning without method = "POST"`)
	}
	var err error
	if t.header, err = mergeHeaders(header, f.Headers, s.auth.header, at+".headers"); err != nil {
		return t, err
	}
	return t, t.check(at)
}

func compileSince(s *Since, at string) (window.Format, string, error) {
	layout, zone := time.RFC3339, time.UTC
	written := "RFC 3339"
	if s != nil {
		switch unit, words := epoch(s.Format); {
		case unit == 0:
		case s.Zone != "" && s.Zone != "UTC":
			return window.Format{}, "", sdk.Misconfigured(at+".since.zone", "has no meaning for %s, which is the same everywhere", s.Format)
		default:
			return window.Epoch(unit), words, nil
		}
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

// epoch gives the unit of a format that counts from 1970, and its words; 0: it is another format.
func epoch(format string) (time.Duration, string) {
	switch format {
	case "unix":
		return time.Second, "seconds since 1970"
	case "unix_ms":
		return time.Millisecond, "milliseconds since 1970"
	}
	return 0, ""
}
