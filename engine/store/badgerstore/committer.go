// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/store"
)

// request asks the committer for a write, or for a change of ownership.
type request struct {
	size    int  // bytes that it adds to a transaction, about
	durable bool // it must be on disk before the caller hears of it
	alone   bool // it shares a transaction with no other: those before it see what was before, those after it what is then
	// owner says that it changes who owns a pipeline. Such requests share a transaction with others of their kind only: commits before
	// it see the old owner, those after it the new one.
	owner bool
	// apply writes. It first checks and then writes, so that a request that is refused leaves nothing in a transaction that
	// it shares; and it changes nothing else, as it may be called twice.
	apply func(*tx) error
	// after runs when the writes are visible, with s.mu held: it may change what only the committer changes.
	after func()

	ctx   context.Context
	state atomic.Int32
	done  chan error // has room for the answer
}

// states of a request
const (
	waiting = iota
	taken
	withdrawn
)

// do hands a request to the committer and waits for the answer.
func (s *Store) do(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.opt.ReadOnly {
		return errReadOnly
	}
	r.ctx, r.done = ctx, make(chan error, 1)
	select {
	case s.queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return errClosed
	}
	select {
	case err := <-r.done:
		return err
	case <-s.stopped:
		select {
		case err := <-r.done:
			return err
		default:
			return errClosed
		}
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, withdrawn) {
			return ctx.Err()
		}
		select {
		case err := <-r.done:
			return err
		default:
			return fmt.Errorf("%w: %w while it was written", store.ErrUnknown, ctx.Err())
		}
	}
}

// commitLoop is the committer.
func (s *Store) commitLoop() {
	defer close(s.stopped)
	var next *request // did not fit the group before
	for {
		first := next
		next = nil
		if first == nil {
			select {
			case <-s.stop:
				return
			case first = <-s.queue:
			}
		}
		requests, size := []*request{first}, first.size
	gather:
		for !first.alone && len(requests) < cap(s.queue) {
			select {
			case r := <-s.queue:
				if r.alone || r.owner != first.owner || size+r.size > group {
					next = r
					break gather
				}
				requests, size = append(requests, r), size+r.size
			default:
				break gather
			}
		}
		open := requests[:0]
		for _, r := range requests {
			if r.state.CompareAndSwap(waiting, taken) {
				open = append(open, r)
			}
		}
		whole := wholeValue
		if size > group {
			whole = crowdedValue
		}
		s.commit(open, whole)
	}
}

// commit writes the requests in one transaction and answers them.
func (s *Store) commit(requests []*request, whole int) {
	if s.failed != nil {
		answer(requests, s.failedError())
		return
	}
	if err := s.present(); err != nil {
		s.broken(requests, err)
		return
	}
	left := s.look()
	if err := s.forAny(left); err != nil {
		answer(requests, err)
		return
	}
	t := s.begin(whole)
	t.room = left
	var applied []*request
	durable := false
	for _, r := range requests {
		if err := r.apply(t); err != nil {
			r.done <- err
			continue
		}
		applied = append(applied, r)
		durable = durable || r.durable
	}
	if s.failed != nil { // a request had to sync, and could not
		t.txn.Discard()
		answer(applied, s.failedError())
		return
	}
	known, err := t.write()
	switch {
	case err != nil && known && len(applied) > 1:
		for _, r := range applied {
			s.commit([]*request{r}, whole)
		}
		return
	case errors.Is(err, badger.ErrTxnTooBig) && whole > crowdedValue:
		s.commit(applied, crowdedValue)
		return
	case errors.Is(err, badger.ErrTxnTooBig):
		answer(applied, store.ErrTooLarge)
		return
	case err != nil && known:
		answer(applied, err)
		return
	case err != nil:
		s.broken(applied, err)
		return
	}

	// Acknowledgements are where a kill can't reach them; they need not wait for the sync.
	s.publish(t, applied, false)
	if durable {
		if t.wrote {
			if err := s.syncAll(); err != nil {
				s.broken(applied, err)
				return
			}
		}
		s.publish(nil, applied, true)
	}
	for _, o := range s.outboxes {
		if n := s.depths.count(o.destination); o.lanes.few(n) {
			// Should this fail, places are still looked up on disk, where the error is met again.
			_ = o.lanes.load(s.db, n)
		}
	}
}

// publish makes the writes of requests known inside the process, and answers those that are as durable as asked.
func (s *Store) publish(t *tx, requests []*request, durable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t != nil {
		t.published()
	}
	for _, r := range requests {
		if r.durable != durable {
			continue
		}
		if r.after != nil {
			r.after()
		}
		r.done <- nil
	}
}

// syncAll makes durable what was written. Badger's own sync reaches the log in use. What stands in an older one, which is about
// to become a table, comes first: else a loss of power could undo an acknowledgement and keep a younger one of its lane, and
// the older notification would come after the younger (invariant 4). Last comes the directory, when Badger began a log since: it syncs
// no name of a log, and one that a loss of power takes away takes with it what was synced into it.
func (s *Store) syncAll() error {
	logs, err := logsIn(s.dir)
	if err != nil {
		return err
	}
	for _, log := range logs[:max(len(logs)-1, 0)] {
		if err := s.syncLog(filepath.Join(s.dir, log.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is a table now
			return err
		}
	}
	if err := s.sync(); err != nil || len(logs) == 0 {
		return err
	}
	inUse := logs[len(logs)-1].Name()
	if s.named == inUse {
		return nil
	}
	if err := s.step(Step{Kind: StepSyncDir}, func() error { return syncDir(s.dir) }); err != nil {
		return err
	}
	s.named = inUse
	return nil
}

func syncFile(name string) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// logsIn lists Badger's logs, the one in use last.
func logsIn(dir string) ([]os.DirEntry, error) {
	files, err := os.ReadDir(dir)
	return slices.DeleteFunc(files, func(f os.DirEntry) bool { return filepath.Ext(f.Name()) != ".mem" }), err
}

// broken ends all writing.
func (s *Store) broken(requests []*request, err error) {
	s.fail(err)
	for _, r := range requests {
		select {
		case r.done <- fmt.Errorf("%w: write the state in %s: %w", store.ErrUnknown, s.dir, err):
		default: // answered before the sync
		}
	}
}

// fail takes note that what is on disk is not known: after a failed sync the system may have dropped the pages and call the
// next sync a success.
func (s *Store) fail(err error) {
	if s.failed == nil {
		s.failed = err
		close(s.dead)
	}
}

func (s *Store) failedError() error {
	return fmt.Errorf("%w: an earlier write failed, so the engine must be started again: %w", store.ErrBusy, s.failed)
}

// Failed is closed when a write failed in a way that leaves open what is on disk. Nothing is written from then on, until the
// state is opened again.
func (s *Store) Failed() <-chan struct{} { return s.dead }

// Why is what failed, once Failed is closed.
func (s *Store) Why() error { return s.failed }

func answer(requests []*request, err error) {
	for _, r := range requests {
		r.done <- err
	}
}
