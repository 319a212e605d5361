// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// TestWhatWasThereBeforeTheStartIsRememberedAndNotDelivered: the overlap before the start is read. What is there at the first
// window stays untold; what becomes visible after it is told, although it is dated before the start.
func TestWhatWasThereBeforeTheStartIsRememberedAndNotDelivered(t *testing.T) {
	for name, limits := range map[string]store.Limits{"": {}, "tiny": tiny} {
		t.Run(name, func(t *testing.T) {
			simulateWith(t, limits, func(r *rig) {
				r.config.Start = pipeline.Start{Now: true}
				began := time.Now()
				for _, id := range []string{"old0", "old1", "old2", "old3", "old4"} {
					r.ehr.setAt(began.Add(-time.Minute), id, "a", "")
				}
				// By the feed's precision this may have changed within the second of the start.
				r.ehr.setAt(began.Truncate(time.Second), "same second", "a", "")
				stop := r.start()
				pass(time.Second)
				r.expect("same second@a")
				r.ehr.setAt(began.Add(-30*time.Second), "late", "a", "")
				r.ehr.set("old1", "b", "")
				pass(2 * time.Minute)
				stop()
				r.expect("same second@a", "late@a", "old1@b")
			})
		})
	}
}

// TestTheSecondOfTheStartIsDelivered also of a feed that is no feed of timestamps: its times may be cut to the second.
func TestTheSecondOfTheStartIsDelivered(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Start = pipeline.Start{Now: true}
		r.ehr.feed.Class, r.ehr.feed.Precision = sdk.Sequence, 0
		time.Sleep(500 * time.Millisecond)
		r.ehr.setAt(time.Now().Truncate(time.Second), "same second", "a", "")
		r.ehr.setAt(time.Now().Truncate(time.Second).Add(-time.Second), "before", "a", "")
		r.run(time.Second)
		r.expect("same second@a")
	})
}

// TestAStartNowFollowsAServersClockThatIsBehind: a change after the start is dated before it by the server.
func TestAStartNowFollowsAServersClockThatIsBehind(t *testing.T) {
	for name, set := range map[string]bool{"by the configuration": false, "by a person": true} {
		t.Run(name, func(t *testing.T) { simulate(t, func(r *rig) { startsBehind(r, set) }) })
	}
}

func startsBehind(r *rig, set bool) {
	const behind = 90 * time.Second
	r.config.Start = pipeline.Start{Now: true}
	if set {
		r.config.Start = pipeline.Start{}
		f, err := r.store.Claim(context.Background(), r.config.Name)
		if err != nil {
			r.Fatal(err)
		}
		if err := f.Commit(context.Background(), store.Batch{Position: &store.Position{Started: true, Start: time.Now()}}); err != nil {
			r.Fatal(err)
		}
	}
	r.ehr.setAt(time.Now().Add(-behind), "new", "a", "")
	r.ehr.setAt(time.Now().Add(-behind-5*time.Second), "old", "a", "")
	r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
		page := r.ehr.page(q)
		page.Now = time.Now().Add(-behind)
		return page, nil
	}
	r.run(time.Second)
	r.expect("new@a")
}

// TestAHistoryFromBeforeTheStartIsRemembered in as many commits as the limits ask for.
func TestAHistoryFromBeforeTheStartIsRemembered(t *testing.T) {
	simulateWith(t, store.Limits{Items: 100, Bytes: 8 << 10, Refs: 3}, func(r *rig) {
		r.config.Start = pipeline.Start{Now: true}
		r.ehr.feed.History = true
		began := time.Now()
		for i := range 40 {
			r.ehr.setAt(began.Add(-time.Minute), strconv.Itoa(i)+strings.Repeat("0", 300), "a", "")
			r.ehr.setAt(began.Add(-50*time.Second), strconv.Itoa(i)+strings.Repeat("0", 300), "b", "")
		}
		r.ehr.set("1", "c", "")
		r.run(time.Hour)
		r.expect("1@c")
	})
}
