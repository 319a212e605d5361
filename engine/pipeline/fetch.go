// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
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
	w.received(batch)
	for _, level := range w.levels {
		wants := w.wanted(batch, level)
		got, err := w.get(ctx, wants, witnesses(witness, level))
		if err != nil {
			return err
		}
		for i := range wants {
			wants[i].settle(w, got)
		}
	}
	return nil
}

// received looks which items of a batch the page gave whole.
func (w *window) received(batch []*item) {
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
}

// want is what one item wishes of one fetch block: one ref, or those of a list, in which the zero ref is for nothing.
type want struct {
	it    *item
	fetch int // index of the fetch block
	refs  []sdk.Ref
	list  bool
}

// wanted collects what the items of a batch wish of one level of fetches. A fetch that has nothing to ask for is settled
// here.
func (w *window) wanted(batch []*item, level []int) []want {
	var wants []want
	for _, it := range batch {
		for _, i := range level {
			if !it.open() {
				break
			}
			if it.rec.Fetched == nil {
				it.rec.Fetched = make(map[string]json.RawMessage, len(w.Fetches))
			}
			f := &w.Fetches[i]
			it.rec.Fetched[f.Name] = json.RawMessage("null")
			ids, asked, err := f.ids(it.rec)
			if err != nil {
				it.blame(w.fetchStep(i), record.StageFetch, &sdk.Error{Code: "expression", Text: err.Error()}, w.stepName(w.fetchStep(i)))
				continue
			}
			if !asked {
				continue
			}
			x := want{it: it, fetch: i, list: f.ForEach != nil, refs: make([]sdk.Ref, len(ids))}
			for n, id := range ids {
				if id != "" {
					x.refs[n] = sdk.Ref{Kind: f.Resource, ID: id}
				}
			}
			wants = append(wants, x)
		}
	}
	return wants
}

// ids evaluates what a fetch asks for; not asked: nothing.
//
// What a deletion without data does not tell is not there: its expressions can't fail.
func (f *Fetch) ids(r *record.Record) (ids []string, asked bool, err error) {
	err = contain(func() error {
		if f.When != nil {
			if yes, err := f.When.EvalBool(r); !yes || err != nil {
				return err
			}
		}
		if f.ForEach != nil {
			ids, err = f.ForEach.EvalList(r)
			asked = true
			if err == nil && len(ids) > maxList {
				err = failf("the list has %d ids; one record fetches at most %d", len(ids), maxList)
			}
			return err
		}
		id, present, err := f.ID.Eval(r)
		asked = present && id != ""
		ids = []string{id}
		return err
	})
	if err != nil && bare(r) {
		return nil, false, nil
	}
	return ids, asked && err == nil, err
}

// bare says that the record is a deletion of which nothing else is told.
func bare(r *record.Record) bool {
	return r.Change.Op == sdk.Deleted && rawjson.IsNull(r.Change.Data)
}

// settled says when the second is over, or what else the feed's precision is, in which the newest of a page's changes was made whose own
// details are fetched; zero: it is, or there is none. What changes within it once more has the same version by then, and where the data
// tell no more than that something changed, the same data: it would never be told. So its details are fetched afterwards, and have both
// changes in them.
//
// A precision of more than a second can't be waited for.
func (w *window) settled(fresh []*item, now time.Time) (due time.Time) {
	unit := w.info.Precision
	if unit <= 0 || unit > time.Second {
		return due
	}
	if now.IsZero() {
		now = w.polled
	}
	for _, it := range fresh {
		c := it.rec.Change
		finer := !c.Time.Equal(c.Time.Truncate(unit)) // than is said: two changes have two times
		if left := c.Time.Add(unit).Sub(now); !finer && left > 0 && w.versionKind(c) != sdk.Exact && w.asksForItself(it.rec) {
			// A server whose clock is cut to the second is up to a unit farther, and one whose records are dated by another clock is anywhere.
			if at := w.polled.Add(min(left, 2*unit)); at.After(due) {
				due = at
			}
		}
	}
	return due
}

// asksForItself says whether what is fetched for a change is of the record itself, by its id, and not of others (the patient of an
// appointment), which have changes of their own.
func (w *window) asksForItself(r *record.Record) bool {
	if w.Expand != nil {
		return true
	}
	return slices.ContainsFunc(w.Fetches, func(f Fetch) bool {
		ids, _, _ := (&Fetch{ID: f.ID, ForEach: f.ForEach}).ids(r) // one that needs what is not fetched yet asks for others
		return slices.ContainsFunc(ids, func(id string) bool { return within(r.Change.Ref.ID, id) })
	})
}

// within says whether an id is another one or a part of it, as of Appointment/7.
func within(id, whole string) bool {
	letter := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	for at := 0; id != ""; {
		i := strings.Index(whole[at:], id)
		if i < 0 {
			return false
		}
		begin, end := at+i, at+i+len(id)
		before, _ := utf8.DecodeLastRuneInString(whole[:begin])
		after, _ := utf8.DecodeRuneInString(whole[end:])
		if !letter(before) && !letter(after) {
			return true
		}
		at = begin + 1
	}
	return false
}

