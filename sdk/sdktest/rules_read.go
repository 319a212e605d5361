// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// Reading of a server whose data stand still.

// with opens a source for the time of a test.
func (k *kit) with(o *outcome, p *Process, test func(*source)) {
	source, err := k.open(p, k.main)
	if err != nil {
		o.fail("Open: %s", k.watch.shown(err))
		return
	}
	test(source)
	_ = source.close() // rule open looks at it
}

// each tests some feeds that were read.
func (k *kit) each(o *outcome, feeds []sdk.Feed, test func(*reading)) {
	if len(feeds) == 0 {
		o.inapplicable("the source has no feed but queues")
	}
	for _, f := range feeds {
		if r := k.readings[f.Name]; r != nil {
			test(r)
		}
	}
}

func checkHandles(k *kit, o *outcome) {
	o.checked()
	k.with(o, k.process, func(one *source) {
		k.with(o, k.process, func(two *source) {
			if err := two.close(); err != nil {
				o.fail("Close: %s", k.watch.shown(err))
			}
			if err := two.close(); err != nil {
				o.fail("Close of a handle that is closed fails, which the engine may do: %s", k.watch.shown(err))
			}
			ctx, cancel := k.timeout()
			defer cancel()
			if _, err := two.Fetch(ctx, nil); err == nil {
				o.fail("a source that is closed answers Fetch")
			}
			for _, f := range k.harmless() {
				if _, err := two.Poll(ctx, k.query(f)); err == nil {
					o.fail("a source that is closed answers Poll")
				}
			}
		})
		for _, f := range k.harmless() {
			if _, err := one.poll(k.query(f)); err != nil {
				o.fail("after another source was closed, Poll fails: %s", k.watch.shown(err))
			}
		}
	})
}

func checkRepeats(k *kit, o *outcome) {
	k.each(o, k.harmless(), func(r *reading) {
		o.checked()
		for where, p := range map[string]*Process{"again": k.process, "in another process": k.second} {
			k.with(o, p, func(s *source) {
				for i := range min(len(r.pages), 5) {
					page, err := s.poll(r.queries[i])
					same(o, r, i, page, err, where)
				}
				var asking sync.WaitGroup
				for range 4 {
					asking.Go(func() {
						page, err := s.poll(r.queries[0])
						same(o, r, 0, page, err, "four times at once")
					})
				}
				asking.Wait()
			})
		}
	})
}

// same compares a page with that of the first reading.
func same(o *outcome, r *reading, i int, page sdk.Page, err error, where string) {
	switch {
	case err != nil:
		o.fail("feed %s: page %d, asked for %s, fails with %s", r.feed.Name, i+1, where, sdk.CodeOf(err))
	case (len(page.Cursor) > 0) != (len(r.pages[i].Cursor) > 0):
		o.fail("feed %s: page %d, asked for %s, is the window's last and was not, or the other way round", r.feed.Name, i+1, where)
	default:
		if d := differ(r.feed, r.pages[i].Changes, page.Changes); d != "" {
			o.fail("feed %s: page %d, asked for %s: %s", r.feed.Name, i+1, where, d)
		}
	}
}

// paged gives a reading of several pages, with a limit if need be; nil if the adapter gives none.
func (k *kit) paged(s *source, r *reading) (*reading, error) {
	if len(r.pages) > 1 || len(r.changes) < 2 {
		return r, nil
	}
	q := r.queries[0]
	q.Limit = max(1, len(r.changes)/3)
	return s.read(q)
}

