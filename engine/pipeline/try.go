// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Outcome is what one deliver block makes of a record: a body, a cause, or neither.
type Outcome struct {
	Deliver     string
	Destination string
	Key         string // ordering key
	Body        []byte // nil: nothing is to be sent
	Unwanted    bool   // the block's filter does not hold, so that its mapping was not called
	Cause       *record.Cause
}

// Try takes one record through filter, order_by and mapping of each deliver block, as a poll at an instant would after its
// fetches. It asks no source and keeps nothing. What no fetch block of the pipeline could have fetched is an error, and what the
// record does not have of those is null, as it is when there was nothing to fetch. previous is the record before, or nil; a pipeline
// that does not keep any may have none.
func (p *Pipeline) Try(ctx context.Context, r, previous *record.Record, now time.Time) ([]Outcome, error) {
	fetched := make(map[string]json.RawMessage, len(p.Fetches))
	for _, f := range p.Fetches {
		fetched[f.Name] = json.RawMessage("null")
	}
	for label, data := range r.Fetched {
		if _, known := fetched[label]; !known {
			return nil, failf("the record has something fetched that pipeline %s has no fetch block for; it has %d: %s", p.Name,
				len(p.Fetches), strings.Join(slices.Sorted(maps.Keys(fetched)), ", "))
		}
		fetched[label] = data
	}
	if (r.Parent != nil) != (p.Expand != nil) {
		return nil, failf("a record has a parent if, and only if, its pipeline has an expand block (pipeline %s)", p.Name)
	}
	if previous != nil && !p.KeepPrevious {
		return nil, failf("pipeline %s has no keep_previous, so its mappings never get a record before", p.Name)
	}
	outcomes := make([]Outcome, len(p.Delivers))
	for i, d := range p.Delivers {
		one := *p // a block that takes too long hides those after it
		one.Delivers, one.attempts = p.Delivers[i:i+1], nil
		w := &window{Pipeline: &one, begin: now, stats: new(stats)}
		it := w.item(r.Change, store.Row{Ref: r.Change.Ref})
		it.rec, it.before = &record.Record{Change: r.Change, Parent: r.Parent, Fetched: fetched}, previous
		if err := contain(func() error { return w.mapItem(ctx, it) }); err != nil {
			return nil, err
		}
		w.order([]*item{it})
		out := it.outcomes[0]
		if it.waits != nil { // for another try, and this is the only one
			out.fail("script", fmt.Sprintf("deliver %q: %s", d.Name, sdk.Safe(it.waits).Text), "")
		}
		outcomes[i] = Outcome{d.Name, d.Destination, out.key, out.body, out.unwanted, out.cause}
	}
	return outcomes, nil
}
