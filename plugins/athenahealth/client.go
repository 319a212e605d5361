// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

type tokens struct {
	mu    sync.Mutex
	token string
}

// perSecond is what is asked of the server when the configuration says nothing.
const perSecond = 5

// connect makes what calls go by.
func (s *source) connect(env sdk.Env) (err error) {
	limits := budget.Limits{PerSecond: perSecond, DayZone: time.UTC} // quotas begin anew at midnight GMT
	if l := s.config.Limits; l != nil {
		limits.PerSecond, limits.PerDay = l.PerSecond, l.PerDay
	}
	s.client, err = httpx.New(httpx.Config{Timeout: s.config.Timeout, Limits: limits, Saved: env.State.Section("budget")})
	if err != nil {
		return sdk.Misconfigured("limits", "can't be used").Because(err)
	}
	return nil
}

// Close closes idle connections and saves what is left of the budget.
func (s *source) Close() error { return s.client.Close() }

func (s *source) tokenOther(ctx context.Context, refused string) (string, error) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	if s.tokens.token != refused {
		return s.tokens.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {s.config.Scope}}
	res, err := s.client.JSON(ctx, httpx.Request{
		Method: http.MethodPost, URL: s.config.host() + "/oauth2/v1/token", Template: "/oauth2/v1/token", Body: []byte(form.Encode()), Repeat: true,
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"},
			"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(s.config.ClientID+":"+s.config.ClientSecret))}},
	})
	if err != nil {
		return "", err
	}
	raw, _ := rawjson.Get(res.Body, "access_token")
	s.tokens.token, _ = rawjson.Text(raw)
	return s.tokens.token, nil
}

// call makes a call with a token, and once more with another if that is refused.
func (s *source) call(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	token, err := s.tokenOther(ctx, "")
	if err != nil {
		return nil, err
	}
	res, err := s.callWith(ctx, r, token)
	if sdk.CodeOf(err) != sdk.CodeUnauthorized {
		return res, err
	}
	if token, err = s.tokenOther(ctx, token); err != nil {
		return nil, err
	}
	return s.callWith(ctx, r, token)
}

func (s *source) callWith(ctx context.Context, r httpx.Request, token string) (*httpx.Response, error) {
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return s.client.JSON(ctx, r)
}
