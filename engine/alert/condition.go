// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"math"
	"slices"
	"time"
)

// Condition is what a rule looks at.
type Condition string

// The conditions, as the attributes in HCL are named.
const (
	NoTrafficFor     Condition = "no_traffic_for"
	PollOlderThan    Condition = "poll_older_than"
	ErrorsAbove      Condition = "errors_above"
	DeadLettersAbove Condition = "dead_letters_above"
	OutboxOlderThan  Condition = "outbox_older_than"
	CallsPerDayAbove Condition = "calls_per_day_above"
)

// fewest attempts are needed for a share to fire. A destination that got one notification in all the time, at the second attempt,
// does not fail half of the time.
const fewest = 5

const (
	day  = 24 * time.Hour
	pace = time.Hour // that the calls of the rest of the day are forecast from
)

// subjects are all that a condition can be about.
func (c Condition) subjects(is *Now) []subject {
	var all []subject
	if slices.Contains([]Condition{NoTrafficFor, PollOlderThan, ErrorsAbove, DeadLettersAbove}, c) {
		for i := range is.Pipelines {
			all = append(all, subject{pipeline: &is.Pipelines[i]})
		}
	}
	if c == ErrorsAbove || c == OutboxOlderThan {
		for i := range is.Destinations {
			all = append(all, subject{destination: &is.Destinations[i]})
		}
	}
	if c == CallsPerDayAbove {
		for _, s := range is.Sources {
			all = append(all, subject{source: s})
		}
	}
	return all
}

// measured is what a condition finds. What is neither above nor known leaves an alert as it is: after a restart, nothing is known for
// a while, and that is no reason to say that all is well.
type measured struct {
	value float64
	above bool
	known bool
}

// measure looks at one subject.
func (l *Loop) measure(now time.Time, r *Rule, s subject) measured {
	switch r.Condition {
	case NoTrafficFor:
		quiet := now.Sub(l.Meter.pipeline(s.pipeline.Name).traffic(now))
		return measured{quiet.Seconds(), quiet.Seconds() > r.Limit, true}
	case PollOlderThan:
		return older(now, s.pipeline.LastPoll, l.Meter.pipeline(s.pipeline.Name).started(now), r.Limit)
	case OutboxOlderThan:
		if s.destination.Oldest.IsZero() {
			return measured{known: true}
		}
		return older(now, s.destination.Oldest, l.Meter.destination(s.destination.Name).started(now), r.Limit)
	case DeadLettersAbove:
		n := float64(s.pipeline.DeadLetters)
		return measured{n, n > r.Limit, true}
	case ErrorsAbove:
		return l.share(now, r, s)
	}
	return l.forecast(now, r, s.source)
}

// older measures an age. What is from before the start is only above when it is since the start, too: the time in which nothing ran
// says nothing of the EHR or the receiver.
func older(now, since, started time.Time, limit float64) measured {
	age, running := now.Sub(since).Seconds(), now.Sub(started).Seconds()
	if since.IsZero() || age < 0 { // the clock was set back since
		return measured{value: running, above: running > limit}
	}
	return measured{age, min(age, running) > limit, age <= limit}
}

// share measures how many of the attempts failed. Where nothing waits for a destination, and there was no attempt in all the time, none fails.
func (l *Loop) share(now time.Time, r *Rule, s subject) measured {
	var c *counter
	if s.pipeline != nil {
		c = l.Meter.pipeline(s.pipeline.Name)
	} else {
		c = l.Meter.destination(s.destination.Name)
	}
	ref := refOf(r.Name, s.name())
	if l.shares[ref] == nil {
		l.shares[ref] = &series{}
	}
	attempts, failed := c.attempts()
	before := l.shares[ref].before(now, r.Over, sample{now, attempts, failed})
	n, bad := attempts-before.all, failed-before.bad
	if n == 0 {
		return measured{known: s.destination != nil && s.destination.Oldest.IsZero() && now.Sub(before.at) >= r.Over}
	}
	share := float64(bad) / float64(n)
	return measured{share, share > r.Limit && n >= fewest, share <= r.Limit}
}

// forecast measures how many calls a source will have made by the end of the day: those of today, and for the rest of it as many as
// in the last hour. In the first hour there may be more than that; there are not fewer.
func (l *Loop) forecast(now time.Time, r *Rule, source string) measured {
	if l.calls[source] == nil {
		l.calls[source] = &series{}
	}
	total, today := l.Meter.source(source).calls(now)
	before := l.calls[source].before(now, pace, sample{now, total, 0})
	rest := now.UTC().Truncate(day).Add(day).Sub(now)
	calls := math.Round(float64(today) + float64(total-before.all)*rest.Hours()/pace.Hours())
	return measured{calls, calls > r.Limit, now.Sub(before.at) >= pace}
}

// series are the totals of the past, so that what was counted over a time can be told.
type series struct{ samples []sample }

type sample struct {
	at       time.Time
	all, bad uint64
}

// parts is how finely a time is divided.
const parts = 60

// before takes in the totals of now and gives those at the begin of the time that ends now, or the first ones.
func (s *series) before(now time.Time, over time.Duration, latest sample) sample {
	if n := len(s.samples); n == 0 || now.Sub(s.samples[n-1].at) >= over/parts {
		s.samples = append(s.samples, latest)
	}
	for len(s.samples) > 1 && !s.samples[1].at.After(now.Add(-over)) {
		s.samples = s.samples[1:]
	}
	return s.samples[0]
}
