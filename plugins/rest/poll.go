// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
	"github.com/rounds-engine/rounds/sdk/window"
)

// feed is a compiled Feed.
type feed struct {
	name    string
	request template
	items   dotted
	id      dotted
	version dotted
	time    dotted
	paths   [3][]string // id, version and time
	format  window.Format
	written string // the format in words
	page    paging
	include []include
	scan    bool     // it lists everything
	list    string   // tells what is asked for from other lists
	ignore  []string // dotted paths of what means nothing
}

func (f *feed) describe() sdk.Feed {
	d := sdk.Feed{Name: f.name, Kind: f.name, Class: sdk.Timestamp, Version: sdk.Coarse, Precision: f.format.Unit(),
		Drifts: f.page.drifts(),
		Why:    f.request.String() + " answers what changed since an instant, written as " + f.written}
	d.Ignore = f.ignore
	if f.version == nil {
		d.Version = sdk.None
	}
	if f.scan {
		d.Class, d.Why = sdk.Scan, f.request.String()+" lists everything, which is read at each poll and compared"
	}
	return d
}

// position is where in a window reading stands: what a cursor holds.
type position struct {
	List    string          `json:"list,omitempty"` // in which it is a place
	Kind    string          `json:"kind,omitempty"` // of paging
	Next    json.RawMessage `json:"next,omitempty"` // the server's cursor, path and query of the next page, its number or offset
	Since   time.Time       `json:"since,omitzero"` // what the window asks for
	Pages   int             `json:"pages"`          // read before
	Read    int             `json:"read,omitempty"` // items in them, where pages are counted
	Hash    string          `json:"hash,omitempty"` // of the last page's items
	Been    json.RawMessage `json:"been,omitempty"` // a place that was come by, to notice a circle
	Reading window.Reading  `json:"reading"`
	Part    *part           `json:"part,omitempty"` // of the page there, which is given in parts
}

// Poll reads one page: one call, beside repetitions and redirects; or a part of an answer that is kept.
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
	if p.Part != nil {
		if a := shelved.get(place{s, f.name, p.Part.Answer}); a != nil {
			return s.give(f, a, p, mark)
		}
	}
	r := s.call(f, p)
	res, err := s.do(ctx, r)
	if p.Part == nil && beyond(f.page, p, err) {
		calls, err := s.stillThere(ctx, f, p, err)
		if err != nil {
			return sdk.Page{}, err
		}
		return sdk.Page{Watermark: mark.After(p.Reading).Bytes(), Complete: f.scan, Calls: 1 + calls}, nil
	}
	if err != nil {
		return sdk.Page{}, expired(p, err)
	}
	if p.Pages == 0 && p.Part == nil {
		p.Reading = window.Begin(res.Asked, res.Sent)
	}
	a := &answer{size: len(res.Body), date: res.Date, came: time.Now(), now: res.Date}
	if a.now.IsZero() {
		a.now = res.Sent
	}
	then := p
	page, err := f.read(res.Body, &then, a)
	if err != nil {
		return sdk.Page{}, err
	}
	page.Notes = append(s.client.Budget().Notes(), page.Notes...)
	if p.Part != nil {
		if a.sum != p.Part.Answer {
			return sdk.Page{}, sdk.CursorExpired("%s: the answer that was being given is gone, and another now; the window is read again", f.request)
		}
	} else if err := s.turn(f, &then, r, res); err != nil {
		return sdk.Page{}, err
	}
	page.Now, page.Calls = res.Date, res.Calls
	if a.items == nil {
		return page, f.finish(&page, then, mark)
	}
	if p.Part == nil {
		p.List, p.Part = f.list, &part{Answer: a.sum, Then: then}
	}
	if a.begins != nil && !shelved.put(place{s, f.name, a.sum}, a) {
		a.begins = nil
	}
	some, err := s.give(f, a, p, mark)
	some.Now, some.Calls, some.Notes = page.Now, page.Calls, append(page.Notes, some.Notes...)
	return some, err
}

