// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs

import (
	"cmp"
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
	Limits    *httpx.Load   `hcl:"limits,block"`
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
	if err := c.Limits.Validate(); err != nil {
		return err
	}
	_, err := compile(c)
	return err
}

// compile checks a configuration and makes a source of it that has no client yet.
func compile(c Config) (*source, error) {
	base, err := httpx.BaseURL(c.BaseURL, "https://host/openmrs")
	if err != nil {
		return nil, err
	}
	s := &source{base: base, header: http.Header{"User-Agent": {"rounds"}}, feeds: map[string]feed{},
		resources: map[string]resource{}}
	if a := c.Auth; a != nil {
		switch {
		case a.Kind != "basic":
			return nil, sdk.Misconfigured("auth."+a.Kind, "is not a way to authenticate; there is basic")
		case a.Username == "" || strings.Contains(a.Username, ":"):
			return nil, sdk.Misconfigured("auth.basic.username", "must be given, without a colon")
		}
		s.header.Set("Authorization", httpx.Basic(a.Username, a.Password))
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
		if _, err := url.Parse(s.base.String() + compiled.address("x")); err != nil {
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
