// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

const (
	visitEntries = 16          // notifications of a lane per visit, at most
	firstEntries = 2           // as many are read before it is known how large they are; mostly there are no more
	visitBytes   = 1 << 20     // and then about this much of them at a time
	visitTime    = time.Second // a slow lane makes room after
	storeTimeout = 10 * time.Second
	maxDetail    = 2 << 10
)

// visit sends what waits in a lane, one after the other. Invariant 4: the next is sent only after the acknowledgement of the
// one before is written, and nothing is sent past an entry that failed.
//
// ctx ends the sending of further notifications, work the one that is on its way.
func (s *session) visit(ctx, work context.Context, ln *lane, probe bool) result {
	l, begun, sent, largest := s.loop, time.Now(), 0, 0
	for n := firstEntries; n > 0; n = min(visitEntries-sent, max(1, visitBytes/largest)) {
		entries, err := s.outbox.Head(work, ln.name, n)
		if err != nil {
			return result{lane: ln, end: broken, err: err}
		}
		for i := range entries {
			e := &entries[i]
			now := time.Now()
			if !ln.tried && e.NextAttempt.After(now) && !l.liftedSince(e) {
				ln.tried = true
				return result{lane: ln, end: later, next: turn(e, now)}
			}
			if ctx.Err() != nil || s.isLost() || sent > 0 && now.Sub(begun) > visitTime {
				return result{lane: ln, end: more}
			}
			epoch, ok := l.health.begin(probe && sent == 0)
			if !ok {
				return result{lane: ln, end: more}
			}
			if r, gone := s.deliver(work, ln, e, epoch); !gone {
				return r
			}
			ln.tried, ln.attempts = false, 0
			sent, largest = sent+1, max(largest, store.EntrySize(e))
		}
		if len(entries) < n {
			return result{lane: ln, end: drained}
		}
	}
	return result{lane: ln, end: more}
}

// deliver makes one attempt and writes down its outcome. It reports whether the entry left the outbox. Invariant 3: it
// leaves here only, accepted or with its cause to the dead letters.
func (s *session) deliver(work context.Context, ln *lane, e *record.Entry, epoch uint64) (r result, gone bool) {
	l := s.loop
	id := store.EntryID{Lane: ln.name, Seq: e.Seq, ID: e.ID}
	attempts := max(e.Attempts, ln.attempts) + 1
	work, span := l.span(work, e, attempts)
	defer span.End()
	began := time.Now()
	err := l.send(work, e, attempts)
	at := time.Now()
	took := at.Sub(began)
	if err == nil {
		l.cfg.Meter.Attempted(took, nil)
		l.worksAgain(epoch)
		done := store.Done{EntryID: id, At: at, Code: "accepted"}
		if err := s.acknowledge(work, done); err != nil {
			return result{lane: ln, end: broken, err: err, owed: &done}, false
		}
		l.delivered.Add(1)
		l.cfg.Meter.Delivered(e.Pipeline, e.Time, e.Committed, at)
		l.recovers(ln)
		return result{}, true
	}
	cause := l.sendError(err)
	failed := store.Attempt{Attempts: attempts, Next: at, At: at, Code: cause.Code}
	if cause.Verdict == record.Retry && work.Err() != nil {
		return result{lane: ln, end: more}, false // it was cancelled, which says nothing about the receiver
	}
	l.cfg.Meter.Attempted(took, cause)
	refused(span, cause)
	switch cause.Verdict {
	case record.Reject:
		l.worksAgain(epoch)
		if l.cfg.OnReject == DeadLetter {
			if err := s.bury(work, ln, e, id, cause, failed); err != nil {
				return result{lane: ln, end: broken, err: err}, false
			}
			l.recovers(ln)
			return result{}, true
		}
		l.health.refused(cause.Text)
		l.recovers(ln) // what it failed with before is over; else nobody would be told when that begins again
		r = result{lane: ln, end: hold}
		r.err = s.remember(work, ln, id, failed)
		if attrs := l.refusal(e, cause, attempts); attrs != nil {
			l.log.Error("the receiver refuses a notification; its lane is held, others go on. Put the cause right, then run what "+
				`to_resume says, or set on_reject = "dead_letter"`, append(attrs, "to_resume", l.toResume())...)
		}
	case record.Pause:
		r = result{lane: ln, end: more}
		r.err = s.remember(work, ln, id, failed)
		l.pause(cause.Code, cause.Text)
	default:
		after := min(cause.After, maxAfter)
		failed.Next = time.Now().Add(max(backoff(attempts, minRetry, maxRetry), after))
		r = result{lane: ln, end: later, next: failed.Next}
		r.err = s.remember(work, ln, id, failed)
		l.failed(epoch, ln, e, cause, after, attempts)
	}
	if errors.Is(r.err, store.ErrFenced) {
		return result{lane: ln, end: broken, err: r.err}, false
	}
	return r, false
}

