// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/rounds-engine/rounds/engine/child"
	"github.com/rounds-engine/rounds/sdk"
)

// Back-off between the end of a process and the start of the next.
const (
	backoffBase = 200 * time.Millisecond
	backoffCap  = 30 * time.Second
)

// backoff is the pause after the nth end in a row, n from 1. Half of it is random, so that many processes that one cause
// ended don't start in one moment.
func backoff(n int) time.Duration {
	d := backoffCap
	if n < 10 {
		d = min(backoffBase<<(n-1), backoffCap)
	}
	return d/2 + rand.N(d/2+1)
}

// process stands for an adapter's process over all its lives. A life begins when it is needed.
type process struct {
	host        *Host
	key         key
	at          netip.AddrPort // where it is attached; not valid: it is started
	logger      *slog.Logger
	level       string // of what the adapter is to log
	stderr      child.Tail
	logs        logs
	raw         io.Writer         // gets what the adapter writes
	dial        []grpc.DialOption // further ones
	environment []string          // further variables
	secrets     hidden            // of all its sources
	sources     int               // open or to be opened; guarded by Host.mu

	ctx   context.Context // until close
	abort context.CancelFunc

	mu      sync.Mutex
	alive   *instance // nil: none
	start   *start    // under way; nil: none
	starts  int       // lives that were begun
	ends    int       // in a row, of lives that were short
	next    time.Time // no start before
	lastEnd error
}

// start is an attempt to begin a life, which any number of callers wait for.
type start struct {
	done     chan struct{}
	instance *instance
	err      error
}

func newProcess(h *Host, k key) *process {
	p := &process{host: h, key: k, at: h.o.Attach[k.adapter.Name], logger: h.o.Logger.With("adapter", k.adapter.Name)}
	p.raw, p.level = &p.stderr, levelOf(p.logger)
	p.logs.pace = rate.NewLimiter(logPerSecond, logBurst)
	if k.source != "" {
		p.logger = p.logger.With("isolated", k.source)
	}
	p.ctx, p.abort = context.WithCancel(context.Background())
	return p
}

// running gives the instance that runs, and starts one if none does. While back-off lasts it waits, unless ctx ends earlier:
// then it says so at once.
func (p *process) running(ctx context.Context) (*instance, error) {
	p.mu.Lock()
	for p.alive != nil && p.alive.hasEnded() {
		i := p.alive
		p.mu.Unlock()
		<-i.followed
		p.mu.Lock()
	}
	if p.ctx.Err() != nil {
		p.mu.Unlock()
		return nil, errClosed
	}
	if i := p.alive; i != nil {
		p.mu.Unlock()
		return i, nil
	}
	wait := time.Until(p.next)
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) {
		err := p.lastEnd
		p.mu.Unlock()
		return nil, sdk.Retryable("adapter %s starts again in %s, after: %v", p.key.adapter.Name, wait.Round(time.Millisecond), err)
	}
	s := p.start
	if s == nil {
		s = &start{done: make(chan struct{})}
		p.start = s
		go p.begin(s, wait)
	}
	p.mu.Unlock()
	select {
	case <-s.done:
		return s.instance, s.err
	case <-ctx.Done():
		return nil, sdk.Retryable("adapter %s is still starting", p.key.adapter.Name).Because(ctx.Err())
	}
}

// begin makes an attempt.
func (p *process) begin(s *start, wait time.Duration) {
	defer close(s.done)
	select {
	case <-time.After(wait):
	case <-p.ctx.Done():
		s.err = errClosed
		return
	}
	if p.at.IsValid() {
		s.instance, s.err = p.attach()
	} else {
		s.instance, s.err = launch(p)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = nil
	switch {
	case s.err == nil:
		p.starts++
		p.alive = s.instance
		go p.follow(s.instance)
	case p.ctx.Err() != nil:
		s.err = errClosed
	default:
		p.pause(s.err)
	}
}

// pause puts off the next start. p.mu is held.
func (p *process) pause(cause error) {
	p.ends++
	p.lastEnd = cause
	p.next = time.Now().Add(backoff(p.ends))
	if p.at.IsValid() { // attach waits; its author ends it often
		p.next = time.Now().Add(p.host.t.again)
	}
}

// follow waits for the end of an instance.
func (p *process) follow(i *instance) {
	<-i.ended
	lived := time.Since(i.begun)
	p.mu.Lock()
	p.alive = nil
	stopping := p.ctx.Err() != nil
	if !stopping {
		if lived >= p.host.t.settled {
			p.ends = 0
		}
		p.pause(i.cause())
	}
	next := time.Until(p.next)
	p.mu.Unlock()
	close(i.followed)
	i.cleanUp()
	if stopping {
		p.logger.Debug("the adapter has ended", i.life.report()...)
		return
	}
	attributes := append(i.life.report(), "cause", i.cause(), "lived", lived.Round(time.Millisecond), "again_in", next.Round(time.Millisecond))
	if functions := child.Crashed(p.stderr.Since(i.wrote)); functions != "" {
		attributes = append(attributes, "in", functions)
	}
	p.logger.Error("the adapter ended by itself", attributes...)
}

// close ends the process and waits for that.
func (p *process) close() {
	p.mu.Lock()
	p.abort()
	s, i := p.start, p.alive
	p.mu.Unlock()
	if s != nil {
		<-s.done
		i = s.instance
	}
	if i != nil {
		i.stop(p.host.t.stop)
	}
}
