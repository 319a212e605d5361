// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/s2"

	"github.com/rounds-engine/rounds/engine/record"
)

// The content of a notification is its body, its record and the record before: nearly all of its bytes, and they never change. Where
// history is kept, it is written once, with the commit, under the number of the entry; the entry refers to it, and so does the delivered
// entry that it becomes. Else it stands in the entry's value, as nothing of that is written again.
//
// Whoever deletes the last that refers to a content deletes the content in the same transaction (Store.dropContent). So it is there as long
// as anything refers to it, and no longer.

// maxPacked is the most bytes of one part: what is larger than a commit was never written.
const maxPacked = 32 << 20

// pack writes parts compressed together.
func (e *encoder) pack(parts ...[]byte) {
	e.whole = e.whole[:0]
	for _, p := range parts {
		e.uint(uint64(len(p)))
		e.whole = append(e.whole, p...)
	}
	if len(e.whole) > 0 {
		e.packed = s2.Encode(e.packed[:cap(e.packed)], e.whole)
		e.bytes(e.packed)
	}
}

const mostParts = 3

// packed reads what encoder.pack wrote of at most mostParts.
func (d *decoder) packed(parts ...*[]byte) {
	var lengths [mostParts]uint64
	total := uint64(0)
	for i := range parts {
		lengths[i] = d.uint()
		if lengths[i] > maxPacked {
			d.fail()
			return
		}
		total += lengths[i]
	}
	if total == 0 {
		return
	}
	block := d.take(d.uint())
	if n, err := s2.DecodedLen(block); err != nil || uint64(n) != total {
		d.fail()
		return
	}
	all, err := s2.Decode(nil, block)
	if err != nil {
		d.fail()
		return
	}
	for i, p := range parts {
		if n := lengths[i]; n > 0 {
			*p, all = all[:n:n], all[n:]
		}
	}
}

func encodeContent(n *record.Entry) []byte {
	return encode(valueForm, func(e *encoder) { e.pack(n.Body, n.Record, n.Previous) })
}

func decodeContent(b []byte, n *record.Entry) error {
	d := newDecoder(b)
	d.packed(&n.Body, &n.Record, &n.Previous)
	return d.end()
}

// readContent completes an entry that has a number.
func readContent(txn *badger.Txn, n *record.Entry) error {
	i, err := txn.Get(keyContent(n.Seq))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return errCorrupt
	}
	if err != nil {
		return err
	}
	return withValue(txn, i, func(b []byte) error { return decodeContent(b, n) })
}

// readEntry reads an entry from its value, with its content wherever that is.
func readEntry(txn *badger.Txn, i *badger.Item, seq uint64) (n record.Entry, pipeline uint32, err error) {
	var apart int
	err = withValue(txn, i, func(b []byte) (err error) {
		n, pipeline, apart, err = decodeEntry(b)
		return err
	})
	n.Seq = seq
	if err == nil && apart > 0 {
		err = readContent(txn, &n)
	}
	return n, pipeline, err
}

// dropContent deletes the content of an entry whose last mention goes with this transaction.
func (t *tx) dropContent(seq uint64, apart int) {
	if apart > 0 {
		t.delete(keyContent(seq))
	}
}
