// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sampleehr_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// clock is a clock that stands until it is set.
type clock struct{ now time.Time }

func newEHR(t *testing.T, o sampleehr.Options) (*sampleehr.EHR, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 5, 10, 14, 0, 0, 0, time.UTC)} // 10:00 in New York
	if o.Now == nil {
		o.Now = func() time.Time { return c.now }
	}
	e, err := sampleehr.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e, c
}

func get(t *testing.T, e http.Handler, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

func list(t *testing.T, body []byte) []sampleehr.Appointment {
	t.Helper()
	var all []sampleehr.Appointment
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatalf("%v in %.200s", err, body)
	}
	return all
}

func ids(all []sampleehr.Appointment) string {
	var s []string
	for _, a := range all {
		s = append(s, a.ID)
	}
	return strings.Join(s, " ")
}

func TestChangedSinceIsInclusiveAndInTheEHRsZone(t *testing.T) {
	e, clock := newEHR(t, sampleehr.Options{})
	all := e.IDs()
	if err := e.Cancel(all[3], "Patient"); err != nil {
		t.Fatal(err)
	}
	clock.now = clock.now.Add(time.Second)
	if err := e.Move(all[1], time.Hour); err != nil {
		t.Fatal(err)
	}
	for since, want := range map[string]string{
		"2026-05-10T10:00:00": all[3] + " " + all[1],
		"2026-05-10T10:00:01": all[1],
		"2026-05-10T10:00:02": "",
	} {
		w := get(t, e, "/appointments?changedsince="+since)
		if got := ids(list(t, w.Body.Bytes())); w.Code != http.StatusOK || got != want {
			t.Errorf("since %s: %d, %q, want %q", since, w.Code, got, want)
		}
	}
	if w := get(t, e, "/appointments?changedsince=yesterday"); w.Code != http.StatusBadRequest {
		t.Error("not a time, and yet", w.Code)
	}
	moved := list(t, get(t, e, "/appointments?changedsince=2026-05-10T10:00:01").Body.Bytes())[0]
	if moved.LastUpdated != "2026-05-10T10:00:01" || moved.Start.Sub(moved.PreviousStart) != time.Hour {
		t.Errorf("%+v", moved)
	}
	var p sampleehr.Patient
	w := get(t, e, "/patient/"+moved.PatientID)
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.ID != moved.PatientID || p.Name.Last == "" {
		t.Error(err, w.Body)
	}
	if w := get(t, e, "/patient/nobody"); w.Code != http.StatusNotFound {
		t.Error("nobody, and yet", w.Code)
	}
	if c := e.Calls(); c["appointments"] != 5 || c["patient"] != 2 {
		t.Error(c)
	}
}

func TestTheHourThatExistsTwiceIsReadFromItsBegin(t *testing.T) {
	e, clock := newEHR(t, sampleehr.Options{})
	clock.now = time.Date(2026, 11, 1, 5, 30, 0, 0, time.UTC) // 01:30 summer time
	if err := e.Cancel(e.IDs()[0], ""); err != nil {
		t.Fatal(err)
	}
	if got := ids(list(t, get(t, e, "/appointments?changedsince=2026-11-01T01:30:00").Body.Bytes())); got != e.IDs()[0] {
		t.Error(got)
	}
}

func TestLateCommitsAreDatedBackButNeverBeforeTheirLastVersion(t *testing.T) {
	e, clock := newEHR(t, sampleehr.Options{})
	fresh, old := e.IDs()[0], e.IDs()[1]
	touch := func(a *sampleehr.Appointment) { a.Comment += "." }
	if err := e.Update(fresh, time.Time{}, touch); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{fresh, old} {
		if err := e.Update(id, clock.now.Add(-10*time.Second), touch); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{fresh: "2026-05-10T10:00:00", old: "2026-05-10T09:59:50"} {
		if a, err := e.Appointment(id); err != nil || a.LastUpdated != want {
			t.Errorf("%s: %s, want %s (%v)", id, a.LastUpdated, want, err)
		}
	}
	h := e.History(fresh)[fresh]
	if len(h) != 3 || h[1].Hash == h[2].Hash || h[1].Updated != h[2].Updated || h[2].Number != 3 {
		t.Errorf("two versions of one second: %+v", h)
	}
}

// pages follows rel=next to the end and counts how often each appointment came.
func pages(t *testing.T, e http.Handler, target string, items func([]byte) []sampleehr.Appointment) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for n := 0; target != ""; n++ {
		if n > 100 {
			t.Fatal("no end")
		}
		w := get(t, e, target)
		for _, a := range items(w.Body.Bytes()) {
			seen[a.ID]++
		}
		link, _, _ := strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		target = u.RequestURI()
		if link == "" {
			target = ""
		}
	}
	return seen
}

