// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const traceParent = "traceparent" // https://www.w3.org/TR/trace-context/

// TraceOf is the span that ctx is in, as a W3C traceparent; empty if it is in none that is recorded.
func TraceOf(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceParent]
}

// InTrace gives a context in the span that a traceparent tells; in none if it tells none.
func InTrace(ctx context.Context, traceparent string) context.Context {
	ctx = trace.ContextWithSpan(ctx, nil)
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceParent: traceparent})
}
