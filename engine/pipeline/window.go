// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// window is one reading of a feed from the watermark to now.
type window struct {
	*Pipeline
	info    sdk.Feed
	begin   time.Time
	polled  time.Time         // when the page that is worked on was given
	from    time.Time         // in the very first window: the start, by the server's clock; else zero
	primed  []store.Row       // of changes from before the start
	shown   map[sdk.Ref]shown // in this pass; nil when it was not read from its begin
	ignore  rawjson.Paths     // what does not count when data are compared
	scan    scan
	known   []sdk.Change            // some of the page's changes that are seen
	more    bool                    // pages follow this one
	parents map[sdk.Ref]*sdk.Change // of the changes, where they are children
	since   time.Time               // the start, by the server's clock; zero: the beginning
	ahead   func() error            // waits for the fetches of the next batch; nil: there were none yet
	fetched *cache
	stats   *stats
	told    stats  // what the meter knows of them
	trace   string // traceparent of the window's span; empty: it is not traced
}

type stats struct {
	pages, calls, changes, fresh, seen, stale, primed, fetched, mapped, filtered, skipped, dead, deleted, expanded, children int
}

// window reads until the feed has no further page. Everything that was committed on the way stays, also when it fails.
func (p *Pipeline) window(ctx context.Context) (_ stats, err error) {
	ctx, span := p.span(ctx, "window")
	defer func() { end(span, err) }()
	info, err := p.describe(ctx)
	if err != nil {
		return stats{}, err
	}
	w := p.begin(ctx, info)
	if err := w.start(ctx); err != nil {
		return stats{}, err
	}
	err = w.read(ctx)
	if err == nil {
		clear(p.attempts)
	}
	w.tell()
	w.stats.describe(span)
	w.report(ctx, err)
	return *w.stats, err
}

func (p *Pipeline) begin(ctx context.Context, info sdk.Feed) *window {
	return &window{
		Pipeline: p, info: info, begin: time.Now(), ignore: rawjson.ParsePaths(info.Ignore), fetched: newCache(fetchCache), stats: new(stats),
		trace: record.TraceOf(ctx),
	}
}

// describe looks the feed up in the source's catalog. It is asked anew for each window, as a source that was opened again
// may have changed.
func (p *Pipeline) describe(ctx context.Context) (sdk.Feed, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	began := time.Now()
	info, err := p.Source.Feed(ctx, p.Feed)
	if err != nil {
		if !stopped(ctx) { // a source that can't be opened can't be polled
			p.Meter.Polled(time.Since(began), 0, 0, sdk.CodeOf(err))
		}
		return info, safe(err)
	}
	if info.Class != sdk.Scan && p.Confirm != "" {
		return info, failf("confirm is for feeds that list everything at each poll; feed %s of source %s does not (its class is %s)", p.Feed, p.SourceName, info.Class)
	}
	if info.Class == sdk.Queue && p.Rival != "" {
		return info, failf("pipelines %s and %s both poll feed %s of source %s, which is a queue: what one reads the other never gets, so %s does not poll; "+
			"take one of the two out, and use several deliver blocks in the other to send each change to several places", p.Rival, p.Name, p.Feed, p.SourceName, p.Name)
	}
	if p.Expand != nil && info.Kind == p.Expand.Name {
		return info, failf("expand %q has the name of the records that feed %s lists, which its children need to be told from: "+
			"give it another, and the resource with from", p.Expand.Name, p.Feed)
	}
	return info, nil
}

// start decides, once in the life of a pipeline's state, what `start` means, and commits it before the first poll: what
// changes between this instant and the first good poll is in that poll's window.
func (w *window) start(ctx context.Context) error {
	pos := w.feed.Position()
	if pos.Started {
		return nil
	}
	pos.Started, pos.Start = true, w.Start.At
	if w.Start.Now {
		pos.Start = w.begin
	}
	return w.commit(ctx, store.Batch{Position: &pos})
}

// startOf is the instant that changes of the very first window have to reach to be delivered, and children in any. A start of
// "now" is by the engine's clock: where the server's is behind, what changes after the start is dated before it. So may one be that a
// person set, other than the configuration's.
func (w *window) startOf(pos store.Position, page sdk.Page) time.Time {
	from := pos.Start
	now := w.Start.Now || !from.IsZero() && !from.Equal(w.Start.At)
	if behind := time.Since(page.Now); now && !page.Now.IsZero() && behind > 0 {
		from = from.Add(-behind)
	}
	return from
}

// prime commits the rows of changes from before the start, of each record the last one.
func (w *window) prime(ctx context.Context) error {
	w.stats.primed += len(w.primed)
	last := make(map[sdk.Ref]int, len(w.primed))
	for i, row := range w.primed {
		last[row.Ref] = i
	}
	var b store.Batch
	for i, row := range w.primed {
		if last[row.Ref] != i {
			continue
		}
		if len(b.Rows) > 0 && (len(b.Rows) >= w.perBatch() || b.Size()+store.RowSize(&row) > w.Limits.Bytes/2) {
			if err := w.commit(ctx, b); err != nil {
				return err
			}
			b = store.Batch{}
		}
		b.Rows = append(b.Rows, row)
	}
	w.primed = nil
	if len(b.Rows) == 0 {
		return nil
	}
	return w.commit(ctx, b)
}