// get gives what the wants ask for. What this window has not fetched yet, and what may be remembered longer does not hold, is
// fetched, each ref once. The error is that of a call that failed as a whole.
//
// A record that is known may have changed earlier in this window, and what was fetched then is older than its change: for it counts
// what was fetched since the page was read, and so does, for all, that there is nothing.
func (w *window) get(ctx context.Context, wants []want, witnesses []sdk.Ref) (map[sdk.Ref]sdk.Result, error) {
	var missing []sdk.Ref
	got := make(map[sdk.Ref]sdk.Result)
	since := make(map[sdk.Ref]time.Time)
	for _, x := range wants {
		for _, ref := range x.refs {
			if x.it.row.Generation > 1 {
				since[ref] = w.polled
			}
		}
	}
	for _, x := range wants {
		for _, ref := range x.refs {
			if _, asked := got[ref]; asked || ref == (sdk.Ref{}) {
				continue
			}
			r, cached := w.fetched.get(ref, since[ref])
			if r.Err != nil {
				r, cached = w.fetched.get(ref, w.polled)
			}
			if age := w.Fetches[x.fetch].Cache; !cached && age > 0 {
				r, cached = w.kept.get(ref, w.begin.Add(-age))
			}
			if !cached {
				missing = append(missing, ref)
			}
			got[ref] = r
		}
	}
	for part := range slices.Chunk(missing, batchRecords) {
		results, err := w.fetchApart(ctx, part, witnesses)
		if err != nil {
			return nil, err
		}
		for _, r := range results {
			got[r.Ref] = r
			if r.Err == nil || definitive(sdk.CodeOf(r.Err)) {
				w.fetched.put(r, w.polled)
			}
			if r.Err == nil && w.keeps(r.Ref.Kind) {
				w.kept.put(r, w.begin)
			}
		}
	}
	return got, nil
}

// keeps says whether some fetch takes a resource's records from an earlier window.
func (p *Pipeline) keeps(resource string) bool {
	return slices.ContainsFunc(p.Fetches, func(f Fetch) bool { return f.Cache > 0 && f.Resource == resource })
}

// settle gives the item what was fetched, or the reason why it was not. A step is passed when something was found.
func (x *want) settle(w *window, got map[sdk.Ref]sdk.Result) {
	step, f := w.fetchStep(x.fetch), &w.Fetches[x.fetch]
	data := make([]json.RawMessage, len(x.refs))
	for i, ref := range x.refs {
		data[i] = json.RawMessage("null")
		if ref == (sdk.Ref{}) {
			continue
		}
		r := got[ref]
		code := sdk.CodeOf(r.Err)
		switch {
		case r.Err == nil:
			data[i] = r.Data
			x.it.asked[x.fetch] = ref
			x.it.pass(step)
		case gone(code) && (x.it.rec.Change.Op == sdk.Deleted || f.OnMissing == DeliverMissing):
			x.it.miss(step)
		case gone(code) && f.OnMissing == SkipMissing:
			x.it.miss(step)
			x.it.skipped = true
		case definitive(code) && f.Optional:
			x.it.miss(step)
		case definitive(code):
			x.it.blame(step, record.StageFetch, sdk.Safe(r.Err), w.stepName(step))
			return
		default:
			if x.it.open() {
				x.it.waits, x.it.waitStep = r.Err, step
			}
			return
		}
	}
	if x.list {
		x.it.rec.Fetched[f.Name], _ = json.Marshal(data) // valid JSON each: fetch looked
		return
	}
	x.it.rec.Fetched[f.Name] = data[0]
}

// blame makes the item a dead letter, unless it is one already or filtered out.
func (it *item) blame(step int, stage record.Stage, e *sdk.Error, where string) {
	if it.cause != nil || it.skipped {
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
func (w *window) fetch(ctx context.Context, refs []sdk.Ref) (_ []sdk.Result, err error) {
	ctx, span := w.span(ctx, "fetch", attribute.StringSlice("rounds.resources", resources(refs)), attribute.Int("rounds.records", len(refs)))
	defer func() { end(span, err) }()
	began := time.Now()
	var results []sdk.Result
	err = w.call(ctx, func(ctx context.Context) (err error) {
		results, err = w.Source.Fetch(ctx, refs)
		return err
	})
	if !stopped(ctx) {
		w.answered(refs, results, err, time.Since(began))
	}
	if err != nil {
		return nil, ofRecord(safe(err))
	}
	if len(results) != len(refs) {
		return nil, failf("the adapter gave %d results for %d refs (source %s); this is a defect of the adapter", len(results), len(refs), w.SourceName)
	}
	size := 0
	for i := range results {
		size += len(results[i].Data)
		results[i].Ref = refs[i]
		if r := &results[i]; r.Err == nil && !rawjson.Valid(r.Data) {
			r.Err = sdk.Permanent("the adapter gave no valid JSON")
		} else {
			r.Err = ofRecord(r.Err)
		}
	}
	w.weigh(size)
	w.stats.fetched += len(refs)
	return results, nil
}
