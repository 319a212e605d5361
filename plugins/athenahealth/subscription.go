// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// pending is how long a subscription may take to have effect: "up to 5 minutes in production (and sometimes up to 10-15 minutes in
// preview)".
const pending = 15 * time.Minute

// subscription looks whether there is one to a feed. Without one it subscribes, if that was allowed and is not a mere look, and says so
// in its error: messages come only once the subscription has effect.
func (s *source) subscription(ctx context.Context, f feed, look bool) (*httpx.Response, []sdk.Note, error) {
	named := "GET " + f.template("/changed/subscription")
	res, err := s.call(ctx, httpx.Request{URL: s.base + "/" + f.path + "/changed/subscription", Template: f.template("/changed/subscription")})
	if sdk.CodeOf(err) == sdk.CodeForbidden {
		return nil, nil, sdk.Forbidden("%s: 403 Forbidden; the app has no access to subscriptions of this feed: it has to be granted in the developer portal, "+
			"and the practice has to allow the app", named)
	}
	if err != nil {
		return nil, nil, err
	}
	raw, _ := rawjson.Get(res.Body, "status")
	status, _ := rawjson.Text(raw)
	switch strings.ToUpper(status) {
	case "ACTIVE":
		return res, nil, nil
	case "PARTIAL":
		return res, []sdk.Note{{Code: "partial-subscription", Text: "feed " + f.path + " is subscribed to for some of its events only; " +
			f.template("/changed/subscription/events") + " lists all there are"}}, nil
	case "INACTIVE":
		return nil, nil, s.subscribe(ctx, f, look)
	}
	return nil, nil, sdk.Retryable("%s: the answer has no status that is known: ACTIVE, PARTIAL or INACTIVE", named)
}

// subscribe subscribes to all events of a feed, if that was allowed. It always gives an error, which says what to do or what is waited for.
func (s *source) subscribe(ctx context.Context, f feed, look bool) error {
	post := "POST " + f.template("/changed/subscription")
	switch {
	case !s.config.ManageSubscription:
		return sdk.Forbidden("there is no subscription to feed %s of this practice, without which nothing is collected for it: set manage_subscription = true, "+
			"or have it made once by %s with the same key; it has effect after up to %s", f.path, post, pending)
	case look:
		return sdk.Forbidden("there is no subscription to feed %s of this practice, without which nothing is collected for it; as manage_subscription = true, "+
			"rounds run makes it", f.path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := sdk.Retryable("feed %s of this practice was subscribed to, which has effect after up to %s", f.path, pending)
	if since := s.subscribed[f.path]; time.Since(since) < pending {
		return waiting
	}
	_, err := s.call(ctx, httpx.Request{
		Method: http.MethodPost, URL: s.base + "/" + f.path + "/changed/subscription", Template: f.template("/changed/subscription"),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		Repeat: true, // it subscribes to all events, also those that are subscribed to
	})
	if sdk.CodeOf(err) == sdk.CodeForbidden {
		return sdk.Forbidden("%s: 403 Forbidden; the app may not subscribe to this feed: it has to be granted in the developer portal, "+
			"and the practice has to allow the app", post)
	}
	if err != nil {
		return err
	}
	s.subscribed[f.path] = time.Now()
	return waiting
}

// forbidden explains a 403 of a feed: most often there is no subscription.
func (s *source) forbidden(ctx context.Context, f feed, look bool, refused error) error {
	_, _, err := s.subscription(ctx, f, look)
	if err != nil {
		return err
	}
	return sdk.Forbidden("GET %s: 403 Forbidden, though there is a subscription: the app has no access to this feed, or to one of department_ids", f.template("/changed")).
		Because(refused)
}