// read polls page after page.
func (w *window) read(ctx context.Context) error {
	defer w.yield()
	expired, passes := 0, 1
	// One that a stop cut in two did not see what drifted meanwhile.
	this := &pass{whole: w.feed.Position().Cursor == nil}
	cursors := map[[sha256.Size]byte]bool{} // that were asked with; they may be large, and many
	if this.whole {
		w.shown = map[sdk.Ref]shown{}
		if err := w.beginScan(ctx); err != nil {
			return err
		}
	}
	for {
		pos := w.feed.Position()
		page, err := w.poll(ctx, pos)
		if sdk.CodeOf(err) == sdk.CodeCursorExpired && pos.Cursor != nil && expired < 3 {
			expired++
			w.log.Info("the cursor expired, the window is read again from the watermark")
			pos.Cursor = nil
			if err := w.commit(ctx, store.Batch{Position: &pos}); err != nil {
				return err
			}
			this, w.shown, w.scan = &pass{whole: true}, map[sdk.Ref]shown{}, scan{}
			clear(cursors)
			continue
		}
		if err != nil {
			return w.lostPlace(ctx, pos, err)
		}
		w.refusals = 0
		cursors[sha256.Sum256(pos.Cursor)] = true
		if err := w.sound(page, cursors); err != nil {
			return err
		}
		for _, r := range page.Included {
			if r.Err == nil && rawjson.Valid(r.Data) {
				w.fetched.put(r, w.polled)
			}
		}

		last := len(page.Cursor) == 0
		next := pos
		next.Cursor = page.Cursor
		w.since, w.more = w.startOf(pos, page), !last
		if w.from = w.since; len(pos.Watermark) > 0 {
			w.from = time.Time{}
		}
		fresh, err := w.sieve(ctx, page)
		if err != nil {
			return err
		}
		this.showed(page, fresh, w.primed)
		page.Changes, page.Included = nil, nil // a large page need not be held until all of it is worked off
		if err := w.prime(ctx); err != nil {
			return err
		}
		if err := w.mark(ctx); err != nil {
			return err
		}
		again, sweeps := false, false
		if last {
			next.Cursor = nil
			upTo := page.Watermark
			if pos.Cursor != nil && w.info.Drifts { // a window of one page was read at one instant
				upTo = this.complete()
			}
			if again = upTo == nil; !again {
				next.Watermark = upTo
				sweeps = page.Complete && w.scan.number > 0
			}
			if !again && !sweeps { // else the window ends with the sweep
				next.Polled = w.begin
			}
		}
		if due := w.settled(fresh, page.Now); !due.IsZero() && !w.until(ctx, due) {
			return store.ErrFenced
		}
		if err := w.process(ctx, fresh, next); err != nil {
			return err
		}
		w.tell()
		if err := w.ack(ctx, page); err != nil {
			return err
		}
		w.yield()
		switch {
		case again && passes == maxPasses:
			return failf("feed %s brought unseen changes in each of %d readings of one window; its pages shift while they are read", w.Feed, maxPasses)
		case again:
			passes, this, w.shown, w.scan.listed = passes+1, this.next(), map[sdk.Ref]shown{}, 0
			clear(cursors)
		case sweeps:
			return w.sweep(ctx)
		case last:
			if w.scan.number > 0 {
				w.log.Info("the adapter does not say that the scan showed everything, so no delete is inferred from it")
			}
			return nil
		}
		if !w.until(ctx, w.rest) {
			return store.ErrFenced
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// lostPlace is told of a poll that failed. A cursor that fails again and again may be one that the server will never take again,
// though it did not say so: then the window is read again from its begin, which is always right.
//
// Not so of a queue, which gave away what was read and says in the cursor of a first window from where that is to be had again.
func (w *window) lostPlace(ctx context.Context, pos store.Position, failure error) error {
	code := sdk.CodeOf(failure)
	if pos.Cursor == nil || w.info.Class == sdk.Queue || code != sdk.CodeRetryable && code != sdk.CodePermanent {
		return failure
	}
	if w.refusals++; w.refusals < maxRefusals {
		return failure
	}
	w.refusals, pos.Cursor = 0, nil
	w.log.Info("the page at the cursor could not be had again and again; the window is read again from the watermark", "failures", maxRefusals)
	if err := w.commit(ctx, store.Batch{Position: &pos}); err != nil {
		return err
	}
	return failure
}

// poll asks for the page at pos.
func (w *window) poll(ctx context.Context, pos store.Position) (page sdk.Page, err error) {
	ctx, span := w.span(ctx, "poll")
	defer func() { end(span, err) }()
	if err := w.nextPage(ctx); err != nil {
		return page, err
	}
	query := sdk.Query{
		Feed: w.Feed, Watermark: pos.Watermark, Cursor: pos.Cursor, Start: sdk.Start{At: pos.Start}, Overlap: w.Overlap, Recover: w.recover,
	}
	w.recover = true
	began := time.Now()
	err = w.call(ctx, func(ctx context.Context) (err error) {
		page, err = w.Source.Poll(ctx, query)
		query.Recover = true // what is asked for again was given
		return err
	})
	if !stopped(ctx) {
		w.Meter.Polled(time.Since(began), page.Calls, page.Wait, sdk.CodeOf(err))
	}
	span.SetAttributes(attribute.Int("rounds.changes", len(page.Changes)), attribute.Int("rounds.calls", page.Calls))
	switch {
	case errors.Is(err, store.ErrFenced):
		return page, err
	case err != nil:
		return page, safe(err)
	}
	size := 0
	for i := range page.Changes {
		size += len(page.Changes[i].Data)
	}
	for i := range page.Included {
		size += len(page.Included[i].Data)
	}
	w.weigh(size)
	w.polled = time.Now()
	w.rest = w.polled.Add(min(page.Wait, longestRest))
	w.stats.pages++
	w.stats.calls += page.Calls
	w.stats.changes += len(page.Changes)
	for _, n := range page.Notes {
		w.remark(n)
	}
	return page, nil
}

// remark logs what an adapter says of a page, each kind of remark once an hour: most come with every page until a person sees
// to their cause.
func (w *window) remark(n sdk.Note) {
	if last, said := w.remarked[n.Code]; said && time.Since(last) < time.Hour {
		return
	}
	if len(w.remarked) > 100 {
		clear(w.remarked)
	}
	w.remarked[n.Code] = time.Now()
	w.log.Warn("the adapter remarks", "code", n.Code, "text", n.Text)
}

// sound refuses a page from which the window could not go on.
func (w *window) sound(page sdk.Page, asked map[[sha256.Size]byte]bool) error {
	switch {
	case len(page.Cursor) == 0 && len(page.Watermark) == 0:
		return failf("the adapter gave a last page without a watermark (feed %s of source %s); this is a defect of the adapter", w.Feed, w.SourceName)
	case len(page.Cursor)+len(page.Watermark) > w.Limits.Bytes/2:
		return failf("the adapter gave a cursor of %d bytes and a watermark of %d (feed %s of source %s), and the state takes %d of both; "+
			"this is a defect of the adapter", len(page.Cursor), len(page.Watermark), w.Feed, w.SourceName, w.Limits.Bytes/2)
	case len(page.Cursor) > 0 && asked[sha256.Sum256(page.Cursor)]:
		return failf("the server gave the same cursor again (feed %s of source %s); reading on would never end", w.Feed, w.SourceName)
	}
	return nil
}

// ack tells a queue that the page's changes are committed. Should the engine die before it, the queue gives them again.
func (w *window) ack(ctx context.Context, page sdk.Page) error {
	if len(page.Ack) > 0 {
		ctx, cancel := context.WithTimeout(ctx, w.Timeout)
		defer cancel()
		if err := w.Source.Ack(ctx, w.Feed, page.Ack); err != nil {
			return safe(err)
		}
	}
	w.recover = false
	return nil
}

// commit writes a batch on top of the last one. A commit that began is not cut off by the stop.
func (w *window) commit(ctx context.Context, b store.Batch) (err error) {
	ctx, span := w.span(ctx, "commit", attribute.Int("rounds.rows", len(b.Rows)), attribute.Int("rounds.notifications", len(b.Entries)),
		attribute.Int("rounds.dead_letters", len(b.Dead)))
	defer func() { end(span, err) }()
	b.Base, b.Scan = w.feed.Position().Commit, w.scan.number
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	began := time.Now()
	err = w.feed.Commit(ctx, b)
	w.committed(&b, time.Since(began), err)
	return err
}

// report logs one line a window: at info when something happened, else at debug.
func (w *window) report(ctx context.Context, err error) {
	level := slog.LevelDebug
	if s := w.stats; s.fresh > 0 || s.dead > 0 {
		level = slog.LevelInfo
	}
	if ctx.Err() != nil {
		level = slog.LevelDebug
	}
	s := w.stats
	w.log.Log(ctx, level, "window read", "complete", err == nil, "pages", s.pages, "calls", s.calls, "changes", s.changes, "new", s.fresh,
		"seen", s.seen, "stale", s.stale, "before_start", s.primed, "fetched", s.fetched, "mapped", s.mapped, "filtered", s.filtered, "dead", s.dead,
		"skipped", s.skipped, "deleted", s.deleted, "expanded", s.expanded, "children", s.children,
		"took", time.Since(w.begin).Round(time.Millisecond))
}
