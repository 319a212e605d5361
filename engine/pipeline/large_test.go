// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// TestALargeAnswerWaitsForItsTurn: it is refused unread, as another pipeline works on a large one, and asked for again in its turn, as
// something that was given before; its turn ends with its page.
func TestALargeAnswerWaitsForItsTurn(t *testing.T) {
	simulate(t, func(r *rig) {
		turns := make(chan struct{}, 1)
		r.config.Large = turns
		refused, others := 0, false
		var recovers []bool // of the polls that were answered
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			if others {
				refused++
				return sdk.Page{}, sdk.Permanent("larger").Because(sdk.ErrTooLarge)
			}
			recovers = append(recovers, q.Recover)
			return sdk.Page{Changes: r.ehr.log, Watermark: []byte("3")}, nil
		}
		stop := r.start()
		pass(2 * time.Minute)                        // some polls with nothing to tell
		r.ehr.do(func() { recovers = recovers[1:] }) // of the first it is not known
		turns <- struct{}{}                          // another pipeline
		r.ehr.do(func() { others = true })
		r.ehr.fill(3, "a")
		pass(2 * time.Minute)
		if refused != 1 || len(r.delivered()) > 0 {
			t.Errorf("refused %d times, and %d are delivered, while it is another's turn", refused, len(r.delivered()))
		}
		r.ehr.do(func() { others = false })
		<-turns
		pass(2 * time.Minute)
		stop()
		r.expect("0@a", "1@a", "2@a")
		if want := []bool{false, true, false}; !slices.Equal(slices.Compact(recovers), want) || len(turns) > 0 {
			t.Errorf("asked for what had been given: %v, want %v; turns that are still taken: %d", recovers, want, len(turns))
		}
		r.expectLog("an answer is large", 1)
	})
}

// TestWhatAPageSaysIsBounded: a pause of centuries is one of a day, a position that the state can't keep is refused, and an identifier
// that is none makes a dead letter of its change.
func TestWhatAPageSaysIsBounded(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.fill(2, "a")
		r.ehr.onPoll = func(n int, _ sdk.Query) (sdk.Page, error) {
			page := sdk.Page{Changes: r.ehr.log, Watermark: []byte("2")}
			switch n {
			case 1:
				page.Watermark = make([]byte, 100<<20)
			case 2:
				page.Wait = math.MaxInt64
				page.Changes = append(slices.Clone(page.Changes), change(strings.Repeat("x", 5<<10), "a", "", time.Now()))
			case 3:
				return page, sdk.RateLimited(math.MaxInt64, "GET /appointments: 429")
			}
			return page, nil
		}
		polls := func() (n int) {
			r.ehr.do(func() { n = len(r.ehr.polls) })
			return n
		}
		stop := r.start()
		pass(23 * time.Hour)
		r.expect("0@a", "1@a")
		if dead := r.dead(); len(dead) != 1 || !strings.HasPrefix(dead[0].Ref.ID, "unidentified:") || !strings.Contains(dead[0].Cause.Text, "longer than 4096 bytes") {
			t.Errorf("dead letters %v", dead)
		}
		if n := polls(); n != 2 {
			t.Errorf("%d polls within the day", n)
		}
		pass(49 * time.Hour)
		stop()
		if n := polls(); n < 4 {
			t.Errorf("%d polls after three days", n)
		}
		r.expectLog("the adapter gave a cursor of 0 bytes and a watermark of 104857600", 1)
	})
}
