// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script/worker"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// running is what works on one state: the loops, and the configuration that they were made of. Its fields change under
// Engine.changing, and are read under Engine.mu.
type running struct {
	engine *Engine
	state  *badgerstore.Store
	ctx    context.Context // of all loops
	hurry  *hurry
	large  chan struct{} // takes the pipelines that work on large answers

	read     func(context.Context) (*config.Config, error)
	offline  bool       // nothing runs, and nothing is to be started
	auditing sync.Mutex // held while a line is written

	cfg          *config.Config
	build        *builder
	pipelines    map[string]*polling
	destinations map[string]*delivering
	sources      map[string]*opened
	paused       map[string]store.Pause // by kind and name

	meter      *alert.Meter
	rules      []alert.Rule
	stopAlerts func() // as polling.stop
}

// polling is a pipeline with its loop. A pipeline that a person paused has none.
type polling struct {
	config      config.Pipeline
	fingerprint [sha256.Size]byte
	pipeline    *pipeline.Pipeline
	worker      *worker.Worker // of its mappings; nil: they are not isolated
	source      *opened
	stop        func() // ends the loop and waits for that; nil: there is none
}

// delivering is a destination with its loop. A destination that a person paused has none.
type delivering struct {
	config config.Destination
	to     destination.Destination
	loop   *delivery.Loop
	stop   func() error // as polling.stop; the error is of what was left behind
}

// opened is a source, which all pipelines that name it share.
type opened struct {
	config config.Source
	source *host.Source
}

func newRunning(ctx context.Context, e *Engine, state *badgerstore.Store) *running {
	return &running{
		engine: e, state: state, ctx: ctx, hurry: new(hurry), large: make(chan struct{}, largeAtOnce()),
		pipelines: map[string]*polling{}, destinations: map[string]*delivering{}, sources: map[string]*opened{},
		meter: alert.NewMeter(), stopAlerts: func() {},
	}
}

// names are those of records in the log.
func (r *running) names() record.Names {
	return record.Names{Secret: r.state.Secret(), Clear: r.engine.logRefs}
}

// change is what apply does: what is to be stopped, and what is to be started then. What is in neither goes on undisturbed.
type change struct {
	cfg          *config.Config
	build        *builder
	pipelines    map[string]*polling // as they will be
	destinations map[string]*delivering
	sources      map[string]*opened
	rules        []alert.Rule // of alerts

	stopPipelines    []*polling
	stopDestinations []*delivering
	closeSources     []*opened
}

// apply makes what runs that of a configuration: at the start, and when it is read again. All that can fail is done before
// anything is stopped, but for moving state to other names, which needs what has it to be stopped: if that fails, what was moved is
// moved back, what was stopped or closed is started and opened again, and the old configuration goes on.
func (r *running) apply(ctx context.Context, cfg *config.Config) error {
	c, err := r.compare(cfg)
	if err != nil {
		return err
	}
	r.stopAlerts()
	defer r.startAlerts()
	left := r.stopAll(c.stopPipelines, c.stopDestinations)
	if left != nil {
		r.engine.o.Logger.Warn("deliveries were cut off, and are made again", "error", left)
	}
	closing := map[string]*host.Source{}
	for _, s := range c.closeSources {
		closing[s.config.ID()] = s.source
	}
	closeAll(ctx, closing) // before their state is moved, as their adapters may save some at their end
	if err := r.rename(ctx, cfg); err != nil {
		for _, d := range c.destinations {
			if r.destinations[d.config.ID()] != d {
				_ = d.to.Close() // it was never used
			}
		}
		r.reopen(c.closeSources)
		r.start()
		return err
	}
	for _, d := range c.stopDestinations {
		if err := d.to.Close(); err != nil {
			r.engine.o.Logger.Warn("a destination could not be closed", "destination", d.config.ID(), "error", err)
		}
	}
	r.engine.host.Hide(cfg.Secrets)
	for _, s := range c.sources {
		if s.source == nil {
			s.source = r.engine.openSource(s.config)
		}
	}
	for name, p := range c.pipelines {
		if r.pipelines[name] != p {
			p.pipeline.Source = p.source.source
		}
	}
	if r.cfg != nil && r.cfg.History != cfg.History {
		r.engine.o.Logger.Warn("the history block has changed, which has effect from the next start on")
	}
	for _, name := range r.elsewhere(c) {
		r.engine.o.Logger.Warn("a pipeline polls another feed than before, and goes on from where it stood: what is older there is not read",
			"pipeline", name, "to_read_it", "rounds state set "+name+" --start now|beginning|INSTANT")
	}
	r.engine.mu.Lock()
	r.cfg, r.build, r.rules, r.pipelines, r.destinations, r.sources = c.cfg, c.build, c.rules, c.pipelines, c.destinations, c.sources
	r.engine.mu.Unlock()
	r.engine.host.EndUnused()
	if len(c.pipelines) >= crowd && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(crowdedGC)
	}
	r.start()
	return nil
}

