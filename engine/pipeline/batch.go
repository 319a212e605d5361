// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// work takes the new changes of a page through fetch, map and commit, batch by batch, and moves the position with the last
// one. The position stays when something of the page has to be tried again.
//
// Invariant 1: the position is committed here and nowhere else, with the page's last batch, when every other change of the
// page is committed: as entries, as a dead letter, or filtered.
func (w *window) work(ctx context.Context, fresh []*item, next *store.Position) error {
	switch {
	case len(fresh) == 0 && next == nil:
		return nil
	case len(fresh) == 0:
		return w.commit(ctx, store.Batch{Position: next})
	}
	ctx, cancel := context.WithCancel(ctx)
	var ahead func() error // waits for what enrich says of the batch to come
	defer func() {
		cancel()
		if ahead != nil {
			_ = ahead()
		}
	}()

	page := newVerdict(len(w.worked))
	size := min(firstBatch, w.perBatch())
	for len(fresh) > 0 {
		batch := fresh[:min(size, len(fresh))]
		if ahead == nil {
			ahead = w.enrichAhead(ctx, batch)
		}
		fresh, size = fresh[len(batch):], min(2*size, w.perBatch())
		err := ahead()
		ahead = nil
		if err != nil {
			return err
		}
		if len(fresh) > 0 && !refused(batch) {
			ahead = w.enrichAhead(ctx, fresh[:min(size, len(fresh))])
		}
		if err := w.remember(ctx, batch); err != nil {
			return err
		}
		if err := w.mapAll(ctx, batch); err != nil {
			return err
		}
		w.order(batch)
		page.count(w, batch)
		if page.broken(w) && ahead != nil && ahead() == nil {
			w.sample(ctx, page.passed, w.spread(fresh))
		}
		if err := w.judgeBatch(ctx, page, batch); err != nil {
			return err
		}
		var position *store.Position
		if len(fresh) == 0 && page.waiting == nil {
			position = next
		}
		if err := w.commitItems(ctx, batch, position); err != nil {
			return err
		}
		clear(batch) // a large page need not hold what is committed
		if page.hopeless {
			break
		}
	}
	page.remark(w)
	return page.waiting
}

// firstBatch is how many records of a page walk together first. Those are the ones that have waited longest, and arrive the earlier the fewer
// others they wait for; each batch after them is twice as large.
const firstBatch = 16

// perBatch is how many records walk together at most: with a notification each, they fit one commit of the store.
func (p *Pipeline) perBatch() int { return max(min(batchRecords, p.Limits.Items/2), 1) }

// refused says whether the server wants no further calls for now, as by a rate limit.
func refused(batch []*item) bool {
	return slices.ContainsFunc(batch, func(it *item) bool { return it.waits != nil && sdk.CodeOf(it.waits) != sdk.CodeRetryable })
}

// enrichAhead fetches for a batch, beside the work on the one before it.
func (w *window) enrichAhead(ctx context.Context, batch []*item) (wait func() error) {
	done := make(chan error, 1)
	witness := slices.Clone(w.witness) // the batch that is worked on meanwhile gives others
	go func() {
		done <- contain(func() error { return w.enrich(ctx, batch, witness) })
	}()
	w.ahead = sync.OnceValue(func() error { return <-done })
	return w.ahead
}

// spread gives some of the changes that are still to come, from all over the rest of the page. When the first of a page all
// fail in a step, they tell whether all of the page do.
func (w *window) spread(rest []*item) []*item {
	var some []*item
	for i := 0; i < len(rest); i += (len(rest) + w.perBatch() - 1) / w.perBatch() {
		some = append(some, w.item(rest[i].rec.Change, rest[i].row))
	}
	return some
}

// sample enriches and maps items that are not to be committed, and counts what they pass, by step.
func (w *window) sample(ctx context.Context, counts []int, some []*item) {
	if w.ahead != nil {
		_ = w.ahead() // one at a time fetches; whoever started it hears of its error
	}
	if w.enrich(ctx, some, w.witness) != nil || w.remember(ctx, some) != nil || w.mapAll(ctx, some) != nil {
		return
	}
	for _, it := range some {
		for step, r := range it.steps {
			if r == passed {
				counts[step]++
			}
		}
	}
}

