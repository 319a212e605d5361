// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

func TestClaimsThatWaitShareASync(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	begun, end, syncs := held(s)
	const n = 20
	var all sync.WaitGroup
	claim := func(i int) {
		all.Go(func() {
			f, err := s.Claim(t.Context(), fmt.Sprint("p", i))
			if err != nil || f.Position().Commit != 0 {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	claim(0)
	<-begun
	for i := range n {
		claim(i) // one of them takes what the first has
	}
	badgerstore.Waiting(s, n)
	go func() {
		for range begun { // the syncs that follow
			end <- nil
		}
	}()
	end <- nil
	all.Wait()
	close(begun)
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d syncs for a claim and those that waited for it, want 2", n)
	}
	badgerstore.OnSync(s, nil)
	for i := range n {
		f, err := s.Claim(t.Context(), fmt.Sprint("p", i))
		must(t, err)
		must(t, emptyCommit(t.Context(), f))
	}
}

// TestAClaimSharesNoTransactionWithACommit of the owner before: that is refused if it comes after the claim, and else what the new
// owner begins with.
func TestAClaimSharesNoTransactionWithACommit(t *testing.T) {
	for name, claimFirst := range map[string]bool{"the claim first": true, "the commit first": false} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), badgerstore.Options{})
			old, err := s.Claim(t.Context(), "p")
			must(t, err)
			other, err := s.Claim(t.Context(), "other")
			must(t, err)
			begun, end, _ := held(s)
			committed, claimed, busy := make(chan error, 1), make(chan error, 1), make(chan error, 1)
			go func() { busy <- emptyCommit(t.Context(), other) }()
			<-begun
			var owner store.Feed
			ask := []func(){
				func() {
					var err error
					owner, err = s.Claim(t.Context(), "p")
					claimed <- err
				},
				func() { committed <- emptyCommit(t.Context(), old) },
			}
			if !claimFirst {
				ask[0], ask[1] = ask[1], ask[0]
			}
			for i := range ask {
				go ask[i]()
				badgerstore.Waiting(s, i+1)
			}
			go func() {
				for range begun { // the syncs that follow
					end <- nil
				}
			}()
			end <- nil
			must(t, <-busy)
			must(t, <-claimed)
			want := uint64(1)
			if err = <-committed; claimFirst {
				want = 0
				if !errors.Is(err, store.ErrFenced) {
					t.Errorf("a commit after the claim: %v, want ErrFenced", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if got := owner.Position().Commit; got != want {
				t.Errorf("the new owner begins at commit %d, want %d", got, want)
			}
			must(t, emptyCommit(t.Context(), owner))
			close(begun)
		})
	}
}

// TestAPollThatBroughtNothingIsNotSynced: most do, and there may be a hundred in a second.
func TestAPollThatBroughtNothingIsNotSynced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	f, err := s.Claim(t.Context(), "p")
	must(t, err)
	syncs := 0
	badgerstore.OnSync(s, func(sync func() error) error {
		syncs++
		return sync()
	})
	pos := store.Position{Watermark: []byte("w"), Cursor: []byte("c"), Start: time.Unix(1, 0), Started: true, Epoch: 1, Scan: 1, Polled: time.Unix(2, 0)}
	commit := func(b store.Batch) (synced bool) {
		t.Helper()
		before := syncs
		b.Base = f.Position().Commit
		must(t, f.Commit(t.Context(), b))
		return syncs > before
	}
	if !commit(store.Batch{Position: &pos}) {
		t.Error("the first position was not synced")
	}
	pos.Polled = time.Unix(3, 0)
	if commit(store.Batch{Position: &pos}) {
		t.Error("a position that differs in Polled only was synced")
	}
	for what, change := range map[string]func(*store.Position, *store.Batch){
		"watermark": func(p *store.Position, _ *store.Batch) { p.Watermark = []byte("x") },
		"cursor":    func(p *store.Position, _ *store.Batch) { p.Cursor = nil },
		"start":     func(p *store.Position, _ *store.Batch) { p.Start = time.Unix(5, 0) },
		"started":   func(p *store.Position, _ *store.Batch) { p.Started = !p.Started },
		"epoch":     func(p *store.Position, _ *store.Batch) { p.Epoch++ },
		"scan":      func(p *store.Position, _ *store.Batch) { p.Scan++ },
		"a row": func(_ *store.Position, b *store.Batch) {
			b.Rows = []store.Row{{Ref: sdk.Ref{Kind: "a", ID: "1"}, Generation: 1}}
		},
		"a mark": func(_ *store.Position, b *store.Batch) {
			b.Scan, b.Marks = 1, []sdk.Ref{{Kind: "a", ID: "1"}}
		},
	} {
		next := f.Position()
		next.Polled = next.Polled.Add(time.Second)
		b := store.Batch{Position: &next}
		change(&next, &b)
		if !commit(b) {
			t.Errorf("%s: not synced", what)
		}
	}
	pos = f.Position()
	must(t, s.Close())
	f, err = open(t, dir, badgerstore.Options{}).Claim(t.Context(), "p")
	must(t, err)
	if got := f.Position(); got.Commit != pos.Commit || !got.Polled.Equal(pos.Polled) {
		t.Errorf("after a restart: %+v, want %+v", got, pos)
	}
}
