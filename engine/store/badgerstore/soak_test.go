// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// A queue is written and emptied many times over: the directory must not grow with what passed through, and reading must
// not become slower. ROUNDS_SOAK=300000 makes it a long run and logs its figures.
func TestStateStaysBounded(t *testing.T) {
	total := 100_000
	if n, err := strconv.Atoi(os.Getenv("ROUNDS_SOAK")); err == nil {
		total = n
	}
	if testing.Short() {
		t.Skip("writes 150 MB")
	}
	const backlog, step, records = 500, 250, 5000
	const bound = 45 << 20 // the log, tables that wait for compaction, what is kept
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	f, o := claim(t, s), attach(t, s)
	var worst time.Duration
	var peak int64
	fill := func(i int) {
		must(t, f.Commit(t.Context(), batchOf(f, i%records, step, uint64(i/records+1), true)))
	}
	for i := 0; i < backlog; i += step {
		fill(i)
	}
	for i := backlog; i < total; i += step {
		fill(i)
		begin := time.Now()
		ids := oldest(t, o, step)
		took := time.Since(begin)
		must(t, o.Ack(t.Context(), done(ids...)...))
		if i >= 10*step { // the first ones warm up
			worst = max(worst, took)
		}
		if i%(20*step) == 0 {
			disk, _ := used(t, dir)
			peak = max(peak, disk)
		}
	}
	disk, apparent := used(t, dir)
	begin := time.Now()
	must(t, badgerstore.Flatten(s))
	flat, _ := used(t, dir)
	t.Logf("%d notifications: %d MiB on disk at the end (%d apparent), %d at most, %d after compaction in %v; reading %d: %v at worst",
		total, disk>>20, apparent>>20, peak>>20, flat>>20, time.Since(begin).Round(time.Millisecond), step, worst)
	if peak > bound {
		t.Errorf("the directory grew to %d MiB; the bound is %d", peak>>20, bound>>20)
	}
}

// oldest finds the first n entries of an outbox.
func oldest(t testing.TB, o store.Outbox, n int) (ids []store.EntryID) {
	t.Helper()
	var token []byte
	for len(ids) < n {
		lanes, next, err := o.Lanes(t.Context(), token, 100)
		must(t, err)
		for _, lane := range lanes {
			head, err := o.Head(t.Context(), lane, n-len(ids))
			must(t, err)
			for _, e := range head {
				ids = append(ids, store.EntryID{Lane: lane, Seq: e.Seq, ID: e.ID})
			}
		}
		if token = next; token == nil {
			break
		}
	}
	return ids
}
