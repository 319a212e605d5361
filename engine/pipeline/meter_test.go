// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rounds-engine/rounds/engine/metrics"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/sdk"
)

// meter counts by what it is told.
type meter struct {
	mu     sync.Mutex
	counts map[string]int
	took   map[string]time.Duration
}

func newMeter() *meter { return &meter{counts: map[string]int{}, took: map[string]time.Duration{}} }

func (m *meter) add(n int, took time.Duration, words ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what := strings.TrimSpace(fmt.Sprintln(words...))
	m.counts[what] += n
	m.took[what] += took
}

func (m *meter) Polled(took time.Duration, calls int, wait time.Duration, code sdk.Code) {
	m.add(1, took, "polled", code)
	m.add(calls, wait, "calls")
}
func (m *meter) Changes(outcome string, n int)                { m.add(n, 0, outcome) }
func (m *meter) Called(took time.Duration)                    { m.add(1, took, "called") }
func (m *meter) Fetched(resource string, c sdk.Code, n int)   { m.add(n, 0, "fetched", resource, c) }
func (m *meter) Unwanted(deliver string)                      { m.add(1, 0, "unwanted", deliver) }
func (m *meter) Mapped(deliver, what string, d time.Duration) { m.add(1, d, what, "by", deliver) }
func (m *meter) Committed(took time.Duration, err error)      { m.add(1, took, "commit", err != nil) }
func (m *meter) Notification(deliver, destination string) {
	m.add(1, 0, "notification", deliver, destination)
}
func (m *meter) DeadLetter(stage record.Stage) { m.add(1, 0, "dead", stage) }

// expect compares all counts but those of commits.
func (m *meter) expect(t *testing.T, want map[string]int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	got := maps.Clone(m.counts)
	maps.DeleteFunc(got, func(what string, _ int) bool { return strings.HasPrefix(what, "commit") })
	if !maps.Equal(got, want) {
		for _, what := range slices.Sorted(maps.Keys(got)) {
			if got[what] != want[what] {
				t.Errorf("%s: counted %d times, want %d", what, got[what], want[what])
			}
		}
		for what := range want {
			if _, counted := got[what]; !counted {
				t.Errorf("%s: not counted, want %d", what, want[what])
			}
		}
	}
}

func TestEachStepIsCounted(t *testing.T) {
	simulate(t, func(r *rig) {
		m := newMeter()
		r.config.Meter, r.config.Fetches = m, []pipeline.Fetch{patients()}
		r.config.Start = pipeline.Start{Now: true}
		r.config.Delivers = []pipeline.Deliver{
			deliver("out"),
			{Name: "some", Destination: "file.out", Map: func(_ context.Context, r *record.Record, _ pipeline.MapContext) ([]byte, error) {
				switch r.Change.Version {
				case "drop":
					return nil, nil
				case "fail":
					return nil, &pipeline.MapError{Text: "no"}
				case "hang":
					return nil, &pipeline.MapError{Text: "no", Abandoned: true}
				}
				time.Sleep(time.Second)
				return []byte("{}"), nil
			}, Filter: condition(func(id string) (bool, error) { return id != "5", nil })},
		}
		r.ehr.onRef = func(ref sdk.Ref) error {
			if ref.ID == canary+"pgone" {
				return sdk.NotFound("no such patient")
			}
			return nil
		}
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			if n == 3 {
				return sdk.Page{}, sdk.RateLimited(time.Second, "slow down")
			}
			page := r.ehr.page(q)
			page.Calls, page.Wait = 2, time.Second
			time.Sleep(time.Second)
			return page, nil
		}
		r.ehr.setAt(time.Now().Add(-90*time.Second), "0", "old", "pa")
		stop := r.start()
		pass(30 * time.Second)
		for i, version := range []string{"a", "drop", "fail", "hang", "unwanted"} {
			r.ehr.set(fmt.Sprint(i+1), version, "pa")
		}
		r.ehr.set("6", "a", "pgone")
		pass(4 * time.Minute)
		stop()
		m.expect(t, map[string]int{
			"polled": 5, "polled rate_limited": 1, "calls": 10,
			"before_start": 1, "new": 6, "seen": 1 + 3*7, // the second poll has the new ones, and three more follow
			"called": 1, "fetched patient": 1, "fetched patient not_found": 1,
			"mapped by out": 5, "mapped by some": 1, "filtered by some": 1, "failed by some": 1, "abandoned by some": 1, "unwanted some": 1,
			"notification out file.out": 5, "notification some file.out": 1, "dead fetch": 1, "dead map": 2,
		})
		if m.took["polled"] != 5*time.Second || m.took["mapped by some"] != time.Second || m.took["calls"] != 5*time.Second {
			t.Errorf("times: %v", m.took)
		}
		if m.counts["commit false"] == 0 || m.counts["commit true"] != 0 {
			t.Errorf("commits: %v", m.counts)
		}
	})
}

