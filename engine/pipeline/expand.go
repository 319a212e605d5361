// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// Expand makes changes of the children of what the feed lists. Paths are into the answer and, beside Items, into a child.
type Expand struct {
	Name     string // kind of the children
	Resource string
	ID       Expr // over the parent; not present: no children
	Items    []string
	Key      []string
	Version  []string // nil: only the data tell whether a child is new
	Time     []string // RFC 3339; nil: not known
}

// expandTogether is how many parents are expanded together: each may have many children.
const expandTogether = 32

// process takes the new changes of a page on, or their children, and moves the position.
func (w *window) process(ctx context.Context, fresh []*item, next store.Position) error {
	if w.Expand == nil {
		return w.work(ctx, fresh, &next)
	}
	return w.expandAll(ctx, fresh, next)
}

// expandAll expands the new parents of a page and works on their children as on changes. A parent's row says that its state was
// worked off, so it is committed after its children; the position goes with the last ones.
//
// Invariant 1: a parent one of whose children has to be tried again has no new row, and the position stays before it.
func (w *window) expandAll(ctx context.Context, parents []*item, next store.Position) error {
	w.known = nil // parents are not mapped
	w.stats.fresh -= len(parents)
	w.stats.expanded += len(parents)
	page := newVerdict(len(w.worked))
	for more := true; more && !page.hopeless; {
		batch := parents[:min(expandTogether, len(parents))]
		parents = parents[len(batch):]
		more = len(parents) > 0
		children, err := w.expand(ctx, batch)
		if err != nil {
			return err
		}
		page.count(w, batch)
		if err := w.judgeBatch(ctx, page, batch); err != nil {
			return err
		}
		if err := w.workChildren(ctx, batch, children, more); err != nil {
			return err
		}
		var position *store.Position
		if !more && page.waiting == nil {
			position = &next
		}
		if err := w.commitItems(ctx, batch, position); err != nil {
			return err
		}
		clear(batch)
	}
	return page.waiting
}

// expand asks for the children of parents, anew each time: what an earlier page had asked for may be older than the parent. A
// parent whose children could not be had is left with the reason; the error is that of a call that failed as a whole.
func (w *window) expand(ctx context.Context, parents []*item) (map[*item][]sdk.Change, error) {
	step, where := w.expandStep(), w.stepName(w.expandStep())
	w.polled = time.Now() // of the page that the children are
	w.received(parents)
	asked := map[*item]sdk.Ref{}
	var refs []sdk.Ref
	got := map[sdk.Ref]sdk.Result{}
	for _, it := range parents {
		if !it.open() {
			continue
		}
		id, present, err := evaluate(w.Expand.ID, it.rec)
		switch {
		case err != nil && !bare(it.rec):
			it.blame(step, record.StageFetch, &sdk.Error{Code: "expression", Text: err.Error()}, where)
		case present:
			ref := sdk.Ref{Kind: w.Expand.Resource, ID: id}
			asked[it] = ref
			if _, twice := got[ref]; !twice {
				refs = append(refs, ref)
			}
			got[ref] = sdk.Result{}
		}
	}
	if len(refs) > 0 {
		results, err := w.fetchApart(ctx, refs, []sdk.Ref{w.witness[step-w.fetchStep(0)]})
		if err != nil {
			return nil, err
		}
		for _, r := range results {
			got[r.Ref] = r
		}
	}
	children := map[*item][]sdk.Change{}
	for it, ref := range asked {
		r := got[ref]
		var list []sdk.Change
		err := r.Err
		if err == nil {
			list, err = w.Expand.children(r.Data)
		}
		switch code := sdk.CodeOf(err); {
		case err == nil:
			children[it] = list
			it.asked[step-w.fetchStep(0)] = ref
			it.pass(step)
		case it.rec.Change.Op == sdk.Deleted && gone(code):
			it.miss(step)
		case definitive(code):
			it.blame(step, record.StageFetch, sdk.Safe(err), where)
		default:
			it.waits, it.waitStep = err, step
		}
	}
	return children, nil
}

// workChildren takes the children of those parents that could be expanded through all steps. The error says, too, that a child
// has to be tried again.
func (w *window) workChildren(ctx context.Context, parents []*item, children map[*item][]sdk.Change, more bool) error {
	kids := &window{
		Pipeline: w.Pipeline, begin: w.begin, polled: w.polled, from: w.from, since: w.since, more: w.more || more, fetched: w.fetched, stats: w.stats, trace: w.trace,
		info: sdk.Feed{Kind: w.Expand.Name, Class: sdk.Timestamp, Version: sdk.Coarse}, parents: map[sdk.Ref]*sdk.Change{},
	}
	var page sdk.Page
	for _, it := range parents {
		if it.waits != nil {
			continue
		}
		for _, c := range children[it] {
			c = kids.readable(c)
			page.Changes = append(page.Changes, c)
			if kids.parents[c.Ref] == nil {
				kids.parents[c.Ref] = &it.rec.Change
			}
		}
	}
	w.stats.children += len(page.Changes)
	fresh, err := kids.sieve(ctx, page)
	if err != nil {
		return err
	}
	if err := kids.prime(ctx); err != nil {
		return err
	}
	return kids.work(ctx, fresh, nil)
}

// children reads the children in an answer. A child that can't be read is a change with an error; an answer without the list is
// an error.
func (x *Expand) children(data json.RawMessage) ([]sdk.Change, error) {
	list, found := rawjson.Get(data, x.Items...)
	if !found || list[0] != '[' && !rawjson.IsNull(list) {
		return nil, sdk.Permanent("there is no list at %q in the answer", strings.Join(x.Items, "."))
	}
	var children []sdk.Change
	for raw := range rawjson.Elements(list) {
		children = append(children, x.child(raw))
	}
	return children, nil
}

func (x *Expand) child(raw []byte) sdk.Change {
	at := func(path []string) string {
		if path == nil {
			return ""
		}
		value, _ := rawjson.Get(raw, path...)
		text, _ := rawjson.Text(value)
		return text
	}
	c := sdk.Change{Ref: sdk.Ref{Kind: x.Name, ID: at(x.Key)}, Version: at(x.Version), Op: sdk.Upsert, Data: raw}
	if c.Ref.ID == "" {
		c.Err = sdk.Permanent("a child has no identifier at %q", strings.Join(x.Key, "."))
	}
	if text := at(x.Time); text != "" {
		var err error
		if c.Time, err = time.Parse(time.RFC3339, text); err != nil {
			c.Err = sdk.Permanent("the time of a child at %q is not written as RFC 3339", strings.Join(x.Time, "."))
		}
	}
	return c
}
