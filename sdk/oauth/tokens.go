// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

const (
	issueLimit = time.Minute // for one token, repetitions included
	keepLimit  = 5 * time.Second
	// settle is how old a token has to be for its refusal to mean that it has expired: a new one that is refused would be
	// followed by others, one for each record.
	settle = 10 * time.Second
	// A refusal of the credentials themselves stands for as long at first, twice as long each time, and longest at most, since
	// accounts get locked when they are tried again and again.
	longest = 5 * time.Minute
	margin  = time.Minute // before its end a token is not used any more, or a fifth of its life if that is shorter
)

// Tokens keeps the token that is in use, and has one new one at a time issued when it is about to expire or was refused. It is for one
// source, and safe for concurrent use.
type Tokens struct {
	ask    func(context.Context, *httpx.Client) (token string, life time.Duration, err error)
	now    func() time.Time
	flight singleflight.Group
	keep   func(context.Context) error // makes durable what ask was given to keep; nil: that is nothing
	asking sync.Mutex                  // held while ask is under way
	closed bool

	mu      sync.Mutex
	token   string
	issued  time.Time
	renew   time.Time // when it is about to expire; zero: unknown
	refusal error     // of the credentials; with the time of it
	refused time.Time
	stands  time.Duration // how long it does
}

func newTokens(ask func(context.Context, *httpx.Client) (string, time.Duration, error)) *Tokens {
	return &Tokens{ask: ask, now: time.Now}
}

// JSON is client.JSON for a request that carries the token: Authorization: Bearer.
func (t *Tokens) JSON(ctx context.Context, client *httpx.Client, r httpx.Request) (*httpx.Response, error) {
	return t.Do(ctx, client, func(token string) (*httpx.Response, error) {
		carries := r
		carries.Header = r.Header.Clone()
		if carries.Header == nil {
			carries.Header = http.Header{}
		}
		carries.Header.Set("Authorization", "Bearer "+token)
		return client.JSON(ctx, carries)
	})
}

// Do makes a call with a token. If the server refuses it (401), the call is made once more with a new one. Tokens are asked for by
// client too. Errors are *sdk.Error: the call's own, or Unauthorized, Retryable or RateLimited when there is no token to be had,
// which is never the fault of what was asked for.
func (t *Tokens) Do(ctx context.Context, client *httpx.Client, call func(token string) (*httpx.Response, error)) (*httpx.Response, error) {
	token, err := t.get(ctx, client, "")
	if err != nil {
		return nil, err
	}
	res, err := call(token)
	if sdk.CodeOf(err) != sdk.CodeUnauthorized {
		return res, err
	}
	renewed, failed := t.get(ctx, client, token)
	switch {
	case failed != nil:
		return nil, failed
	case renewed == token:
		return nil, err
	}
	if res, err = call(renewed); err == nil {
		res.Calls++ // the one that was refused
	}
	return res, err
}

// get gives a token other than the refused one. It gives the refused one when that is too new to be replaced.
func (t *Tokens) get(ctx context.Context, client *httpx.Client, refused string) (string, error) {
	if token, ok, err := t.held(refused); ok {
		return token, err
	}
	// Whoever needs a token meanwhile waits for this one, so that the end of one caller must not end it.
	issued := t.flight.DoChan("", func() (any, error) {
		if token, ok, err := t.held(refused); ok {
			return token, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueLimit)
		defer cancel()
		return t.issue(ctx, client)
	})
	select {
	case <-ctx.Done():
		return "", sdk.Retryable("no token: canceled, or the deadline exceeded, while it was asked for").Because(ctx.Err())
	case r := <-issued:
		token, _ := r.Val.(string)
		return token, r.Err
	}
}

// held is what get can answer without a call.
func (t *Tokens) held(refused string) (token string, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	switch {
	case t.refusal != nil && now.Sub(t.refused) < t.stands:
		return "", true, t.refusal
	case t.token == "" || !t.renew.IsZero() && !now.Before(t.renew):
		return "", false, nil
	case t.token == refused && now.Sub(t.issued) >= settle:
		return "", false, nil
	}
	return t.token, true, nil
}

// Close makes sure that no refresh token is lost with the source: it waits for a request that is under way although its callers have
// gone, for a minute at most, and keeps what could not be kept before. Tokens are not asked for any more.
func (t *Tokens) Close() error {
	if t.keep == nil {
		return nil
	}
	t.asking.Lock()
	defer t.asking.Unlock()
	t.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), keepLimit)
	defer cancel()
	return t.keep(ctx)
}

// issue asks for a token and keeps it.
func (t *Tokens) issue(ctx context.Context, client *httpx.Client) (string, error) {
	t.asking.Lock()
	defer t.asking.Unlock()
	if t.closed {
		return "", sdk.Retryable("no token: the source is closed")
	}
	asked := t.now()
	token, life, err := t.ask(ctx, client)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refusal = nil
	if err != nil {
		e := noToken(err)
		if e.Code == sdk.CodeUnauthorized {
			t.refusal, t.refused, t.stands = e, t.now(), min(max(settle, 2*t.stands), longest)
		}
		return "", e
	}
	t.token, t.issued, t.renew, t.stands = token, asked, time.Time{}, 0
	if life > 0 {
		t.renew = asked.Add(life - min(life/5, margin))
	}
	return token, nil
}

// noToken is the error of calls for which no token could be had. Whatever a refusal looks like, it is of the credentials and says
// nothing of what was asked for, neither by its code nor by the status of its cause.
func noToken(err error) *sdk.Error {
	e := *sdk.Safe(err)
	e.Text = "no token: " + e.Text
	switch e.Code {
	case sdk.CodeRetryable, sdk.CodeRateLimited:
		return &e
	}
	return sdk.Unauthorized("%s", e.Text)
}
