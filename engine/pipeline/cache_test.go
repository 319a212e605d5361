// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

func TestWhatWasFetchedIsRememberedWithinBounds(t *testing.T) {
	const room, size = 10, 1000 // the bound has room for ten results of this size
	c := newCache(room * resultSize(sdk.Result{Data: make(json.RawMessage, size), Ref: sdk.Ref{ID: "10"}}))
	now := time.Now()
	ref := func(i int) sdk.Ref { return sdk.Ref{Kind: "patient", ID: strconv.Itoa(10 + i)} }
	for i := range 50 {
		c.put(sdk.Result{Ref: ref(i), Data: make(json.RawMessage, size)}, now)
		c.put(sdk.Result{Ref: ref(i), Data: make(json.RawMessage, size)}, now) // counts once
	}
	for i := range 50 {
		if _, ok := c.get(ref(i), now); ok != (i >= 50-room) {
			t.Errorf("result %d of 50 is there: %v", i, ok)
		}
	}
	c.put(sdk.Result{Ref: ref(50), Data: make(json.RawMessage, 100*size)}, now)
	if _, ok := c.get(ref(50), now); !ok || len(c.results) != 1 || len(c.order) != 1 {
		t.Errorf("one result beyond the bound leaves %d results", len(c.results))
	}
	if _, ok := c.get(ref(50), now.Add(1)); ok {
		t.Error("what is older than wanted was given")
	}
}