func TestNumberedPagesDriftAndCursorsDoNot(t *testing.T) {
	numbered := func(b []byte) []sampleehr.Appointment { return list(t, b) }
	withCursor := func(b []byte) []sampleehr.Appointment {
		var page struct {
			Items []sampleehr.Appointment
			Next  *string
		}
		if err := json.Unmarshal(b, &page); err != nil {
			t.Fatal(err)
		}
		return page.Items
	}
	for _, c := range []struct {
		name, target string
		drift        int
		items        func([]byte) []sampleehr.Appointment
		whole        bool
	}{
		{"numbered", "/appointments?limit=7&changedsince=2020-01-01T00:00:00", 0, numbered, true},
		{"numbered, drifting", "/appointments?limit=7&changedsince=2020-01-01T00:00:00", 2, numbered, false},
		{"cursor", "/v2/appointments?limit=7&changedsince=2020-01-01T00:00:00", 0, withCursor, true},
	} {
		e, _ := newEHR(t, sampleehr.Options{})
		e.SetFaults(sampleehr.Faults{Drift: c.drift})
		seen := pages(t, e, c.target, c.items)
		if whole := len(seen) == len(e.IDs()); whole != c.whole {
			t.Errorf("%s: %d of %d appointments came", c.name, len(seen), len(e.IDs()))
		}
	}
}

