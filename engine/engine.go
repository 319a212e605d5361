// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package engine builds everything from a configuration, starts it and stops it. The rooms beneath it know each other through
// small interfaces only; here they are put together.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/jsonschema"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// Options is what an engine needs beside its configuration.
type Options struct {
	StateDir string        // of rows, watermarks, outbox, dead letters; made when missing
	Bundled  []string      // command line of a bundled adapter, to which its name is added
	Adapters []string      // names of the bundled adapters
	Grace    time.Duration // how long sends that are on their way may go on after a stop; zero: 10 s
	Logger   *slog.Logger
}

// Overdue polls start at this rate, so that a thousand pipelines after a long stop don't all poll in one second.
const hurryPerSecond = 50

// Engine holds what outlives a configuration: the adapters' processes.
type Engine struct {
	o     Options
	host  *host.Host
	saved *savedState
	observed
}

// New makes an engine. Nothing is started and nothing is written yet.
func New(o Options) *Engine {
	saved := new(savedState)
	return &Engine{o: o, saved: saved, host: host.New(host.Options{Logger: o.Logger, Bundled: o.Bundled, State: saved})}
}

// Close ends the adapters' processes.
func (e *Engine) Close() error { return e.host.Close() }

// Run works on a configuration until ctx is done. Then polling ends at once, deliveries that are on their way may end within
// Options.Grace, and the rest stays in the state for the next run.
func (e *Engine) Run(ctx context.Context, cfg *config.Config) (err error) {
	state, err := badgerstore.Open(e.o.StateDir, badgerstore.Options{Logger: e.o.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	e.saved.set(state)
	e.o.Logger.Warn("the state is not encrypted on disk; it holds patients' data, so keep it on an encrypted volume", "directory", e.o.StateDir)
	if err := e.rename(ctx, state, cfg); err != nil {
		return err
	}
	if err := e.reportOrphans(ctx, state, cfg); err != nil {
		return err
	}

	loops, closers, err := e.destinations(state, cfg)
	defer func() {
		for _, c := range closers {
			err = errors.Join(err, c.Close())
		}
	}()
	if err != nil {
		return err
	}
	sources := e.open(cfg)
	defer closeAll(ctx, sources)
	e.host.EndUnused()
	pipelines, err := e.pipelines(state, cfg, func(id string) pipeline.Source { return sources[id] })
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-state.Failed(): // to go on would be to do nothing, unnoticed; whoever watches over the process starts it again
			e.o.Logger.Error("the state takes no more writes; the engine ends, to be started again", "directory", e.o.StateDir)
			stop()
		case <-ctx.Done():
		}
	}()
	var polling, delivering sync.WaitGroup
	errs := make([]error, len(loops))
	for i, l := range loops {
		delivering.Go(func() { errs[i] = l.Run(ctx) })
	}
	for _, p := range pipelines {
		polling.Go(func() { p.Run(ctx) })
	}
	e.o.Logger.Info("running", "pipelines", len(pipelines), "sources", len(sources), "destinations", len(loops))
	defer context.AfterFunc(ctx, func() {
		e.o.Logger.Info("stopping: no more polls; deliveries that are on their way may end, the rest is kept for the next run")
	})()
	polling.Wait()
	delivering.Wait()
	select {
	case <-state.Failed():
		errs = append(errs, fmt.Errorf("a write of the state in %s failed; nothing is lost: look at the disk, and start again", e.o.StateDir))
	default:
	}
	return errors.Join(errs...)
}

// rename moves state to the names that the moved blocks tell, before anything is claimed. What was moved before stays.
func (e *Engine) rename(ctx context.Context, state store.Store, cfg *config.Config) error {
	for _, m := range cfg.Moves {
		moved, err := state.Admin().Rename(ctx, store.Kind(m.Kind), m.From, m.To)
		switch {
		case errors.Is(err, store.ErrOccupied):
			return occupied(m)
		case err != nil:
			return fmt.Errorf("moving the state of %s %s to %s: %w", m.Kind, m.From, m.To, err)
		case moved:
			e.o.Logger.Info("state was moved to another name", "kind", m.Kind, "from", m.From, "to", m.To)
		}
	}
	return nil
}

func occupied(m config.Move) error {
	return fmt.Errorf("%s %s can't take over the state of %s, since it has its own by now: without the moved block it goes on with its own, "+
		"and that of %s is kept", m.Kind, m.To, m.From, m.From)
}

