// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/athenahealth"
	"github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

func TestAMissingSubscriptionIsMadeOnlyWhereThatIsAllowed(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	r := c.reader("orders")
	wantError(t, r.window(), sdk.CodeForbidden, "set manage_subscription = true, or have it made once by POST /v1/{practiceid}/orders/changed/subscription")
	if c.Subscriptions() > 0 {
		t.Error("it subscribed unasked")
	}

	c = open(t, simulator.Options{SubscribeAfter: 5 * time.Minute}, `, "manage_subscription": true`)
	_, err := c.Poll(t.Context(), sdk.Query{Feed: "orders", Peek: true})
	wantError(t, err, sdk.CodeForbidden, "as manage_subscription = true, rounds run makes it")
	_, err = c.Poll(t.Context(), sdk.Query{Feed: "orders", Peek: true, Recover: true, Watermark: []byte(`{"read":"2026-03-02T14:00:00Z"}`)})
	wantError(t, err, sdk.CodeForbidden, "as manage_subscription = true, rounds run makes it")
	if c.Subscriptions() > 0 {
		t.Error("a mere look subscribed")
	}
	r = c.reader("orders")
	for range 3 {
		wantError(t, r.window(), sdk.CodeRetryable, "feed orders of this practice was subscribed to, which has effect after up to 15m0s")
		c.pass(time.Minute)
	}
	if n := c.Subscriptions(); n != 1 {
		t.Errorf("it subscribed %d times", n)
	}
	c.pass(5 * time.Minute)
	if err := r.window(); err != nil {
		t.Error(err)
	}
}

