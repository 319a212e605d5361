// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"bytes"
	"context"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// JSON is Do for an answer that must be JSON: its body is valid JSON, without a byte order mark. What counts is the body,
// as many servers call their JSON text/html or text/plain; anything else, such as a login or maintenance page, is a
// Retryable error that names what came instead.
func (c *Client) JSON(ctx context.Context, r Request) (*Response, error) {
	r.accept = "application/json, */*;q=0.5"
	res, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	res.Body = bytes.TrimPrefix(res.Body, []byte("\xef\xbb\xbf"))
	switch {
	case len(bytes.TrimSpace(res.Body)) == 0:
		return nil, sdk.Retryable("%s: answered nothing where JSON was expected", r.named())
	case !utf8.Valid(res.Body): // JSON is UTF-8 (RFC 8259, section 8.1); read as such, two identifiers could become one
		return nil, sdk.Retryable("%s: answered in another character encoding than UTF-8", r.named())
	case !rawjson.Valid(res.Body):
		return nil, sdk.Retryable("%s: answered %s", r.named(), instead(res.Header.Get("Content-Type")))
	}
	return res, nil
}

// instead says what came in place of JSON. Only media types known here are named: the header is the server's text.
func instead(contentType string) string {
	media, _, _ := mime.ParseMediaType(contentType)
	switch media {
	case "text/html", "text/plain", "text/xml", "application/xml", "application/xhtml+xml", "text/csv":
		return media + " where JSON was expected"
	}
	if media == "application/json" || strings.HasSuffix(media, "+json") {
		return "with JSON that is broken, cut off or nested too deep"
	}
	return "something else where JSON was expected"
}
