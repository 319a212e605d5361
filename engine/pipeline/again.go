// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
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

// IsParent says whether a change is one of those that the pipeline expands, which are never mapped themselves.
func (p *Pipeline) IsParent(c sdk.Change) bool { return p.Expand != nil && c.Ref.Kind != p.Expand.Name }

// ExpandAgain lets the loop that runs ask once more for the children of a parent that is a dead letter, and work on them as when the parent is
// new: those that are new are committed with their rows. The error says why it can't, or that it fails again, and its text may be shown.
func (p *Pipeline) ExpandAgain(ctx context.Context, parent sdk.Change) (Counts, error) {
	return p.ask(ctx, &parent)
}

func (p *Pipeline) expandAgain(ctx context.Context, parent sdk.Change) (stats, error) {
	info, err := p.describe(ctx)
	if err != nil {
		return stats{}, err
	}
	w := p.begin(ctx, info)
	pos := w.feed.Position()
	w.since = w.startOf(pos, sdk.Page{})
	rows, err := w.rows(ctx, []sdk.Ref{parent.Ref})
	if err != nil {
		return stats{}, err
	}
	row, known := rows[parent.Ref]
	if !known {
		return stats{}, failf("there is no row of the record any more")
	}
	it := w.item(parent, row)
	w.stats.fresh = 1 // which expandAll takes for a parent
	err = w.expandAll(ctx, []*item{it}, pos)
	w.tell()
	if err == nil && it.cause != nil {
		err = failf("%s", it.cause.Text)
	}
	return *w.stats, err
}
