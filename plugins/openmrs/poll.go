// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/window"
)

// feeds is where feeds are, below base_url.
const feeds = "/ws/atomfeed/"

// maxPages is on how many pages an entry is looked for, from the one on that it was on, and from the one on that its time leads to.
const maxPages = 20

// mark is how far a feed was read: what a watermark holds.
type mark struct {
	Page  int       `json:"page"` // 0: there were no events yet
	Entry string    `json:"entry,omitempty"`
	Place int       `json:"place"`         // of the entry on its page, from 0
	Time  time.Time `json:"time,omitzero"` // of the entry
	First int       `json:"first"`         // the page that was read first: the engine would take what is before it for new
}

// cursor is where in a window reading stands. The window ends with the entry that was the last when it began.
type cursor struct {
	Next int  `json:"next"` // the page to read
	End  mark `json:"end"`  // what the window's watermark will be
}

func written(v any) []byte {
	b, _ := json.Marshal(v) // numbers, texts and times before the year 10000
	return b
}

// parsed reads what written wrote; false: another adapter wrote it.
func parsed(b []byte, into any) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into) == nil && bytes.HasPrefix(bytes.TrimSpace(b), []byte(`{"`))
}

// reading is one page of a feed on its way to the engine.
type reading struct {
	*source
	feed feed
	page sdk.Page
}

// Poll reads one page.
func (s *source) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	f, ok := s.feeds[q.Feed]
	if !ok {
		return sdk.Page{}, sdk.Permanent("feed %q is not configured", q.Feed)
	}
	r := &reading{source: s, feed: f}
	var err error
	if len(q.Cursor) > 0 {
		err = r.goOn(ctx, q.Cursor)
	} else {
		err = r.begin(ctx, q)
	}
	if err != nil {
		return sdk.Page{}, err
	}
	return r.page, nil
}

// goOn reads the next page of a window.
func (r *reading) goOn(ctx context.Context, place []byte) error {
	var c cursor
	if !parsed(place, &c) || c.Next < 1 || c.Next > c.End.Page {
		return sdk.CursorExpired("the stored place in the window is not that of a feed of OpenMRS")
	}
	p, err := r.get(ctx, strconv.Itoa(c.Next))
	var status *httpx.StatusError
	if errors.As(err, &status) && (status.Status == http.StatusNotFound || status.Status == http.StatusGone || status.Status == http.StatusBadRequest) {
		return sdk.CursorExpired("%s", err.Error()).Because(err)
	}
	if err != nil {
		return err
	}
	r.give(p, c.Next, 0, c.End)
	return nil
}

// begin finds where a window begins, and reads its first page.
func (r *reading) begin(ctx context.Context, q sdk.Query) error {
	recent, err := r.get(ctx, "recent")
	if err != nil {
		return err
	}
	last, ok := recent.number()
	if !ok {
		return sdk.Retryable("%s: no link tells the number of the page", r.named("recent"))
	}
	end := recent.end(last)
	if last > 0 && end.Page == 0 {
		return sdk.Retryable("%s: a page without an entry that has an id", r.named("recent"))
	}
	if len(q.Watermark) > 0 {
		var m mark
		if !parsed(q.Watermark, &m) || m.Page < 0 || m.Page > 0 && m.Entry == "" {
			return sdk.WatermarkExpired("the stored watermark is not that of a feed of OpenMRS: another adapter wrote it")
		}
		end.First = m.First
		return r.resume(ctx, q, m, end, recent)
	}
	bound := time.Time{}
	if !q.Start.At.IsZero() {
		first, err := window.ParseMark(sdk.Query{Start: q.Start, Overlap: q.Overlap})
		if err != nil {
			return err
		}
		bound = first.Since(0, time.Second)
	}
	return r.from(ctx, end, bound, recent)
}

// end is the mark of a page's last entry.
func (p *atomPage) end(n int) (m mark) {
	for i, e := range p.Entries {
		if e.ID != "" && n > 0 {
			m = mark{Page: n, Entry: e.ID, Place: i, Time: e.time()}
		}
	}
	return m
}

