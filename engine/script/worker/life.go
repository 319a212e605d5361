// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/child"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

// life is a worker's process, from its start to its end.
type life struct {
	process  *child.Process
	stderr   child.Tail
	begun    time.Time
	greeted  chan error    // gets nil once it has said hello, else why it is none
	ended    chan struct{} // closed when it has ended, and why is known
	followed chan struct{} // closed when the worker has taken note of that

	writing sync.Mutex

	mu      sync.Mutex
	last    uint64
	calls   map[uint64]chan<- answer // that wait for one
	scripts map[*script.Bundle]*loaded
	mapped  bool  // it was given a record
	why     error // why it was ended, or has ended; nil: it runs
}

// answer is a message of the process.
type answer struct {
	kind byte
	*reader
}

// loaded is a script that the process has, or is about to have.
type loaded struct {
	id   uint64
	done chan struct{}
	at   script.Error // place of its default export
	err  error
}

// oneArena is for programs that were built with cgo: else each thread reserves 64 MiB of address space, which is limited.
const oneArena = "MALLOC_ARENA_MAX=1"

// start starts a process and waits for it to say hello. The error goes on "the worker of the pipeline ".
func start(ctx context.Context, command []string) (*life, error) {
	if len(command) == 0 {
		return nil, errors.New("can't be started: this engine was not told how")
	}
	process, err := child.Start(child.Command{
		Path: command[0], Arguments: command[1:], Environment: []string{sdk.CookieVariable + "=" + sdk.CookieValue, oneArena}, Stdin: true,
	})
	if err != nil {
		return nil, fmt.Errorf("can't be started: %s", child.Reason(err))
	}
	l := &life{
		process: process, begun: time.Now(), greeted: make(chan error, 1), ended: make(chan struct{}), followed: make(chan struct{}),
		calls: map[uint64]chan<- answer{}, scripts: map[*script.Bundle]*loaded{},
	}
	go l.run()
	late := time.NewTimer(startLimit)
	defer late.Stop()
	select {
	case err = <-l.greeted:
	case <-late.C:
		err = fmt.Errorf("can't be started: it said nothing within %v", startLimit)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		l.end(errEnded)
		<-l.ended
		return nil, err
	}
	return l, nil
}

// run reads what the process says until it has ended.
func (l *life) run() {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(&l.stderr, l.process.Stderr) // ends with the process
	}()
	err := l.read()
	l.end(err) // what it says is nonsense, or it has ended
	<-l.process.Exited()
	<-drained
	l.mu.Lock()
	var cause *lostError
	if errors.As(l.why, &cause) && cause.why == "" {
		l.why = l.diagnose()
	}
	calls := l.calls
	l.calls = nil
	l.mu.Unlock()
	select {
	case l.greeted <- fmt.Errorf("can't be started: it ended at its start (%s)", l.process.State()):
	default:
	}
	close(l.ended)
	for _, waiting := range calls {
		close(waiting)
	}
}

// read gives what the process says to who waits for it. It returns why it stopped.
func (l *life) read() error {
	answers := bufio.NewReaderSize(l.process.Stdout, 64<<10)
	nonsense := &lostError{why: "gave an answer that was none"}
	for first := true; ; first = false {
		message, err := readFrame(answers, maxAnswer)
		if errors.Is(err, errFrame) {
			return nonsense
		}
		if err != nil {
			return &lostError{} // it has ended, or is about to
		}
		r := &reader{b: message}
		kind, number := r.kind(), r.uint()
		if first {
			if said := r.string(); kind != isHello || said != hello || !r.done() {
				l.greeted <- errors.New("can't be started: its program is not the one that this engine was started from; restart the engine")
				return nonsense
			}
			l.greeted <- nil
			continue
		}
		l.mu.Lock()
		waiting := l.calls[number]
		delete(l.calls, number)
		l.mu.Unlock()
		if waiting == nil || r.broken {
			return nonsense
		}
		waiting <- answer{kind, r}
	}
}

// end ends the process. Only the first reason counts; one without a text is found out.
func (l *life) end(why error) {
	l.mu.Lock()
	if l.why == nil {
		l.why = why
	}
	l.mu.Unlock()
	l.process.Kill()
	_ = l.process.Stdin.Close() // so that nobody writes on
}

func (l *life) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why != nil
}

// used says whether the process was asked anything.
func (l *life) used() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last > 0
}

// hadRecords says whether the process was given any record.
func (l *life) hadRecords() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mapped
}

