// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package athenahealth is the adapter for athenahealth's athenaOne API: changed appointments, patients and orders of one practice.
//
//	source "athenahealth" "clinic" {
//	  environment   = "preview"
//	  practice_id   = "195900"
//	  client_id     = env("ATHENA_CLIENT_ID")
//	  client_secret = secret("athena")
//	}
//
// # Feeds
//
// The API keeps a queue of messages per key, practice and feed, once that is subscribed to: GET …/changed answers what was not read
// yet and marks it as processed, so that it comes no more. "Note that once retrieved, messages are removed from the list", says the
// documentation. So:
//
//   - The first page is read over and over until it is not full. An offset would skip as many messages as the reading before marked.
//   - Such a reading is made once, and not again when no answer comes: the messages of an answer that was lost are marked.
//   - What was marked and may not have been committed is read again by the time of its mark (showprocessedstartdatetime), in pieces of an
//     hour, marking nothing: at the start, after each failure, and for five minutes after that, since the server may still be at work
//     on a reading that nobody waits for any more.
//   - The watermark is the server's clock at the begin of the last whole window: what was marked before is committed. Before it is
//     known, nothing is taken: the first page of a feed that was never read is empty.
//
// Times of marks are asked for in Eastern time, wide enough for every way to read a time of the hour that comes twice.
//
// Once an hour what was marked in that hour is read again and counted. If it is more than this source took, another client with the
// same key reads the feed as well; what it took comes to light by that, and the engine is told.
//
// # Resources
//
// patient, appointment, department, provider, encounter and order are one GET each. What the API answers as a list of one is given
// without the list. The identifier of an order is that of its patient and its own, joined by a slash, as its path has both.
// encounter_orders are the orders of an encounter, as a list.
package athenahealth

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/oauth"
)

// Serve makes this process the adapter.
func Serve() { sdk.Serve(info, Open) }

var info = sdk.Info{
	Name: "athenahealth", Version: "0.1.0", Doc: "Polls the changed data subscriptions of athenahealth's athenaOne API.",
	Feeds: catalog.Feeds, Resources: catalog.Resources,
	Limits: []sdk.Limit{
		{Per: 24 * time.Hour, Doc: "Calls a day of an app, in all practices together: the developer portal says how many. They begin anew at midnight GMT."},
		{Per: time.Second, Doc: "Calls a second of an app: the developer portal says how many."},
	},
}

// source is one practice.
type source struct {
	config Config
	base   string // of the practice: https://host/v1/195900
	client *httpx.Client
	tokens *oauth.Tokens

	mu         sync.Mutex
	subscribed map[string]time.Time // when this process subscribed to a feed
}

var _ sdk.Source = (*source)(nil)

// Open makes a source. It does not call the API: one that is down is found out by the first poll.
func Open(_ context.Context, c Config, env sdk.Env) (sdk.Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &source{config: c, base: c.host() + "/v1/" + c.PracticeID, subscribed: map[string]time.Time{}}
	if err := s.connect(env); err != nil {
		return nil, err
	}
	if u, err := url.Parse(s.base); err == nil && httpx.Plain(u) && env.Logger != nil {
		env.Logger.Warn("credentials and records travel unencrypted, as base_url is http")
	}
	return s, nil
}

// Catalog is the same for every practice.
func (s *source) Catalog() sdk.Catalog { return catalog }
