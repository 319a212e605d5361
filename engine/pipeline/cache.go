// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// cache remembers what was fetched: for one window, so that a ref that many want is asked for once, and across windows what may
// be that old. It is bounded in bytes; what came first goes first, to be fetched again should it be wanted again.
type cache struct {
	max, size int
	results   map[sdk.Ref]cached
	order     []sdk.Ref
}

type cached struct {
	sdk.Result
	at time.Time
}

func newCache(maxBytes int) *cache { return &cache{max: maxBytes, results: map[sdk.Ref]cached{}} }

// get gives what was fetched at an instant or after it.
func (c *cache) get(ref sdk.Ref, since time.Time) (sdk.Result, bool) {
	r, ok := c.results[ref]
	if !ok || r.at.Before(since) {
		return sdk.Result{}, false
	}
	return r.Result, true
}

func (c *cache) put(r sdk.Result, at time.Time) {
	if old, ok := c.results[r.Ref]; ok {
		c.size -= resultSize(old.Result)
	} else {
		c.order = append(c.order, r.Ref)
	}
	c.results[r.Ref] = cached{r, at}
	c.size += resultSize(r)
	for c.size > c.max && len(c.order) > 1 {
		c.size -= resultSize(c.results[c.order[0]].Result)
		delete(c.results, c.order[0])
		c.order = c.order[1:]
	}
}

func resultSize(r sdk.Result) int { return len(r.Data) + len(r.Ref.ID) + 256 }