// TestASubscriptionThatEndsIsToldAndMadeAnew by a feed that was read for long.
func TestASubscriptionThatEndsIsToldAndMadeAnew(t *testing.T) {
	c := open(t, simulator.Options{}, `, "manage_subscription": true`)
	mark := []byte(`{"read":"2026-03-02T14:00:00Z"}`)
	_, err := c.Poll(t.Context(), sdk.Query{Feed: "patients", Watermark: mark})
	wantError(t, err, sdk.CodeRetryable, "feed patients of this practice was subscribed to")
	if page, err := c.Poll(t.Context(), sdk.Query{Feed: "patients", Watermark: mark}); err != nil || page.Watermark == nil {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestARefusalThatIsNotOfTheSubscriptionIsExplained(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	c.Subscribe("appointments")
	c.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/changed") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	_, err := c.Poll(t.Context(), sdk.Query{Feed: "appointments", Watermark: []byte(`{"read":"2026-03-02T14:00:00Z"}`)})
	wantError(t, err, sdk.CodeForbidden, "though there is a subscription: the app has no access to this feed, or to one of department_ids")
	c.do(func() {
		c.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oauth2/v1/token" {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		}
	})
	_, err = c.Poll(t.Context(), sdk.Query{Feed: "appointments", Recover: true})
	wantError(t, err, sdk.CodeForbidden, "the app has no access to subscriptions of this feed")
}

// TestMarksAreAskedForInEasternTimeWideEnough through the night in which an hour comes twice, and the one in which one is missing.
func TestMarksAreAskedForInEasternTimeWideEnough(t *testing.T) {
	for _, wall := range []string{"", "early", "late"} {
		for name, night := range map[string]time.Time{
			"autumn": time.Date(2026, 11, 1, 4, 30, 0, 0, time.UTC), "spring": time.Date(2026, 3, 8, 5, 30, 0, 0, time.UTC),
		} {
			c := open(t, simulator.Options{Wall: wall}, "")
			c.pass(night.Sub(c.now()))
			c.Subscribe("appointments")
			r := c.reader("appointments")
			if err := r.window(); err != nil {
				t.Fatal(err)
			}
			var want []string
			for n := range 40 { // taken over three hours and a half, and none of it committed
				c.pass(5 * time.Minute)
				c.appointment(strconv.Itoa(n), "f")
				want = append(want, strconv.Itoa(n)+"/f")
				if page, err := c.Poll(t.Context(), sdk.Query{Feed: "appointments", Watermark: r.watermark}); err != nil || len(page.Changes) != 1 {
					t.Fatal(page, err)
				}
			}
			r.recover = true
			if err := r.window(); err != nil {
				t.Fatal(err)
			}
			if r.expect(want...); t.Failed() {
				t.Fatalf("in the night of %s, a time that comes twice read as %q: %q", name, wall, c.calls())
			}
		}
	}
}

func TestTimesOfRecordsAreEastern(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	c.Subscribe("appointments")
	r := c.reader("appointments")
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Date(2026, 11, 1, 6, 40, 0, 0, time.UTC).Sub(c.now()))
	for text, want := range map[string]time.Time{
		"07/04/2026 12:00:00": time.Date(2026, 7, 4, 16, 0, 0, 0, time.UTC),
		"01/04/2026 12:00:00": time.Date(2026, 1, 4, 17, 0, 0, 0, time.UTC),
		"11/01/2026 01:30:00": time.Date(2026, 11, 1, 6, 30, 0, 0, time.UTC), // the later one, ten minutes ago
		"11/01/2026 01:50:00": time.Date(2026, 11, 1, 5, 50, 0, 0, time.UTC), // the later one is yet to come
		"soon":                {},
	} {
		c.Set("appointments", "1", map[string]any{"lastmodified": text})
		page, err := c.Poll(t.Context(), sdk.Query{Feed: "appointments", Watermark: r.watermark})
		if err != nil || len(page.Changes) != 1 {
			t.Fatal(page, err)
		}
		if got := page.Changes[0]; !got.Time.Equal(want) || got.Version != text || got.Err != nil {
			t.Errorf("%s: %v, %+v", text, got.Time, got)
		}
	}
}

func TestIdentifiersAreTextWithEveryDigit(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	for feed, answer := range map[string]string{
		"orders":   `{"orders": [{"documentid": 9007199254740993}, {"orderid": "007"}, {"patientid": 1}], "totalcount": "3"}`,
		"patients": `{"totalcount": 3, "patients": [{"patientid": "9007199254740993"}, {"patientid": "007"}, {"departmentid": 1}]}`,
	} {
		c.do(func() {
			c.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/oauth2/v1/token" {
					return false
				}
				_, _ = w.Write([]byte(answer))
				return true
			}
		})
		page, err := c.Poll(t.Context(), sdk.Query{Feed: feed, Watermark: []byte(`{"read":"2026-03-02T14:00:00Z"}`)})
		if err != nil || len(page.Changes) != 3 {
			t.Fatal(page, err)
		}
		if a, b := page.Changes[0], page.Changes[1]; a.Ref.ID != "9007199254740993" || b.Ref.ID != "007" || a.Version != "" {
			t.Errorf("%s: %+v, %+v", feed, a, b)
		}
		wantError(t, page.Changes[2].Err, sdk.CodePermanent, "an item without "+map[string]string{"orders": "documentid or orderid", "patients": "patientid"}[feed])
	}
}

func TestATokenThatExpiresIsRenewedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Options{}, "")
	c.Subscribe("appointments")
	r := c.reader("appointments")
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10200 * time.Millisecond) // the refusal of a newer token is not believed
	c.Expire()
	c.appointment("1", "f")
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	r.expect("1/f")
}

func TestADailyQuotaThatIsUsedUpIsARateLimit(t *testing.T) {
	c := open(t, simulator.Options{DailyQuota: 20}, "")
	c.Subscribe("appointments")
	r := c.reader("appointments")
	var err error
	for range 25 {
		if err = r.window(); err != nil {
			break
		}
	}
	wantError(t, err, sdk.CodeRateLimited, "GET /v1/{practiceid}/appointments/changed: 429 Too Many Requests")
	c.appointment("1", "f")
	c.pass(10 * time.Hour) // midnight GMT
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	r.expect("1/f")

	c = open(t, simulator.Options{}, "")
	c.Subscribe("appointments")
	c.Source = c.another(`, "limits": {"per_day": 3}`)
	r = c.reader("appointments")
	for range 5 {
		if err = r.window(); err != nil {
			break
		}
	}
	if wantError(t, err, sdk.CodeRateLimited, "not called"); c.Calls() > 3 {
		t.Errorf("%d calls, and 3 were allowed", c.Calls())
	}
}

