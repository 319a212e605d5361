// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
)

// process is one life of the engine: the embedded store, and the loops on it as package engine wires them.
type process struct {
	*sim
	state *badgerstore.Store
	store store.Store // state, watched and with faults
	meter *alert.Meter
	stops map[string]func() // of the loops that run
	loops map[string]*delivery.Loop
	dead  atomic.Bool   // it was killed: nothing that it does reaches anybody
	over  chan struct{} // closed then
}

var errDead, errDisk = errors.New("the process is dead"), errors.New("input/output error")

// begin opens the state, and starts what nobody paused. Killed while it opens, it leaves the opening to the next one.
func (s *sim) begin() {
	s.Helper()
	for {
		p := &process{
			sim: s, meter: alert.NewMeter(), stops: map[string]func(){}, loops: map[string]*delivery.Loop{}, over: make(chan struct{}),
		}
		s.process = p
		if s.point.losesPower() {
			s.must(s.disk.opened())
		}
		state, err := badgerstore.Open(s.disk.dir, badgerstore.Options{
			Logger: s.log, Limits: s.limits, Keep: s.keep, EncryptionKey: s.key, Around: p.around,
			FreeSpace: func(string) (uint64, error) { return 1 << 40, nil },
		})
		if p.dead.Load() || errors.Is(err, errDisk) {
			s.next()
			continue
		}
		if err != nil {
			s.Fatalf("the state can't be opened any more: %v", err)
		}
		p.state, p.store = state, watched{storetest.Faulty(state, s.faults), p}
		s.lives++
		s.verify(state)
		if pauses, err := state.Admin().Pauses(s.Context()); err != nil {
			s.Fatal(err)
		} else {
			s.paused = slices.ContainsFunc(pauses, func(p store.Pause) bool { return p.Name == refusing })
		}
		for _, to := range destinations {
			if to != refusing || !s.paused {
				p.deliver(to)
			}
		}
		for _, f := range s.feeds {
			p.poll(f)
		}
		p.alerts()
		return
	}
}

// next lets the directory be what the end of the process left.
func (s *sim) next() {
	if s.image == nil {
		return
	}
	s.must(os.RemoveAll(s.disk.dir))
	s.disk, s.image = s.image, nil
}

// end stops the process, in order or after it was killed, and closes its state.
func (s *sim) end() {
	p := s.process
	for _, kind := range []string{"alerts", "pipeline", "destination"} {
		for _, name := range s.sorted(p.stops) {
			if strings.HasPrefix(name, kind) {
				p.stop(name)
			}
		}
	}
	if err := p.state.Close(); err != nil && !p.dead.Load() {
		s.Errorf("close: %v", err)
	}
	s.ended(false)
	s.next()
}

// again ends a process that was killed, or can't write any more, and begins another.
func (s *sim) again() {
	s.end()
	s.begin()
}

// pass lets time pass. Should the process not survive it, there is another afterwards.
func (s *sim) pass(d time.Duration) {
	select {
	case <-time.After(d):
		return
	case <-s.process.over:
	case <-s.process.state.Failed():
	}
	s.again()
}

// run runs a loop until it is stopped.
func (p *process) run(name string, loop func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		loop(ctx)
	}()
	p.stops[name] = func() {
		cancel()
		<-done
	}
}

func (p *process) stop(name string) {
	if stop := p.stops[name]; stop != nil {
		stop()
		delete(p.stops, name)
	}
}

// stagger lets loops that begin together not ask the committer at one time: their order would be left to chance.
func stagger(ctx context.Context, n int) { wait(ctx, nil, time.Duration(n+1)*time.Millisecond) }

func (p *process) poll(f *feed) {
	c := f.rig.config
	c.Name, c.Logger, c.Source = f.name(), p.log, gated{f.rig.ehr, f, p}
	c.Limits, c.Names = p.state.Limits(), record.Names{Secret: p.state.Secret()}
	c.Claim = func(ctx context.Context, name string) (store.Feed, error) {
		stagger(ctx, f.number)
		return p.store.Claim(ctx, name)
	}
	loop, err := pipeline.New(c)
	p.must(err)
	p.meter.Pipeline(c.Name, c.SourceName).Begins()
	p.run("pipeline "+f.base, loop.Run)
}

func (p *process) deliver(to string) {
	onReject := delivery.PauseLane
	if to == refusing {
		onReject = delivery.DeadLetter
	}
	loop := delivery.New(delivery.Config{
		Name: to, Parallel: 3, OnReject: onReject, Timeout: 5 * time.Second, Grace: time.Second, Logger: p.log,
		Destination: receiver{p, to}, Names: record.Names{Secret: p.state.Secret()},
		Attach: func(ctx context.Context) (store.Outbox, error) {
			stagger(ctx, 10+slices.Index(destinations, to))
			return p.store.Attach(ctx, to)
		},
	})
	p.loops[to] = loop
	p.run("destination "+to, func(ctx context.Context) {
		if loop.Run(ctx) != nil {
			p.left(to)
		}
	})
}

