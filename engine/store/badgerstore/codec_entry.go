// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

// The forms of entries, delivered ones and dead letters.

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
