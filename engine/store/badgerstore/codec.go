// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Every value begins with the version of its form. A value that begins with zero is a stub: it stands in parts elsewhere. Each
// form is read; the last that is named here is written, rows without a snapshot and all that is not named in the first.
const (
	valueInParts = 0
	valueForm    = 1
	packedRow    = 2 // a row whose snapshot is packed
	entryForm    = 2 // an entry, or a delivered one, that is packed
	apartForm    = 3 // the same, whose content has a key of its own: see content.go
	packedDead   = 3 // a dead letter that is packed; the notification in it is as in the second form
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
type encoder struct {
	b             []byte
	whole, packed []byte // of packed parts
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// keptBuffers is how many bytes of buffers are kept for the next value.
const keptBuffers = 64 << 10

// encode gives the value of a form with the fields that are written.
func encode(form byte, fields func(e *encoder)) []byte {
	e := encoders.Get().(*encoder)
	e.b = append(e.b[:0], form)
	fields(e)
	value := bytes.Clone(e.b)
	if cap(e.b)+cap(e.whole)+cap(e.packed) <= keptBuffers {
		encoders.Put(e)
	}
	return value
}

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
	b    []byte
	form byte
	err  error
}

func newDecoder(b []byte) *decoder { return newDecoderUpTo(valueForm, b) }

// newDecoderUpTo takes forms up to the given one.
func newDecoderUpTo(form byte, b []byte) *decoder {
	d := &decoder{b: b}
	if d.form = d.byte(); d.form < valueForm || d.form > form {
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
	form := byte(valueForm)
	if flags&rowSnapshot != 0 {
		form = packedRow
	}
	return encode(form, func(e *encoder) {
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
			e.pack(r.Snapshot)
		}
	})
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
		if d.form < packedRow {
			snapshot = d.bytes()
		} else {
			d.packed(&snapshot)
		}
	}
	return snapshot, d.end()
}

