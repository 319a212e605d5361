// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

func emptyCommit(ctx context.Context, f store.Feed) error {
	return f.Commit(ctx, store.Batch{Base: f.Position().Commit})
}

// held lets the committer's syncs wait: begun receives when one begins, and end lets it end.
func held(s *badgerstore.Store) (begun chan struct{}, end chan error, syncs *atomic.Int64) {
	begun, end, syncs = make(chan struct{}), make(chan error), new(atomic.Int64)
	badgerstore.OnSync(s, func(sync func() error) error {
		syncs.Add(1)
		begun <- struct{}{}
		if err := <-end; err != nil {
			return err
		}
		return sync()
	})
	return begun, end, syncs
}

func TestCommitsThatWaitShareASync(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	feeds := make([]store.Feed, 20)
	for i := range feeds {
		var err error
		feeds[i], err = s.Claim(t.Context(), fmt.Sprint("p", i))
		must(t, err)
	}
	begun, end, syncs := held(s)
	var all sync.WaitGroup
	all.Go(func() {
		if err := emptyCommit(t.Context(), feeds[0]); err != nil {
			t.Error(err)
		}
	})
	<-begun
	for _, f := range feeds[1:] {
		all.Go(func() {
			if err := emptyCommit(t.Context(), f); err != nil {
				t.Error(err)
			}
		})
	}
	badgerstore.Waiting(s, len(feeds)-1)
	end <- nil
	<-begun
	end <- nil
	all.Wait()
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d syncs for a commit and %d that waited for it, want 2", n, len(feeds)-1)
	}
}

func TestAckIsNotSynced(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	fill(t, s, 100)
	o := attach(t, s)
	badgerstore.OnSync(s, func(sync func() error) error {
		t.Error("an acknowledgement was synced")
		return sync()
	})
	must(t, o.Ack(t.Context(), done(oldest(t, o, 100)...)...))
}

// Who gives up while the write is under way hears that the outcome is unknown; who gives up before, that nothing was written.
func TestGivingUp(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	one, err := s.Claim(t.Context(), "one")
	must(t, err)
	two, err := s.Claim(t.Context(), "two")
	must(t, err)
	begun, end, _ := held(s)
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { first <- emptyCommit(ctx, one) }()
	<-begun
	go func() { second <- emptyCommit(ctx, two) }()
	badgerstore.Waiting(s, 1)
	cancel()
	if err := <-first; !errors.Is(err, store.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("while it was written: %v, want ErrUnknown and context.Canceled", err)
	}
	if err := <-second; errors.Is(err, store.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("before it was written: %v, want context.Canceled alone", err)
	}
	end <- nil
	badgerstore.OnSync(s, nil)
	for name, want := range map[string]uint64{"one": 1, "two": 0} {
		f, err := s.Claim(t.Context(), name)
		must(t, err)
		if got := f.Position().Commit; got != want {
			t.Errorf("pipeline %s stands at commit %d, want %d", name, got, want)
		}
	}
}

// After a failed sync nobody knows what is on disk, and the next sync may say nil for what was dropped.
func TestNothingIsWrittenAfterAFailedSync(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	fill(t, s, 10)
	f, o := claim(t, s), attach(t, s)
	before := f.Position().Commit
	badgerstore.OnSync(s, func(func() error) error { return errors.New("disk") })
	if err := emptyCommit(t.Context(), f); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("commit: %v, want ErrUnknown", err)
	}
	badgerstore.OnSync(s, nil)
	select {
	case <-s.Failed():
	default:
		t.Error("the engine is not told that the state takes no more writes")
	}
	if err := emptyCommit(t.Context(), f); !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), "started again") {
		t.Errorf("next commit: %v, want ErrBusy and what to do", err)
	}
	if err := o.Ack(t.Context(), done(oldest(t, o, 1)...)...); !errors.Is(err, store.ErrBusy) {
		t.Errorf("ack: %v, want ErrBusy", err)
	}
	must(t, s.Close())
	f = claim(t, open(t, dir, badgerstore.Options{}))
	if now := f.Position().Commit; now != before && now != before+1 {
		t.Errorf("commit %d, want %d or the next", now, before)
	}
	must(t, emptyCommit(t.Context(), f))
}

