// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"maps"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// Meter counts what conditions look at, from the start of the engine on. What has to outlive it, Loop keeps in the state: how long
// each pipeline made no notification, and the calls of the day.
type Meter struct {
	mu           sync.Mutex
	pipelines    map[string]*counter
	destinations map[string]*counter
	sources      map[string]*counter
	restored     bool
	saved        memory
	savedAt      time.Time
}

// NewMeter makes one that has counted nothing.
func NewMeter() *Meter {
	return &Meter{pipelines: map[string]*counter{}, destinations: map[string]*counter{}, sources: map[string]*counter{}}
}

// counter is what is counted of a pipeline, a destination or a source.
type counter struct {
	mu      sync.Mutex
	began   time.Time // of its loop
	all     uint64    // attempts of a pipeline or destination, calls of a source
	bad     uint64    // attempts that failed
	last    time.Time // notification of a pipeline, moved by the time in which no engine ran; or when it was first looked at
	day     time.Time // that calls are of
	ofToday uint64    // calls
}

func (m *Meter) counter(of map[string]*counter, name string) *counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := of[name]
	if c == nil {
		c = &counter{}
		of[name] = c
	}
	return c
}

func (m *Meter) pipeline(name string) *counter    { return m.counter(m.pipelines, name) }
func (m *Meter) destination(name string) *counter { return m.counter(m.destinations, name) }
func (m *Meter) source(id string) *counter        { return m.counter(m.sources, id) }

// Pipeline is told what a pipeline does.
type Pipeline struct{ own, source *counter }

// Pipeline gives what a pipeline is to tell.
func (m *Meter) Pipeline(name, source string) Pipeline {
	return Pipeline{m.pipeline(name), m.source(source)}
}

// Begins is told when the pipeline is started. Its ages count from then on: those of one that a refused configuration would have
// started anew go on.
func (p Pipeline) Begins() { p.own.begin() }

// Polled is told of one page, as in pipeline.Meter.
func (p Pipeline) Polled(calls int, code sdk.Code) {
	p.own.add(1, code != "")
	p.source.called(max(calls, 1))
}

// Fetched is told what came of n records that were asked for, as in pipeline.Meter; each counts as a call. That one is not there is
// an answer.
func (p Pipeline) Fetched(code sdk.Code, n int) {
	p.own.add(n, code != "" && code != sdk.CodeNotFound && code != sdk.CodeGone)
	p.source.called(n)
}

// Notification is told of one that was committed.
func (p Pipeline) Notification() {
	p.own.mu.Lock()
	defer p.own.mu.Unlock()
	p.own.last = time.Now()
}

// Destination is told what the loop of a destination does.
type Destination struct{ own *counter }

// Destination gives what the loop of a destination is to tell. Its ages count from now on.
func (m *Meter) Destination(name string) Destination {
	d := Destination{m.destination(name)}
	d.own.begin()
	return d
}

// Attempted is told of one attempt, as in delivery.Meter.
func (d Destination) Attempted(failure *record.SendError) { d.own.add(1, failure != nil) }

func (c *counter) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = time.Now()
}

func (c *counter) add(n int, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all += uint64(n)
	if failed {
		c.bad += uint64(n)
	}
}

func (c *counter) called(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.today(time.Now())
	c.all += uint64(n)
	c.ofToday += uint64(n)
}

// today begins to count anew at midnight. The caller holds the lock.
func (c *counter) today(now time.Time) {
	if today := now.UTC().Truncate(day); !c.day.Equal(today) {
		c.day, c.ofToday = today, 0
	}
}

func (c *counter) attempts() (all, failed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all, c.bad
}

func (c *counter) calls(now time.Time) (total, today uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.today(now)
	return c.all, c.ofToday
}

// started is when the loop began; what has none begins when it is first looked at.
func (c *counter) started(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began.IsZero() {
		c.began = now
	}
	return c.began
}

// traffic is when a pipeline made its last notification.
func (c *counter) traffic(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.IsZero() {
		c.last = now
	}
	return c.last
}

// memory is what outlives the engine.
type memory struct {
	Quiet map[string]time.Duration `json:"quiet,omitempty"` // how long a pipeline made no notification while an engine ran
	Day   time.Time                `json:"day,omitzero"`
	Calls map[string]uint64        `json:"calls,omitempty"` // of the day, by source
}

// memory is what to keep now.
func (m *Meter) memory(now time.Time) memory {
	m.mu.Lock()
	pipelines, sources := maps.Clone(m.pipelines), maps.Clone(m.sources)
	m.mu.Unlock()
	kept := memory{Quiet: map[string]time.Duration{}, Day: now.UTC().Truncate(day), Calls: map[string]uint64{}}
	for name, c := range pipelines {
		kept.Quiet[name] = now.Sub(c.traffic(now))
	}
	for id, c := range sources {
		if _, n := c.calls(now); n > 0 {
			kept.Calls[id] = n
		}
	}
	return kept
}

// restore takes over what the engine before kept, once.
func (m *Meter) restore(now time.Time, kept memory) {
	m.mu.Lock()
	again := m.restored
	m.restored, m.saved, m.savedAt = true, kept, now
	m.mu.Unlock()
	if again {
		return
	}
	for name, quiet := range kept.Quiet {
		c := m.pipeline(name)
		c.mu.Lock()
		if c.last.IsZero() {
			c.last = now.Add(-quiet)
		}
		c.mu.Unlock()
	}
	for id, n := range kept.Calls {
		c := m.source(id)
		c.mu.Lock()
		if c.today(now); c.day.Equal(kept.Day) {
			c.ofToday += n
		}
		c.mu.Unlock()
	}
}

// drift is how far what is kept may be from what is, so far as a crash is concerned: an engine that is stopped keeps what is.
const drift = 5 * time.Minute

// unsaved says that what is kept is too far from what is.
func (m *Meter) unsaved(now time.Time) bool {
	is := m.memory(now)
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, quiet := range is.Quiet {
		if (quiet - m.saved.Quiet[name]).Abs() >= drift {
			return true
		}
	}
	return now.Sub(m.savedAt) >= drift && (!is.Day.Equal(m.saved.Day) && len(is.Calls) > 0 || !maps.Equal(is.Calls, m.saved.Calls))
}

// wasSaved takes note of what is kept.
func (m *Meter) wasSaved(now time.Time, kept memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved, m.savedAt = kept, now
}
