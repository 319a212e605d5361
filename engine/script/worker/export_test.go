// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bufio"
	"io"

	"github.com/rounds-engine/rounds/engine/script"
)

var (
	BackOff    = backOff
	Watch      = watch
	Taken      = taken
	IsNoMemory = noMemory.Match
)

// InFlight is how many calls wait for their answer.
func InFlight(w *Worker) int {
	w.mu.Lock()
	l := w.life
	w.mu.Unlock()
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.calls)
}

// Pretend is a worker that compiles nothing, and answers mappings as it is told to.
func Pretend(in io.Reader, out io.Writer, said string, answer func(number uint64) []byte) {
	s := &server{out: out}
	greeting := newWriter(isHello, 0, 0)
	greeting.string(said)
	s.write(greeting)
	requests := bufio.NewReader(in)
	for {
		message, err := readFrame(requests, maxAsk)
		if err != nil {
			return
		}
		r := &reader{b: message}
		kind, number := r.kind(), r.uint()
		if kind == askLoad {
			w := newWriter(isLoaded, number, 0)
			w.place(script.Error{File: "map.js", Line: 1, Column: 1})
			s.write(w)
			continue
		}
		_, _ = out.Write(answer(number))
	}
}

// Hello is what a worker says first.
const Hello = hello

// BodyFrame, ErrorFrame are answers.
func BodyFrame(number uint64, body string) []byte {
	w := newWriter(isBody, number, len(body))
	w.bytes([]byte(body))
	return w.frame()
}

func ErrorFrame(number uint64, e script.Error) []byte {
	w := newWriter(isError, number, 0)
	w.error(&e)
	return w.frame()
}