// closed is a source that can't be opened.
type closed struct{ pipeline.Source }

func (closed) Feed(context.Context, string) (sdk.Feed, error) {
	return sdk.Feed{}, sdk.Unauthorized("POST /token: status 401")
}

func TestASourceThatCantBeOpenedCountsAsAPollThatFailed(t *testing.T) {
	simulate(t, func(r *rig) {
		m := newMeter()
		r.config.Meter, r.config.Source = m, closed{r.ehr}
		r.run(100 * time.Millisecond)
		m.expect(t, map[string]int{"polled unauthorized": 1, "calls": 0})
	})
}

// What is committed counts once, whatever fails on the way.
func TestWhatIsNotCommittedIsNotCounted(t *testing.T) {
	simulate(t, func(r *rig) {
		m := newMeter()
		r.config.Meter = m
		r.ehr.fill(3, "a")
		r.before = func(_ int, b store.Batch) error {
			if len(b.Entries) > 0 && m.counts["commit true"] < 2 {
				return store.ErrBusy
			}
			return nil
		}
		r.run(time.Minute)
		if n := m.counts["notification out file.out"]; n != 3 || m.counts["commit true"] != 2 || m.counts["mapped by out"] != 9 {
			t.Errorf("%d notifications are counted, 3 are committed: %v", n, m.counts)
		}
	})
}

// A stop says nothing of the server.
func TestACallThatIsCutOffByTheStopIsNotCounted(t *testing.T) {
	simulate(t, func(r *rig) {
		m := newMeter()
		r.config.Meter, r.config.Fetches = m, []pipeline.Fetch{patients()}
		r.ehr.set("1", "a", "pa")
		r.ehr.onFetch = func(ctx context.Context, _ []sdk.Ref) ([]sdk.Result, error) {
			<-ctx.Done()
			return nil, errors.New("cut off")
		}
		r.run(time.Second)
		m.expect(t, map[string]int{"polled": 1, "calls": 1, "new": 1})
	})
}

// traced gives a tracer whose spans are gathered.
func traced(r *rig) *tracetest.InMemoryExporter {
	spans := tracetest.NewInMemoryExporter()
	r.config.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)).Tracer("test")
	return spans
}

// told is a span as "name of parent/name key=value…", with what tells it from others.
func told(spans tracetest.SpanStubs) []string {
	names := map[string]string{}
	for _, s := range spans {
		names[s.SpanContext.SpanID().String()] = s.Name
	}
	var all []string
	for _, s := range spans {
		text := names[s.Parent.SpanID().String()] + "/" + s.Name
		for _, a := range s.Attributes {
			switch key := string(a.Key); key {
			case "rounds.pipeline", "rounds.source", "rounds.feed":
			default:
				text += fmt.Sprintf(" %s=%s", strings.TrimPrefix(key, "rounds."), a.Value.String())
			}
		}
		if s.Status.Code == codes.Error {
			text += " (" + s.Status.Description + ")"
		}
		all = append(all, text)
	}
	return all
}

