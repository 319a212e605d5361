// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"context"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/oauth"
)

// perSecond is how often the server is called when the configuration says nothing.
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
	s.tokens, err = oauth.New(oauth.Config{
		TokenURL: s.config.host() + "/oauth2/v1/token", ClientID: s.config.ClientID, ClientSecret: s.config.ClientSecret,
		Scopes: []string{s.config.Scope},
	})
	return err
}

// call makes a call whose answer has to be JSON, with a token. One that is refused for its token (401) was not heard beyond that, and is
// made again with another, whatever it takes.
func (s *source) call(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	return s.tokens.JSON(ctx, s.client, r)
}

// Close closes idle connections and saves what is left of the budget.
func (s *source) Close() error { return s.client.Close() }
