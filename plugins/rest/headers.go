// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
)

// reserved are the headers that calls get from elsewhere, and why they can't be configured.
var reserved = map[string]string{
	"Authorization":       "is what an auth block sets",
	"Proxy-Authorization": "is made of the user and password in proxy",
	"Host":                "is made of base_url",
	"Content-Length":      "is made of the body",
	"Transfer-Encoding":   "is made of the body",
	"Accept-Encoding":     "is set by the adapter, which can read no other encoding",
	"Connection":          "is about the connection, which is the adapter's",
	"Keep-Alive":          "is about the connection, which is the adapter's",
	"Proxy-Connection":    "is about the connection, which is the adapter's",
	"Te":                  "is about the connection, which is the adapter's",
	"Trailer":             "is about the connection, which is the adapter's",
	"Upgrade":             "is about the connection, which is the adapter's",
	"Expect":              "is about the connection, which is the adapter's",
}

// mergeHeaders puts configured headers over those of the level above. credential is the header that auth sets.
func mergeHeaders(above http.Header, configured map[string]string, credential, at string) (http.Header, error) {
	h := above.Clone()
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		value := configured[name]
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		why := reserved[canonical]
		if why == "" && canonical == textproto.CanonicalMIMEHeaderKey(credential) {
			why = "is what the auth block sets"
		}
		switch {
		case !isToken(name):
			return nil, sdk.Misconfigured(at, "%q is not the name of a header", name)
		case why != "":
			return nil, sdk.Misconfigured(at, "%s %s; leave it out here", canonical, why)
		case seen[canonical]:
			return nil, sdk.Misconfigured(at, "%s is given twice, in different spellings", canonical)
		case !isFieldValue(value):
			return nil, sdk.Misconfigured(at, "the value of %s has a line break, another control character or blanks around it", canonical)
		}
		seen[canonical] = true
		h.Set(canonical, value)
	}
	return h, nil
}

// isToken says whether s can name a header (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// isFieldValue says whether s can be sent as the value of a header.
func isFieldValue(s string) bool {
	return strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
