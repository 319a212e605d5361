// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// pass is one reading of a window's pages, from the first to the last. Where pages shift while they are read, what leaves
// its place moves up all that stands behind it, so that an item at a border slips onto a page that was read before.
type pass struct {
	before    *pass     // the one before it in this window
	whole     bool      // read from the window's first page on, in one go
	begun     time.Time // by the server's clock, when the first page was answered; zero: it does not tell
	watermark []byte    // that its last page gave
	unseen    bool      // something unseen was shown
	late      bool      // of that, something was there before the pass before it was begun, as far as is known
	since     int       // of that, changes that were made since the pass before it was begun
	during    int       // of that, changes that were made since this pass was begun
	page      int       // changes on its smallest page, the last one aside; 0: there was no other
}

// showed takes note of a page and of what was unseen on it.
func (p *pass) showed(page sdk.Page, fresh []*item, primed []store.Row) {
	if p.begun.IsZero() && p.page == 0 {
		p.begun = page.Now
	}
	p.watermark = page.Watermark
	if n := len(page.Changes); len(page.Cursor) > 0 && (p.page == 0 || n < p.page) {
		p.page = max(n, 1)
	}
	p.unseen = p.unseen || len(fresh)+len(primed) > 0
	p.late = p.late || len(primed) > 0
	for _, it := range fresh {
		at := it.rec.Change.Time
		if !p.begun.IsZero() && at.After(p.begun) {
			p.during++
		}
		if p.before != nil && !p.before.begun.IsZero() && at.After(p.before.begun) {
			p.since++
		} else {
			p.late = true
		}
	}
}

// complete gives the watermark up to which certainly all was shown; nil: the window has to be read again.
//
// A pass that shows nothing unseen was not disturbed. A feed that never rests has no such pass. But what is made since the
// pass before was begun is beyond that one's watermark, and each such change moves the others by one place: what slipped
// past a border of two pages in both passes came from one border to the next, and for that as many changes are needed as a
// page holds.
func (p *pass) complete() []byte {
	switch {
	case !p.whole:
		return nil
	case !p.unseen:
		return p.watermark
	case p.before == nil || !p.before.whole || p.late || 2*(p.before.during+p.since) >= min(p.before.page, p.page):
		return nil
	}
	return p.before.watermark
}

// next begins the pass after this one.
func (p *pass) next() *pass {
	p.before = nil
	return &pass{before: p, whole: true}
}
