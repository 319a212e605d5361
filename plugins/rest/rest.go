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
// items with later times are read but do not move the watermark. A time that exists twice is told as the latest instant that
// is not in the future, and counts for the watermark as the earliest.
//
// The version is compared together with a hash of the data, so that a timestamp of a second's precision hides no second
// change in that second. Without version only the data count. Deletions are not listed by such a feed.
//
// # Pages
//
// page "cursor" takes the cursor for the next page from the body (next) and sends it back as a query parameter (param), beside
// the unchanged query. page "link" follows the Link header's rel="next". A feed without a page block must answer all changes
// at once. Links and redirects to another scheme, host or port are errors, since the credentials would go there. When a page
// after the first is answered by 400, 404 or 410, its cursor has expired, and the window is read again.
//
// Pages are taken to shift when records change while they are read, so that the engine reads a window of several pages again
// until that brings nothing new. Where the server promises otherwise (a cursor that stands for a place in the order of changes, or
// a snapshot), stable = true saves that.
//
// # Resources
//
// A resource is fetched with a GET of path and query, in which {id} is the identifier, percent-encoded. The same identifier
// in one batch is fetched once.
package rest

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/http"
	"net/url"

	"github.com/rounds-engine/rounds/sdk"
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
	feeds     map[string]*feed
	resources map[string]resource
	catalog   sdk.Catalog
}

var _ sdk.Source = (*source)(nil)

// Open makes a source. It does not call the API: one that is down is found out by the first poll.
func Open(_ context.Context, c Config, env sdk.Env) (sdk.Source, error) {
	s, err := compile(c)
	if err != nil {
		return nil, err
	}
	var l Limits
	if c.Limits != nil {
		l = *c.Limits
	}
	s.parallel = cmp.Or(l.Concurrency, httpx.DefaultConcurrency)
	s.client, err = httpx.New(httpx.Config{Timeout: c.Timeout, Concurrency: s.parallel, PerSecond: l.PerSecond,
		TLS: s.tls, Proxy: s.proxy})
	if err != nil {
		return nil, sdk.Misconfigured("limits", "can't be used").Because(err)
	}
	if s.base.Scheme == "http" && (s.auth.header != "" || s.auth.param != "") && !local(s.base) && env.Logger != nil {
		env.Logger.Warn("credentials and records travel unencrypted, as base_url is http")
	}
	return s, nil
}

// Catalog tells the configured feeds and resources.
func (s *source) Catalog() sdk.Catalog { return s.catalog }

// Close closes idle connections.
func (s *source) Close() error {
	s.client.Close()
	return nil
}
