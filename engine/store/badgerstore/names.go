// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import "github.com/dgraph-io/badger/v4"

type newName struct {
	kind byte
	name string
	id   uint32
}

// names maps the names of pipelines and destinations to their numbers and back. There are few, so all are in memory.
type names struct {
	byName map[string]uint32 // kind and name
	byID   map[uint32]newName
}

func newNames() names { return names{map[string]uint32{}, map[uint32]newName{}} }

func (n *names) add(a newName) {
	n.byName[string(a.kind)+a.name] = a.id
	n.byID[a.id] = a
}

// rename lets to be the name of what from was; a number that to had is nobody's then.
func (n *names) rename(kind byte, from, to string) {
	id := n.byName[string(kind)+from]
	if other, ok := n.id(kind, to); ok {
		delete(n.byID, other)
	}
	delete(n.byName, string(kind)+from)
	n.add(newName{kind, to, id})
}

func (n *names) id(kind byte, name string) (uint32, bool) {
	id, ok := n.byName[string(kind)+name]
	return id, ok
}

// name is empty for a number that nobody has.
func (n *names) name(id uint32) string { return n.byID[id].name }

func (n *names) load(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{nameKey}, PrefetchValues: true, PrefetchSize: 100})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().KeyCopy(nil)
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			return err
		}
		id, err := decodeNumber(value)
		if err != nil || len(key) < 3 || id > 1<<32-1 {
			return errCorrupt
		}
		n.add(newName{key[1], string(key[2:]), uint32(id)})
	}
	return nil
}
