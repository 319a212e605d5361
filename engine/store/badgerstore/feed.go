// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// feed is the ownership of a pipeline. It is the owner as long as s.feeds says so.
type feed struct {
	s        *Store
	name     string
	pipeline uint32
	position store.Position // under s.mu
	lost     chan struct{}
}

// Claim implements store.Store. Another process can't own the pipeline, since it can't open the directory.
func (s *Store) Claim(ctx context.Context, pipeline string) (store.Feed, error) {
	if s.opt.ReadOnly {
		return s.lookAt(ctx, pipeline)
	}
	f := &feed{s: s, name: pipeline, lost: make(chan struct{})}
	err := s.do(ctx, &request{owner: true, durable: true,
		apply: func(t *tx) (err error) {
			if f.pipeline, err = t.id(pipelineName, pipeline); err != nil {
				return err
			}
			f.position, err = position(t.txn, f.pipeline)
			return err
		},
		after: func() {
			if old := s.feeds[f.pipeline]; old != nil {
				close(old.lost)
			}
			s.feeds[f.pipeline] = f
		},
	})
	if err != nil {
		return nil, fmt.Errorf("claim pipeline %s: %w", pipeline, err)
	}
	return f, nil
}

func position(txn *badger.Txn, pipeline uint32) (store.Position, error) {
	b, err := readValue(txn, keyNumber(positionKey, pipeline))
	if err != nil || b == nil {
		return store.Position{}, err
	}
	return decodePosition(b)
}

// Position implements store.Feed.
func (f *feed) Position() store.Position {
	f.s.mu.RLock()
	defer f.s.mu.RUnlock()
	return f.position
}

