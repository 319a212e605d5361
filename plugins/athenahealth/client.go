// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"sync"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

type tokens struct {
	mu    sync.Mutex
	token string
}

func (s *source) connect(sdk.Env) (err error) {
	perSecond := 5.0
	if l := s.config.Limits; l != nil {
		perSecond = l.PerSecond
	}
	s.client, err = httpx.New(httpx.Config{Timeout: s.config.Timeout, PerSecond: perSecond})
	return err
}

// Close closes idle connections.
func (s *source) Close() error {
	s.client.Close()
	return nil
}

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
