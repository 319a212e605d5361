// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package orthanc_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/orthanc/orthanctest"
	"github.com/rounds-engine/rounds/sdk"
)

// real polls the real Orthanc in the way of the other tests: the fake gives no more than the configuration.
func real(t *testing.T, s *orthanctest.Server, feed, more string) *reader {
	t.Helper()
	credentials := fmt.Sprintf(`, "base_url": %q, "username": %q, "password": %q`, s.URL, orthanctest.User, orthanctest.Password)
	return &reader{t: t, source: open(t, fmt.Sprintf(`{%s%s}`, credentials[2:], more)), query: sdk.Query{Feed: feed}}
}

// events gives the names of the changes that a window has.
func (r *reader) events() []string {
	r.t.Helper()
	var events []string
	for _, told := range r.read() {
		event, _, _ := strings.Cut(told, " ")
		events = append(events, event)
	}
	return events
}

// becomes reads windows until they have given what is wanted, or a while has passed.
func (r *reader) becomes(want ...string) {
	r.t.Helper()
	var got []string
	for limit := time.Now().Add(20 * time.Second); len(got) < len(want) && time.Now().Before(limit); time.Sleep(200 * time.Millisecond) {
		got = append(got, r.events()...)
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("read %q, want %q", got, want)
	}
}

// get asks the fake.
func (s *server) get(t testing.TB, path string, answer any) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
}