func TestAWindowIsATraceWithASpanForEachStep(t *testing.T) {
	simulate(t, func(r *rig) {
		spans := traced(r)
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.fill(4, "a")
		r.run(time.Second)
		want := []string{
			"window/commit rows=0 notifications=0 dead_letters=0", // the start
			"window/poll changes=4 calls=1",
			`window/fetch resources=["patient"] records=1`,
			"window/map records=4",
			"window/commit rows=4 notifications=4 dead_letters=0",
			"/window pages=1 changes=4 new=4 notifications=4 dead_letters=0",
		}
		got := spans.GetSpans()
		if !slices.Equal(told(got), want) {
			t.Errorf("the spans are\n %s\nwant\n %s", strings.Join(told(got), "\n "), strings.Join(want, "\n "))
		}
		window := got[len(got)-1].SpanContext
		parent := fmt.Sprintf("00-%s-%s-01", window.TraceID(), window.SpanID())
		for _, e := range r.outbox() {
			if e.Trace != parent {
				t.Errorf("an entry has the trace %q, want %q", e.Trace, parent)
			}
		}
	})
}

func TestInvariant6AFailureInATraceIsToldAsInTheLog(t *testing.T) {
	simulate(t, func(r *rig) {
		spans := traced(r)
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.fill(2, "a")
		r.ehr.onFetch = func(context.Context, []sdk.Ref) ([]sdk.Result, error) {
			return nil, errors.New(canary + " can't be fetched")
		}
		r.run(time.Second)
		all := strings.Join(told(spans.GetSpans()), "\n")
		if !strings.Contains(all, `window/fetch resources=["patient"] records=1 error.type=retryable (`) ||
			!strings.Contains(all, "/window pages=1 changes=2 new=2 notifications=0 dead_letters=0 error.type=retryable (") {
			t.Errorf("the failure is not told:\n%s", all)
		}
		if text := fmt.Sprint(spans.GetSpans()); strings.Contains(text, canary) {
			t.Errorf("a span holds record content:\n%s", text)
		}
	})
}

// An entry of a window that is not sampled is in no trace, so that its delivery begins none.
func TestWhatIsNotSampledIsNotTraced(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("test")
		r.ehr.fill(2, "a")
		r.run(time.Second)
		for _, e := range r.outbox() {
			if e.Trace != "" {
				t.Errorf("an entry has the trace %q", e.Trace)
			}
		}
	})
}

// BenchmarkMetered compares a window of 2,000 new changes that are not counted and one that is.
func BenchmarkMetered(b *testing.B) {
	for name, m := range map[string]pipeline.Meter{"none": nil, "counted": metrics.New("1").Pipeline("visits", "rest.clinic")} {
		b.Run(name, func(b *testing.B) {
			e := newEHR()
			at := time.Now()
			for i := range 2000 {
				e.setAt(at, fmt.Sprint(i), "a", fmt.Sprint(i/4))
			}
			b.ReportAllocs()
			for b.Loop() {
				s := memstore.New(store.Limits{})
				p, err := pipeline.New(pipeline.Config{
					Name: "visits", SourceName: "rest.clinic", Feed: "appointments", Every: time.Minute, Timeout: time.Minute, Parallel: 2,
					Delivers: []pipeline.Deliver{deliver("out")}, Fetches: []pipeline.Fetch{patients()}, Source: e, Claim: s.Claim, Limits: s.Limits(),
					Names: record.Names{Secret: s.Secret()}, Logger: slog.New(slog.DiscardHandler), Meter: m,
				})
				if err != nil {
					b.Fatal(err)
				}
				if c, err := p.Once(b.Context()); err != nil || c.Mapped != 2000 {
					b.Fatal(c, err)
				}
			}
		})
	}
}
