// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"sync"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

// keeper is what pipelines need of a state.
type keeper interface {
	Claim(ctx context.Context, pipeline string) (store.Feed, error)
	Limits() store.Limits
	Secret() []byte
}

// planned is the state of a plan: what is stored is read, under the names that the moved blocks will give it, and what is
// written stays in memory.
type planned struct {
	stored *badgerstore.Store // nil: there is none
	moved  map[string]string  // kind and name → the name that it is still stored under
	secret []byte
	drafts map[string]*draft // by pipeline

	mu     sync.Mutex
	saved  map[string][]byte // by source
	loaded map[string][]byte
}

var (
	_ keeper     = (*planned)(nil)
	_ host.State = (*planned)(nil)
)

// unstored is the state of a plan beneath which there is none.
func unstored() *planned {
	p := &planned{moved: map[string]string{}, drafts: map[string]*draft{}, saved: map[string][]byte{}, loaded: map[string][]byte{}, secret: make([]byte, 32)}
	_, _ = rand.Read(p.secret) // never fails
	return p
}

// openPlanned opens the state for reading. An engine that runs on it has the only lock there is, and to plan without what it
// knows would call everything new, so then it is an error.
func (e *Engine) openPlanned(ctx context.Context, cfg *config.Config) (*planned, error) {
	p := unstored()
	if !badgerstore.Exists(e.o.StateDir) {
		return p, nil
	}
	var err error
	if p.stored, err = badgerstore.Open(e.o.StateDir, badgerstore.Options{
		Existing: true, ReadOnly: true, Logger: e.o.Logger, EncryptionKey: e.o.StateKey,
	}); err != nil {
		return nil, err
	}
	p.secret = p.stored.Secret()
	for _, m := range cfg.Moves {
		if err = p.move(ctx, m); err != nil {
			_ = p.close() // it was only read
			return nil, err
		}
	}
	return p, nil
}

// move does in memory what rename does to the state.
func (p *planned) move(ctx context.Context, m config.Move) error {
	var kept func(name string) (bool, error)
	switch store.Kind(m.Kind) {
	case store.Pipeline:
		positions, err := p.stored.Admin().Positions(ctx)
		if err != nil {
			return err
		}
		kept = func(name string) (bool, error) {
			_, known := positions[name]
			return known, nil
		}
	case store.Source:
		kept = func(name string) (bool, error) {
			saved, err := p.stored.LoadState(ctx, name)
			return saved != nil, err
		}
	default:
		return nil // a plan has no use for destinations
	}
	name := p.storedName(store.Kind(m.Kind), m.From) // another, if an earlier move was to From
	from, err := kept(name)
	if err != nil || !from {
		return err
	}
	switch to, err := kept(m.To); {
	case err != nil:
		return err
	case to:
		return occupied(m)
	}
	delete(p.moved, m.Kind+" "+m.From)
	p.moved[m.Kind+" "+m.To] = name
	return nil
}

func (p *planned) storedName(kind store.Kind, name string) string {
	if from, moved := p.moved[string(kind)+" "+name]; moved {
		return from
	}
	return name
}

// Claim implements keeper.
func (p *planned) Claim(ctx context.Context, name string) (store.Feed, error) {
	var stored store.Feed
	if p.stored != nil {
		var err error
		if stored, err = p.stored.Claim(ctx, p.storedName(store.Pipeline, name)); err != nil {
			return nil, err
		}
	}
	p.drafts[name] = newDraft(stored, p.Limits())
	return p.drafts[name], nil
}

// Limits implements keeper. They decide what is too large, so without a state they are those that it would have.
func (p *planned) Limits() store.Limits {
	if p.stored == nil {
		return badgerstore.Limits()
	}
	return p.stored.Limits()
}

// Secret implements keeper.
func (p *planned) Secret() []byte { return slices.Clone(p.secret) }

// name is what logs call a record; without a state it would be another each time, and is empty.
func (p *planned) name(pipeline string, ref sdk.Ref) string {
	if p.stored == nil {
		return ""
	}
	return record.Name(p.secret, pipeline, ref)
}

// LoadState implements host.State.
func (p *planned) LoadState(ctx context.Context, source string) ([]byte, error) {
	p.mu.Lock()
	saved, ok := p.saved[source]
	p.mu.Unlock()
	if ok || p.stored == nil {
		return slices.Clone(saved), nil
	}
	loaded, err := p.stored.LoadState(ctx, p.storedName(store.Source, source))
	p.mu.Lock()
	p.loaded[source] = loaded
	p.mu.Unlock()
	return loaded, err
}

// SaveState implements host.State.
func (p *planned) SaveState(_ context.Context, source string, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saved[source] = slices.Clone(data)
	return nil
}

// hasSaved says whether a source's adapter saved something that matters to the next run.
func (p *planned) hasSaved(source string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	saved, ok := p.saved[source]
	return ok && !bytes.Equal(withoutBudget(saved), withoutBudget(p.loaded[source]))
}

// withoutBudget is what a source saved but for the count of its calls, which those of a plan are missing in.
func withoutBudget(saved []byte) (others []byte) {
	keep := func(_ context.Context, stored []byte) error {
		others = stored
		return nil
	}
	_ = sdk.NewState(saved, keep).Section("budget").Save(context.Background(), nil) // keep has no errors
	return others
}

func (p *planned) close() error {
	if p.stored == nil {
		return nil
	}
	return p.stored.Close()
}