// TestCounterpartTheFakeAnswersAsOrthancDoes does the same to both and compares what they list. What the fake's tests show is then true of
// Orthanc.
func TestCounterpartTheFakeAnswersAsOrthancDoes(t *testing.T) {
	t.Parallel()
	fake, s := newServer(t), orthanctest.New(t, map[string]any{"StableAge": 2})
	names := map[string]string{} // that the fake has for identifiers of Orthanc
	seen := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{8}){4}`)
	compare := func(when string) {
		t.Helper()
		for _, query := range []string{"", "?last", "?since=0&limit=0", "?since=3&limit=0", "?since=0&limit=3", "?since=3&limit=2", "?since=4", "?since=7&limit=100000",
			"?since=1000", "?since=-1&limit=2", "?since=99999999999999999999", "?since=x&limit=1", "?limit=2", "?since=2&last", "?since=9223372036854775807"} {
			var got, want struct {
				Changes []entry
				Done    bool
				Last    int64
			}
			if err := json.Unmarshal(s.Get("/changes"+query), &got); err != nil {
				t.Fatal(err)
			}
			fake.get(t, "/changes"+query, &want)
			for i := range got.Changes { // dates are of when, and identifiers of what there is more of in DICOM
				c := &got.Changes[i]
				if len(c.Date) != 15 || !seen.MatchString(c.ID) {
					t.Fatalf("%+v", c)
				}
				if i < len(want.Changes) {
					if names[c.ID] == "" {
						names[c.ID] = want.Changes[i].ID
					}
					c.Date = want.Changes[i].Date
				}
				c.ID = names[c.ID]
				c.Path = c.Path[:strings.LastIndex(c.Path, "/")+1] + c.ID
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("%s, %s\nOrthanc %+v\nfake    %+v", when, query, got, want)
			}
		}
	}
	settle := func() {
		t.Helper()
		fake.settle()
		for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(200 * time.Millisecond) {
			var last struct{ Last int64 }
			if err := json.Unmarshal(s.Get("/changes?last"), &last); err != nil {
				t.Fatal(err)
			}
			if last.Last >= fake.seq {
				return
			}
		}
	}
	store := func(patient, study string, instance int) orthanctest.Stored {
		fake.store(patient, study, instance)
		return s.Store(patient, study, instance, "Knee")
	}
	compare("nothing was stored")
	store("A", "1", 1)
	compare("stored")
	store("A", "1", 2)
	settle()
	compare("stable")
	again := store("A", "1", 2)
	settle()
	compare("a file was overwritten")
	other := store("B", "1", 1)
	settle()
	s.Delete("/instances/" + again.ID)
	fake.remove("/instances/" + id("A", "1", 2))
	compare("an instance was deleted")
	fake.remove("/patients/" + id("patient", "B"))
	s.Delete("/patients/" + other.ParentPatient)
	compare("a patient was deleted")
	store("C", "1", 1)
	settle()
	store("C", "1", 1)
	settle()
	compare("the only file of a patient was overwritten")
	s.Stop()
	s.Start()
	fake.restart()
	compare("restarted")
	s.Delete("/changes")
	fake.forget()
	compare("the list was emptied")
	store("D", "1", 1)
	compare("stored after that")
}

// Each of the traps that Orthanc sets, on itself.
func TestCounterpartTraps(t *testing.T) {
	t.Parallel()
	s := orthanctest.New(t, nil)
	stable, arrived := real(t, s, "studies", ""), real(t, s, "studies", newTrigger)
	instances := real(t, s, "instances", `, "updates": true`)
	one := s.Store("A", "1", 1, "Knee")
	arrived.becomes("NewStudy")
	stable.becomes("StableStudy")
	instances.becomes("NewInstance")

	t.Run("one more instance is no new study and makes it stable once more", func(t *testing.T) {
		s.Store("A", "1", 2, "Knee")
		stable.becomes("StableStudy")
		instances.becomes("NewInstance")
		arrived.becomes()
	})
	t.Run("a file that is overwritten is the same record", func(t *testing.T) {
		s.Store("A", "1", 2, "Left knee")
		stable.becomes("StableStudy")
		instances.becomes("NewInstance")
		if n := len(instances.given); instances.given[n-1].Ref != instances.given[n-2].Ref {
			t.Error("another record")
		}
	})
	t.Run("metadata of an instance", func(t *testing.T) {
		s.Put("/instances/"+one.ID+"/metadata/1024", "reported")
		instances.becomes("UpdatedMetadata")
	})
	t.Run("deletions leave gaps and are not listed", func(t *testing.T) {
		gone := s.Store("B", "1", 1, "Hip")
		arrived.becomes("NewStudy")
		s.Delete("/patients/" + gone.ParentPatient)
		arrived.becomes()
		results, err := arrived.source.Fetch(t.Context(), []sdk.Ref{{Kind: "study", ID: gone.ParentStudy}, {Kind: "study", ID: one.ParentStudy}})
		if err != nil || sdk.CodeOf(results[0].Err) != sdk.CodeNotFound || results[1].Err != nil {
			t.Errorf("%v %+v", err, results)
		}
		s.Store("C", "1", 1, "Hip")
		arrived.becomes("NewStudy")
		stable.becomes("StableStudy")
	})
	t.Run("a start at the present", func(t *testing.T) {
		r := real(t, s, "studies", newTrigger)
		r.query.Start.At = time.Now().Add(time.Hour) // behind the overlap and the lag before it is all that there is
		r.reads()
		s.Store("D", "1", 1, "Hip")
		r.becomes("NewStudy")
		arrived.becomes("NewStudy")
		stable.becomes("StableStudy")
	})
	t.Run("a restart keeps a study from becoming stable", func(t *testing.T) {
		s.Store("E", "1", 1, "Wrist")
		s.Kill() // to stop takes it longer than this Orthanc waits
		s.Start()
		time.Sleep(2 * time.Second)
		if list := string(s.Get("/changes?since=0&limit=1000")); strings.Count(list, `"StableStudy"`) != 5 { // three times A, C and D
			t.Errorf("this Orthanc lists %d stable studies, want 5", strings.Count(list, `"StableStudy"`))
		}
		stable.becomes("StableStudy")
		arrived.becomes("NewStudy")
	})
	t.Run("a database that was made anew and has less", func(t *testing.T) {
		s.Renew()
		arrived.fails(sdk.CodeWatermarkExpired, anew)
		s.Store("A", "1", 1, "Knee")
		arrived.fails(sdk.CodeWatermarkExpired, anew)
	})
	t.Run("and that has more", func(t *testing.T) {
		for n := range 30 {
			s.Store("A", fmt.Sprint(n), 1, "Knee")
		}
		arrived.fails(sdk.CodeWatermarkExpired, anew)
		s.Delete("/patients/" + s.Store("A", "1", 1, "Knee").ParentPatient)
		s.Store("B", "1", 1, "Knee")
		arrived.read() // that all before it was deleted leaves nothing to tell it by
		arrived.query.Watermark = nil
		arrived.becomes("NewStudy")
	})
}
