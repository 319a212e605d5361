// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// draftKept is how many notifications, and as many dead letters, a draft keeps of one pipeline; the loop counts them all.
const draftKept = 1000

// draft is the state of one pipeline as it would be after what was committed to it: what is stored lies beneath and is only
// read, and what is committed lies above it, in memory. To the pipeline loop it is a feed like any other.
type draft struct {
	stored store.Feed // nil: nothing is stored
	limits store.Limits
	lost   chan struct{} // never closed

	mu       sync.Mutex
	position store.Position
	rows     map[sdk.Ref]store.Row
	marks    map[sdk.Ref]uint64
	entries  []record.Entry // the first draftKept
	dead     []record.DeadLetter
}

var _ store.Feed = (*draft)(nil)

func newDraft(stored store.Feed, limits store.Limits) *draft {
	d := &draft{
		stored: stored, limits: limits, lost: make(chan struct{}), rows: map[sdk.Ref]store.Row{}, marks: map[sdk.Ref]uint64{},
	}
	if stored != nil {
		d.position = stored.Position()
	}
	return d
}

// Position implements store.Feed.
func (d *draft) Position() store.Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.position
}

// Seen implements store.Feed.
func (d *draft) Seen(ctx context.Context, refs []sdk.Ref) ([]store.Row, error) {
	if len(refs) > d.limits.Refs {
		return nil, fmt.Errorf("%d refs in one look-up: %w", len(refs), store.ErrTooLarge)
	}
	rows, beneath := d.above(refs)
	for i := range rows {
		rows[i].Snapshot = nil
	}
	if d.stored == nil || len(beneath) == 0 {
		return rows, ctx.Err()
	}
	stored, err := d.stored.Seen(ctx, beneath)
	if err != nil {
		return nil, err
	}
	return append(rows, stored...), nil
}

// Snapshots implements store.Feed.
func (d *draft) Snapshots(ctx context.Context, refs []sdk.Ref) (map[sdk.Ref][]byte, error) {
	if len(refs) > d.limits.Refs {
		return nil, fmt.Errorf("%d refs in one look-up: %w", len(refs), store.ErrTooLarge)
	}
	rows, beneath := d.above(refs)
	snapshots := map[sdk.Ref][]byte{}
	if d.stored != nil && len(beneath) > 0 {
		stored, err := d.stored.Snapshots(ctx, beneath)
		if err != nil {
			return nil, err
		}
		maps.Copy(snapshots, stored)
	}
	for _, row := range rows {
		if len(row.Snapshot) > 0 {
			snapshots[row.Ref] = row.Snapshot
		}
	}
	return snapshots, ctx.Err()
}

// above gives the rows that were committed here, and the refs of the others. Two equal refs have one row.
func (d *draft) above(refs []sdk.Ref) (rows []store.Row, beneath []sdk.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	looked := make(map[sdk.Ref]bool, len(refs))
	for _, ref := range refs {
		if looked[ref] {
			continue
		}
		looked[ref] = true
		if row, ok := d.rows[ref]; ok {
			rows = append(rows, row)
		} else {
			beneath = append(beneath, ref)
		}
	}
	return rows, beneath
}

// Commit implements store.Feed, with the refusals of a store that the loop's verdicts go by.
func (d *draft) Commit(ctx context.Context, b store.Batch) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case b.Base != d.position.Commit:
		return store.ErrStale
	case b.Items() > d.limits.Items || b.Size() > d.limits.Bytes:
		return store.ErrTooLarge
	}
	for _, row := range b.Rows {
		d.rows[row.Ref] = row
		d.mark(row.Ref, b.Scan)
	}
	for _, ref := range b.Marks {
		d.mark(ref, b.Scan)
	}
	for _, e := range b.Entries {
		if len(d.entries) < draftKept {
			e.Record = nil
			d.entries = append(d.entries, e)
		}
	}
	for _, l := range b.Dead {
		if len(d.dead) < draftKept {
			l.Record = nil
			d.dead = append(d.dead, l)
		}
	}
	commit := d.position.Commit + 1
	if b.Position != nil {
		d.position = *b.Position
	}
	d.position.Commit = commit
	return nil
}

func (d *draft) mark(ref sdk.Ref, scan uint64) {
	if scan > 0 {
		d.marks[ref] = scan
	}
}

// Tokens of Unmarked: what is stored comes first, under the token of its own store, then what was committed here, by number.
const (
	storedToken = 's'
	draftToken  = 'd'
)

// Unmarked implements store.Feed.
func (d *draft) Unmarked(ctx context.Context, scan uint64, token []byte, limit int) (refs []sdk.Ref, next []byte, err error) {
	if own, found := bytes.CutPrefix(token, []byte{draftToken}); found || d.stored == nil {
		return d.unmarked(scan, own, limit)
	}
	if token != nil {
		token = token[1:]
	}
	stored, next, err := d.stored.Unmarked(ctx, scan, token, limit)
	if err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ref := range stored {
		if _, above := d.rows[ref]; !above && d.marks[ref] < scan {
			refs = append(refs, ref)
		}
	}
	if next == nil {
		return refs, []byte{draftToken}, nil
	}
	return refs, append([]byte{storedToken}, next...), nil
}

func (d *draft) unmarked(scan uint64, token []byte, limit int) (refs []sdk.Ref, next []byte, err error) {
	from := 0
	if len(token) == 8 {
		from = int(binary.BigEndian.Uint64(token))
	} else if len(token) > 0 {
		return nil, nil, errors.New("this token is of another listing")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for ref, row := range d.rows {
		if !row.Deleted && d.marks[ref] < scan {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, func(a, b sdk.Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Args, b.Args))
	})
	refs = refs[min(from, len(refs)):]
	if len(refs) > limit {
		refs, next = refs[:limit], binary.BigEndian.AppendUint64([]byte{draftToken}, uint64(from+limit))
	}
	return refs, next, nil
}

// Lost implements store.Feed.
func (d *draft) Lost() <-chan struct{} { return d.lost }

// Release implements store.Feed.
func (d *draft) Release(context.Context) error { return nil }
