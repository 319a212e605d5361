// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// lanes tells where the entries of a destination lie, without looking through the database, where what was acknowledged
// stays in the way of an iterator until it is compacted away. While the entries are few, all their places are in memory. When
// they become too many (a destination that is down for a day has millions), the places are forgotten and looked up on disk,
// until few are left again.
type lanes struct {
	destination uint32
	most        int

	mu       sync.RWMutex
	inMemory bool
	byID     map[laneID]*lane
	order    []*lane // by since: the lane that waits longest comes first; emptied ones stay until there are many
	entries  int
	// On disk: no lane before floor has entries, no entry of a lane in floors has a smaller number than is said there.
	floor   laneID
	floors  map[laneID]uint64
	changes int // counts calls of add
}

type lane struct {
	id    laneID
	since uint64 // number of the entry that made the lane
	items []item
}

// The tokens of both forms of listing; one of the other form begins anew.
const (
	memoryToken = 'm'
	diskToken   = 'd'
)

var errToken = errors.New("the token is not from this listing")

// load takes the places from disk when they are few enough.
func (l *lanes) load(db *badger.DB, entries int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget()
	if entries > l.most {
		return nil
	}
	l.inMemory, l.byID = true, map[laneID]*lane{}
	err := db.View(func(txn *badger.Txn) error {
		it := l.iterator(txn)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			_, id, at, ok := splitEntryKey(it.Item().Key())
			if !ok {
				return errCorrupt
			}
			l.put(id, at)
		}
		if l.entries != entries {
			return errCorrupt
		}
		sort.Slice(l.order, func(i, j int) bool { return l.order[i].since < l.order[j].since })
		return nil
	})
	if err != nil {
		l.forget()
	}
	return err
}

// iterator goes over the keys of all entries of the destination.
func (l *lanes) iterator(txn *badger.Txn) *badger.Iterator {
	return txn.NewIterator(badger.IteratorOptions{Prefix: keyNumber(entryKey, l.destination)})
}

func (l *lanes) forget() {
	l.inMemory, l.byID, l.order, l.entries = false, nil, nil, 0
	l.floor, l.floors = laneID{}, map[laneID]uint64{}
}

// add is told of each new entry in the order of numbers.
func (l *lanes) add(id laneID, at item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	if l.inMemory && l.entries < l.most {
		l.put(id, at)
		return
	}
	if l.inMemory {
		l.forget()
	}
	if slices.Compare(id[:], l.floor[:]) < 0 {
		l.floor = id
	}
}

func (l *lanes) put(id laneID, at item) {
	in := l.byID[id]
	if in == nil {
		in = &lane{id: id, since: at.seq}
		l.byID[id] = in
		l.order = append(l.order, in)
	}
	in.items = append(in.items, at)
	l.entries++
}

// remove is told of each entry that is gone.
func (l *lanes) remove(id laneID, at item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.byID[id]
	if in == nil {
		return
	}
	i := slices.Index(in.items, at)
	if i < 0 {
		return
	}
	if i == 0 {
		in.items = in.items[1:]
	} else {
		in.items = slices.Delete(in.items, i, i+1)
	}
	l.entries--
	if len(in.items) > 0 {
		return
	}
	delete(l.byID, id)
	if len(l.order) > 64 && len(l.order) > 2*len(l.byID) {
		l.order = slices.DeleteFunc(l.order, func(in *lane) bool { return len(in.items) == 0 })
	}
}

// few says that the places could be in memory and are not.
func (l *lanes) few(entries int) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return !l.inMemory && entries <= l.most/2
}

// list gives lanes that have entries; inMemory is false when they have to be looked up on disk.
func (l *lanes) list(token []byte, limit int) (ids []string, next []byte, inMemory bool, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.inMemory {
		return nil, nil, false, nil
	}
	var after uint64
	switch {
	case len(token) == 0 || token[0] == diskToken:
	case token[0] == memoryToken && len(token) == 9:
		after = binary.BigEndian.Uint64(token[1:])
	default:
		return nil, nil, true, errToken
	}
	i := sort.Search(len(l.order), func(i int) bool { return l.order[i].since > after })
	for ; i < len(l.order); i++ {
		if len(l.order[i].items) == 0 {
			continue
		}
		if len(ids) == limit {
			return ids, binary.BigEndian.AppendUint64([]byte{memoryToken}, after), true, nil
		}
		ids, after = append(ids, string(l.order[i].id[:])), l.order[i].since
	}
	return ids, nil, true, nil
}

// head gives the places of the first n entries of a lane; inMemory as in list.
func (l *lanes) head(id laneID, n int) (items []item, inMemory bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.inMemory {
		return nil, false
	}
	if in := l.byID[id]; in != nil {
		items = slices.Clone(in.items[:min(n, len(in.items))])
	}
	return items, true
}

// start is where a listing on disk begins.
type start struct {
	lane    laneID
	beyond  bool // begin behind the lane, not with it
	changes int
}

// from reads a token. It has to be called before the snapshot is taken in which the listing looks.
func (l *lanes) from(token []byte) (start, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	at := start{lane: l.floor, changes: l.changes}
	switch {
	case len(token) == 0 || token[0] == memoryToken:
	case token[0] == diskToken && len(token) == 1+len(at.lane):
		at.beyond = true
		copy(at.lane[:], token[1:])
	default:
		return at, errToken
	}
	return at, nil
}

// listOnDisk is list without the places in memory.
func (l *lanes) listOnDisk(txn *badger.Txn, from start, limit int) (ids []string, next []byte, err error) {
	it := l.iterator(txn)
	defer it.Close()
	behind := func(id laneID) []byte { return keyEntry(l.destination, id, item{^uint64(0), ^uint64(0)}) }
	if from.beyond {
		it.Seek(behind(from.lane))
	} else {
		it.Seek(keyEntry(l.destination, from.lane, item{}))
	}
	var last laneID
	for steps := 0; it.Valid(); {
		_, id, _, ok := splitEntryKey(it.Item().Key())
		switch {
		case !ok:
			return nil, nil, errCorrupt
		case len(ids) > 0 && id == last:
			if steps++; steps < 16 {
				it.Next()
			} else {
				it.Seek(behind(id)) // a long lane
			}
			continue
		case len(ids) == limit:
			return ids, append([]byte{diskToken}, last[:]...), nil
		case len(ids) == 0 && !from.beyond:
			l.raiseFloor(id, from.changes)
		}
		ids, last, steps = append(ids, string(id[:])), id, 0
		it.Next()
	}
	return ids, nil, nil
}

// raiseFloor keeps that id is the first lane, unless an entry came since the look.
func (l *lanes) raiseFloor(id laneID, changes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.inMemory && l.changes == changes {
		l.floor = id
	}
}

// headOnDisk is head without the places in memory.
func (l *lanes) headOnDisk(txn *badger.Txn, id laneID, n int) (items []item, err error) {
	l.mu.RLock()
	from := l.floors[id]
	l.mu.RUnlock()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: append(keyNumber(entryKey, l.destination), id[:]...)})
	defer it.Close()
	for it.Seek(keyEntry(l.destination, id, item{seq: from})); it.Valid() && len(items) < n; it.Next() {
		_, _, at, ok := splitEntryKey(it.Item().Key())
		if !ok {
			return nil, errCorrupt
		}
		items = append(items, at)
	}
	if len(items) > 0 {
		l.mu.Lock()
		if len(l.floors) >= 4096 {
			clear(l.floors)
		}
		if !l.inMemory {
			l.floors[id] = items[0].seq
		}
		l.mu.Unlock()
	}
	return items, nil
}
