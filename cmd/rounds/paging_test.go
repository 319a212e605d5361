// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

const fromTheBeginning = `start   = "beginning"`

// TestNothingIsLostWhenPagesDrift reads a list in numbered pages while it changes: what was on a page that is already read
// moves to the end, and everything else moves up over the edges of pages.
func TestNothingIsLostWhenPagesDrift(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Seed: 3, PageSize: 7, Load: sampleehr.Load{Appointments: 90, Patients: 20}}, receiver.Options{})
	c.EHR.SetFaults(sampleehr.Faults{Drift: 3, Slow: 100 * time.Millisecond})
	hcl := replaced(t, pipelineHCL, `    since {`, "    page \"link\" {}\n    since {", `start   = "now"`, fromTheBeginning)
	p := startRun(t, write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll}), c.env())
	versions := func() (n int) {
		for _, v := range versionsNow(c.EHR) {
			n += v
		}
		return n
	}
	p.eventually(30*time.Second, "pages drifted", func() bool { return versions() > 90 })
	c.EHR.SetFaults(sampleehr.Faults{})
	p.eventually(30*time.Second, "all arrived", func() bool { return settled(c, nil) })
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

func TestStablePagesByCursorAreReadOnceEach(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Seed: 3, Load: sampleehr.Load{Appointments: 40, Patients: 10}}, receiver.Options{})
	hcl := replaced(t, pipelineHCL, `"/appointments"`, `"/v2/appointments"`, `changedsince = "{since}"`, `changedsince = "{since}", limit = "7"`,
		`    since {`, "    items = \"items\"\n    page \"cursor\" {\n      next   = \"next\"\n      param  = \"cursor\"\n      stable = true\n    }\n    since {",
		`every   = "1s"`, `every   = "8760h"`, `start   = "now"`, fromTheBeginning)
	p := startRun(t, write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll}), c.env())
	p.eventually(30*time.Second, "all arrived", func() bool { return settled(c, nil) })
	p.stop()
	if n := c.polls(); n != 6 {
		t.Errorf("40 appointments in pages of 7 took %d calls, want 6", n)
	}
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// TestARecordThatReturnsToAnEarlierStateIsToldEachTime changes an appointment to and fro without a new timestamp: the three
// states look alike to whoever compares versions, and the third is the first.
func TestARecordThatReturnsToAnEarlierStateIsToldEachTime(t *testing.T) {
	t.Parallel()
	var c *clinic
	var inOneSecond func() // runs between two polls
	var once sync.Once
	c = newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 3, Patients: 2}, OnRequest: func(r sampleehr.Request) {
		if r.Endpoint == "appointments" && inOneSecond != nil && len(c.Received(0)) >= 5 {
			once.Do(inOneSecond)
		}
	}}, receiver.Options{})
	ids := c.IDs()
	room := func(id, room string) {
		t.Helper()
		a, err := c.Appointment(id)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.ParseInLocation(sampleehr.Layout, a.LastUpdated, c.Zone())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Update(id, at, func(a *sampleehr.Appointment) { a.Location.Room = room }); err != nil {
			t.Fatal(err)
		}
	}
	was := map[string]string{}
	for _, id := range ids {
		a, err := c.Appointment(id)
		if err != nil {
			t.Fatal(err)
		}
		was[id] = a.Location.Room
	}
	inOneSecond = func() { // unseen by any poll
		room(ids[1], "elsewhere")
		room(ids[1], was[ids[1]])
	}
	// The newest appointment is an hour old, and an overlap reaches so far before it.
	hcl := replaced(t, pipelineHCL, `overlap = "10s"`, `overlap = "2h"`, `start   = "now"`, fromTheBeginning)
	p := startRun(t, write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll}), c.env())
	arrived := func(n int) {
		t.Helper()
		p.eventually(30*time.Second, fmt.Sprint(n, " arrived"), func() bool { return c.Accepted() >= n })
	}
	arrived(3)
	room(ids[2], "elsewhere")
	arrived(4)
	room(ids[2], was[ids[2]])
	arrived(5)
	p.pollsMore(c, 3)
	p.stop()
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
	told := map[string]int{}
	for _, r := range c.Received(0) {
		told[string(must(rawjson.Get(r.Body, "id")))]++
	}
	if told[`"`+ids[0]+`"`] != 1 || told[`"`+ids[1]+`"`] != 1 || told[`"`+ids[2]+`"`] != 3 {
		t.Errorf("told: %v", told)
	}
}

func must[T any](v T, ok bool) T {
	if !ok {
		panic("not there")
	}
	return v
}

