// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// maxPages bounds a window: no real one comes near, paging that never ends does.
const maxPages = 100_000

// The ways of paging.
const (
	byCursor  = "cursor"
	byLink    = "link"
	byNextURL = "next_url"
	byNumber  = "number"
	byOffset  = "offset"
)

// paging says how an answer goes on; the zero value: it does not.
type paging struct {
	kind   string
	next   dotted // of the cursor or the URL
	param  string
	stable bool

	// Counted paging, by number or offset.
	first     int
	size      int // of a full page; 0: only an empty page is the last
	sizeParam string
	total     dotted // to the number of all items
	more      dotted // to whether there is a next page
}

func (p paging) counted() bool { return p.kind == byNumber || p.kind == byOffset }

// drifts says that pages may shift while they are read.
func (p paging) drifts() bool { return p.kind != "" && !p.stable }

func compilePage(p *Page, t template, at string) (paging, error) {
	if p == nil {
		return paging{}, nil
	}
	at += ".page." + p.Kind
	c := paging{kind: p.Kind, param: p.Param, stable: p.Stable, size: p.Size, sizeParam: p.SizeParam}
	allowed := map[string][]string{byCursor: {"next", "param"}, byLink: {}, byNextURL: {"next"},
		byNumber: {"param", "first", "size", "size_param", "total", "more"},
		byOffset: {"param", "first", "size", "size_param", "total", "more"}}
	takes, ok := allowed[p.Kind]
	if !ok {
		return c, sdk.Misconfigured(at, "is not a way of paging; there are cursor, link, next_url, number and offset")
	}
	if err := onlyGiven(takes, at, "page", p.Kind, []given{{"next", p.Next != ""}, {"param", p.Param != ""}, {"first", p.First != ""},
		{"size", p.Size != 0}, {"size_param", p.SizeParam != ""}, {"total", p.Total != ""}, {"more", p.More != ""}}); err != nil {
		return c, err
	}
	for _, d := range []struct {
		name, value string
		into        *dotted
		required    bool
	}{
		{"next", p.Next, &c.next, p.Kind == byCursor || p.Kind == byNextURL}, {"total", p.Total, &c.total, false}, {"more", p.More, &c.more, false},
	} {
		var err error
		if *d.into, err = parseDotted(d.value); err != nil || len(*d.into) == 0 && d.required {
			return c, sdk.Misconfigured(at+"."+d.name, "must be given, as a dotted path like meta.next")
		}
	}
	if p.Kind == byCursor || c.counted() {
		if err := t.free(p.Param, at+".param"); err != nil {
			return c, err
		}
	}
	if c.counted() {
		return c, c.count(p, t, at)
	}
	return c, nil
}

// count checks what counted paging takes.
func (p *paging) count(from *Page, t template, at string) error {
	first := cmp.Or(from.First, map[string]string{byNumber: "1", byOffset: "0"}[p.kind])
	var err error
	if p.first, err = strconv.Atoi(first); err != nil || p.first < 0 {
		return sdk.Misconfigured(at+".first", "must be a whole number, mostly 0 or 1")
	}
	switch {
	case p.size < 0:
		return sdk.Misconfigured(at+".size", "must be at least 1")
	case p.total != nil && p.more != nil:
		return sdk.Misconfigured(at+".more", "says the same as total; leave one of them out")
	case p.sizeParam == "":
		return nil
	case p.size == 0:
		return sdk.Misconfigured(at+".size", "must be given, as size_param is to carry it")
	}
	if err := t.free(p.sizeParam, at+".size_param"); err != nil {
		return err
	}
	if a, b := p.param+".", p.sizeParam+"."; strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
		return sdk.Misconfigured(at+".size_param", "is where param is put as well")
	}
	return nil
}

// given says whether an attribute was given.
type given struct {
	name  string
	given bool
}

// onlyGiven refuses attributes that have no meaning for a kind of block.
func onlyGiven(allowed []string, at, block, kind string, attributes []given) error {
	for _, a := range attributes {
		ok := !a.given
		for _, name := range allowed {
			ok = ok || name == a.name
		}
		if !ok {
			return sdk.Misconfigured(at+"."+a.name, "has no meaning for %s %q", block, kind)
		}
	}
	return nil
}

// call is the request for the page at p.
func (s *source) call(f *feed, p position) httpx.Request {
	var more []param
	switch page := f.page; {
	case page.counted():
		more = append(more, param{page.param, number(p.at(page))})
		if page.sizeParam != "" {
			more = append(more, param{page.sizeParam, number(page.size)})
		}
	case page.kind == byCursor && p.Next != nil:
		more = append(more, param{page.param, p.Next})
	}
	r := f.request.request(f.format.Since(p.Since), more)
	if p.Next != nil {
		r.Template += " (next page)"
		if f.page.kind == byLink || f.page.kind == byNextURL {
			path, _ := rawjson.Text(p.Next)
			r.URL = s.base.Scheme + "://" + s.base.Host + path
		}
	}
	return r
}

func number(n int) json.RawMessage { return json.RawMessage(strconv.Itoa(n)) }

// at is the number or offset of the page at p.
func (p position) at(page paging) int {
	if p.Next == nil {
		return page.first
	}
	text, _ := rawjson.Text(p.Next)
	n, _ := strconv.Atoi(text) // resume has checked it
	return n
}

// fits says whether reading can go on at p by this way of paging.
func (p paging) fits(at position) bool {
	text, ok := rawjson.Text(at.Next)
	if !ok || p.kind == "" || p.kind != at.Kind || at.Pages < 1 {
		return false
	}
	switch p.kind {
	case byNumber, byOffset:
		n, err := strconv.Atoi(text)
		return err == nil && n >= 0
	case byLink, byNextURL:
		return strings.HasPrefix(text, "/")
	}
	return text != ""
}

