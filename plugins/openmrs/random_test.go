// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/openmrs/simulator"
	"github.com/rounds-engine/rounds/sdk"
)

// TestWhateverHappensNoEventIsLost has records saved, in transactions that end in any order within the overlap, between polls and between
// pages, while the reader begins windows again as it does when its cursor is lost. What is listed at the end, from the start on, was given.
func TestWhateverHappensNoEventIsLost(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		c := newClinic(t, simulator.Options{PageSize: 1 + r.IntN(5)})
		q := sdk.Query{Feed: "patient", Overlap: time.Minute}
		if seed%2 == 1 {
			for range r.IntN(40) {
				c.save(r.IntN(9))
			}
			q.Start.At = c.now
		}
		given := map[string]bool{}
		poll := func() {
			t.Helper()
			page, err := c.Poll(t.Context(), q)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, x := range page.Changes {
				given[x.Version] = true
			}
			if q.Cursor = page.Cursor; page.Cursor == nil {
				q.Watermark = page.Watermark
			}
		}
		type transaction struct {
			commit func()
			ends   time.Time
		}
		var open []transaction
		for range 150 {
			switch r.IntN(10) {
			case 0, 1, 2:
				c.save(r.IntN(9))
			case 3:
				open = append(open, transaction{c.Begin("patient", uuid(r.IntN(9)), map[string]any{}), c.now.Add(30 * time.Second)})
			case 4:
				if len(open) > 0 {
					n := r.IntN(len(open))
					open[n].commit()
					open = append(open[:n], open[n+1:]...)
				}
			case 5:
				c.now = c.now.Add(time.Duration(r.IntN(20)) * time.Second)
			case 6:
				q.Cursor = nil
			default:
				poll()
			}
			for len(open) > 0 && !open[0].ends.After(c.now) {
				open[0].commit()
				open = open[1:]
			}
		}
		for _, o := range open {
			o.commit()
		}
		for range 3 { // what is left of a window, and what came since it began
			for poll(); q.Cursor != nil; poll() {
			}
		}
		whole := sdk.Query{Feed: "patient"}
		for {
			page, err := c.Poll(t.Context(), whole)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range page.Changes {
				if !given[x.Version] && !x.Time.Before(q.Start.At) {
					t.Errorf("seed %d: the event of %s was not given", seed, x.Time)
				}
			}
			if whole.Cursor = page.Cursor; page.Cursor == nil {
				break
			}
		}
	}
}
