// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import "time"

// Config is the body of a source "rest" block.
type Config struct {
	_ struct{} `doc:"A JSON API that is polled over HTTP."`

	BaseURL string `hcl:"base_url" doc:"Where the API lives, https://host or https://host/path. All calls stay on this scheme, host and port."`
	// Timeout is for one attempt; a call that may be repeated has several.
	Timeout   time.Duration `hcl:"timeout,optional" default:"30s" doc:"How long one attempt of a call may take."`
	Auth      *Auth         `hcl:"auth,block"`
	Limits    *Limits       `hcl:"limits,block"`
	Feeds     []Feed        `hcl:"feed,block"`
	Resources []Resource    `hcl:"resource,block"`
}

// Auth says how calls prove who makes them.
type Auth struct {
	_ struct{} `doc:"How calls prove who makes them: none, basic or bearer. Without this block: none."`

	Kind     string `hcl:"kind,label"`
	Username string `hcl:"username,optional" doc:"For basic."`
	Password string `hcl:"password,optional,sensitive" doc:"For basic."`
	Token    string `hcl:"token,optional,sensitive" doc:"For bearer."`
}

// Limits bound what the API has to bear, all pipelines of the source together.
type Limits struct {
	_ struct{} `doc:"What the API has to bear at most, all pipelines that use this source together."`

	Concurrency int     `hcl:"concurrency,optional" default:"8" doc:"Calls under way at once."`
	PerSecond   float64 `hcl:"per_second,optional" doc:"Calls a second, evenly spaced. Without it: as fast as answers come."`
}

// Feed is a list of what changed since an instant, or of everything.
type Feed struct {
	_ struct{} `doc:"A list that answers what changed since an instant, or everything that there is."`

	Name    string            `hcl:"name,label"`
	Class   string            `hcl:"class,optional" default:"timestamp" values:"timestamp,scan" doc:"How it is read: timestamp asks what changed since {since}; scan reads everything at each poll and compares."`
	Path    string            `hcl:"path" doc:"Path below base_url; may hold {since}."`
	Query   map[string]string `hcl:"query,optional" doc:"Query parameters; values may hold {since}."`
	Items   string            `hcl:"items,optional" doc:"Dotted path to the array of items in the answer. Without it the answer is the array."`
	ID      string            `hcl:"id" doc:"Dotted path to an item's identifier."`
	Version string            `hcl:"version,optional" doc:"Dotted path to what differs from version to version of a record. An equal version with other data is a change too."`
	Time    string            `hcl:"time,optional" doc:"Dotted path to the time of an item's last change, in the format of since or RFC 3339. A scan can do without."`
	Ignore  []string          `hcl:"ignore,optional" doc:"Dotted paths of what changes without meaning anything: it is left out when data are compared. Arrays are passed through."`
	Since   *Since            `hcl:"since,block"`
	Page    *Page             `hcl:"page,block"`
}

// Since says how the API writes instants.
type Since struct {
	_ struct{} `doc:"How the API writes instants. Without this block: RFC 3339 in UTC."`

	Format string `hcl:"format,optional" doc:"Go layout: 2006-01-02T15:04:05 as the API writes it. Without it: RFC 3339."`
	Zone   string `hcl:"zone,optional" default:"UTC" doc:"Time zone of instants that have no offset, such as America/New_York."`
}

// Page says how a long answer goes on. A new way of paging is a new label.
type Page struct {
	_ struct{} `doc:"How a long answer goes on: by a cursor in its body or by a Link header. Without this block each answer is whole."`

	Kind   string `hcl:"kind,label"`
	Next   string `hcl:"next,optional" doc:"For cursor: dotted path to the next page's cursor in the answer; null, empty or absent on the last page."`
	Param  string `hcl:"param,optional" doc:"For cursor: the query parameter that carries it."`
	Stable bool   `hcl:"stable,optional" doc:"Pages do not shift when records change meanwhile, so a window need not be read again to be sure."`
}

// Resource is something that is fetched by its identifier.
type Resource struct {
	_ struct{} `doc:"Something that is fetched by its identifier."`

	Name  string            `hcl:"name,label"`
	Path  string            `hcl:"path" doc:"Path below base_url; may hold {id}."`
	Query map[string]string `hcl:"query,optional" doc:"Query parameters; values may hold {id}."`
}
