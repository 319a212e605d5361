// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

var _ operate.Engine = (*Engine)(nil)

func refusal(kind error, format string, args ...any) error {
	return &operate.Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Offline opens the state with nothing running on it, for work, which can call what operate.Engine lists. What needs a running engine
// is refused. Without a configuration (nil) nothing can be mapped.
func (e *Engine) Offline(ctx context.Context, cfg *config.Config, work func(context.Context) error) (err error) {
	state, err := badgerstore.Open(e.o.StateDir, badgerstore.Options{
		Existing: true, Logger: e.o.Logger, EncryptionKey: e.o.StateKey, KeepBytes: math.MaxInt64, // what history may take is the configuration's
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	r := newRunning(ctx, e, state)
	r.offline = true
	if cfg != nil {
		r.cfg, r.build = cfg, e.builder(cfg)
	}
	if err := r.loadPauses(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	e.running = r
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.running = nil
		e.mu.Unlock()
	}()
	return work(ctx)
}

// current is what works on the state now.
func (e *Engine) current() (*running, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.running == nil {
		return nil, refusal(operate.ErrNotRunning, "the engine is starting or stopping: try again")
	}
	return e.running, nil
}

// online is current for what needs loops.
func (e *Engine) online() (*running, error) {
	r, err := e.current()
	if err == nil && r.offline {
		err = refusal(operate.ErrNotRunning, "no engine is running on the state in %s, and this needs one: start it with rounds run", e.o.StateDir)
	}
	return r, err
}

// hold is current for what changes it: nothing else does until done.
func (e *Engine) hold() (r *running, done func(), err error) {
	if _, err = e.current(); err != nil { // its end may take as long as its deliveries
		return nil, nil, err
	}
	e.changing.Lock()
	if r, err = e.current(); err != nil {
		e.changing.Unlock()
		return nil, nil, err
	}
	return r, e.changing.Unlock, nil
}

// pipeline gives a pipeline that runs, or that a person paused.
func (r *running) pipeline(name string) (*polling, error) {
	r.engine.mu.RLock()
	defer r.engine.mu.RUnlock()
	if p := r.pipelines[name]; p != nil {
		return p, nil
	}
	return nil, refusal(operate.ErrNotFound, "there is no pipeline %q; there are: %s", name, listed(r.pipelines))
}

func listed[V any](m map[string]V) string {
	return cmp.Or(strings.Join(slices.Sorted(maps.Keys(m)), ", "), "none")
}

// loadPauses reads what persons paused.
func (r *running) loadPauses(ctx context.Context) error {
	pauses, err := r.state.Admin().Pauses(ctx)
	if err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	paused := map[string]store.Pause{}
	for _, p := range pauses {
		paused[keyOf(p.Kind, p.Name)] = p
	}
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	r.paused = paused
	return nil
}

// maxWhy is how long the reason of a pause may be, in bytes: it is told with each status.
const maxWhy = 1000

// Pause implements operate.Engine. It is kept before it is done, and what is kept is done, whether whoever wanted it is still there or not.
func (e *Engine) Pause(ctx context.Context, t operate.Target, why string) error {
	if len(why) > maxWhy {
		return refusal(operate.ErrInvalid, "the reason has more than %d bytes: give it in a sentence", maxWhy)
	}
	r, done, err := e.hold()
	if err != nil {
		return err
	}
	defer done()
	ctx = context.WithoutCancel(ctx)
	if err := r.known(ctx, t); err != nil {
		return err
	}
	if !r.isPaused(store.Kind(t.Kind), t.Name) {
		if err := r.state.Admin().Pause(ctx, store.Pause{Kind: store.Kind(t.Kind), Name: t.Name, Since: time.Now(), Why: why}); err != nil {
			return shown(err)
		}
		if err := r.loadPauses(ctx); err != nil {
			return shown(err)
		}
		e.o.Logger.Info("paused by a person", t.Kind, t.Name, "by", operate.Actor(ctx))
	}
	var left error
	if p := r.pipelines[t.Name]; t.Kind == operate.Pipeline && p != nil {
		left = r.stopAll([]*polling{p}, nil)
	}
	if d := r.destinations[t.Name]; t.Kind == operate.Destination && d != nil {
		left = r.stopAll(nil, []*delivering{d})
	}
	if left != nil {
		e.o.Logger.Warn("deliveries were cut off, and are made again", "error", left)
	}
	return nil
}

// Resume implements operate.Engine, as Pause does.
func (e *Engine) Resume(ctx context.Context, t operate.Target) error {
	r, done, err := e.hold()
	if err != nil {
		return err
	}
	defer done()
	ctx = context.WithoutCancel(ctx)
	if err := r.known(ctx, t); err != nil {
		return err
	}
	if err := r.state.Admin().Unpause(ctx, store.Kind(t.Kind), t.Name); err != nil {
		return shown(err)
	}
	if err := r.loadPauses(ctx); err != nil {
		return shown(err)
	}
	e.o.Logger.Info("resumed by a person", t.Kind, t.Name, "by", operate.Actor(ctx))
	if r.offline {
		return nil
	}
	if p := r.pipelines[t.Name]; t.Kind == operate.Pipeline && p != nil {
		if p.stop == nil {
			r.startPipeline(p)
			return nil
		}
		return p.gap()
	}
	if d := r.destinations[t.Name]; t.Kind == operate.Destination && d != nil {
		if d.stop == nil {
			r.startDestination(d)
		}
		d.loop.Resume()
	}
	return nil // what the configuration no longer names is only not paused any more
}

// gap refuses what a gap in the feed is in the way of.
func (p *polling) gap() error {
	if p.pipeline.Status().State != pipeline.Gap {
		return nil
	}
	return refusal(operate.ErrInvalid, "there is a gap in the feed of pipeline %s: say where it goes on, with "+
		"rounds state set %[1]s --start now|beginning|INSTANT", p.config.Name)
}

// known refuses names that nothing has.
func (r *running) known(ctx context.Context, t operate.Target) error {
	if t.Kind != operate.Pipeline && t.Kind != operate.Destination {
		return refusal(operate.ErrInvalid, "a pipeline or a destination can be paused and resumed: pipeline.NAME, destination.TYPE.NAME")
	}
	if r.pausedNow(store.Kind(t.Kind), t.Name) {
		return nil // whether the configuration still names it or not
	}
	switch {
	case t.Kind == operate.Destination:
		return r.destination(ctx, t.Name)
	case r.offline:
		return r.inState(ctx, t.Name)
	}
	_, err := r.pipeline(t.Name)
	return err
}

// destination refuses the name of a destination that neither is configured nor, when nothing runs, has anything in the state.
func (r *running) destination(ctx context.Context, name string) error {
	names := map[string]bool{}
	if r.offline {
		pending, err := r.state.Admin().Pending(ctx)
		if err != nil {
			return shown(err)
		}
		for name := range pending {
			names[name] = true
		}
	}
	r.engine.mu.RLock()
	for name := range r.destinations {
		names[name] = true
	}
	r.engine.mu.RUnlock()
	if names[name] {
		return nil
	}
	if r.offline {
		return refusal(operate.ErrNotFound, "nothing waits for a destination %q in the state in %s, only for: %s; to know others takes a running engine",
			name, r.engine.o.StateDir, listed(names))
	}
	return refusal(operate.ErrNotFound, "there is no destination %q; there are: %s", name, listed(names))
}

// inState refuses the name of a pipeline that neither runs nor has a position.
func (r *running) inState(ctx context.Context, pipeline string) error {
	if _, err := r.pipeline(pipeline); err == nil {
		return nil
	}
	positions, err := r.positions(ctx)
	if err != nil {
		return shown(err)
	}
	if _, ok := positions[pipeline]; !ok {
		return refusal(operate.ErrNotFound, "the state in %s knows no pipeline %q; it knows: %s", r.engine.o.StateDir, pipeline, listed(positions))
	}
	return nil
}

// Poll implements operate.Engine.
func (e *Engine) Poll(ctx context.Context, name string) (*operate.Polled, error) {
	r, err := e.online()
	if err != nil {
		return nil, err
	}
	p, err := r.pipeline(name)
	if err != nil {
		return nil, err
	}
	if r.pausedNow(store.Pipeline, name) {
		return nil, refusal(operate.ErrInvalid, "pipeline %s is paused: rounds resume pipeline.%s", name, name)
	}
	counts, err := p.pipeline.Poll(ctx)
	if err != nil {
		if gap := p.gap(); gap != nil {
			return nil, gap
		}
		return nil, err
	}
	polled := operate.Polled(counts)
	return &polled, nil
}

func (r *running) pausedNow(kind store.Kind, name string) bool {
	r.engine.mu.RLock()
	defer r.engine.mu.RUnlock()
	return r.isPaused(kind, name)
}

// Position implements operate.Engine.
func (e *Engine) Position(ctx context.Context, name string) (*operate.Position, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	if err := r.inState(ctx, name); err != nil {
		return nil, err
	}
	positions, err := r.positions(ctx)
	if err != nil {
		return nil, shown(err)
	}
	pos := positions[name]
	return &operate.Position{
		Pipeline: name, Started: pos.Started, Start: pos.Start, LastPoll: pos.Polled, Watermark: asJSON(pos.Watermark),
		HalfRead: len(pos.Cursor) > 0, Epoch: pos.Epoch,
	}, nil
}

// SetPosition implements operate.Engine, as Pause does.
func (e *Engine) SetPosition(ctx context.Context, name string, start time.Time) error {
	r, done, err := e.hold()
	if err != nil {
		return err
	}
	defer done()
	ctx = context.WithoutCancel(ctx)
	if err := r.inState(ctx, name); err != nil {
		return err
	}
	if p := r.pipelines[name]; p != nil && p.stop != nil {
		if err := r.stopAll([]*polling{p}, nil); err != nil {
			return err
		}
		defer r.startPipeline(p)
	}
	feed, err := r.state.Claim(ctx, name)
	if err != nil {
		return shown(err)
	}
	defer func() { _ = feed.Release(context.WithoutCancel(ctx)) }() // the next claim fences this one
	// The feed may have been reset: what a sequence's numbers meant before counts no more.
	pos := feed.Position()
	pos.Watermark, pos.Cursor, pos.Start, pos.Started = nil, nil, start, true
	pos.Epoch++
	if err := feed.Commit(ctx, store.Batch{Base: pos.Commit, Position: &pos}); err != nil {
		return shown(err)
	}
	e.o.Logger.Info("a person set where the pipeline goes on", "pipeline", name, "start", start, "by", operate.Actor(ctx))
	return nil
}

// Backup implements operate.Engine.
func (e *Engine) Backup(ctx context.Context, w io.Writer) error {
	r, err := e.current()
	if err != nil {
		return err
	}
	e.o.Logger.Info("the state is backed up", "by", operate.Actor(ctx))
	return r.state.Admin().Backup(ctx, w)
}

// Adapters implements operate.Engine.
func (e *Engine) Adapters(context.Context) ([]operate.Adapter, error) {
	if _, err := e.online(); err != nil {
		return nil, err
	}
	list := []operate.Adapter{}
	for _, p := range e.host.Processes() {
		a := operate.Adapter{
			Name: p.Adapter.Name, Path: p.Adapter.Path, Isolated: p.Isolated, Sources: p.Sources, PID: p.PID, Since: p.Since, Starts: p.Starts,
			Memory: p.Memory, Why: p.Why,
		}
		if p.Attached.IsValid() {
			a.Attached = p.Attached.String()
		}
		list = append(list, a)
	}
	return list, nil
}

// Status implements operate.Engine.
func (e *Engine) Status(ctx context.Context) (*operate.Status, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	admin := r.state.Admin()
	positions, err := r.positions(ctx)
	if err != nil {
		return nil, shown(err)
	}
	pending, err := admin.Pending(ctx)
	if err != nil {
		return nil, shown(err)
	}
	dead, err := admin.DeadCount(ctx)
	if err != nil {
		return nil, shown(err)
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	st := &operate.Status{
		Running: !r.offline, StateDir: e.o.StateDir, Reload: e.reloaded,
		Pipelines: []operate.PipelineStatus{}, Sources: []operate.SourceStatus{}, Destinations: []operate.DestinationStatus{},
	}
	if !r.offline {
		st.Version, st.PID, st.Started = e.o.Version, os.Getpid(), e.began
		for _, name := range slices.Sorted(maps.Keys(e.o.Attach)) {
			st.Attached = append(st.Attached, operate.Attached{Adapter: name, Address: e.o.Attach[name].String()})
		}
	}
	for _, p := range r.pipelines {
		st.Pipelines = append(st.Pipelines, r.pipelineStatus(p, positions[p.config.Name], dead[p.config.Name]))
	}
	for _, pause := range r.paused { // a pause is told of even where it is all that there is
		if _, known := positions[pause.Name]; pause.Kind == store.Pipeline && !known {
			positions[pause.Name] = store.Position{}
		}
		if _, known := pending[pause.Name]; pause.Kind == store.Destination && !known {
			pending[pause.Name] = store.Depth{}
		}
	}
	for name, pos := range positions {
		if r.pipelines[name] == nil {
			p := operate.PipelineStatus{Name: name, LastPoll: pos.Polled, DeadLetters: dead[name]}
			p.State, p.Why, p.Since = r.without(store.Pipeline, name)
			st.Pipelines = append(st.Pipelines, p)
		}
	}
	for _, s := range r.sources {
		st.Sources = append(st.Sources, sourceStatus(s))
	}
	for id, d := range r.destinations {
		st.Destinations = append(st.Destinations, r.destinationStatus(d, pending[id]))
	}
	for id, depth := range pending {
		if r.destinations[id] == nil && (depth.Count > 0 || r.isPaused(store.Destination, id)) {
			d := operate.DestinationStatus{Name: id, Waiting: depth.Count, Oldest: depth.Oldest}
			d.State, d.Why, d.Since = r.without(store.Destination, id)
			st.Destinations = append(st.Destinations, d)
		}
	}
	slices.SortFunc(st.Pipelines, func(a, b operate.PipelineStatus) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(st.Sources, func(a, b operate.SourceStatus) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(st.Destinations, func(a, b operate.DestinationStatus) int { return cmp.Compare(a.Name, b.Name) })
	return st, nil
}

// without is the state of what the configuration, if there is one, does not name.
func (r *running) without(kind store.Kind, name string) (state, why string, since time.Time) {
	pause, paused := r.paused[keyOf(kind, name)]
	switch {
	case !r.offline:
		state = "orphan"
	case paused:
		state = "paused"
	default:
		state = "stopped"
	}
	return state, pause.Why, pause.Since
}

func (r *running) pipelineStatus(p *polling, pos store.Position, dead int) operate.PipelineStatus {
	s := p.pipeline.Status()
	out := operate.PipelineStatus{
		Name: p.config.Name, Source: p.config.Source, Feed: p.config.Feed, Every: p.config.Every.String(), State: string(s.State), Why: s.Why,
		Since: s.Since, LastPoll: pos.Polled, NextPoll: s.Next, Failures: s.Failures, DeadLetters: dead,
	}
	if p.worker != nil {
		w := operate.Worker(p.worker.Status())
		out.Worker = &w
	}
	if pause, paused := r.paused[keyOf(store.Pipeline, p.config.Name)]; paused {
		out.State, out.Why, out.Since, out.NextPoll = "paused", pause.Why, pause.Since, time.Time{}
	}
	return out
}

func sourceStatus(s *opened) operate.SourceStatus {
	out := operate.SourceStatus{Name: s.config.ID(), Adapter: s.config.Adapter.Name, State: "unused"}
	switch open, why := s.source.Status(); {
	case open:
		out.State = "open"
	case why != "":
		out.State, out.Why = "not_ready", why
	}
	return out
}

func (r *running) destinationStatus(d *delivering, depth store.Depth) operate.DestinationStatus {
	out := operate.DestinationStatus{Name: d.config.ID(), State: "stopped", Waiting: depth.Count, Oldest: depth.Oldest}
	if d.loop != nil {
		s := d.loop.Status()
		out.State, out.Why, out.Since, out.InFlight, out.Held, out.Delivered = string(s.State), s.Why, s.Since, s.InFlight, s.Held, s.Delivered
	}
	if pause, paused := r.paused[keyOf(store.Destination, d.config.ID())]; paused {
		out.State, out.Why, out.Since = "paused", pause.Why, pause.Since
	}
	return out
}

// Restore makes the state of a backup, in a directory that is new or empty.
func (e *Engine) Restore(r io.Reader) error {
	return badgerstore.Restore(e.o.StateDir, r, badgerstore.Options{Logger: e.o.Logger, EncryptionKey: e.o.StateKey})
}

// Rekey lets the state, which no engine has open, be opened by another key from now on.
func (e *Engine) Rekey(to []byte) error { return badgerstore.Rekey(e.o.StateDir, e.o.StateKey, to) }
