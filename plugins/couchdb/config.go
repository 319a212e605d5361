// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Config is the body of a source "couchdb" block.
type Config struct {
	_ struct{} `doc:"A CouchDB server, or another that speaks its HTTP interface."`

	BaseURL   string        `hcl:"base_url" doc:"Where the server is, https://host:6984 or https://host/path. Databases are below it."`
	Timeout   time.Duration `hcl:"timeout,optional" default:"30s" doc:"How long one attempt of a call may take."`
	Auth      *Auth         `hcl:"auth,block"`
	Limits    *httpx.Load   `hcl:"limits,block"`
	Feeds     []Feed        `hcl:"feed,block"`
	Resources []Resource    `hcl:"resource,block"`
}

// Auth says how calls prove who makes them.
type Auth struct {
	_ struct{} `doc:"How calls prove who makes them: basic, or bearer for a JSON web token. Without this block: not at all."`

	Kind     string `hcl:"kind,label"`
	Username string `hcl:"username,optional" doc:"For basic."`
	Password string `hcl:"password,optional,sensitive" doc:"For basic."`
	Token    string `hcl:"token,optional,sensitive" doc:"For bearer."`
}

// Feed is the changes of a database.
type Feed struct {
	_ struct{} `doc:"The changes of a database."`

	Name     string `hcl:"name,label"`
	Database string `hcl:"database,optional" doc:"The database, where it is not called like the feed."`
	PageSize int    `hcl:"page_size,optional" default:"200" doc:"Documents in one answer. An answer has at most 128 MiB."`
}

// Resource is the documents of a database.
type Resource struct {
	_ struct{} `doc:"The documents of a database, to be fetched by their id."`

	Name     string `hcl:"name,label"`
	Database string `hcl:"database,optional" doc:"The database, where it is not called like the resource."`
}

const defaultPageSize = 200

// feed is a compiled Feed.
type feed struct {
	name     string
	database string
	limit    int
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
	for _, f := range c.Feeds {
		if f.PageSize < 1 {
			return sdk.Misconfigured("feed."+f.Name+".page_size", "must be at least 1")
		}
	}
	_, err := compile(c)
	return err
}

// compile checks a configuration and makes a source of it that has no client yet.
func compile(c Config) (*source, error) {
	base, err := httpx.BaseURL(c.BaseURL, "https://host:6984")
	if err != nil {
		return nil, err
	}
	s := &source{base: base, header: http.Header{"User-Agent": {"rounds"}}, feeds: map[string]feed{},
		resources: map[string]string{}}
	if err := s.authenticate(c.Auth); err != nil {
		return nil, err
	}
	for _, f := range c.Feeds {
		database := cmp.Or(f.Database, f.Name)
		if err := checkDatabase(database, "feed."+f.Name+".database"); err != nil {
			return nil, err
		}
		s.feeds[f.Name] = feed{name: f.Name, database: database, limit: cmp.Or(f.PageSize, defaultPageSize)}
		s.catalog.Feeds = append(s.catalog.Feeds, sdk.Feed{Name: f.Name, Kind: f.Name, Class: sdk.Sequence, Version: sdk.Exact, Deletes: true,
			Why: "GET " + path(database) + "/_changes lists what changed after a sequence"})
	}
	for _, r := range c.Resources {
		database := cmp.Or(r.Database, r.Name)
		if err := checkDatabase(database, "resource."+r.Name+".database"); err != nil {
			return nil, err
		}
		s.resources[r.Name] = database
		s.catalog.Resources = append(s.catalog.Resources, sdk.Resource{Name: r.Name, Batch: batchSize,
			Why: "one POST " + path(database) + "/_all_docs for several ids"})
	}
	return s, nil
}

// authenticate puts credentials into the headers of all calls.
func (s *source) authenticate(a *Auth) error {
	if a == nil {
		return nil
	}
	at := "auth." + a.Kind
	switch a.Kind {
	case "basic":
		switch {
		case a.Token != "":
			return sdk.Misconfigured(at+".token", "has no meaning for basic")
		case a.Username == "" || strings.Contains(a.Username, ":"):
			return sdk.Misconfigured(at+".username", "must be given, without a colon")
		}
		s.header.Set("Authorization", httpx.Basic(a.Username, a.Password))
	case "bearer":
		switch {
		case a.Username != "" || a.Password != "":
			return sdk.Misconfigured(at, "takes token and nothing else")
		case a.Token == "" || strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
			return sdk.Misconfigured(at+".token", "must be given, of printable ASCII without blanks; the word Bearer is not part of it")
		}
		s.header.Set("Authorization", "Bearer "+a.Token)
	default:
		return sdk.Misconfigured(at, "is not a way to authenticate; there are basic and bearer")
	}
	return nil
}

// checkDatabase refuses what can't be one segment of a path. Which names there may be is the server's to say.
func checkDatabase(name, at string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return sdk.Misconfigured(at, "is not the name of a database")
	}
	return nil
}
