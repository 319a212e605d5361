// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Snapshot is what an engine is doing now. Zero times and sizes are not known, and left out.
type Snapshot struct {
	Pipelines    []PipelineNow
	Destinations []DestinationNow
	Adapters     []AdapterNow
	DeadLetters  map[string]int // that wait for a person, by pipeline; nil: not known
	StateBytes   int64          // on disk
	Loaded       time.Time      // when the configuration was loaded that is in use
	Refused      bool           // the last configuration that was to be loaded was not valid, and that before it is in use
}

// PipelineNow is what one pipeline is doing.
type PipelineNow struct {
	Name         string
	Source       string
	State        string    // one of PipelineStates
	LastGoodPoll time.Time // begin of the last window that was read to its end
	NextPoll     time.Time
	Every        time.Duration // between polls
	Isolated     bool          // its mappings run in a worker
	WorkerEnds   int           // how often that has ended, since the pipeline was started
}

// DestinationNow is what the loop of one destination is doing.
type DestinationNow struct {
	Name     string
	State    string    // one of DestinationStates
	Waiting  int       // notifications in the outbox
	Oldest   time.Time // when the oldest of them was committed
	Held     int       // lanes that are held behind a refused notification
	InFlight int       // lanes that are worked on
}

// AdapterNow is what one adapter's process is doing.
type AdapterNow struct {
	Name     string
	Source   string // the one source that it serves; empty: it serves all that are not isolated
	Up       bool
	Restarts int // since the engine's start
}

// The states of pipelines and of destinations, as package pipeline and package delivery name them.
var (
	PipelineStates    = []string{"claiming", "waiting", "polling", "failing", "gap", "paused", "stopped"}
	DestinationStates = []string{"attaching", "delivering", "backing_off", "paused", "stopped"}
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	pipelineState = desc("rounds_pipeline_state", "1 for the state that the pipeline is in, 0 for the others.", "pipeline", "source", "state")
	lastGoodPoll  = desc("rounds_pipeline_last_poll_success_timestamp_seconds", "Begin of the last poll that was read to its end.", "pipeline", "source")
	every         = desc("rounds_pipeline_poll_interval_seconds", "How often the pipeline is to poll.", "pipeline", "source")
	nextPoll      = desc("rounds_pipeline_next_poll_timestamp_seconds", "When the pipeline polls next.", "pipeline", "source")

	workerEnds = desc("rounds_pipeline_worker_ends_total",
		"Ends of the worker of an isolated pipeline, by itself or since a mapping could not be stopped.", "pipeline")

	destinationState = desc("rounds_destination_state", "1 for the state that the destination is in, 0 for the others.", "destination", "state")
	outbox           = desc("rounds_outbox_notifications", "Notifications that wait for their destination to accept them.", "destination")
	oldest           = desc("rounds_outbox_oldest_timestamp_seconds", "When the oldest of the waiting notifications was committed; none if nothing waits.", "destination")
	held             = desc("rounds_destination_held_lanes", "Lanes that are held behind a notification that the receiver refused.", "destination")
	inFlight         = desc("rounds_destination_in_flight_lanes", "Lanes that are worked on.", "destination")

	deadLetters = desc("rounds_dead_letters_waiting", "Dead letters that wait for a person.", "pipeline")

	adapterUp       = desc("rounds_adapter_up", "1 if the adapter's process runs. It is started when it is first needed.", "adapter", "source")
	adapterRestarts = desc("rounds_adapter_restarts_total", "Starts of the adapter's process after its first.", "adapter", "source")

	stateBytes = desc("rounds_state_size_bytes", "What the state takes on disk.")
	loaded     = desc("rounds_config_last_reload_success_timestamp_seconds", "When the configuration was loaded that is in use.")
	accepted   = desc("rounds_config_last_reload_successful", "1 if the last configuration that was to be loaded is in use, 0 if it was not valid.")
)

// snapshots reads a Snapshot each time that metrics are asked for.
type snapshots struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (snapshots) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		pipelineState, lastGoodPoll, nextPoll, every, workerEnds, destinationState, outbox, oldest, held, inFlight, deadLetters, adapterUp, adapterRestarts,
		stateBytes, loaded, accepted,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c snapshots) Collect(to chan<- prometheus.Metric) {
	now := c.m.now.Load()
	if now == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	instant := func(d *prometheus.Desc, t time.Time, labels ...string) {
		if !t.IsZero() {
			gauge(d, float64(t.UnixMilli())/1000, labels...)
		}
	}
	state := func(d *prometheus.Desc, known []string, is string, labels ...string) {
		if !slices.Contains(known, is) {
			known = append(slices.Clone(known), is)
		}
		for _, s := range known {
			gauge(d, number(s == is), append(slices.Clone(labels), s)...)
		}
	}
	s := (*now)()
	for _, p := range s.Pipelines {
		state(pipelineState, PipelineStates, p.State, p.Name, p.Source)
		instant(lastGoodPoll, p.LastGoodPoll, p.Name, p.Source)
		instant(nextPoll, p.NextPoll, p.Name, p.Source)
		if p.Every > 0 {
			gauge(every, p.Every.Seconds(), p.Name, p.Source)
		}
		if p.Isolated {
			to <- prometheus.MustNewConstMetric(workerEnds, prometheus.CounterValue, float64(p.WorkerEnds), p.Name)
		}
	}
	for _, d := range s.Destinations {
		state(destinationState, DestinationStates, d.State, d.Name)
		gauge(outbox, float64(d.Waiting), d.Name)
		if d.Waiting > 0 {
			instant(oldest, d.Oldest, d.Name)
		}
		gauge(held, float64(d.Held), d.Name)
		gauge(inFlight, float64(d.InFlight), d.Name)
	}
	if s.DeadLetters != nil {
		for pipeline, n := range s.buried() {
			gauge(deadLetters, float64(n), pipeline)
		}
	}
	for _, a := range s.adapters() {
		gauge(adapterUp, number(a.Up), a.Name, a.Source)
		to <- prometheus.MustNewConstMetric(adapterRestarts, prometheus.CounterValue, float64(a.Restarts), a.Name, a.Source)
	}
	if s.StateBytes > 0 {
		gauge(stateBytes, float64(s.StateBytes))
	}
	if !s.Loaded.IsZero() {
		instant(loaded, s.Loaded)
		gauge(accepted, number(!s.Refused))
	}
}

// buried are the dead letters by pipeline, those without any and those that are no longer configured included.
func (s *Snapshot) buried() map[string]int {
	all := maps.Clone(s.DeadLetters)
	for _, p := range s.Pipelines {
		all[p.Name] += 0
	}
	return all
}

// adapters are the adapters by their labels: two programs may have one name, for a while after a reload.
func (s *Snapshot) adapters() []AdapterNow {
	var all []AdapterNow
	for _, a := range s.Adapters {
		i := slices.IndexFunc(all, func(b AdapterNow) bool { return b.Name == a.Name && b.Source == a.Source })
		if i < 0 {
			all = append(all, a)
			continue
		}
		all[i].Up = all[i].Up || a.Up
		all[i].Restarts += a.Restarts
	}
	return all
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
