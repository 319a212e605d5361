// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"encoding/binary"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Every value begins with the version of its form. A value that begins with zero is a stub: it stands in parts elsewhere.
const (
	valueInParts = 0
	valueForm    = 1
)

var errCorrupt = store.ErrDamaged

// flags of a row
const (
	rowDeleted = 1 << iota
	rowHash
	rowKeyIsID // the ordering key is the ref's id, which is the default
	rowSnapshot
)

// encoder appends fields to a value: numbers as varints, byte strings with their length before them.
type encoder struct{ b []byte }

func newEncoder(size int) *encoder { return &encoder{append(make([]byte, 0, size), valueForm)} }

func (e *encoder) byte(v byte)     { e.b = append(e.b, v) }
func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int)       { e.b = binary.AppendVarint(e.b, int64(v)) }
func (e *encoder) string(v string) { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) bytes(v []byte)  { e.uint(uint64(len(v))); e.b = append(e.b, v...) }

// time keeps the instant, not the zone: zero, or nanoseconds plus one, then seconds.
func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.uint(0)
		return
	}
	e.uint(uint64(t.Nanosecond()) + 1)
	e.b = binary.AppendVarint(e.b, t.Unix())
}

func (e *encoder) ref(r sdk.Ref) { e.string(r.Kind); e.string(r.ID); e.string(r.Args) }

// decoder reads what encoder wrote. After the first mistake it gives zero values, and err says so.
type decoder struct {
	b   []byte
	err error
}

func newDecoder(b []byte) *decoder {
	d := &decoder{b: b}
	if d.byte() != valueForm {
		d.fail()
	}
	return d
}

func (d *decoder) fail() { d.b, d.err = nil, errCorrupt }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int { return int(d.varint()) }

// take gives the next n bytes without copying them.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.take(d.uint())) }

func (d *decoder) bytes() []byte {
	v := d.take(d.uint())
	if len(v) == 0 {
		return nil
	}
	return append([]byte(nil), v...)
}

func (d *decoder) time() time.Time {
	nanos := d.uint()
	if nanos == 0 || d.err != nil {
		return time.Time{}
	}
	return time.Unix(d.varint(), int64(nanos-1)).UTC()
}

func (d *decoder) ref() sdk.Ref { return sdk.Ref{Kind: d.string(), ID: d.string(), Args: d.string()} }

// end is the error of the whole value: something was missing, or something is left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return d.err
}

func encodeRow(r *store.Row) []byte {
	var flags byte
	if r.Deleted {
		flags |= rowDeleted
	}
	if r.Hash != ([16]byte{}) {
		flags |= rowHash
	}
	if r.Key == r.Ref.ID {
		flags |= rowKeyIsID
	}
	if len(r.Snapshot) > 0 {
		flags |= rowSnapshot
	}
	e := newEncoder(store.RowSize(r))
	e.byte(flags)
	e.ref(r.Ref)
	e.uint(r.Generation)
	e.uint(r.Epoch)
	e.string(r.Version)
	if flags&rowHash != 0 {
		e.b = append(e.b, r.Hash[:]...)
	}
	e.time(r.Time)
	if flags&rowKeyIsID == 0 {
		e.string(r.Key)
	}
	e.uint(uint64(len(r.Recent)))
	for _, h := range r.Recent {
		e.b = binary.BigEndian.AppendUint64(e.b, h)
	}
	if flags&rowSnapshot != 0 { // last, so that a row can be read without it
		e.bytes(r.Snapshot)
	}
	return e.b
}

// decodeRow reads a row without its snapshot. Of a row in parts the first will do.
func decodeRow(b []byte) (store.Row, error) {
	r, d, flags := splitRow(b)
	if flags&rowSnapshot != 0 && d.err == nil {
		return r, nil
	}
	return r, d.end()
}

// decodeSnapshot reads the snapshot of a row, nil if it has none.
func decodeSnapshot(b []byte) ([]byte, error) {
	_, d, flags := splitRow(b)
	var snapshot []byte
	if flags&rowSnapshot != 0 {
		snapshot = d.bytes()
	}
	return snapshot, d.end()
}

func splitRow(b []byte) (store.Row, *decoder, byte) {
	var r store.Row
	d := newDecoder(b)
	flags := d.byte()
	r.Ref = d.ref()
	r.Generation, r.Epoch = d.uint(), d.uint()
	r.Version = d.string()
	if flags&rowHash != 0 {
		copy(r.Hash[:], d.take(16))
	}
	r.Time = d.time()
	r.Key = r.Ref.ID
	if flags&rowKeyIsID == 0 {
		r.Key = d.string()
	}
	r.Deleted = flags&rowDeleted != 0
	n := d.uint()
	if n > uint64(len(d.b))/8 {
		d.fail()
		n = 0
	}
	for range n {
		r.Recent = append(r.Recent, binary.BigEndian.Uint64(d.take(8)))
	}
	return r, d, flags
}