// elsewhere are the pipelines that poll another feed than before, by the names that they have now.
func (r *running) elsewhere(c *change) (names []string) {
	for name, was := range r.pipelines {
		now := c.pipelines[movedTo(c.cfg, store.Pipeline, name)]
		if now != nil && (now.config.Feed != was.config.Feed || now.config.Source != movedTo(c.cfg, store.Source, was.config.Source)) {
			names = append(names, now.config.Name)
		}
	}
	slices.Sort(names)
	return names
}

// movedTo is what a name has become.
func movedTo(cfg *config.Config, kind store.Kind, name string) string {
	for _, m := range cfg.Moves {
		if m.Kind == string(kind) && m.From == name {
			name = m.To
		}
	}
	return name
}

// reopen opens sources again that were closed for a configuration that is not used after all. Nothing that polls them runs.
func (r *running) reopen(closed []*opened) {
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	for _, s := range closed {
		s.source = r.engine.openSource(s.config)
		for _, p := range r.pipelines {
			if p.source == s {
				p.pipeline.Source = s.source
			}
		}
	}
}

// What thousands of pipelines keep while they wait says nothing of how much their polls throw away: from a crowd on, garbage may grow to
// less than what is kept, and not to as much again, before it is collected. Whoever sets GOGC knows better.
const (
	crowd     = 1000
	crowdedGC = 30 // percent
)

// compare makes what the configuration asks for and does not run yet, and starts nothing.
func (r *running) compare(cfg *config.Config) (c *change, err error) {
	c = &change{
		cfg: cfg, build: r.engine.builder(cfg),
		pipelines: map[string]*polling{}, destinations: map[string]*delivering{}, sources: map[string]*opened{},
	}
	defer func() {
		if err != nil {
			for id, d := range c.destinations {
				if r.destinations[id] != d {
					_ = d.to.Close() // it was never used
				}
			}
		}
	}()
	if c.rules, err = c.build.alerts(); err != nil {
		return c, err
	}
	moving := map[string]bool{} // what has the state has to give it back for the time of the move
	for _, m := range r.newMoves(cfg) {
		moving[keyOf(store.Kind(m.Kind), m.From)], moving[keyOf(store.Kind(m.Kind), m.To)] = true, true
	}
	for _, d := range cfg.Destinations {
		if now := r.destinations[d.ID()]; now != nil && sameDestination(now.config, d) && !moving[keyOf(store.Destination, d.ID())] {
			c.destinations[d.ID()] = now
			continue
		}
		to, err := destination.Open(d.Type, d.Config)
		if err != nil {
			return c, fmt.Errorf("destination %s: %w", d.ID(), err)
		}
		c.destinations[d.ID()] = &delivering{config: d, to: to}
	}
	for _, s := range cfg.Sources {
		if now := r.sources[s.ID()]; now != nil && sameSource(now.config, s) && !moving[keyOf(store.Source, s.ID())] {
			c.sources[s.ID()] = now
			continue
		}
		c.sources[s.ID()] = &opened{config: s}
	}
	for _, p := range cfg.Pipelines {
		sum, err := c.build.fingerprint(p)
		if err != nil {
			return c, err
		}
		now := r.pipelines[p.Name]
		if now != nil && now.fingerprint == sum && now.source == c.sources[p.Source] && !moving[keyOf(store.Pipeline, p.Name)] {
			c.pipelines[p.Name] = now
			continue
		}
		made := &polling{config: p, fingerprint: sum, source: c.sources[p.Source]}
		if err := r.makePipeline(c.build, made); err != nil {
			return c, err
		}
		c.pipelines[p.Name] = made
	}
	for name, p := range r.pipelines {
		if c.pipelines[name] != p {
			c.stopPipelines = append(c.stopPipelines, p)
		}
	}
	for id, d := range r.destinations {
		if c.destinations[id] != d {
			c.stopDestinations = append(c.stopDestinations, d)
		}
	}
	for id, s := range r.sources {
		if c.sources[id] != s {
			c.closeSources = append(c.closeSources, s)
		}
	}
	return c, nil
}

func sameDestination(a, b config.Destination) bool {
	return a.Parallel == b.Parallel && a.OnReject == b.OnReject && a.Timeout == b.Timeout && bytes.Equal(a.Config, b.Config)
}

func sameSource(a, b config.Source) bool {
	return a.Adapter == b.Adapter && a.Isolate == b.Isolate && bytes.Equal(a.Config, b.Config)
}

// makePipeline makes a pipeline but for its source, which may not be open yet.
func (r *running) makePipeline(b *builder, p *polling) error {
	p.worker = b.worker(p.config)
	c, err := b.pipelineIn(p.config, p.worker)
	if err != nil {
		return err
	}
	c.Claim, c.Limits, c.Names, c.Hurry, c.Large = r.state.Claim, r.state.Limits(), r.names(), r.hurry, r.large
	c.Meter, c.Tracer = r.engine.pipelineMeter(c.Name, c.SourceName, c.Delivers), r.engine.tracer
	c.Meter = pipelineMeter{c.Meter, r.meter.Pipeline(c.Name, c.SourceName)}
	p.pipeline, err = pipeline.New(c)
	return err
}

