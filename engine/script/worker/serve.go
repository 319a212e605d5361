// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

// Serve is the worker: it maps what it reads until there is no more, as when the engine has ended, in whatever way. Memory is what all
// mappings may take together, in bytes.
func Serve(in io.Reader, out io.Writer, memory int) error {
	limitMemory(memory)
	// When a whole group of processes is told to end, the engine still has mappings to finish; it ends its workers itself.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	s := &server{out: out, scripts: map[uint64]*script.Script{}, calls: map[uint64]context.CancelFunc{}}
	greeting := newWriter(isHello, 0, 0)
	greeting.string(hello)
	s.write(greeting)
	requests := bufio.NewReaderSize(in, 64<<10)
	for {
		message, err := readFrame(requests, maxAsk)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !s.take(&reader{b: message}) {
			return errFrame
		}
	}
}

// server answers the engine.
type server struct {
	writing sync.Mutex
	out     io.Writer

	mu      sync.Mutex
	scripts map[uint64]*script.Script
	calls   map[uint64]context.CancelFunc
}

// write writes an answer. Without the engine there is nobody to be told that it could not be.
func (s *server) write(w *writer) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, _ = s.out.Write(w.frame())
}

// take begins to work on a request.
func (s *server) take(r *reader) bool {
	kind, number := r.kind(), r.uint()
	switch kind {
	case askLoad:
		id, source := r.uint(), r.source()
		if !r.done() {
			return false
		}
		go s.load(number, id, source)
	case askMap:
		s.mu.Lock()
		sc := s.scripts[r.uint()]
		s.mu.Unlock()
		c, rec := r.context(), r.record()
		if !r.done() || sc == nil {
			return false
		}
		ctx, cancel := context.WithCancel(context.Background())
		s.mu.Lock()
		s.calls[number] = cancel
		s.mu.Unlock()
		go func() {
			body, err := sc.Map(ctx, rec, c)
			s.mu.Lock()
			delete(s.calls, number)
			s.mu.Unlock()
			cancel()
			s.answer(number, body, err)
		}()
	case askCancel:
		s.mu.Lock()
		if cancel := s.calls[number]; cancel != nil {
			cancel()
		}
		s.mu.Unlock()
		return r.done()
	default:
		return false
	}
	return true
}

func (s *server) load(number, id uint64, source script.Source) {
	compiled, err := (&script.Bundle{Source: source}).Compile()
	if err != nil {
		s.answer(number, nil, err)
		return
	}
	s.mu.Lock()
	s.scripts[id] = compiled
	s.mu.Unlock()
	w := newWriter(isLoaded, number, 0)
	w.place(compiled.Place())
	s.write(w)
}

func (s *server) answer(number uint64, body []byte, err error) {
	var failed *script.Error
	var w *writer
	switch {
	case errors.As(err, &failed):
		w = newWriter(isError, number, len(failed.Text)+len(failed.Detail))
		w.error(failed)
	case err != nil:
		w = newWriter(isOther, number, 0)
		w.string(sdk.Safe(err).Error())
	case body == nil:
		w = newWriter(isNull, number, 0)
	default:
		w = newWriter(isBody, number, len(body))
		w.bytes(body)
	}
	s.write(w)
}