// TestAPageOf20000RecordsArrivesOnceEach: an EHR without paging answers everything at once.
func TestAPageOf20000RecordsArrivesOnceEach(t *testing.T) {
	withoutRace(t)
	t.Parallel()
	const appointments, patients = 20_000, 4_000
	c := newClinic(t, sampleehr.Options{Seed: 5, Load: sampleehr.Load{Appointments: appointments, Patients: patients}}, receiver.Options{})
	p := startRun(t, write(t, map[string]string{
		"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll,
	}), c.env(), "--log-level", "info")
	p.eventually(6*time.Minute, "all arrived", func() bool { return c.Accepted() >= appointments })
	p.pollsMore(c, 2)
	p.stop()
	if n := c.Calls()["patient"]; n != patients {
		t.Errorf("%d patients took %d calls", patients, n)
	}
	received := c.Received(0)
	if n := oracle(t, c.EHR, received, nil); n > 0 || len(received) != appointments {
		t.Errorf("%d arrived, %d of them repeated", len(received), n)
	}
	// The list is in the order of the appointments' making, and so are their ids.
	last := map[string]string{}
	for _, r := range received {
		var n told
		if err := json.Unmarshal(r.Body, &n); err != nil {
			t.Fatal(err)
		}
		if n.ID <= last[r.Patient] {
			t.Fatalf("patient %s: %s arrived after %s", r.Patient, n.ID, last[r.Patient])
		}
		last[r.Patient] = n.ID
	}
}

func TestCredentialsOpenTheEHR(t *testing.T) {
	for name, x := range map[string]struct {
		ehr  sampleehr.Options
		auth string
	}{
		"bearer": {sampleehr.Options{Token: "right"}, `auth "bearer" { token = secret("password") }`},
		"basic":  {sampleehr.Options{User: "rounds", Password: "right"}, "auth \"basic\" {\n username = \"rounds\"\n password = secret(\"password\")\n}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x.ehr.Load = sampleehr.Load{Appointments: 5, Patients: 2}
			c := newClinic(t, x.ehr, receiver.Options{})
			hcl := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, `  feed "app`, x.auth+"\n  feed \"app")
			dir := write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll, "secrets/password": "wrong"})
			env := append(c.env(), "CREDENTIALS_DIRECTORY="+dir+"/secrets")
			p := startRun(t, dir, env)
			p.logged("GET /appointments: 401 Unauthorized")
			p.stop()
			if n := len(c.Received(0)); n > 0 {
				t.Errorf("%d notifications arrived without the right password", n)
			}
			overwrite(t, dir, "secrets/password", "right\n")
			p = startRun(t, dir, env)
			p.eventually(30*time.Second, "all arrived", func() bool { return settled(c, nil) })
			p.stop()
		})
	}
}

// elsewhere is another server: it must never be called.
type elsewhere struct {
	mu    sync.Mutex
	calls []string
}

func (e *elsewhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header))
	_, _ = w.Write([]byte("[]"))
}

func TestCredentialsNeverLeaveTheEHRsOrigin(t *testing.T) {
	const item = `[{"id": "A1", "patientID": "P1", "lastUpdated": "2026-05-10T10:00:00"}]`
	for name, x := range map[string]struct {
		list, patient func(w http.ResponseWriter, other string)
		says          string
	}{
		"link": {
			list: func(w http.ResponseWriter, other string) {
				w.Header().Set("Link", "<"+other+`/appointments?page=2>; rel="next"`)
				_, _ = w.Write([]byte(item))
			},
			says: "GET /appointments: the Link header's next leads to another scheme, host or port",
		},
		"redirect of the list": {
			list: func(w http.ResponseWriter, other string) {
				w.Header().Set("Location", other+"/appointments")
				w.WriteHeader(http.StatusFound)
			},
			says: "GET /appointments: redirected to another scheme, host or port",
		},
		"redirect of a fetch": {
			list: func(w http.ResponseWriter, _ string) { _, _ = w.Write([]byte(item)) },
			patient: func(w http.ResponseWriter, other string) {
				w.Header().Set("Location", other+"/patient/P1")
				w.WriteHeader(http.StatusTemporaryRedirect)
			},
			says: "GET /patient/{id}: redirected to another scheme, host or port",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var other elsewhere
			otherURL := serve(t, &other)
			asked := make(chan string, 100)
			ehrURL := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r.Header.Get("Authorization")
				w.Header().Set("Content-Type", "application/json")
				if strings.HasPrefix(r.URL.Path, "/patient/") {
					x.patient(w, otherURL)
					return
				}
				x.list(w, otherURL)
			}))
			c := newClinic(t, sampleehr.Options{}, receiver.Options{})
			hcl := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, `  feed "app`, "auth \"bearer\" { token = secret(\"token\") }\n  feed \"app",
				`    since {`, "    page \"link\" {}\n    since {")
			dir := write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll, "token": "a-token"})
			p := startRun(t, dir, []string{"EHR_URL=" + ehrURL, "NOTIFY_URL=" + c.receiverURL, "CREDENTIALS_DIRECTORY=" + dir})
			p.logged(x.says)
			p.stop()
			if got := <-asked; got != "Bearer a-token" {
				t.Errorf("the EHR itself was asked with %q", got)
			}
			other.mu.Lock()
			defer other.mu.Unlock()
			if len(other.calls) > 0 {
				t.Errorf("the other server was called: %q", other.calls)
			}
			if n := len(c.Received(0)); n > 0 {
				t.Errorf("%d notifications were made of an incomplete answer", n)
			}
		})
	}
}