// Seen implements store.Feed.
func (f *feed) Seen(ctx context.Context, refs []sdk.Ref) ([]store.Row, error) {
	rows := make([]store.Row, 0, len(refs))
	err := f.look(ctx, refs, func(txn *badger.Txn, ref sdk.Ref) error {
		row, err := readRow(txn, f.pipeline, ref)
		if row != nil {
			rows = append(rows, *row)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Snapshots implements store.Feed.
func (f *feed) Snapshots(ctx context.Context, refs []sdk.Ref) (map[sdk.Ref][]byte, error) {
	snapshots := make(map[sdk.Ref][]byte, len(refs))
	err := f.look(ctx, refs, func(txn *badger.Txn, ref sdk.Ref) error {
		value, err := readValue(txn, keyRow(f.pipeline, ref))
		if err != nil || value == nil {
			return err
		}
		snapshot, err := decodeSnapshot(value)
		if snapshot != nil {
			snapshots[ref] = snapshot
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return snapshots, nil
}

// look calls read for each ref, all in one view of the state.
func (f *feed) look(ctx context.Context, refs []sdk.Ref, read func(*badger.Txn, sdk.Ref) error) error {
	if len(refs) > f.s.limits.Refs {
		return store.ErrTooLarge
	}
	if !f.owns() {
		return store.ErrFenced
	}
	return f.s.view(ctx, func(txn *badger.Txn) error {
		for _, ref := range refs {
			if err := read(txn, ref); err != nil {
				return err
			}
		}
		return nil
	})
}

// readRow returns nil when there is no row. It does not read the parts of a snapshot.
func readRow(txn *badger.Txn, pipeline uint32, ref sdk.Ref) (*store.Row, error) {
	i, err := txn.Get(keyRow(pipeline, ref))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	row, err := itemRow(txn, i)
	return &row, err
}

func itemRow(txn *badger.Txn, i *badger.Item) (row store.Row, err error) {
	err = readHead(txn, i, func(b []byte) (err error) {
		row, err = decodeRow(b)
		return err
	})
	return row, err
}

// Commit implements store.Feed.
//
// Invariant 1: what a batch holds (rows, entries, dead letters, position) is written in one transaction, or not at all.
func (f *feed) Commit(ctx context.Context, b store.Batch) error {
	if b.Items() > f.s.limits.Items || b.Size() > f.s.limits.Bytes {
		return store.ErrTooLarge
	}
	// What takes time is done here, in the caller's goroutine.
	entries, err := f.s.encodeEntries(b.Entries, f.name, f.pipeline)
	if err != nil {
		return err
	}
	size := sizeOf(entries)
	rows := make([][]byte, len(b.Rows))
	for i := range b.Rows {
		rows[i] = encodeRow(&b.Rows[i])
		size += keySize + len(rows[i])
	}
	for i := range b.Dead {
		size += 2*keySize + store.DeadSize(&b.Dead[i])
	}
	mark := encodeNumber(b.Scan)
	if b.Scan > 0 {
		size += (len(b.Rows) + len(b.Marks)) * keySize
	}
	var next store.Position
	if p := b.Position; p != nil {
		size += len(p.Watermark) + len(p.Cursor)
	}
	return f.s.do(ctx, &request{size: size + 4*keySize, durable: !f.onlyPolled(&b),
		apply: func(t *tx) error {
			if f.s.feeds[f.pipeline] != f {
				return store.ErrFenced
			}
			stored, err := position(t.txn, f.pipeline)
			if err != nil {
				return err
			}
			if stored.Commit != b.Base {
				return store.ErrStale
			}
			if err := f.s.forMore(t.room); err != nil {
				return err
			}
			next = stored
			if b.Position != nil {
				next = *b.Position
			}
			next.Commit = stored.Commit + 1
			if err := t.enter(entries); err != nil {
				return err
			}
			for i := range b.Rows {
				t.set(keyRow(f.pipeline, b.Rows[i].Ref), rows[i])
				if b.Scan > 0 {
					t.set(keyMark(f.pipeline, b.Rows[i].Ref), mark)
				}
			}
			for i := range b.Marks {
				t.set(keyMark(f.pipeline, b.Marks[i]), mark)
			}
			for i := range b.Dead {
				if err := t.bury(&b.Dead[i]); err != nil {
					t.fail(err)
				}
			}
			t.set(keyNumber(positionKey, f.pipeline), encodePosition(&next))
			return nil
		},
		after: func() {
			f.position = next
			f.s.added(entries)
		},
	})
}

// onlyPolled says that a batch tells no more than that a window which brought nothing was read. What a loss of power takes of it costs a
// poll: it is not worth a sync, and an engine makes many of them.
func (f *feed) onlyPolled(b *store.Batch) bool {
	if b.Items() > 0 || b.Position == nil {
		return false
	}
	is, then := f.Position(), *b.Position
	return bytes.Equal(is.Watermark, then.Watermark) && bytes.Equal(is.Cursor, then.Cursor) && is.Start.Equal(then.Start) &&
		is.Started == then.Started && is.Epoch == then.Epoch && is.Scan == then.Scan
}

// Unmarked implements store.Feed. The token is the key of the row to go on with.
func (f *feed) Unmarked(ctx context.Context, scan uint64, token []byte, limit int) (refs []sdk.Ref, next []byte, err error) {
	if !f.owns() {
		return nil, nil, store.ErrFenced
	}
	prefix := keyNumber(rowKey, f.pipeline)
	if token != nil && !bytes.HasPrefix(token, prefix) {
		return nil, nil, errToken
	}
	err = f.s.view(ctx, func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		for it.Seek([]byte(cmp.Or(string(token), string(prefix)))); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			key := it.Item().Key()
			mark, err := readNumber(txn, markOf(key))
			if err != nil {
				return err
			}
			if mark >= scan {
				continue
			}
			value, err := itemValue(txn, it.Item())
			if err != nil {
				return err
			}
			row, err := decodeRow(value)
			if err != nil {
				return err
			}
			if row.Deleted {
				continue
			}
			if len(refs) == limit {
				next = bytes.Clone(key)
				return nil
			}
			refs = append(refs, row.Ref)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return refs, next, nil
}

// Lost implements store.Feed.
func (f *feed) Lost() <-chan struct{} { return f.lost }

// Release implements store.Feed.
func (f *feed) Release(ctx context.Context) error {
	if f.s.opt.ReadOnly {
		return nil
	}
	return f.s.do(ctx, &request{owner: true,
		apply: func(*tx) error { return nil },
		after: func() {
			if f.s.feeds[f.pipeline] == f {
				delete(f.s.feeds, f.pipeline)
				close(f.lost)
			}
		},
	})
}

func (f *feed) owns() bool {
	if f.s.opt.ReadOnly {
		return true // there is nothing to own
	}
	f.s.mu.RLock()
	defer f.s.mu.RUnlock()
	return f.s.feeds[f.pipeline] == f
}

// outgoing is an entry on its way into the outbox.
type outgoing struct {
	destination string
	lane        laneID
	id          string
	value       []byte
	content     []byte // nil: it is in the value
	committed   time.Time
	to          uint32 // number of the destination; given by the committer, as is item
	item        item
}

func (s *Store) encodeEntries(entries []record.Entry, name string, pipeline uint32) ([]outgoing, error) {
	out := make([]outgoing, len(entries))
	for i := range entries {
		n := &entries[i]
		if n.Pipeline != name {
			return nil, errors.New("an entry is of another pipeline than its batch")
		}
		out[i] = outgoing{destination: n.Destination, lane: laneOf(pipeline, n.Key), id: n.ID, committed: n.Committed}
		if s.opt.Keep > 0 {
			out[i].content = encodeContent(n)
			out[i].value = encodeEntryApart(n, pipeline, len(out[i].content))
		} else {
			out[i].value = encodeEntry(n, pipeline)
		}
	}
	return out, nil
}

// sizeOf is about what entries add to a transaction.
func sizeOf(entries []outgoing) (size int) {
	for i := range entries {
		size += 2*keySize + len(entries[i].value) + len(entries[i].content)
	}
	return size
}

// enter puts entries at the ends of their lanes.
//
// Invariant 4: numbers are given here and nowhere else, by the one committer, in the order of the batch; so the order of a
// lane, which is the order of its numbers, is the order of commit.
func (t *tx) enter(entries []outgoing) error {
	for i := range entries {
		id, err := t.id(destinationName, entries[i].destination)
		if err != nil {
			return err
		}
		entries[i].to = id
	}
	for i := range entries {
		e := &entries[i]
		e.item = itemOf(t.number(), e.id)
		t.set(keyEntry(e.to, e.lane, e.item), e.value)
		if e.content != nil {
			t.set(keyContent(e.item.seq), e.content)
		}
		t.depths.add(e.to, e.committed.Unix(), 1)
	}
	return nil
}

// added tells the outboxes of new entries. The committer holds s.mu.
func (s *Store) added(entries []outgoing) {
	for i := range entries {
		e := &entries[i]
		o := s.outboxes[e.to]
		if o == nil {
			continue
		}
		o.lanes.add(e.lane, e.item)
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
}