func splitRow(b []byte) (store.Row, *decoder, byte) {
	var r store.Row
	d := newDecoderUpTo(packedRow, b)
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

// encodeEntry writes an entry with its content. It leaves out what the entry's key tells: Seq, and the destination.
func encodeEntry(n *record.Entry, pipeline uint32) []byte {
	return encode(entryForm, func(e *encoder) { e.entry(n, pipeline) })
}

// encodeEntryApart writes an entry whose content of size bytes, as it is stored, has a key of its own.
func encodeEntryApart(n *record.Entry, pipeline uint32, size int) []byte {
	return encode(apartForm, func(e *encoder) {
		e.entryHead(n, pipeline)
		e.uint(uint64(size))
	})
}

func (e *encoder) entry(n *record.Entry, pipeline uint32) {
	e.entryHead(n, pipeline)
	e.pack(n.Body, n.Record, n.Previous)
}

func (e *encoder) entryHead(n *record.Entry, pipeline uint32) {
	e.time(n.Committed)
	e.int(n.Attempts)
	e.time(n.NextAttempt)
	e.uint(uint64(len(n.Tries)))
	for _, t := range n.Tries {
		e.time(t.At)
		e.string(t.Code)
	}
	e.uint(uint64(pipeline))
	e.string(n.ID)
	e.string(n.Deliver)
	e.string(n.Key)
	e.ref(n.Ref)
	e.string(n.Version)
	e.uint(n.Generation)
	e.time(n.Time)
	e.string(n.Trace)
}

// decodeEntry reads an entry. Apart is the size of its content as it is stored, where that has a key of its own; else 0.
func decodeEntry(b []byte) (n record.Entry, pipeline uint32, apart int, err error) {
	d := newDecoderUpTo(apartForm, b)
	n, pipeline, apart = d.entry()
	return n, pipeline, apart, d.end()
}

func (d *decoder) entry() (n record.Entry, pipeline uint32, apart int) {
	pipeline = d.entryHead(&n)
	switch d.form {
	case valueForm:
		n.Body, n.Record = d.bytes(), d.bytes()
	case entryForm:
		d.packed(&n.Body, &n.Record, &n.Previous)
	default:
		apart = d.apart()
	}
	return n, pipeline, apart
}

// apart reads what follows the head of an entry: the size of its content, where that has a key of its own; else 0.
func (d *decoder) apart() int {
	if d.form < apartForm {
		return 0
	}
	size := d.uint()
	if size == 0 || size > maxPacked {
		d.fail()
		return 0
	}
	return int(size)
}

// entryHead reads what stands before the content.
func (d *decoder) entryHead(n *record.Entry) (pipeline uint32) {
	if d.form >= entryForm {
		n.Committed = d.time()
	}
	n.Attempts = d.int()
	n.NextAttempt = d.time()
	if d.form >= entryForm {
		tries := d.uint()
		if tries > uint64(len(d.b))/2 {
			d.fail()
			tries = 0
		}
		for range tries {
			n.Tries = append(n.Tries, record.Try{At: d.time(), Code: d.string()})
		}
	}
	pipeline = uint32(d.uint())
	n.ID, n.Deliver, n.Key = d.string(), d.string(), d.string()
	n.Ref = d.ref()
	n.Version = d.string()
	n.Generation = d.uint()
	if d.form < entryForm {
		n.Committed = d.time()
	} else {
		n.Time = d.time()
		n.Trace = d.string()
	}
	return pipeline
}

// decodeEntryHead reads it alone. Of an entry in parts the first will do.
func decodeEntryHead(b []byte) (n record.Entry, pipeline uint32, apart int, err error) {
	d := newDecoderUpTo(apartForm, b)
	pipeline = d.entryHead(&n)
	apart = d.apart()
	return n, pipeline, apart, d.err
}

// entryCommitted reads when an entry was committed. Of an entry in parts the first will do.
func entryCommitted(b []byte) (time.Time, error) {
	d := newDecoderUpTo(apartForm, b)
	if d.form >= entryForm {
		return d.time(), d.err
	}
	var n record.Entry
	d.entryHead(&n)
	return n.Committed, d.err
}

// encodeDone puts before an entry's value, as it was in the outbox, how it was accepted, and until when that is kept.
func encodeDone(done *store.Done, until time.Time, destination uint32, entry []byte) []byte {
	return encode(valueForm, func(e *encoder) {
		e.time(done.At)
		e.time(until)
		e.uint(uint64(destination))
		e.string(done.Code)
		e.b = append(e.b, entry...)
	})
}

// doneHead is what tells a delivered entry from others.
type doneHead struct {
	at, until             time.Time
	pipeline, destination uint32
	code                  string
	entry                 record.Entry // its head
	apart                 int          // as decodeEntry gives it
}

// decode reads the head of a delivered entry. Of one in parts the first will do.
func (h *doneHead) decode(b []byte) error {
	entry := h.split(b)
	h.entry = record.Entry{}
	h.pipeline = entry.entryHead(&h.entry)
	h.apart = entry.apart()
	return entry.err
}

// split reads what stands before the entry.
func (h *doneHead) split(b []byte) (entry *decoder) {
	d := newDecoder(b)
	h.at, h.until = d.time(), d.time()
	h.destination = uint32(d.uint())
	h.code = d.string()
	return newDecoderUpTo(apartForm, d.b)
}

// decodeDone reads a delivered entry without its seq, which its key tells. Of the head it is without the entry's.
func decodeDone(b []byte) (done store.Delivered, h doneHead, err error) {
	d := h.split(b)
	done.Entry, h.pipeline, h.apart = d.entry()
	done.At, done.Code = h.at, h.code
	return done, h, d.end()
}

// encodeDead writes a dead letter. The record and the one before are kept once, with the letter.
func encodeDead(l *record.DeadLetter, pipeline, destination uint32) []byte {
	record, previous := l.Record, l.Previous
	if l.Entry != nil {
		if record == nil {
			record = l.Entry.Record
		}
		if previous == nil {
			previous = l.Entry.Previous
		}
	}
	return encode(packedDead, func(e *encoder) {
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
		e.pack(record, previous)
		if l.Entry == nil {
			e.byte(0)
			return
		}
		e.byte(1)
		e.uint(uint64(destination))
		n := *l.Entry
		n.Record, n.Previous = nil, nil
		e.entry(&n, pipeline)
	})
}

func decodeDead(b []byte) (l record.DeadLetter, pipeline, destination uint32, err error) {
	d := newDecoderUpTo(packedDead, b)
	pipeline = uint32(d.uint())
	l.ID, l.Deliver, l.Key = d.string(), d.string(), d.string()
	l.Ref = d.ref()
	l.Version = d.string()
	l.Generation = d.uint()
	l.Time = d.time()
	l.Cause.Stage = record.Stage(d.string())
	l.Cause.Code, l.Cause.Text, l.Cause.Detail = d.string(), d.string(), d.string()
	l.Cause.Attempts = d.int()
	switch d.form {
	case valueForm:
		l.Record = d.bytes()
	case entryForm:
		l.Record, l.Previous = d.bytes(), d.bytes()
	default:
		d.packed(&l.Record, &l.Previous)
		d.form = entryForm
	}
	if d.byte() == 1 {
		destination = uint32(d.uint())
		n, _, _ := d.entry()
		n.Record, n.Previous = l.Record, l.Previous
		l.Entry = &n
	}
	return l, pipeline, destination, d.end()
}

// deadPipeline reads the pipeline of a dead letter. Of one in parts the first will do.
func deadPipeline(b []byte) (uint32, error) {
	d := newDecoderUpTo(packedDead, b)
	return uint32(d.uint()), d.err
}

func encodePause(p *store.Pause) []byte {
	return encode(valueForm, func(e *encoder) {
		e.time(p.Since)
		e.string(p.Why)
	})
}

func decodePause(b []byte) (p store.Pause, err error) {
	d := newDecoder(b)
	p.Since, p.Why = d.time(), d.string()
	return p, d.end()
}

func encodePosition(p *store.Position) []byte {
	var started byte
	if p.Started {
		started = 1
	}
	return encode(valueForm, func(e *encoder) {
		e.byte(started)
		e.time(p.Start)
		e.uint(p.Epoch)
		e.time(p.Polled)
		e.uint(p.Commit)
		e.bytes(p.Watermark)
		e.bytes(p.Cursor)
		e.uint(p.Scan)
	})
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