// A sweep syncs before it deletes. What shares its transaction must not be written when that failed: the next sync may say nil for what
// the system has dropped.
func TestNothingIsWrittenBesideAFailedSync(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	f, o := claim(t, s), attach(t, s)
	other, err := s.Claim(t.Context(), "other")
	must(t, err)
	b := batchOf(f, 0, 1, 1, true)
	b.Entries[0].Body = noise(2 << 20)
	must(t, f.Commit(t.Context(), b))
	must(t, o.Ack(t.Context(), done(oldest(t, o, 1)...)...))

	begun, end, syncs := held(s)
	var all sync.WaitGroup
	all.Go(func() {
		if err := emptyCommit(t.Context(), other); err != nil {
			t.Error(err)
		}
	})
	<-begun
	var swept, committed error
	all.Go(func() { swept = badgerstore.Sweep(s) })
	badgerstore.Waiting(s, 1)
	all.Go(func() { committed = emptyCommit(t.Context(), f) })
	badgerstore.Waiting(s, 2)
	end <- nil
	<-begun
	failed := make(chan struct{})
	go func() { // should there be another sync, it is good
		select {
		case <-begun:
			end <- nil
		case <-failed:
		}
	}()
	end <- errors.New("disk")
	all.Wait()
	close(failed)
	if swept == nil || !errors.Is(committed, store.ErrBusy) {
		t.Errorf("sweep: %v, commit beside it: %v after %d syncs, want ErrBusy", swept, committed, syncs.Load())
	}
}

func TestNoCommitWhenTheDiskIsNearlyFull(t *testing.T) {
	var free atomic.Uint64
	free.Store(math.MaxUint64)
	s := open(t, t.TempDir(), badgerstore.Options{FreeSpace: func(string) (uint64, error) { return free.Load(), nil }})
	free.Store(200 << 20)
	f := claim(t, s)
	err := f.Commit(t.Context(), batchOf(f, 0, 10, 1, true))
	if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "200 MiB free and must keep 256 MiB") {
		t.Errorf("%v, want ErrFull and the figures", err)
	}
	if p := f.Position(); p.Commit != 0 {
		t.Errorf("position %+v after a refused commit", p)
	}
	free.Store(1 << 40)
	must(t, f.Commit(t.Context(), batchOf(f, 0, 10, 1, true)))
	o := attach(t, s)
	free.Store(200 << 20) // what waits can still leave
	must(t, o.Ack(t.Context(), done(oldest(t, o, 9)...)...))
	last := oldest(t, o, 1)[0]
	must(t, o.Bury(t.Context(), last, record.Cause{}, instant))
	if err := s.Admin().Retry(t.Context(), last.ID, nil, false); !errors.Is(err, store.ErrFull) {
		t.Errorf("retry: %v, want ErrFull", err)
	}
	free.Store(1 << 40)
	must(t, s.Admin().Retry(t.Context(), last.ID, nil, false))
}