// resume begins behind the entry that was read last.
func (r *reading) resume(ctx context.Context, q sdk.Query, m, end mark, recent *atomPage) error {
	if m.Page == 0 {
		return r.from(ctx, end, time.Time{}, recent) // there was nothing
	}
	if end.Page < m.Page {
		return sdk.WatermarkExpired("%s: the feed has fewer pages than were read: it was made anew, or restored", r.named("recent"))
	}
	p, err := r.at(ctx, m.Page, end, recent)
	if err != nil {
		return err
	}
	if p.find(m.Entry) == m.Place {
		r.give(p, m.Page, m.Place+1, end)
		return nil
	}
	// Others became visible before it: a few, or those of an import, which push it far.
	pushed, err := r.pushed(ctx, m, m.Page, end, recent)
	if !pushed && err == nil {
		var n int
		if n, err = r.first(ctx, m.Page, end, m.Time, recent); err == nil {
			pushed, err = r.pushed(ctx, m, n, end, recent)
		}
	}
	switch {
	case err != nil:
		return err
	case pushed: // by what is as young as the transactions that saved it may be old
		return r.from(ctx, end, m.Time.Add(-q.Overlap-time.Second), recent)
	}
	return sdk.WatermarkExpired("%s: the entry that was read last is no longer there: the feed was made anew, or restored", r.named("{n}"))
}

// pushed looks for the entry that was read last on some pages from n on, behind its place.
func (r *reading) pushed(ctx context.Context, m mark, n int, end mark, recent *atomPage) (bool, error) {
	for last := min(n+maxPages, end.Page); n <= last; n++ {
		p, err := r.at(ctx, n, end, recent)
		if err != nil {
			return false, err
		}
		if place := p.find(m.Entry); place > m.Place || place >= 0 && n > m.Page {
			return true, nil
		}
	}
	return false, nil
}

// first finds, from page n on, the first page that is not dated before bound, or the last page. A bound of zero is before all.
func (r *reading) first(ctx context.Context, n int, end mark, bound time.Time, recent *atomPage) (int, error) {
	for to := end.Page; !bound.IsZero() && n < to; {
		middle := n + (to-n)/2
		p, err := r.at(ctx, middle, end, recent)
		if err != nil {
			return 0, err
		}
		if p.before(bound) {
			n = middle + 1
		} else {
			to = middle
		}
	}
	return n, nil
}

// from reads whole pages from the first on that is not dated before bound, and not before what was read first.
func (r *reading) from(ctx context.Context, end mark, bound time.Time, recent *atomPage) error {
	n := max(end.First, min(1, end.Page))
	if len(recent.Entries) > 0 && dated(recent.Entries[0], bound) {
		n = end.Page // all that comes before is older
	}
	n, err := r.first(ctx, n, end, bound, recent)
	if err != nil {
		return err
	}
	p, err := r.at(ctx, n, end, recent)
	if err != nil {
		return err
	}
	if end.First == 0 {
		end.First = n
	}
	r.give(p, n, 0, end)
	return nil
}

// give makes the engine's page of a page of the feed, without the entries that were read. Where the end was pushed on meanwhile, what came
// before it is read by the next window, which finds that it is not in its place.
func (r *reading) give(p *atomPage, n, read int, end mark) {
	entries := p.Entries
	if n < end.Page {
		r.page.Cursor = written(cursor{Next: n + 1, End: end})
	} else {
		r.page.Watermark = written(end)
		if end.Page > 0 {
			entries = entries[:min(end.Place+1, len(entries))]
		}
	}
	for _, e := range entries[min(read, len(entries)):] {
		r.page.Changes = append(r.page.Changes, e.change(r.feed.name, r.named("{n}")))
	}
}

// at gives a page, of which recent is the one of the end.
func (r *reading) at(ctx context.Context, n int, end mark, recent *atomPage) (*atomPage, error) {
	if n == end.Page {
		return recent, nil
	}
	return r.get(ctx, strconv.Itoa(n))
}

// get reads a page of the feed by its number, or the recent one.
func (r *reading) get(ctx context.Context, page string) (*atomPage, error) {
	named := "{n}"
	if page == "recent" {
		named = page
	}
	header := r.header.Clone()
	header.Set("Accept", "application/atom+xml, application/xml;q=0.9, */*;q=0.5")
	res, err := r.client.Do(ctx, httpx.Request{URL: r.base.String() + feeds + r.feed.category + "/" + page, Template: feeds + r.feed.category + "/" + named,
		Header: header})
	if err != nil {
		return nil, err
	}
	r.page.Calls += res.Calls
	r.page.Now = res.Date
	return parsePage(res.Body, r.named(named))
}

// named is how errors name a call.
func (r *reading) named(page string) string { return "GET " + feeds + r.feed.category + "/" + page }
