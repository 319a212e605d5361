// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

// Again makes of a record, as it was committed with a row, what is to be committed of it by the deliver blocks of today: an entry for
// each that wants it. Details are fetched first when fetch is set, which needs a Source; else r has them. The ids are those that a
// first mapping would have given. The error says why nothing can be made of it, and may be shown; previous is the record before, or nil.
func (p *Pipeline) Again(ctx context.Context, r, previous *record.Record, row store.Row, fetch bool, now time.Time) ([]record.Entry, error) {
	w := &window{Pipeline: p, begin: now, fetched: newCache(fetchCache), stats: new(stats)}
	it := w.item(r.Change, row)
	it.rec, it.before = r, previous
	if fetch {
		it.rec.Fetched = nil
		ctx, cancel := context.WithTimeout(ctx, p.Timeout)
		defer cancel()
		if err := contain(func() error { return w.enrich(ctx, []*item{it}, w.witness) }); err != nil {
			return nil, showable(err)
		}
	}
	if it.open() {
		if err := contain(func() error { return w.mapItem(ctx, it) }); err != nil {
			return nil, showable(err)
		}
		w.order([]*item{it})
	}
	if it.waits != nil {
		return nil, showable(safe(it.waits))
	}
	made := w.render(it)
	for _, d := range made.Dead {
		return nil, failf("%s", d.Cause.Text)
	}
	return made.Entries, nil
}