// encodeEntry leaves out what the entry's key tells: Seq, and the destination. What Defer changes comes first.
func encodeEntry(n *record.Entry, pipeline uint32) []byte {
	e := newEncoder(store.EntrySize(n))
	e.entry(n, pipeline)
	return e.b
}

func (e *encoder) entry(n *record.Entry, pipeline uint32) {
	e.int(n.Attempts)
	e.time(n.NextAttempt)
	e.uint(uint64(pipeline))
	e.string(n.ID)
	e.string(n.Deliver)
	e.string(n.Key)
	e.ref(n.Ref)
	e.string(n.Version)
	e.uint(n.Generation)
	e.time(n.Committed)
	e.bytes(n.Body)
	e.bytes(n.Record)
}

func decodeEntry(b []byte) (n record.Entry, pipeline uint32, err error) {
	d := newDecoder(b)
	n, pipeline = d.entry()
	return n, pipeline, d.end()
}

func (d *decoder) entry() (n record.Entry, pipeline uint32) {
	n.Attempts = d.int()
	n.NextAttempt = d.time()
	pipeline = uint32(d.uint())
	n.ID, n.Deliver, n.Key = d.string(), d.string(), d.string()
	n.Ref = d.ref()
	n.Version = d.string()
	n.Generation = d.uint()
	n.Committed = d.time()
	n.Body, n.Record = d.bytes(), d.bytes()
	return n, pipeline
}

// encodeDead writes a dead letter. The record is kept once, with the letter.
func encodeDead(l *record.DeadLetter, pipeline, destination uint32) []byte {
	e := newEncoder(store.DeadSize(l))
	e.uint(uint64(pipeline))
	e.string(l.ID)
	e.string(l.Deliver)
	e.string(l.Key)
	e.ref(l.Ref)
	e.string(l.Version)
	e.uint(l.Generation)
	e.time(l.Time)
	e.string(string(l.Cause.Stage))
	e.string(l.Cause.Code)
	e.string(l.Cause.Text)
	e.string(l.Cause.Detail)
	e.int(l.Cause.Attempts)
	record := l.Record
	if record == nil && l.Entry != nil {
		record = l.Entry.Record
	}
	e.bytes(record)
	if l.Entry == nil {
		e.byte(0)
		return e.b
	}
	e.byte(1)
	e.uint(uint64(destination))
	n := *l.Entry
	n.Record = nil
	e.entry(&n, pipeline)
	return e.b
}

func decodeDead(b []byte) (l record.DeadLetter, pipeline, destination uint32, err error) {
	d := newDecoder(b)
	pipeline = uint32(d.uint())
	l.ID, l.Deliver, l.Key = d.string(), d.string(), d.string()
	l.Ref = d.ref()
	l.Version = d.string()
	l.Generation = d.uint()
	l.Time = d.time()
	l.Cause.Stage = record.Stage(d.string())
	l.Cause.Code, l.Cause.Text, l.Cause.Detail = d.string(), d.string(), d.string()
	l.Cause.Attempts = d.int()
	l.Record = d.bytes()
	if d.byte() == 1 {
		destination = uint32(d.uint())
		n, _ := d.entry()
		n.Record = l.Record
		l.Entry = &n
	}
	return l, pipeline, destination, d.end()
}

func encodePosition(p *store.Position) []byte {
	e := newEncoder(64 + len(p.Watermark) + len(p.Cursor))
	var started byte
	if p.Started {
		started = 1
	}
	e.byte(started)
	e.time(p.Start)
	e.uint(p.Epoch)
	e.time(p.Polled)
	e.uint(p.Commit)
	e.bytes(p.Watermark)
	e.bytes(p.Cursor)
	e.uint(p.Scan)
	return e.b
}

func decodePosition(b []byte) (store.Position, error) {
	var p store.Position
	d := newDecoder(b)
	p.Started = d.byte() == 1
	p.Start = d.time()
	p.Epoch = d.uint()
	p.Polled = d.time()
	p.Commit = d.uint()
	p.Watermark, p.Cursor = d.bytes(), d.bytes()
	if len(d.b) > 0 { // else it was written when there were no scans
		p.Scan = d.uint()
	}
	return p, d.end()
}

// Plain numbers: last number given, numbers of names, places of dead letters.
func encodeNumber(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func decodeNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errCorrupt
	}
	return binary.BigEndian.Uint64(b), nil
}