// reportOrphans tells of state that the configuration no longer names. It is kept: names are identity, and a name that was
// mistyped or is gone for a day must not cost a watermark.
func (e *Engine) reportOrphans(ctx context.Context, state store.Store, cfg *config.Config) error {
	positions, err := state.Admin().Positions(ctx)
	if err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	pending, err := state.Admin().Pending(ctx)
	if err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	for _, p := range cfg.Pipelines {
		delete(positions, p.Name)
	}
	for _, d := range cfg.Destinations {
		delete(pending, d.ID())
	}
	maps.DeleteFunc(pending, func(_ string, d store.Depth) bool { return d.Count == 0 })
	if len(positions) > 0 {
		e.o.Logger.Warn("state is kept for pipelines that the configuration does not name",
			"pipelines", strings.Join(slices.Sorted(maps.Keys(positions)), ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(pending)) {
		e.o.Logger.Warn("notifications wait for a destination that the configuration does not name", "destination", name, "count", pending[name])
	}
	return nil
}

// destinations makes a delivery loop for each destination.
func (e *Engine) destinations(state store.Store, cfg *config.Config) ([]*delivery.Loop, []interface{ Close() error }, error) {
	var loops []*delivery.Loop
	var closers []interface{ Close() error }
	for _, d := range cfg.Destinations {
		to, err := destination.Open(d.Type, d.Config)
		if err != nil {
			return loops, closers, fmt.Errorf("destination %s: %w", d.ID(), err)
		}
		closers = append(closers, to)
		loops = append(loops, delivery.New(delivery.Config{
			Name: d.ID(), Parallel: d.Parallel, OnReject: delivery.OnReject(d.OnReject), Timeout: d.Timeout, Grace: e.o.Grace, Destination: to,
			Attach: func(ctx context.Context) (store.Outbox, error) { return state.Attach(ctx, d.ID()) },
			Logger: e.o.Logger, Secret: state.Secret(), Meter: e.destinationMeter(d.ID()), Tracer: e.tracer,
		}))
	}
	return loops, closers, nil
}

// open hands every source to the host, which opens it when it is first used.
func (e *Engine) open(cfg *config.Config) map[string]*host.Source {
	e.host.Hide(cfg.Secrets)
	sources := make(map[string]*host.Source, len(cfg.Sources))
	for _, s := range cfg.Sources {
		sources[s.ID()] = e.host.Open(host.Adapter(s.Adapter), s.ID(), s.Config, s.Isolate)
	}
	return sources
}

// closeAll lets the adapters release what they hold. A source that does not close in time ends with its process.
func closeAll(ctx context.Context, sources map[string]*host.Source) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var closing sync.WaitGroup
	for _, s := range sources {
		closing.Go(func() { _ = s.Close(ctx) })
	}
	closing.Wait()
}

// keeper is what pipelines need of a state.
type keeper interface {
	Claim(ctx context.Context, pipeline string) (store.Feed, error)
	Limits() store.Limits
	Secret() []byte
}

// pipelines makes the pipelines of a configuration; source gives them each the source of an ID.
func (e *Engine) pipelines(state keeper, cfg *config.Config, source func(id string) pipeline.Source) ([]*pipeline.Pipeline, error) {
	hurry := rate.NewLimiter(hurryPerSecond, hurryPerSecond)
	var pipelines []*pipeline.Pipeline
	for _, p := range cfg.Pipelines {
		c, err := e.pipelineConfig(cfg, p)
		if err != nil {
			return nil, err
		}
		c.Source, c.Claim, c.Limits, c.Secret, c.Hurry = source(p.Source), state.Claim, state.Limits(), state.Secret(), hurry
		c.Meter, c.Tracer = e.pipelineMeter(p.Name, p.Source, c.Delivers), e.tracer
		running, err := pipeline.New(c)
		if err != nil {
			return nil, err
		}
		pipelines = append(pipelines, running)
	}
	return pipelines, nil
}

// pipelineConfig is what the configuration says of a pipeline, its scripts compiled. What it works on is not set.
func (e *Engine) pipelineConfig(cfg *config.Config, p config.Pipeline) (pipeline.Config, error) {
	onReject := map[string]string{}
	for _, d := range cfg.Destinations {
		onReject[d.ID()] = d.OnReject
	}
	c := pipeline.Config{
		Name: p.Name, SourceName: p.Source, Feed: p.Feed, Every: p.Every, Overlap: p.Overlap, Timeout: p.Timeout, Start: pipeline.Start(p.Start),
		Confirm: p.Confirm, MaxDeleted: p.MaxDeleted, KeepPrevious: p.KeepPrevious, Parallel: runtime.GOMAXPROCS(0), Logger: e.o.Logger,
	}
	if x := p.Expand; x != nil {
		c.Expand = &pipeline.Expand{
			Name: x.Name, Resource: x.Resource, ID: x.ID, Items: x.Items, Key: x.Key, Version: x.Version, Time: x.Time,
		}
	}
	for _, f := range p.Fetches {
		c.Fetches = append(c.Fetches, fetchOf(f))
	}
	for _, d := range p.Delivers {
		o := script.Options{Root: cfg.Dir, Tables: cfg.Tables, TableDefaults: cfg.TableDefaults}
		var err error
		if o.Check, err = checkWith(d.Schema, cfg.Dir); err != nil {
			return c, fmt.Errorf("pipeline %s, deliver %q: %w", p.Name, d.Name, err)
		}
		mapping, err := script.Compile(d.Script, o)
		if err != nil {
			return c, fmt.Errorf("pipeline %s, deliver %q: %w", p.Name, d.Name, err)
		}
		to := pipeline.Deliver{
			Name: d.Name, Destination: d.Destination, Map: mapWith(mapping), KeepRecord: onReject[d.Destination] == string(delivery.DeadLetter),
		}
		if d.Filter != nil {
			to.Filter = d.Filter
		}
		if d.OrderBy != nil {
			to.OrderBy = d.OrderBy
		}
		c.Delivers = append(c.Delivers, to)
	}
	return c, nil
}

// fetchOf hands over a fetch; an expression that is not given must not become an interface that is not nil.
func fetchOf(f config.Fetch) pipeline.Fetch {
	out := pipeline.Fetch{
		Name: f.Name, Resource: f.Resource, Optional: f.Optional, OnMissing: pipeline.OnMissing(f.OnMissing), Cache: f.Cache, Needs: f.Needs,
	}
	if f.ID != nil {
		out.ID = f.ID
	}
	if f.ForEach != nil {
		out.ForEach = f.ForEach
	}
	if f.When != nil {
		out.When = f.When
	}
	return out
}

// mapWith lets a pipeline map with a script.
func mapWith(s *script.Script) func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) {
	return func(ctx context.Context, r *record.Record, c pipeline.MapContext) ([]byte, error) {
		body, err := s.Map(ctx, r, script.Context(c))
		var failed *script.Error
		if errors.As(err, &failed) {
			return nil, &pipeline.MapError{Text: failed.Error(), Detail: failed.Detail, TimedOut: failed.TimedOut, Abandoned: failed.Abandoned}
		}
		return body, err
	}
}