func (p *process) alerts() {
	loop := alert.New(alert.Config{
		Rules: []alert.Rule{
			{Name: "dead", Condition: alert.DeadLettersAbove, To: refusing, ResolveAfter: 10 * time.Second},
			{Name: "waiting", Condition: alert.OutboxOlderThan, Limit: 10, To: accepting, ResolveAfter: 10 * time.Second},
		},
		Destinations: destinations, Meter: p.meter, Limits: p.state.Limits(), Logger: p.log, Now: p.now,
		Claim: func(ctx context.Context, name string) (store.Feed, error) {
			stagger(ctx, 20)
			return p.store.Claim(ctx, name)
		},
	})
	p.run("alerts", func(ctx context.Context) {
		stagger(ctx, 21) // it looks every 5 seconds, and the store at itself every minute
		loop.Run(ctx)
	})
}

func (p *process) now(ctx context.Context) (is alert.Now, err error) {
	pending, err := p.state.Admin().Pending(ctx)
	if err != nil {
		return is, err
	}
	dead, err := p.state.Admin().DeadCount(ctx)
	for _, f := range p.feeds {
		is.Pipelines = append(is.Pipelines, alert.PipelineNow{Name: f.name(), DeadLetters: dead[f.name()]})
	}
	for _, to := range destinations {
		is.Destinations = append(is.Destinations, alert.DestinationNow{Name: to, Oldest: pending[to].Oldest})
	}
	return is, err
}

// around is put around each step of the committer on the disk.
func (p *process) around(step badgerstore.Step, do func() error) error {
	if p.dead.Load() {
		return errDead
	}
	s := p.sim
	hit, kind := s.stepped(step)
	if step.Kind == badgerstore.StepSync { // it takes a while, and sometimes long, in which nobody may rely on it
		most := 20 * time.Millisecond
		if s.percent(10, "slow", len(s.steps)) {
			most = time.Second
		}
		wait(context.Background(), nil, s.latency(most, "sync", len(s.steps)))
	}
	if hit {
		switch kind {
		case failsBefore:
			return errDisk
		case killBefore, powerBefore:
			p.die(kind)
			return errDead
		}
	}
	var acknowledged []*notice
	if s.point.losesPower() {
		acknowledged = s.loose()
	}
	err := do()
	if err == nil && step.Kind != badgerstore.StepWrite && s.point.losesPower() {
		err = s.disk.done(step)
		if step.Kind == badgerstore.StepSync && step.Log == "" {
			s.settled(acknowledged)
		}
	}
	if hit && err == nil {
		switch kind {
		case failsAfter:
			return errDisk
		case killAfter, powerAfter:
			p.die(kind)
			return errDead
		}
	}
	return err
}

// die ends the process at this very point: once everything else has come to rest, since a copy of the directory takes a while.
// What the copy holds is what the next process finds.
func (p *process) die(kind string) {
	synctest.Wait()
	p.dead.Store(true)
	s := p.sim
	s.copies++
	to := fmt.Sprintf("%s.%d", s.home, s.copies)
	var err error
	if kind == killBefore || kind == killAfter {
		s.image, err = s.disk.killed(to)
	} else {
		s.image, s.how, err = s.disk.lostPower(to, s.torn)
	}
	s.must(err)
	s.ended(s.point.losesPower())
	close(p.over)
}

// wait waits for a while, or until something comes first.
func wait(ctx context.Context, over <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-over:
	}
}

// watched tells the simulation what is written.
type watched struct {
	store.Store
	p *process
}

func (w watched) Claim(ctx context.Context, pipeline string) (store.Feed, error) {
	f, err := w.Store.Claim(ctx, pipeline)
	if err != nil {
		return nil, err
	}
	return watchedFeed{f, w.p}, nil
}

func (w watched) Attach(ctx context.Context, destination string) (store.Outbox, error) {
	o, err := w.Store.Attach(ctx, destination)
	if err != nil {
		return nil, err
	}
	return watchedOutbox{o, w.p}, nil
}

type watchedFeed struct {
	store.Feed
	p *process
}

func (f watchedFeed) Commit(ctx context.Context, b store.Batch) error {
	f.p.submitted(b.Entries)
	return f.Feed.Commit(ctx, b)
}

type watchedOutbox struct {
	store.Outbox
	p *process
}

func (o watchedOutbox) Ack(ctx context.Context, done ...store.Done) error {
	err := o.Outbox.Ack(ctx, done...)
	if err == nil {
		o.p.acknowledged(done)
	}
	return err
}
