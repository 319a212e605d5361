// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// depths tells by destination how many entries wait, and since when, without looking at them. A window gives all that it
// commits one time, so there are far fewer seconds than entries: 86,400 a day at most, of a destination that is down.
type depths map[uint32]*depth

type depth struct {
	count   int
	seconds map[int64]int // by second of the commit
}

func (d depths) add(destination uint32, second int64, n int) {
	in := d[destination]
	if in == nil {
		in = &depth{seconds: map[int64]int{}}
		d[destination] = in
	}
	in.count += n
	if in.seconds[second] += n; in.seconds[second] == 0 {
		delete(in.seconds, second)
	}
}

func (d depths) addAll(changes depths) {
	for destination, in := range changes {
		for second, n := range in.seconds {
			d.add(destination, second, n)
		}
	}
}

func (d depths) count(destination uint32) int {
	if in := d[destination]; in != nil {
		return in.count
	}
	return 0
}

// oldest is only for what has entries.
func (d *depth) oldest() time.Time {
	return time.Unix(slices.Min(slices.Collect(maps.Keys(d.seconds))), 0).UTC()
}

// count counts what waits, what is dead, what was delivered. Stored numbers would not do: a loss of power may undo
// acknowledgements and keep what was committed after them, when Badger began a new log in between.
func (s *Store) count(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{entryKey}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		destination, _, _, ok := splitEntryKey(it.Item().Key())
		if !ok {
			return errCorrupt
		}
		var committed time.Time
		err := readHead(txn, it.Item(), func(b []byte) (err error) {
			committed, err = entryCommitted(b)
			return err
		})
		if err != nil {
			return err
		}
		s.depths.add(destination, committed.Unix(), 1)
	}
	dead := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{deadKey}})
	defer dead.Close()
	for dead.Rewind(); dead.Valid(); dead.Next() {
		var pipeline uint32
		err := readHead(txn, dead.Item(), func(b []byte) (err error) {
			pipeline, err = deadPipeline(b)
			return err
		})
		if err != nil {
			return err
		}
		s.letters[pipeline]++
	}
	done := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{doneKey}})
	defer done.Close()
	for done.Rewind(); done.Valid(); done.Next() {
		n, err := valueSize(done.Item())
		if err != nil {
			return err
		}
		var head doneHead
		if err := readHead(txn, done.Item(), head.decode); err != nil {
			return err
		}
		s.history[head.destination] += doneSize(n, head.apart)
	}
	return nil
}
