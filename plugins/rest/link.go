// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"slices"
	"strings"
)

// nextLink gives the target of the first link with the relation "next" in Link headers (RFC 8288), "" if there is none. What
// can't be read ends a header; the links before it count.
func nextLink(headers []string) string {
	for _, h := range headers {
		for h != "" {
			var target, rel string
			var ok bool
			if target, rel, h, ok = cutLink(h); !ok {
				break
			}
			if slices.ContainsFunc(strings.Fields(rel), func(r string) bool { return strings.EqualFold(r, "next") }) {
				return target
			}
		}
	}
	return ""
}

// cutLink reads one `<target>; name=value; name="value"` and gives what comes behind its comma.
func cutLink(h string) (target, rel, rest string, ok bool) {
	h = strings.TrimLeft(h, " \t,")
	if !strings.HasPrefix(h, "<") {
		return "", "", "", false
	}
	target, h, ok = strings.Cut(h[1:], ">")
	if !ok {
		return "", "", "", false
	}
	found := false
	for {
		h = strings.TrimLeft(h, " \t")
		switch {
		case h == "":
			return target, rel, "", true
		case h[0] == ',':
			return target, rel, h[1:], true
		case h[0] != ';':
			return "", "", "", false
		}
		var name, value string
		h = strings.TrimLeft(h[1:], " \t")
		end := strings.IndexAny(h, "=;,")
		if end < 0 {
			end = len(h)
		}
		name, h = strings.TrimRight(h[:end], " \t"), h[end:]
		if strings.HasPrefix(h, "=") {
			if value, h, ok = cutValue(strings.TrimLeft(h[1:], " \t")); !ok {
				return "", "", "", false
			}
		}
		if !found && strings.EqualFold(name, "rel") { // of several, the first counts
			rel, found = value, true
		}
	}
}

// cutValue reads a token or a quoted string.
func cutValue(h string) (value, rest string, ok bool) {
	if !strings.HasPrefix(h, `"`) {
		end := strings.IndexAny(h, ";,")
		if end < 0 {
			end = len(h)
		}
		return strings.TrimRight(h[:end], " \t"), h[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(h); i++ {
		switch h[i] {
		case '"':
			return b.String(), h[i+1:], true
		case '\\':
			if i++; i == len(h) {
				return "", "", false
			}
		}
		b.WriteByte(h[i])
	}
	return "", "", false
}
