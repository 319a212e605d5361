// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Poll reads one page: of what was marked and may not be committed, then of what is new.
func (s *source) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	f, known := feeds[q.Feed]
	if !known {
		return sdk.Page{}, sdk.Permanent("there is no feed %q; there are: %s", q.Feed, strings.Join(slices.Sorted(maps.Keys(feeds)), ", "))
	}
	at, err := placeOf(q)
	if err != nil {
		return sdk.Page{}, err
	}
	at.Page++
	switch {
	case at.Mark.Read.IsZero():
		return s.begin(ctx, f, q)
	case at.Again != nil:
		return s.again(ctx, f, at, q.Peek)
	case q.Peek:
		return s.peek(ctx, f, at)
	}
	return s.take(ctx, f, at)
}

// begin takes nothing. It finds the server's clock, so that a reading that takes something can be followed by one that finds it again,
// and looks whether there is a subscription.
func (s *source) begin(ctx context.Context, f feed, q sdk.Query) (sdk.Page, error) {
	res, notes, err := s.subscription(ctx, f, q.Peek)
	if err != nil {
		return sdk.Page{}, err
	}
	if res.Asked.IsZero() {
		return sdk.Page{}, sdk.Retryable("GET %s: the answer does not tell the server's clock (Date), without which nothing that is read could be found again",
			f.template("/changed/subscription"))
	}
	at := place{Page: 1}
	at.heard(res.Asked, res.Date)
	at.Mark.Read = at.Begun
	if start := q.Start.At.UTC(); !q.Start.At.IsZero() && start.Before(at.Begun) {
		at.Mark.Read = start
		at.Again = &again{From: start.Add(-q.Overlap - slack)}
	}
	return sdk.Page{Cursor: written(at), Calls: res.Calls, Now: res.Date, Notes: notes}, nil
}

// again reads what was marked in a range of time, and marks nothing.
func (s *source) again(ctx context.Context, f feed, at place, look bool) (sdk.Page, error) {
	r := *at.Again
	until, margin := eastern().clear(r.From.Add(piece)), time.Second
	if !r.To.IsZero() && r.To.Before(until) {
		until = r.To
	}
	if r.Count {
		margin = 0
	}
	got, err := s.read(ctx, f, look, httpx.Request{}, url.Values{
		"leaveunprocessed":           {"true"},
		"offset":                     {strconv.Itoa(r.Offset)},
		"showprocessedstartdatetime": {eastern().from(r.From.Add(-margin))},
		"showprocessedenddatetime":   {eastern().to(until.Add(margin))},
	})
	if err != nil {
		return sdk.Page{}, err
	}
	if got.date.IsZero() {
		return sdk.Page{}, sdk.Retryable("GET %s: the answer does not tell the server's clock (Date), so that it is not known up to when to read again",
			f.template("/changed"))
	}
	at.heard(got.asked, got.date)
	page := got.page(s.client.Budget().Notes())
	r.Found += len(got.changes)
	if r.To.IsZero() {
		r.To = got.date.Add(slack)
	}
	switch {
	case got.more && len(got.changes) == 0:
		return sdk.Page{}, sdk.Retryable("GET %s: the answer tells of more, and holds nothing", f.template("/changed"))
	case got.more:
		r.Offset += len(got.changes)
	case until.Before(r.To):
		r.From, r.Offset = until, 0
	default:
		if r.Count {
			if r.Found > at.Mark.Taken {
				page.Notes = append(page.Notes, sdk.Note{Code: "another-reader", Text: "another client with the same key reads feed " + f.path + " of this practice too: " +
					strconv.Itoa(r.Found) + " messages were read in the last hour, and only " + strconv.Itoa(at.Mark.Taken) + " of them here. Each takes messages from the other; give each its own key"})
			}
			at.Mark.Since, at.Mark.Taken = at.Mark.Read, 0
		}
		at.Again = nil
	}
	if at.Again != nil {
		at.Again = &r
	}
	page.Cursor = written(at)
	return page, nil
}

// take reads what is new, which marks it. The next page is again the first one.
func (s *source) take(ctx context.Context, f feed, at place) (sdk.Page, error) {
	got, err := s.read(ctx, f, false, httpx.Request{Once: true}, url.Values{})
	if err != nil {
		return sdk.Page{}, err
	}
	at.heard(got.asked, got.date)
	at.Taken += len(got.changes)
	page := got.page(s.client.Budget().Notes())
	if got.more && len(got.changes) > 0 && at.Page < longest {
		page.Cursor = written(at)
	} else {
		page.Watermark = written(at.end())
	}
	return page, nil
}

// peek reads what is new and leaves it there.
func (s *source) peek(ctx context.Context, f feed, at place) (sdk.Page, error) {
	got, err := s.read(ctx, f, true, httpx.Request{}, url.Values{"leaveunprocessed": {"true"}, "offset": {strconv.Itoa(at.Skipped)}})
	if err != nil {
		return sdk.Page{}, err
	}
	page := got.page(s.client.Budget().Notes())
	if at.Skipped += len(got.changes); got.more && len(got.changes) > 0 && at.Page < longest {
		page.Cursor = written(at)
	} else {
		page.Watermark = written(at.Mark)
	}
	return page, nil
}