func checkResume(k *kit, o *outcome) {
	k.each(o, k.ordinary(), func(r *reading) {
		k.with(o, k.process, func(first *source) {
			whole, err := k.paged(first, r)
			if err != nil {
				o.fail("%s", k.watch.shown(err))
				return
			}
			if len(whole.pages) < 2 {
				o.unchecked("a window of feed %s has one page, whatever the limit; more records may give it several", r.feed.Name)
				return
			}
			o.checked()
			k.with(o, k.second, func(second *source) {
				for i := 1; i < len(whole.pages); i += max(1, len(whole.pages)/4) {
					rest, err := second.read(whole.queries[i])
					if err != nil {
						o.fail("resumed in another process: %s", k.watch.shown(err))
						continue
					}
					var want []sdk.Change
					for _, p := range whole.pages[i:] {
						want = append(want, p.Changes...)
					}
					if d := differ(r.feed, want, rest.changes); d != "" {
						o.fail("feed %s, resumed from the cursor of page %d: %s", r.feed.Name, i, d)
					}
					k.alike(o, second, whole, rest)
				}
			})
		})
	})
}

// alike says whether two readings end at the same place: at watermarks that are equal, or at least give the same next window.
func (k *kit) alike(o *outcome, s *source, a, b *reading) {
	if sameMark(a.watermark, b.watermark) {
		return
	}
	next, err := s.read(a.after(0))
	if err == nil {
		var other *reading
		if other, err = s.read(b.after(0)); err == nil {
			if d := differ(a.feed, next.changes, other.changes); d != "" {
				o.fail("feed %s: two readings of one window end with watermarks that give different next windows: %s", a.feed.Name, d)
			}
		}
	}
	if err != nil {
		o.fail("the next window can't be read: %s", k.watch.shown(err))
	}
}

func checkWatermark(k *kit, o *outcome) {
	k.each(o, k.ordinary(), func(r *reading) {
		o.checked()
		k.with(o, k.process, func(s *source) {
			next, err := s.read(r.after(0))
			var last *reading
			if err == nil {
				last, err = s.read(next.after(0))
			}
			if err != nil {
				o.fail("the window after the first: %s", k.watch.shown(err))
				return
			}
			if len(next.changes) == 0 && !sameMark(next.watermark, r.watermark) {
				const problem = "feed %s: an empty window gives another watermark than it was asked with"
				if r.feed.Class == sdk.Sequence && k.main.moved() > 0 { // CouchDB words one place in its sequence anew each time
					o.unchecked(problem+", as the EHR answers requests that are made again with something else", r.feed.Name)
				} else {
					o.fail(problem, r.feed.Name)
				}
			}
			if d := differ(r.feed, next.changes, last.changes); d != "" {
				o.fail("feed %s: on a server that stands still, the third window lists something else than the second: %s", r.feed.Name, d)
			}
			if r.feed.Class == sdk.Scan {
				if d := differ(r.feed, r.changes, next.changes); d != "" {
					o.fail("feed %s: a scan lists everything each time: %s", r.feed.Name, d)
				}
				return
			}
			if n := lacking(r.feed, next.changes, r.changes); n > 0 {
				o.fail("feed %s: the second window lists %d changes that the first, from the beginning, did not", r.feed.Name, n)
			}
		})
	})
}

func checkTies(k *kit, o *outcome) {
	k.each(o, k.ordinary(), func(r *reading) {
		k.with(o, k.process, func(s *source) {
			for _, limit := range limits(r) {
				q := r.queries[0]
				q.Limit = limit
				other, err := s.read(q)
				if err != nil {
					o.fail("with a limit of %d: %s", limit, k.watch.shown(err))
					continue
				}
				missing, more := lacking(r.feed, r.changes, other.changes), lacking(r.feed, other.changes, r.changes)
				if missing > 0 || more > 0 {
					o.fail("feed %s: read with a limit of %d, %d changes are missing and %d are new", r.feed.Name, limit, missing, more)
				}
			}
			if r.feed.Class != sdk.Timestamp {
				o.checked()
				return
			}
			k.instants(o, s, r)
		})
	})
}

// limits are sizes of pages that end a page within a tie, if there is one.
func limits(r *reading) (limits []int) {
	n := len(r.changes)
	if n < 2 {
		return nil
	}
	limits = append(limits, max(1, n/2))
	for i := 1; i < n; i++ {
		if t := r.changes[i].Time; !t.IsZero() && t.Equal(r.changes[i-1].Time) && n/i < 50 { // page 1 would end between them
			return append(limits, i)
		}
	}
	if n < 50 {
		limits = append(limits, 1)
	}
	return limits
}

