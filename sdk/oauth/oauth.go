// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package oauth keeps the access token that an adapter's calls carry: it asks for one when it is needed, has it renewed before it
// expires and when it is refused, and shares it among all callers of a source.
//
//	tokens, err := oauth.New(oauth.Config{TokenURL: …, ClientID: …, ClientSecret: …, Scopes: …})
//	answer, err := tokens.JSON(ctx, client, httpx.Request{URL: …, Template: "/patients/{id}"})
//
// It speaks two grants of RFC 6749, client credentials and refresh token, and three ways for the client to prove who it is: its secret
// in a header or in the body (section 2.3.1), and a signed assertion (RFC 7523), as SMART Backend Services have it.
package oauth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Config says how tokens are asked for. Errors of New name its fields as configurations of adapters do, token_url for TokenURL.
type Config struct {
	TokenURL string // of the token endpoint
	ClientID string
	// ClientSecret goes into the header of basic authentication (client_secret_basic) or, with SecretInBody, into the body
	// (client_secret_post).
	ClientSecret string
	SecretInBody bool
	// PrivateKey signs assertions in the place of a secret (private_key_jwt): a JWK, or PEM without a password.
	PrivateKey string
	KeyID      string // kid of the assertions; "": that of the JWK, if it has one
	Algorithm  string // of their signature; "": that of the JWK, or RS384, ES256, ES384, ES512 as the key is
	Audience   string // aud of the assertions; "": TokenURL
	Scopes     []string
	Params     map[string]string // further parameters of the request, such as audience or resource
	// RefreshToken is what a person's login gave: access tokens are had for it (grant refresh_token), not for the client's credentials
	// alone. Where the server gives a new one each time, the last is kept in Saved, durably before the access token that came with
	// it is used. A process that is killed between the answer and that, which takes some milliseconds, loses it, as does a source that
	// does not call Tokens.Close at its end: then the one before is tried, which servers accept for a while or not at all. If not, a person has to log in again, and configure the new token, which is then
	// used in the place of what is kept.
	RefreshToken string
	Saved        *sdk.Section
	Header       http.Header // further headers of the request, such as User-Agent
}

// grant is how a token is asked for.
type grant struct {
	endpoint endpoint
	form     url.Values
	signer   *signer  // nil: the client proves itself by a secret, or not at all
	refresh  *refresh // nil: the client's credentials are enough
}

// New checks a configuration; it asks nobody. Its errors are made by sdk.Misconfigured and show no values.
func New(c Config) (*Tokens, error) {
	u, err := url.Parse(c.TokenURL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "":
		return nil, sdk.Misconfigured("token_url", "is not an address like https://host/oauth2/token")
	case c.ClientID == "":
		return nil, sdk.Misconfigured("client_id", "must be given")
	case c.ClientSecret != "" && c.PrivateKey != "":
		return nil, sdk.Misconfigured("private_key", "takes the place of client_secret; give one of them")
	case c.ClientSecret == "" && c.PrivateKey == "" && c.RefreshToken == "":
		return nil, sdk.Misconfigured("client_secret", "must be given, or private_key, or refresh_token")
	}
	path := u.Path
	if path == "" {
		path = "/"
	}
	g := &grant{form: url.Values{"grant_type": {"client_credentials"}}}
	if c.RefreshToken != "" {
		g.form.Set("grant_type", "refresh_token")
		g.refresh = newRefresh(c.RefreshToken, c.Saved)
	}
	if len(c.Scopes) > 0 {
		g.form.Set("scope", strings.Join(c.Scopes, " "))
	}
	for name, value := range c.Params {
		switch name {
		case "grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type", "refresh_token":
			return nil, sdk.Misconfigured("params", "%s is made of the other attributes; leave it out here", name)
		}
		g.form.Set(name, value)
	}
	h := c.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	switch {
	case c.PrivateKey != "":
		audience := c.Audience
		if audience == "" {
			audience = c.TokenURL
		}
		if g.signer, err = newSigner(c.PrivateKey, c.KeyID, c.Algorithm, c.ClientID, audience); err != nil {
			return nil, err
		}
		g.form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	case c.ClientSecret == "": // a public client
		g.form.Set("client_id", c.ClientID)
	case c.SecretInBody:
		g.form.Set("client_id", c.ClientID)
		g.form.Set("client_secret", c.ClientSecret)
	default: // both parts are encoded first (section 2.3.1)
		h.Set("Authorization", httpx.Basic(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret)))
	}
	g.endpoint = endpoint{
		// What is good for one use only is not sent again: a network error does not say whether it was used.
		request: httpx.Request{Method: http.MethodPost, URL: c.TokenURL, Template: path, Header: h, Repeat: g.signer == nil && g.refresh == nil},
		token:   []string{"access_token"}, expires: []string{"expires_in"}, mayLast: true,
	}
	tokens := newTokens(g.ask)
	if g.refresh != nil {
		tokens.keep = g.refresh.keep
	}
	return tokens, nil
}

// ask makes one request for a token.
func (g *grant) ask(ctx context.Context, client *httpx.Client) (string, time.Duration, error) {
	form := make(url.Values, len(g.form)+2)
	for name, values := range g.form {
		form[name] = values
	}
	if g.refresh != nil {
		if err := g.refresh.keep(ctx); err != nil {
			return "", 0, err
		}
		form.Set("refresh_token", g.refresh.token)
	}
	if g.signer != nil {
		assertion, err := g.signer.assertion(time.Now())
		if err != nil {
			return "", 0, err
		}
		form.Set("client_assertion", assertion)
	}
	request := g.endpoint.request
	request.Body = []byte(form.Encode())
	body, err := g.endpoint.call(ctx, client, request)
	if err != nil {
		return "", 0, err
	}
	if g.refresh != nil {
		if err := g.refresh.rotate(ctx, body); err != nil {
			return "", 0, err
		}
	}
	return g.endpoint.read(body)
}
