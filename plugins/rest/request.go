// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// template makes the requests of a feed or a resource. What it is made of is configuration, so errors may show its path.
type template struct {
	method      string
	base        string // without a slash at its end
	path        string
	query       map[string]string
	body        any // of a POST, as encoding/json decodes it
	header      http.Header
	placeholder string // "{id}"
	constant    bool   // it asks for the same each time, without the placeholder
	credential  string // the query parameter that auth sets, if any
	number      bool   // the placeholder stands for a number, where it is all of a text in body
}

// param is a further parameter of a request: in the query, or of a POST in the body, where its name is a dotted path.
type param struct {
	name  string
	value json.RawMessage // a scalar
}

// String is how errors name the request.
func (t template) String() string { return t.method + " " + t.path }

// check finds what is wrong with a template in which the placeholder, and no other, must stand; none at all if it is constant. at is the path of its block.
func (t template) check(at string) error {
	switch {
	case !strings.HasPrefix(t.path, "/"):
		return sdk.Misconfigured(at+".path", "must begin with a slash; it is put behind base_url")
	case strings.ContainsAny(t.path, "?#"):
		return sdk.Misconfigured(at+".path", "must not hold ? or #; parameters belong into query")
	}
	stands := strings.Contains(t.path, t.placeholder)
	if unknown := otherPlaceholder(t.path, t.placeholder); unknown != "" {
		return sdk.Misconfigured(at+".path", "%s is not a placeholder here; there is %s", unknown, t.placeholder)
	}
	for _, name := range slices.Sorted(maps.Keys(t.query)) {
		value := t.query[name]
		stands = stands || strings.Contains(value, t.placeholder)
		if name == t.credential && name != "" {
			return sdk.Misconfigured(at+".query", "%q is what the auth block sets; leave it out here", name)
		}
		if unknown := otherPlaceholder(value, t.placeholder); unknown != "" {
			return sdk.Misconfigured(at+".query", "%s of %q is not a placeholder here; there is %s", unknown, name, t.placeholder)
		}
	}
	unknown := ""
	replaceTexts(t.body, func(text string) any {
		stands = stands || strings.Contains(text, t.placeholder)
		if unknown == "" {
			unknown = otherPlaceholder(text, t.placeholder)
		}
		return text
	})
	switch where := "path or in a value of query"; {
	case unknown != "":
		return sdk.Misconfigured(at+".body", "%s is not a placeholder here; there is %s", unknown, t.placeholder)
	case t.constant && stands:
		return sdk.Misconfigured(at+".class", "is %q, which asks for everything each time: there is no %s then", sdk.Scan, t.placeholder)
	case t.constant:
	case !stands && t.method == http.MethodPost:
		return sdk.Misconfigured(at+".path", "%s is missing: it must stand in %s, or in body", t.placeholder, where)
	case !stands:
		return sdk.Misconfigured(at+".path", "%s is missing: it must stand in %s", t.placeholder, where)
	}
	if _, err := url.Parse(t.url("x", nil)); err != nil {
		return sdk.Misconfigured(at+".path", "is not a path of a URL")
	}
	return nil
}

// free checks that a parameter of that name can be added.
func (t template) free(name, at string) error {
	switch {
	case name == "":
		return sdk.Misconfigured(at, "must be given: the name of the parameter")
	case t.method != http.MethodPost:
		if name == t.credential && name != "" {
			return sdk.Misconfigured(at, "is what the auth block sets")
		}
		if _, taken := t.query[name]; taken {
			return sdk.Misconfigured(at, "is set in query as well; leave it out there")
		}
		return nil
	}
	steps, err := parseDotted(name)
	if err != nil {
		return sdk.Misconfigured(at, "is not a dotted path like paging.cursor, which is where it is put into body")
	}
	here := t.body
	for _, step := range steps {
		object, ok := here.(map[string]any)
		if !ok {
			return sdk.Misconfigured(at, "can't be put into body: it is set there, or what is around it is not an object")
		}
		if here, ok = object[step]; !ok {
			return nil
		}
	}
	return sdk.Misconfigured(at, "is set in body as well; leave it out there")
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

// request puts value where the placeholder stands; more are further parameters.
func (t template) request(value string, more []param) httpx.Request {
	r := httpx.Request{Method: t.method, Template: t.path, Header: t.header}
	if t.method != http.MethodPost {
		r.URL = t.url(value, more)
		return r
	}
	r.URL, r.Body, r.Repeat = t.url(value, nil), t.content(value, more), true // it only reads
	return r
}

// url puts value, percent-encoded, where the placeholder stands.
func (t template) url(value string, more []param) string {
	var b strings.Builder
	b.WriteString(t.base)
	b.WriteString(strings.ReplaceAll(t.path, t.placeholder, url.PathEscape(value)))
	if len(t.query)+len(more) > 0 {
		q := url.Values{}
		for name, v := range t.query {
			q.Set(name, strings.ReplaceAll(v, t.placeholder, value))
		}
		for _, p := range more {
			text, _ := rawjson.Text(p.value)
			q.Set(p.name, text)
		}
		b.WriteByte('?')
		b.WriteString(encode(q))
	}
	return b.String()
}

// encode writes a blank as %20, as a plus is not one to every server; a real plus is %2B.
func encode(q url.Values) string { return strings.ReplaceAll(q.Encode(), "+", "%20") }

// content is the body of a POST.
func (t template) content(value string, more []param) []byte {
	body := replaceTexts(t.body, func(text string) any {
		if t.number && text == t.placeholder {
			return json.Number(value)
		}
		return strings.ReplaceAll(text, t.placeholder, value)
	})
	for _, p := range more {
		put(body.(map[string]any), strings.Split(p.name, "."), p.value) // free has checked that they are objects
	}
	return marshal(body)
}

func put(object map[string]any, steps []string, value json.RawMessage) {
	if len(steps) == 1 {
		object[steps[0]] = value
		return
	}
	inner, ok := object[steps[0]].(map[string]any)
	if !ok {
		inner = map[string]any{}
		object[steps[0]] = inner
	}
	put(inner, steps[1:], value)
}

// marshal writes what came from JSON, so that it can't fail.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// replaceTexts copies a decoded JSON value with each text replaced; names of members stay.
func replaceTexts(v any, replace func(string) any) any {
	switch v := v.(type) {
	case string:
		return replace(v)
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = replaceTexts(v[i], replace)
		}
		return c
	case map[string]any:
		c := make(map[string]any, len(v))
		for name := range v {
			c[name] = replaceTexts(v[name], replace)
		}
		return c
	}
	return v
}

// decodeBody reads a body of the configuration; all digits of its numbers stay.
func decodeBody(raw json.RawMessage) (any, bool) {
	if len(raw) == 0 {
		return map[string]any{}, true
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false
	}
	switch v.(type) {
	case map[string]any, []any:
		return v, true
	}
	return nil, false
}
