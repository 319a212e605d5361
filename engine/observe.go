// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/metrics"
	"github.com/rounds-engine/rounds/engine/pipeline"
)

var (
	_ pipeline.Meter = (*metrics.Pipeline)(nil)
	_ delivery.Meter = (*metrics.Destination)(nil)
)

// observed is where an engine is looked at from outside.
type observed struct {
	metrics *metrics.Metrics // nil: nothing is counted
	tracer  oteltrace.Tracer // nil: nothing is traced
}

// Observe has what is started from then on counted and traced; nil: not. It is called before Run.
func (e *Engine) Observe(m *metrics.Metrics, t oteltrace.Tracer) { e.observed = observed{m, t} }

// pipelineMeter counts what a pipeline does, if anything is counted.
func (e *Engine) pipelineMeter(name, source string, delivers []pipeline.Deliver) pipeline.Meter {
	if e.metrics == nil {
		return pipeline.Unmetered{}
	}
	names := make([]string, len(delivers))
	for i, d := range delivers {
		names[i] = d.Name
	}
	return e.metrics.Pipeline(name, source, names...)
}

// destinationMeter counts what the loop of a destination does, if anything is counted.
func (e *Engine) destinationMeter(name string) delivery.Meter {
	if e.metrics == nil {
		return delivery.Unmetered{}
	}
	return e.metrics.Destination(name)
}
