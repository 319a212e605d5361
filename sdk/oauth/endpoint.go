// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// endpoint is where tokens come from, and where they stand in its answers.
type endpoint struct {
	request httpx.Request
	token   []string // path in the answer
	expires []string // to the seconds that it lives; nil: the answer does not tell
	mayLast bool     // they may be missing; the token lasts until it is refused
}

// Login is for APIs with an endpoint of their own that gives a token, found at a path in its JSON answer; expires leads to the seconds
// that it lives, and may be nil.
func Login(request httpx.Request, token, expires []string) *Tokens {
	e := endpoint{request: request, token: token, expires: expires}
	return newTokens(func(ctx context.Context, client *httpx.Client) (string, time.Duration, error) {
		body, err := e.call(ctx, client, e.request)
		if err != nil {
			return "", 0, err
		}
		return e.read(body)
	})
}

func (e *endpoint) call(ctx context.Context, client *httpx.Client, r httpx.Request) ([]byte, error) {
	res, err := client.JSON(ctx, r)
	if err == nil {
		return res.Body, nil
	}
	if reason := reasonOf(err); reason != "" {
		more := *sdk.Safe(err)
		more.Text += " (" + reason + ")"
		return nil, &more
	}
	return nil, err
}

// reasons are those of RFC 6749, section 5.2, and RFC 8707. Others are the server's own words, and not shown.
var reasons = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target"}

// reasonOf tells why a token endpoint refused, if it says so as the standard has it.
func reasonOf(err error) string {
	var status *httpx.StatusError
	if !errors.As(err, &status) || !rawjson.Valid(status.Body) {
		return ""
	}
	raw, _ := rawjson.Get(status.Body, "error")
	if text, _ := rawjson.Text(raw); slices.Contains(reasons, text) {
		return text
	}
	return ""
}

// read takes the token and how long it lives out of an answer; zero: until it is refused. The error tells no values.
func (e *endpoint) read(body []byte) (string, time.Duration, error) {
	named := e.request.Method + " " + e.request.Template
	raw, ok := rawjson.Get(body, e.token...)
	token, _ := rawjson.Text(raw)
	if !IsToken(token) || raw[0] != '"' {
		return "", 0, sdk.Retryable("%s: no token at %q: found %s", named, strings.Join(e.token, "."), rawjson.Found(raw, ok))
	}
	if e.expires == nil {
		return token, 0, nil
	}
	raw, ok = rawjson.Get(body, e.expires...)
	text, _ := rawjson.Text(raw)
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case e.mayLast && rawjson.IsNull(raw):
		return token, 0, nil
	case err != nil || !(seconds > 0 && seconds < 1e9):
		return "", 0, sdk.Retryable("%s: no number of seconds at %q: found %s", named, strings.Join(e.expires, "."), rawjson.Found(raw, ok))
	}
	return token, time.Duration(seconds * float64(time.Second)), nil
}

// IsToken says whether s can be a token: printable ASCII without blanks.
func IsToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
