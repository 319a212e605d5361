// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
)

// condition is a scripted filter, over the id without the canary.
type condition func(id string) (bool, error)

func (f condition) EvalBool(r *record.Record) (bool, error) {
	return f(strings.TrimPrefix(r.Change.Ref.ID, canary))
}

func TestWhatTheFilterLeavesOutIsNeitherOrderedNorMappedNorDelivered(t *testing.T) {
	simulate(t, func(r *rig) {
		mapped := map[string]int{}
		filtering := deliver("second")
		filtering.Filter = condition(func(id string) (bool, error) { return id != "1" && id != "2", nil })
		filtering.OrderBy = expr(func(rec *record.Record) (string, bool, error) {
			if rec.Change.Ref.ID == canary+"1" {
				return "", false, errors.New("a.hcl:9: no list")
			}
			return "key", true, nil
		})
		filtering.Map = func(_ context.Context, rec *record.Record, _ pipeline.MapContext) ([]byte, error) {
			mapped[rec.Change.Ref.ID]++
			return rec.Marshal()
		}
		r.config.Parallel = 1
		r.config.Delivers = append(r.config.Delivers, filtering)
		r.ehr.fill(4, "a")
		r.run(10 * time.Minute)
		r.expect("0@a", "0@a/second", "1@a", "2@a", "3@a", "3@a/second")
		r.expectDead()
		if len(mapped) != 2 || mapped[canary+"0"] != 1 || mapped[canary+"3"] != 1 {
			t.Errorf("mapped: %v", mapped)
		}
		r.expectLog("filtered=2", 1)
	})
}

func TestAChangeThatWasFilteredIsDeliveredWhenItChangesAgain(t *testing.T) {
	simulate(t, func(r *rig) {
		hold := true
		r.config.Delivers[0].Filter = condition(func(string) (bool, error) { return !hold, nil })
		r.ehr.fill(1, "a")
		r.run(3 * time.Minute)
		r.expect()
		if r.position().Watermark == nil {
			t.Error("a page of filtered changes holds the watermark")
		}
		hold = false
		r.run(3 * time.Minute)
		r.expect() // it was seen
		r.ehr.set("0", "b", "p0")
		r.run(3 * time.Minute)
		r.expect("0@b")
	})
}

func TestAFilterThatFailsIsAFailedMapping(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Delivers[0].Filter = condition(func(id string) (bool, error) {
			switch id {
			case "1":
				return false, errors.New("a.hcl:9: true or false is wanted")
			case "2":
				panic(canary)
			}
			return true, nil
		})
		r.ehr.fill(4, "a")
		r.run(10 * time.Minute)
		r.expect("0@a", "3@a")
		r.expectDead("1@a map expression", "2@a map expression")
		if text := r.dead()[0].Cause.Text; text != `deliver "out": a.hcl:9: true or false is wanted` {
			t.Error(text)
		}
	})
}
