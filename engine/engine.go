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
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/engine/web"
)

// Options is what an engine needs beside its configuration.
type Options struct {
	StateDir string        // of rows, watermarks, outbox, dead letters; made when missing
	StateKey []byte        // encrypts the state: 16, 24 or 32 bytes, the same ever after; empty: it is not encrypted
	Bundled  []string      // command line of a bundled adapter, to which its name is added
	Adapters []string      // names of the bundled adapters
	Worker   []string      // command line of a worker, which isolated mappings run in
	Grace    time.Duration // how long sends that are on their way may go on after a stop; zero: 10 s
	Logger   *slog.Logger
	Version  string // of the program, for its status
	// Attach has the loopback addresses of adapters, by name, that a person has started to debug them.
	Attach map[string]netip.AddrPort
}

// hurryEvery is how far apart overdue polls start, so that a thousand pipelines after a long stop don't all poll in one second.
const hurryEvery = time.Second / 50

// hurry gives overdue polls their turns, one after another.
type hurry struct {
	mu   sync.Mutex
	next time.Time
}

// Turn implements pipeline.Limiter.
func (h *hurry) Turn(before time.Time) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	turn := time.Now()
	if turn.Before(h.next) {
		turn = h.next
	}
	if !turn.Before(before) {
		return time.Time{}, false
	}
	h.next = turn.Add(hurryEvery)
	return turn, true
}

// largeAtOnce is how many pipelines may work on answers of more than sdk.ModestAnswer at a time: one for each GiB that Go's memory limit
// leaves to the engine.
func largeAtOnce() int { return int(min(max(1, debug.SetMemoryLimit(-1)>>30), 16)) }

// Engine holds what outlives a configuration: the adapters' processes, and while it runs the state and the loops.
type Engine struct {
	o     Options
	host  *host.Host
	saved *savedState
	began time.Time
	observed
	logRefs bool

	parsing sync.Mutex // held while a configuration is read
	parsed  config.Parsed

	reloading sync.Mutex // held from the reading of a configuration until it runs; before changing
	changing  sync.Mutex // held while loops are started and stopped; before mu
	mu        sync.RWMutex
	running   *running // nil: it does not run
	reloaded  *operate.Reloaded
	loaded    time.Time // when the configuration that runs was read

	listening *listening // nil: it answers nobody over HTTP
	samples   *web.Samples
	sampling  bool // samples are taken, as from when there was a page
	sampler   sync.WaitGroup
}

// New makes an engine. Nothing is started and nothing is written yet.
func New(o Options) *Engine {
	saved := &savedState{away: map[string]bool{}}
	return &Engine{
		o: o, saved: saved, host: host.New(host.Options{Logger: o.Logger, Bundled: o.Bundled, State: saved, Attach: o.Attach}), began: time.Now(),
		samples: web.NewSamples(),
	}
}

// LogRefs lets the log call records by kind and id, where it has their names else: for synthetic data only. It comes before Run.
func (e *Engine) LogRefs() { e.logRefs = true }

// Close ends the adapters' processes.
func (e *Engine) Close() error { return e.host.Close() }