// checkWith lets a script's result be checked by a schema, if there is one.
func checkWith(name, dir string) (func([]byte, func(string) bool) *script.Refusal, error) {
	if name == "" {
		return nil, nil
	}
	schema, err := jsonschema.Compile(name, dir)
	if err != nil {
		return nil, err
	}
	return func(body []byte, authors func(string) bool) *script.Refusal {
		if invalid := schema.Check(body, authors); invalid != nil {
			return &script.Refusal{Text: invalid.Text, Detail: invalid.Detail}
		}
		return nil
	}, nil
}

// savedState lets the adapters, whose processes may start before the state is open, save into it once it is.
type savedState struct {
	mu    sync.Mutex
	state host.State
}

func (s *savedState) set(state host.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

func (s *savedState) get() (host.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return nil, errors.New("the state is not open")
	}
	return s.state, nil
}

// LoadState implements host.State.
func (s *savedState) LoadState(ctx context.Context, source string) ([]byte, error) {
	state, err := s.get()
	if err != nil {
		return nil, err
	}
	return state.LoadState(ctx, source)
}

// SaveState implements host.State.
func (s *savedState) SaveState(ctx context.Context, source string, data []byte) error {
	state, err := s.get()
	if err != nil {
		return err
	}
	return state.SaveState(ctx, source, data)
}
