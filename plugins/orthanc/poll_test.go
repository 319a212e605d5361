// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

const newTrigger = `, "trigger": "new"`

func TestEachFeedGivesTheChangesOfItsLevel(t *testing.T) {
	s := newServer(t)
	s.store("A", "1", 1) // 1 instance, 2 series, 3 study, 4 patient
	s.store("A", "1", 2) // 5 instance
	s.settle()           // 6 series, 7 study, 8 patient
	for feed, want := range map[string]string{
		"patients": "NewPatient 4, StablePatient 8", "studies": "NewStudy 3, StableStudy 7", "series": "NewSeries 2, StableSeries 6",
		"instances": "NewInstance 1, NewInstance 5",
	} {
		was, is, _ := strings.Cut(want, ", ")
		if feed == "instances" { // have the one event only
			was, is = want, want
		}
		if got := strings.Join(s.reader(feed, newTrigger).read(), ", "); got != was {
			t.Errorf("%s that are new: %q, want %q", feed, got, was)
		}
		if got := strings.Join(s.reader(feed, "").read(), ", "); got != is {
			t.Errorf("%s that are stable: %q, want %q", feed, got, is)
		}
	}
}

func TestAChangeHoldsWhatOrthancListsOfIt(t *testing.T) {
	s := newServer(t)
	study := s.store("A", "1", 1)
	r := s.reader("studies", newTrigger)
	r.read()
	c := r.given[0]
	if c.Ref != (sdk.Ref{Kind: "study", ID: study}) || c.Version != "3" || c.Event != "NewStudy" || !c.Time.Equal(utc("2026-05-10T10:00:00Z")) ||
		c.Op != "" || c.Err != nil || !bytes.Contains(c.Data, []byte(`"Path":"/studies/`+study+`"`)) {
		t.Errorf("%+v with %s", c, c.Data)
	}
}

func TestNothingIsLostOrTwiceAtAPagesEnd(t *testing.T) {
	s := newServer(t)
	var want []string
	for n := range 7 {
		s.store(fmt.Sprint("P", n), "1", 1)
		want = append(want, fmt.Sprint("NewStudy ", n*4+3))
	}
	for _, overlap := range []time.Duration{0, time.Minute} {
		for _, limit := range []int{0, 1, 2, 3, 4, 5, 7, 9, 14, 27, 28, 29, 5000} {
			r := s.reader("studies", newTrigger)
			r.query.Limit, r.query.Overlap = limit, overlap
			r.reads(want...)
			if pages := (28 + limit - 1) / max(limit, 1); limit > 0 && r.pages != pages {
				t.Errorf("%d pages of %d, want %d", r.pages, limit, pages)
			}
		}
	}
}

func TestReadingGoesOnBehindTheNumberThatWasReadLast(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", newTrigger)
	r.reads()
	s.store("A", "1", 1)
	r.reads("NewStudy 3")
	r.reads()
	s.store("B", "1", 1)
	r.reads("NewStudy 7")
	r.reads()
}

// What is in the overlap is shown again, and with it what became visible late, with a number below one that was read.
func TestALateNumberIsReadWithinTheOverlap(t *testing.T) {
	s := newServer(t)
	r := s.reader("studies", newTrigger)
	r.query.Overlap = time.Minute
	s.store("A", "1", 1)
	s.pass(2 * time.Minute)
	s.store("B", "1", 1)
	late := s.list[6]
	s.list = slices.Delete(s.list, 6, 7) // Seq 7, which another transaction has not committed
	r.reads("NewStudy 3")
	s.list = slices.Insert(s.list, 6, late)
	r.reads("NewStudy 7")
	r.reads("NewStudy 7") // again, and only that: the other is older than the overlap
	s.pass(2 * time.Minute)
	s.store("C", "1", 1)
	r.reads("NewStudy 7", "NewStudy 11")
	r.reads("NewStudy 11")
}

func TestAStormIsNotReadOverAndOver(t *testing.T) {
	s := newServer(t)
	for n := range 3000 {
		s.store("A", fmt.Sprint(n), 1)
	}
	r := s.reader("instances", "")
	r.query.Overlap = time.Minute
	if first, again := len(r.read()), len(r.read()); first != 3000 || again > 3400 || again < 2500 {
		t.Errorf("%d changes of about 9000 numbers were read, and %d again", first, again)
	}
	for n := range 3000 {
		s.store("A", fmt.Sprint("more ", n), 1)
	}
	r.read()
	if again := len(r.read()); again < 3000 || again > 3500 { // of 10,000 numbers one in three
		t.Errorf("%d changes were read again", again)
	}
}

// With limit=0 Orthanc shows nothing and gives the last number of all: going on there would lose what it did not show.
func TestAnAnswerThatShowsNothingAndIsNotDoneIsNoProgress(t *testing.T) {
	s := newServer(t)
	s.store("A", "1", 1)
	s.override = func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		q.Set("limit", "0")
		r.URL.RawQuery = q.Encode()
		s.changes(w, r)
	}
	r := s.reader("studies", newTrigger)
	r.fails(sdk.CodeRetryable, "GET /changes: shows no change and says that there are more")
	s.override = nil
	r.reads("NewStudy 3")
	for _, call := range s.calls() {
		if strings.Contains(call, "limit=0") || strings.HasSuffix(call, "/changes") {
			t.Errorf("%s was asked for", call)
		}
	}
}

