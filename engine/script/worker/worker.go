// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package worker maps with scripts in a process of its own, whose memory is limited. Whatever a script does, recursion without an end
// and strings of a gigabyte included, ends that process at the worst, and never the engine.
//
// The process is this program, started again. It is given the code of scripts and records, and nothing else: no secrets, no
// configuration, no files. It begins when it is first needed, and again after it ended. What it answers is looked at before it is
// believed.
//
// Blame. When the process ends, each mapping that was under way may be to blame, or none, as when the system ends it. So each is made
// once more, alone, in a process that has done nothing else. What ends that one too is to blame, and gets an error that says so, as of a
// script that throws; the others have their result. A mapping that can't be stopped is to blame without that: the process is ended for it.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

// Options of New.
type Options struct {
	Command []string // command line of a program that calls Serve
	Name    string   // in errors and logs: of the pipeline
	Logger  *slog.Logger
}

// How long things may take. They are generous: on a machine under load nothing that is healthy is to be ended.
const (
	startLimit  = 30 * time.Second                                 // from the program's start to its first message
	callLimit   = script.TimeLimit + script.Grace + 10*time.Second // for an answer: the worker ends calls itself, if it can
	cancelLimit = script.Grace + 3*time.Second                     // for an answer, once nobody wants it any more
)

// Back-off before a start, after so many ends of a worker in a row with no answer between them.
const (
	freeStarts  = 4
	backOffBase = 50 * time.Millisecond
	backOffCap  = 2 * time.Second
)

func backOff(ends int) time.Duration {
	if ends <= freeStarts {
		return 0
	}
	return min(backOffBase<<min(ends-freeStarts-1, 10), backOffCap)
}

// Worker maps in one process at a time. It may be used by many goroutines.
type Worker struct {
	o Options

	// company is held for reading by a mapping that others may be beside, for writing by one that is alone.
	company sync.RWMutex

	mu       sync.Mutex
	life     *life         // nil: there is none
	starting chan struct{} // closed when the start that is under way is over; nil: there is none
	inARow   int           // ends without an answer between them
	ends     int
	places   map[*script.Bundle]script.Error // of default exports, once they are known
}

// New makes a worker. It starts nothing.
func New(o Options) *Worker { return &Worker{o: o, places: map[*script.Bundle]script.Error{}} }

// Status is what a worker is doing.
type Status struct {
	PID  int // 0: it is not running
	Ends int // of its process, by itself or since a mapping could not be stopped
}

// Status says what the worker is doing.
func (w *Worker) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := Status{Ends: w.ends}
	if w.life != nil && !w.life.over() {
		st.PID = w.life.process.PID
	}
	return st
}

// End ends the process. The next use begins another.
func (w *Worker) End() {
	w.mu.Lock()
	l := w.life
	w.mu.Unlock()
	if l != nil {
		l.end(errEnded)
		<-l.ended
	}
}

var errEnded = sdk.Retryable("the worker was ended")

// Check compiles a script in the worker. The errors are those of script.Compile; one that ends the process is one of the script.
func (w *Worker) Check(ctx context.Context, b *script.Bundle) error {
	_, err := w.make(ctx, b, nil)
	return err
}

// Map is script.Script's Map. The error is a *script.Error too when the mapping is to blame for the end of the process, and an
// *sdk.Error when the worker can't be started for now.
func (w *Worker) Map(ctx context.Context, b *script.Bundle, r *record.Record, c script.Context) ([]byte, error) {
	return w.make(ctx, b, &mapping{r, c})
}

// mapping is what is to be mapped.
type mapping struct {
	record  *record.Record
	context script.Context
}

// make has a script compiled, and then called if there is something to map; again, alone, if the worker ends meanwhile.
func (w *Worker) make(ctx context.Context, b *script.Bundle, m *mapping) (body []byte, err error) {
	w.company.RLock()
	body, err = w.try(ctx, b, m, false)
	w.company.RUnlock()
	var lost *lostError
	for tries := 0; errors.As(err, &lost); tries++ {
		if tries == 2 || tries == 1 && lost.known {
			return nil, w.blame(b, m, lost)
		}
		w.company.Lock()
		body, err = w.try(ctx, b, m, true)
		w.company.Unlock()
	}
	return body, err
}

