// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// credentials are what a call carries to prove who makes it: a header or a query parameter. The zero value: nothing.
type credentials struct {
	header string
	param  string
	value  string  // of it; {token} stands for a token
	tokens *tokens // where tokens come from; nil: none is needed
}

// tokenPlace is where a token stands in the value.
const tokenPlace = "{token}"

// compileAuth checks an auth block. What is asked for a token has no client yet.
func compileAuth(a *Auth, base string, header http.Header) (credentials, error) {
	if a == nil {
		return credentials{}, nil
	}
	at := "auth." + a.Kind
	allowed := map[string][]string{"none": {}, "basic": {"username", "password"}, "bearer": {"token"}, "api_key": {"key", "header", "param"},
		"oauth2": {"token_url", "client_id", "client_secret", "client_auth", "scopes", "params"},
		"login":  {"path", "body", "token_path", "expires_path", "header", "value"}}
	takes, ok := allowed[a.Kind]
	if !ok {
		return credentials{}, sdk.Misconfigured(at, "is not a way to authenticate; there are none, basic, bearer, api_key, oauth2 and login")
	}
	if err := onlyGiven(takes, at, "auth", a.Kind, []given{{"username", a.Username != ""}, {"password", a.Password != ""},
		{"token", a.Token != ""}, {"key", a.Key != ""}, {"header", a.Header != ""}, {"param", a.Param != ""}, {"token_url", a.TokenURL != ""},
		{"client_id", a.ClientID != ""}, {"client_secret", a.ClientSecret != ""}, {"client_auth", a.ClientAuth != ""},
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
		return credentials{header: "Authorization", value: basic(a.Username, a.Password)}, nil
	case "bearer":
		if !isSecret(a.Token) {
			return credentials{}, sdk.Misconfigured(at+".token", "must be given, of printable ASCII without blanks; "+
				"the word Bearer is not part of it")
		}
		return credentials{header: "Authorization", value: "Bearer " + a.Token}, nil
	case "api_key":
		return apiKey(a, at)
	case "oauth2":
		return oauth2(a, at)
	case "login":
		return login(a, at, base, header)
	}
	return credentials{}, nil
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// isSecret says whether s can be a token: printable ASCII without blanks.
func isSecret(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
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
		h := r.Header.Clone()
		if h == nil {
			h = http.Header{}
		}
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
	token, err := tokens.get(ctx, s.client, "")
	if err != nil {
		return nil, err
	}
	res, err := s.client.JSON(ctx, s.auth.sign(r, token))
	if sdk.CodeOf(err) != sdk.CodeUnauthorized {
		return res, err
	}
	renewed, failed := tokens.get(ctx, s.client, token)
	switch {
	case failed != nil:
		return nil, failed
	case renewed == token:
		return nil, err
	}
	if res, err = s.client.JSON(ctx, s.auth.sign(r, renewed)); err == nil {
		res.Calls++ // the one that was refused
	}
	return res, err
}

// oauth2 asks for tokens by the client credentials grant (RFC 6749, section 4.4).
func oauth2(a *Auth, at string) (credentials, error) {
	u, err := url.Parse(a.TokenURL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "":
		return credentials{}, sdk.Misconfigured(at+".token_url", "is not an address like https://host/oauth2/token")
	case a.ClientID == "":
		return credentials{}, sdk.Misconfigured(at+".client_id", "must be given")
	case a.ClientSecret == "":
		return credentials{}, sdk.Misconfigured(at+".client_secret", "must be given")
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(a.Scopes) > 0 {
		form.Set("scope", strings.Join(a.Scopes, " "))
	}
	for name, value := range a.Params {
		switch name {
		case "grant_type", "scope", "client_id", "client_secret":
			return credentials{}, sdk.Misconfigured(at+".params", "%s is made of the other attributes; leave it out here", name)
		}
		form.Set(name, value)
	}
	h := http.Header{"User-Agent": {agent}, "Content-Type": {"application/x-www-form-urlencoded"}}
	if cmp.Or(a.ClientAuth, "header") == "header" { // both parts are encoded first (section 2.3.1)
		h.Set("Authorization", basic(url.QueryEscape(a.ClientID), url.QueryEscape(a.ClientSecret)))
	} else {
		form.Set("client_id", a.ClientID)
		form.Set("client_secret", a.ClientSecret)
	}
	return credentials{header: "Authorization", value: "Bearer " + tokenPlace, tokens: newTokens(issuer{
		request: httpx.Request{Method: http.MethodPost, URL: a.TokenURL, Template: cmp.Or(u.Path, "/"), Header: h,
			Body: []byte(form.Encode()), Repeat: true},
		token: dotted{"access_token"}, expires: dotted{"expires_in"}, mayLast: true,
	})}, nil
}

// login asks an endpoint of the API itself for tokens.
func login(a *Auth, at, base string, header http.Header) (credentials, error) {
	var in issuer
	c := credentials{header: cmp.Or(a.Header, "Authorization"), value: a.Value}
	if c.value == "" {
		c.value = tokenPlace
		if strings.EqualFold(c.header, "Authorization") {
			c.value = "Bearer " + tokenPlace
		}
	}
	for _, d := range []struct {
		name, value string
		into        *dotted
		required    bool
	}{{"token_path", a.TokenPath, &in.token, true}, {"expires_path", a.ExpiresPath, &in.expires, false}} {
		var err error
		if *d.into, err = parseDotted(d.value); err != nil || len(*d.into) == 0 && d.required {
			return c, sdk.Misconfigured(at+"."+d.name, "must be given, as a dotted path like data.token")
		}
	}
	in.mayLast = in.expires == nil
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
	in.request = httpx.Request{Method: http.MethodPost, URL: address.String(), Template: a.Path, Header: h, Body: marshal(body), Repeat: true}
	c.tokens = newTokens(in)
	return c, carrier(c.header, at)
}
