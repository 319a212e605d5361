// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Pipelines commit while destinations deliver: each entry is seen once by its destination, in the order of its lane, and
// what Seen gives is never behind.
func concurrent(t *testing.T, o Open) {
	s := open(t, o)
	const pipelines, batches, keys = 4, 40, 5
	destinations := []string{"webhook.d", "webhook.e"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for p := range pipelines {
		name := fmt.Sprint("p", p)
		f := s.claim(name)
		all.Go(func() {
			for i := range batches {
				b := store.Batch{Base: uint64(i), Rows: []store.Row{row("r", uint64(i+1))}}
				for _, d := range destinations {
					for k := range keys {
						e := entry(fmt.Sprintf("%s-%d-%s-%d", name, i, d, k), fmt.Sprint(k))
						e.Pipeline, e.Destination, e.Generation = name, d, uint64(i+1)
						b.Entries = append(b.Entries, e)
					}
				}
				if err := f.Commit(ctx, b); err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				if got, err := f.Seen(ctx, []sdk.Ref{ref("r")}); err != nil || len(got) != 1 || got[0].Generation != uint64(i+1) {
					t.Errorf("seen after commit %d: %+v, %v", i+1, got, err)
				}
			}
		})
	}
	for _, d := range destinations {
		out := s.attach(d)
		all.Go(func() {
			deliver(ctx, t, out, pipelines*batches*keys)
		})
	}
	all.Wait()
	for _, d := range destinations {
		if n := pending(t, s, d); n != 0 {
			t.Errorf("%d entries of %s are left", n, d)
		}
	}
}

// deliver takes entries, several lanes at a time, until it has n.
func deliver(ctx context.Context, t *testing.T, out store.Outbox, n int) {
	last := map[string]uint64{} // generation by pipeline and key
	seen := map[string]bool{}
	var mu sync.Mutex
	for len(seen) < n && ctx.Err() == nil && !t.Failed() {
		lanes, _, err := out.Lanes(ctx, nil, 8)
		if err != nil {
			t.Errorf("lanes: %v", err)
			return
		}
		if len(lanes) == 0 {
			select {
			case <-out.Wake():
			case <-time.After(10 * time.Millisecond): // Wake is a hint
			}
			continue
		}
		var round sync.WaitGroup
		for _, lane := range lanes {
			round.Go(func() {
				head, err := out.Head(ctx, lane, 3)
				if err != nil {
					t.Errorf("head: %v", err)
					return
				}
				for _, e := range head {
					mu.Lock()
					order := e.Pipeline + "/" + e.Key
					if seen[e.ID] {
						t.Errorf("%s came again after it was acknowledged", e.ID)
					}
					if e.Generation != last[order]+1 {
						t.Errorf("generation %d of %s came after %d", e.Generation, order, last[order])
					}
					seen[e.ID], last[order] = true, e.Generation
					mu.Unlock()
					if err := out.Ack(ctx, done(idOf(lane, e))...); err != nil {
						t.Errorf("ack: %v", err)
					}
				}
			})
		}
		round.Wait()
	}
	if len(seen) != n {
		t.Errorf("%d entries came, want %d", len(seen), n)
	}
}

func idOf(lane string, e record.Entry) store.EntryID {
	return store.EntryID{Lane: lane, Seq: e.Seq, ID: e.ID}
}