// A number that Orthanc can't read is one of 0 to it, and it lists all from the beginning.
func TestAnAnswerFromAnotherNumberIsRefused(t *testing.T) {
	s := newServer(t)
	s.store("A", "1", 1)
	r := s.reader("studies", newTrigger)
	r.read()
	s.store("B", "1", 1)
	s.override = func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawQuery = "since=99999999999999999999"
		s.changes(w, r)
	}
	r.fails(sdk.CodeRetryable, "GET /changes: the numbers do not grow from the one that was asked for")
}

func TestAnAnswerOfAnotherFormIsAnError(t *testing.T) {
	s := newServer(t)
	for body, want := range map[string]string{
		`{}`:                            "has no Changes, Done and Last",
		`[]`:                            "has no Changes, Done and Last",
		`null`:                          "has no Changes, Done and Last",
		`{"Changes": [], "Done": true}`: "has no Changes, Done and Last",
		`{"Changes": null, "Done": true, "Last": 0}`:                                           "has no Changes, Done and Last",
		`{"Changes": [], "Done": true, "Last": 1e99}`:                                          "has no Changes, Done and Last",
		`{"Changes": [{}], "Done": true, "Last": 1}`:                                           "not of the form of a change",
		`{"Changes": ["c4n4ry"], "Done": true, "Last": 1}`:                                     "not of the form of a change",
		`{"Changes": [{"Seq": "c4n4ry"}], "Done": true, "Last": 1}`:                            "not of the form of a change",
		`{"Changes": [{"Seq": 2, "ID": "a"}, {"Seq": 2, "ID": "b"}], "Done": true, "Last": 1}`: "do not grow",
		`{"Changes": [{"Seq": -5, "ID": "a"}], "Done": true, "Last": 1}`:                       "do not grow",
		`<html>c4n4ry</html>`: "where JSON was expected",
	} {
		s.override = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
		_, err := s.reader("studies", "").try()
		if sdk.CodeOf(err) != sdk.CodeRetryable || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func TestAChangeWithoutAnIDIsBrokenAndTheOthersGoOn(t *testing.T) {
	s := newServer(t)
	s.store("A", "1", 1)
	s.store("B", "1", 1)
	s.list[2].ID, s.list[6].Date = "", "yesterday"
	r := s.reader("studies", newTrigger)
	r.reads("NewStudy 3", "NewStudy 7")
	if err := r.given[0].Err; sdk.CodeOf(err) != sdk.CodePermanent || err.Error() != "GET /changes: a change without an ID" {
		t.Error(err)
	}
	if c := r.given[1]; c.Err != nil || !c.Time.IsZero() {
		t.Errorf("%v at %v", c.Err, c.Time)
	}
}

func TestARefusalIsTold(t *testing.T) {
	s := newServer(t)
	for status, want := range map[int]sdk.Code{
		401: sdk.CodeUnauthorized, 403: sdk.CodeForbidden, 404: sdk.CodeNotFound, 400: sdk.CodePermanent,
	} {
		s.override = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
		_, err := s.reader("studies", "").try()
		if sdk.CodeOf(err) != want || !strings.HasPrefix(err.Error(), "GET /changes: ") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestMetadataAndAttachmentsMakeAChangeWhenAskedFor(t *testing.T) {
	s := newServer(t)
	study := s.store("A", "1", 1)
	s.settle()
	s.log("UpdatedMetadata", "Study", "/studies/"+study)
	s.log("UpdatedAttachment", "Study", "/studies/"+study)
	s.log("UpdatedMetadata", "Series", "/series/"+study)
	s.reader("studies", "").reads("StableStudy 6")
	s.reader("studies", `, "updates": true`).reads("StableStudy 6", "UpdatedMetadata 8", "UpdatedAttachment 9")
}

// The only file of a study has the study made anew with it: it is new once more, and the engine, to which its record is known, takes it for
// an update.
func TestAFileThatIsOverwrittenMakesAnotherChangeOfTheSameRecord(t *testing.T) {
	s := newServer(t)
	instances, arrived, stable := s.reader("instances", ""), s.reader("studies", newTrigger), s.reader("studies", "")
	for _, want := range []struct{ instance, arrived, stable string }{
		{"NewInstance 1", "NewStudy 3", "StableStudy 6"}, {"NewInstance 8", "NewStudy 10", "StableStudy 13"},
	} {
		s.store("A", "1", 1)
		s.settle()
		instances.reads(want.instance)
		arrived.reads(want.arrived)
		stable.reads(want.stable)
	}
	for _, r := range []*reader{instances, arrived, stable} {
		if a, b := r.given[0], r.given[1]; a.Ref != b.Ref || b.Op == sdk.Created || a.Version == b.Version {
			t.Errorf("%+v and %+v", a, b)
		}
	}
}

func TestOtherFeedsAreRefused(t *testing.T) {
	s := newServer(t)
	r := s.reader("exports", "")
	r.fails(sdk.CodePermanent, `there is no feed "exports"; there are patients, studies, series and instances`)
	if n := len(s.calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestWatermarksOfOthersAndCursorsOfOtherVersionsHaveExpired(t *testing.T) {
	s := newServer(t)
	for _, other := range []string{`null`, `{"t":"2026-05-10T10:00:00Z"}`, `17`, `{"last":-1,"again":-2}`, `{"last":5,"again":6}`, `{"last":5} {}`, `[]`, `x`} {
		r := s.reader("studies", "")
		r.query.Watermark = []byte(other)
		r.fails(sdk.CodeWatermarkExpired, "another adapter wrote it")
		r = s.reader("studies", "")
		r.query.Cursor = []byte(other)
		r.fails(sdk.CodeCursorExpired, "another version of the adapter")
	}
}