// mapAll runs the mappings of a batch, Parallel at a time. The error is one that is not of the record.
func (w *window) mapAll(ctx context.Context, batch []*item) (err error) {
	ctx, span := w.span(ctx, "map", attribute.Int("rounds.records", len(batch)))
	defer func() { end(span, err) }()
	var group sync.WaitGroup
	errs := make(chan error, w.Parallel)
	todo := make(chan *item, len(batch))
	for _, it := range batch {
		if it.open() {
			todo <- it
		}
	}
	close(todo)
	for range w.Parallel {
		group.Go(func() {
			for it := range todo {
				if err := contain(func() error { return w.mapItem(ctx, it) }); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	return <-errs
}

// mapItem makes one notification per deliver block. A panic, as of the script engine, is taken for one about this record.
//
// Invariant 5: what a failed mapping leaves is a cause and no body.
func (w *window) mapItem(ctx context.Context, it *item) error {
	it.outcomes = make([]outcome, len(w.Delivers))
	for i := range w.Delivers {
		d, out := &w.Delivers[i], &it.outcomes[i]
		wanted, err := true, error(nil)
		if d.Filter != nil {
			err = contain(func() (err error) {
				wanted, err = d.Filter.EvalBool(it.rec)
				return err
			})
		}
		if wanted && err == nil && d.OrderBy != nil {
			out.key, _, err = evaluate(d.OrderBy, it.rec)
		}
		if err != nil && bare(it.rec) {
			wanted, err = true, nil
		}
		switch {
		case err != nil:
			out.fail("expression", fmt.Sprintf("deliver %q: %v", d.Name, err), "")
			it.fail(w.mapStep(i))
			continue
		case !wanted: // as when the mapping gives nothing
			out.unwanted = true
			w.Meter.Unwanted(d.Name)
			it.pass(w.mapStep(i))
			continue
		}
		var body []byte
		try := func() (err error) {
			began := time.Now()
			body, err = d.Map(ctx, it.rec, MapContext{
				Pipeline: w.Name, Source: w.SourceName, Deliver: d.Name, Now: w.begin, Attempt: w.attempts[it.row.Ref] + 1,
				Previous: it.before,
			})
			if ctx.Err() == nil {
				w.Meter.Mapped(d.Name, mapping(body, err), time.Since(began))
			}
			return err
		}
		err = contain(try)
		var failed *MapError
		if errors.As(err, &failed) && failed.TimedOut && w.worked[w.mapStep(i)] {
			err = contain(try) // at once: a record that has to wait is overtaken by others of its lane
		}
		var panicked *stepError
		switch {
		case errors.As(err, &failed) && failed.TimedOut && w.attempts[it.row.Ref] < maxAttempts-1:
			it.waits, it.waitStep = sdk.Retryable("%s", failed.Text), w.mapStep(i)
			return nil
		case errors.As(err, &failed):
			out.fail("script", fmt.Sprintf("deliver %q: %s", d.Name, failed.Text), failed.Detail)
			out.cause.Attempts += w.attempts[it.row.Ref]
			if !failed.TimedOut { // else other records have shown meanwhile that the step works
				it.fail(w.mapStep(i))
			}
		case errors.As(err, &panicked):
			out.fail("internal", fmt.Sprintf("deliver %q: %v", d.Name, panicked), "")
			it.fail(w.mapStep(i))
		case err != nil:
			return failf("deliver %q could not be mapped: %v", d.Name, sdk.Safe(err))
		default:
			out.body = body
			it.pass(w.mapStep(i))
		}
	}
	return nil
}

func (out *outcome) fail(code, text, detail string) {
	out.cause = &record.Cause{Stage: record.StageMap, Code: code, Text: text, Detail: detail, Attempts: 1}
}

// evaluate evaluates an expression; an empty value is none, and a panic is taken for one about this record.
func evaluate(x Expr, r *record.Record) (value string, present bool, err error) {
	err = contain(func() (err error) {
		value, present, err = x.Eval(r)
		return err
	})
	return value, present && value != "" && err == nil, err
}

// order gives each notification its ordering key: what order_by says; where it says nothing, as of a deletion without data,
// the key of the generation before, so that it stays in its lane. It needs the batch in its order.
func (w *window) order(batch []*item) {
	for _, it := range batch {
		if it.previous != nil {
			it.row.Key = it.previous.row.Key
			it.previous = nil // what is committed need not be held by what comes after it
		}
		own := it.row.Ref.Kind + "/" + it.row.Ref.ID
		keys := keysOf(it.row)
		for i := range it.outcomes {
			d, out := &w.Delivers[i], &it.outcomes[i]
			if d.OrderBy == nil {
				out.key = own
				continue
			}
			out.key = cmp.Or(out.key, keys[d.Name], own)
			keys[d.Name] = out.key
		}
		it.row.Key = joinKeys(keys)
	}
}

// A row keeps the ordering keys of its record as a JSON object, by deliver block; those without order_by have none there.
func keysOf(row store.Row) map[string]string {
	keys := map[string]string{}
	for name, key := range rawjson.Members([]byte(row.Key)) {
		keys[name], _ = rawjson.Text(key)
	}
	return keys
}

func joinKeys(keys map[string]string) string {
	if len(keys) == 0 {
		return ""
	}
	data, _ := json.Marshal(keys) // a map of strings always has a JSON form, sorted by name
	return string(data)
}

// commitItems commits what came of a batch, in as many commits as the store's limits ask for; the position goes with the last
// one. All that belongs to one change is in one commit.
func (w *window) commitItems(ctx context.Context, batch []*item, position *store.Position) error {
	var b store.Batch
	size := 0 // of b at most: of two rows of a record it holds one
	rowOf := map[sdk.Ref]int{}
	for _, it := range batch {
		if it.waits != nil {
			continue
		}
		part := w.render(it)
		if w.tooLarge(part) {
			lean(part)
		}
		if w.tooLarge(part) {
			part = w.oversized(it, part)
		}
		more := part.Size()
		if len(b.Rows) > 0 && (b.Items()+part.Items() > w.Limits.Items/2 || size+more > w.Limits.Bytes/2) {
			if err := w.commit(ctx, b); err != nil {
				return err
			}
			b, size = store.Batch{}, 0
			clear(rowOf)
		}
		size += more
		if i, twice := rowOf[it.row.Ref]; twice {
			b.Rows[i] = it.row
		} else {
			rowOf[it.row.Ref] = len(b.Rows)
			b.Rows = append(b.Rows, it.row)
		}
		b.Entries = append(b.Entries, part.Entries...)
		b.Dead = append(b.Dead, part.Dead...)
	}
	b.Position = position
	if len(b.Rows) > 0 && w.tooLarge(b) {
		b.Position = nil
	}
	if len(b.Rows) > 0 || b.Position != nil {
		if err := w.commit(ctx, b); err != nil {
			return err
		}
	}
	if position != nil && b.Position == nil {
		return w.commit(ctx, store.Batch{Position: position})
	}
	return nil
}

func (w *window) tooLarge(b store.Batch) bool {
	return b.Items() > w.Limits.Items || b.Size() > w.Limits.Bytes
}

// render makes what is to be committed of one change: its row and, per deliver block, an entry, a dead letter or nothing.
//
// Invariant 2: one generation, one call, one entry per deliver block; the row in the same commit keeps it from coming again.
func (w *window) render(it *item) store.Batch {
	b := store.Batch{Rows: []store.Row{it.row}}
	if it.cause != nil {
		b.Dead = append(b.Dead, w.deadLetter(it, "", "", it.cause))
		w.stats.dead++
		return b
	}
	if it.skipped {
		w.stats.skipped++
	}
	for i := range it.outcomes {
		d, out := &w.Delivers[i], &it.outcomes[i]
		switch {
		case out.cause != nil:
			b.Dead = append(b.Dead, w.deadLetter(it, d.Name, out.key, out.cause))
			w.stats.dead++
		case out.body == nil:
			w.stats.filtered++
		default:
			e := record.Entry{
				ID: notificationID(w.Name, &it.row, d), Pipeline: w.Name, Deliver: d.Name, Destination: d.Destination, Key: out.key,
				Ref: it.row.Ref, Version: it.row.Version, Generation: it.row.Generation, Time: it.row.Time, Committed: w.begin, Body: out.body,
				Trace: w.trace,
			}
			if d.KeepRecord {
				e.Record, e.Previous = recordOf(it), previousOf(it)
			}
			b.Entries = append(b.Entries, e)
			w.stats.mapped++
		}
	}
	return b
}

func (w *window) deadLetter(it *item, deliver, key string, cause *record.Cause) record.DeadLetter {
	return record.DeadLetter{
		ID: deadLetterID(w.Name, &it.row, deliver), Pipeline: w.Name, Deliver: deliver, Key: key, Ref: it.row.Ref,
		Version: it.row.Version, Generation: it.row.Generation, Time: w.begin, Cause: *cause, Record: recordOf(it),
		Previous: previousOf(it),
	}
}

// lean drops what is not needed to deliver: a notification without its record is sent as it is when a person retries it.
func lean(part store.Batch) {
	for i := range part.Entries {
		part.Entries[i].Record, part.Entries[i].Previous = nil, nil
	}
	for i := range part.Dead {
		part.Dead[i].Previous = nil
	}
}

// oversized replaces what is too large for one commit by a dead letter that says so, without the content.
func (w *window) oversized(it *item, part store.Batch) store.Batch {
	d := w.deadLetter(it, "", "", &record.Cause{
		Stage: record.StageCommit, Code: "too_large", Attempts: 1,
		Text: fmt.Sprintf("the change and its notifications take %d bytes and %d items, one commit of the store takes %d and %d",
			part.Size(), part.Items(), w.Limits.Bytes, w.Limits.Items),
	})
	d.Record, d.Previous = nil, nil
	it.row.Key, it.row.Snapshot = "", nil
	w.stats.dead++
	w.log.Error("a change became a dead letter", "cause", d.Cause.Text, "record", w.Names.Of(w.Name, it.row.Ref))
	return store.Batch{Rows: []store.Row{it.row}, Dead: []record.DeadLetter{d}}
}

// previousOf is the JSON form of the record before, as a mapping gets it; nil when there is none.
func previousOf(it *item) []byte {
	if it.before == nil {
		return nil
	}
	data, err := it.before.Marshal()
	if err != nil {
		return nil
	}
	return data
}

// recordOf is the record's JSON form, nil when there is none: an item that could not be read.
func recordOf(it *item) []byte {
	data, err := it.rec.Marshal()
	if err != nil {
		return nil
	}
	return data
}
