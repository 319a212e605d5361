// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/oauth"
)

// credentials are what a call carries to prove who makes it: a header or a query parameter. The zero value: nothing.
type credentials struct {
	header string
	param  string
	value  string        // of it; {token} stands for a token
	tokens *oauth.Tokens // where tokens come from; nil: none is needed
}

// tokenPlace is where a token stands in the value.
const tokenPlace = "{token}"

// compileAuth checks an auth block. What is asked for a token has no client yet.
func compileAuth(a *Auth, base string, header http.Header, saved *sdk.Section) (credentials, error) {
	if a == nil {
		return credentials{}, nil
	}
	at := "auth." + a.Kind
	allowed := map[string][]string{"none": {}, "basic": {"username", "password"}, "bearer": {"token"}, "api_key": {"key", "header", "param"},
		"oauth2": {"token_url", "client_id", "client_secret", "client_auth", "private_key", "key_id", "key_algorithm", "key_audience",
			"refresh_token", "scopes", "params"},
		"login": {"path", "body", "token_path", "expires_path", "header", "value"}}
	takes, ok := allowed[a.Kind]
	if !ok {
		return credentials{}, sdk.Misconfigured(at, "is not a way to authenticate; there are none, basic, bearer, api_key, oauth2 and login")
	}
	if err := onlyGiven(takes, at, "auth", a.Kind, []given{{"username", a.Username != ""}, {"password", a.Password != ""},
		{"token", a.Token != ""}, {"key", a.Key != ""}, {"header", a.Header != ""}, {"param", a.Param != ""}, {"token_url", a.TokenURL != ""},
		{"client_id", a.ClientID != ""}, {"client_secret", a.ClientSecret != ""}, {"client_auth", a.ClientAuth != ""},
		{"private_key", a.PrivateKey != ""}, {"key_id", a.KeyID != ""}, {"key_algorithm", a.KeyAlgorithm != ""}, {"key_audience", a.KeyAudience != ""},
		{"refresh_token", a.RefreshToken != ""},
		{"scopes", a.Scopes != nil},
		{"params", a.Params != nil}, {"path", a.Path != ""}, {"body", a.Body != nil}, {"token_path", a.TokenPath != ""},
		{"expires_path", a.ExpiresPath != ""}, {"value", a.Value != ""}}); err != nil {
		return credentials{}, err
	}
	switch a.Kind {
	case "basic":
		if a.Username == "" || strings.Contains(a.Username, ":") {
			return credentials{}, sdk.Misconfigured(at+".username", "must be given, without a colon")
		}
		return credentials{header: "Authorization", value: httpx.Basic(a.Username, a.Password)}, nil
	case "bearer":
		if !oauth.IsToken(a.Token) {
			return credentials{}, sdk.Misconfigured(at+".token", "must be given, of printable ASCII without blanks; "+
				"the word Bearer is not part of it")
		}
		return credentials{header: "Authorization", value: "Bearer " + a.Token}, nil
	case "api_key":
		return apiKey(a, at)
	case "oauth2":
		return oauth2(a, at, saved)
	case "login":
		return login(a, at, base, header)
	}
	return credentials{}, nil
}

func apiKey(a *Auth, at string) (credentials, error) {
	switch {
	case a.Key == "" || !isFieldValue(a.Key):
		return credentials{}, sdk.Misconfigured(at+".key", "must be given, without line breaks, other control characters or blanks around it")
	case (a.Header == "") == (a.Param == ""):
		return credentials{}, sdk.Misconfigured(at, "takes either header or param: the header or the query parameter that carries the key")
	case a.Param != "":
		return credentials{param: a.Param, value: a.Key}, nil
	}
	return credentials{header: a.Header, value: a.Key}, carrier(a.Header, at)
}

// carrier checks the name of a header that carries a credential.
func carrier(name, at string) error {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch why := reserved[canonical]; {
	case !isToken(name):
		return sdk.Misconfigured(at+".header", "is not the name of a header")
	case why != "" && canonical != "Authorization":
		return sdk.Misconfigured(at+".header", "%s %s", canonical, why)
	}
	return nil
}

