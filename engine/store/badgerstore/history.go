// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Delivered notifications stand under the time of their delivery, and under their record. What was written of them with the commit is
// moved without their content, which stays where it is (content.go). The oldest are deleted when their time is
// over or when there are too many. Badger could let keys expire, but frees their space only where something is written among
// them, and among old times nothing is but deletions.

// accept takes an entry out of the outbox, if it is there, and puts it among the delivered ones, if such are kept and there is room: what
// waits has to leave also where nothing more can be kept.
func (t *tx) accept(o *outbox, at *entryAt, done *store.Done) error {
	i, err := t.txn.Get(at.key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	keep, read := t.s.opt.Keep, withValue
	if keep == 0 || t.s.forMore(t.room) != nil {
		keep, read = 0, readHead
	}
	return read(t.txn, i, func(b []byte) error {
		head, pipeline, apart, err := decodeEntryHead(b)
		if err != nil {
			return err
		}
		t.remove(o, at, head.Committed)
		if keep == 0 {
			t.dropContent(at.item.seq, apart)
			return nil
		}
		key := keyDone(done.At, at.item.seq)
		if bytes.Compare(key, t.s.oldest) < 0 { // the clock was set back; should the transaction fail, trim begins there for nothing
			t.s.oldest = key
		}
		value := encodeDone(done, done.At.Add(keep), o.destination, b)
		t.set(key, value)
		t.set(append(prefixDoneRef(pipeline, head.Ref), key[1:]...), nil)
		t.history[o.destination] += doneSize(len(value), apart)
		return nil
	})
}

// doneSize is what a delivered entry takes, with its content and the keys that lead to it.
func doneSize(value, apart int) int64 { return int64(value + apart + 2*(1+doneLen) + 4 + 16 + 64) }

// Delivered implements store.Admin. The token is the place of the one given last.
func (a admin) Delivered(ctx context.Context, f store.Filter, newest bool, token []byte, limit int) (
	delivered []store.Delivered, next []byte, err error,
) {
	m, err := a.s.matcher(f)
	if err != nil {
		return nil, nil, err
	}
	if token != nil && len(token) != doneLen {
		return nil, nil, errToken
	}
	prefix := []byte{doneKey}
	if m.byRef {
		prefix = prefixDoneRef(m.pipeline, f.Ref)
	}
	// The listing goes from one place to another, both inclusive.
	from, to := bytes.Repeat([]byte{0}, doneLen), bytes.Repeat([]byte{0xff}, doneLen)
	if !f.From.IsZero() {
		from = keyDone(f.From, 0)[1:]
	}
	if !f.To.IsZero() {
		to = keyDone(f.To, 0)[1:]
	}
	if newest {
		from, to = to, from
	}
	if token != nil {
		from = token
	}
	limit = max(limit, 1)
	err = a.s.view(ctx, func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: newest})
		defer it.Close()
		var last []byte
		size := 0
		for it.Seek(append(bytes.Clone(prefix), from...)); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			key := it.Item().Key()
			if len(key) != len(prefix)+doneLen {
				return errCorrupt
			}
			place := key[len(prefix):]
			if beyond := bytes.Compare(place, to); newest && beyond < 0 || !newest && beyond > 0 {
				return nil
			}
			if bytes.Equal(place, token) {
				continue
			}
			i := it.Item()
			if m.byRef {
				if i, err = txn.Get(append([]byte{doneKey}, place...)); errors.Is(err, badger.ErrKeyNotFound) {
					continue // its time is over, or it was dropped
				} else if err != nil {
					return err
				}
			}
			var head doneHead
			if err := readHead(txn, i, head.decode); err != nil {
				return err
			}
			if !m.matches(head.pipeline, head.destination, head.at, &head.entry) {
				continue
			}
			if len(delivered) == limit || size >= a.s.limits.Bytes { // as in list
				next = last
				return nil
			}
			done, err := a.s.readDone(txn, i, seqOf(place))
			if err != nil {
				return err
			}
			delivered, last, size = append(delivered, done), bytes.Clone(place), size+store.EntrySize(&done.Entry)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return delivered, next, nil
}

// seqOf is the number in the key of a delivered entry, or in its place.
func seqOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

func (s *Store) readDone(txn *badger.Txn, i *badger.Item, seq uint64) (done store.Delivered, err error) {
	var head doneHead
	err = withValue(txn, i, func(b []byte) (err error) {
		done, head, err = decodeDone(b)
		return err
	})
	done.Seq = seq
	if err == nil && head.apart > 0 {
		err = readContent(txn, &done.Entry)
	}
	done.Pipeline, done.Destination = s.nameOf(head.pipeline), s.nameOf(head.destination)
	return done, err
}

