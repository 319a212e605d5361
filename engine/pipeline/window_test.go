// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

func TestAWindowIsReadPageByPageFromTheCursor(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.size = 2
		r.ehr.fill(5, "a")
		r.run(time.Second)
		r.expect("0@a", "1@a", "2@a", "3@a", "4@a")
		var cursors []string
		for _, q := range r.ehr.polls {
			cursors = append(cursors, string(q.Cursor))
		}
		if want := []string{"", "2", "4"}; !slices.Equal(cursors, want) {
			t.Errorf("cursors asked for %q, want %q", cursors, want)
		}
		if p := r.position(); p.Cursor != nil || p.Watermark == nil {
			t.Errorf("position after the window: %+v", p)
		}
	})
}

// TestDriftingPagesAreReadUntilNothingIsUnseen moves record 0 behind the others after the first page was given, so that
// record 2 slips onto that page, unseen.
func TestDriftingPagesAreReadUntilNothingIsUnseen(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.Drifts, r.ehr.size = true, 2
		r.ehr.fill(4, "a")
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			if n == 2 {
				time.Sleep(time.Millisecond)
				r.ehr.set("0", "b", "p0")
			}
			return r.ehr.page(q), nil
		}
		r.run(10 * time.Second)
		r.expect("0@a", "1@a", "3@a", "0@b", "2@a")
	})
}

// TestDriftingPagesAreReadAgainAfterARestartWithinThem is the same, and the engine stops after the first page.
func TestDriftingPagesAreReadAgainAfterARestartWithinThem(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.Drifts, r.ehr.size = true, 2
		r.config.Overlap = 0
		at := time.Now().Add(-time.Hour)
		for _, id := range []string{"0", "1", "2"} {
			r.ehr.setAt(at, id, "a", "p")
		}
		down := true
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			if down && q.Cursor != nil {
				return sdk.Page{}, sdk.Retryable("GET /appointments: 503")
			}
			return r.ehr.page(q), nil
		}
		r.run(100 * time.Millisecond)
		r.expect("0@a", "1@a")
		// Record 0 is deleted on the server: record 2 slips onto the first page, the second page is empty. Then a younger
		// record moves the watermark past record 2.
		r.ehr.log = slices.Delete(r.ehr.log, 0, 1)
		r.ehr.set("1", "b", "p")
		down = false
		r.run(2 * time.Minute)
		if !slices.Contains(r.delivered(), "2@a") {
			t.Errorf("record 2 is lost; delivered %q", r.delivered())
		}
	})
}

// TestDriftingPagesOfAFeedThatNeverRestsAreReadToTheEnd changes a record in every reading of the window, which takes longer than
// a change takes to come. Each change shifts the pages; what slips away by that is found, and the watermark follows.
func TestDriftingPagesOfAFeedThatNeverRestsAreReadToTheEnd(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.Drifts, r.ehr.size = true, 50
		r.ehr.fill(1000, "a")
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			time.Sleep(300 * time.Millisecond)
			return r.ehr.page(q), nil
		}
		stop := r.start()
		for n := range 1200 {
			time.Sleep(time.Second)
			r.ehr.set(strconv.Itoa(n%1000), strconv.Itoa(n), "p")
		}
		pass(2 * time.Minute)
		stop()
		if mark, err := time.Parse(time.RFC3339Nano, string(r.position().Watermark)); err != nil || time.Since(mark) > 3*time.Minute {
			t.Errorf("the watermark stands at %q", r.position().Watermark)
		}
		if n := len(r.ehr.polls); n > 600 {
			t.Errorf("%d polls in 22 minutes", n)
		}
		last := map[string]string{}
		for _, d := range r.delivered() {
			id, state, _ := strings.Cut(d, "@")
			last[id] = state
		}
		for n := 200; n < 1200; n++ { // the last 1000 changes, each of another record
			if id := strconv.Itoa(n % 1000); last[id] != strconv.Itoa(n) {
				t.Errorf("the last state of record %s is lost: it is %q", id, last[id])
			}
		}
		r.expectLog("its pages shift while they are read", 0)
	})
}

func TestDriftingPagesAreNotReadForEver(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.Drifts, r.ehr.size = true, 2
		r.ehr.fill(3, "a")
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			r.ehr.set("0", strconv.Itoa(n), "p")
			return r.ehr.page(q), nil
		}
		r.run(300 * time.Millisecond)
		if n := len(r.ehr.polls); n > 30 {
			t.Errorf("%d polls at once", n)
		}
		if r.position().Watermark != nil {
			t.Error("the watermark moved over a window that never stood still")
		}
		r.expectLog("its pages shift while they are read", 1)
	})
}

func TestAnExpiredCursorReadsTheWindowAgain(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.size = 2
		r.ehr.fill(5, "a")
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			if n == 2 {
				return sdk.Page{}, sdk.CursorExpired("GET /appointments: 410")
			}
			return r.ehr.page(q), nil
		}
		r.run(time.Millisecond)
		r.expect("0@a", "1@a", "2@a", "3@a", "4@a")
	})
}

