// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

// Meter counts what a loop does. Its methods are called from several goroutines at a time.
//
// Invariant 6: it is told names of the configuration, codes, numbers and times, and nothing of a record. It does not look at the
// Detail of a failure.
type Meter interface {
	// Attempted is told of one attempt, and why it failed; nil: it was accepted. One that was cut off by a stop is none.
	Attempted(took time.Duration, failure *record.SendError)
	// Delivered is told of a notification that was accepted and acknowledged: when its record changed, by the EHR's clock (zero:
	// not known), when it was committed, when it was accepted.
	Delivered(pipeline string, changed, committed, accepted time.Time)
	// DeadLetter is told of a notification that was refused and became a dead letter.
	DeadLetter(pipeline string)
}

// Unmetered counts nothing.
type Unmetered struct{}

func (Unmetered) Attempted(time.Duration, *record.SendError)        {}
func (Unmetered) Delivered(string, time.Time, time.Time, time.Time) {}
func (Unmetered) DeadLetter(string)                                 {}

// span begins an attempt, in the trace of the window that committed the notification. One that is in no trace begins none.
//
// Invariant 6: attributes are names of the configuration and numbers, and of a failure there is what the log would say.
func (l *Loop) span(ctx context.Context, e *record.Entry, attempt int) (context.Context, trace.Span) {
	if e.Trace == "" {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return l.within(record.InTrace(ctx, e.Trace), "deliver", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("rounds.destination", l.cfg.Name), attribute.String("rounds.pipeline", e.Pipeline),
		attribute.String("rounds.deliver", e.Deliver), attribute.Int("rounds.attempt", attempt)))
}

// within begins a span in the trace that ctx is in, if it is in one.
func (l *Loop) within(ctx context.Context, name string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, trace.SpanFromContext(ctx)
	}
	return l.cfg.Tracer.Start(ctx, name, o...)
}

// refused says in a span why the attempt failed.
func refused(span trace.Span, cause *record.SendError) {
	span.SetStatus(codes.Error, cause.Text)
	span.SetAttributes(attribute.String("error.type", cause.Code))
}

// acknowledge takes an accepted entry out of the outbox.
func (s *session) acknowledge(work context.Context, done store.Done) error {
	work, span := s.loop.within(work, "acknowledge")
	defer span.End()
	err := s.settle(work, func(c context.Context) error { return s.outbox.Ack(c, done) })
	if err != nil {
		span.SetStatus(codes.Error, store.Text(err))
	}
	return err
}