// remember keeps the outcome of a failed attempt in memory and in the store. Where the store does not take it, memory is
// enough to go on; only a new session would forget.
func (s *session) remember(work context.Context, ln *lane, id store.EntryID, a store.Attempt) error {
	ln.tried, ln.attempts = true, a.Attempts
	c, cancel := context.WithTimeout(context.WithoutCancel(work), storeTimeout)
	defer cancel()
	err := s.outbox.Defer(c, id, a)
	if err != nil {
		s.loop.storeFails(err)
	}
	return err
}

// bury moves an entry to the dead letters.
func (s *session) bury(
	work context.Context, ln *lane, e *record.Entry, id store.EntryID, cause *record.SendError, a store.Attempt,
) error {
	c := record.Cause{
		Stage: record.StageDeliver, Code: cause.Code, Text: cause.Text, Attempts: a.Attempts,
		Detail: cause.Detail[:min(len(cause.Detail), maxDetail)],
	}
	// Should it have been written although it failed, the next time does nothing.
	err := s.settle(work, func(ctx context.Context) error { return s.outbox.Bury(ctx, id, c, a.At) })
	if err != nil {
		return err
	}
	s.loop.buried.Add(1)
	s.loop.cfg.Meter.DeadLetter(e.Pipeline)
	if attrs := s.loop.refusal(e, cause, a.Attempts); attrs != nil {
		s.loop.log.Error("the receiver refuses a notification; it became a dead letter", attrs...)
	}
	return nil
}

// settle repeats a write until it is done: its outcome is known to the receiver, so nothing else of this lane may happen
// before the store knows it too. It gives up when the ownership or, after a last try, the time is lost.
func (s *session) settle(work context.Context, write func(context.Context) error) error {
	for n := 1; ; n++ {
		c, cancel := context.WithTimeout(context.WithoutCancel(work), storeTimeout)
		err := s.loop.contained(func() error { return write(c) }) // after a panic, too, it is written again and not sent again
		cancel()
		if err == nil {
			s.loop.storeWorks()
			return nil
		}
		if errors.Is(err, store.ErrFenced) {
			return err
		}
		s.loop.storeFails(err)
		if !sleep(work, backoff(n, minStore, maxStore)) {
			return err
		}
	}
}

func (s *session) isLost() bool {
	select {
	case <-s.outbox.Lost():
		return true
	default:
		return false
	}
}

// send makes one attempt. Invariant 8: what a destination does wrong stays here.
func (l *Loop) send(work context.Context, e *record.Entry, attempt int) (err error) {
	ctx, cancel := context.WithTimeout(work, l.cfg.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = &record.SendError{Code: "panic", Text: fmt.Sprintf("the destination panicked at %s (%T)", panicSite(), p)}
		}
	}()
	return l.cfg.Destination.Send(ctx, Notification{
		ID: e.ID, Pipeline: e.Pipeline, Deliver: e.Deliver, Key: e.Key, Body: e.Body, Attempt: attempt, Trace: record.TraceOf(work),
	})
}

var errPanic = fmt.Errorf("%w: it panicked", store.ErrBusy)

// contained calls f and turns a panic, as of the store, into an error. Invariant 8.
func (l *Loop) contained(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("internal error, please report it", "at", panicSite(), "type", fmt.Sprintf("%T", p))
			err = errPanic
		}
	}()
	return f()
}