// Below half of what commits need nothing at all is written, as the disk of who writes to a full one by a memory map kills the
// process; and nothing that was opened is closed, which writes too.
func TestNothingIsWrittenWhenTheDiskIsFull(t *testing.T) {
	var free atomic.Uint64
	free.Store(math.MaxUint64)
	dir := t.TempDir()
	opt := badgerstore.Options{FreeSpace: func(string) (uint64, error) { return free.Load(), nil }}
	s, err := badgerstore.Open(dir, opt)
	must(t, err)
	fill(t, s, 10)
	f, o := claim(t, s), attach(t, s)
	ids := oldest(t, o, 10)
	free.Store(100 << 20)
	for what, try := range map[string]func() error{
		"commit":  func() error { return f.Commit(t.Context(), batchOf(f, 10, 10, 1, true)) },
		"ack":     func() error { return o.Ack(t.Context(), done(ids[0])...) },
		"defer":   func() error { return o.Defer(t.Context(), ids[1], store.Attempt{Attempts: 1}) },
		"bury":    func() error { return o.Bury(t.Context(), ids[2], record.Cause{}, instant) },
		"claim":   func() error { _, err := s.Claim(t.Context(), "p"); return err },
		"save":    func() error { return s.SaveState(t.Context(), "rest.a", []byte("x")) },
		"release": func() error { return f.Release(t.Context()) },
	} {
		if err := try(); !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "100 MiB free and must keep 128 MiB: make room") {
			t.Errorf("%s: %v, want ErrFull and the figures", what, err)
		}
	}
	free.Store(1 << 40)
	must(t, f.Commit(t.Context(), batchOf(f, 10, 10, 1, true)))
	must(t, o.Ack(t.Context(), done(ids...)...))
	must(t, s.Close())
	free.Store(100 << 20)
	if _, err := badgerstore.Open(dir, opt); !errors.Is(err, store.ErrFull) {
		t.Errorf("opened where nothing may be written: %v", err)
	}
	free.Store(1 << 40)
	s = open(t, dir, opt)
	if n := len(oldest(t, attach(t, s), 100)); n != 10 {
		t.Errorf("%d wait, want the 10 that were committed last", n)
	}
}

// TestAStateWhoseDirectoryIsGoneTakesNoMoreWrites: its files are open, and would take them as if nothing had happened.
func TestAStateWhoseDirectoryIsGoneTakesNoMoreWrites(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.CopyFS(dir, os.DirFS(dir+".old")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			s, err := badgerstore.Open(dir, badgerstore.Options{})
			must(t, err)
			t.Cleanup(func() { _ = s.Close() })
			fill(t, s, 10)
			o := attach(t, s)
			ids := oldest(t, o, 1)
			must(t, lose(dir))
			if err := o.Ack(t.Context(), done(ids...)...); !errors.Is(err, badgerstore.ErrGone) {
				t.Errorf("ack: %v, want ErrGone", err)
			}
			select {
			case <-s.Failed():
			default:
				t.Error("the engine is not told")
			}
			if !errors.Is(s.Why(), badgerstore.ErrGone) || !strings.Contains(s.Why().Error(), dir) {
				t.Errorf("why: %v", s.Why())
			}
		})
	}
}

// A backlog that leaves while the disk is nearly full must not fill it with what is kept of it.
func TestNoHistoryWhenTheDiskIsNearlyFull(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	s := open(t, t.TempDir(), badgerstore.Options{Keep: time.Hour, FreeSpace: func(string) (uint64, error) { return free.Load(), nil }})
	fill(t, s, 10)
	o := attach(t, s)
	must(t, o.Ack(t.Context(), done(oldest(t, o, 3)...)...))
	free.Store(200 << 20)
	must(t, o.Ack(t.Context(), done(oldest(t, o, 4)...)...))
	free.Store(1 << 40)
	must(t, o.Ack(t.Context(), done(oldest(t, o, 2)...)...))
	if n, left := len(delivered(t, s, store.Filter{})), len(oldest(t, o, 10)); n != 5 || left != 1 {
		t.Errorf("%d are kept and %d are left, want 5 and 1", n, left)
	}
}