// reason says why a life has ended, which it has.
func (l *life) reason() error {
	<-l.ended
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

// noMemory is what the Go runtime says when the system refuses it memory, or when the stack of a goroutine is full, which is more;
// the last two are what is said with the race detector.
var noMemory = regexp.MustCompile(`out of memory|cannot allocate memory|pthread_create failed|stack exceeds|address space collisions|ThreadSanitizer`)

// diagnose finds out why the process ended by itself.
func (l *life) diagnose() error {
	if noMemory.Match(l.stderr.Bytes()) {
		return &lostError{why: fmt.Sprintf("took more than %d MiB of memory", Memory>>20), known: true}
	}
	return &lostError{why: "ended by itself (" + l.process.State() + ")"}
}

// report is what may be logged of the end.
func (l *life) report() []any {
	why := ""
	var lost *lostError
	if errors.As(l.reason(), &lost) {
		why = "it " + lost.why
	}
	attributes := []any{"pid", l.process.PID, "cause", why, "lived", time.Since(l.begun).Round(time.Millisecond)}
	if functions := child.Crashed(l.stderr.Bytes()); functions != "" {
		attributes = append(attributes, "in", functions)
	}
	return attributes
}

// load has the process compile a script, once.
func (l *life) load(ctx context.Context, b *script.Bundle) (*loaded, error) {
	l.mu.Lock()
	known := l.scripts[b]
	if known == nil {
		l.last++
		known = &loaded{id: l.last, done: make(chan struct{})}
		l.scripts[b] = known
		go func() { // whoever asked first may not wait for the answer
			defer close(known.done)
			if known.at, known.err = l.compile(b, known.id); known.err != nil { // the next call may have better luck
				l.mu.Lock()
				delete(l.scripts, b)
				l.mu.Unlock()
			}
		}()
	}
	l.mu.Unlock()
	select {
	case <-known.done:
		return known, known.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *life) compile(b *script.Bundle, id uint64) (at script.Error, err error) {
	a, err := l.ask(context.Background(), askLoad, len(b.Code)+len(b.Positions), func(w *writer) {
		w.uint(id)
		w.source(b.Source)
	})
	if err != nil {
		return at, err
	}
	if a.kind == isLoaded {
		if at = *b.Foreign(a.place(), true); a.done() {
			at.Text = ""
			return at, nil
		}
	}
	return at, l.failure(b, a)
}

// call has the process map.
func (l *life) call(ctx context.Context, b *script.Bundle, id uint64, m *mapping) ([]byte, error) {
	size := room(m.record)
	if m.context.Previous != nil {
		size += room(m.context.Previous)
	}
	a, err := l.ask(ctx, askMap, size, func(w *writer) {
		w.uint(id)
		w.context(m.context)
		w.record(m.record)
	})
	if err != nil {
		return nil, err
	}
	switch a.kind {
	case isNull:
		if a.done() {
			return nil, nil
		}
	case isBody:
		if body := a.bytes(); a.done() && script.IsNotification(body) {
			return body, nil
		}
	default:
		if ctx.Err() != nil { // it was told so
			return nil, ctx.Err()
		}
		return nil, l.failure(b, a)
	}
	return nil, l.nonsense()
}

// failure is what an answer says that is no result.
func (l *life) failure(b *script.Bundle, a answer) error {
	switch a.kind {
	case isError:
		e := b.Foreign(a.error(), l.hadRecords())
		if !a.done() {
			break
		}
		if e.Abandoned {
			// The others that are under way have nothing to do with it, and are made again.
			l.end(&lostError{why: "was ended, since a mapping could not be stopped"})
			e.Abandoned, e.Text = false, strings.TrimSuffix(e.Text, script.StillBusy)+"; its worker was ended, as it could not be stopped"
		}
		return e
	case isOther:
		if a.string(); a.done() {
			return sdk.Retryable("the worker could not map")
		}
	}
	return l.nonsense()
}

// nonsense ends a process whose answer can't be one.
func (l *life) nonsense() error {
	err := &lostError{why: "gave an answer that was none"}
	l.end(err)
	<-l.ended
	return err
}

// errTooLarge is that of a request that no worker reads.
var errTooLarge = sdk.Permanent("a script with its tables takes more than the %d MiB that a worker takes", maxAsk>>20)

// ask sends a request and waits for its answer, as long as that may take. When ctx ends the process is told, and answers.
func (l *life) ask(ctx context.Context, kind byte, size int, write func(*writer)) (answer, error) {
	if size > maxAsk { // before it is copied
		return answer{}, errTooLarge
	}
	answered := make(chan answer, 1)
	l.mu.Lock()
	if l.calls == nil {
		defer l.mu.Unlock()
		return answer{}, l.why
	}
	l.last++
	number := l.last
	l.mapped = l.mapped || kind == askMap
	l.calls[number] = answered
	l.mu.Unlock()
	late := time.AfterFunc(callLimit, func() {
		l.end(&lostError{why: fmt.Sprintf("did not answer, long after the limit of %v", script.TimeLimit), known: true, late: true})
	})
	defer late.Stop()
	w := newWriter(kind, number, size)
	write(w)
	if len(w.b)-4 > maxAsk {
		l.mu.Lock()
		delete(l.calls, number)
		l.mu.Unlock()
		return answer{}, errTooLarge
	}
	l.send(w)
	select {
	case a, ok := <-answered:
		return l.got(a, ok)
	case <-ctx.Done():
	}
	late.Reset(cancelLimit)
	l.send(newWriter(askCancel, number, 0))
	a, ok := <-answered
	return l.got(a, ok)
}

func (l *life) got(a answer, ok bool) (answer, error) {
	if !ok {
		return a, l.reason()
	}
	return a, nil
}

// send writes a request. If that fails the process is ending, which whoever waits for the answer hears.
func (l *life) send(w *writer) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if _, err := l.process.Stdin.Write(w.frame()); err != nil {
		l.end(&lostError{})
	}
}
