// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// State is what a pipeline is doing.
type State string

// The states.
const (
	Claiming State = "claiming" // does not own its state yet, or lost it
	Waiting  State = "waiting"  // for the time of its next poll
	Polling  State = "polling"
	Failing  State = "failing" // the last poll failed; waits to repeat it
	Gap      State = "gap"     // the server no longer has all changes since the last poll; waits for a person to say where to go on
	Stopped  State = "stopped"
)

// Status is a snapshot for a person.
type Status struct {
	State    State
	Why      string    // the last failure that is not over; may be logged
	Since    time.Time // of State
	Polled   time.Time // begin of the last window that was read to its end; zero: never, or not known yet
	Next     time.Time // of the next poll; zero: none is planned
	Failures int       // in a row
}

// request asks the loop for a poll, or to expand a parent again. The zero value is none.
type request struct {
	parent *sdk.Change // nil: a poll
	answer chan<- polled
}

// polled is what came of a request.
type polled struct {
	counts Counts
	err    error
}

func (r request) tell(p polled) {
	if r.answer != nil {
		r.answer <- p
	}
}

// watched is what others may know of a pipeline, and ask of it, while it runs.
type watched struct {
	mu     sync.Mutex
	status Status
	ended  chan struct{} // closed at the end of the Run that is under way; nil: none is
	asked  chan request
}

var errNotRunning = failf("the pipeline does not run, or was just stopped: try again")

// runs takes note that Run has begun; the result is for its end.
func (p *Pipeline) runs() (ends func()) {
	ended := make(chan struct{})
	p.watched.mu.Lock()
	defer p.watched.mu.Unlock()
	p.watched.ended = ended
	return func() {
		p.is(Stopped, nil)
		p.watched.mu.Lock()
		defer p.watched.mu.Unlock()
		p.watched.ended = nil
		close(ended)
	}
}

// Status may be called at any time.
func (p *Pipeline) Status() Status {
	p.watched.mu.Lock()
	defer p.watched.mu.Unlock()
	return p.watched.status
}

// Poll polls at once, or when what is under way has ended, and tells what came of it. The error is one that Run would log, and its
// text may be shown; or that of ctx, when it ends before: then the poll goes on.
func (p *Pipeline) Poll(ctx context.Context) (Counts, error) { return p.ask(ctx, nil) }

// ask hands a request to the loop and waits for the answer.
func (p *Pipeline) ask(ctx context.Context, parent *sdk.Change) (Counts, error) {
	p.watched.mu.Lock()
	ended := p.watched.ended
	p.watched.mu.Unlock()
	if ended == nil {
		return Counts{}, errNotRunning
	}
	answer := make(chan polled, 1)
	select {
	case p.watched.asked <- request{parent, answer}:
	case <-ended:
		return Counts{}, errNotRunning
	case <-ctx.Done():
		return Counts{}, ctx.Err()
	}
	select {
	case a := <-answer: // whoever took it answers, whatever comes
		return a.counts, a.err
	case <-ctx.Done():
		return Counts{}, ctx.Err()
	}
}

// is takes note of a new state. A failure stays known until a poll is good.
func (p *Pipeline) is(s State, change func(*Status)) {
	p.watched.mu.Lock()
	defer p.watched.mu.Unlock()
	st := &p.watched.status
	if st.State != s {
		st.State, st.Since = s, time.Now()
	}
	st.Next = time.Time{}
	if change != nil {
		change(st)
	}
}
