// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/openmrs"
	"github.com/rounds-engine/rounds/plugins/openmrs/simulator"
	"github.com/rounds-engine/rounds/sdk"
)

// clinic is a simulated OpenMRS whose clock goes on by a second with each event.
type clinic struct {
	*simulator.Server
	sdk.Source
	t   testing.TB
	now time.Time
}

func newClinic(t testing.TB, o simulator.Options) *clinic {
	c := &clinic{t: t, now: time.Date(2026, 5, 10, 10, 0, 0, 0, time.UTC)}
	o.Now = func() time.Time { return c.now }
	o.Username, o.Password = "rounds", "c4n4ry-password"
	if o.Host == "" {
		o.Host = "http://10.0.0.7:8080" // behind a proxy, the server's links lead to nobody
	}
	c.Server = simulator.New(o)
	server := httptest.NewServer(c.Server)
	t.Cleanup(server.Close)
	c.Source = open(t, server.URL+"/openmrs")
	return c
}

func open(t testing.TB, address string) sdk.Source {
	t.Helper()
	s, err := openmrs.Open(t.Context(), openmrs.Config{BaseURL: address, Auth: &openmrs.Auth{Kind: "basic", Username: "rounds", Password: "c4n4ry-password"},
		Feeds: []openmrs.Feed{{Name: "patient"}, {Name: "visits", Category: "visit"}}, Resources: []openmrs.Resource{{Name: "patient"}}}, sdk.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// save saves patients by their numbers, a second apart.
func (c *clinic) save(patients ...int) {
	for _, n := range patients {
		c.now = c.now.Add(time.Second)
		c.Save("patient", uuid(n), map[string]any{"name": fmt.Sprint("Patient ", n)})
	}
}

func uuid(n int) string { return fmt.Sprintf("e8aa08f6-86cd-42f9-8924-%012d", n) }

// window reads all pages from q on: the numbers of the patients, and the query of the next window.
func (c *clinic) window(q sdk.Query) ([]int, sdk.Query) {
	c.t.Helper()
	q.Feed = "patient"
	if q.Overlap == 0 {
		q.Overlap = time.Minute
	}
	var told []int
	for range 100 {
		page, err := c.Poll(c.t.Context(), q)
		if err != nil {
			c.t.Fatal(err)
		}
		if (page.Cursor == nil) == (page.Watermark == nil) {
			c.t.Fatalf("page with cursor %s and watermark %s", page.Cursor, page.Watermark)
		}
		for _, x := range page.Changes {
			var n int
			if _, err := fmt.Sscanf(x.Ref.ID[24:], "%d", &n); err != nil || x.Err != nil || x.Ref.Kind != "patient" || x.Time.IsZero() ||
				!strings.HasPrefix(x.Version, "tag:atomfeed.ict4h.org:") {
				c.t.Errorf("change %+v", x)
			}
			told = append(told, n)
		}
		if page.Cursor == nil {
			return told, sdk.Query{Watermark: page.Watermark}
		}
		q.Cursor = page.Cursor
	}
	c.t.Fatal("the window does not end")
	return nil, q
}

func (c *clinic) tells(q sdk.Query, want ...int) sdk.Query {
	c.t.Helper()
	told, next := c.window(q)
	if !slices.Equal(told, want) {
		c.t.Errorf("told %v, want %v", told, want)
	}
	return next
}

func TestEachEventComesOnceAndInOrder(t *testing.T) {
	c := newClinic(t, simulator.Options{PageSize: 3})
	next := c.tells(sdk.Query{})
	next = c.tells(next)
	c.save(1, 2)
	next = c.tells(next, 1, 2)
	c.save(3) // the page is full now
	next = c.tells(next, 3)
	next = c.tells(next)
	c.save(1, 1, 4, 5, 6, 7, 8, 2)
	next = c.tells(next, 1, 1, 4, 5, 6, 7, 8, 2)
	c.Asked()
	next = c.tells(next)
	if asked := c.Asked(); !slices.Equal(asked, []string{"/openmrs/ws/atomfeed/patient/recent"}) {
		t.Errorf("asked %q, though nothing changed", asked)
	}
	c.save(9)
	c.tells(next, 9)
	c.tells(sdk.Query{}, 1, 2, 3, 1, 1, 4, 5, 6, 7, 8, 2, 9)
}

func TestAPageThatGrowsWhileItIsReadLosesNothing(t *testing.T) {
	c := newClinic(t, simulator.Options{PageSize: 3})
	c.save(1, 2, 3, 4)
	first, err := c.Poll(t.Context(), sdk.Query{Feed: "patient"})
	if err != nil || first.Cursor == nil {
		t.Fatal(first, err)
	}
	c.save(5, 6, 7)
	// What came since the window began is for the next one.
	next := c.tells(sdk.Query{Cursor: first.Cursor}, 4)
	c.save(8)
	c.tells(next, 5, 6, 7, 8)
}

// An import saves many records in one transaction.
func TestManyLateEventsAreNoGap(t *testing.T) {
	c := newClinic(t, simulator.Options{PageSize: 3})
	c.save(1)
	var commits []func()
	for n := range 200 {
		commits = append(commits, c.Begin("patient", uuid(50+n), map[string]any{}))
	}
	c.save(2)
	next := c.tells(sdk.Query{}, 1, 2)
	for _, commit := range commits {
		commit()
	}
	told, next := c.window(next)
	for n := range 200 {
		if !slices.Contains(told, 50+n) {
			t.Errorf("%d is missing in %v", 50+n, told)
		}
	}
	c.tells(next)
}

// An event may become visible on a page that the window has passed.
func TestAnEventThatBecomesVisibleBehindTheReaderIsNotLost(t *testing.T) {
	for _, more := range [][]int{nil, {12}, {12, 13, 14}} {
		c := newClinic(t, simulator.Options{PageSize: 3})
		c.save(1)
		commit := c.Begin("patient", uuid(50), map[string]any{})
		c.save(2, 3, 4, 5, 6, 7, 8)
		first, err := c.Poll(t.Context(), sdk.Query{Feed: "patient"})
		if err != nil {
			t.Fatal(err)
		}
		commit()
		c.save(more...)
		told, next := c.window(sdk.Query{Cursor: first.Cursor})
		again, next := c.window(next)
		for _, want := range append([]int{50, 4, 5, 6, 7, 8}, more...) {
			if !slices.Contains(append(told, again...), want) {
				t.Errorf("%d is missing in %v and %v", want, told, again)
			}
		}
		c.tells(next)
	}
}

// The server numbers an event when its transaction begins, and shows it when it ends.
func TestAnEventThatBecomesVisibleLateIsNotLost(t *testing.T) {
	for name, commitAfter := range map[string][]int{
		"on the page of the last entry":               {2},
		"so that the last entry goes to another page": {2, 3},
		"pages before the last entry":                 {2, 3, 4, 5, 6, 7, 8, 9},
		"so that each page is another":                {2, 3, 4, 5, 6, 7, 8},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClinic(t, simulator.Options{PageSize: 3})
			c.save(100, 101, 102, 1)
			next := c.tells(sdk.Query{}, 100, 101, 102, 1)
			c.now = c.now.Add(time.Hour) // all of these are behind the overlap
			commit := c.Begin("patient", uuid(50), map[string]any{})
			c.save(commitAfter...)
			next = c.tells(next, commitAfter...)
			commit()
			told, next := c.window(next)
			if !slices.Contains(told, 50) || slices.Contains(told, 100) {
				t.Errorf("told %v", told)
			}
			c.tells(next)
			c.save(9)
			c.tells(next, 9)
		})
	}
}

