// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"sync"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// An answer takes several times its size in memory while it is read and worked off. Those that are large are so one after the other,
// over all pipelines: an answer that turns out to be large is refused unread, and asked for again in its turn. A pipeline whose
// answers are large asks in its turn from then on.
type turn struct {
	mu    sync.Mutex
	held  bool
	large bool // the last page, or something that was fetched for it
}

// call makes a call to the source within the pipeline's time limit.
func (p *Pipeline) call(ctx context.Context, do func(context.Context) error) error {
	within := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, p.Timeout)
		defer cancel()
		return do(ctx)
	}
	p.turn.mu.Lock()
	free := p.Large == nil || p.turn.held
	p.turn.mu.Unlock()
	if free {
		return within(ctx)
	}
	err := within(sdk.Modest(ctx))
	if !errors.Is(err, sdk.ErrTooLarge) {
		return err
	}
	p.log.Info("an answer is large; it is asked for again in its turn", "over_bytes", sdk.ModestAnswer)
	if err := p.takeTurn(ctx); err != nil {
		return err
	}
	return within(ctx)
}

// takeTurn waits until it is this pipeline's turn. Whoever has it gives it back when its page is worked off.
func (p *Pipeline) takeTurn(ctx context.Context) error {
	p.turn.mu.Lock() // one fetch at a time waits
	defer p.turn.mu.Unlock()
	p.turn.large = true
	if p.turn.held {
		return nil
	}
	select {
	case p.Large <- struct{}{}:
		p.turn.held = true
		return nil
	case <-p.feed.Lost():
		return store.ErrFenced
	case <-ctx.Done():
		return ctx.Err()
	}
}

// yield gives the turn back.
func (p *Pipeline) yield() {
	p.turn.mu.Lock()
	defer p.turn.mu.Unlock()
	if p.turn.held {
		<-p.Large
		p.turn.held = false
	}
}

// nextPage begins a page, in its turn if the last one was large.
func (p *Pipeline) nextPage(ctx context.Context) error {
	p.yield()
	p.turn.mu.Lock()
	large := p.turn.large
	p.turn.large = false
	p.turn.mu.Unlock()
	if !large || p.Large == nil {
		return nil
	}
	err := p.takeTurn(ctx)
	p.turn.mu.Lock()
	p.turn.large = err != nil
	p.turn.mu.Unlock()
	return err
}

// weigh takes note of an answer with so many bytes of data.
func (p *Pipeline) weigh(size int) {
	if size > sdk.ModestAnswer/2 {
		p.turn.mu.Lock()
		p.turn.large = true
		p.turn.mu.Unlock()
	}
}