// TestAnotherReaderIsNoticed: what it takes does not come here, and is found once an hour.
func TestAnotherReaderIsNoticed(t *testing.T) {
	for _, reads := range []bool{false, true} {
		c := open(t, simulator.Options{}, "")
		c.Subscribe("appointments")
		r, other := c.reader("appointments"), c.reader("appointments")
		if err := other.window(); err != nil {
			t.Fatal(err)
		}
		for n := range 90 {
			c.appointment(strconv.Itoa(n), "f")
			who := r
			if reads && n%3 == 1 {
				who = other
			}
			if err := who.window(); err != nil {
				t.Fatal(err)
			}
			c.pass(time.Minute)
		}
		note, warned := r.notes["another-reader"]
		if warned != reads {
			t.Errorf("another reads: %t; told: %+v", reads, note)
		}
		if len(r.got) < 60 {
			t.Errorf("%d of 90 came", len(r.got))
		}
	}
}

func TestALookTakesNothingAway(t *testing.T) {
	c := open(t, simulator.Options{}, `, "page_size": 2`)
	c.Subscribe("appointments")
	for n := range 5 {
		c.appointment(strconv.Itoa(n), "f")
	}
	q := sdk.Query{Feed: "appointments", Peek: true, Recover: true}
	seen := 0
	for {
		page, err := c.Poll(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.Changes)
		if q.Cursor = page.Cursor; page.Watermark != nil {
			break
		}
		q.Recover = false
	}
	if seen != 5 || c.Waiting("appointments") != 5 {
		t.Errorf("%d were seen, and %d still wait", seen, c.Waiting("appointments"))
	}
}

