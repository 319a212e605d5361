// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

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
