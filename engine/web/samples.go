// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

const (
	sampleEvery = 10 * time.Second
	slots       = 361 // minutes that are kept: six hours, and the one that is not over
)

// Samples are numbers of the last six hours, by the minute, in memory only: what the charts show. For more there are metrics.
type Samples struct {
	mu     sync.Mutex
	tracks map[string]*track
	minute int64 // since 1970, of the newest slot
	// Counters as of the last sample, as rates are their differences.
	delivered map[string]uint64
	failures  map[string]int
	dead      map[string]int
	sampled   bool
}

// track is one number by the minute; NaN where it is not known. The slot of a minute is its remainder.
type track [slots]float32

// NewSamples makes samples that hold nothing yet.
func NewSamples() *Samples {
	return &Samples{tracks: map[string]*track{}, delivered: map[string]uint64{}, failures: map[string]int{}, dead: map[string]int{}}
}

// Run takes samples of an engine until ctx is done.
func (s *Samples) Run(ctx context.Context, e operate.Engine) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if st, err := e.Status(ctx); err == nil { // one that can't be told leaves a gap
			s.take(time.Now(), st)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// What is kept for all, and with a kind and a name in front for one.
const (
	ofDelivered = "delivered"
	ofFailures  = "failures"
	ofWaiting   = "waiting"
	ofLag       = "lag"
)

func of(kind, name, what string) string { return kind + " " + name + " " + what }

func (s *Samples) take(now time.Time, st *operate.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now.Unix() / 60)
	known := map[string]bool{ofDelivered: true, ofFailures: true, ofWaiting: true, ofLag: true}
	all := map[string]float64{}
	note := func(kind, name, what string, v float64, rate bool) {
		key := of(kind, name, what)
		known[key] = true
		if rate {
			s.add(key, v)
			all[what] += v
			return
		}
		s.peak(key, v)
	}
	delivered, failures, dead := map[string]uint64{}, map[string]int{}, map[string]int{}
	waiting, lag := 0, time.Duration(0)
	for _, d := range st.Destinations {
		since := d.Delivered - s.delivered[d.Name]
		if d.Delivered < s.delivered[d.Name] { // it was paused or made anew, and counts from the beginning
			since = d.Delivered
		}
		delivered[d.Name] = d.Delivered
		if !s.sampled {
			since = 0 // from before
		}
		note(operate.Destination, d.Name, ofDelivered, float64(since), true)
		note(operate.Destination, d.Name, ofWaiting, float64(d.Waiting), false)
		behind := age(now, d.Oldest)
		note(operate.Destination, d.Name, ofLag, behind.Seconds(), false)
		waiting, lag = waiting+d.Waiting, max(lag, behind)
	}
	for _, p := range st.Pipelines {
		failed := 0
		if s.sampled {
			failed = max(0, p.Failures-s.failures[p.Name]) + max(0, p.DeadLetters-s.dead[p.Name])
		}
		failures[p.Name], dead[p.Name] = p.Failures, p.DeadLetters
		note(operate.Pipeline, p.Name, ofFailures, float64(failed), true)
		note(operate.Pipeline, p.Name, ofLag, age(now, p.LastPoll).Seconds(), false)
	}
	s.add(ofDelivered, all[ofDelivered])
	s.add(ofFailures, all[ofFailures])
	s.peak(ofWaiting, float64(waiting))
	s.peak(ofLag, lag.Seconds())
	for key := range s.tracks {
		if !known[key] {
			delete(s.tracks, key) // the configuration no longer names it
		}
	}
	s.delivered, s.failures, s.dead, s.sampled = delivered, failures, dead, true
}

func age(now, at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(0, now.Sub(at))
}

// advance begins a minute. Those between it and the last one were not looked at.
func (s *Samples) advance(minute int64) {
	if minute <= s.minute {
		return // a clock that was set back adds to the newest minute
	}
	for m := max(s.minute+1, minute-slots+1); m <= minute; m++ {
		for _, t := range s.tracks {
			t[m%slots] = float32(math.NaN())
		}
	}
	s.minute = minute
}

