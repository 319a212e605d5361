// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
)

// State is what a source keeps over restarts, a few bytes each: rotated refresh tokens, budgets of calls, ids of subscriptions.
// Each is a section with a name of its own, so that they do not overwrite one another. It is safe for concurrent use.
//
// The engine keeps the sections of a source together, as one value that is replaced whenever one of them changes. Watermarks do not
// belong here: they are committed with the changes that they stand for.
type State struct {
	store func(ctx context.Context, stored []byte) error
	turn  chan struct{} // held while the engine is asked to store

	mu       sync.Mutex
	sections map[string][]byte
	changed  uint64 // counts changes
	durable  uint64 // up to which of them the engine has stored
}

// NewState reads what the engine has stored, nil for nothing. Serve calls it; an adapter's tests may. store has the engine keep other
// bytes, durable when it returns nil. Without it nothing outlives the process.
//
// What was not written by a State, as by an adapter that is built without this package, becomes the section with the empty name, as
// it was, and stays until that section is saved.
func NewState(stored []byte, store func(ctx context.Context, stored []byte) error) *State {
	s := &State{store: store, turn: make(chan struct{}, 1), sections: map[string][]byte{}}
	list, ours := bytes.CutPrefix(stored, []byte(sectionsPrefix))
	if ours && json.Unmarshal(list, &s.sections) == nil && s.sections != nil {
		return s
	}
	s.sections = map[string][]byte{}
	if len(stored) > 0 {
		s.sections[""] = slices.Clone(stored)
	}
	return s
}

// sectionsPrefix begins what a State stores; a JSON object of base64 texts by name follows.
const sectionsPrefix = "rounds-sections-1\n"

// Section gives a section; one that was never saved is empty. A nil State keeps nothing over restarts.
func (s *State) Section(name string) *Section {
	if s == nil {
		s = NewState(nil, nil)
	}
	return &Section{state: s, name: name}
}

// Section is a part of a source's State.
type Section struct {
	state *State
	name  string
}

// Load gives what was saved last, nil if nothing.
func (s *Section) Load() []byte {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return slices.Clone(s.state.sections[s.name])
}

// Save replaces what the section holds; nothing removes it. It is durable when Save returns nil. When it fails, the outcome is not
// known: the new value may have been stored, so it is what Load gives from then on, and the next Save of any section stores it too.
func (s *Section) Save(ctx context.Context, data []byte) error {
	return s.state.save(ctx, s.name, data)
}

func (s *State) save(ctx context.Context, name string, data []byte) error {
	s.mu.Lock()
	if len(data) == 0 {
		delete(s.sections, name)
	} else {
		s.sections[name] = slices.Clone(data)
	}
	s.changed++
	mine := s.changed
	s.mu.Unlock()
	if s.store == nil {
		return nil
	}
	select {
	case s.turn <- struct{}{}: // one after another, so that no older value comes last
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return Retryable("the state was not saved: canceled, or the deadline exceeded, while another save was under way").Because(ctx.Err())
	}
	s.mu.Lock()
	if s.durable >= mine {
		s.mu.Unlock()
		return nil // by the save that was under way before
	}
	all, now := maps.Clone(s.sections), s.changed
	s.mu.Unlock()
	if err := s.store(ctx, inOne(all)); err != nil {
		return err
	}
	s.mu.Lock()
	s.durable = now
	s.mu.Unlock()
	return nil
}

// inOne writes sections in one. What has no name stays as it is when it is alone.
func inOne(sections map[string][]byte) []byte {
	unnamed := sections[""]
	if len(sections) == 0 || len(sections) == 1 && unnamed != nil && !bytes.HasPrefix(unnamed, []byte(sectionsPrefix)) {
		return unnamed
	}
	list, _ := json.Marshal(sections) // texts and bytes: it can't fail
	return append([]byte(sectionsPrefix), list...)
}
