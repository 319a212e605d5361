// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/metrics"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/sdk"
)

// ward lists records that are nothing but canaries: good ones, one that can't be read, one whose patient is not to be had, one
// that can't be mapped and one that the receiver refuses.
type ward struct{}

const wardCanary = "Canary7401"

func (w *ward) Feed(context.Context, string) (sdk.Feed, error) {
	return sdk.Feed{Name: "appointments", Kind: "appointment", Class: sdk.Timestamp, Version: sdk.Exact}, nil
}

func (w *ward) Poll(context.Context, sdk.Query) (sdk.Page, error) {
	page := sdk.Page{Watermark: []byte(wardCanary), Calls: 1, Notes: []sdk.Note{{Code: wardCanary, Text: "a remark"}}}
	for _, n := range []string{"good1", "good2", "unread", "unfetched", "unmapped", "refused", "filtered"} {
		c := sdk.Change{
			Ref: sdk.Ref{Kind: "appointment", ID: wardCanary + n}, Version: wardCanary, Op: sdk.Upsert,
			Data: json.RawMessage(fmt.Sprintf("%q", wardCanary+n)),
		}
		if n == "unread" {
			c.Err = sdk.Permanent("it can't be read")
		}
		page.Changes = append(page.Changes, c)
	}
	return page, nil
}

func (w *ward) Fetch(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	results := make([]sdk.Result, len(refs))
	for i, ref := range refs {
		results[i] = sdk.Result{Ref: ref, Data: json.RawMessage(fmt.Sprintf("%q", wardCanary))}
		if strings.HasSuffix(ref.ID, "unfetched") {
			results[i].Err = sdk.NotFound("no such patient").Because(errors.New(wardCanary))
		}
	}
	return results, nil
}

func (w *ward) Ack(context.Context, string, []byte) error { return nil }

// taker takes notifications over, but for one, and keeps the spans that it is told.
type taker struct{ parents []string }

// Send is called from one goroutine at a time, as the loop has one lane in flight.
func (to *taker) Send(_ context.Context, n delivery.Notification) error {
	if strings.Contains(string(n.Body), "refused") {
		return &record.SendError{Verdict: record.Reject, Code: "http_422", Text: "the receiver answered 422", Detail: string(n.Body)}
	}
	to.parents = append(to.parents, n.Trace)
	return nil
}