// TestAStartInThePastReadsWhatWasTakenSince as after a loss of the state.
func TestAStartInThePastReadsWhatWasTakenSince(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	c.Subscribe("appointments")
	r := c.reader("appointments")
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		c.pass(time.Hour)
		c.appointment(strconv.Itoa(n), "f")
		if err := r.window(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	q := sdk.Query{Feed: "appointments", Start: sdk.Start{At: monday.Add(90 * time.Minute)}, Recover: true}
	for q.Watermark == nil {
		page, err := c.Poll(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range page.Changes {
			seen[ch.Ref.ID] = true
		}
		q.Cursor, q.Watermark, q.Recover = page.Cursor, page.Watermark, false
	}
	if !seen["1"] || !seen["2"] || seen["0"] {
		t.Errorf("of 0 (before the start), 1 and 2 came %v", seen)
	}
}

func TestAForeignPlaceIsRefused(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	for _, text := range []string{"", "null", "7", "{}", `{"t":"2026-01-01T00:00:00Z"}`, `{"read":"soon"}`, `{"read":"2026-01-01T00:00:00Z"} x`} {
		_, err := c.Poll(t.Context(), sdk.Query{Feed: "orders", Watermark: []byte(text)})
		wantError(t, err, sdk.CodeWatermarkExpired, "another adapter")
		_, err = c.Poll(t.Context(), sdk.Query{Feed: "orders", Cursor: []byte(text)})
		wantError(t, err, sdk.CodeWatermarkExpired, "another adapter") // from where to read again is lost
		_, err = c.Poll(t.Context(), sdk.Query{Feed: "orders", Watermark: []byte(`{"read":"2026-01-01T00:00:00Z"}`), Cursor: []byte(text)})
		wantError(t, err, sdk.CodeCursorExpired, "another adapter")
	}
	_, err := c.Poll(t.Context(), sdk.Query{Feed: "claims"})
	wantError(t, err, sdk.CodePermanent, `there is no feed "claims"; there are: appointments, orders, patients`)
	if calls := c.calls(); len(calls) > 0 {
		t.Errorf("it called %q", calls)
	}
}

func TestResources(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	c.Set("patients", "7", map[string]any{"lastname": canary})
	c.Set("orders", "12", map[string]any{"status": "REVIEW"})
	refs := []sdk.Ref{{Kind: "patient", ID: "7"}, {Kind: "patient", ID: canary}, {Kind: "order", ID: "7/12"}, {Kind: "order", ID: "12"},
		{Kind: "patient", ID: ".."}, {Kind: "patient", ID: "7/../8"}, {Kind: "claim", ID: "1"}, {Kind: "order", ID: "../12"}}
	codes := []sdk.Code{"", sdk.CodeNotFound, "", sdk.CodePermanent, sdk.CodePermanent, sdk.CodeNotFound, sdk.CodePermanent, sdk.CodePermanent}
	results, err := c.Fetch(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		wantError(t, r.Err, codes[i], "")
		if r.Err == nil && !json.Valid(r.Data) || r.Ref != refs[i] {
			t.Errorf("%+v: %s", r.Ref, r.Data)
		}
	}
	for _, call := range c.calls() {
		if strings.Contains(call, "/..") {
			t.Errorf("another path was called: %s", call)
		}
	}
}

func TestAConfigurationIsCheckedOffline(t *testing.T) {
	good := map[string]any{"environment": "production", "practice_id": "195900", "client_id": "a", "client_secret": "b"}
	for path, value := range map[string]any{
		"practice_id": "195900/../1", "client_id": " ", "client_secret": "", "department_ids": []string{"1", "1,2"}, "page_size": 5001, "timeout": "0s",
		"base_url": "ftp://athena.example", "limits.per_day": -1, "": nil,
	} {
		given := map[string]any{}
		for k, v := range good {
			given[k] = v
		}
		if name, inner, nested := strings.Cut(path, "."); nested {
			given[name] = map[string]any{inner: value}
		} else if path != "" {
			given[path] = value
		}
		data, _ := json.Marshal(given)
		var c athenahealth.Config
		err := schema.Decode(data, &c)
		if err == nil {
			err = c.Validate()
		}
		if path == "" {
			if err != nil {
				t.Errorf("a good one: %v", err)
			}
			continue
		}
		e := sdk.Safe(err)
		if e == nil || e.Code != sdk.CodeMisconfigured || e.Path != path {
			t.Errorf("%s = %v: %v", path, value, err)
		}
	}
}

func TestItIsSaidThatCredentialsTravelUnencrypted(t *testing.T) {
	for address, want := range map[string]bool{"": false, "http://127.0.0.1:8080": false, "http://athena.invalid": true, "https://athena.invalid": false} {
		var log strings.Builder
		s, err := athenahealth.Open(t.Context(), athenahealth.Config{Environment: "preview", PracticeID: "195900", ClientID: "rounds", ClientSecret: "c4n4ry", Scope: "s", PageSize: 1,
			Timeout: time.Second, BaseURL: address}, sdk.Env{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if got := strings.Contains(log.String(), "unencrypted"); got != want || strings.Contains(log.String(), "c4n4ry") {
			t.Errorf("%s: %s", address, log.String())
		}
	}
}

// A record stands alone in a list, and a page is not the API's word that it is not there.
func TestARecordIsTakenOutOfItsAnswer(t *testing.T) {
	for body, want := range map[string]string{
		`[{"patientid": "1"}]`: `{"patientid": "1"}`, "\n [{\"patientid\": \"1\"}]\n": `{"patientid": "1"}`, `{"patientid": "1"}`: `{"patientid": "1"}`,
		`[]`: "not_found", `[{}, {}]`: "permanent", `<h1>Not Found</h1>`: "retryable", `{"error": "The patient does not exist."}`: "not_found",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/token"):
				w.Header().Set("Content-Type", "application/json")
				w.Write([]byte(`{"access_token": "a", "token_type": "Bearer", "expires_in": 3600}`))
			case strings.Contains(strings.ToLower(body), "not "):
				w.WriteHeader(http.StatusNotFound)
				fallthrough
			default:
				w.Write([]byte(body))
			}
		}))
		s, err := athenahealth.Open(t.Context(), athenahealth.Config{Environment: "preview", PracticeID: "195900", ClientID: "rounds", ClientSecret: "c4n4ry",
			Scope: "s", PageSize: 1, Timeout: time.Second, BaseURL: server.URL}, sdk.Env{})
		if err != nil {
			t.Fatal(err)
		}
		results, err := s.Fetch(t.Context(), []sdk.Ref{{Kind: "patient", ID: "1"}})
		if err != nil {
			t.Fatal(err)
		}
		got := string(results[0].Data)
		if results[0].Err != nil {
			got = string(sdk.CodeOf(results[0].Err))
		}
		if got != want {
			t.Errorf("%s: %s %v, want %s", body, got, results[0].Err, want)
		}
		s.Close()
		server.Close()
	}
}
