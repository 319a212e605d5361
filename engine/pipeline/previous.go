// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"slices"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// remember gives each change of a batch what was committed of its record before, and its row what is kept of it for the next.
// It needs the batch enriched and in its order, and all batches before it committed.
//
// What is kept is the record of the last generation that was whole: a change that could not be read or fetched is a dead letter,
// or skipped, and leaves what was kept. One that was filtered or could not be mapped counts.
func (w *window) remember(ctx context.Context, batch []*item) error {
	if !w.KeepPrevious {
		return nil
	}
	var refs []sdk.Ref
	for _, it := range batch {
		if it.previous == nil {
			refs = append(refs, it.row.Ref)
		}
	}
	stored := make(map[sdk.Ref][]byte, len(refs))
	for part := range slices.Chunk(refs, w.Limits.Refs) {
		found, err := w.feed.Snapshots(ctx, part)
		if err != nil {
			return err
		}
		for ref, snapshot := range found {
			stored[ref] = snapshot
		}
	}
	for _, it := range batch {
		before := stored[it.row.Ref]
		if it.previous != nil {
			before = it.previous.row.Snapshot
		}
		it.row.Snapshot = before
		if it.open() {
			it.row.Snapshot = recordOf(it)
		}
		it.before = nil
		if len(before) == 0 {
			continue
		}
		var err error
		if it.before, err = record.Unmarshal(before); err != nil { // not to be expected: this loop wrote it
			w.log.Error("what was kept of a record can't be read; it is mapped as if nothing was", "record", w.Names.Of(w.Name, it.row.Ref))
		}
	}
	return nil
}