func TestCursorsSurviveChangesBetweenPages(t *testing.T) {
	e, clock := newEHR(t, sampleehr.Options{})
	n := 0
	seen := pages(t, e, "/v2/appointments?limit=9&changedsince=2020-01-01T00:00:00", func(b []byte) []sampleehr.Appointment {
		var page struct{ Items []sampleehr.Appointment }
		if err := json.Unmarshal(b, &page); err != nil {
			t.Fatal(err)
		}
		if n < 5 {
			clock.now = clock.now.Add(time.Second)
			if err := e.Move(e.IDs()[n], time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		n++
		return page.Items
	})
	if len(seen) != len(e.IDs()) {
		t.Errorf("%d of %d appointments came", len(seen), len(e.IDs()))
	}
}

func TestCredentials(t *testing.T) {
	for _, c := range []struct {
		name string
		o    sampleehr.Options
		set  func(*http.Request)
		want int
	}{
		{"none asked", sampleehr.Options{}, func(*http.Request) {}, 200},
		{"bearer", sampleehr.Options{Token: "t"}, func(r *http.Request) { r.Header.Set("Authorization", "Bearer t") }, 200},
		{"wrong bearer", sampleehr.Options{Token: "t"}, func(r *http.Request) { r.Header.Set("Authorization", "Bearer u") }, 401},
		{"basic", sampleehr.Options{User: "u", Password: "p"}, func(r *http.Request) { r.SetBasicAuth("u", "p") }, 200},
		{"no basic", sampleehr.Options{User: "u", Password: "p"}, func(*http.Request) {}, 401},
	} {
		e, _ := newEHR(t, c.o)
		r := httptest.NewRequest(http.MethodGet, "/patient/P1001", nil)
		c.set(r)
		w := httptest.NewRecorder()
		if e.ServeHTTP(w, r); w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		}
	}
}

func TestFaultsHappen(t *testing.T) {
	e, _ := newEHR(t, sampleehr.Options{})
	s := httptest.NewServer(e)
	defer s.Close()
	for list, check := range map[string]func(*http.Response, []byte, error) bool{
		"5xx=1": func(r *http.Response, _ []byte, _ error) bool { return r != nil && r.StatusCode >= 500 },
		"429=1": func(r *http.Response, _ []byte, _ error) bool {
			return r != nil && r.StatusCode == http.StatusTooManyRequests && r.Header.Get("Retry-After") == "1"
		},
		"html=1": func(r *http.Response, b []byte, _ error) bool {
			return r != nil && r.StatusCode == http.StatusOK && b[0] == '<'
		},
		"reset=1":   func(_ *http.Response, _ []byte, err error) bool { return err != nil },
		"slow=20ms": func(r *http.Response, _ []byte, _ error) bool { return r != nil && r.StatusCode == http.StatusOK },
	} {
		f, err := sampleehr.ParseFaults(list)
		if err != nil {
			t.Fatal(err)
		}
		e.SetFaults(f)
		for range 4 {
			begin := time.Now()
			res, err := http.Get(s.URL + "/patient/P1001")
			var body []byte
			if err == nil {
				body, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if !check(res, body, err) || time.Since(begin) < f.Slow {
				t.Errorf("%s: %v %v", list, res, err)
			}
		}
	}
}

func TestFaultListsAreChecked(t *testing.T) {
	f, err := sampleehr.ParseFaults("slow, late=3s,5xx=0.5,drift=4")
	if want := (sampleehr.Faults{Slow: 300 * time.Millisecond, Late: 3 * time.Second, ServerErrors: 0.5, Drift: 4}); err != nil || f != want {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{"fire", "5xx=2", "slow=soon", "ties=many"} {
		if _, err := sampleehr.ParseFaults(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestRunMakesChangesAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []sampleehr.Change
		e, _ := newEHR(t, sampleehr.Options{Now: time.Now, OnChange: func(c sampleehr.Change) { told = append(told, c) }})
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Second+time.Millisecond)
		defer stop()
		if err := e.Run(ctx, 10); err != nil {
			t.Fatal(err)
		}
		if len(told) < 995 || len(told) > 1001 {
			t.Errorf("%d changes in 100 s", len(told))
		}
		kinds := map[string]int{}
		for _, c := range told {
			kinds[c.What]++
			h := e.History(c.Appointment.ID)[c.Appointment.ID]
			if h[c.Version-1].What != c.What || c.Patient.ID != c.Appointment.PatientID {
				t.Errorf("told %+v, history %+v", c, h[c.Version-1])
			}
		}
		for _, kind := range []string{"booked", "moved", "cancelled", "noshow", "arrived", "edited"} {
			if kinds[kind] == 0 {
				t.Errorf("no change of kind %s among %v", kind, kinds)
			}
		}
	})
}

func TestTiesShareTheirSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seconds := map[string]int{}
		e, _ := newEHR(t, sampleehr.Options{Now: time.Now,
			OnChange: func(c sampleehr.Change) { seconds[c.Appointment.LastUpdated]++ }})
		e.SetFaults(sampleehr.Faults{Ties: 5})
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Second)
		defer stop()
		if err := e.Run(ctx, 1); err != nil {
			t.Fatal(err)
		}
		for second, n := range seconds {
			if n%5 != 0 {
				t.Errorf("%s: %d changes", second, n)
			}
		}
		if len(seconds) < 8 {
			t.Errorf("%d seconds", len(seconds))
		}
	})
}

func TestLoadIsTheSameForTheSameSeed(t *testing.T) {
	o := sampleehr.Options{Seed: 7, Load: sampleehr.Load{Appointments: 500, Patients: 90}}
	a, _ := newEHR(t, o)
	b, _ := newEHR(t, o)
	const all = "/appointments?changedsince=2020-01-01T00:00:00"
	one, two := get(t, a, all).Body.String(), get(t, b, all).Body.String()
	if one != two {
		t.Error("two EHRs of one seed differ")
	}
	patients := map[string]bool{}
	appointments := list(t, []byte(one))
	for _, x := range appointments {
		patients[x.PatientID] = true
	}
	if len(appointments) != 500 || len(patients) != 90 {
		t.Errorf("%d appointments of %d patients", len(appointments), len(patients))
	}
	size, record := len(one)/500, get(t, a, "/patient/P100001").Body.Len()
	if size < 1300 || size > 1800 || record < 1200 || record > 1900 {
		t.Errorf("an appointment has about %d bytes, a patient %d", size, record)
	}
}