// Run works on a configuration, or on what Reload puts in its place, until ctx is done. Then polling ends at once, deliveries that
// are on their way may end within Options.Grace, and the rest stays in the state for the next run. Read reads the configuration again,
// for Reload, with an error that shows every mistake; nil: it can't be.
func (e *Engine) Run(ctx context.Context, cfg *config.Config, read func(context.Context) (*config.Config, error)) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		e.mute(ctx)
	}()
	if err := e.speak(ctx, cfg.Web); err != nil { // first, as health is asked for while the state is opened
		return err
	}
	if e.logRefs {
		e.o.Logger.Warn("THIS LOG NAMES RECORDS BY THEIR IDS (--log-refs): that is for synthetic data only; with records of patients, stop, and delete this log")
	}
	state, err := badgerstore.Open(e.o.StateDir, badgerstore.Options{
		Logger: e.o.Logger, EncryptionKey: e.o.StateKey, Keep: cfg.History.Keep, KeepBytes: cfg.History.Bytes,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	e.saved.set(state)
	if len(e.o.StateKey) == 0 {
		e.o.Logger.Warn("the state is not encrypted on disk; it holds patients' data, so keep it on an encrypted volume", "directory", e.o.StateDir)
	}
	r := newRunning(ctx, e, state)
	r.read = read
	admin, err := operate.Serve(e, e.o.StateDir) // until it has begun, and once it ends, it says so
	if err != nil {
		e.o.Logger.Warn("no command can reach this engine", "error", err)
	} else {
		defer func() { err = errors.Join(err, admin.Close()) }()
	}
	if err := e.begin(ctx, r, cfg); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil // it was stopped while it began, which is no failure
		}
		return errors.Join(err, r.end())
	}
	e.o.Logger.Info("running", "pipelines", len(cfg.Pipelines), "sources", len(cfg.Sources), "destinations", len(cfg.Destinations))
	e.watch(ctx)
	var broken error
	select {
	case <-ctx.Done():
	case <-state.Failed(): // to go on would be to do nothing, unnoticed; whoever watches over the process starts it again
		e.o.Logger.Error("the state takes no more writes; the engine ends, to be started again", "directory", e.o.StateDir)
		broken = takesNoMore(e.o.StateDir, state.Why())
	}
	e.o.Logger.Info("stopping: no more polls; deliveries that are on their way may end, the rest is kept for the next run")
	stop()
	e.mu.Lock()
	e.running = nil
	e.mu.Unlock()
	e.mute(ctx)
	e.changing.Lock()
	defer e.changing.Unlock()
	return errors.Join(r.end(), broken)
}

// takesNoMore says what a person can do about a state that takes no more writes. Of the cause it tells what the system said.
func takesNoMore(dir string, why error) error {
	if errors.Is(why, badgerstore.ErrGone) {
		return fmt.Errorf("%w: put it back, or restore a backup, before you start again; else all begins anew", why)
	}
	said := ""
	if no := syscall.Errno(0); errors.As(why, &no) {
		said = " (" + no.Error() + ")"
	}
	return fmt.Errorf("a write of the state in %s failed%s; nothing is lost: look at the disk, and start again", dir, said)
}

// begin starts what a configuration asks for.
func (e *Engine) begin(ctx context.Context, r *running, cfg *config.Config) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	if err := r.loadPauses(ctx); err != nil {
		return err
	}
	if err := r.apply(ctx, cfg); err != nil {
		return err
	}
	if err := e.reportOrphans(ctx, r.state, cfg); err != nil {
		return err
	}
	e.mu.Lock()
	e.running, e.loaded = r, time.Now()
	e.mu.Unlock()
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
	delete(positions, alert.Owner)
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
		e.o.Logger.Warn("notifications wait for a destination that the configuration does not name", "destination", name, "count", pending[name].Count)
	}
	return nil
}

// openSource hands a source to the host, which opens it when it is first used.
func (e *Engine) openSource(s config.Source) *host.Source {
	e.saved.opened(s.ID())
	return e.host.Open(host.Adapter(s.Adapter), s.ID(), s.Config, s.Isolate)
}

// open hands every source of a configuration to the host.
func (e *Engine) open(cfg *config.Config) map[string]*host.Source {
	e.host.Hide(cfg.Secrets)
	sources := make(map[string]*host.Source, len(cfg.Sources))
	for _, s := range cfg.Sources {
		sources[s.ID()] = e.openSource(s)
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

// savedState lets the adapters, whose processes may start before the state is open, save into it once it is.
type savedState struct {
	mu    sync.Mutex
	state host.State
	away  map[string]bool // names whose state is under another by now
}

// moved refuses what is yet to be saved under a name, until a source of that name is opened.
func (s *savedState) moved(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[name] = true
}

func (s *savedState) opened(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.away, name)
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
	s.mu.Lock()
	if s.away[source] { // its adapter took too long to close
		err = errors.New("the source has another name by now")
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return state.SaveState(ctx, source, data)
}
