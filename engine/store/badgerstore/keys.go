// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// The key space. Every key begins with one of these bytes. Names of pipelines and destinations are written once and stand
// for a number from then on, so that keys are short and a rename touches one key. What comes from a record (ids, ordering
// keys) enters a key as a hash: keys have a fixed length whatever the record brings, and no text of Badger's that quotes a
// key can hold record content.
const (
	metaKey     = 'm' // name                              → secret, last number
	nameKey     = 'n' // kind, name                        → number of the name
	positionKey = 'p' // pipeline                          → position
	rowKey      = 'r' // pipeline, hash of the ref         → row
	markKey     = 'k' // pipeline, hash of the ref         → number of the scan that saw the row last
	entryKey    = 'e' // destination, lane, seq, hash of id → entry
	doneKey     = 'h' // time of delivery, seq             → delivered entry
	doneRefKey  = 'x' // pipeline, hash of the ref, time of delivery, seq → nothing: a delivered entry of the record
	deadKey     = 'd' // seq                               → dead letter
	deadIDKey   = 'i' // hash of the dead letter's id      → seq
	savedKey    = 's' // source                            → what its adapter saved
	pauseKey    = 'u' // pipeline or destination           → that a person paused it
	contentKey  = 'c' // seq                               → content of an entry, waiting or delivered
	partKey     = 'b' // key of the value, blob, part      → part of a value that is too large for one transaction
)

// The kinds of names.
const (
	pipelineName    = 'p'
	destinationName = 'd'
)

// keySize is more than a key of a fixed length takes in a transaction, with what Badger counts for it.
const keySize = 80

const maxName = 1024 // bytes of a name; Badger's keys end at 65,000

// laneID is the name of a lane: a hash, which cannot collide by accident or intent, of pipeline and ordering key.
type laneID [16]byte

// digest hashes parts so that no two lists of parts give the same input: each part is preceded by its length.
func digest(number uint32, parts ...string) (d [16]byte) {
	var buf [128]byte
	b := binary.BigEndian.AppendUint32(buf[:0], number)
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

func keyMeta(name string) []byte { return append([]byte{metaKey}, name...) }

func keyName(kind byte, name string) []byte { return append([]byte{nameKey, kind}, name...) }

func keyNumber(prefix byte, number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefix}, number)
}

func keyRow(pipeline uint32, ref sdk.Ref) []byte {
	d := digest(pipeline, ref.Kind, ref.ID, ref.Args)
	k := append(make([]byte, 0, 1+4+16+doneLen), rowKey)
	k = binary.BigEndian.AppendUint32(k, pipeline)
	return append(k, d[:]...)
}

// doneLen is the length of what tells a delivered entry from others: time, in nanoseconds since 1970, and number.
const doneLen = 8 + 8

func keyDone(at time.Time, seq uint64) []byte {
	nanos := uint64(0)
	if at.After(time.Unix(0, 0)) {
		nanos = uint64(at.UnixNano())
	}
	k := binary.BigEndian.AppendUint64(append(make([]byte, 0, 1+doneLen), doneKey), nanos)
	return binary.BigEndian.AppendUint64(k, seq)
}

// prefixDoneRef begins the keys of what was delivered of a record.
func prefixDoneRef(pipeline uint32, ref sdk.Ref) []byte {
	k := keyRow(pipeline, ref)
	k[0] = doneRefKey
	return k
}

func laneOf(pipeline uint32, key string) laneID { return digest(pipeline, key) }

// markOf is the key of a row's mark.
func markOf(row []byte) []byte {
	k := slices.Clone(row)
	k[0] = markKey
	return k
}

func keyMark(pipeline uint32, ref sdk.Ref) []byte { return markOf(keyRow(pipeline, ref)) }

// item is an entry as its key tells it.
type item struct {
	seq uint64
	id  uint64 // hash of the notification's id: it makes the key exact
}

func itemOf(seq uint64, id string) item {
	d := digest(0, id)
	return item{seq: seq, id: binary.BigEndian.Uint64(d[:8])}
}

const entryKeyLen = 1 + 4 + 16 + 8 + 8

func keyEntry(destination uint32, lane laneID, it item) []byte {
	k := append(make([]byte, 0, entryKeyLen), entryKey)
	k = binary.BigEndian.AppendUint32(k, destination)
	k = append(k, lane[:]...)
	k = binary.BigEndian.AppendUint64(k, it.seq)
	return binary.BigEndian.AppendUint64(k, it.id)
}

// splitEntryKey is the inverse of keyEntry.
func splitEntryKey(k []byte) (destination uint32, lane laneID, it item, ok bool) {
	if len(k) != entryKeyLen {
		return 0, lane, it, false
	}
	copy(lane[:], k[5:])
	return binary.BigEndian.Uint32(k[1:]), lane, item{seq: binary.BigEndian.Uint64(k[21:]), id: binary.BigEndian.Uint64(k[29:])}, true
}

func keyContent(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{contentKey}, seq) }

func keyDead(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{deadKey}, seq) }

func keyDeadID(id string) []byte {
	d := digest(0, id)
	return append([]byte{deadIDKey}, d[:]...)
}

func keySaved(source string) []byte { return append([]byte{savedKey}, source...) }

// partSuffix is what follows the value's own key in the key of a part.
const partSuffix = 8 + 2

func keyPart(key []byte, blob uint64, part int) []byte {
	k := append(make([]byte, 0, 1+len(key)+partSuffix), partKey)
	k = append(k, key...)
	k = binary.BigEndian.AppendUint64(k, blob)
	return binary.BigEndian.AppendUint16(k, uint16(part))
}