func TestCursorsThatAlwaysExpireBackOff(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.size = 2
		r.ehr.fill(5, "a")
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			if q.Cursor != nil {
				return sdk.Page{}, sdk.CursorExpired("GET /appointments: 410")
			}
			return r.ehr.page(q), nil
		}
		r.run(5 * time.Minute)
		if n := len(r.ehr.polls); n > 100 {
			t.Errorf("%d polls in five minutes", n)
		}
	})
}

func TestAnExpiredWatermarkPausesAndNamesTheCommand(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.onPoll = func(int, sdk.Query) (sdk.Page, error) {
			return sdk.Page{}, fmt.Errorf("%s: %w", canary, sdk.WatermarkExpired("GET /appointments: 410"))
		}
		stop := r.start()
		pass(24 * time.Hour)
		if n := len(r.ehr.polls); n != 1 {
			t.Errorf("%d polls in a day of a pause, want 1", n)
		}
		r.expectLog("rounds state set visits --start", 1)
		// Who resumes takes the ownership to write another position; the loop then goes on.
		f, _ := r.store.Claim(t.Context(), "visits")
		_ = f.Release(t.Context())
		r.ehr.do(func() { r.ehr.onPoll = nil })
		r.ehr.set("1", "a", "p")
		pass(time.Hour)
		stop()
		r.expect("1@a")
	})
}

func TestPagesThatLeadNowhereAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		page func(q sdk.Query) sdk.Page
		log  string
	}{
		"the same cursor": {func(sdk.Query) sdk.Page { return sdk.Page{Cursor: []byte("2")} }, "same cursor"},
		"cursors in a circle": {func(q sdk.Query) sdk.Page {
			if string(q.Cursor) == "2" {
				return sdk.Page{Cursor: []byte("3")}
			}
			return sdk.Page{Cursor: []byte("2")}
		}, "same cursor"},
		"no watermark": {func(sdk.Query) sdk.Page { return sdk.Page{} }, "last page without a watermark"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
					if n > 50 {
						time.Sleep(time.Hour)
						t.Error("read for ever")
					}
					return test.page(q), nil
				}
				r.run(300 * time.Millisecond)
				r.expectLog(test.log, 1)
			})
		})
	}
}

func TestTheServersWaitIsKeptBetweenPagesAndBetweenWindows(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.size = 2
		r.ehr.fill(3, "a")
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			p := r.ehr.page(q)
			p.Wait = 10 * time.Minute
			return p, nil
		}
		r.run(45 * time.Minute)
		r.expect("0@a", "1@a", "2@a")
		for i, at := range r.ehr.pollAt[1:] {
			if d := at.Sub(r.ehr.pollAt[i]); d < 10*time.Minute {
				t.Errorf("poll %d came %s after the one before, the server asked for 10m", i+2, d)
			}
		}
	})
}

func TestALostOwnershipEndsTheServersWait(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.size = 2
		r.ehr.fill(3, "a")
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			p := r.ehr.page(q)
			p.Wait = time.Hour
			return p, nil
		}
		r.onClaim = func(n int) error {
			if n > 1 {
				return store.ErrHeld
			}
			return nil
		}
		stop := r.start()
		defer stop()
		pass(time.Minute)
		_, _ = r.store.Claim(t.Context(), "visits") // by another engine
		pass(30 * time.Minute)
		if n := len(r.ehr.polls); n != 1 {
			t.Errorf("%d polls, want 1: the pipeline belongs to another engine", n)
		}
	})
}

func TestAQueueIsAcknowledgedAfterTheCommitOnly(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.Class = sdk.Queue
		r.ehr.set("1", "a", "p")
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			p := r.ehr.page(q)
			p.Ack = []byte("token")
			return p, nil
		}
		committed := false
		r.before = func(n int, b store.Batch) error {
			if n == 2 { // 1 is the start
				return store.ErrBusy
			}
			committed = committed || len(b.Entries) > 0
			return nil
		}
		r.ehr.onAck = func(string) error {
			if !committed {
				t.Error("acknowledged before the commit")
			}
			return nil
		}
		r.run(10 * time.Second)
		r.expect("1@a")
		if len(r.ehr.acks) != 1 {
			t.Errorf("acknowledged %q, want once", r.ehr.acks)
		}
	})
}

func TestAFailedAcknowledgementIsRepeatedWithThePage(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.set("1", "a", "p")
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			p := r.ehr.page(q)
			p.Ack = []byte("token")
			return p, nil
		}
		r.ehr.onAck = func(string) error {
			if len(r.ehr.acks) == 1 {
				return errors.New(canary)
			}
			return nil
		}
		r.run(10 * time.Second)
		r.expect("1@a")
		if len(r.ehr.acks) != 2 {
			t.Errorf("acknowledged %d times, want 2", len(r.ehr.acks))
		}
	})
}

