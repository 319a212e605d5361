// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

// meter counts by what it is told.
type meter struct {
	mu     sync.Mutex
	counts map[string]int
	took   time.Duration   // of all attempts
	after  []time.Duration // from commit to accepted, and from change to accepted where that is known
}

func (m *meter) Attempted(took time.Duration, failure *record.SendError) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took += took
	if failure == nil {
		m.counts["accepted"]++
		return
	}
	m.counts[fmt.Sprint(failure.Code, " ", failure.Verdict)]++
}

func (m *meter) Delivered(pipeline string, changed, committed, accepted time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["delivered of "+pipeline]++
	m.after = append(m.after, accepted.Sub(committed))
	if !changed.IsZero() {
		m.after = append(m.after, accepted.Sub(changed))
	}
}

func (m *meter) DeadLetter(pipeline string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["dead of "+pipeline]++
}

func (m *meter) expect(t *testing.T, want map[string]int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !maps.Equal(m.counts, want) {
		t.Errorf("counted %v, want %v", m.counts, want)
	}
}

func TestEachAttemptIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{counts: map[string]int{}}
		b := newBench(t, func(c *delivery.Config) { c.Meter, c.OnReject = m, delivery.DeadLetter })
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			time.Sleep(time.Second)
			switch {
			case keyOf(n.ID) == patient(1):
				return &record.SendError{Verdict: record.Reject, Code: "http_422"}
			case keyOf(n.ID) == patient(2) && n.Attempt < 3:
				return unavailable(0)
			case keyOf(n.ID) == patient(3) && n.Attempt == 1:
				return errors.New("something")
			}
			return nil
		}
		for i := range 4 {
			b.box.add(patient(i+1), 1)
			key := "appointments/" + patient(i+1)
			b.box.lanes[key][0].Committed = time.Now().Add(-time.Minute)
			if i == 3 {
				b.box.lanes[key][0].Time = time.Now().Add(-time.Hour)
			}
		}
		b.start()
		time.Sleep(time.Hour)
		b.stop()
		m.expect(t, map[string]int{
			"accepted": 3, "http_422 1": 1, "http_503 0": 2, "error 0": 1, "delivered of appointments": 3, "dead of appointments": 1,
		})
		if m.took != 7*time.Second || slices.Min(m.after) != time.Minute+time.Second || slices.Max(m.after) != time.Hour+time.Second || len(m.after) != 4 {
			t.Errorf("the attempts took %s, and what was delivered %v", m.took, m.after)
		}
	})
}

// What was accepted and could not be acknowledged did not leave the outbox.
func TestOnlyWhatLeftTheOutboxIsCountedAsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{counts: map[string]int{}}
		b := newBench(t, func(c *delivery.Config) { c.Meter = m })
		b.box.fault = func(op string, _ bool) error {
			if op == "ack" {
				b.box.announce()
				return errors.New("no")
			}
			return nil
		}
		b.box.add(patient(1), 1)
		b.start()
		time.Sleep(time.Second)
		m.expect(t, map[string]int{"accepted": 1})
		b.cancel()
		<-b.ended
	})
}

// A stop says nothing of the receiver.
func TestAnAttemptThatIsCutOffIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{counts: map[string]int{}}
		b := newBench(t, func(c *delivery.Config) { c.Meter = m })
		b.to.answer = func(ctx context.Context, _ delivery.Notification) error {
			<-ctx.Done()
			return ctx.Err()
		}
		b.box.add(patient(1), 1)
		b.start()
		time.Sleep(time.Second)
		b.stop()
		m.expect(t, map[string]int{})
	})
}

func TestAnAttemptGoesOnWithTheTraceOfItsNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)).Tracer("test")
		_, window := tracer.Start(t.Context(), "window")
		b := newBench(t, func(c *delivery.Config) { c.Tracer = tracer })
		var sent []string
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			if n.Trace != "" {
				sent = append(sent, n.Trace)
			}
			if keyOf(n.ID) == patient(1) && n.Attempt == 1 {
				return unavailable(0)
			}
			return nil
		}
		b.box.add(patient(1), 1)
		b.box.add(patient(2), 1)
		id := window.SpanContext()
		b.box.lanes["appointments/"+patient(1)][0].Trace = fmt.Sprintf("00-%s-%s-01", id.TraceID(), id.SpanID())
		b.start()
		time.Sleep(time.Hour)
		b.stop()
		var got []string
		for _, s := range spans.GetSpans() {
			if s.SpanContext.TraceID() != id.TraceID() {
				t.Errorf("%s is in another trace", s.Name)
			}
			text := s.Name
			if s.Status.Code == codes.Error {
				text += " failed: " + s.Status.Description
			}
			if s.Name == "deliver" && s.Parent.SpanID() != id.SpanID() {
				t.Errorf("%s does not go on with the window", s.Name)
			}
			for _, a := range s.Attributes {
				text += fmt.Sprintf(" %s=%s", a.Key, a.Value.String())
			}
			got = append(got, text)
			if s.Name == "deliver" && !slices.Contains(sent, fmt.Sprintf("00-%s-%s-01", s.SpanContext.TraceID(), s.SpanContext.SpanID())) {
				t.Errorf("the receiver was not told of the span of its attempt: %q", sent)
			}
		}
		about := " rounds.destination=webhook.scheduling rounds.pipeline=appointments rounds.deliver=scheduling rounds.attempt="
		want := []string{"deliver failed: the receiver answered 503" + about + "1 error.type=http_503", "acknowledge", "deliver" + about + "2"}
		if !slices.Equal(got, want) {
			t.Errorf("the spans are\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
		}
	})
}