// next finds how to ask for the page after an answer; nil when it was the last.
func (s *source) next(f *feed, p *position, r httpx.Request, res *httpx.Response) (json.RawMessage, error) {
	named := r.Method + " " + r.Template
	switch f.page.kind {
	case byCursor:
		raw, ok := rawjson.Get(res.Body, f.page.next...)
		if !ok || string(raw) == "null" || string(raw) == "false" || string(raw) == `""` {
			return nil, nil
		}
		if _, ok = rawjson.Text(raw); !ok {
			return nil, sdk.Retryable("%s: no cursor at %q: found %s", named, f.page.next, rawjson.Found(raw, true))
		}
		return bytes.Clone(raw), nil
	case byLink:
		return s.follow(r, nextLink(res.Header.Values("Link")), "the Link header's next")
	case byNextURL:
		raw, ok := rawjson.Get(res.Body, f.page.next...)
		if !ok || string(raw) == "null" || string(raw) == "false" {
			return nil, nil
		}
		target, _ := rawjson.Text(raw)
		if raw[0] != '"' {
			return nil, sdk.Retryable("%s: no address at %q: found %s", named, f.page.next, rawjson.Found(raw, true))
		}
		return s.follow(r, target, "the address at "+strconv.Quote(f.page.next.String()))
	case byNumber, byOffset:
		return f.count(p, named, res.Body)
	}
	return nil, nil
}

// follow turns the address of the next page, as the server gave it, into path and query. It must be of the origin where the
// answer is from, since the credentials go there. what names the place in the answer.
func (s *source) follow(r httpx.Request, target, what string) (json.RawMessage, error) {
	if target == "" {
		return nil, nil
	}
	named := r.Method + " " + r.Template
	from, err := url.Parse(r.URL)
	if err != nil {
		return nil, sdk.Permanent("%s: the address can't be read", named).Because(err)
	}
	to, err := from.Parse(target)
	switch {
	case err != nil:
		return nil, sdk.Retryable("%s: %s is not an address", named, what).Because(err)
	case !httpx.SameOrigin(s.base, to):
		return nil, sdk.Permanent("%s: %s leads to another scheme, host or port, where the credentials "+
			"would leak; if that is where the API lives, configure it as base_url", named, what)
	}
	to.RawQuery = s.auth.strip(to.RawQuery)
	return marshal(to.RequestURI()), nil
}

// count finds the number or offset of the page after an answer, whose items p has counted already.
func (f *feed) count(p *position, named string, body []byte) (json.RawMessage, error) {
	array, _ := rawjson.Get(body, f.items...) // read has found it
	items := 0
	for range rawjson.Elements(array) {
		items++
	}
	p.Read += items
	last, err := f.last(p, items, named, body)
	if err != nil || last {
		return nil, err
	}
	step := 1
	if f.page.kind == byOffset {
		step = items
	}
	return number(p.at(f.page) + step), nil
}

// goesOn refuses a next page by which reading would never end: that is the page at p again, or by its items the one before it, or leads
// in a circle. A circle of any length is found as Brent does it, by one place that is remembered, and replaced by the one come by
// whenever the number of pages has doubled.
func (f *feed) goesOn(p *position, next json.RawMessage, r httpx.Request, body []byte) error {
	named := r.Method + " " + r.Template
	if same(next, p.Next) {
		return sdk.Retryable("%s: the next page is the same page again, so paging would never end", named)
	}
	if same(next, p.Been) {
		return sdk.Retryable("%s: the pages lead in a circle, so paging would never end", named)
	}
	if p.Pages&(p.Pages-1) == 0 {
		p.Been = next
	}
	array, _ := rawjson.Get(body, f.items...) // read has found it
	for range rawjson.Elements(array) {       // an empty page may follow another
		sum := rawjson.Hash(array)
		hash := hex.EncodeToString(sum[:])
		if hash == p.Hash {
			right := ""
			if f.page.param != "" {
				right = "; is " + strconv.Quote(f.page.param) + " the right parameter?"
			}
			return sdk.Retryable("%s: the next page is the same page again, so paging would never end%s", named, right)
		}
		p.Hash = hash
		break
	}
	return nil
}

// last says whether a page with so many items, which p has counted already, ends the window.
func (f *feed) last(p *position, items int, named string, body []byte) (bool, error) {
	switch page := f.page; {
	case page.more != nil:
		raw, ok := rawjson.Get(body, page.more...)
		more := string(raw) == "true"
		switch {
		case !more && string(raw) != "false":
			return false, sdk.Retryable("%s: neither true nor false at %q: found %s", named, page.more, rawjson.Found(raw, ok))
		case more && items == 0 && page.kind == byOffset:
			return false, sdk.Retryable("%s: a page without items says that there is more, so paging would never end", named)
		}
		return !more, nil
	case page.total != nil:
		raw, ok := rawjson.Get(body, page.total...)
		text, _ := rawjson.Text(raw)
		total, err := strconv.Atoi(text)
		if err != nil || total < 0 {
			return false, sdk.Retryable("%s: no number of items at %q: found %s", named, page.total, rawjson.Found(raw, ok))
		}
		return items == 0 || p.Read >= total, nil
	case items == 0:
		return true, nil
	case p.Pages > 0 && p.Read-items >= p.Pages*page.size: // the server gives full pages
		return items < page.size, nil
	}
	// A server may give fewer items to a page than it was asked for, which the configuration does not tell. Such limits are
	// round, to people (50) or to machines (64): at one of them the next page is asked for, to be sure.
	return items < f.page.size && items%5 != 0 && items%4 != 0, nil
}
