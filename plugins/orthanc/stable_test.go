// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// Orthanc has what is not stable yet in memory: after a restart it lists no Stable* for it.
func TestAStudyThatARestartKeptFromBecomingStableIsAChange(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", "")
	r.query.Overlap = time.Minute // so that NewStudy is shown again
	study := s.store("A", "1", 1)
	r.reads()
	r.reads() // asks whether it is stable
	s.restart()
	r.reads()
	r.reads("StableStudy 3s")
	if c := r.given[0]; c.Ref != (sdk.Ref{Kind: "study", ID: study}) || c.Err != nil {
		t.Errorf("%+v", c)
	}
	s.calls()
	r.reads()
	if calls := s.calls(); len(calls) != 1 {
		t.Errorf("it is still asked for: %q", calls)
	}
	s.store("A", "1", 2)
	s.settle()
	r.reads("StableStudy 7")
}

// The engine would take a change that it was given for a younger one than the last, and tell it again.
func TestWhatARestartKeptFromBecomingStableIsNotOlderThanWhatWasTold(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", `, "updates": true`)
	study := s.store("A", "1", 1)
	s.pass(time.Minute)
	s.log("UpdatedMetadata", "Study", "/studies/"+study)
	r.reads("UpdatedMetadata 5")
	s.restart()
	r.reads()
	r.reads("StableStudy 3s")
	if a, b := r.given[0], r.given[1]; b.Time.Before(a.Time) {
		t.Errorf("%s is of %s, and %s before it of %s", b.Event, b.Time, a.Event, a.Time)
	}
}

// Whether something is stable can wait; what is listed must not.
func TestAStudyThatCannotBeLookedAtHoldsNothingUp(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"it fails":              func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"it takes all the time": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			r := s.reader("studies", "")
			waits := s.store("A", "1", 1)
			other := s.store("B", "1", 1)
			r.reads()
			between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if strings.HasPrefix(q.URL.Path, "/studies/"+waits) {
					bad(w, q)
					return
				}
				s.answer(w, q)
			}))
			defer between.Close()
			s.log("StableStudy", "Study", "/studies/"+other)
			source := open(t, strings.ReplaceAll(s.text(""), s.URL, between.URL))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			page, err := source.Poll(ctx, r.query)
			if err != nil || len(page.Changes) != 1 || page.Watermark == nil || len(page.Notes) != 1 || page.Notes[0].Code != "stable-unknown" ||
				!strings.HasPrefix(page.Notes[0].Text, "GET /studies/{id}: ") {
				t.Fatalf("%v %+v", err, page)
			}
			r.query.Watermark = page.Watermark
			s.restart()
			r.reads()
			r.reads("StableStudy 3s")
		})
	}
}

func TestAStudyThatBecomesStableIsOneChange(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", "")
	for n := range 5 {
		s.store("A", fmt.Sprint(n), 1)
		if n%2 == 1 {
			s.settle()
		}
		r.read()
		if n == 2 {
			s.settle()
			r.read()
		}
	}
	s.settle()
	for range 4 {
		r.read()
	}
	told := map[string]int{}
	for _, c := range r.given {
		told[c.Ref.ID]++
	}
	if len(r.given) != 5 || len(told) != 5 {
		t.Errorf("%d changes of %d studies", len(r.given), len(told))
	}
}

// Orthanc takes a study for stable an instant before it lists that.
func TestAStudyThatIsStableBeforeThatIsListedIsOneChange(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", "")
	study := s.store("A", "1", 1)
	r.reads()
	s.there["/studies/"+study] = true
	r.reads()
	s.log("StableStudy", "Study", "/studies/"+study)
	r.reads("StableStudy 5")
	r.reads()
	r.reads()
}

// An instance may come just when the adapter has found out that a restart swallowed the event: then there will be another.
func TestAStudyThatGrowsAfterARestartIsWaitedFor(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", "")
	s.store("A", "1", 1)
	r.reads()
	s.restart()
	r.reads()
	s.store("A", "1", 2)
	r.reads()
	r.reads()
	s.settle()
	r.reads("StableStudy 7")
	r.reads()
	r.reads()
}

func TestWhatIsDeletedBeforeItIsStableIsForgotten(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", "")
	study := s.store("A", "1", 1)
	s.store("B", "1", 1)
	r.reads()
	s.remove("/studies/" + study)
	r.reads()
	s.restart()
	r.reads()
	r.reads("StableStudy 7s")
	r.reads()
}

func TestPairsAreFoundOverPages(t *testing.T) {
	s := newServer(t)
	for n := range 20 {
		s.store("A", fmt.Sprint(n), 1)
		if n%3 == 0 {
			s.settle()
		}
	}
	s.settle()
	for limit := range 9 {
		r := s.reader("studies", "")
		r.query.Limit, r.query.Overlap = limit, time.Minute
		if n := len(r.read()); n != 20 {
			t.Errorf("%d changes", n)
		}
		var mark struct{ Waiting []any }
		if err := json.Unmarshal(r.query.Watermark, &mark); err != nil || len(mark.Waiting) != 0 {
			t.Errorf("%s waits", r.query.Watermark)
		}
	}
}

func TestAWatermarkStaysSmallAndHoldsNoIdentifier(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", "")
	var studies []string
	for n := range 2100 {
		studies = append(studies, s.store("A", fmt.Sprint(n), 1))
	}
	r.reads()
	mark := string(r.query.Watermark)
	if len(mark) > 150_000 || !slices.Contains(r.notes, "many-unstable") {
		t.Errorf("%d bytes, notes %q", len(mark), r.notes)
	}
	for _, id := range studies {
		if strings.Contains(mark, id) || strings.Contains(mark, id[:8]+`"`) {
			t.Fatalf("the watermark has %s", id)
		}
	}
	s.calls()
	r.reads()
	if n := len(s.calls()); n != 41 {
		t.Errorf("%d calls", n)
	}
}

// What is asked for and is not stable yet makes room for the others.
func TestAllThatWaitAreAskedForInTurn(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", "")
	for n := range 90 {
		s.store("A", fmt.Sprint(n), 1)
	}
	r.reads()
	asked := map[string]bool{}
	for range 5 {
		s.calls()
		r.reads()
		for _, call := range s.calls() {
			if strings.HasPrefix(call, "/studies/") {
				asked[call] = true
			}
		}
	}
	if len(asked) != 90 {
		t.Errorf("%d of 90 were asked for", len(asked))
	}
}

func TestOnAServerThatStandsStillAQueryHasOneAnswer(t *testing.T) {
	s := newServer(t)
	for n := range 30 {
		s.store("A", fmt.Sprint(n), 1)
		if n%4 == 0 {
			s.settle()
		}
	}
	s.restart()
	q := sdk.Query{Feed: "studies", Limit: 5, Overlap: time.Second}
	source := s.open("")
	for range 100 {
		a, err := source.Poll(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		b, err := source.Poll(t.Context(), q)
		if err != nil || fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
			t.Fatalf("%v\n%+v\n%+v", err, a, b)
		}
		if q.Cursor = a.Cursor; a.Cursor == nil {
			q.Watermark = a.Watermark
		}
	}
}
