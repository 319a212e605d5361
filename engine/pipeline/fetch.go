// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// fetchLevels orders fetches, given by index, so that each comes after those it needs; those of one level don't need each
// other.
func fetchLevels(fetches []Fetch) ([][]int, error) {
	var levels [][]int
	done := map[string]bool{}
	for len(done) < len(fetches) {
		var level []int
		for i, f := range fetches {
			if !done[f.Name] && !slices.ContainsFunc(f.Needs, func(n string) bool { return !done[n] }) {
				level = append(level, i)
			}
		}
		if len(level) == 0 {
			return nil, errors.New("some fetches need each other in a circle, or need one that does not exist")
		}
		for _, i := range level {
			done[fetches[i].Name] = true
		}
		levels = append(levels, level)
	}
	return levels, nil
}

// enrich fetches what the items of a batch ask for. What could not be had is left with its item; the error is that of a call
// that failed as a whole. witness is what each fetch got last.
func (w *window) enrich(ctx context.Context, batch []*item, witness []sdk.Ref) error {
	for _, it := range batch {
		switch err := ofRecord(it.rec.Change.Err); {
		case err == nil:
			it.pass(pollStep)
		case definitive(sdk.CodeOf(err)):
			it.blame(pollStep, record.StagePoll, sdk.Safe(err), w.stepName(pollStep))
		default:
			it.waits, it.waitStep = err, pollStep
		}
	}
	for _, level := range w.levels {
		wants, err := w.wants(ctx, batch, level, witness)
		if err != nil {
			return err
		}
		for _, x := range wants {
			x.settle(w)
		}
	}
	return nil
}

// want is one item's wish for one ref, and what came of it.
type want struct {
	it    *item
	fetch int // index of the fetch block
	ref   sdk.Ref
	got   sdk.Result
}

// wants collects the refs of one level of fetches and has those fetched that this window has not fetched yet, each once.
func (w *window) wants(ctx context.Context, batch []*item, level []int, witness []sdk.Ref) ([]want, error) {
	var wants []want
	var missing []sdk.Ref
	got := make(map[sdk.Ref]sdk.Result)
	for _, it := range batch {
		for _, i := range level {
			if it.cause != nil || it.waits != nil {
				break
			}
			f := &w.Fetches[i]
			if it.rec.Fetched == nil {
				it.rec.Fetched = make(map[string]json.RawMessage, len(w.Fetches))
			}
			id, present, err := evaluate(f.ID, it.rec)
			switch {
			case err != nil:
				it.blame(w.fetchStep(i), record.StageFetch, &sdk.Error{Code: "expression", Text: err.Error()}, w.stepName(w.fetchStep(i)))
				continue
			case !present:
				it.rec.Fetched[f.Name] = json.RawMessage("null")
				continue
			}
			ref := sdk.Ref{Kind: f.Resource, ID: id}
			it.asked[i] = ref
			wants = append(wants, want{it: it, fetch: i, ref: ref})
			if _, asked := got[ref]; asked {
				continue
			}
			r, cached := w.fetched.get(ref)
			if !cached {
				missing = append(missing, ref)
			}
			got[ref] = r
		}
	}
	for part := range slices.Chunk(missing, batchRecords) {
		results, err := w.fetchApart(ctx, part, witnesses(witness, level))
		if err != nil {
			return nil, err
		}
		for _, r := range results {
			got[r.Ref] = r
			if r.Err == nil || definitive(sdk.CodeOf(r.Err)) {
				w.fetched.put(r)
			}
		}
	}
	for i := range wants {
		wants[i].got = got[wants[i].ref]
	}
	return wants, nil
}

// settle gives the item what was fetched, or the reason why it was not.
func (x *want) settle(w *window) {
	step := w.fetchStep(x.fetch)
	switch err := x.got.Err; {
	case err == nil:
		x.it.rec.Fetched[w.Fetches[x.fetch].Name] = x.got.Data
		x.it.pass(step)
	case x.it.rec.Change.Op == sdk.Deleted && gone(sdk.CodeOf(err)):
		x.it.rec.Fetched[w.Fetches[x.fetch].Name] = json.RawMessage("null") // neither passed nor failed: it tells nothing of the step
	case definitive(sdk.CodeOf(err)):
		x.it.blame(step, record.StageFetch, sdk.Safe(err), w.stepName(step))
	case x.it.cause == nil && x.it.waits == nil:
		x.it.waits, x.it.waitStep = err, step
	}
}

