// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// A list of an hour, in which a study comes every six seconds.
func deepList(t *testing.T) *server {
	s := newServer(t)
	for n := range 600 {
		s.store(fmt.Sprint("P", n), "1", 1)
		s.pass(6 * time.Second)
	}
	return s
}

func TestAStartAtThePresentReadsNothingOfWhatIsOld(t *testing.T) {
	s := deepList(t)
	s.pass(time.Hour)
	r := s.reader("studies", newTrigger)
	r.query.Overlap, r.query.Start.At = 2*time.Minute, s.clock
	r.reads()
	if calls := s.calls(); !slices.Equal(calls, []string{"/tools/now", "/changes?last", "/changes?since=2399&limit=1001"}) {
		t.Errorf("asked %q", calls)
	}
	s.store("A", "1", 1)
	r.reads("NewStudy 2403")
	s.store("B", "1", 1)
	r.reads("NewStudy 2403", "NewStudy 2407")
}

// The engine drops what is dated before the start, but has to know it, as far back as the overlap and a clock that is behind reach.
func TestAStartReadsFromTheOverlapAndTheLagBeforeIt(t *testing.T) {
	s := deepList(t)
	for _, ago := range []time.Duration{0, time.Second, 10 * time.Minute, 40 * time.Minute} {
		r := s.reader("studies", newTrigger)
		r.query.Overlap, r.query.Start.At = 2*time.Minute, s.clock.Add(-ago)
		page, err := r.source.Poll(t.Context(), r.query)
		if err != nil {
			t.Fatal(err)
		}
		if calls := s.calls(); len(calls) > 25 || time.Since(page.Now).Abs() > time.Minute {
			t.Errorf("%d calls, and a clock of %v", len(calls), page.Now)
		}
		if first, want := page.Changes[0].Time, s.clock.Add(-ago-12*time.Minute); first.After(want.Add(6*time.Second)) || first.Before(want.Add(-2*time.Second)) {
			t.Errorf("from %v on, want %v", first, want)
		}
	}
}

func TestAStartBeforeAllReadsAll(t *testing.T) {
	s := deepList(t)
	for _, at := range []time.Time{{}, utc("2020-01-01T00:00:00Z"), s.clock.Add(-time.Hour)} {
		r := s.reader("studies", newTrigger)
		r.query.Start.At = at
		if n := len(r.read()); n != 600 {
			t.Errorf("%d from %v on", n, at)
		}
	}
}

func TestAStartFindsItsPlaceAmongGaps(t *testing.T) {
	s := deepList(t)
	s.list = slices.DeleteFunc(s.list, func(e entry) bool { return e.Seq%997 > 3 && e.Seq%997 < 900 })
	for ago := time.Duration(0); ago < 70*time.Minute; ago += 7 * time.Minute {
		at := s.clock.Add(-ago)
		bound, want := at.Add(-10*time.Minute), 0
		for _, e := range s.list {
			if e.ResourceType == "Study" && e.Date >= bound.Format("20060102T150405") {
				want++
			}
		}
		r := s.reader("studies", newTrigger)
		r.query.Start.At = at
		if got := len(r.read()); got < want || got > want+2 {
			t.Errorf("%d changes from %v on, want %d", got, bound, want)
		}
	}
}

func TestAStartOfAnEmptyListReadsWhatComes(t *testing.T) {
	s := newServer(t)
	s.store("A", "1", 1)
	s.empty()
	r := s.reader("studies", newTrigger)
	r.query.Start.At = s.clock
	r.reads()
	s.store("B", "1", 1)
	r.reads("NewStudy 7")
	s.renew()
	s.store("C", "1", 1)
	r.fails("watermark_expired", anew)
}

// A start of "now" is by the engine's clock. What comes after it is dated before it where Orthanc's clock is behind.
func TestAStartReachesBackToAClockThatIsFarBehind(t *testing.T) {
	s := deepList(t)
	s.clock, s.behind = time.Now().Add(-3*time.Hour), 3*time.Hour
	start := time.Now()
	s.store("A", "1", 1)
	s.pass(time.Minute)
	r := s.reader("studies", newTrigger)
	r.query.Start.At = start
	page, err := r.source.Poll(t.Context(), r.query)
	if err != nil || len(page.Changes) != 1 || page.Changes[0].Ref.ID != id("study", "A", "1") {
		t.Errorf("%v, %d changes", err, len(page.Changes))
	}
	if behind := time.Since(page.Now); behind < 179*time.Minute || behind > 181*time.Minute {
		t.Errorf("the server's clock is said to be %v behind", behind)
	}
}

// Local times of the hour that comes twice do not grow. None that is wanted is left out.
func TestAStartInTheHourThatComesTwiceLosesNothing(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	s.zone, s.clock = newYork, utc("2026-11-01T03:00:00Z")
	for range 300 {
		s.store("A", fmt.Sprint(s.clock.Unix()), 1)
		s.pass(time.Minute)
	}
	for ago := time.Duration(0); ago < 5*time.Hour; ago += 17 * time.Minute {
		at := s.clock.Add(-ago)
		r := s.reader("studies", newTrigger+`, "zone": "America/New_York"`)
		r.query.Start.At = at
		r.read()
		var got []string
		for _, c := range r.given {
			got = append(got, c.Ref.ID)
		}
		for since := at.Add(-10 * time.Minute); since.Before(s.clock); since = since.Add(time.Minute) {
			if study := id("study", "A", fmt.Sprint(since.Unix())); since.After(utc("2026-11-01T03:00:00Z")) && !slices.Contains(got, study) {
				t.Fatalf("from %v on: that of %v was not read", at, since)
			}
		}
	}
}

func TestAUserWhoMayNotAskForTheClockCanStart(t *testing.T) {
	s := newServer(t)
	s.store("A", "1", 1)
	r := s.reader("studies", newTrigger)
	r.query.Start.At = s.clock
	s.without("/tools/now")
	page, err := r.source.Poll(t.Context(), r.query)
	if err != nil || !page.Now.IsZero() || len(page.Changes) != 1 {
		t.Errorf("%v, %+v", err, page)
	}
}
