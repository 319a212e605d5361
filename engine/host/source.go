// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/rounds-engine/rounds/sdk"
)

// Source is one configured use of an adapter. It is opened when it is first used, and again after its process had to be
// started anew, with the state that was saved last. While it can't be opened, every call returns that error.
type Source struct {
	process *process
	name    string
	config  []byte

	mu      sync.Mutex
	closed  bool
	at      *instance // where it is open
	open    *sdk.Opened
	opening *opening // under way, or the closing before it; nil: none
	why     string   // why the last attempt to open it failed; empty: it did not

	saved  *saved // of all sources of the name
	state  []byte
	loaded bool
}

// saved is what sources of one name save: after a reload, one that could not be closed in time may still have calls under way. It is
// locked while state is saved or loaded.
type saved struct {
	sync.Mutex
	by *Source // that loaded it last: others must not put back what they know of it
}

// opening is an attempt to open a source, whose outcome any number of callers share.
type opening struct {
	done chan struct{}
	err  error
	left bool // the caller who made the attempt went away, so that the error says nothing to the others
}

// Open makes a source of an adapter; it returns at once and asks nobody. An isolated source has a process of its own.
func (h *Host) Open(a Adapter, source string, config []byte, isolate bool) *Source {
	k := key{adapter: a}
	if isolate {
		k.source = source
	}
	h.mu.Lock()
	if h.saved[source] == nil {
		h.saved[source] = &saved{}
	}
	kept := h.saved[source]
	h.mu.Unlock()
	return &Source{process: h.process(k, 1), name: source, config: config, saved: kept}
}

// Catalog tells what can be polled and fetched.
func (s *Source) Catalog(ctx context.Context) (sdk.Catalog, error) {
	open, _, err := s.ready(ctx)
	if err != nil {
		return sdk.Catalog{}, err
	}
	return open.Catalog(), nil
}

// Feed gives one feed of the catalog. A source that has none of that name is opened again when it is used next: what it offers may
// depend on what the EHR said when it was opened.
func (s *Source) Feed(ctx context.Context, name string) (sdk.Feed, error) {
	open, _, err := s.ready(ctx)
	if err != nil {
		return sdk.Feed{}, err
	}
	var names []string
	for _, f := range open.Catalog().Feeds {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	s.reopen(open)
	slices.Sort(names)
	return sdk.Feed{}, sdk.Permanent("source %s has no feed %q; it has: %s", s.name, name, strings.Join(names, ", "))
}

// reopen closes what is open, and the next call opens it again. Until it is closed nothing is: two that are open would each save over what
// the other has saved, as a refresh token that the server gave to one of them only.
func (s *Source) reopen(open *sdk.Opened) {
	closing := &opening{done: make(chan struct{}), err: sdk.Retryable("source %s is opened again", s.name), left: true}
	s.mu.Lock()
	mine := s.open == open && s.opening == nil && !s.closed
	if mine {
		s.at, s.open, s.opening = nil, nil, closing
	}
	s.mu.Unlock()
	if !mine {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.process.host.t.reopen)
		defer cancel()
		_ = open.Close(ctx) // it is closed when its last call has ended, or its process
		s.mu.Lock()
		s.opening = nil
		s.mu.Unlock()
		close(closing.done)
	}()
}

// Poll reads one page of a feed.
func (s *Source) Poll(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	err = s.call(ctx, func(o *sdk.Opened) error {
		page, err = o.Poll(ctx, q)
		return err
	})
	for i := range page.Changes {
		page.Changes[i].Err = s.process.secrets.inError(page.Changes[i].Err)
	}
	for i := range page.Included {
		page.Included[i].Err = s.process.secrets.inError(page.Included[i].Err)
	}
	for i, n := range page.Notes {
		page.Notes[i].Text = s.process.secrets.in(n.Text)
	}
	return page, err
}

// Fetch reads the details of refs: a Result for each, in order.
func (s *Source) Fetch(ctx context.Context, refs []sdk.Ref) (results []sdk.Result, err error) {
	err = s.call(ctx, func(o *sdk.Opened) error {
		results, err = o.Fetch(ctx, refs)
		return err
	})
	for i := range results {
		results[i].Err = s.process.secrets.inError(results[i].Err)
	}
	return results, err
}

// Ack tells the server that the changes of a page are taken over.
func (s *Source) Ack(ctx context.Context, feed string, token []byte) error {
	return s.call(ctx, func(o *sdk.Opened) error { return o.Ack(ctx, feed, token) })
}