// A large value is stored in parts; they go when it goes, and those of a batch that never came go too.
func TestPartsAreSwept(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{})
	f, o := claim(t, s), attach(t, s)
	b := batchOf(f, 0, 3, 1, true)
	for i := range b.Entries {
		b.Entries[i].Body = noise(2 << 20)
	}
	must(t, f.Commit(t.Context(), b))
	if n := badgerstore.Parts(t, s); n < 12 {
		t.Fatalf("%d parts of 6 MiB", n)
	}
	must(t, o.Ack(t.Context(), done(oldest(t, o, 2)...)...))
	must(t, badgerstore.Sweep(s))
	if n := badgerstore.Parts(t, s); n == 0 || n > 6 {
		t.Errorf("%d parts for the 2 MiB that are left", n)
	}
	last := oldest(t, o, 1)[0]
	for range 3 {
		must(t, o.Defer(t.Context(), last, store.Attempt{Attempts: 1}))
	}
	must(t, badgerstore.Sweep(s))
	if n := badgerstore.Parts(t, s); n > 6 {
		t.Errorf("%d parts after the same was written again", n)
	}
	if head, err := o.Head(t.Context(), last.Lane, 1); err != nil || len(head) != 1 || len(head[0].Body) != 2<<20 {
		t.Errorf("what is left is damaged: %v", err)
	}
	must(t, o.Ack(t.Context(), done(last)...))

	// Every sync fails, so that the parts are written and the batch is not.
	badgerstore.OnSync(s, func(func() error) error { return errors.New("disk") })
	b.Base = f.Position().Commit
	if err := f.Commit(t.Context(), b); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("%v, want ErrUnknown", err)
	}
	if n := badgerstore.Parts(t, s); n == 0 {
		t.Fatal("no parts were written")
	}
	badgerstore.Repair(s)
	must(t, badgerstore.Sweep(s))
	if n := badgerstore.Parts(t, s); n > 0 {
		t.Errorf("%d parts that belong to nothing", n)
	}
}

// A destination's backlog may outgrow the index and shrink again: its lanes keep their order, and nothing is lost.
func TestInvariant4HoldsBeyondTheIndex(t *testing.T) {
	s := open(t, t.TempDir(), badgerstore.Options{Indexed: 100})
	o := attach(t, s)
	const n = 1500
	for round := range 2 {
		fill(t, s, n)
		last := map[string]uint64{}
		seen := map[string]bool{}
		for len(seen) < n {
			ids := oldest(t, o, 40)
			if len(ids) == 0 {
				t.Fatalf("round %d: %d of %d came", round, len(seen), n)
			}
			for _, id := range ids {
				if seen[id.ID] || id.Seq <= last[id.Lane] {
					t.Fatalf("round %d: %d came after %d in its lane", round, id.Seq, last[id.Lane])
				}
				seen[id.ID], last[id.Lane] = true, id.Seq
			}
			must(t, o.Ack(t.Context(), done(ids...)...))
		}
		if lanes, _, err := o.Lanes(t.Context(), nil, 10); err != nil || len(lanes) > 0 {
			t.Errorf("%d lanes are left, %v", len(lanes), err)
		}
	}
}

// TestAFailedStateIsReadAndClosedWithoutAPanic: a log is full, and the next can't be begun, as somebody has put a directory in its place.
func TestAFailedStateIsReadAndClosedWithoutAPanic(t *testing.T) {
	dir, err := os.MkdirTemp("", "rounds-test-") // Badger, which goes on trying, may write while it is removed
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := badgerstore.Open(dir, badgerstore.Options{})
	must(t, err)
	f := claim(t, s)
	for id := range 10 { // whatever number is next
		for _, name := range []string{fmt.Sprintf("%05d.mem", id), fmt.Sprintf("%06d.sst", id)} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
				t.Fatal(err)
			}
		}
	}
	for i := 0; err == nil; i += 100 {
		if i == 2000 {
			t.Fatal("every log could be begun")
		}
		b := batchOf(f, i, 100, 1, true)
		for j := range b.Entries {
			b.Entries[j].Body = noise(20 << 10)
		}
		err = f.Commit(t.Context(), b)
	}
	select {
	case <-s.Failed():
	case <-time.After(10 * time.Second):
		t.Fatalf("the engine is not told of %v", err)
	}
	if _, err := s.LoadState(t.Context(), "rest.a"); err != nil && !errors.Is(err, store.ErrBusy) {
		t.Errorf("read after the failure: %v, want ErrBusy", err)
	}
	begun := time.Now()
	if err := s.Close(); err != nil && !strings.Contains(err.Error(), "nothing is lost") {
		t.Errorf("close after the failure: %v", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the close took %s", took)
	}
}