// sign puts the credentials into a request.
func (c credentials) sign(r httpx.Request, token string) httpx.Request {
	value := c.value
	if c.tokens != nil {
		value = strings.ReplaceAll(value, tokenPlace, token)
	}
	switch {
	case c.header != "":
		h := make(http.Header, len(r.Header)+1)
		maps.Copy(h, r.Header) // its values are not touched
		h.Set(c.header, value)
		r.Header = h
	case c.param != "":
		separator := "?"
		if strings.Contains(r.URL, "?") {
			separator = "&"
		}
		r.URL += separator + encode(url.Values{c.param: {value}})
	}
	return r
}

// strip takes the credentials out of a query, where a server repeats them in the address of the next page.
func (c credentials) strip(query string) string {
	if c.param == "" || query == "" {
		return query
	}
	return strings.Join(slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		return err == nil && name == c.param
	}), "&")
}

// do makes a call with the source's credentials. A token that is refused is renewed once.
func (s *source) do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	tokens := s.auth.tokens
	if tokens == nil {
		return s.client.JSON(ctx, s.auth.sign(r, ""))
	}
	return tokens.Do(ctx, s.client, func(token string) (*httpx.Response, error) { return s.client.JSON(ctx, s.auth.sign(r, token)) })
}

// oauth2 asks for tokens as RFC 6749 has it.
func oauth2(a *Auth, at string, saved *sdk.Section) (credentials, error) {
	switch {
	case a.PrivateKey == "" && (a.KeyID != "" || a.KeyAlgorithm != "" || a.KeyAudience != ""):
		return credentials{}, sdk.Misconfigured(at+".private_key", "must be given, as there is key_id, key_algorithm or key_audience")
	case a.ClientSecret == "" && a.ClientAuth != "":
		return credentials{}, sdk.Misconfigured(at+".client_secret", "must be given, as there is client_auth")
	}
	tokens, err := oauth.New(oauth.Config{
		TokenURL: a.TokenURL, ClientID: a.ClientID, ClientSecret: a.ClientSecret, SecretInBody: a.ClientAuth == "body",
		PrivateKey: a.PrivateKey, KeyID: a.KeyID, Algorithm: a.KeyAlgorithm, Audience: a.KeyAudience,
		Scopes: a.Scopes, Params: a.Params, RefreshToken: a.RefreshToken, Saved: saved, Header: http.Header{"User-Agent": {agent}},
	})
	if err != nil {
		e := *sdk.Safe(err)
		e.Path = at + "." + e.Path
		return credentials{}, &e
	}
	return credentials{header: "Authorization", value: "Bearer " + tokenPlace, tokens: tokens}, nil
}

// login asks an endpoint of the API itself for tokens.
func login(a *Auth, at, base string, header http.Header) (credentials, error) {
	c := credentials{header: cmp.Or(a.Header, "Authorization"), value: a.Value}
	if c.value == "" {
		c.value = tokenPlace
		if strings.EqualFold(c.header, "Authorization") {
			c.value = "Bearer " + tokenPlace
		}
	}
	token, err := parseDotted(a.TokenPath)
	if err != nil || len(token) == 0 {
		return c, sdk.Misconfigured(at+".token_path", "must be given, as a dotted path like data.token")
	}
	expires, err := parseDotted(a.ExpiresPath)
	if err != nil {
		return c, sdk.Misconfigured(at+".expires_path", "is not a dotted path like data.expires_in")
	}
	body, ok := decodeBody(a.Body)
	address, err := url.Parse(base + a.Path)
	switch {
	case !strings.HasPrefix(a.Path, "/") || strings.ContainsAny(a.Path, "?#") || err != nil:
		return c, sdk.Misconfigured(at+".path", "must be a path that begins with a slash; it is put behind base_url")
	case a.Body == nil || !ok:
		return c, sdk.Misconfigured(at+".body", "must be given: the object with the user's name and password, as the API wants it")
	case !strings.Contains(c.value, tokenPlace) || !isFieldValue(c.value):
		return c, sdk.Misconfigured(at+".value", `must hold {token}, as in "Bearer {token}", and no line breaks`)
	}
	h := header.Clone()
	h.Set("Content-Type", "application/json")
	c.tokens = oauth.Login(httpx.Request{Method: http.MethodPost, URL: address.String(), Template: a.Path, Header: h, Body: marshal(body), Repeat: true},
		token, expires)
	return c, carrier(c.header, at)
}
