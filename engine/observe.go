// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"time"

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

// watch has the metrics tell of the engine until ctx is done.
func (e *Engine) watch(ctx context.Context) {
	if e.metrics == nil {
		return
	}
	e.metrics.Watch(func() metrics.Snapshot { return e.snapshot(ctx) })
	context.AfterFunc(ctx, func() { e.metrics.Watch(nil) })
}

// snapshotLimit is how long reading the state for a snapshot may take.
const snapshotLimit = 10 * time.Second

// snapshot is what the engine is doing now. What can't be told is left out.
func (e *Engine) snapshot(ctx context.Context) (s metrics.Snapshot) {
	ctx, cancel := context.WithTimeout(ctx, snapshotLimit)
	defer cancel()
	status, err := e.Status(ctx)
	if err != nil {
		return s
	}
	s.DeadLetters = map[string]int{}
	for _, p := range status.Pipelines {
		s.DeadLetters[p.Name] = p.DeadLetters
		if p.State == "orphan" {
			continue
		}
		every, _ := time.ParseDuration(p.Every) // made from one
		now := metrics.PipelineNow{
			Name: p.Name, Source: p.Source, State: p.State, LastGoodPoll: p.LastPoll, NextPoll: p.NextPoll, Every: every,
		}
		if p.Worker != nil {
			now.Isolated, now.WorkerEnds = true, p.Worker.Ends
		}
		s.Pipelines = append(s.Pipelines, now)
	}
	for _, d := range status.Destinations {
		s.Destinations = append(s.Destinations, metrics.DestinationNow{
			Name: d.Name, State: d.State, Waiting: d.Waiting, Oldest: d.Oldest, Held: d.Held, InFlight: d.InFlight,
		})
	}
	for _, p := range e.host.Processes() {
		s.Adapters = append(s.Adapters, metrics.AdapterNow{
			Name: p.Adapter.Name, Source: p.Isolated, Up: !p.Since.IsZero(), Restarts: max(p.Starts-1, 0), Memory: p.Memory,
		})
	}
	if r, err := e.current(); err == nil {
		s.StateBytes, _ = r.state.Size() // 0 where it is not known
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	s.Loaded, s.Refused = e.loaded, e.reloaded != nil && e.reloaded.Error != ""
	return s
}
