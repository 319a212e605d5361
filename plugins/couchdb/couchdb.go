// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package couchdb is the adapter for CouchDB and what speaks its HTTP interface, such as PouchDB Server. It follows the changes
// feed of databases, deletions included.
//
//	source "couchdb" "ward" {
//	  base_url = "https://couch.example:6984"
//	  auth "basic" {
//	    username = "rounds"
//	    password = secret("couch_password")
//	  }
//	  feed "visits" {}
//	  resource "patient" {
//	    database = "patients"
//	  }
//	}
//
// # Feeds
//
// A feed reads /{db}/_changes?since=…&include_docs=true, which lists the documents that changed after a sequence, each once and as
// it is now [changes]. A change's version is the document's winning revision. What was deleted is listed by its tombstone, and is a
// deletion; a tombstone that says more than that is its data. Design documents are left out. Attachments are stubs.
//
// Sequences are numbers in PouchDB and CouchDB 1, and opaque text in CouchDB since 2.0. They are kept as they come. CouchDB may list
// again what it listed before, when a shard moved or a node is away; the engine drops what it knows.
//
// # A database that was made anew
//
// Each window begins with GET /{db}. The feed was reset, and a person has to accept it, when the sequence of the database is a number
// behind the one that was read, when numbers became text or text numbers, or when the server refuses the sequence. CouchDB since 3.3
// tells when the database was created, in instance_start_time [3901]; one that was created at another time is another database. PouchDB
// and CouchDB 1 tell the start of their process there, and CouchDB 2.0 to 3.2 "0", which says nothing.
//
// [changes]: https://docs.couchdb.org/en/stable/api/database/changes.html
// [3901]: https://github.com/apache/couchdb/pull/3901
package couchdb

import (
	"context"
	"net/http"
	"net/url"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Serve makes this process the adapter.
func Serve() {
	sdk.Serve(sdk.Info{Name: "couchdb", Version: "0.1.0", Doc: "Follows the changes of CouchDB databases."}, Open)
}

// source is one server.
type source struct {
	base      *url.URL // without a slash at its end
	header    http.Header
	client    *httpx.Client
	feeds     map[string]feed
	resources map[string]string // databases by name
	catalog   sdk.Catalog
}

var _ sdk.Source = (*source)(nil)

// Open makes a source. It does not call the server: one that is down is found out by the first poll.
func Open(_ context.Context, c Config, env sdk.Env) (sdk.Source, error) {
	s, err := compile(c)
	if err != nil {
		return nil, err
	}
	if s.client, err = httpx.New(c.Limits.Config(c.Timeout)); err != nil {
		return nil, sdk.Misconfigured("limits", "can't be used").Because(err)
	}
	if env.Logger != nil && httpx.Plain(s.base) {
		env.Logger.Warn("credentials and documents travel unencrypted, as base_url is http")
	}
	return s, nil
}

// Catalog tells the configured feeds and resources.
func (s *source) Catalog() sdk.Catalog { return s.catalog }

// Close gives up the connections.
func (s *source) Close() error {
	return s.client.Close()
}

// path is that of a database, as errors name it; it is configuration and so may be shown.
func path(database string) string { return "/" + database }

// address is the URL of something in a database.
func (s *source) address(database, rest string) string {
	return s.base.String() + "/" + url.PathEscape(database) + rest
}
