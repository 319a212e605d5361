// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// alerts is what the configuration says of alerts, their scripts compiled.
func (b *builder) alerts() ([]alert.Rule, error) {
	var rules []alert.Rule
	for _, a := range b.cfg.Alerts {
		r := alert.Rule{
			Name: a.Name, Condition: alert.Condition(a.Condition), Limit: a.Limit, Over: a.Over, Subject: a.Subject, To: a.Destination,
			ResolveAfter: a.ResolveAfter,
		}
		if a.Script != "" {
			m, err := b.mapping(config.Deliver{Script: a.Script, Destination: a.Destination}, false)
			if err != nil {
				return nil, fmt.Errorf("alert %s: %w", a.Name, err)
			}
			mapping := m.with(nil)
			r.Map = func(ctx context.Context, r *record.Record) ([]byte, error) {
				return mapping(ctx, r, pipeline.MapContext{Pipeline: alert.Owner, Deliver: a.Name, Now: time.Now(), Attempt: 1})
			}
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// startAlerts looks at what the configuration says of alerts from now on.
func (r *running) startAlerts() {
	if r.cfg == nil {
		return
	}
	host, _ := os.Hostname() // a machine may have no name
	c := alert.Config{
		Rules: r.rules, Host: host, Meter: r.meter, Now: r.now, Claim: r.state.Claim, Limits: r.state.Limits(), Logger: r.engine.o.Logger,
	}
	for _, d := range r.cfg.Destinations {
		c.Destinations = append(c.Destinations, d.ID())
	}
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		alert.New(c).Run(ctx)
	}()
	r.stopAlerts = func() {
		cancel()
		<-ended
	}
}

// now is what alerts are compared with.
func (r *running) now(ctx context.Context) (is alert.Now, err error) {
	admin := r.state.Admin()
	positions, err := admin.Positions(ctx)
	if err != nil {
		return is, shown(err)
	}
	pending, err := admin.Pending(ctx)
	if err != nil {
		return is, shown(err)
	}
	dead, err := admin.DeadCount(ctx)
	if err != nil {
		return is, shown(err)
	}
	r.engine.mu.RLock()
	defer r.engine.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(r.pipelines)) {
		is.Pipelines = append(is.Pipelines, alert.PipelineNow{Name: name, LastPoll: positions[name].Polled, DeadLetters: dead[name]})
	}
	for _, id := range slices.Sorted(maps.Keys(r.destinations)) {
		is.Destinations = append(is.Destinations, alert.DestinationNow{Name: id, Oldest: pending[id].Oldest})
	}
	is.Sources = slices.Sorted(maps.Keys(r.sources))
	return is, nil
}

// positions are those of pipelines: alerts have one too.
func (r *running) positions(ctx context.Context) (map[string]store.Position, error) {
	positions, err := r.state.Admin().Positions(ctx)
	maps.DeleteFunc(positions, func(name string, _ store.Position) bool { return alert.Reserved(name) })
	return positions, err
}

// pipelineMeter counts what a pipeline does, for alerts, and for whoever observes the engine.
type pipelineMeter struct {
	pipeline.Meter
	alerts alert.Pipeline
}

func (m pipelineMeter) Polled(took time.Duration, calls int, wait time.Duration, code sdk.Code) {
	m.Meter.Polled(took, calls, wait, code)
	m.alerts.Polled(calls, code)
}

func (m pipelineMeter) Fetched(resource string, code sdk.Code, n int) {
	m.Meter.Fetched(resource, code, n)
	m.alerts.Fetched(code, n)
}

func (m pipelineMeter) Notification(deliver, destination string) {
	m.Meter.Notification(deliver, destination)
	m.alerts.Notification()
}

// destinationMeter counts what the loop of a destination does.
type destinationMeter struct {
	delivery.Meter
	alerts alert.Destination
}

func (m destinationMeter) Attempted(took time.Duration, failure *record.SendError) {
	m.Meter.Attempted(took, failure)
	m.alerts.Attempted(failure)
}