// TestWhatAQueueGaveIsAskedForAgainUntilItIsCommitted: reading consumes, so a page that was read and not committed only
// comes again with Recover.
func TestWhatAQueueGaveIsAskedForAgainUntilItIsCommitted(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.feed.Class = sdk.Queue
		given, lost := map[string]bool{}, false
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			full := r.ehr.page(sdk.Query{})
			p := full
			p.Changes = nil
			for _, c := range full.Changes {
				if id := c.Ref.ID + c.Version; q.Recover || !given[id] {
					given[id] = true
					p.Changes = append(p.Changes, c)
				}
			}
			if given[canary+"2a"] && !lost {
				lost = true
				return sdk.Page{}, sdk.Retryable("GET /changed: connection reset") // after the server gave it
			}
			return p, nil
		}
		fail := true
		r.before = func(_ int, b store.Batch) error {
			if fail && len(b.Entries) > 0 {
				fail = false
				return store.ErrBusy
			}
			return nil
		}
		stop := r.start()
		pass(5 * time.Minute)
		r.ehr.set("1", "a", "p")
		pass(5 * time.Minute)
		r.ehr.set("2", "a", "p")
		pass(5 * time.Minute)
		stop()
		r.expect("1@a", "2@a")
		var recovers []bool
		for _, q := range r.ehr.polls {
			recovers = append(recovers, q.Recover)
		}
		if !recovers[0] {
			t.Error("the first poll after the start does not recover")
		}
		if recovers[len(recovers)-1] {
			t.Error("a poll after a committed page recovers")
		}
	})
}

func TestIncludedResultsAreNotFetchedAgain(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.ehr.set("1", "a", "p1")
		r.ehr.set("2", "a", "p2")
		r.ehr.set("3", "a", "p3")
		r.ehr.set("4", "a", "p4")
		r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
			p := r.ehr.page(q)
			ref := func(id string) sdk.Ref { return sdk.Ref{Kind: "patient", ID: canary + id} }
			p.Included = []sdk.Result{
				{Ref: ref("p1"), Data: json.RawMessage(`{"included":true}`)},
				{Ref: ref("p2"), Err: sdk.Retryable("not included")},
				{Ref: ref("p3"), Data: json.RawMessage(`{broken`)},
				{Ref: ref("p4")},
			}
			return p, nil
		}
		r.run(time.Second)
		r.expect("1@a", "2@a", "3@a", "4@a")
		if got, want := r.ehr.fetched(), []string{"p2", "p3", "p4"}; !slices.Equal(got, want) {
			t.Errorf("fetched %q, want %q", got, want)
		}
		if body := r.outbox()[0].Body; !bytes.Contains(body, []byte(`{"included":true}`)) {
			t.Errorf("the body lacks what was included: %s", body)
		}
	})
}

func TestStartIsDecidedBeforeTheFirstPollAndStays(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Start = pipeline.Start{Now: true}
		r.ehr.set("old", "a", "p")
		time.Sleep(time.Second)
		began := time.Now()
		r.ehr.onPoll = func(int, sdk.Query) (sdk.Page, error) { return sdk.Page{}, sdk.Retryable("GET /appointments: 503") }
		r.run(time.Minute)
		r.ehr.set("new", "a", "p") // while the server could not be read
		r.ehr.onPoll = nil
		r.run(10 * time.Minute)
		r.expect("new@a")
		for _, q := range r.ehr.polls {
			if !q.Start.At.Equal(began) {
				t.Fatalf("a poll asked from %s on, want %s", q.Start.At, began)
			}
		}
	})
}

// TestACursorThatIsNeverTakenAgainIsGivenUp, although the server does not say that it has expired.
func TestACursorThatIsNeverTakenAgainIsGivenUp(t *testing.T) {
	for _, failure := range []error{sdk.Permanent("GET /appointments (next page): 422"), sdk.Retryable("GET /appointments (next page): answered text/html")} {
		simulate(t, func(r *rig) {
			r.ehr.size = 2
			r.ehr.fill(5, "a")
			r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
				if q.Cursor != nil && n < 8 {
					return sdk.Page{}, failure
				}
				return r.ehr.page(q), nil
			}
			r.run(10 * time.Minute)
			r.expect("0@a", "1@a", "2@a", "3@a", "4@a")
			r.expectLog("the window is read again from the watermark", 1)
			if n := len(r.ehr.polls); r.ehr.polls[6].Cursor != nil {
				t.Errorf("poll 7 of %d still asks with the cursor", n)
			}
		})
	}
}

func TestARemarkOfTheAdapterIsLoggedOnceAnHour(t *testing.T) {
	simulate(t, func(r *rig) {
		r.ehr.onPoll = func(n int, q sdk.Query) (sdk.Page, error) {
			p := r.ehr.page(q)
			p.Notes = []sdk.Note{{Code: "filter-ignored", Text: fmt.Sprintf("%d items are too old", n)}}
			return p, nil
		}
		r.run(150 * time.Minute)
		r.expectLog("filter-ignored", 3)
	})
}