// blame makes the item a dead letter, unless it is one already.
func (it *item) blame(step int, stage record.Stage, e *sdk.Error, where string) {
	if it.cause != nil {
		return
	}
	it.fail(step)
	it.cause = &record.Cause{Stage: stage, Code: string(e.Code), Text: where + ": " + e.Error(), Attempts: 1}
}

// gone says that the server no longer has what was asked for, as is to be expected of what belonged to a deleted record.
func gone(c sdk.Code) bool { return c == sdk.CodeNotFound || c == sdk.CodeGone }

// ofRecord is an error about records. What says that a cursor or a watermark expired means something of a poll only.
func ofRecord(err error) error {
	switch sdk.CodeOf(err) {
	case sdk.CodeCursorExpired, sdk.CodeWatermarkExpired:
		return sdk.Permanent("%s", sdk.Safe(err).Text)
	}
	return err
}

// definitive says that asking again does not help.
func definitive(c sdk.Code) bool {
	switch c {
	case sdk.CodeNotFound, sdk.CodeGone, sdk.CodeForbidden, sdk.CodePermanent:
		return true
	}
	return false
}

// witnesses are what could be fetched last by each fetch of a level.
func witnesses(witness []sdk.Ref, level []int) []sdk.Ref {
	var refs []sdk.Ref
	for _, i := range level {
		refs = append(refs, witness[i])
	}
	return refs
}

// fetchApart fetches refs in one call. When that fails as a whole, and the server answers all the same for one of witnesses or
// for a ref alone, something among the refs makes it fail, such as an answer that is too large or that the adapter panics at:
// then they are asked for in ever smaller calls, until what fails stands alone, with its error.
func (w *window) fetchApart(ctx context.Context, refs []sdk.Ref, witnesses []sdk.Ref) ([]sdk.Result, error) {
	results, err := w.fetch(ctx, refs)
	switch code := sdk.CodeOf(err); {
	case err == nil, ctx.Err() != nil, code != sdk.CodeRetryable && code != sdk.CodePermanent:
		return results, err
	case len(refs) == 1:
		return []sdk.Result{{Ref: refs[0], Err: err}}, nil
	}
	if first := witnesses != nil; first && !slices.ContainsFunc(append(witnesses, refs[0], refs[len(refs)-1]), func(r sdk.Ref) bool { return w.answers(ctx, r) }) {
		return nil, err
	} else if first {
		w.log.Warn("a call for several records failed as a whole; they are asked for in smaller calls", "records", len(refs), "error", text(err))
	}
	for _, half := range [][]sdk.Ref{refs[:len(refs)/2], refs[len(refs)/2:]} {
		part, err := w.fetchApart(ctx, half, nil)
		if err != nil {
			return nil, err
		}
		results = append(results, part...)
	}
	return results, nil
}

// fetch makes one call to the adapter.
func (w *window) fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	results, err := w.Source.Fetch(ctx, refs)
	if err != nil {
		return nil, ofRecord(safe(err))
	}
	if len(results) != len(refs) {
		return nil, failf("the adapter gave %d results for %d refs (source %s); this is a defect of the adapter", len(results), len(refs), w.SourceName)
	}
	for i := range results {
		results[i].Ref = refs[i]
		if r := &results[i]; r.Err == nil && !json.Valid(r.Data) {
			r.Err = sdk.Permanent("the adapter gave no valid JSON")
		} else {
			r.Err = ofRecord(r.Err)
		}
	}
	w.stats.fetched += len(refs)
	return results, nil
}

// cache remembers what this window fetched, so that each distinct ref is asked for once. It is bounded in bytes; the oldest
// go first, to be fetched again should they be wanted again.
type cache struct {
	max, size int
	results   map[sdk.Ref]sdk.Result
	order     []sdk.Ref
}

func newCache(maxBytes int) cache { return cache{max: maxBytes, results: map[sdk.Ref]sdk.Result{}} }

func (c *cache) get(ref sdk.Ref) (sdk.Result, bool) {
	r, ok := c.results[ref]
	return r, ok
}

func (c *cache) put(r sdk.Result) {
	if _, ok := c.results[r.Ref]; ok {
		return
	}
	c.results[r.Ref] = r
	c.order = append(c.order, r.Ref)
	c.size += resultSize(r)
	for c.size > c.max && len(c.order) > 1 {
		c.size -= resultSize(c.results[c.order[0]])
		delete(c.results, c.order[0])
		c.order = c.order[1:]
	}
}

func resultSize(r sdk.Result) int { return len(r.Data) + len(r.Ref.ID) + 256 }