// observedWard runs ward to its end, and gives what metrics and traces tell of it.
func observedWard(t *testing.T) (scraped string, spans tracetest.SpanStubs, parents []string) {
	t.Helper()
	gathered := tracetest.NewInMemoryExporter()
	e := New(Options{Logger: slog.New(slog.DiscardHandler)})
	m := metrics.New("1.2.3")
	e.Observe(m, sdktrace.NewTracerProvider(sdktrace.WithSyncer(gathered)).Tracer("test"))
	state := memstore.New(store.Limits{})
	p, err := pipeline.New(pipeline.Config{
		Name: "visits", SourceName: "rest.clinic", Feed: "appointments", Every: time.Hour, Timeout: time.Minute,
		Source: &ward{}, Claim: state.Claim, Limits: state.Limits(), Names: record.Names{Secret: state.Secret()}, Parallel: 2, Logger: e.o.Logger,
		Meter: e.pipelineMeter("visits", "rest.clinic", nil), Tracer: e.tracer,
		Fetches: []pipeline.Fetch{{Name: "patient", Resource: "patient", ID: idOf{}}},
		Delivers: []pipeline.Deliver{{Name: "out", Destination: "webhook.out",
			Map: func(_ context.Context, r *record.Record, _ pipeline.MapContext) ([]byte, error) {
				switch {
				case strings.HasSuffix(r.Change.Ref.ID, "unmapped"):
					return nil, &pipeline.MapError{Text: "it failed", Detail: wardCanary}
				case strings.HasSuffix(r.Change.Ref.ID, "filtered"):
					return nil, nil
				}
				return r.Marshal()
			}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	to := &taker{}
	loop := delivery.New(delivery.Config{
		Name: "webhook.out", Destination: to, Parallel: 1, OnReject: delivery.DeadLetter,
		Attach: func(ctx context.Context) (store.Outbox, error) { return state.Attach(ctx, "webhook.out") },
		Meter:  e.destinationMeter("webhook.out"), Tracer: e.tracer,
	})
	if _, err := p.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- loop.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); loop.Status().Delivered < 2 || loop.Status().Dead < 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not delivered: %+v", loop.Status())
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String(), gathered.GetSpans(), to.parents
}

func TestInvariant6MetricsAndTracesHoldNothingOfARecord(t *testing.T) {
	scraped, spans, _ := observedWard(t)
	if strings.Contains(strings.ToLower(scraped), strings.ToLower(wardCanary)) {
		t.Errorf("the metrics hold a canary:\n%s", scraped)
	}
	if text := fmt.Sprintf("%+v", spans); strings.Contains(text, wardCanary) {
		t.Errorf("the spans hold a canary:\n%s", text)
	}
	for _, line := range []string{ // that the canaries were there
		`rounds_pipeline_changes_total{outcome="new",pipeline="visits",source="rest.clinic"} 7`,
		`rounds_pipeline_fetches_total{code="not_found",pipeline="visits",resource="patient",source="rest.clinic"} 1`,
		`rounds_pipeline_mappings_total{deliver="out",outcome="failed",pipeline="visits"} 1`,
		`rounds_pipeline_mappings_total{deliver="out",outcome="filtered",pipeline="visits"} 1`,
		`rounds_pipeline_notifications_total{deliver="out",destination="webhook.out",pipeline="visits"} 3`,
		`rounds_dead_letters_total{pipeline="visits",stage="poll"} 1`,
		`rounds_dead_letters_total{pipeline="visits",stage="fetch"} 1`,
		`rounds_dead_letters_total{pipeline="visits",stage="map"} 1`,
		`rounds_dead_letters_total{pipeline="visits",stage="deliver"} 1`,
		`rounds_delivery_attempts_total{code="http_4xx",destination="webhook.out",outcome="rejected"} 1`,
		`rounds_delivery_attempts_total{code="ok",destination="webhook.out",outcome="accepted"} 2`,
		`rounds_delivery_notifications_total{destination="webhook.out",pipeline="visits"} 2`,
	} {
		if !strings.Contains(scraped, "\n"+line+"\n") {
			t.Errorf("there is no line\n %s\nin\n%s", line, scraped)
		}
	}
}

func TestTheTraceOfAChangeReachesFromPollToAcknowledgement(t *testing.T) {
	_, spans, parents := observedWard(t)
	byID := map[string]tracetest.SpanStub{}
	names := map[string]int{}
	for _, s := range spans {
		byID[s.SpanContext.SpanID().String()] = s
		names[s.Name]++
	}
	if names["window"] != 1 || names["poll"] != 1 || names["fetch"] != 1 || names["map"] != 1 || names["deliver"] != 3 || names["acknowledge"] != 2 {
		t.Fatalf("spans: %v", names)
	}
	for _, s := range spans {
		var way []string
		for at := s; ; {
			way = append(way, at.Name)
			up, inside := byID[at.Parent.SpanID().String()]
			if !inside {
				break
			}
			if at.StartTime.Before(up.StartTime) {
				t.Errorf("%s began before %s", at.Name, up.Name)
			}
			at = up
		}
		if way[len(way)-1] != "window" || s.Name == "acknowledge" && strings.Join(way, " ") != "acknowledge deliver window" {
			t.Errorf("%s does not come from its window: %v", s.Name, way)
		}
	}
	for _, p := range parents {
		parts := strings.Split(p, "-")
		if len(parts) != 4 || byID[parts[2]].Name != "deliver" {
			t.Errorf("the receiver got the traceparent %q, which is no attempt's", p)
		}
	}
	if len(parents) != 2 {
		t.Errorf("%d notifications were accepted", len(parents))
	}
}
