// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

const anew = "GET /changes: the numbers have begun anew, so the database is not the one that was read before"

// read four changes of an Orthanc, an hour before what comes next.
func beforeAReset(t *testing.T) (*server, *reader) {
	s := newServer(t)
	s.store("A", "1", 1)
	s.store("A", "1", 2)
	r := s.reader("studies", newTrigger)
	r.query.Overlap = 2 * time.Minute
	r.reads("NewStudy 3")
	s.pass(time.Hour)
	return s, r
}

func TestADatabaseThatWasMadeAnewIsAGap(t *testing.T) {
	for name, reset := range map[string]func(*server){
		"nothing was stored in it yet":   func(*server) {},
		"its numbers are smaller":        func(s *server) { s.store("B", "1", 1) },
		"its last number is the one":     func(s *server) { s.store("B", "1", 1); s.store("B", "1", 2) },
		"its numbers are greater":        func(s *server) { s.store("B", "1", 1); s.store("B", "1", 2); s.store("C", "1", 1) },
		"the same was stored again":      func(s *server) { s.store("A", "1", 1); s.store("A", "1", 2); s.store("A", "2", 1) },
		"that of the number was deleted": func(s *server) { s.store("B", "1", 1); s.store("C", "1", 1); s.remove("/instances/" + id("C", "1", 1)) },
		"all around the number was deleted": func(s *server) {
			s.store("B", "1", 1)
			for n := range 5 {
				s.store("C", "1", n)
			}
			for n := range 4 {
				s.remove("/instances/" + id("C", "1", n))
			}
		},
		"all was deleted that was stored": func(s *server) { s.store("B", "1", 1); s.empty() },
	} {
		t.Run(name, func(t *testing.T) {
			s, r := beforeAReset(t)
			s.renew()
			reset(s)
			r.query.Limit = 1 // pages of what is in the overlap come before the place
			r.fails(sdk.CodeWatermarkExpired, anew)
			r.query.Limit = 0
			r.fails(sdk.CodeWatermarkExpired, anew)
			r.fails(sdk.CodeWatermarkExpired, anew) // until a person says where it goes on
			r.query.Watermark = nil
			r.read()
			r.read()
		})
	}
}

// Dates are of a second. The number that was read last is asked for, also when what the overlap has before it fills a page.
func TestAResetWithinASecondIsAGap(t *testing.T) {
	s := newServer(t)
	s.store("A", "1", 1)
	s.store("A", "2", 1)
	r := s.reader("studies", newTrigger)
	r.query.Overlap = 2 * time.Minute
	r.reads("NewStudy 3", "NewStudy 7")
	s.renew()
	for n := range 3 {
		s.store("B", fmt.Sprint(n), 1)
	}
	for _, limit := range []int{1, 3, 0} {
		r.query.Limit = limit
		r.fails(sdk.CodeWatermarkExpired, anew)
	}
}

// A pipeline's window may be read half when the database is made anew.
func TestAResetBetweenPagesIsAGap(t *testing.T) {
	s, r := beforeAReset(t)
	r.query.Limit = 3
	for n := range 10 {
		s.store("B", "1", n)
	}
	page, err := r.source.Poll(t.Context(), r.query)
	if err != nil || page.Cursor == nil {
		t.Fatal(err, page)
	}
	s.pass(time.Hour)
	s.renew()
	for n := range 30 {
		s.store("C", "1", n)
	}
	r.query.Cursor = page.Cursor
	r.fails(sdk.CodeWatermarkExpired, anew)
}

func TestDeletionsAreNoReset(t *testing.T) {
	for name, remove := range map[string]func(*server){
		"of what was read last":  func(s *server) { s.remove("/instances/" + id("A", "1", 2)) },
		"of all that was read":   func(s *server) { s.empty() },
		"of what was read first": func(s *server) { s.remove("/instances/" + id("A", "1", 1)) },
		"of what was read last, and of what came then": func(s *server) {
			s.remove("/instances/" + id("A", "1", 2))
			s.store("B", "1", 1)
			s.remove("/instances/" + id("B", "1", 1))
		},
		"of the list":              func(s *server) { s.forget() },
		"by a file that came anew": func(s *server) { s.store("A", "1", 2) },
	} {
		t.Run(name, func(t *testing.T) {
			s, r := beforeAReset(t)
			remove(s)
			r.read()
			s.pass(time.Hour)
			s.store("Z", "1", 1)
			if got := r.read(); len(got) == 0 || got[len(got)-1][:8] != "NewStudy" {
				t.Errorf("read %q", got)
			}
			s.pass(time.Hour)
			s.store("Z", "2", 1)
			if got := r.read(); len(got) != 2 { // the one before was the newest when it was read
				t.Errorf("read %q", got)
			}
		})
	}
}

// When the list was emptied, what it had that was not read is missing. That can't be told from deletions, so a person is told.
func TestAnEmptiedListIsRemarkedOnce(t *testing.T) {
	s, r := beforeAReset(t)
	s.store("B", "1", 1) // 6 to 9 are never read
	s.forget()
	r.reads()
	s.pass(time.Hour)
	s.store("C", "1", 1)
	r.reads("NewStudy 12")
	if !slices.Equal(r.notes, []string{"changes-missing"}) {
		t.Errorf("notes %q", r.notes)
	}
	s.forget() // all of it was read
	s.store("D", "1", 1)
	r.reads("NewStudy 16")
	r.reads("NewStudy 16")
	if len(r.notes) != 1 {
		t.Errorf("notes %q", r.notes)
	}
}

func TestAQuietListCostsOneCall(t *testing.T) {
	s, r := beforeAReset(t)
	r.read()
	s.calls()
	r.read()
	if calls := s.calls(); !slices.Equal(calls, []string{"/changes?since=0&limit=1000"}) {
		t.Errorf("asked %q", calls)
	}
	r.query.Overlap = 0
	r.read()
	s.calls()
	r.read()
	if calls := s.calls(); !slices.Equal(calls, []string{"/changes?since=4&limit=1001"}) {
		t.Errorf("asked %q", calls)
	}
}

// Where clocks are set back, a change may be dated before an older one: that is no other database.
func TestTheHourThatComesTwiceIsNoReset(t *testing.T) {
	s := newServer(t)
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	s.zone, s.clock = newYork, utc("2026-11-01T05:50:00Z") // 01:50 before the change
	s.store("A", "1", 1)
	s.clock = utc("2026-11-01T06:10:00Z") // 01:10 after it
	s.store("B", "1", 1)
	r := s.reader("studies", newTrigger+`, "zone": "America/New_York"`)
	r.read()
	s.remove("/patients/" + id("patient", "B")) // what was read last
	r.reads()
	if at := r.given[0].Time; !at.Equal(utc("2026-11-01T06:50:00Z")) {
		t.Errorf("a time that comes twice is told as %v", at)
	}
}