// What is read again is not from before the first window.
func TestALateEventDoesNotBringWhatWasBeforeTheStart(t *testing.T) {
	c := newClinic(t, simulator.Options{PageSize: 3})
	c.now = time.Now().Add(-time.Hour)
	c.save(1, 2, 3, 4, 5, 6, 7)
	c.now = time.Now()
	next := c.tells(sdk.Query{Start: sdk.Start{At: c.now}}, 7) // on the recent page, for the engine to know
	commit := c.Begin("patient", uuid(50), map[string]any{})
	c.save(8)
	next = c.tells(next, 8)
	commit()
	c.tells(next, 7, 50, 8)
}

func TestAStartIsFoundAmongManyPages(t *testing.T) {
	for _, start := range []int{0, 1, 2, 50, 51, 52, 298, 299, 300, 5000} {
		c := newClinic(t, simulator.Options{PageSize: 3})
		begin := c.now
		var all []int
		for n := range 300 {
			c.now = begin.Add(time.Duration(n) * time.Hour)
			c.Save("patient", uuid(n), map[string]any{})
			all = append(all, n)
		}
		c.Asked()
		told, next := c.window(sdk.Query{Start: sdk.Start{At: begin.Add(time.Duration(start) * time.Hour)}})
		if want := all[min(start, 299)/3*3:]; !slices.Equal(told, want) { // the whole page that the start is on, or the last
			t.Errorf("from %d on: told %v", start, told)
		}
		if asked := len(c.Asked()); asked > 10+len(told)/3 {
			t.Errorf("from %d on: %d calls", start, asked)
		}
		c.save(7)
		c.tells(next, 7)
	}
}