// lostError says that the process ended while a call was under way.
type lostError struct {
	why   string // goes on "it "; nothing that the process said
	known bool   // it was something that a call can do
	late  bool   // it was too late
}

func (e *lostError) Error() string { return "the worker ended: it " + e.why }

// blame is the error of a call that ended a process alone.
func (w *Worker) blame(b *script.Bundle, m *mapping, lost *lostError) *script.Error {
	what := "the mapping"
	if m == nil {
		what = "evaluating the module"
	}
	w.mu.Lock()
	e, known := w.places[b]
	w.mu.Unlock()
	if !known {
		e = script.Error{File: b.Name, Line: 1, Column: 1}
	}
	e.Text, e.TimedOut = fmt.Sprintf("%s ended its worker: it %s", what, lost.why), lost.late
	return &e
}

// try makes one attempt; alone, it is the first that its process does.
func (w *Worker) try(ctx context.Context, b *script.Bundle, m *mapping, alone bool) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l, err := w.running(ctx, alone)
	if err != nil {
		return nil, err
	}
	loaded, err := l.load(ctx, b)
	if err != nil {
		return nil, w.noted(l, err)
	}
	w.mu.Lock()
	w.places[b] = loaded.at
	w.mu.Unlock()
	if m == nil {
		return nil, w.noted(l, nil)
	}
	body, err := l.call(ctx, b, loaded.id, m)
	if errors.Is(err, errTooLarge) {
		e := loaded.at
		e.Text = fmt.Sprintf("the record takes more than the %d MiB that a worker takes", maxAsk>>20)
		return nil, &e
	}
	if err != nil {
		return nil, w.noted(l, err)
	}
	_ = w.noted(l, nil) // which gives what it is given
	return b.Accept(body, loaded.at)
}

// noted takes note of what a call to a life ended with.
func (w *Worker) noted(l *life, err error) error {
	var lost *lostError
	if err != nil && (errors.As(err, &lost) || errors.Is(err, errEnded)) {
		<-l.followed
		return err
	}
	w.mu.Lock()
	w.inARow = 0
	w.mu.Unlock()
	return err
}

// running gives the life that is, or begins one. A fresh one has done nothing yet.
func (w *Worker) running(ctx context.Context, fresh bool) (*life, error) {
	for {
		w.mu.Lock()
		switch l := w.life; {
		case w.starting != nil:
			starting := w.starting
			w.mu.Unlock()
			select {
			case <-starting:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case l != nil && !l.over() && (!fresh || !l.used()):
			w.mu.Unlock()
			return l, nil
		case l != nil && !l.over():
			w.mu.Unlock()
			w.End()
		default:
			w.starting = make(chan struct{})
			wait := backOff(w.inARow)
			w.mu.Unlock()
			l, err := w.begin(ctx, wait)
			w.mu.Lock()
			close(w.starting)
			w.starting, w.life = nil, l
			w.mu.Unlock()
			return l, err
		}
	}
}

// begin begins a life after a pause.
func (w *Worker) begin(ctx context.Context, wait time.Duration) (*life, error) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l, err := start(ctx, w.o.Command)
	if err != nil {
		w.count()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, sdk.Retryable("the worker of %s %v", w.o.Name, err)
	}
	w.o.Logger.Debug("a worker is running", "of", w.o.Name, "pid", l.process.PID)
	go w.follow(l)
	return l, nil
}

// count counts an end.
func (w *Worker) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends++
	w.inARow++
}

// follow waits for the end of a life.
func (w *Worker) follow(l *life) {
	defer close(l.followed)
	<-l.ended
	if errors.Is(l.reason(), errEnded) {
		w.o.Logger.Debug("a worker has ended", "of", w.o.Name, "pid", l.process.PID)
		return
	}
	w.count()
	w.o.Logger.Error("a worker ended while it mapped; what it did is done again", append([]any{"of", w.o.Name}, l.report()...)...)
}
