// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package openmrs is the adapter for OpenMRS and Bahmni: the Atom feeds of events that their atomfeed modules publish, and records by
// REST or FHIR.
//
//	source "openmrs" "clinic" {
//	  base_url = "https://emr.example/openmrs"
//	  auth "basic" {
//	    username = "rounds"
//	    password = secret("openmrs_password")
//	  }
//	  feed "patient" {}
//	  feed "encounter" {}
//	  resource "patient" {}
//	  resource "encounter" {
//	    path = "/ws/fhir2/R4/Encounter/{id}"
//	  }
//	}
//
// # Feeds
//
// The events of a category stand in pages of a few entries each, which are numbered from 1, oldest first: /ws/atomfeed/patient/1.
// /ws/atomfeed/patient/recent is the last page, which fills up until the next one begins; its link "via" tells its number [atomfeed].
// An entry tells which record was saved: its content is the path of the record, /openmrs/ws/rest/v1/patient/UUID?v=full, or in the newer
// module an object of such paths [module]. The UUID is the change's id, the entry's id its version. Where the categories of an entry tell
// what was done (CREATED, UPDATED, DELETED, VOIDED), that is the change's event. Links are read for their page numbers only, as the hosts in
// them are wrong behind many proxies.
//
// # Where reading stands
//
// A watermark is the last entry that was read: its page, its place there, its id. The next window begins behind it. An entry that is no
// longer in its place, but further on, was pushed there: the server numbers events before the transactions that save them end, so
// that one may become visible before others that were read. Then all is read again from the overlap before the entry on. An entry that is
// not to be found was lost with what came after it: the feed was reset.
//
// [atomfeed]: https://github.com/ICT4H/atomfeed, EventFeedServiceImpl and NumberFeedGenerator
// [module]: https://github.com/openmrs/openmrs-module-atomfeed, DefaultFeedWriter; the other is https://github.com/ICT4H/openmrs-atomfeed
package openmrs

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Serve makes this process the adapter.
func Serve() {
	sdk.Serve(sdk.Info{Name: "openmrs", Version: "0.1.0", Doc: "Follows the Atom feeds of OpenMRS and Bahmni."}, Open)
}

// source is one OpenMRS.
type source struct {
	base      *url.URL // without a slash at its end
	header    http.Header
	client    *httpx.Client
	feeds     map[string]feed
	resources map[string]resource
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
		env.Logger.Warn("credentials and records travel unencrypted, as base_url is http")
	}
	return s, nil
}

// Catalog tells the configured feeds and resources.
func (s *source) Catalog() sdk.Catalog { return s.catalog }

// Fetch reads records one by one.
func (s *source) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	return sdk.Each(refs, s.client.Concurrency(), func(ref sdk.Ref) (json.RawMessage, error) {
		r, ok := s.resources[ref.Kind]
		switch {
		case !ok:
			return nil, sdk.Permanent("resource %q is not configured", ref.Kind)
		case ref.Args != "":
			return nil, sdk.Permanent("GET %s: takes an identifier and no further arguments", r.path)
		case ref.ID == "", ref.ID == ".", ref.ID == "..": // another path would be called, such as that of the list
			return nil, sdk.Permanent("GET %s: the identifier is empty or not fit for a path", r.path)
		}
		res, err := s.client.JSON(ctx, httpx.Request{URL: s.base.String() + r.address(ref.ID), Template: r.path, Header: s.header})
		if err != nil {
			return nil, httpx.Missing(err)
		}
		return res.Body, nil
	}), nil
}

// Close gives up the connections.
func (s *source) Close() error {
	return s.client.Close()
}
