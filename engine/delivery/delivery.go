// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package delivery is the destination loop: it takes notifications out of one destination's outbox, sends them, and sends
// them again until they are accepted. It meets the pipelines in the store and nowhere else.
//
// The entries of one pipeline and ordering key are a lane. Of a lane one notification at a time is on its way, in the order
// of commit; lanes go side by side. Loop (this file) attaches to the outbox; session.go chooses which lane is next; visit.go
// sends what waits in a lane; health.go knows whether the receiver as a whole can be spoken to.
package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

// Destination is where notifications go.
type Destination interface {
	// Send returns nil only when the receiver has taken n over for good. A failure is a *record.SendError; any other error
	// is repeated like one of verdict Retry, its text withheld. Send returns soon after ctx is done. It is called from
	// several goroutines, but never for two notifications of one lane at a time.
	Send(ctx context.Context, n Notification) error
}

// Notification is what a destination gets to see of an entry.
type Notification struct {
	ID       string // the same in every attempt
	Pipeline string
	Deliver  string // label of the deliver block
	Key      string // the ordering key, which may be a patient's identifier
	Body     []byte // JSON; must not be changed
	Attempt  int    // from 1
	Trace    string // W3C traceparent of the attempt; empty: it is not traced
}

// OnReject says what becomes of a notification that the receiver refuses for itself.
type OnReject string

// The choices.
const (
	PauseLane  OnReject = "pause"       // hold its lane: nothing overtakes it
	DeadLetter OnReject = "dead_letter" // move it to the dead letters, go on with the lane
)

// Config is what a Loop needs. Zero values stand for the defaults.
type Config struct {
	Name        string // as referred to in HCL, "webhook.scheduling"
	Parallel    int    // lanes at a time; default 16
	OnReject    OnReject
	Timeout     time.Duration // of one attempt; default 30 s
	Grace       time.Duration // how long sends that are on their way may go on after a stop; default 10 s
	Attach      func(context.Context) (store.Outbox, error)
	Destination Destination
	Logger      *slog.Logger
	Names       record.Names // of records in logs
	Meter       Meter        // nil: nothing is counted
	Tracer      trace.Tracer // nil: nothing is traced
}

// State is what a loop is doing.
type State string

// The states.
const (
	Attaching  State = "attaching"   // does not own the outbox yet, or lost it
	Delivering State = "delivering"  // sends whatever comes
	BackingOff State = "backing_off" // the receiver fails as a whole: one probe at a time
	Paused     State = "paused"      // waits for Resume
	Stopped    State = "stopped"
)

// Status is a snapshot for a person.
type Status struct {
	State     State
	Why       string    // the last cause of trouble that is not over; holds no record content
	Since     time.Time // of State
	InFlight  int       // lanes that are worked on
	Waiting   int       // lanes that wait for their turn or their next attempt, as far as they are known
	Held      int       // lanes that are held behind a refused notification
	Delivered uint64    // since the start
	Dead      uint64    // moved to the dead letters since the start
}

const (
	minRetry = time.Second     // first pause after a failed attempt
	maxRetry = 5 * time.Minute // longest pause that the loop takes by itself
	maxAfter = time.Hour       // longest pause that a receiver can ask for: its clock may be wrong
	minStore = 50 * time.Millisecond
	maxStore = 5 * time.Second
	linger   = 5 * time.Second // how long a send that was cancelled may take to come back
)

// Loop delivers to one destination.
type Loop struct {
	cfg     Config
	log     *slog.Logger
	health  *health
	sends   news // failures of sending
	storing news // failures of the store
	flood   throttle
	resumed chan struct{}
	lifted  atomic.Int64 // when a person resumed last, in nanoseconds since 1970

	failing           atomic.Int64 // lanes whose first entry failed and is tried again
	flying            atomic.Int64
	waiting           atomic.Int64
	held              atomic.Int64
	delivered, buried atomic.Uint64
}

// New makes a loop; Run starts it.
func New(cfg Config) *Loop {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 16
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 10 * time.Second
	}
	if cfg.OnReject == "" {
		cfg.OnReject = PauseLane
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Meter == nil {
		cfg.Meter = Unmetered{}
	}
	if cfg.Tracer == nil {
		cfg.Tracer = noop.NewTracerProvider().Tracer("")
	}
	return &Loop{
		cfg:     cfg,
		log:     cfg.Logger.With("destination", cfg.Name),
		health:  newHealth(cfg.Parallel),
		resumed: make(chan struct{}, 1),
	}
}

// Run delivers until ctx is done. What is on its way then may end within Grace and is cancelled after that; everything
// else stays in the outbox. It returns nil when nothing was left behind, and it is called once.
func (l *Loop) Run(ctx context.Context) error {
	defer l.health.enter(Stopped)
	var owed []store.Done
	for tries := 1; ; tries++ {
		outbox, err := l.cfg.Attach(ctx)
		if err == nil {
			l.storeWorks()
			begun := time.Now()
			s := newSession(l, outbox, owed)
			err = l.contained(func() error { return s.run(ctx) })
			owed = s.owed
			if ctx.Err() != nil {
				return err
			}
			if time.Since(begun) > time.Minute {
				tries = 1
			}
		}
		l.health.enter(Attaching)
		if ctx.Err() != nil {
			return l.unpaid(owed)
		}
		if text := store.Text(err); l.storing.begins(text) {
			l.log.Warn("the outbox is not to be had; nothing is sent until it is", "error", text)
		}
		if !sleep(ctx, backoff(tries, minStore, maxStore)) {
			return l.unpaid(owed)
		}
	}
}

// unpaid says what is accepted and will come again, nil if there is nothing.
func (l *Loop) unpaid(owed []store.Done) error {
	if len(owed) == 0 {
		return nil
	}
	return fmt.Errorf("destination %s: %d accepted notifications could not be acknowledged before the stop; they will be sent again with the "+
		"same id", l.cfg.Name, len(owed))
}

// Resume lifts a pause, a back-off, the hold of all held lanes, and the pauses after all attempts so far. It may come before Run.
func (l *Loop) Resume() {
	l.lifted.Store(time.Now().UnixNano())
	l.health.resume()
	select {
	case l.resumed <- struct{}{}:
	default:
	}
}

// toResume is the command that a person resumes with.
func (l *Loop) toResume() string { return "rounds resume destination." + l.cfg.Name }

// Status may be called at any time.
func (l *Loop) Status() Status {
	st := l.health.status(int(l.held.Load()))
	st.InFlight = int(l.flying.Load())
	st.Waiting = int(l.waiting.Load())
	st.Delivered = l.delivered.Load()
	st.Dead = l.buried.Load()
	return st
}

// storeFails and storeWorks log a failure of the store once, until it is over.
func (l *Loop) storeFails(err error) {
	if text := store.Text(err); l.storing.begins(text) {
		l.log.Warn("the store fails; deliveries wait for it", "error", text)
	}
}

func (l *Loop) storeWorks() {
	if l.storing.ends() {
		l.log.Info("the store works again")
	}
}

// sleep reports false when ctx was done first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
