// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// Much more is delivered than may be kept. What is kept is the newest, and the directory is not larger than the bound says.
func TestHistoryStaysBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MB")
	}
	const total, step, records = 30_000, 250, 5000
	const bound = 8 << 20
	const beside = 45 << 20 // what a state takes that keeps nothing: see TestStateStaysBounded
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{Keep: 24 * time.Hour, KeepBytes: bound})
	f, o := claim(t, s), attach(t, s)
	var peak, raw int64
	for i := 0; i < total; i += step {
		b := batchOf(f, i%records, step, uint64(i/records+1), true)
		raw += int64(b.Size())
		must(t, f.Commit(t.Context(), b))
		must(t, o.Ack(t.Context(), done(oldest(t, o, step)...)...))
		if i%(8*step) == 0 { // many times a minute, as it is here
			must(t, badgerstore.Trim(s))
			disk, _ := used(t, dir)
			peak = max(peak, disk)
		}
	}
	must(t, badgerstore.Trim(s))
	must(t, badgerstore.Flatten(s))
	disk, _ := used(t, dir)
	kept := delivered(t, s, store.Filter{})
	size := int64(0)
	for i := range kept {
		size += int64(len(kept[i].Body))
	}
	t.Logf("%d MiB passed; %d are kept of %d, %d MiB; %d MiB on disk, %d at most, %d in tables after compaction",
		raw>>20, len(kept), total, size>>20, disk>>20, peak>>20, tables(t, dir)>>20)
	if size < bound/2 { // what is kept counts as it is stored, compressed: see the tables below
		t.Errorf("%d bytes are kept, and the bound is %d", size, bound)
	}
	if newest := entryOf((total-1)%records, uint64((total-1)/records+1)).ID; kept[len(kept)-1].ID != newest {
		t.Errorf("the newest is %s, want %s", kept[len(kept)-1].ID, newest)
	}
	if peak > bound+beside || tables(t, dir) > bound+200*records+1<<19 { // rows; what filled the log
		t.Errorf("%d MiB on disk at most, %d in tables", peak>>20, tables(t, dir)>>20)
	}
	// The index holds no more than is kept.
	for i := range 50 {
		for _, d := range delivered(t, s, store.Filter{Pipeline: "p", Ref: appointment(i)}) {
			if d.Ref != appointment(i) {
				t.Fatalf("of another record: %v", d.Ref)
			}
		}
	}
	if n := badgerstore.Keys(t, s, 'x'); n != len(kept) {
		t.Errorf("%d in the index, %d are kept", n, len(kept))
	}
	must(t, s.Close())
	if n := len(delivered(t, open(t, dir, badgerstore.Options{Keep: 24 * time.Hour, KeepBytes: bound}), store.Filter{})); n != len(kept) {
		t.Errorf("%d are kept after a restart, %d before", n, len(kept))
	}
}

func delivered(t testing.TB, s *badgerstore.Store, f store.Filter) (all []store.Delivered) {
	t.Helper()
	for token, more := []byte(nil), true; more; more = token != nil {
		page, next, err := s.Admin().Delivered(t.Context(), f, false, token, 1000)
		must(t, err)
		all, token = append(all, page...), next
	}
	return all
}

// What is kept goes when its time is over: the time that held when it was delivered, or a shorter one that holds now. Where
// history is off, what was kept before stays for its time.
func TestHistoryEndsWithItsTime(t *testing.T) {
	dir := t.TempDir()
	check := func(keep time.Duration, want ...string) {
		t.Helper()
		s := open(t, dir, badgerstore.Options{Keep: keep})
		must(t, badgerstore.Trim(s))
		var got []string
		for _, d := range delivered(t, s, store.Filter{}) {
			got = append(got, d.Code)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("with %v there are %v, want %v", keep, got, want)
		}
		if n := badgerstore.Keys(t, s, 'x'); n != len(want) {
			t.Errorf("with %v: %d in the index, want %d", keep, n, len(want))
		}
		must(t, s.Close())
	}
	deliver := func(keep time.Duration, ago ...time.Duration) {
		t.Helper()
		s := open(t, dir, badgerstore.Options{Keep: keep})
		f, o := claim(t, s), attach(t, s)
		for i, before := range ago {
			b := batchOf(f, i, 1, 1, true)
			b.Entries[0].Key = strings.Repeat("k", 600_000) // it does not end in the first part of the value
			must(t, f.Commit(t.Context(), b))
			must(t, o.Ack(t.Context(), store.Done{EntryID: oldest(t, o, 1)[0], At: time.Now().Add(-before), Code: before.String()}))
		}
		must(t, s.Close())
	}
	const hour = time.Hour
	deliver(10*hour, 8*hour, 5*hour, 2*hour)
	check(10*hour, "8h0m0s", "5h0m0s", "2h0m0s")
	check(20*hour, "8h0m0s", "5h0m0s", "2h0m0s")
	check(6*hour, "5h0m0s", "2h0m0s")
	check(0, "5h0m0s", "2h0m0s")
	deliver(0, hour)
	check(0, "5h0m0s", "2h0m0s")
	deliver(3*hour, 4*hour)
	check(3*hour, "2h0m0s") // the time of the second was over when it came
	check(hour)
}