// instants tests the windows of a feed of timestamps: where one begins and where the last one ended.
func (k *kit) instants(o *outcome, s *source, r *reading) {
	ties, newest := r.ties(), r.newest()
	switch {
	case newest.IsZero():
		o.unchecked("no change of feed %s has a Time", r.feed.Name)
		return
	case len(ties) == 0:
		o.unchecked("no two changes of feed %s have the same time; test data should have some, among the newest and before", r.feed.Name)
	case !ties[0].Equal(newest):
		o.unchecked("the newest change of feed %s has its time alone; test data should have a tie there", r.feed.Name)
		o.checked()
	default:
		o.checked()
	}
	lost := func(want []sdk.Change, q sdk.Query, when string) {
		other, err := s.read(q)
		if err != nil {
			o.fail("%s: %s", when, k.watch.shown(err))
			return
		}
		if n := lacking(r.feed, want, other.changes); n > 0 {
			o.fail("feed %s: %s, %d of %d changes that belong to the window are missing", r.feed.Name, when, n, len(want))
		}
		// What only this window lists is missing in the first.
		if n := lacking(r.feed, other.changes, r.changes); n > 0 && k.o.Start.IsZero() {
			o.fail("feed %s: %s, the window lists %d changes that the window from the beginning lost", r.feed.Name, when, n)
		}
	}
	lost(r.since(newest), r.after(0), "in the window after the first, without overlap")
	middle := r.changes[len(r.changes)/2].Time
	if !middle.IsZero() {
		lost(r.since(middle), r.after(newest.Sub(middle)), "in the window after the first, with an overlap that reaches back to a change")
	}
	starts := append(slices.Clone(ties[:min(len(ties), 3)]), newest, middle)
	slices.SortFunc(starts, time.Time.Compare)
	for _, at := range slices.CompactFunc(starts, time.Time.Equal) {
		if at.IsZero() || at.Before(k.o.Start) {
			continue
		}
		lost(r.since(at), sdk.Query{Feed: r.feed.Name, Start: sdk.Start{At: at}}, "in a window that starts at the instant of a change")
	}
}

func checkForeign(k *kit, o *outcome) {
	k.each(o, k.harmless(), func(r *reading) {
		o.checked()
		k.with(o, k.process, func(s *source) {
			for _, foreign := range []string{`{"kit-foreign": [1]}`, "\x00\xffkit"} {
				q := k.query(r.feed)
				q.Watermark = []byte(foreign)
				switch _, err := s.poll(q); {
				case err == nil:
					o.fail("feed %s: it is read from a watermark that the adapter did not write", r.feed.Name)
				case errors.Is(err, sdk.ErrNoAnswer):
					o.fail("feed %s: a watermark that the adapter did not write has no answer: %s", r.feed.Name, k.watch.shown(err))
				}
				if len(r.pages) == 1 { // and else it would be right to look at no cursor
					continue
				}
				q.Watermark, q.Cursor = nil, []byte(foreign)
				switch _, err := s.poll(q); {
				case err == nil:
					o.fail("feed %s: it is read from a cursor that the adapter did not write", r.feed.Name)
				case errors.Is(err, sdk.ErrNoAnswer):
					o.fail("feed %s: a cursor that the adapter did not write has no answer: %s", r.feed.Name, k.watch.shown(err))
				}
			}
		})
	})
}

