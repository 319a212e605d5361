// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"context"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

const (
	pageSize = 1000   // changes; one is about 250 bytes
	maxAgain = 10_000 // numbers of the overlap
	// lag is how much earlier than the overlap before a start is read at least, and more where Orthanc's clock is further behind: a start of
	// "now" is by the engine's clock, and what changes after it is dated before it there.
	lag = 10 * time.Minute
)

// Poll reads one page of the list of changes, and gives those of the feed's level.
func (s *source) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	var of level
	for _, l := range levels {
		if l.feed == q.Feed {
			of = l
		}
	}
	if of.feed == "" {
		return sdk.Page{}, sdk.Permanent("there is no feed %q; there are patients, studies, series and instances", q.Feed)
	}
	c := &caller{source: s}
	var page sdk.Page
	var err error
	if len(q.Watermark) == 0 && !q.Start.At.IsZero() {
		if page.Now, err = c.now(ctx); err != nil {
			return page, err
		}
	}
	p, err := c.place(ctx, q, page.Now)
	if err != nil {
		return page, err
	}

	limit := pageSize
	if q.Limit > 0 {
		limit = min(q.Limit, pageSize)
	}
	// Where reading goes on, the change read last is asked for again, which shows that the list is still the one that it was.
	since := max(min(p.After, p.Mark.Last-1), 0)
	if since < p.After {
		limit++
	}
	l, err := c.changes(ctx, since, limit)
	if err != nil {
		return page, err
	}
	if page.Notes, err = c.same(ctx, p.Mark, l); err != nil {
		return page, err
	}

	known, shown := p.Mark.Last, l.changes
	for len(shown) > 0 && shown[0].seq <= p.After {
		shown = shown[1:]
	}
	for _, e := range shown {
		p.Mark.show(e)
		p.After = e.seq
		if e.resource != of.resource {
			continue
		}
		if of.grows && s.config.Trigger == stable {
			p.Mark.pair(e, of, e.seq <= known)
		}
		if e.event == of.trigger(s.config) || s.config.Updates && (e.event == "UpdatedMetadata" || e.event == "UpdatedAttachment") {
			page.Changes = append(page.Changes, of.change(e, e.event))
		}
	}
	p.Mark.overlap(shown, q.Overlap)
	if p.Mark.forget() {
		page.Notes = append(page.Notes, sdk.Note{Code: "many-unstable", Text: "more than 2000 were listed as new and not as stable; of the " +
			"oldest of them a change is made only when Orthanc lists that they are stable, which it does not if it was restarted meanwhile"})
	}
	if !l.done {
		page.Cursor = written(p)
	} else {
		lost, notes, err := c.lost(ctx, of, &p.Mark)
		if err != nil {
			return page, err
		}
		page.Changes, page.Notes = append(page.Changes, lost...), append(page.Notes, notes...)
		page.Watermark = written(p.Mark)
	}
	page.Calls = c.calls
	return page, nil
}

// place is where to read on. now is Orthanc's clock, or zero.
func (c *caller) place(ctx context.Context, q sdk.Query, now time.Time) (place, error) {
	switch {
	case len(q.Cursor) > 0:
		return parsePlace(q.Cursor)
	case len(q.Watermark) > 0:
		m, err := parseMark(q.Watermark)
		m.age()
		return place{Mark: m, After: m.Again}, err
	case q.Start.At.IsZero():
		return place{}, nil
	}
	behind := lag
	if !now.IsZero() {
		behind = max(behind, time.Since(now))
	}
	m, err := c.seek(ctx, q.Start.At.Add(-q.Overlap-behind))
	return place{Mark: m, After: m.Again}, err
}

// change is an entry of the list as the engine takes it. A date that exists twice is told as the later instant: an earlier one could be
// taken for one before the start.
func (l level) change(e change, event string) sdk.Change {
	c := sdk.Change{Ref: sdk.Ref{Kind: l.kind, ID: e.id}, Version: e.version(), Event: event, Time: e.late, Data: e.raw}
	if e.id == "" {
		c.Err = sdk.Permanent("GET /changes: a change without an ID")
	}
	return c
}

// seek finds where to begin so that all changes from an instant on are read, and not many before them: behind the last change of the list,
// if that is older, else by halving the numbers, about 20 calls for a million.
//
// What is after the place is never older than the bound. That the dates of a list do not always grow (clocks are set back) makes it read
// more than it had to, and never less: the place is behind a change that is older than the bound, which none that is wanted stands before.
func (c *caller) seek(ctx context.Context, bound time.Time) (mark, error) {
	older := func(e change) bool { return !e.late.IsZero() && e.late.Before(bound) }
	end, any, err := c.newest(ctx)
	if err != nil || !any {
		return mark{}, err
	}
	var found mark
	if older(end) {
		found.show(end)
		found.Again = found.Last
		return found, nil
	}
	for hi := end.seq; hi-found.Last > 1; {
		mid := found.Last + (hi-found.Last)/2
		l, err := c.changes(ctx, mid, 1)
		if err != nil {
			return mark{}, err
		}
		if len(l.changes) == 1 && older(l.changes[0]) {
			found.show(l.changes[0])
		} else {
			hi = mid
		}
	}
	found.Again = found.Last
	return found, nil
}