// start starts every loop that does not run and that nobody paused.
func (r *running) start() {
	for id, d := range r.destinations {
		if d.stop == nil && !r.isPaused(store.Destination, id) {
			r.startDestination(d)
		}
	}
	for name, p := range r.pipelines {
		if p.stop == nil && !r.isPaused(store.Pipeline, name) {
			r.startPipeline(p)
		}
	}
}

func (r *running) startPipeline(p *polling) {
	r.meter.Pipeline(p.config.Name, p.config.Source).Begins()
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.pipeline.Run(ctx)
	}()
	p.stop = func() {
		cancel()
		<-ended
	}
}

func (r *running) startDestination(d *delivering) {
	id := d.config.ID()
	loop := delivery.New(delivery.Config{
		Name: id, Parallel: d.config.Parallel, OnReject: delivery.OnReject(d.config.OnReject), Timeout: d.config.Timeout,
		Grace: r.engine.o.Grace, Destination: d.to, Logger: r.engine.o.Logger, Names: r.names(),
		Attach: func(ctx context.Context) (store.Outbox, error) { return r.state.Attach(ctx, id) },
		Meter:  destinationMeter{r.engine.destinationMeter(id), r.meter.Destination(id)}, Tracer: r.engine.tracer,
	})
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan error, 1)
	go func() { ended <- loop.Run(ctx) }()
	r.engine.mu.Lock()
	d.loop = loop
	r.engine.mu.Unlock()
	d.stop = func() error {
		cancel()
		return <-ended
	}
}

// stopAll stops loops, all at once, and waits for their ends. They can be started again.
func (r *running) stopAll(pipelines []*polling, destinations []*delivering) error {
	var stopping sync.WaitGroup
	errs := make([]error, len(destinations))
	for _, p := range pipelines {
		if p.stop != nil {
			stopping.Go(p.stop)
		}
	}
	for i, d := range destinations {
		if d.stop != nil {
			stopping.Go(func() { errs[i] = d.stop() })
		}
	}
	stopping.Wait()
	for _, p := range pipelines {
		p.stop = nil
	}
	for _, d := range destinations {
		d.stop = nil
	}
	return errors.Join(errs...)
}

// end stops everything.
func (r *running) end() error {
	r.stopAlerts()
	var pipelines []*polling
	var destinations []*delivering
	var closers []io.Closer
	sources := map[string]*host.Source{}
	for _, p := range r.pipelines {
		pipelines = append(pipelines, p)
	}
	for _, d := range r.destinations {
		destinations, closers = append(destinations, d), append(closers, d.to)
	}
	for id, s := range r.sources {
		sources[id] = s.source
	}
	errs := []error{r.stopAll(pipelines, destinations)}
	closeAll(r.ctx, sources)
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// rename moves state to the names that the moved blocks tell, while nothing has it. What was moved before stays.
func (r *running) rename(ctx context.Context, cfg *config.Config) error {
	var done []config.Move
	undo := func() {
		for _, m := range slices.Backward(done) {
			if _, back := r.state.Admin().Rename(context.WithoutCancel(ctx), store.Kind(m.Kind), m.To, m.From); back != nil {
				r.engine.o.Logger.Error("state that was moved to another name could not be moved back",
					"kind", m.Kind, "from", m.From, "to", m.To, "error", store.Text(back))
			}
		}
	}
	for _, m := range r.newMoves(cfg) {
		if m.Kind == string(store.Source) {
			r.engine.saved.moved(m.From)
		}
		moved, err := r.state.Admin().Rename(ctx, store.Kind(m.Kind), m.From, m.To)
		if err != nil {
			undo()
			if errors.Is(err, store.ErrOccupied) {
				return occupied(m)
			}
			return fmt.Errorf("moving the state of %s %s to %s: %w", m.Kind, m.From, m.To, err)
		}
		if moved {
			done = append(done, m)
		}
	}
	if err := r.loadPauses(ctx); err != nil { // which move with the state
		undo()
		return err
	}
	for _, m := range done {
		r.engine.o.Logger.Info("state was moved to another name", "kind", m.Kind, "from", m.From, "to", m.To)
	}
	return nil
}

// newMoves are the moves that are still to be made. Others are done, or there was nothing to move: state that came since belongs to a
// loop that runs.
func (r *running) newMoves(cfg *config.Config) []config.Move {
	return slices.DeleteFunc(slices.Clone(cfg.Moves), func(m config.Move) bool { return r.cfg != nil && slices.Contains(r.cfg.Moves, m) })
}

func (r *running) isPaused(kind store.Kind, name string) bool {
	_, paused := r.paused[keyOf(kind, name)]
	return paused
}

// keyOf is a name among names of several kinds.
func keyOf(kind store.Kind, name string) string { return string(kind) + " " + name }
