// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"regexp"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// Pipeline counts what one pipeline does; see pipeline.Meter.
type Pipeline struct {
	v                   *vectors
	name, source        string
	pollTook, fetchTook *series
	pollCalls, pollWait *series
}

// Pipeline makes the meter of a pipeline with these deliver blocks. What it counts goes on where an earlier one of this name ended.
func (m *Metrics) Pipeline(name, source string, delivers ...string) *Pipeline {
	p := &Pipeline{
		v: &m.v, name: name, source: source,
		pollTook:  m.v.pollTook.of(name, source),
		pollCalls: m.v.pollCalls.of(name, source),
		pollWait:  m.v.pollWait.of(name, source),
		fetchTook: m.v.fetchTook.of(name, source),
	}
	// A rate needs a first value: what has not happened yet is 0.
	for _, code := range []sdk.Code{"", sdk.CodeRetryable, sdk.CodeUnauthorized, sdk.CodeForbidden, sdk.CodeMisconfigured} {
		m.v.polls.of(name, source, codeOf(code))
	}
	for _, deliver := range delivers {
		for _, outcome := range []string{"mapped", "filtered", "failed", "timed_out", "abandoned", "refused"} {
			m.v.mappings.of(name, deliver, outcome)
		}
	}
	m.v.changes.of(name, source, "new")
	for _, stage := range []record.Stage{record.StagePoll, record.StageFetch, record.StageMap, record.StageCommit, record.StageDeliver} {
		m.v.deadLetters.of(name, string(stage))
	}
	return p
}

// Polled counts one page that was asked for.
func (p *Pipeline) Polled(took time.Duration, calls int, wait time.Duration, code sdk.Code) {
	p.v.polls.of(p.name, p.source, codeOf(code)).inc()
	p.pollTook.observe(took.Seconds())
	p.pollCalls.add(float64(max(calls, 0))) // an adapter says so
	p.pollWait.add(max(wait.Seconds(), 0))
}

// Changes counts n changes that were judged.
func (p *Pipeline) Changes(outcome string, n int) {
	p.v.changes.of(p.name, p.source, outcome).add(float64(n))
}

// Called counts one call that fetched.
func (p *Pipeline) Called(took time.Duration) { p.fetchTook.observe(took.Seconds()) }

// Fetched counts n records that were asked for.
func (p *Pipeline) Fetched(resource string, code sdk.Code, n int) {
	p.v.fetches.of(p.name, p.source, resource, codeOf(code)).add(float64(n))
}

// Unwanted counts a record for which a filter did not hold.
func (p *Pipeline) Unwanted(deliver string) { p.v.unwanted.of(p.name, deliver).inc() }

// Mapped counts a call of a mapping.
func (p *Pipeline) Mapped(deliver, outcome string, took time.Duration) {
	p.v.mappings.of(p.name, deliver, outcome).inc()
	p.v.mapTook.of(p.name, deliver).observe(took.Seconds())
}

// Committed counts a commit.
func (p *Pipeline) Committed(took time.Duration, err error) {
	if err != nil {
		p.v.commitFailures.inc()
		return
	}
	p.v.commitTook.observe(took.Seconds())
}

// Notification counts a notification that was committed.
func (p *Pipeline) Notification(deliver, destination string) {
	p.v.notifications.of(p.name, deliver, destination).inc()
}

// DeadLetter counts a dead letter that was committed.
func (p *Pipeline) DeadLetter(stage record.Stage) {
	p.v.deadLetters.of(p.name, string(stage)).inc()
}

// codeOf is an adapter's code as a label. An adapter is a program of others and may say anything.
func codeOf(c sdk.Code) string {
	switch c {
	case "":
		return "ok"
	case sdk.CodeRetryable, sdk.CodeNotFound, sdk.CodeGone, sdk.CodeUnauthorized, sdk.CodeForbidden, sdk.CodeRateLimited,
		sdk.CodeCursorExpired, sdk.CodeWatermarkExpired, sdk.CodeMisconfigured, sdk.CodePermanent:
		return string(c)
	}
	return "other"
}

// Destination counts what the loop of one destination does; see delivery.Meter.
type Destination struct {
	v            *vectors
	name         string
	attemptTook  *series
	deliveryTook *series

	mu    sync.Mutex
	codes map[string]bool
}

// maxCodes is how many codes of failures of one destination are told apart.
const maxCodes = 32

// Destination makes the meter of a destination. What it counts goes on where an earlier one of this name ended.
func (m *Metrics) Destination(name string) *Destination {
	d := &Destination{
		v: &m.v, name: name, codes: map[string]bool{},
		attemptTook:  m.v.attemptTook.of(name),
		deliveryTook: m.v.deliveryTook.of(name),
	}
	m.v.attempts.of(name, "accepted", "ok")
	return d
}

// Attempted counts one attempt.
func (d *Destination) Attempted(took time.Duration, failure *record.SendError) {
	d.attemptTook.observe(took.Seconds())
	outcome, code := "accepted", "ok"
	if failure != nil {
		code = d.class(failure.Code)
		switch failure.Verdict {
		case record.Reject:
			outcome = "rejected"
		case record.Pause:
			outcome = "paused"
		default:
			outcome = "repeated"
		}
	}
	d.v.attempts.of(d.name, outcome, code).inc()
}

// Delivered counts a notification that left the outbox.
func (d *Destination) Delivered(pipeline string, changed, committed, accepted time.Time) {
	d.v.delivered.of(pipeline, d.name).inc()
	d.deliveryTook.observe(max(accepted.Sub(committed).Seconds(), 0)) // the clock may have been set
	if !changed.IsZero() {
		d.v.deliveryLag.of(pipeline, d.name).observe(max(accepted.Sub(changed).Seconds(), 0)) // the EHR has its own
	}
}

// DeadLetter counts a notification that was refused.
func (d *Destination) DeadLetter(pipeline string) {
	d.v.deadLetters.of(pipeline, string(record.StageDeliver)).inc()
}

var (
	ofStatus = regexp.MustCompile(`^http_[1-5][0-9][0-9]$`)
	short    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
)

// class is a failure's code as a label: of a status its class, of the others the code itself, as there are few; should there be
// more, they are "other".
func (d *Destination) class(code string) string {
	if ofStatus.MatchString(code) {
		return code[:len("http_4")] + "xx"
	}
	if !short.MatchString(code) {
		return "other"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.codes[code] {
		if len(d.codes) >= maxCodes {
			return "other"
		}
		d.codes[code] = true
	}
	return code
}
