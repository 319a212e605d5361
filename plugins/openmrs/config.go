// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Config is the body of a source "openmrs" block.
type Config struct {
	_ struct{} `doc:"An OpenMRS or Bahmni with one of the atomfeed modules."`

	BaseURL   string        `hcl:"base_url" doc:"Where OpenMRS is, with the path of the web application: https://host/openmrs."`
	Timeout   time.Duration `hcl:"timeout,optional" default:"30s" doc:"How long one attempt of a call may take."`
	Auth      *Auth         `hcl:"auth,block"`
	Limits    *Limits       `hcl:"limits,block"`
	Feeds     []Feed        `hcl:"feed,block"`
	Resources []Resource    `hcl:"resource,block"`
}

// Auth says how calls prove who makes them.
type Auth struct {
	_ struct{} `doc:"How calls prove who makes them: basic. Without this block: not at all."`

	Kind     string `hcl:"kind,label"`
	Username string `hcl:"username,optional" doc:"A user of OpenMRS."`
	Password string `hcl:"password,optional,sensitive" doc:"The user's password."`
}

// Limits bound what the server has to bear, all pipelines of the source together.
type Limits struct {
	_ struct{} `doc:"What the server has to bear at most, all pipelines that use this source together."`

	Concurrency int     `hcl:"concurrency,optional" default:"8" doc:"Calls under way at once."`
	PerSecond   float64 `hcl:"per_second,optional" doc:"Calls a second, evenly spaced. Without it: as fast as answers come."`
}

// Feed is the events of a category.
type Feed struct {
	_ struct{} `doc:"The events of a category: patient, encounter, or another that the module of the server publishes."`

	Name     string `hcl:"name,label"`
	Category string `hcl:"category,optional" doc:"The category, where it is not called like the feed."`
}

// Resource is records that can be fetched.
type Resource struct {
	_ struct{} `doc:"Records, to be fetched by their UUID."`

	Name string `hcl:"name,label"`
	Path string `hcl:"path,optional" doc:"Path below base_url, with {id}. Without it: /ws/rest/v1/NAME/{id}?v=full."`
}

// feed is a compiled Feed.
type feed struct {
	name     string
	category string
}

// resource is a compiled Resource.
type resource struct {
	path  string // with {id}
	query string // with its question mark
}

const placeholder = "{id}"

// address puts an identifier into the path.
func (r resource) address(id string) string {
	return strings.ReplaceAll(r.path, placeholder, url.PathEscape(id)) + r.query
}

// Validate finds what the schema can't say. It calls nobody.
func (c Config) Validate() error {
	// Whoever writes zero does not want the default, which stands in what was not given.
	if c.Timeout <= 0 {
		return sdk.Misconfigured("timeout", "must be more than nothing")
	}
	if c.Limits != nil && c.Limits.Concurrency < 1 {
		return sdk.Misconfigured("limits.concurrency", "must be at least 1")
	}
	_, err := compile(c)
	return err
}

// compile checks a configuration and makes a source of it that has no client yet.
func compile(c Config) (*source, error) {
	s := &source{parallel: httpx.DefaultConcurrency, header: http.Header{"User-Agent": {"rounds"}}, feeds: map[string]feed{},
		resources: map[string]resource{}}
	u, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, sdk.Misconfigured("base_url", "is not an address like https://host/openmrs")
	case u.User != nil:
		return nil, sdk.Misconfigured("base_url", "must not hold credentials; they belong into an auth block")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, sdk.Misconfigured("base_url", "must end with the path")
	}
	s.base = strings.TrimRight(u.String(), "/")
	if c.Limits != nil {
		s.parallel = cmp.Or(c.Limits.Concurrency, s.parallel)
		if p := c.Limits.PerSecond; !(p >= 0 && p <= 1e6) {
			return nil, sdk.Misconfigured("limits.per_second", "must be a number of calls a second, more than 0; leave it out for no limit")
		}
	}
	if a := c.Auth; a != nil {
		switch {
		case a.Kind != "basic":
			return nil, sdk.Misconfigured("auth."+a.Kind, "is not a way to authenticate; there is basic")
		case a.Username == "" || strings.Contains(a.Username, ":"):
			return nil, sdk.Misconfigured("auth.basic.username", "must be given, without a colon")
		}
		s.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password)))
	}
	for _, f := range c.Feeds {
		category := cmp.Or(f.Category, f.Name)
		if !isSegment(category) {
			return nil, sdk.Misconfigured("feed."+f.Name+".category", "is not the name of a category")
		}
		s.feeds[f.Name] = feed{name: f.Name, category: category}
		s.catalog.Feeds = append(s.catalog.Feeds, sdk.Feed{Name: f.Name, Kind: f.Name, Class: sdk.Sequence, Version: sdk.Exact,
			Precision: time.Second, History: true, Why: "GET " + feeds + category + "/{n} has the events in numbered pages"})
	}
	for _, r := range c.Resources {
		at := "resource." + r.Name + ".path"
		path, query, _ := strings.Cut(cmp.Or(r.Path, "/ws/rest/v1/"+r.Name+"/"+placeholder+"?v=full"), "?")
		switch {
		case !strings.HasPrefix(path, "/") || strings.Contains(path+query, "#"):
			return nil, sdk.Misconfigured(at, "must be a path that begins with a slash; it is put behind base_url")
		case !strings.Contains(path, placeholder) || strings.Contains(query, placeholder):
			return nil, sdk.Misconfigured(at, "{id} must stand in the path, before a question mark")
		}
		if query != "" {
			query = "?" + query
		}
		compiled := resource{path: path, query: query}
		if _, err := url.Parse(s.base + compiled.address("x")); err != nil {
			return nil, sdk.Misconfigured(at, "is not a path of a URL")
		}
		s.resources[r.Name] = compiled
		s.catalog.Resources = append(s.catalog.Resources, sdk.Resource{Name: r.Name, Batch: 1, Why: "one GET " + path + " for each identifier"})
	}
	return s, nil
}

// isSegment says whether a name can stand in a path as it is.
func isSegment(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}
