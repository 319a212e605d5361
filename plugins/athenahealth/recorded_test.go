// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/athenahealth"
	"github.com/rounds-engine/rounds/sdk"
)

// exchange is one that was recorded with the vendor's sandbox.
type exchange struct {
	Request  struct{ Method, Path string }
	Response struct {
		Status  int
		Headers map[string]string
		Body    json.RawMessage
	}
}

func recorded(t *testing.T, file string) []exchange {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "recorded", file))
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// replay answers calls as they were answered when they were recorded: by method and path, one recording after the other.
func replay(t *testing.T, exchanges ...exchange) (_ sdk.Source, asked func() []*url.URL) {
	t.Helper()
	var mu sync.Mutex
	var urls []*url.URL
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/oauth2/v1/token" {
			_, _ = w.Write([]byte(`{"access_token": "token-1", "token_type": "Bearer", "expires_in": 3600}`))
			return
		}
		urls = append(urls, r.URL)
		for i, e := range exchanges {
			path, _, _ := strings.Cut(e.Request.Path, "?")
			if e.Request.Method != r.Method || path != r.URL.Path {
				continue
			}
			exchanges = append(exchanges[:i:i], exchanges[i+1:]...)
			for name, value := range e.Response.Headers {
				w.Header().Set(name, value)
			}
			w.WriteHeader(e.Response.Status)
			_, _ = w.Write(e.Response.Body)
			return
		}
		t.Errorf("nothing was recorded for %s %s", r.Method, r.URL.Path)
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(server.Close)
	s, err := athenahealth.Open(t.Context(), config(t, server.URL, `, "department_ids": ["1"]`), sdk.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, func() []*url.URL {
		mu.Lock()
		defer mu.Unlock()
		return urls
	}
}

// TestTheRecordedFeedsAreRead: an active subscription and an empty queue, of the year 2016 and of 2020, whose members differ in order.
func TestTheRecordedFeedsAreRead(t *testing.T) {
	for feed, file := range map[string]string{"appointments": "appointment_subscription.json", "patients": "patient_subscription.json"} {
		exchanges := recorded(t, file)
		if feed == "appointments" {
			changed := recorded(t, "appointments_changed.json")
			for i := range changed { // recorded years before the subscription
				delete(changed[i].Response.Headers, "Date")
			}
			exchanges = append(exchanges, changed...)
		}
		s, asked := replay(t, exchanges...)
		page, err := s.Poll(t.Context(), sdk.Query{Feed: feed, Recover: true})
		if err != nil || page.Cursor == nil || page.Now.IsZero() {
			t.Fatalf("%s: %+v, %v", feed, page, err)
		}
		page, err = s.Poll(t.Context(), sdk.Query{Feed: feed, Cursor: page.Cursor})
		if err != nil || page.Watermark == nil || len(page.Changes) > 0 {
			t.Errorf("%s: %+v, %v", feed, page, err)
		}
		if q := asked()[1].Query(); q.Get("departmentid") != "1" || q.Get("limit") != "1000" || q.Has("offset") || q.Has("leaveunprocessed") {
			t.Errorf("%s: asked %v", feed, q)
		}
	}
}

// TestTheRecordedRefusalIsExplained: what is read without a subscription is answered 403, and an inactive subscription is told as such.
func TestTheRecordedRefusalIsExplained(t *testing.T) {
	var refused, inactive exchange
	for _, e := range recorded(t, "provider_subscription.json") {
		if e.Response.Status == http.StatusForbidden {
			refused = e
		}
	}
	for _, e := range recorded(t, "patient_subscription.json") {
		if strings.Contains(string(e.Response.Body), "INACTIVE") {
			inactive = e
		}
	}
	refused.Request.Path = "/v1/195900/patients/changed"
	inactive.Request.Path = "/v1/195900/patients/changed/subscription"
	s, _ := replay(t, refused, inactive)
	_, err := s.Poll(t.Context(), sdk.Query{Feed: "patients", Watermark: []byte(`{"read":"2020-03-11T18:00:00Z"}`)})
	wantError(t, err, sdk.CodeForbidden, "there is no subscription to feed patients of this practice, without which nothing is collected for it: "+
		"set manage_subscription = true, or have it made once by POST /v1/{practiceid}/patients/changed/subscription with the same key")
}

// TestRecordedAppointmentsBecomeChanges: the output of the feed "is the same as /appointments/booked", of which there are recordings.
func TestRecordedAppointmentsBecomeChanges(t *testing.T) {
	booked := recorded(t, "booked_appointments.json")[0]
	booked.Request.Path = "/v1/195900/appointments/changed"
	s, _ := replay(t, booked)
	page, err := s.Poll(t.Context(), sdk.Query{Feed: "appointments", Watermark: []byte(`{"read":"2016-04-08T08:00:00Z"}`)})
	if err != nil || len(page.Changes) != 12 {
		t.Fatal(len(page.Changes), err)
	}
	c := page.Changes[0]
	at := time.Date(2016, 4, 3, 0, 0, 54, 0, time.UTC) // 04/02/2016 20:00:54 in Boston
	if c.Ref != (sdk.Ref{Kind: "appointment", ID: "695324"}) || c.Version != "04/02/2016 20:00:54" || !c.Time.Equal(at) || c.Actor != "API-2530" || c.Err != nil {
		t.Errorf("%+v", c)
	}
}

// TestRecordedResourcesAreFetched without the list around them.
func TestRecordedResourcesAreFetched(t *testing.T) {
	for ref, want := range map[sdk.Ref]struct{ file, text string }{
		{Kind: "patient", ID: "5309"}:           {"find_patient.json", `"lastname"`},
		{Kind: "appointment", ID: "150777"}:     {"find_appointment.json", `"appointmentid"`},
		{Kind: "department", ID: "162"}:         {"find_department.json", `"departmentid"`},
		{Kind: "provider", ID: "86"}:            {"find_provider.json", `"providerid"`},
		{Kind: "encounter", ID: "28302"}:        {"find_encounter.json", `"encounterid"`},
		{Kind: "encounter_orders", ID: "28302"}: {"encounter_orders.json", `"documentid"`},
	} {
		s, _ := replay(t, recorded(t, want.file)...)
		results, err := s.Fetch(t.Context(), []sdk.Ref{ref})
		if err != nil || results[0].Err != nil {
			t.Errorf("%s: %v, %v", ref.Kind, err, results[0].Err)
			continue
		}
		data := string(results[0].Data)
		if strings.HasPrefix(strings.TrimSpace(data), "[") != (ref.Kind == "encounter_orders") || !strings.Contains(data, want.text) {
			t.Errorf("%s: %.60s…", ref.Kind, data)
		}
	}
}
