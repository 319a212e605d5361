// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

// The protocol. Either side writes frames: four bytes of length, then a message, which begins with its kind. The engine asks, by
// numbers of its own; the worker answers each once, in any order. Its first message is hello.

// hello says what a worker speaks. The program's file may have been replaced by that of another version since the engine started.
const hello = "rounds worker 1"

// Kinds of messages.
const (
	askLoad   = 'L' // number, script, its source
	askMap    = 'M' // number, script, context, record
	askCancel = 'C' // number
	isHello   = 'h'
	isLoaded  = 'P' // number, place of the default export
	isBody    = 'B' // number, body
	isNull    = 'N' // number
	isError   = 'E' // number, the error of the script
	isOther   = 'O' // number, an error that is not the script's
)

// The largest frames. An answer holds a body or an error.
const (
	maxAsk    = 64 << 20
	maxAnswer = script.OutputLimit + 64<<10
)

var errFrame = errors.New("a frame that is no frame")

// readFrame reads the next message.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || int64(n) > int64(limit) {
		return nil, errFrame
	}
	message := make([]byte, n)
	_, err := io.ReadFull(r, message)
	return message, err
}

// writer makes a frame.
type writer struct{ b []byte }

func newWriter(kind byte, number uint64, room int) *writer {
	w := &writer{make([]byte, 4, room+64)}
	w.b = append(w.b, kind)
	w.uint(number)
	return w
}

// frame is what is to be written. Its length was bounded by whoever made it.
func (w *writer) frame() []byte {
	binary.BigEndian.PutUint32(w.b, uint32(len(w.b)-4))
	return w.b
}

func (w *writer) uint(n uint64)   { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) string(s string) { w.uint(uint64(len(s))); w.b = append(w.b, s...) }
func (w *writer) bytes(b []byte)  { w.uint(uint64(len(b))); w.b = append(w.b, b...) }

func (w *writer) bool(is bool) {
	n := uint64(0)
	if is {
		n = 1
	}
	w.uint(n)
}

func (w *writer) time(t time.Time) {
	b, _ := t.UTC().MarshalBinary() // fails for odd zones only
	w.bytes(b)
}

func (w *writer) texts(m map[string]string) {
	w.uint(uint64(len(m)))
	for k, v := range m {
		w.string(k)
		w.string(v)
	}
}

func (w *writer) source(s script.Source) {
	w.string(s.Name)
	w.string(s.Code)
	w.bytes(s.Positions)
	w.uint(uint64(len(s.Tables)))
	for name, table := range s.Tables {
		w.string(name)
		w.texts(table)
	}
	w.texts(s.TableDefaults)
}

func (w *writer) context(c script.Context) {
	w.string(c.Pipeline)
	w.string(c.Source)
	w.string(c.Deliver)
	w.time(c.Now)
	w.uint(uint64(max(c.Attempt, 0)))
	w.bool(c.Previous != nil)
	if c.Previous != nil {
		w.record(c.Previous)
	}
}

func (w *writer) record(r *record.Record) {
	w.change(&r.Change)
	w.bool(r.Parent != nil)
	if r.Parent != nil {
		w.change(r.Parent)
	}
	w.uint(uint64(len(r.Fetched)))
	for label, data := range r.Fetched {
		w.string(label)
		w.bytes(data)
	}
}

func (w *writer) change(c *sdk.Change) {
	for _, s := range []string{c.Ref.Kind, c.Ref.ID, c.Ref.Args, c.Version, string(c.Op), c.Event, c.Actor} {
		w.string(s)
	}
	w.time(c.Time)
	w.bytes(c.Data)
}

func (w *writer) error(e *script.Error) {
	w.place(*e)
	w.string(e.Text)
	w.string(e.Detail)
	w.bool(e.TimedOut)
	w.bool(e.Abandoned)
}

func (w *writer) place(e script.Error) {
	w.string(e.File)
	w.uint(uint64(max(e.Line, 0)))
	w.uint(uint64(max(e.Column, 0)))
}

// room is about what a record takes in a frame.
func room(r *record.Record) int {
	n := 256 + len(r.Change.Data)
	if r.Parent != nil {
		n += len(r.Parent.Data)
	}
	for label, data := range r.Fetched {
		n += len(label) + len(data) + 16
	}
	return n
}

// reader takes a message apart. What it gives shares the message's memory. Once something was wrong it gives nothing but zeros.
type reader struct {
	b      []byte
	broken bool
}

// done reports whether the message was read to its end, and nothing was wrong with it.
func (r *reader) done() bool { return !r.broken && len(r.b) == 0 }

func (r *reader) kind() byte {
	if len(r.b) == 0 {
		r.broken = true
		return 0
	}
	kind := r.b[0]
	r.b = r.b[1:]
	return kind
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || r.broken {
		r.broken, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) int() int { return int(min(r.uint(), math.MaxInt32)) }

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.broken, r.b = true, nil
		return nil
	}
	part := r.b[:n:n]
	r.b = r.b[n:]
	return part
}

func (r *reader) string() string { return string(r.bytes()) }
func (r *reader) bool() bool     { return r.uint() == 1 }

func (r *reader) time() (t time.Time) {
	if t.UnmarshalBinary(r.bytes()) != nil {
		r.broken = true
	}
	return t
}

func (r *reader) texts() map[string]string {
	m := map[string]string{}
	for n := r.uint(); n > 0 && !r.broken; n-- {
		k := r.string()
		m[k] = r.string()
	}
	return m
}

func (r *reader) source() script.Source {
	s := script.Source{Name: r.string(), Code: r.string(), Positions: r.bytes(), Tables: map[string]map[string]string{}}
	for n := r.uint(); n > 0 && !r.broken; n-- {
		name := r.string()
		s.Tables[name] = r.texts()
	}
	s.TableDefaults = r.texts()
	return s
}

func (r *reader) context() script.Context {
	c := script.Context{Pipeline: r.string(), Source: r.string(), Deliver: r.string(), Now: r.time(), Attempt: r.int()}
	if r.bool() {
		c.Previous = r.record()
	}
	return c
}

func (r *reader) record() *record.Record {
	out := &record.Record{Change: r.change(), Fetched: map[string]json.RawMessage{}}
	if r.bool() {
		parent := r.change()
		out.Parent = &parent
	}
	for n := r.uint(); n > 0 && !r.broken; n-- {
		label := r.string()
		out.Fetched[label] = r.bytes()
	}
	return out
}

func (r *reader) change() (c sdk.Change) {
	for _, s := range []*string{&c.Ref.Kind, &c.Ref.ID, &c.Ref.Args, &c.Version, (*string)(&c.Op), &c.Event, &c.Actor} {
		*s = r.string()
	}
	c.Time, c.Data = r.time(), r.bytes()
	return c
}

func (r *reader) error() script.Error {
	e := r.place()
	e.Text, e.Detail, e.TimedOut, e.Abandoned = r.string(), r.string(), r.bool(), r.bool()
	return e
}

func (r *reader) place() script.Error {
	return script.Error{File: r.string(), Line: r.int(), Column: r.int()}
}
