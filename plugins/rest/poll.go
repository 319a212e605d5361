// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
	"github.com/rounds-engine/rounds/sdk/window"
)

// maxPages bounds a window: no real one comes near, paging that never ends does.
const maxPages = 100_000

// feed is a compiled Feed.
type feed struct {
	name    string
	request template
	items   dotted
	id      dotted
	version dotted
	time    dotted
	format  window.Format
	written string // the format in words
	page    paging
	scan    bool     // it lists everything
	ignore  []string // dotted paths of what means nothing
}

// paging says how an answer goes on; the zero value: it does not.
type paging struct {
	kind   string // "cursor", "link"
	next   dotted
	param  string
	stable bool
}

func (f *feed) describe() sdk.Feed {
	d := sdk.Feed{Name: f.name, Kind: f.name, Class: sdk.Timestamp, Version: sdk.Coarse, Precision: f.format.Unit(),
		Drifts: f.page.kind != "" && !f.page.stable,
		Why:    "GET " + f.request.path + " answers what changed since an instant, written as " + f.written}
	d.Ignore = f.ignore
	if f.version == nil {
		d.Version = sdk.None
	}
	if f.scan {
		d.Class, d.Why = sdk.Scan, "GET "+f.request.path+" lists everything, which is read at each poll and compared"
	}
	return d
}

// position is where in a window reading stands: what a cursor holds.
type position struct {
	Kind    string         `json:"kind,omitempty"` // of paging
	Next    string         `json:"next,omitempty"` // the server's cursor, or path and query of the next page
	Since   time.Time      `json:"since,omitzero"` // what the window asks for
	Pages   int            `json:"pages"`          // read before
	Reading window.Reading `json:"reading"`
}

// Poll reads one page: one call, beside repetitions and redirects.
func (s *source) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	f := s.feeds[q.Feed]
	if f == nil {
		return sdk.Page{}, sdk.Permanent("feed %q is not configured", q.Feed)
	}
	mark, err := window.ParseMark(q)
	if err != nil {
		return sdk.Page{}, err
	}
	p := position{Since: mark.Since(q.Overlap, f.format.Unit())}
	if len(q.Cursor) > 0 {
		if p, err = f.resume(q.Cursor); err != nil {
			return sdk.Page{}, err
		}
	}
	began := time.Now()
	r := s.call(f, p)
	res, err := s.client.JSON(ctx, r)
	if err != nil {
		return sdk.Page{}, expired(p, err)
	}
	if p.Pages == 0 {
		p.Reading = window.Begin(res.Asked, began)
	}
	page := sdk.Page{Now: res.Date, Calls: res.Calls}
	now := res.Date
	if now.IsZero() {
		now = began
	}
	if page.Changes, page.Notes, err = f.read(res.Body, &p, now); err != nil {
		return sdk.Page{}, err
	}
	next, err := s.next(f, r, res)
	switch {
	case err != nil:
		return sdk.Page{}, err
	case next == "":
		page.Watermark, page.Complete = mark.After(p.Reading).Bytes(), f.scan
		return page, nil
	case next == p.Next:
		return sdk.Page{}, sdk.Retryable("GET %s: the next page is the same page again, so paging would never end", r.Template)
	}
	p.Kind, p.Next, p.Pages = f.page.kind, next, p.Pages+1
	if p.Pages > maxPages {
		return sdk.Page{}, sdk.Permanent("GET %s: more than %d pages; does the paging of this API end?", r.Template, maxPages)
	}
	if page.Cursor, err = json.Marshal(p); err != nil {
		return sdk.Page{}, sdk.Permanent("GET %s: the place in the window can't be written down", r.Template).Because(err)
	}
	return page, nil
}

// resume reads a cursor. One that this configuration can't go on from has expired.
func (f *feed) resume(cursor []byte) (position, error) {
	var p position
	if err := json.Unmarshal(cursor, &p); err != nil || p.Kind == "" || p.Kind != f.page.kind || p.Next == "" || p.Pages < 1 {
		return p, sdk.CursorExpired("the paging of feed %q was changed in the middle of a window, which is read again", f.name)
	}
	return p, nil
}

// call is the request for the page at p.
func (s *source) call(f *feed, p position) httpx.Request {
	r := httpx.Request{Template: f.request.path, Header: s.header}
	if p.Next != "" {
		r.Template += " (next page)"
	}
	switch {
	case p.Next == "":
		r.URL = f.request.url(f.format.Since(p.Since), nil)
	case f.page.kind == "link":
		r.URL = s.base.Scheme + "://" + s.base.Host + p.Next
	default:
		r.URL = f.request.url(f.format.Since(p.Since), map[string]string{f.page.param: p.Next})
	}
	return r
}

// expired turns the refusal of a page after the first into CursorExpired: the first page was answered, so that it is the
// cursor that the server does not know any more. Reading the window again is always right, if not always of use.
func expired(p position, err error) error {
	if p.Next == "" {
		return err
	}
	var status *httpx.StatusError
	if errors.As(err, &status) {
		switch status.Status {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusGone:
			return sdk.CursorExpired("%s", err.Error()).Because(err)
		}
	}
	return err
}

// next finds how to ask for the page after an answer; "" when it was the last.
func (s *source) next(f *feed, r httpx.Request, res *httpx.Response) (string, error) {
	switch f.page.kind {
	case "cursor":
		raw, ok := rawjson.Get(res.Body, f.page.next...)
		if !ok || string(raw) == "null" || string(raw) == "false" {
			return "", nil
		}
		cursor, ok := rawjson.Text(raw)
		if !ok {
			return "", sdk.Retryable("GET %s: no cursor at %q: found %s", r.Template, f.page.next, found(raw, true))
		}
		return cursor, nil
	case "link":
		target := nextLink(res.Header.Values("Link"))
		if target == "" {
			return "", nil
		}
		from, err := url.Parse(r.URL)
		if err != nil {
			return "", sdk.Permanent("GET %s: the address can't be read", r.Template).Because(err)
		}
		to, err := from.Parse(target)
		switch {
		case err != nil:
			return "", sdk.Retryable("GET %s: the Link header's next is not an address", r.Template).Because(err)
		case !httpx.SameOrigin(s.base, to):
			return "", sdk.Permanent("GET %s: the Link header's next leads to another scheme, host or port, where the credentials "+
				"would leak; if that is where the API lives, configure it as base_url", r.Template)
		}
		return to.RequestURI(), nil
	}
	return "", nil
}
