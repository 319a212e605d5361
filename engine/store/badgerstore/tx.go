// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// tx is one transaction of the committer. It reads what it wrote. The first error is kept, and nothing of the transaction
// is written then.
type tx struct {
	s       *Store
	txn     *badger.Txn
	whole   int // values from this length on are cut into parts
	parts   []part
	last    uint64           // number given last
	depths  depths           // changes of what waits
	letters map[uint32]int   // changes of the numbers of dead letters, by pipeline
	history map[uint32]int64 // changes of the bytes of delivered entries, by destination
	names   []newName
	room    room // when it was begun
	wrote   bool
	err     error
}

type part struct{ key, value []byte }

func (s *Store) begin(whole int) *tx {
	return &tx{s: s, txn: s.db.NewTransaction(true), whole: whole, last: s.last, depths: depths{}, letters: map[uint32]int{}, history: map[uint32]int64{}}
}

// get returns nil when there is no such key.
func (t *tx) get(key []byte) ([]byte, error) { return readValue(t.txn, key) }

func (t *tx) has(key []byte) (bool, error) {
	_, err := t.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// set writes a value. A large one is cut into parts, which are written before the transaction, so that it need not hold
// them: what it holds is a stub. Parts whose transaction never came, or whose value is gone, are swept in time.
func (t *tx) set(key, value []byte) {
	if len(value) >= t.whole {
		blob := t.number()
		stub := binary.BigEndian.AppendUint64([]byte{valueInParts}, blob)
		stub = binary.AppendUvarint(stub, uint64(len(value)))
		for i := 0; len(value) > 0; i++ {
			n := min(len(value), wholeValue)
			t.parts = append(t.parts, part{keyPart(key, blob, i), value[:n]})
			value = value[n:]
		}
		value = stub
	}
	t.fail(t.txn.Set(key, value))
	t.wrote = true
	t.s.work.writes.Add(1)
}

func (t *tx) delete(key []byte) {
	t.fail(t.txn.Delete(key))
	t.wrote = true
	t.s.work.writes.Add(1)
	t.s.work.deletes.Add(1)
}

func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// number gives the next number. Numbers are never given twice to what was committed.
func (t *tx) number() uint64 {
	t.last++
	return t.last
}

// id gives the number of a name, which is new if need be.
func (t *tx) id(kind byte, name string) (uint32, error) {
	if id, ok := t.s.names.id(kind, name); ok {
		return id, nil
	}
	for _, n := range t.names {
		if n.kind == kind && n.name == name {
			return n.id, nil
		}
	}
	if name == "" || len(name) > maxName {
		return 0, fmt.Errorf("the name of a pipeline or destination must have 1 to %d bytes", maxName)
	}
	id := uint32(t.number())
	for id == 0 || t.s.names.byID[id].name != "" || slices.ContainsFunc(t.names, func(n newName) bool { return n.id == id }) {
		id = uint32(t.number()) // numbers go beyond what a name's can be
	}
	n := newName{kind, name, id}
	t.names = append(t.names, n)
	t.set(keyName(kind, name), encodeNumber(uint64(n.id)))
	return n.id, nil
}

// write makes the transaction visible. With an error, known says that certainly nothing was written.
func (t *tx) write() (known bool, err error) {
	defer t.txn.Discard()
	if t.wrote && t.last != t.s.last {
		t.fail(t.txn.Set(keyMeta("last"), encodeNumber(t.last)))
	}
	if t.err != nil {
		return true, t.err
	}
	if err := t.writeParts(); err != nil {
		return false, err
	}
	if !t.wrote {
		return false, nil
	}
	return false, t.s.step(Step{Kind: StepWrite}, t.txn.Commit)
}

// writeParts writes the parts, each transaction synced before the next.
func (t *tx) writeParts() error {
	for len(t.parts) > 0 {
		txn := t.s.db.NewTransaction(true)
		size := 0
		for len(t.parts) > 0 && (size == 0 || size+len(t.parts[0].value) < group) {
			if err := txn.Set(t.parts[0].key, t.parts[0].value); err != nil {
				txn.Discard()
				return err
			}
			size += len(t.parts[0].value) + len(t.parts[0].key) + 64
			t.parts = t.parts[1:]
		}
		if err := t.s.step(Step{Kind: StepWrite}, txn.Commit); err != nil {
			return err
		}
		if err := t.s.syncAll(); err != nil {
			return err
		}
	}
	return nil
}

// published keeps in memory what was written. The committer holds s.mu.
func (t *tx) published() {
	t.s.last = t.last
	t.s.depths.addAll(t.depths)
	for pipeline, n := range t.letters {
		t.s.letters[pipeline] += n
	}
	for destination, n := range t.history {
		t.s.history[destination] += n
	}
	for _, n := range t.names {
		t.s.names.add(n)
	}
}

// readValue returns nil when there is no such key.
func readValue(txn *badger.Txn, key []byte) ([]byte, error) {
	i, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return itemValue(txn, i)
}

// itemValue copies the value of an item and puts its parts together.
func itemValue(txn *badger.Txn, i *badger.Item) ([]byte, error) {
	value, err := i.ValueCopy(nil)
	if err != nil || len(value) == 0 || value[0] != valueInParts || !canBeStub(i.Key()) {
		return value, err
	}
	blob, size, err := readStub(value)
	if err != nil {
		return nil, err
	}
	whole := make([]byte, 0, min(size, maxBytes*2))
	for n := 0; uint64(len(whole)) < size; n++ {
		p, err := txn.Get(keyPart(i.Key(), blob, n))
		if err != nil {
			return nil, errCorrupt
		}
		before := len(whole)
		if err := p.Value(func(v []byte) error { whole = append(whole, v...); return nil }); err != nil {
			return nil, err
		}
		if len(whole) == before {
			return nil, errCorrupt
		}
	}
	return whole, nil
}

// withValue reads the whole of a value, which is copied only where it is in parts.
func withValue(txn *badger.Txn, i *badger.Item, read func([]byte) error) error {
	inParts := false
	err := i.Value(func(b []byte) error {
		if inParts = len(b) > 0 && b[0] == valueInParts; inParts {
			return nil
		}
		return read(b)
	})
	if err != nil || !inParts {
		return err
	}
	b, err := itemValue(txn, i)
	if err != nil {
		return err
	}
	return read(b)
}

// readHead reads the begin of a value, mostly by its first part. Read may be called twice.
func readHead(txn *badger.Txn, i *badger.Item, read func([]byte) error) error {
	if firstPart(txn, i, read) == nil {
		return nil
	}
	b, err := itemValue(txn, i) // an id or a key in it may be longer than a part
	if err != nil {
		return err
	}
	return read(b)
}

// firstPart reads the begin of a value: all of it, or the first of its parts.
func firstPart(txn *badger.Txn, i *badger.Item, read func([]byte) error) error {
	return i.Value(func(b []byte) error {
		if len(b) == 0 || b[0] != valueInParts {
			return read(b)
		}
		blob, _, err := readStub(b)
		if err != nil {
			return err
		}
		first, err := txn.Get(keyPart(i.Key(), blob, 0))
		if err != nil {
			return errCorrupt
		}
		return first.Value(read)
	})
}

// firstPart is as the function, also for what this transaction wrote.
func (t *tx) firstPart(i *badger.Item, read func([]byte) error) error {
	value, err := i.ValueCopy(nil)
	if err != nil {
		return err
	}
	if blob, _, err := readStub(value); err == nil {
		first := keyPart(i.Key(), blob, 0)
		for _, p := range t.parts {
			if bytes.Equal(p.key, first) {
				return read(p.value)
			}
		}
	}
	return firstPart(t.txn, i, read)
}

// canBeStub: numbers and the secret have no form byte, and may begin with zero.
func canBeStub(key []byte) bool {
	switch key[0] {
	case metaKey, nameKey, markKey, deadIDKey, doneRefKey, partKey:
		return false
	}
	return true
}

func readStub(value []byte) (blob, size uint64, err error) {
	if len(value) < 9 || value[0] != valueInParts {
		return 0, 0, errCorrupt
	}
	size, n := binary.Uvarint(value[9:])
	if n <= 0 {
		return 0, 0, errCorrupt
	}
	return binary.BigEndian.Uint64(value[1:]), size, nil
}

func readNumber(txn *badger.Txn, key []byte) (uint64, error) {
	b, err := readValue(txn, key)
	if err != nil || b == nil {
		return 0, err
	}
	return decodeNumber(b)
}
