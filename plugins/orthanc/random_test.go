// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestWhateverHappensNoChangeIsLost has files come, go, become stable and be overwritten, and Orthanc restart, between polls and between
// pages. What is listed at the end was given; and each study that is there was given after its last New* or Stable*.
func TestWhateverHappensNoChangeIsLost(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := newServer(t)
		trigger := []string{"", newTrigger}[r.IntN(2)]
		reading := s.reader("studies", trigger)
		reading.query.Overlap = []time.Duration{0, time.Second, time.Minute}[r.IntN(3)]
		reading.query.Limit = r.IntN(12)
		poll := func() {
			t.Helper()
			page, err := reading.source.Poll(t.Context(), reading.query)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			reading.given = append(reading.given, page.Changes...)
			if reading.query.Cursor = page.Cursor; page.Cursor == nil {
				reading.query.Watermark = page.Watermark
			}
		}
		patient := func() string { return fmt.Sprint("P", r.IntN(4)) }
		for range 100 {
			switch r.IntN(12) {
			case 0, 1, 2, 3:
				s.store(patient(), fmt.Sprint(r.IntN(6)), r.IntN(3))
			case 4:
				s.settle()
			case 5:
				s.remove("/studies/" + id("study", patient(), fmt.Sprint(r.IntN(6))))
			case 6:
				s.restart()
			case 7:
				s.pass(time.Duration(r.IntN(100)) * time.Second)
			default:
				poll()
			}
		}
		for range 6 { // the rest, and what waits
			reading.read()
		}
		given := map[string]bool{}
		for _, c := range reading.given {
			given[c.Ref.ID+" "+c.Version] = true
		}
		event := map[string]string{"": "StableStudy", newTrigger: "NewStudy"}[trigger]
		became := map[string]bool{} // studies that the list says became stable, after they were new
		for _, e := range s.list {
			if e.ChangeType == event && !given[e.ID+fmt.Sprint(" ", e.Seq)] {
				t.Errorf("seed %d: change %d was not given", seed, e.Seq)
			}
			if e.ResourceType == "Study" {
				became[e.ID] = e.ChangeType == "StableStudy"
			}
		}
		for _, e := range s.list {
			if trigger == "" && e.ChangeType == "NewStudy" && !became[e.ID] && s.there[e.Path] && !given[e.ID+fmt.Sprint(" ", e.Seq, "s")] {
				t.Errorf("seed %d: a study whose StableStudy a restart prevented was not given", seed)
			}
		}
	}
}
