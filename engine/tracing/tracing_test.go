// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package tracing_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/rounds-engine/rounds/engine/tracing"
)

const canary = "Canary7301"

// clean takes away what the environment of the test says.
func clean(t *testing.T) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
}

// collector keeps what it got.
type collector struct {
	status int // 0: 200

	mu     sync.Mutex
	spans  []string
	names  []string // of services
	header http.Header
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header = r.Header
	if c.status != 0 {
		w.WriteHeader(c.status)
		_, _ = io.WriteString(w, canary)
		return
	}
	var request coltracepb.ExportTraceServiceRequest
	body, _ := io.ReadAll(r.Body)
	if err := proto.Unmarshal(body, &request); err != nil || r.URL.Path != "/v1/traces" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, resource := range request.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				c.names = append(c.names, a.Value.GetStringValue())
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.spans = append(c.spans, span.Name)
			}
		}
	}
}

func TestSpansGoWhereTheEnvironmentSays(t *testing.T) {
	for name, x := range map[string]struct {
		env   map[string]string
		spans string
		name  string
	}{
		"endpoint":           {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL"}, "window", "rounds"},
		"traces endpoint":    {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "URL/v1/traces"}, "window", "rounds"},
		"name":               {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_SERVICE_NAME": "clinic"}, "window", "clinic"},
		"not sampled":        {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_SAMPLER": "always_off"}, "", ""},
		"switched off":       {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_SDK_DISABLED": "true"}, "", ""},
		"no exporter":        {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_EXPORTER": "none"}, "", ""},
		"nothing configured": {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			c := &collector{}
			server := httptest.NewServer(c)
			defer server.Close()
			for variable, value := range x.env {
				t.Setenv(variable, strings.Replace(value, "URL", server.URL, 1))
			}
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20"+canary)
			var log bytes.Buffer
			tracer, end, err := tracing.Start(t.Context(), "1.2.3", slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			_, span := tracer.Start(t.Context(), "window")
			span.End()
			end()
			if got := strings.Join(c.spans, " "); got != x.spans || strings.Join(c.names, " ") != x.name {
				t.Errorf("the collector got %q of %q, want %q of %q\n%s", c.spans, c.names, x.spans, x.name, &log)
			}
			if got := c.header.Get("Authorization"); got != "Bearer "+canary && x.spans != "" {
				t.Errorf("Authorization is %q", got)
			}
			if strings.Contains(log.String(), canary) || strings.Contains(log.String(), "WARN") {
				t.Errorf("the log:\n%s", &log)
			}
		})
	}
}

func TestInvariant6ACollectorThatFailsIsToldWithoutWhatItSays(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	refuses := httptest.NewServer(&collector{status: 401})
	defer refuses.Close()
	for _, x := range []struct{ endpoint, headers, says string }{
		{gone.URL + "/" + canary, "", "connection refused"},
		{refuses.URL + "/" + canary, "", "the collector answered 401"},
		{refuses.URL, canary + "=%zz" + canary + "," + canary, "OpenTelemetry remarks"},
	} {
		clean(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", x.endpoint)
		t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", x.headers)
		t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
		var log bytes.Buffer
		tracer, end, err := tracing.Start(t.Context(), "1.2.3", slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		_, span := tracer.Start(t.Context(), "window")
		span.End()
		end()
		if !strings.Contains(log.String(), x.says) || strings.Contains(log.String(), canary) {
			t.Errorf("%s: want %q and nothing of the environment in the log:\n%s", x.endpoint, x.says, &log)
		}
	}
}

func TestAMistakeInTheEnvironmentIsToldWithoutItsValue(t *testing.T) {
	for variable, says := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT":        "begins with http",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "begins with http",
		"OTEL_EXPORTER_OTLP_PROTOCOL":        "http/protobuf",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
		"OTEL_TRACES_SAMPLER":                "parentbased_traceidratio",
		"OTEL_TRACES_SAMPLER_ARG":            "from 0 to 1",
		"OTEL_RESOURCE_ATTRIBUTES":           "key=value",
	} {
		clean(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
		t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
		t.Setenv(variable, canary)
		_, _, err := tracing.Start(context.Background(), "1", slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), variable) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", variable, err)
		}
	}
}
