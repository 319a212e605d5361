// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"maps"
	"slices"
	"time"
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
	Restarts int   // since the engine's start
	Memory   int64 // bytes; 0: not known
}

// The states of pipelines and of destinations, as package pipeline and package delivery name them.
var (
	PipelineStates    = []string{"claiming", "waiting", "polling", "failing", "gap", "paused", "stopped"}
	DestinationStates = []string{"attaching", "delivering", "backing_off", "paused", "stopped"}
)

// families are a snapshot as it is written.
func (s *Snapshot) families() (all []*family) {
	gauge := func(name, help string, labels ...string) *family {
		f := newFamily(name, help, "gauge", nil, labels...)
		all = append(all, f)
		return f
	}
	instant := func(f *family, t time.Time, labels ...string) {
		if !t.IsZero() {
			f.of(labels...).set(float64(t.UnixMilli()) / 1000)
		}
	}
	state := func(f *family, known []string, is string, labels ...string) {
		if !slices.Contains(known, is) {
			known = append(slices.Clone(known), is)
		}
		for _, one := range known {
			f.of(append(slices.Clone(labels), one)...).set(number(one == is))
		}
	}

	pipelineState := gauge("rounds_pipeline_state", "1 for the state that the pipeline is in, 0 for the others.", "pipeline", "source", "state")
	lastGoodPoll := gauge("rounds_pipeline_last_poll_success_timestamp_seconds", "Begin of the last poll that was read to its end.", "pipeline", "source")
	every := gauge("rounds_pipeline_poll_interval_seconds", "How often the pipeline is to poll.", "pipeline", "source")
	nextPoll := gauge("rounds_pipeline_next_poll_timestamp_seconds", "When the pipeline polls next.", "pipeline", "source")
	workerEnds := newFamily("rounds_pipeline_worker_ends_total",
		"Ends of the worker of an isolated pipeline, by itself or since a mapping could not be stopped.", "counter", nil, "pipeline")
	all = append(all, workerEnds)
	for _, p := range s.Pipelines {
		state(pipelineState, PipelineStates, p.State, p.Name, p.Source)
		instant(lastGoodPoll, p.LastGoodPoll, p.Name, p.Source)
		instant(nextPoll, p.NextPoll, p.Name, p.Source)
		if p.Every > 0 {
			every.of(p.Name, p.Source).set(p.Every.Seconds())
		}
		if p.Isolated {
			workerEnds.of(p.Name).set(float64(p.WorkerEnds))
		}
	}

	destinationState := gauge("rounds_destination_state", "1 for the state that the destination is in, 0 for the others.", "destination", "state")
	outbox := gauge("rounds_outbox_notifications", "Notifications that wait for their destination to accept them.", "destination")
	oldest := gauge("rounds_outbox_oldest_timestamp_seconds",
		"When the oldest of the waiting notifications was committed; none if nothing waits.", "destination")
	held := gauge("rounds_destination_held_lanes", "Lanes that are held behind a notification that the receiver refused.", "destination")
	inFlight := gauge("rounds_destination_in_flight_lanes", "Lanes that are worked on.", "destination")
	for _, d := range s.Destinations {
		state(destinationState, DestinationStates, d.State, d.Name)
		outbox.of(d.Name).set(float64(d.Waiting))
		if d.Waiting > 0 {
			instant(oldest, d.Oldest, d.Name)
		}
		held.of(d.Name).set(float64(d.Held))
		inFlight.of(d.Name).set(float64(d.InFlight))
	}

	deadLetters := gauge("rounds_dead_letters_waiting", "Dead letters that wait for a person.", "pipeline")
	if s.DeadLetters != nil {
		for pipeline, n := range s.buried() {
			deadLetters.of(pipeline).set(float64(n))
		}
	}

	up := gauge("rounds_adapter_up", "1 if the adapter's process runs. It is started when it is first needed.", "adapter", "source")
	restarts := newFamily("rounds_adapter_restarts_total", "Starts of the adapter's process after its first.", "counter", nil, "adapter", "source")
	all = append(all, restarts)
	memory := gauge("rounds_adapter_memory_bytes", "Memory that the adapter's process has taken for itself, swap included.", "adapter", "source")
	for _, a := range s.adapters() {
		up.of(a.Name, a.Source).set(number(a.Up))
		restarts.of(a.Name, a.Source).set(float64(a.Restarts))
		if a.Memory > 0 {
			memory.of(a.Name, a.Source).set(float64(a.Memory))
		}
	}

	if s.StateBytes > 0 {
		gauge("rounds_state_size_bytes", "What the state takes on disk.").of().set(float64(s.StateBytes))
	}
	if !s.Loaded.IsZero() {
		instant(gauge("rounds_config_last_reload_success_timestamp_seconds", "When the configuration was loaded that is in use."), s.Loaded)
		gauge("rounds_config_last_reload_successful",
			"1 if the last configuration that was to be loaded is in use, 0 if it was not valid.").of().set(number(!s.Refused))
	}
	return all
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
		all[i].Memory += a.Memory
	}
	return all
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