// turn finds the page after an answer, and moves p there.
func (s *source) turn(f *feed, p *position, r httpx.Request, res *httpx.Response) error {
	next, err := s.next(f, p, r, res)
	if err != nil || next == nil {
		p.Next = nil
		return err
	}
	if err := f.goesOn(p, next, r, res.Body); err != nil {
		return err
	}
	p.List, p.Kind, p.Next, p.Pages = f.list, f.page.kind, next, p.Pages+1
	if p.Pages > maxPages {
		return sdk.Permanent("%s %s: more than %d pages; does the paging of this API end?", r.Method, r.Template, maxPages)
	}
	return nil
}

// finish says how the window goes on after an answer, or that it ends with it.
func (f *feed) finish(page *sdk.Page, then position, mark window.Mark) (err error) {
	if then.Next != nil {
		page.Cursor, err = then.cursor(f)
		return err
	}
	if by := mark.SetBack(then.Reading); by > 0 && !f.scan {
		page.Notes = append(page.Notes, sdk.Note{Code: "clock-set-back", Text: "the server's clock was set back, by " +
			by.Round(time.Second).String() + " at most; what changed since is read from there"})
	}
	page.Watermark, page.Complete = mark.After(then.Reading).Bytes(), f.scan
	return nil
}

// resume reads a cursor. One that this configuration can't go on from has expired.
func (f *feed) resume(cursor []byte) (position, error) {
	var p position
	err := json.Unmarshal(cursor, &p)
	fits := f.page.fits(p)
	if p.Part != nil {
		fits = (p.Next == nil || fits) && (p.Part.Then.Next == nil || f.page.fits(p.Part.Then))
	}
	if err != nil || !fits {
		return p, sdk.CursorExpired("the paging of feed %q was changed in the middle of a window, which is read again", f.name)
	}
	if p.List != "" && p.List != f.list {
		return p, sdk.CursorExpired("what feed %q asks for was changed in the middle of a window, which is read again", f.name)
	}
	return p, nil
}

// identify tells a feed's list from others by what asks for its first page. Invariant 1: what stands at a place in one list may stand
// before it in another, and would never be read.
func (s *source) identify(f *feed) string {
	r := s.call(f, position{Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	parts := []string{r.Method, r.URL, string(r.Body), f.items.String()}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		parts = append(parts, name, strings.Join(r.Header[name], ","))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n"))) // none of them has a line break that is not encoded
	return hex.EncodeToString(sum[:8])
}

// same says whether two places are one.
func same(a, b json.RawMessage) bool {
	textA, _ := rawjson.Text(a)
	textB, ok := rawjson.Text(b)
	return ok && textA == textB
}

// beyond says that a page behind the last was asked for: where the pages are counted and no answer says which is the last,
// some servers answer 404 there and not an empty page.
func beyond(page paging, p position, err error) bool {
	return page.counted() && page.total == nil && page.more == nil && p.Next != nil && sdk.CodeOf(err) == sdk.CodeNotFound
}

// stillThere makes sure that a page which the server does not know is behind the last one: then it knows the first. Invariant 1: of all
// pages a proxy says the same whose server is started anew.
func (s *source) stillThere(ctx context.Context, f *feed, p position, unknown error) (calls int, err error) {
	res, err := s.do(ctx, s.call(f, position{Since: p.Since}))
	switch {
	case sdk.CodeOf(err) == sdk.CodeNotFound:
		return 0, sdk.Retryable("%s, and no longer the first page either: %s", unknown.Error(), err.Error())
	case err != nil:
		return 0, err
	}
	_, err = f.array(res.Body)
	return res.Calls, err
}

// expired turns the refusal of a page after the first into CursorExpired: the first page was answered, so that it is the
// cursor that the server does not know any more. Reading the window again is always right, if not always of use.
func expired(p position, err error) error {
	if p.Next == nil {
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