func (s *Samples) slot(key string) *float32 {
	t := s.tracks[key]
	if t == nil {
		t = new(track)
		for i := range t {
			t[i] = float32(math.NaN())
		}
		s.tracks[key] = t
	}
	return &t[s.minute%slots]
}

func (s *Samples) add(key string, v float64) {
	at := s.slot(key)
	if math.IsNaN(float64(*at)) {
		*at = 0
	}
	*at += float32(v)
}

func (s *Samples) peak(key string, v float64) {
	if at := s.slot(key); !(float64(*at) >= v) { // NaN is less than anything
		*at = float32(v)
	}
}

// chart is a track as it is drawn, 360 wide and 48 high, newest on the right.
type chart struct {
	Title string
	Line  string // of an SVG path
	Area  string // the same, down to the ground
	Last  string // the newest number
	Most  string // the highest one
	Since string // how long ago the left border is
	None  bool   // nothing is known yet
	Bad   bool   // anything above zero is bad news
}

const (
	chartWidth  = 360
	chartHeight = 48
	leastWidth  = 30 // minutes, so that the first ones after a start are no tower
)

// rate and level are how a chart is drawn: the minute that is not over yet is no rate.
func (s *Samples) rate(title, key string, bad bool) chart {
	return s.draw(chart{Title: title, Bad: bad}, key, 1, func(v float64) string { return fmt.Sprintf("%.0f", v) })
}

func (s *Samples) level(title, key string) chart {
	return s.draw(chart{Title: title}, key, 0, func(v float64) string { return fmt.Sprintf("%.0f", v) })
}

func (s *Samples) time(title, key string) chart {
	return s.draw(chart{Title: title}, key, 0, func(v float64) string { return span(time.Duration(v * float64(time.Second))) })
}

// draw draws a track but for its newest minutes that are left out.
func (s *Samples) draw(c chart, key string, leave int, format func(float64) string) chart {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.None = true
	t := s.tracks[key]
	if t == nil {
		return c
	}
	values := make([]float64, 0, slots) // oldest first
	most, last := 0.0, math.NaN()
	for m := s.minute - slots + 1; m <= s.minute-int64(leave); m++ {
		v := float64(t[(m+slots)%slots])
		if len(values) == 0 && math.IsNaN(v) && s.minute-m > leastWidth {
			continue // from before the first sample
		}
		values = append(values, v)
		if !math.IsNaN(v) {
			most, last, c.None = max(most, v), v, false
		}
	}
	if c.None {
		return c
	}
	x := func(i int) float64 { return float64(i) * chartWidth / float64(len(values)-1) }
	y := func(v float64) float64 { return 1 + (chartHeight-2)*(1-v/max(most, 1)) } // a unit away from the borders
	var line, area strings.Builder
	for i := 0; i < len(values); i++ {
		if math.IsNaN(values[i]) {
			continue
		}
		from := i
		for i++; i < len(values) && !math.IsNaN(values[i]); i++ { // what is known without a gap
		}
		begin := x(from)
		if from == i-1 {
			begin = max(0, begin-2) // a single minute has to be seen, too
		}
		fmt.Fprintf(&line, "M%.1f %.1f", begin, y(values[from]))
		fmt.Fprintf(&area, "M%.1f %dV%.1f", begin, chartHeight, y(values[from]))
		for j := from; j < i; j++ {
			fmt.Fprintf(&line, "L%.1f %.1f", x(j), y(values[j]))
			fmt.Fprintf(&area, "L%.1f %.1f", x(j), y(values[j]))
		}
		fmt.Fprintf(&area, "V%dZ", chartHeight)
	}
	c.Line, c.Area, c.Last, c.Most = line.String(), area.String(), format(last), format(most)
	c.Since = span(time.Duration(len(values)+leave-1) * time.Minute)
	return c
}
