// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package rest is the adapter for any JSON API that can be asked for what changed since an instant, declared without code.
//
//	source "rest" "clinic" {
//	  base_url = "https://ehr.example/api"
//	  auth "bearer" {
//	    token = secret("clinic_token")
//	  }
//	  limits {
//	    concurrency = 8
//	    per_second  = 20
//	  }
//	  feed "appointments" {
//	    path    = "/appointments"
//	    query   = { changedsince = "{since}", limit = "500" }
//	    items   = "data.appointments"
//	    id      = "id"
//	    version = "lastUpdated"
//	    time    = "lastUpdated"
//	    since {
//	      format = "2006-01-02T15:04:05"
//	      zone   = "America/New_York"
//	    }
//	    page "cursor" {
//	      next  = "meta.next"
//	      param = "cursor"
//	    }
//	  }
//	  resource "patient" {
//	    path = "/patient/{id}"
//	  }
//	}
//
// # Feeds
//
// A feed is asked with a GET of path and query, in which {since} is the instant from which changes are wanted, inclusive:
// the time of the newest change that was read, less the pipeline's overlap, less one unit of the format's precision. A pipeline
// that starts from the beginning asks for the year 1970; one that starts at an instant asks for the overlap before it as well, and
// for ten minutes more, as the server's clock may be behind. Local times in the hour that comes twice when summer time ends are
// asked for from before that hour, so that nothing is left out however the server reads them.
//
// The answer is JSON; items is the dotted path to the array in it. Each item has an identifier and the time of its last
// change; both may be strings or numbers and keep every digit. An item without them is reported as broken, the others go
// on. A page without the array, or that is not JSON, fails as a whole.
//
// The time that a window was begun is the server's, from the Date header of the window's first answer less the time the answer
// took; the watermark never passes it. When the server sends no Date, this machine's clock at that moment takes its place, and
// items with later times are read but do not move the watermark. A server's clock that was set back by more than half a minute
// takes the watermark back with it, and a note says so. A time that exists twice is told as the latest instant that
// is not in the future, and counts for the watermark as the earliest.
//
// The version is compared together with a hash of the data, so that a timestamp of a second's precision hides no second
// change in that second. Without version only the data count. Deletions are not listed by such a feed.
//
// # Requests
//
// A feed with method = "POST" sends body as JSON. {since} may stand in the texts of body; where it is all of a text and instants
// are numbers (since of the format unix or unix_ms), it becomes a number. Parameters of paging go into body as well, at a dotted
// path. Such a POST has to be one that only reads: it is repeated when the network or the server fails.
//
// headers at a feed or resource go before those of the source. What the adapter makes itself can't be set by them:
// Authorization, Host, Content-Length and those that are about the connection.
//
// # Pages
//
//	cursor    takes the cursor for the next page from the body (next) and sends it back as a parameter (param)
//	link      follows the Link header's rel="next"
//	next_url  follows the address in the body (next), which may be relative
//	number    counts pages (param), from 1 or what first says
//	offset    counts items (param), from 0 or what first says
//
// A feed without a page block must answer all changes at once. The query, or the body of a POST, stays the same on all pages but
// for the parameter; an address that is followed has a query of its own. Addresses of next pages, and redirects, that lead to
// another scheme, host or port are errors, since the credentials would go there. When a page after the first is answered by 400,
// 404 or 410, its cursor has expired, and the window is read again; so it is when the configuration asks for another list meanwhile.
//
// Pages that are counted end where the answer says so: more is the path to true or false, total that to the number of all items.
// Without either, the last page is the first that is empty, or has fewer items than size, or that the server does not know
// (404). Servers that give fewer items to a page than they were asked for do not say so; as such limits are round, a page
// with a number of items that four or five divide is not taken for the last, unless those before it were full, and the next one is asked
// for. A 404 behind a page is taken for the end only if the first page can still be had: a proxy whose server is started anew answers the
// same.
//
// A page with the same items as the one before is an error, since the server then ignores param, and so are pages that lead in a circle.
//
// Pages are taken to shift when records change while they are read, so that the engine reads a window of several pages again
// until that brings nothing new. Where the server promises otherwise (a cursor that stands for a place in the order of changes, or
// a snapshot), stable = true saves that.
//
// # Resources
//
// A resource is fetched with a GET of path and query, in which {id} is the identifier, percent-encoded. The same identifier
// in one batch is fetched once. When nothing that is fetched together is there (404, 410), the record that was there last is asked for too,
// and if that is gone as well, nobody's word is taken for it. With id, an answer that has another identifier there is not taken, and asked for again.
//
// With a batch block, {ids} stands for several identifiers, and the items of the answer are matched with them by id, in
// whatever order they come. What is missing in an answer with other items is asked for again, as servers cut long answers; what
// does not come then is not found. A batch that is refused in a way that may be the fault of one identifier (400, 404, 410, 413,
// 414, 422, 431) is halved.
//
// What the items of a feed embed need not be fetched: include names the resource, the path to it in an item and its identifier.
//
// # Credentials
//
// auth is none, basic, bearer, api_key (in a header or a query parameter), oauth2 (client credentials by a secret or a signed
// assertion, or a refresh token) or login (an endpoint of the API that gives a token for a JSON body). Tokens are renewed a minute before
// they expire, or a fifth of their life if that is shorter, and when a call is answered by 401; package oauth has the details. Without a
// token no record is blamed.
//
// The credentials of oauth2 go to token_url and those of all kinds to base_url, nowhere else.
package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Serve makes this process the adapter.
func Serve() {
	sdk.Serve(sdk.Info{Name: "rest", Version: "0.1.0", Doc: "Polls JSON APIs over HTTP, declared without code."}, Open)
}

// source is one API.
type source struct {
	base      *url.URL
	header    http.Header // of every call, without the credentials
	auth      credentials
	tls       *tls.Config
	proxy     *url.URL
	client    *httpx.Client
	parallel  int
	limits    budget.Limits
	feeds     map[string]*feed
	resources map[string]resource
	catalog   sdk.Catalog
	witnesses witnesses
}

var _ sdk.Source = (*source)(nil)

// Open makes a source. It does not call the API: one that is down is found out by the first poll.
func Open(_ context.Context, c Config, env sdk.Env) (sdk.Source, error) {
	s, err := compile(c, env.State)
	if err != nil {
		return nil, err
	}
	s.client, err = httpx.New(httpx.Config{Timeout: c.Timeout, Concurrency: s.parallel, Limits: s.limits, Saved: env.State.Section("budget"),
		TLS: s.tls, Proxy: s.proxy})
	if err != nil {
		return nil, sdk.Misconfigured("limits", "can't be used").Because(err)
	}
	if env.Logger != nil {
		if httpx.Plain(s.base) && (s.auth.header != "" || s.auth.param != "") {
			env.Logger.Warn("credentials and records travel unencrypted, as base_url is http")
		}
		if c.Auth != nil && c.Auth.TokenURL != "" {
			if u, err := url.Parse(c.Auth.TokenURL); err == nil && httpx.Plain(u) {
				env.Logger.Warn("credentials travel unencrypted, as token_url is http")
			}
		}
	}
	return s, nil
}

// Catalog tells the configured feeds and resources.
func (s *source) Catalog() sdk.Catalog { return s.catalog }

// Close closes idle connections, lets answers go that are kept, and saves what is left of the budget and a new refresh token.
func (s *source) Close() (err error) {
	shelved.clear(s)
	if s.auth.tokens != nil {
		err = s.auth.tokens.Close()
	}
	return errors.Join(err, s.client.Close())
}
