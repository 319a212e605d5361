// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package alert tells a destination when something is wrong for longer than it may be, once, and once when it is over. It looks at
// what the loops count and at what the state says, and never at a record: what it sends holds names of the configuration, numbers
// and times.
//
// An alert is told as a notification is: a row says whether it is firing, and the row and the message are one commit. So a message
// is neither lost nor told twice over crashes and restarts, and what is resolved is told in the lane of what fired, after it.
package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Owner is the name under which the state keeps what is firing, beside the pipelines. No pipeline can have it.
const Owner = ":alerts"

// Reserved says that a name of a pipeline in the state is none of a configuration.
func Reserved(pipeline string) bool { return pipeline == Owner }

// Rule is one condition, and who is told.
type Rule struct {
	Name         string
	Condition    Condition
	Limit        float64       // in the unit of the condition; what is above it fires
	Over         time.Duration // that ErrorsAbove counts over
	Subject      string        // "pipeline.NAME", "destination.ID", "source.ID"; empty: all that the condition can be about, each on its own
	To           string        // destination
	ResolveAfter time.Duration // how long the condition has to be gone
	// Map makes the body of a message; nil: the message as JSON. The record has the message as the data of its change. No body: nothing
	// is sent. When it fails, the message is sent as JSON.
	Map func(context.Context, *record.Record) ([]byte, error)
}

// Now is what the state says of all that is configured. Zero times are not known.
type Now struct {
	Pipelines    []PipelineNow
	Destinations []DestinationNow
	Sources      []string
}

// PipelineNow is what the state says of a pipeline.
type PipelineNow struct {
	Name        string
	LastPoll    time.Time // begin of the last poll that was read to its end
	DeadLetters int       // that wait for a person
}

// DestinationNow is what the state says of a destination.
type DestinationNow struct {
	Name   string
	Oldest time.Time // when the oldest notification that waits was committed
}

// Config is what a loop works with.
type Config struct {
	Rules        []Rule
	Destinations []string                           // that there are
	Host         string                             // name of the machine; may be empty
	Meter        *Meter                             // outlives the loop
	Now          func(context.Context) (Now, error) // the text of its error may be logged
	Claim        func(ctx context.Context, pipeline string) (store.Feed, error)
	Limits       store.Limits
	Logger       *slog.Logger
}

const (
	every       = 5 * time.Second
	commitLimit = 30 * time.Second
)

// Loop compares what is with the rules.
type Loop struct {
	Config
	feed   store.Feed // nil: it has to be claimed, and what is firing to be read
	firing map[sdk.Ref]*firing
	shares map[sdk.Ref]*series // of attempts, for ErrorsAbove
	calls  map[string]*series  // of calls, by source
	failed bool                // the last round, and the log says so
}

// firing is an alert that was told and is not over.
type firing struct {
	row  store.Row
	kept kept
	gone time.Time // since when the condition is gone; zero: it holds, or it is not known
}

// New makes a loop.
func New(c Config) *Loop {
	return &Loop{Config: c, shares: map[sdk.Ref]*series{}, calls: map[string]*series{}}
}

// Run works until ctx is done. What fails is tried again in the next round. Without rules it ends when it has told of all that was
// firing that it is over.
func (l *Loop) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		err := l.contained(func() error { return l.round(ctx) })
		if err != nil && !l.failed && ctx.Err() == nil {
			l.Logger.Error("alerts can't be looked at; this is tried again", "error", err)
		}
		l.failed = err != nil
		if len(l.Rules) == 0 && err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	l.leave(context.WithoutCancel(ctx))
}

// contained calls f and turns a panic into an error. Its value is withheld; the stack holds none.
//
// Invariant 8: what is broken here stops nothing else.
func (l *Loop) contained(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			l.feed = nil
			err = fmt.Errorf("internal error (%T), please report it with this stack:\n%s", v, debug.Stack())
		}
	}()
	return f()
}

// leave keeps what was counted, for the next run.
func (l *Loop) leave(ctx context.Context) {
	if l.feed == nil {
		return
	}
	if len(l.Rules) > 0 || len(l.feed.Position().Watermark) > 0 {
		if err := l.save(ctx); err != nil {
			l.Logger.Warn("what alerts go by could not be kept; the next run goes by what was kept before", "error", store.Text(err))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, commitLimit)
	defer cancel()
	_ = l.feed.Release(ctx) // the next claim fences this one
	l.feed = nil
}

// round looks once at everything. After a failure of the state, whatever it was, what is stored counts, and is read again.
func (l *Loop) round(ctx context.Context) error {
	if l.feed != nil {
		select {
		case <-l.feed.Lost():
			l.feed = nil
		default:
		}
	}
	if l.feed == nil {
		if err := l.claim(ctx); err != nil {
			return errors.New(store.Text(err))
		}
	}
	is, err := l.Now(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	err = l.tell(ctx, now, l.compare(now, &is))
	if err == nil && len(l.Rules) > 0 && l.Meter.unsaved(now) {
		err = l.save(ctx)
	}
	if err != nil {
		l.feed = nil
		return errors.New(store.Text(err))
	}
	return nil
}

// change is one alert that fires or is over.
type change struct {
	ref     sdk.Ref
	rule    *Rule // nil: it is no longer configured
	was     *firing
	message Message
}

// compare finds what begins to fire, and what is over.
func (l *Loop) compare(now time.Time, is *Now) []change {
	var changes []change
	asked := map[sdk.Ref]bool{}
	for i := range l.Rules {
		r := &l.Rules[i]
		for _, s := range r.Condition.subjects(is) {
			if r.Subject != "" && r.Subject != s.name() {
				continue
			}
			ref := refOf(r.Name, s.name())
			was := l.firing[ref]
			if was != nil && was.kept.Message.Condition != r.Condition {
				continue // what was told is no longer looked at, and is said to be over before the other can fire
			}
			asked[ref] = true
			m := l.measure(now, r, s)
			switch {
			case m.above && was == nil:
				changes = append(changes, change{ref: ref, rule: r, message: l.fires(now, r, s, m)})
			case m.above:
				was.gone = time.Time{}
			case was != nil && (m.known || !was.gone.IsZero()):
				if was.gone.IsZero() {
					was.gone = now
				}
				if now.Sub(was.gone) >= r.ResolveAfter {
					changes = append(changes, change{ref: ref, rule: r, was: was, message: l.resolved(now, r, s, m, was)})
				}
			}
		}
	}
	for ref, was := range l.firing {
		if !asked[ref] {
			changes = append(changes, change{ref: ref, was: was, message: removed(now, was)})
		}
	}
	return changes
}

// refOf names an alert in the state. No name of a configuration has a slash in it.
func refOf(rule, subject string) sdk.Ref { return sdk.Ref{Kind: "alert", ID: rule + "/" + subject} }

// subject is something that a condition can be about.
type subject struct {
	pipeline    *PipelineNow
	destination *DestinationNow
	source      string
}

func (s subject) name() string {
	switch {
	case s.pipeline != nil:
		return "pipeline." + s.pipeline.Name
	case s.destination != nil:
		return "destination." + s.destination.Name
	}
	return "source." + s.source
}

// alertName is the name of the rule in a ref.
func alertName(ref sdk.Ref) string {
	name, _, _ := strings.Cut(ref.ID, "/")
	return name
}