// panicSite is file and line of the panic that is being recovered: its value could quote a record, its place can't.
func panicSite() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for panicking := false; ; {
		f, more := frames.Next()
		inRuntime := strings.HasPrefix(f.Function, "runtime.")
		if panicking && !inRuntime {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		panicking = panicking || inRuntime
		if !more {
			return "an unknown place"
		}
	}
}

// sendError gives any error of a destination a meaning.
func (l *Loop) sendError(err error) *record.SendError {
	var e *record.SendError
	switch {
	case errors.As(err, &e) && e != nil:
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &record.SendError{Code: "timeout", Text: fmt.Sprintf("no answer within %s", l.cfg.Timeout)}
	}
	return &record.SendError{Code: "error", Text: fmt.Sprintf("%T (text withheld, it may quote data)", err)}
}

// failed takes note of a failure that may pass by itself.
func (l *Loop) failed(epoch uint64, ln *lane, e *record.Entry, cause *record.SendError, after time.Duration, attempts int) {
	again := ln.failing
	if !again {
		ln.failing = true
		l.failing.Add(1)
	}
	if l.sends.begins(cause.Code) {
		l.log.Warn("a delivery failed and will be repeated until it succeeds", l.about(e, cause, attempts)...)
	}
	if l.health.failed(epoch, ln.name, again, cause.Text, after) && l.sends.begins("backing off") {
		l.log.Warn("the receiver fails as a whole; one delivery at a time is tried until one succeeds", "code", cause.Code,
			"error", cause.Text)
	}
}

// worksAgain takes note of an answer that shows that the receiver works.
func (l *Loop) worksAgain(epoch uint64) {
	if l.health.succeeded(epoch) && l.failing.Load() == 0 {
		l.healed()
	}
}

// recovers takes note that the first entry of a lane is no longer one that fails.
func (l *Loop) recovers(ln *lane) {
	if ln.failing {
		ln.failing = false
		if l.failing.Add(-1) == 0 {
			l.healed()
		}
	}
}

// forgets takes note that a lane is no longer looked after, which says nothing about its first entry.
func (l *Loop) forgets(ln *lane) {
	if ln.failing {
		ln.failing = false
		l.failing.Add(-1)
	}
}

func (l *Loop) healed() {
	l.health.healed()
	if l.sends.ends() {
		l.log.Info("deliveries succeed again")
	}
}

// pause stops all sending until Resume or the next Run.
func (l *Loop) pause(code, text string) {
	if l.health.pause(text) {
		l.log.Error("the destination is paused: the receiver refuses everything. Nothing is lost: put the cause right, then run what to_resume says",
			"code", code, "error", text, "to_resume", l.toResume())
	}
}

// refusal is what a log line says about a refused notification; nil when there were too many such lines.
func (l *Loop) refusal(e *record.Entry, cause *record.SendError, attempts int) []any {
	ok, missed := l.flood.allow()
	if !ok {
		return nil
	}
	attrs := l.about(e, cause, attempts)
	if missed > 0 {
		attrs = append(attrs, "unlogged", missed)
	}
	return attrs
}

// about names a notification in a log line. Invariant 6.
func (l *Loop) about(e *record.Entry, cause *record.SendError, attempts int) []any {
	return []any{
		"pipeline", e.Pipeline, "deliver", e.Deliver, "record", l.cfg.Names.Of(e.Pipeline, e.Ref),
		"code", cause.Code, "error", cause.Text, "attempts", attempts,
	}
}

// liftedSince says whether a person resumed after the last attempt, and so waits for no pause after it.
func (l *Loop) liftedSince(e *record.Entry) bool {
	n := len(e.Tries)
	return n > 0 && e.Tries[n-1].At.UnixNano() < l.lifted.Load()
}

// turn is when the time of an attempt comes that was stored. It goes by the clock that nobody sets, which now has and what was stored
// has not. Where the clock was set back since the attempt before, the stored time is far away: no more than the pause that was meant
// is waited for, and no more than a pause may be.
func turn(e *record.Entry, now time.Time) time.Time {
	pause := min(e.NextAttempt.Sub(now), maxAfter)
	if n := len(e.Tries); n > 0 {
		pause = min(pause, e.NextAttempt.Sub(e.Tries[n-1].At))
	}
	return now.Add(pause)
}