func TestAFeedThatWasMadeAnewIsAGap(t *testing.T) {
	for name, saved := range map[string][]int{"empty": nil, "shorter": {1}, "as long": {1, 2, 3, 4, 5, 6, 7}, "longer": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}} {
		t.Run(name, func(t *testing.T) {
			c := newClinic(t, simulator.Options{PageSize: 3})
			c.save(1, 2, 3, 4, 5, 6, 7)
			_, next := c.window(sdk.Query{})
			c.Forget()
			c.save(saved...)
			next.Feed = "patient"
			if page, err := c.Poll(t.Context(), next); sdk.CodeOf(err) != sdk.CodeWatermarkExpired {
				t.Errorf("%+v %v", page, err)
			}
		})
	}
}

func TestTheSameQueryGivesTheSamePage(t *testing.T) {
	c := newClinic(t, simulator.Options{PageSize: 3})
	c.save(1, 2, 3, 4, 5, 1, 1, 8)
	q := sdk.Query{Feed: "patient"}
	for q.Watermark == nil {
		a, err := c.Poll(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Poll(t.Context(), q)
		a.Now, b.Now = time.Time{}, time.Time{}
		if fmt.Sprint(a) != fmt.Sprint(b) || err != nil {
			t.Errorf("%v\n%v\n%v", a, b, err)
		}
		q.Cursor, q.Watermark = a.Cursor, a.Watermark
	}
}

func TestTheNewerModuleTellsWhatWasDone(t *testing.T) {
	c := newClinic(t, simulator.Options{Linked: true})
	c.save(1, 1)
	c.Purge("patient", uuid(1))
	page, err := c.Poll(t.Context(), sdk.Query{Feed: "patient"})
	if err != nil || len(page.Changes) != 3 {
		t.Fatal(page, err)
	}
	for i, want := range []struct {
		op    sdk.Op
		event string
	}{{sdk.Created, "CREATED"}, {sdk.Updated, "UPDATED"}, {sdk.Deleted, "DELETED"}} {
		x := page.Changes[i]
		var data struct {
			Entry, Title, Updated, Path string
			Categories                  []string
			Links                       struct{ Rest string }
		}
		if err := json.Unmarshal(x.Data, &data); err != nil {
			t.Fatal(err)
		}
		if x.Op != want.op || x.Event != want.event || x.Ref.ID != uuid(1) || data.Entry != x.Version || data.Title != "Patient" ||
			data.Path != "/ws/rest/v1/patient/"+uuid(1)+"?v=full" || data.Links.Rest != data.Path || !slices.Equal(data.Categories, []string{"patient", want.event}) {
			t.Errorf("%+v: %s", x, x.Data)
		}
	}
	results, err := c.Fetch(t.Context(), []sdk.Ref{{Kind: "patient", ID: uuid(1)}})
	if err != nil || sdk.CodeOf(results[0].Err) != sdk.CodeNotFound {
		t.Errorf("%+v %v", results, err)
	}
}

func TestRecordsAreFetched(t *testing.T) {
	c := newClinic(t, simulator.Options{})
	c.save(1)
	refs := []sdk.Ref{{Kind: "patient", ID: uuid(1)}, {Kind: "patient", ID: uuid(2)}, {Kind: "patient", ID: ".."}, {Kind: "other", ID: "1"},
		{Kind: "patient"}, {Kind: "patient", ID: "1", Args: "a"}, {Kind: "patient", ID: "../session"}}
	results, err := c.Fetch(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []sdk.Code{"", sdk.CodeNotFound, sdk.CodePermanent, sdk.CodePermanent, sdk.CodePermanent, sdk.CodePermanent, sdk.CodeNotFound} {
		if sdk.CodeOf(results[i].Err) != want || results[i].Ref != refs[i] {
			t.Errorf("%d: %+v", i, results[i])
		}
	}
	if !strings.Contains(string(results[0].Data), `"name":"Patient 1"`) {
		t.Errorf("%s", results[0].Data)
	}
}

// While OpenMRS is deployed anew, Tomcat answers 404 to everything, with a page.
func TestAPageOfTomcatDoesNotSayThatAPatientIsNotThere(t *testing.T) {
	for body, want := range map[string]sdk.Code{
		`<!doctype html><title>HTTP Status 404</title>`:    sdk.CodeRetryable,
		`{"error": {"message": "Object with given uuid"}}`: sdk.CodeNotFound,
		``: sdk.CodeNotFound,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(body))
		}))
		results, err := open(t, server.URL).Fetch(t.Context(), []sdk.Ref{{Kind: "patient", ID: uuid(1)}})
		if err != nil || sdk.CodeOf(results[0].Err) != want {
			t.Errorf("%q: %v %+v", body, err, results)
		}
		server.Close()
	}
}