// TestAPageHoldsNoMoreThanACommit, however many may be on it: notifications may be documents.
func TestAPageHoldsNoMoreThanACommit(t *testing.T) {
	const n, size, most = 60, 10 << 10, 64 << 10
	s := open(t, t.TempDir(), badgerstore.Options{Keep: 24 * time.Hour, Limits: store.Limits{Bytes: most}})
	f, o := claim(t, s), attach(t, s)
	for i := 0; i < n; i += 4 {
		b := batchOf(f, i, 4, 1, true)
		for j := range b.Entries {
			b.Entries[j].Body = noise(size)
		}
		must(t, f.Commit(t.Context(), b))
	}
	// paged goes through all pages of a listing, which gives the sizes of what is on one.
	paged := func(what string, want int, page func(token []byte) (sizes []int, next []byte, err error)) {
		t.Helper()
		found := 0
		for token := []byte(nil); ; {
			sizes, next, err := page(token)
			must(t, err)
			sum := 0
			for _, n := range sizes {
				sum += n
			}
			if sum >= most+size+1024 {
				t.Errorf("%d bytes on a page of %s", sum, what)
			}
			if found += len(sizes); next == nil {
				break
			}
			token = next
		}
		if found != want {
			t.Errorf("%d of %d %s are on the pages", found, want, what)
		}
	}
	paged("waiting ones", n, func(token []byte) (sizes []int, next []byte, err error) {
		all, next, err := s.Admin().Waiting(t.Context(), store.Filter{}, token, 1000)
		for i := range all {
			sizes = append(sizes, store.EntrySize(&all[i]))
		}
		return sizes, next, err
	})
	for _, id := range oldest(t, o, n/2) {
		must(t, o.Bury(t.Context(), id, record.Cause{Code: "http_422"}, time.Now()))
	}
	paged("dead ones", n/2, func(token []byte) (sizes []int, next []byte, err error) {
		all, next, err := s.Admin().Dead(t.Context(), store.Filter{}, token, 1000)
		for i := range all {
			sizes = append(sizes, store.DeadSize(&all[i]))
		}
		return sizes, next, err
	})
	must(t, o.Ack(t.Context(), done(oldest(t, o, n/2)...)...))
	for _, newest := range []bool{true, false} {
		paged("delivered ones", n/2, func(token []byte) (sizes []int, next []byte, err error) {
			all, next, err := s.Admin().Delivered(t.Context(), store.Filter{}, newest, token, 1000)
			for i := range all {
				sizes = append(sizes, store.EntrySize(&all[i].Entry))
			}
			return sizes, next, err
		})
	}
}

// What is older than what was looked at before, as after the clock was set back, goes when its time is over too.
func TestHistoryEndsWithItsTimeWhereTheClockWasSetBack(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{Keep: 3 * time.Hour})
	f, o := claim(t, s), attach(t, s)
	for i, step := range []struct {
		ago  time.Duration
		want string
	}{
		{4 * time.Hour, "[]"}, {2 * time.Hour, "[2h0m0s]"}, {time.Hour, "[2h0m0s 1h0m0s]"}, {5 * time.Hour, "[2h0m0s 1h0m0s]"},
		{3*time.Hour - time.Minute, "[2h59m0s 2h0m0s 1h0m0s]"}, {6 * time.Hour, "[2h59m0s 2h0m0s 1h0m0s]"},
	} {
		must(t, f.Commit(t.Context(), batchOf(f, i, 1, 1, true)))
		must(t, o.Ack(t.Context(), store.Done{EntryID: oldest(t, o, 1)[0], At: time.Now().Add(-step.ago), Code: step.ago.String()}))
		must(t, badgerstore.Trim(s))
		got := []string{}
		for _, d := range delivered(t, s, store.Filter{}) {
			got = append(got, d.Code)
		}
		if fmt.Sprint(got) != step.want {
			t.Errorf("after one of %v ago there are %v, want %v", step.ago, got, step.want)
		}
	}
}