// Replay implements store.Admin.
func (a admin) Replay(ctx context.Context, all []store.Again) (superseded int, err error) {
	size := 0
	for i := range all {
		size += store.EntrySize(&all[i].Entry)
	}
	if len(all) > a.s.limits.Items || size > a.s.limits.Bytes {
		return 0, store.ErrTooLarge
	}
	var out []outgoing
	err = a.s.do(ctx, &request{size: size, durable: true,
		apply: func(t *tx) error {
			if err := a.s.forMore(t.room); err != nil {
				return err
			}
			out, superseded = out[:0], 0
			for _, e := range all {
				pipeline, err := t.id(pipelineName, e.Pipeline)
				if err != nil {
					return err
				}
				// Invariant 4: it is asked here, where nothing can be committed in between.
				row, err := readRow(t.txn, pipeline, e.Ref)
				if err != nil {
					return err
				}
				if row != nil && e.Newest > 0 && row.Generation > e.Newest {
					superseded++
					continue
				}
				one, err := a.s.encodeEntries(putBack([]record.Entry{e.Entry}, true), e.Pipeline, pipeline)
				if err != nil {
					return err
				}
				out = append(out, one...)
			}
			return t.enter(out)
		},
		after: func() { a.s.added(out) },
	})
	if err != nil {
		return 0, err // it may still be under way
	}
	return superseded, nil
}

// matcher is a filter with numbers for names, 0 for one that the state does not know. A dead letter without a notification has 0 for
// its destination too, which matches none.
type matcher struct {
	store.Filter
	pipeline, destination uint32
	byRef                 bool
}

var errRefAlone = errors.New("a record is asked for without its pipeline")

func (s *Store) matcher(f store.Filter) (matcher, error) {
	m := matcher{Filter: f}
	s.mu.RLock()
	defer s.mu.RUnlock()
	m.pipeline, _ = s.names.id(pipelineName, f.Pipeline)
	m.destination, _ = s.names.id(destinationName, f.Destination)
	if m.byRef = f.Ref != (sdk.Ref{}); m.byRef && f.Pipeline == "" {
		return m, errRefAlone
	}
	return m, nil
}

// matches looks at the id and the record of e only.
func (m *matcher) matches(pipeline, destination uint32, at time.Time, e *record.Entry) bool {
	return (m.Pipeline == "" || m.pipeline == pipeline) && (m.Destination == "" || m.destination != 0 && m.destination == destination) &&
		(m.ID == "" || m.ID == e.ID) && (!m.byRef || m.Ref == e.Ref) &&
		(m.From.IsZero() || !at.Before(m.From)) && (m.To.IsZero() || at.Before(m.To))
}

// trim drops delivered ones whose time is over, and the oldest when there are more than KeepBytes.
func (s *Store) trim(ctx context.Context) error {
	for more := true; more; {
		var from, to []byte
		err := s.do(ctx, &request{
			size: trimAtATime * 128,
			apply: func(t *tx) (err error) {
				from = s.oldest
				to, more, err = t.trim(time.Now())
				return err
			},
			after: func() {
				if bytes.Equal(from, s.oldest) { // nothing older came meanwhile
					s.oldest = to
				}
			},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// trim drops some, and says from where on there are others then, and whether there may be more to drop. It looks from Store.oldest on: what
// was dropped before is in the way of an iterator until Badger compacts it.
func (t *tx) trim(now time.Time) (oldest []byte, more bool, err error) {
	size := int64(0)
	for _, n := range t.s.history {
		size += n
	}
	it := t.txn.NewIterator(badger.IteratorOptions{Prefix: []byte{doneKey}})
	defer it.Close()
	var keys [][]byte
	dropped := 0
	oldest = t.s.oldest
	for it.Seek(oldest); it.Valid() && dropped < trimAtATime; it.Next() {
		oldest = it.Item().KeyCopy(nil)
		if len(oldest) != 1+doneLen {
			return nil, false, errCorrupt
		}
		var head doneHead
		if err := readHead(t.txn, it.Item(), head.decode); err != nil {
			return nil, false, err
		}
		over := now.After(head.until) || t.s.opt.Keep > 0 && now.Sub(head.at) > t.s.opt.Keep
		if !over && size <= t.s.opt.KeepBytes {
			break
		}
		n, err := valueSize(it.Item())
		if err != nil {
			return nil, false, err
		}
		size -= doneSize(n, head.apart)
		t.history[head.destination] -= doneSize(n, head.apart)
		dropped++
		keys = append(keys, oldest, append(prefixDoneRef(head.pipeline, head.entry.Ref), oldest[1:]...))
		if head.apart > 0 {
			keys = append(keys, keyContent(seqOf(oldest)))
		}
	}
	if dropped == 0 {
		return oldest, false, nil
	}
	// The acknowledgements have to last before the contents go: a loss of power that undid one would bring back an entry without.
	if err := t.s.syncAll(); err != nil {
		t.s.fail(err)
		return nil, false, err
	}
	for _, key := range keys {
		t.delete(key)
	}
	return oldest, dropped == trimAtATime, nil
}

// valueSize is the length of a value, with its parts.
func valueSize(i *badger.Item) (n int, err error) {
	err = i.Value(func(b []byte) error {
		if n = len(b); n == 0 || b[0] != valueInParts {
			return nil
		}
		_, size, err := readStub(b)
		n = int(size)
		return err
	})
	return n, err
}
