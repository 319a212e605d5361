// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rounds-engine/rounds/sdk"
)

// A window is a trace, and its steps are spans in it: poll for each page, fetch for each call, map for each batch, commit. The
// attempts to deliver what it committed go on with it, by record.Entry.Trace.
//
// Invariant 6: attributes are names of the configuration and numbers, and of an error there is what the log would say.

// span begins a step.
func (p *Pipeline) span(ctx context.Context, name string, more ...attribute.KeyValue) (context.Context, trace.Span) {
	return p.Tracer.Start(ctx, name, trace.WithAttributes(more...), trace.WithAttributes(
		attribute.String("rounds.pipeline", p.Name), attribute.String("rounds.source", p.SourceName), attribute.String("rounds.feed", p.Feed)))
}

// end ends a step.
func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, text(err))
		span.SetAttributes(attribute.String("error.type", string(sdk.CodeOf(err))))
	}
	span.End()
}

// describe says what came of a window.
func (s *stats) describe(span trace.Span) {
	span.SetAttributes(attribute.Int("rounds.pages", s.pages), attribute.Int("rounds.changes", s.changes), attribute.Int("rounds.new", s.fresh),
		attribute.Int("rounds.notifications", s.mapped), attribute.Int("rounds.dead_letters", s.dead))
}

// resources are the kinds of records that refs ask for.
func resources(refs []sdk.Ref) []string {
	var kinds []string
	for _, r := range refs {
		if !slices.Contains(kinds, r.Kind) {
			kinds = append(kinds, r.Kind)
		}
	}
	return kinds
}