// Close closes the source after the calls that are under way, which it waits for as long as ctx allows. The process ends with
// its last source.
func (s *Source) Close(ctx context.Context) error {
	s.mu.Lock()
	closed, attempt := s.closed, s.opening
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	defer s.process.host.release(s.process)
	if attempt != nil {
		select {
		case <-attempt.done:
		case <-ctx.Done():
			return sdk.Retryable("closing %s: it is still being opened", s.name).Because(ctx.Err())
		}
	}
	s.mu.Lock()
	at, open := s.at, s.open
	s.mu.Unlock()
	if at == nil || at.hasEnded() {
		return nil
	}
	return s.process.secrets.inError(open.Close(ctx))
}

func (s *Source) call(ctx context.Context, do func(*sdk.Opened) error) error {
	open, at, err := s.ready(ctx)
	if err != nil {
		return err
	}
	return s.process.secrets.inError(at.call(func() error { return do(open) }))
}

// ready gives the open source, and opens it if it is not open.
func (s *Source) ready(ctx context.Context) (*sdk.Opened, *instance, error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, nil, sdk.Retryable("source %s is closed", s.name)
		}
		if s.at != nil && !s.at.hasEnded() {
			defer s.mu.Unlock()
			return s.open, s.at, nil
		}
		attempt, mine := s.opening, false
		if attempt == nil {
			attempt, mine = &opening{done: make(chan struct{})}, true
			s.opening = attempt
		}
		s.mu.Unlock()
		if mine {
			s.attempt(ctx, attempt)
		}
		select {
		case <-attempt.done:
		case <-ctx.Done():
			return nil, nil, sdk.Retryable("source %s is still being opened", s.name).Because(ctx.Err())
		}
		if attempt.err != nil && (mine || !attempt.left) {
			return nil, nil, attempt.err
		}
	}
}

func (s *Source) attempt(ctx context.Context, o *opening) {
	at, open, err := s.openAt(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening = nil
	switch {
	case err == nil && s.closed: // meanwhile, by someone who waits for this attempt or has given up waiting
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.process.host.t.stop)
		_ = open.Close(closing) // the attempt has failed as it is
		cancel()
		err = sdk.Retryable("source %s is closed", s.name)
	case err == nil:
		s.at, s.open, s.why = at, open, ""
	}
	if err != nil && ctx.Err() == nil {
		s.why = sdk.Safe(err).Error()
	}
	o.err, o.left = err, ctx.Err() != nil
	close(o.done)
}

func (s *Source) openAt(ctx context.Context) (*instance, *sdk.Opened, error) {
	at, err := s.process.running(ctx)
	if err != nil {
		return nil, nil, err
	}
	state, err := s.load(ctx)
	if err != nil {
		return nil, nil, sdk.Retryable("opening %s: its saved state can't be read", s.name).Because(err)
	}
	s.process.secrets.add(sensitive(at.schema, s.config))
	var open *sdk.Opened
	err = at.call(func() error {
		open, err = at.client.Open(ctx, sdk.Opening{Source: s.name, Config: s.config, State: state, Save: s.save})
		return err
	})
	if err = s.process.secrets.inError(err); err != nil {
		return nil, nil, prefixed("opening "+s.name, err)
	}
	return at, open, nil
}

// prefixed says what was being done, and keeps what the error means.
func prefixed(doing string, err error) error {
	var e *sdk.Error
	if !errors.As(err, &e) {
		return err
	}
	more := *e
	more.Text = doing + ": " + e.Text
	return &more
}

func (s *Source) load(ctx context.Context) ([]byte, error) {
	s.saved.Lock()
	defer s.saved.Unlock()
	s.saved.by = s
	if s.loaded || s.process.host.o.State == nil {
		return s.state, nil
	}
	state, err := s.process.host.o.State.LoadState(ctx, s.name)
	if err != nil {
		return nil, err
	}
	s.state, s.loaded = state, true
	return state, nil
}

// save keeps what the adapter saves. That the process which asks ends meanwhile must not undo it: the server may have
// rotated a token already.
func (s *Source) save(ctx context.Context, state []byte) error {
	if s.process.host.o.State == nil {
		return sdk.Retryable("saving state: this engine keeps no state")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.process.host.t.save)
	defer cancel()
	s.saved.Lock()
	defer s.saved.Unlock()
	if s.saved.by != s {
		return sdk.Retryable("saving state: the source was opened anew, with another configuration")
	}
	if err := s.process.host.o.State.SaveState(ctx, s.name, state); err != nil {
		s.loaded = false // it may have been saved: what is stored counts at the next opening
		return sdk.Retryable("saving state: the engine could not save").Because(err)
	}
	s.state, s.loaded = state, true
	return nil
}
