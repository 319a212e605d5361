// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"net/url"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
)

// template makes the URLs of a feed or a resource. What it is made of is configuration, so errors may show its path.
type template struct {
	base        string // without a slash at its end
	path        string
	query       map[string]string
	placeholder string // "{id}"
}

// newTemplate checks a template in which placeholder, and no other, must stand; none at all when it is empty. at is the path of
// its block.
func newTemplate(base, path string, query map[string]string, placeholder, at string) (template, error) {
	t := template{base: base, path: path, query: query, placeholder: placeholder}
	switch {
	case !strings.HasPrefix(path, "/"):
		return t, sdk.Misconfigured(at+".path", "must begin with a slash; it is put behind base_url")
	case strings.ContainsAny(path, "?#"):
		return t, sdk.Misconfigured(at+".path", "must not hold ? or #; parameters belong into query")
	}
	there := "there is " + placeholder
	if placeholder == "" {
		there = "a scan has none"
	}
	stands := strings.Contains(path, placeholder)
	if unknown := otherPlaceholder(path, placeholder); unknown != "" {
		return t, sdk.Misconfigured(at+".path", "%s is not a placeholder here; %s", unknown, there)
	}
	for name, value := range query {
		stands = stands || strings.Contains(value, placeholder)
		if unknown := otherPlaceholder(value, placeholder); unknown != "" {
			return t, sdk.Misconfigured(at+".query", "%s of %q is not a placeholder here; %s", unknown, name, there)
		}
	}
	if !stands {
		return t, sdk.Misconfigured(at+".path", "%s is missing: it must stand in path or in a value of query", placeholder)
	}
	if _, err := url.Parse(t.url("x", nil)); err != nil {
		return t, sdk.Misconfigured(at+".path", "is not a path of a URL")
	}
	return t, nil
}

// otherPlaceholder finds a {word} that is not the allowed one.
func otherPlaceholder(s, allowed string) string {
	for {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			return ""
		}
		s = s[open:]
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return ""
		}
		word := s[:end+1]
		if word != allowed && strings.Trim(word[1:end], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == "" {
			return word
		}
		s = s[1:]
	}
}

// url puts value where the placeholder stands, percent-encoded; more are further query parameters.
func (t template) url(value string, more map[string]string) string {
	var b strings.Builder
	b.WriteString(t.base)
	b.WriteString(t.fill(t.path, url.PathEscape(value)))
	if len(t.query)+len(more) > 0 {
		q := url.Values{}
		for name, v := range t.query {
			q.Set(name, t.fill(v, value))
		}
		for name, v := range more {
			q.Set(name, v)
		}
		b.WriteByte('?')
		b.WriteString(strings.ReplaceAll(q.Encode(), "+", "%20")) // a plus is not a blank to every server; a real one is %2B
	}
	return b.String()
}

func (t template) fill(text, value string) string {
	if t.placeholder == "" {
		return text
	}
	return strings.ReplaceAll(text, t.placeholder, value)
}
