// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"context"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

const (
	issueLimit = time.Minute // for one token, repetitions included
	// settle is how old a token has to be for its refusal to mean that it has expired: a new one that is refused would be
	// followed by others, one for each record. For as long a refusal of the credentials themselves stands, since accounts get
	// locked when they are tried again and again.
	settle = 10 * time.Second
	margin = time.Minute // before its end a token is not used any more, or a fifth of its life if that is shorter
)

// issuer is how a token is asked for.
type issuer struct {
	request httpx.Request
	token   dotted // in the answer
	expires dotted // to the seconds that it lives; nil: the answer does not tell
	mayLast bool   // they may be missing; the token lasts until it is refused
}

// tokens keeps the token that is in use, and has one new one at a time issued when it is about to expire or was refused.
type tokens struct {
	issuer issuer
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex
	token   string
	issued  time.Time
	renew   time.Time // when it is about to expire; zero: unknown
	refusal error     // of the credentials; with the time of it
	refused time.Time
}

func newTokens(in issuer) *tokens { return &tokens{issuer: in, now: time.Now} }

// get gives a token other than the refused one. It gives the refused one when that is too new to be replaced.
func (t *tokens) get(ctx context.Context, client *httpx.Client, refused string) (string, error) {
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
func (t *tokens) held(refused string) (token string, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	switch {
	case t.refusal != nil && now.Sub(t.refused) < settle:
		return "", true, t.refusal
	case t.token == "" || !t.renew.IsZero() && !now.Before(t.renew):
		return "", false, nil
	case t.token == refused && now.Sub(t.issued) >= settle:
		return "", false, nil
	}
	return t.token, true, nil
}

// issue asks for a token and keeps it.
func (t *tokens) issue(ctx context.Context, client *httpx.Client) (string, error) {
	asked := t.now()
	res, err := client.JSON(ctx, t.issuer.request)
	var token string
	var life time.Duration
	if err == nil {
		token, life, err = t.issuer.read(res.Body)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refusal = nil
	if err != nil {
		e := noToken(err)
		if e.Code == sdk.CodeUnauthorized {
			t.refusal, t.refused = e, t.now()
		}
		return "", e
	}
	t.token, t.issued, t.renew = token, asked, time.Time{}
	if life > 0 {
		t.renew = asked.Add(life - min(life/5, margin))
	}
	return token, nil
}

// read takes the token and how long it lives out of an answer; zero: until it is refused. The error tells no values.
func (in issuer) read(body []byte) (string, time.Duration, error) {
	named := in.request.Method + " " + in.request.Template
	raw, ok := rawjson.Get(body, in.token...)
	token, _ := rawjson.Text(raw)
	if !isSecret(token) || raw[0] != '"' {
		return "", 0, sdk.Retryable("%s: no token at %q: found %s", named, in.token, found(raw, ok))
	}
	raw, ok = rawjson.Get(body, in.expires...)
	text, _ := rawjson.Text(raw)
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case in.expires == nil || in.mayLast && rawjson.IsNull(raw):
		return token, 0, nil
	case err != nil || !(seconds > 0 && seconds < 1e9):
		return "", 0, sdk.Retryable("%s: no number of seconds at %q: found %s", named, in.expires, found(raw, ok))
	}
	return token, time.Duration(seconds * float64(time.Second)), nil
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
