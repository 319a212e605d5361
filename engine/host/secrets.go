// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// hidden knows what must not be shown: the values of the attributes that a schema marks as sensitive. An adapter is written
// by others and may log or return what it was given.
type hidden struct {
	mu     sync.RWMutex
	known  map[string]bool
	values []string // the longest first: one may be part of another
}

// minSecret is the length from which on a value is hidden. Shorter ones hide nothing and would riddle the log.
const minSecret = 4

const instead = "[secret]"

func (h *hidden) add(values []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil {
		h.known = map[string]bool{}
	}
	before := len(h.values)
	for _, v := range values {
		if !h.known[v] {
			h.known[v] = true
			h.values = append(h.values, v)
		}
	}
	if len(h.values) > before {
		slices.SortFunc(h.values, func(a, b string) int { return len(b) - len(a) })
	}
}

// in gives text without the values.
func (h *hidden) in(text string) string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, v := range h.values {
		text = strings.ReplaceAll(text, v, instead)
	}
	return text
}

// inError gives err without the values.
func (h *hidden) inError(err error) error {
	var e *sdk.Error
	if !errors.As(err, &e) {
		return err
	}
	if text := h.in(e.Text); text != e.Text {
		safe := *e
		safe.Text = text
		return &safe
	}
	return err
}

// sensitive collects the values that a configuration's schema marks.
func sensitive(s schema.Schema, config []byte) []string {
	var members map[string]json.RawMessage
	if json.Unmarshal(config, &members) != nil {
		return nil // the adapter will say what is wrong with it
	}
	var found []string
	for _, a := range s.Attributes {
		if a.Sensitive {
			found = texts(members[a.Name], found)
		}
	}
	for _, b := range s.Blocks {
		var several []json.RawMessage
		if !b.Repeated || json.Unmarshal(members[b.Name], &several) != nil {
			several = []json.RawMessage{members[b.Name]}
		}
		for _, one := range several {
			found = append(found, sensitive(b.Body, one)...)
		}
	}
	return found
}

// texts adds the strings in a JSON value to found.
func texts(raw json.RawMessage, found []string) []string {
	var one string
	var list []json.RawMessage
	var object map[string]json.RawMessage
	switch {
	case json.Unmarshal(raw, &one) == nil:
		if len(one) >= minSecret {
			found = append(found, one)
		}
	case json.Unmarshal(raw, &list) == nil:
		for _, v := range list {
			found = texts(v, found)
		}
	case json.Unmarshal(raw, &object) == nil:
		for _, v := range object {
			found = texts(v, found)
		}
	}
	return found
}
