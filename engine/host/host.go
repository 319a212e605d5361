// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package host runs adapters: programs out of process, over go-plugin and gRPC. It starts one process per adapter, which
// serves all sources of that adapter, watches it, ends it when it hangs, starts it again with back-off, and opens its sources
// again. To the pipelines a Source is just there: while its process is not, calls fail with an error that is to be retried.
package host

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Adapter names a program.
type Adapter struct {
	Name   string
	Path   string // of an external program; empty: bundled with the engine
	SHA256 string // of the file at Path, hexadecimal; empty: not checked
	Memory int64  // MiB that a process of it may take; 0: half of what there is
}

// State keeps what adapters save, by the name of the source.
type State interface {
	LoadState(ctx context.Context, source string) ([]byte, error)
	SaveState(ctx context.Context, source string, state []byte) error // durable on nil
}

// Options is what a host needs.
type Options struct {
	Logger  *slog.Logger
	Bundled []string // command line of a bundled adapter, to which its name is added
	State   State    // nil: nothing can be saved
	// Attach has the loopback addresses of adapters, by name, that a person has started to debug them: their programs are not started.
	Attach map[string]netip.AddrPort
}

// Description is what an adapter tells about itself.
type Description struct {
	Source string `json:",omitempty"` // whose feeds and resources they are; empty: those of every source
	Info   sdk.Info
	Schema schema.Schema
}

// timings are how long things may take.
type timings struct {
	start       time.Duration // from the program's start to its first answer
	ping        time.Duration // between the answer to a ping and the next one
	pingTimeout time.Duration // generous: a machine under load must not lose its adapters
	settled     time.Duration // after a life that long, back-off begins anew
	stop        time.Duration // for ending by itself
	save        time.Duration // for keeping a source's state
	reopen      time.Duration // for the calls under way of a source that is to be opened again
	again       time.Duration // between attempts to attach an adapter
	remind      time.Duration // between warnings that an adapter is attached
}

var defaults = timings{
	start:       30 * time.Second,
	ping:        10 * time.Second,
	pingTimeout: 20 * time.Second,
	settled:     time.Minute,
	stop:        3 * time.Second,
	save:        30 * time.Second,
	reopen:      30 * time.Second,
	again:       500 * time.Millisecond,
	remind:      10 * time.Minute,
}

// Host runs adapters.
type Host struct {
	o Options
	t timings

	mu        sync.Mutex
	processes map[key]*process
	saved     map[string]*saved
	secrets   []string // of the whole configuration
	closed    bool
}

// key tells processes apart.
type key struct {
	adapter Adapter
	source  string // of an isolated source; else empty
}

// New makes a host. It starts nothing.
func New(o Options) *Host {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Host{o: o, t: defaults, processes: map[key]*process{}, saved: map[string]*saved{}}
}

var errClosed = sdk.Retryable("the engine is stopping")

// process gives the process of an adapter, which is not started by that.
func (h *Host) process(k key, sources int) *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.processes[k]
	if p == nil {
		p = newProcess(h, k)
		p.secrets.add(h.secrets)
		if h.closed {
			p.close()
		} else {
			h.processes[k] = p
		}
	}
	p.sources += sources
	return p
}

// release tells that a source is closed. A process without sources ends.
func (h *Host) release(p *process) {
	h.mu.Lock()
	p.sources--
	unused := p.sources == 0
	if unused && h.processes[p.key] == p {
		delete(h.processes, p.key)
	}
	h.mu.Unlock()
	if unused {
		p.close()
	}
}

// Hide keeps values out of what adapters say, wherever in their configuration they stand: a path that holds a secret is shown
// in errors without it.
func (h *Host) Hide(values []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.secrets = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return len(v) < minSecret })
	for _, p := range h.processes {
		p.secrets.add(h.secrets)
	}
}

// EndUnused ends the processes that were asked to describe themselves or to validate, and that no source uses.
func (h *Host) EndUnused() {
	h.mu.Lock()
	var unused []*process
	for k, p := range h.processes {
		if p.sources == 0 {
			unused = append(unused, p)
			delete(h.processes, k)
		}
	}
	h.mu.Unlock()
	for _, p := range unused {
		p.close()
	}
}

// Describe asks an adapter who it is and how it is configured. The adapter's process is started if need be.
func (h *Host) Describe(ctx context.Context, a Adapter) (d Description, err error) {
	i, err := h.process(key{adapter: a}, 0).running(ctx)
	if err != nil {
		return d, err
	}
	ctx, cancel := i.bounded(ctx)
	defer cancel()
	err = i.call(func() error {
		d.Info, d.Schema, err = i.client.Describe(ctx)
		return err
	})
	return d, err
}

// Validate has an adapter check a source's configuration, offline. An *sdk.Error with a Path blames an attribute.
func (h *Host) Validate(ctx context.Context, a Adapter, config []byte) error {
	p := h.process(key{adapter: a}, 0)
	i, err := p.running(ctx)
	if err != nil {
		return err
	}
	p.secrets.add(sensitive(i.schema, config))
	ctx, cancel := i.bounded(ctx)
	defer cancel()
	return p.secrets.inError(i.call(func() error { return i.client.Validate(ctx, config) }))
}

// Stderr gives the last lines that an adapter wrote to its stderr, across restarts. They may hold anything, record content
// included: they are for a person who may see it, and never for a log.
func (h *Host) Stderr(a Adapter) []byte {
	h.mu.Lock()
	p := h.processes[key{adapter: a}]
	h.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.stderr.Bytes()
}

// Close ends all processes and waits until they have ended. Sources that are open are not closed in the adapter: close them
// before.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	all := h.processes
	h.processes = map[key]*process{}
	h.mu.Unlock()
	var closing sync.WaitGroup
	for _, p := range all {
		closing.Go(p.close)
	}
	closing.Wait()
	return nil
}
