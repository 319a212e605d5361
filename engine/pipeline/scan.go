// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// A scan shows a deletion by not listing what has a row. Each row that it sees is marked with its number, in commits of its
// own beside the rows, so that what did not change is not written again; what carries no mark at the end is missing.
//
// Only a window that was read in one go marks, as only such a one sweeps: what an interrupted one did not see may have been
// seen before the interruption, or have moved behind it.
type scan struct {
	number  uint64    // zero: nothing is marked and nothing swept
	listed  int       // changes in this pass
	marks   []sdk.Ref // rows that were seen as they stand, not yet marked
	witness sdk.Ref   // a record that was listed
}

// leastDeleted may be deleted after one scan, whatever share of the records that is.
const leastDeleted = 5

// beginScan numbers a window that may sweep. The number is committed first, so that it is never used twice.
func (w *window) beginScan(ctx context.Context) error {
	if w.Confirm == "" {
		return nil
	}
	pos := w.feed.Position()
	pos.Scan++
	if err := w.commit(ctx, store.Batch{Position: &pos}); err != nil {
		return err
	}
	w.scan.number = pos.Scan
	return nil
}

// saw marks a row that stays as it is.
func (s *scan) saw(ref sdk.Ref) {
	if s.number > 0 {
		s.marks = append(s.marks, ref)
	}
}

// mark commits the marks of the page.
func (w *window) mark(ctx context.Context) error {
	slices.SortFunc(w.scan.marks, compareRefs)
	marks := slices.Compact(w.scan.marks)
	w.scan.marks = nil
	var b store.Batch
	for _, ref := range marks {
		if len(b.Marks) > 0 && (len(b.Marks) >= w.Limits.Items/2 || b.Size()+store.MarkSize(ref) > w.Limits.Bytes/2) {
			if err := w.commit(ctx, b); err != nil {
				return err
			}
			b = store.Batch{}
		}
		b.Marks = append(b.Marks, ref)
	}
	if len(b.Marks) == 0 {
		return nil
	}
	return w.commit(ctx, b)
}

func compareRefs(a, b sdk.Ref) int {
	return strings.Compare(a.Kind+"\x00"+a.ID+"\x00"+a.Args, b.Kind+"\x00"+b.ID+"\x00"+b.Args)
}

// sweep makes changes of what a complete scan did not list, and ends the window. What it leaves, because the engine dies or the
// server does not answer, stays unmarked and is found by the next scan; what it commits has a row that says deleted.
//
// Invariant 7: this is the one place where a delete is inferred: after the last page of a window that was read in one go and
// that says itself that it showed everything; each by a fetch that found nothing; and none if it would be too many.
func (w *window) sweep(ctx context.Context) error {
	next := w.feed.Position()
	next.Polled = w.begin
	missing, err := w.missing(ctx)
	if err != nil {
		return err
	}
	known := w.scan.listed + len(missing)
	if most := max(leastDeleted, int(w.MaxDeleted*float64(known))); len(missing) > most {
		w.log.Error("too many records are missing from a complete scan: none of them is taken for deleted; "+
			"if they are, raise max_deleted for one scan", "missing", len(missing), "known", known, "at_most", most)
		return w.commit(ctx, store.Batch{Position: &next})
	}
	confirmed, err := w.confirmed(ctx, missing)
	if err != nil {
		return err
	}
	if err := w.mark(ctx); err != nil {
		return err
	}
	deletions, err := w.deletions(ctx, confirmed)
	if err != nil {
		return err
	}
	return w.process(ctx, deletions, next)
}

// missing lists the feed's records that the scan did not mark.
func (w *window) missing(ctx context.Context) ([]sdk.Ref, error) {
	var missing []sdk.Ref
	for token, more := []byte(nil), true; more; more = token != nil {
		refs, next, err := w.feed.Unmarked(ctx, w.scan.number, token, w.Limits.Refs)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			if ref.Kind == w.info.Kind && !strings.HasPrefix(ref.ID, unidentified) {
				missing = append(missing, ref)
			}
		}
		token = next
	}
	return missing, nil
}

// confirmed asks the server for each missing record, once, and gives those that it does not have. What it has is marked; what
// it can't tell now is left to the next scan. A record that was just listed is asked for as well: where it is not found either,
// it is the resource that is wrong.
func (w *window) confirmed(ctx context.Context, missing []sdk.Ref) ([]sdk.Ref, error) {
	if len(missing) == 0 {
		return nil, nil
	}
	asked := missing
	if w.scan.witness != (sdk.Ref{}) {
		asked = slices.Concat([]sdk.Ref{w.scan.witness}, missing)
	}
	var deleted []sdk.Ref
	unknown := 0
	for part := range slices.Chunk(asked, batchRecords) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		refs := make([]sdk.Ref, len(part))
		for i, ref := range part {
			refs[i] = sdk.Ref{Kind: w.Confirm, ID: ref.ID}
		}
		results, err := w.fetch(ctx, refs)
		if err != nil {
			w.log.Warn("missing records could not be confirmed as deleted; the next scan tries again", "error", text(err), "missing", len(missing))
			return nil, nil
		}
		for i, r := range results {
			switch {
			case part[i] == w.scan.witness && r.Err != nil:
				w.log.Error("no missing record is taken for deleted, as one that was just listed can't be fetched either; "+
					"is confirm the right resource?", "resource", w.Confirm, "error", sdk.Safe(r.Err).Text, "missing", len(missing))
				return nil, nil
			case part[i] == w.scan.witness:
			case r.Err == nil:
				w.scan.saw(part[i])
			case gone(sdk.CodeOf(r.Err)):
				deleted = append(deleted, part[i])
			default:
				unknown++
			}
		}
	}
	if unknown > 0 || len(w.scan.marks) > 0 {
		w.log.Info("some missing records are not deleted", "still_there", len(w.scan.marks), "not_known_now", unknown, "deleted", len(deleted))
	}
	return deleted, nil
}

// deletions makes items of records that are gone, each with the row that it will have: that of its last state, to which it may
// return.
func (w *window) deletions(ctx context.Context, refs []sdk.Ref) ([]*item, error) {
	rows, err := w.rows(ctx, refs)
	if err != nil {
		return nil, err
	}
	var items []*item
	for _, ref := range refs {
		row, known := rows[ref]
		if !known || row.Deleted {
			continue
		}
		row.Generation++
		row.Deleted = true
		items = append(items, w.item(sdk.Change{Ref: ref, Version: row.Version, Op: sdk.Deleted, Data: json.RawMessage("null")}, row))
	}
	w.stats.fresh += len(items)
	w.stats.deleted += len(items)
	return items, nil
}
