// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
)

// TestAMappingThatTookTooLongIsTriedAgain: on a machine under load that may befall any mapping, so it alone makes no dead
// letter; a record whose mapping never ends becomes one while the others go on.
func TestAMappingThatTookTooLongIsTriedAgain(t *testing.T) {
	for name, slow := range map[string]int{"once": 1, "always": 1000} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				tries := 0
				var attempts []int
				r.config.Parallel = 1
				r.config.Delivers[0].Map = func(ctx context.Context, rec *record.Record, c pipeline.MapContext) ([]byte, error) {
					if strings.HasSuffix(rec.Change.Ref.ID, "slow") {
						attempts = append(attempts, c.Attempt)
						if tries++; tries <= slow {
							return nil, &pipeline.MapError{Text: "mapping.js:1:1: took longer than the limit", TimedOut: true}
						}
					}
					return mapRecord(ctx, rec, c)
				}
				r.ehr.set("slow", "a", "")
				r.ehr.set("other", "a", "")
				r.run(5 * time.Minute)
				// When the step has worked for another record, one is tried again at once: in the same attempt.
				if got := slices.Compact(attempts); !slices.Equal(got, []int{1, 2, 3, 4, 5}[:min(slow, 4)+1]) {
					t.Errorf("attempts %v", attempts)
				}
				if slow == 1 {
					r.expect("other@a", "slow@a")
					r.expectDead()
					return
				}
				r.expect("other@a")
				dead := r.dead()
				if len(dead) != 1 || dead[0].Cause.Stage != record.StageMap || dead[0].Cause.Attempts != 5 || tries < 5 {
					t.Errorf("dead letters after %d tries: %+v", tries, dead)
				}
			})
		})
	}
}

// TestInvariant5AMappingThatNeverEndsLeavesTheOtherDeliverBlocks their notifications.
func TestInvariant5AMappingThatNeverEndsLeavesTheOtherDeliverBlocks(t *testing.T) {
	simulate(t, func(r *rig) {
		slow := deliver("slow")
		slow.Map = func(ctx context.Context, rec *record.Record, c pipeline.MapContext) ([]byte, error) {
			if rec.Change.Ref.ID != canary+"0" {
				return nil, &pipeline.MapError{Text: "mapping.js:1:1: took longer than the limit", TimedOut: true}
			}
			return mapRecord(ctx, rec, c)
		}
		r.config.Delivers = []pipeline.Deliver{deliver("first"), slow, deliver("out")}
		r.ehr.set("0", "a", "")
		r.ehr.set("1", "a", "")
		r.ehr.set("2", "a", "")
		r.run(5 * time.Minute)
		r.expect("0@a/first", "0@a/slow", "0@a", "1@a/first", "1@a", "2@a/first", "2@a")
		r.expectDead("1@a map script", "2@a map script")
		if d := r.dead()[0]; d.Deliver != "slow" || d.Cause.Attempts != 5 {
			t.Errorf("dead letter of %q after %d attempts, want slow and 5", d.Deliver, d.Cause.Attempts)
		}
	})
}
