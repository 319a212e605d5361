// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package tracing sends traces to an OpenTelemetry collector over OTLP/HTTP, as the environment variables say that all programs with
// OpenTelemetry understand:
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/ and …/specs/otel/configuration/sdk-environment-variables/
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const (
	endpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	protocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	tracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	sampler        = "OTEL_TRACES_SAMPLER"
	samplerArg     = "OTEL_TRACES_SAMPLER_ARG"
)

// flushLimit is how long the last spans may take to be sent.
const flushLimit = 5 * time.Second

// Start gives the tracer that the environment asks for, one that does nothing if it names no endpoint. end sends what was not sent
// yet and says in the log if it can't. The error is a mistake in the environment, whose text quotes no value.
func Start(ctx context.Context, version string, log *slog.Logger) (tracer trace.Tracer, end func(), err error) {
	off := noop.NewTracerProvider().Tracer("")
	switch wanted, err := configured(); {
	case err != nil:
		return nil, nil, err
	case !wanted:
		return off, func() {}, nil
	}
	// OpenTelemetry's own texts quote the environment, headers with tokens included, and what a collector answers.
	otel.SetLogger(logr.New(remarks{log}))
	failures := &failures{log: log}
	otel.SetErrorHandler(failures)
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, errors.New("sending traces: the variables OTEL_EXPORTER_OTLP_… contradict each other (a certificate for an endpoint without TLS?)")
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "rounds"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, nil, errors.New("OTEL_RESOURCE_ATTRIBUTES has to be like key=value,key=value, its values percent-encoded")
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	log.Info("traces are sent")
	return provider.Tracer("github.com/rounds-engine/rounds"), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			failures.Handle(err)
		}
	}, nil
}

// configured says whether the environment asks for traces.
func configured() (bool, error) {
	variable := tracesEndpoint
	if os.Getenv(variable) == "" {
		variable = endpoint
	}
	value := os.Getenv(variable)
	if value == "" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false, nil
	}
	if u, err := url.Parse(value); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return false, fmt.Errorf("%s is not a URL that begins with http:// or https://", variable)
	}
	for _, variable := range []string{protocol, tracesProtocol} {
		if p := os.Getenv(variable); p != "" && p != "http/protobuf" && p != "http/json" {
			return false, fmt.Errorf("%s has to be http/protobuf or http/json: traces are sent over HTTP only, mostly to port 4318", variable)
		}
	}
	return true, checkSampler(strings.ToLower(strings.TrimSpace(os.Getenv(sampler))), strings.TrimSpace(os.Getenv(samplerArg)))
}

func checkSampler(name, arg string) error {
	known := []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
	if name != "" && !slices.Contains(known, name) {
		return fmt.Errorf("%s has to be one of %s", sampler, strings.Join(known, ", "))
	}
	if share, err := strconv.ParseFloat(arg, 64); strings.HasSuffix(name, "ratio") && arg != "" && !(err == nil && share >= 0 && share <= 1) {
		return fmt.Errorf("%s has to be a number from 0 to 1", samplerArg)
	}
	return nil
}

// failures logs that spans could not be sent, once a minute.
type failures struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
}

// Handle implements otel.ErrorHandler.
func (f *failures) Handle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil || time.Since(f.last) < time.Minute {
		return
	}
	f.last = time.Now()
	f.log.Warn("traces could not be sent; those are lost, and the work goes on", "error", why(err))
}

var answered = regexp.MustCompile(`failed to send to \S+: ([1-5][0-9][0-9]) `)

// why is what may be logged of such an error: its text holds the endpoint and what the collector answers.
func why(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	status := answered.FindStringSubmatch(err.Error())
	switch {
	case status != nil:
		return "the collector answered " + status[1]
	case errors.As(err, &dns):
		return "the collector's host name could not be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	}
	return "the collector did not take them"
}

// remarks logs what OpenTelemetry finds wrong in the environment, such as a certificate that can't be read: the text alone.
type remarks struct{ log *slog.Logger }

// Init implements logr.LogSink, as do the next.
func (remarks) Init(logr.RuntimeInfo) {}

// Enabled is true for warnings and errors.
func (remarks) Enabled(level int) bool { return level <= 1 }

// Info logs a warning.
func (r remarks) Info(_ int, text string, _ ...any) {
	r.log.Warn("OpenTelemetry remarks", "text", text)
}

// Error logs an error without its text, which may quote a value.
func (r remarks) Error(_ error, text string, _ ...any) {
	r.log.Warn("OpenTelemetry remarks", "text", text)
}

// WithValues drops the values.
func (r remarks) WithValues(...any) logr.LogSink { return r }

// WithName drops the name.
func (r remarks) WithName(string) logr.LogSink { return r }
