// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// collector takes traces over OTLP/HTTP, as an OpenTelemetry collector does.
type collector struct {
	mu    sync.Mutex
	raw   strings.Builder // the bodies as they came
	spans []*tracepb.Span
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request coltracepb.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.Write(body)
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

// all gives the spans that came so far, by their id.
func (c *collector) all() map[string]*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	byID := map[string]*tracepb.Span{}
	for _, s := range c.spans {
		byID[hex.EncodeToString(s.SpanId)] = s
	}
	return byID
}

// env has a `rounds` send its traces here, and soon.
func (c *collector) env(t *testing.T) []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + serve(t, c), "OTEL_BSP_SCHEDULE_DELAY=100"}
}

// The trace goes on over a restart: what was committed before it is delivered after it.
func TestAChangeIsTracedFromPollToAcknowledgement(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var parents []string
	down := true
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	notify := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		parents = append(parents, r.Header.Get("Traceparent"))
	}))
	to := &collector{}
	env := append(to.env(t), "EHR_URL="+c.ehrURL, "NOTIFY_URL="+notify)
	dir := write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
	p := startRun(t, dir, env)
	p.pollsMore(c, 1)
	for _, id := range c.IDs()[:3] {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	failed := func() int {
		n := 0
		for _, s := range to.all() {
			if s.Name == "deliver" && s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
				n++
			}
		}
		return n
	}
	p.eventually(30*time.Second, "traced while the receiver is down", func() bool { return failed() > 0 })
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	mu.Lock()
	down = false
	mu.Unlock()
	p = startRun(t, dir, env)
	p.eventually(30*time.Second, "delivered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(parents) > 0
	})
	if code := p.stop(); code != 0 { // sends what was not sent yet
		t.Fatalf("exit code %d", code)
	}
	spans := to.all()
	var names []string
	for _, s := range spans {
		names = append(names, s.Name)
	}
	for _, name := range []string{"window", "poll", "fetch", "map", "commit", "deliver", "acknowledge"} {
		if !slices.Contains(names, name) {
			t.Errorf("there is no span %s", name)
		}
	}
	for _, s := range spans {
		if s.Name != "acknowledge" {
			continue
		}
		deliver := spans[hex.EncodeToString(s.ParentSpanId)]
		window := spans[hex.EncodeToString(deliver.GetParentSpanId())]
		if deliver.GetName() != "deliver" || window.GetName() != "window" || string(window.GetTraceId()) != string(s.TraceId) {
			t.Errorf("an acknowledgement comes from %q of %q", deliver.GetName(), window.GetName())
		}
	}
	for _, parent := range parents {
		if parts := strings.Split(parent, "-"); len(parts) != 4 || spans[parts[2]].GetName() != "deliver" {
			t.Errorf("the receiver got the traceparent %q, which is no attempt's", parent)
		}
	}
}

func TestAMistakeInTheEnvironmentOfTracesIsTold(t *testing.T) {
	t.Parallel()
	code, _, stderr := rounds(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + canaryURL}, "run", "--state", t.TempDir(), t.TempDir())
	if code != 1 || !strings.Contains(stderr, "OTEL_EXPORTER_OTLP_ENDPOINT is not a URL that begins with http:// or https://") {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
	noCanary(t, "stderr", stderr)
}