func checkUnknownFeed(k *kit, o *outcome) {
	o.checked()
	k.with(o, k.process, func(s *source) {
		switch _, err := s.poll(sdk.Query{Feed: "kit-no-such-feed"}); {
		case err == nil:
			o.fail("a feed that there is not gives a page")
		case errors.Is(err, sdk.ErrNoAnswer):
			o.fail("a feed that there is not has no answer: %s", k.watch.shown(err))
		}
		results, err := s.fetch([]sdk.Ref{{Kind: "kit-no-such-resource", ID: "1"}})
		if err == nil && len(results) == 1 && results[0].Err == nil {
			o.fail("a resource that there is not gives a result without an error")
		}
		if errors.Is(err, sdk.ErrNoAnswer) {
			o.fail("a resource that there is not has no answer: %s", k.watch.shown(err))
		}
	})
}

func checkPages(k *kit, o *outcome) {
	o.checked()
	changes := 0
	for _, r := range k.readings {
		changes += len(r.changes)
		if problem := r.versions(); problem != "" {
			o.fail("%s", problem)
		}
		if r.feed.Class == sdk.Timestamp && r.feed.Precision <= 0 {
			o.fail("feed %s is one of timestamps and has no Precision", r.feed.Name)
		}
		if len(r.changes) == 0 {
			o.unchecked("feed %s lists nothing", r.feed.Name)
		}
	}
	if changes == 0 && len(k.readings) > 0 {
		o.unchecked("there is no change to look at")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, text := range k.contract {
		o.fail("%s", text)
	}
}

func checkQueue(k *kit, o *outcome) {
	queues := k.feeds(sdk.Queue)
	switch {
	case len(queues) == 0:
		o.inapplicable("the source has no feed of class queue")
	case !k.o.Consume:
		o.unchecked("it would take away what is in the queues, and that is not allowed (--consume, Options.Consume)")
	default:
		for _, f := range queues {
			k.queue(o, f)
		}
	}
}

// taking is the first query after a start, which takes from a queue.
func taking(f sdk.Feed, start time.Time) sdk.Query {
	return sdk.Query{Feed: f.Name, Start: sdk.Start{At: start}, Recover: true}
}

// queue reads up to the first page that holds something, does not commit that page, as an engine that is killed does not, and reads again
// from what was committed before it.
func (k *kit) queue(o *outcome, f sdk.Feed) {
	from := taking(f, k.o.Start)
	read := func(tell string, enough func(*reading) bool) *reading {
		p, err := k.start()
		if err != nil {
			o.fail("another process does not start: %v", err)
			return nil
		}
		defer p.End() // without Close
		s, err := k.open(p, k.main)
		if err != nil {
			o.fail("Open: %s", k.watch.shown(err))
			return nil
		}
		r, err := s.readUntil(from, enough)
		if err != nil {
			o.fail("%s: %s", tell, k.watch.shown(err))
			return nil
		}
		return r
	}
	first := read("the first reading", func(r *reading) bool { return len(r.changes) > 0 })
	if first == nil {
		return
	}
	if len(first.changes) == 0 {
		o.unchecked("feed %s gives nothing; put something into the queue before the test", f.Name)
		return
	}
	o.checked()
	k.collect(first)
	from = first.queries[len(first.queries)-1]
	from.Recover = true // as after each start
	for n := range 2 {
		again := read("reading again what was not acknowledged", func(r *reading) bool { return lacking(f, first.changes, r.changes) == 0 })
		if again == nil {
			return
		}
		if missing := lacking(f, first.changes, again.changes); missing > 0 {
			o.fail("feed %s: read again (%d) with Recover, %d of %d changes that were never acknowledged are missing", f.Name, n+1, missing, len(first.changes))
		}
	}
	k.with(o, k.second, func(s *source) {
		last, err := s.read(from)
		if err != nil {
			o.fail("%s", k.watch.shown(err))
			return
		}
		for _, p := range last.pages {
			for range 2 { // the engine may not know that the first one arrived
				if len(p.Ack) == 0 {
					continue
				}
				ctx, cancel := k.timeout()
				err := s.Ack(ctx, f.Name, p.Ack)
				cancel()
				if err != nil {
					o.fail("Ack, which may come twice: %s", k.watch.shown(err))
				}
			}
		}
	})
}