func TestFailuresMeanWhatTheyMean(t *testing.T) {
	const entry = `<feed xmlns="http://www.w3.org/2005/Atom"><link rel="via" href="/1"/><entry><id>c4n4ry</id>`
	for _, tt := range []struct {
		status int
		body   string
		code   sdk.Code
		text   string
	}{
		{401, `c4n4ry`, sdk.CodeUnauthorized, "GET /ws/atomfeed/patient/recent: 401 Unauthorized"},
		{403, `c4n4ry`, sdk.CodeForbidden, "GET /ws/atomfeed/patient/recent: 403 Forbidden"},
		{404, `c4n4ry`, sdk.CodeNotFound, "GET /ws/atomfeed/patient/recent: 404 Not Found"},
		{200, `<html><body>c4n4ry</body></html>`, sdk.CodeRetryable, "GET /ws/atomfeed/patient/recent: the answer is not a feed of Atom, or is cut off; " +
			"is base_url that of OpenMRS, and may the user read it?"},
		{200, entry, sdk.CodeRetryable, "GET /ws/atomfeed/patient/recent: the answer is not a feed of Atom, or is cut off; " +
			"is base_url that of OpenMRS, and may the user read it?"},
		{200, ``, sdk.CodeRetryable, "GET /ws/atomfeed/patient/recent: the answer is not a feed of Atom, or is cut off; " +
			"is base_url that of OpenMRS, and may the user read it?"},
		{200, `<feed xmlns="http://www.w3.org/2005/Atom"><link rel="via" href="/c4n4ry"/></feed>`, sdk.CodeRetryable,
			"GET /ws/atomfeed/patient/recent: no link tells the number of the page"},
		{200, `<feed xmlns="http://www.w3.org/2005/Atom"><title>` + strings.Repeat("c4n4ry", 3<<20) + `</title></feed>`, sdk.CodePermanent,
			"GET /ws/atomfeed/patient/recent: a page of more than 16777216 bytes"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			w.Write([]byte(tt.body))
		}))
		_, err := open(t, server.URL).Poll(t.Context(), sdk.Query{Feed: "patient"})
		var e *sdk.Error
		if !errors.As(err, &e) || e.Code != tt.code || e.Text != tt.text {
			t.Errorf("%d: %s %v", tt.status, sdk.CodeOf(err), err)
		}
		server.Close()
	}
	if _, err := open(t, "https://emr.invalid").Poll(t.Context(), sdk.Query{Feed: "others"}); sdk.CodeOf(err) != sdk.CodePermanent {
		t.Error(err)
	}
}

func TestWhatAnotherWroteIsNotTakenForTheBeginning(t *testing.T) {
	c := newClinic(t, simulator.Options{})
	c.save(1)
	for _, watermark := range []string{`{"t": "2026-05-10T10:00:00Z"}`, `null`, `41`, `{"page": 1, "place": 0, "first": 1}`, `{"page": -1}`, `[]`} {
		if _, err := c.Poll(t.Context(), sdk.Query{Feed: "patient", Watermark: []byte(watermark)}); sdk.CodeOf(err) != sdk.CodeWatermarkExpired {
			t.Errorf("%s: %v", watermark, err)
		}
	}
	for _, place := range []string{`{"since": "2026-05-10T10:00:00Z"}`, `null`, `41`, `{}`, `{"next": 0}`} {
		if _, err := c.Poll(t.Context(), sdk.Query{Feed: "patient", Cursor: []byte(place)}); sdk.CodeOf(err) != sdk.CodeCursorExpired {
			t.Errorf("%s: %v", place, err)
		}
	}
}
