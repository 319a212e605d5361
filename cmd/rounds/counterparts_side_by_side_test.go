// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/engine/operate"
	athena "github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
	openmrs "github.com/rounds-engine/rounds/plugins/openmrs/simulator"
	"github.com/rounds-engine/rounds/plugins/orthanc/orthanctest"
)

// side is one of the adapters that run side by side, with an EHR of its own.
type side struct {
	name    string // of the pipeline
	adapter string
	blocks  string // the adapter and the source
	feed    string // source.…
	fetch   string // a block, or nothing
	// change makes a record, which has not been there before, and gives what its notification calls it.
	change func(n int) string
}

// agenda is a JSON API of appointments, for the adapters that take any.
type agenda struct {
	mu   sync.Mutex
	list []map[string]string
}

func (l *agenda) change(n int) string {
	id := fmt.Sprint("A", n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, map[string]string{"id": id, "patientID": "P1", "lastUpdated": time.Now().UTC().Format(time.RFC3339)})
	return id
}

func (l *agenda) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/patients/P1" {
		fmt.Fprint(w, `{"name": "Ann Lee"}`)
		return
	}
	since := r.URL.Query().Get("since")
	l.mu.Lock()
	defer l.mu.Unlock()
	from, _ := slices.BinarySearchFunc(l.list, since, func(a map[string]string, since string) int { return strings.Compare(a["lastUpdated"], since) })
	_ = json.NewEncoder(w).Encode(map[string]any{"appointments": append([]map[string]string{}, l.list[from:]...)}) // fails when the caller has gone
}

// rateLimited answers 429 until it is lifted.
type rateLimited struct {
	http.Handler
	mu     sync.Mutex
	lifted bool
}

func (h *rateLimited) lift() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lifted = true
}

func (h *rateLimited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	lifted := h.lifted
	h.mu.Unlock()
	if !lifted {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	h.Handler.ServeHTTP(w, r)
}

const patientOfAppointment = "fetch \"patient\" {\n    id = change.data.patientID\n  }"

func restSide(t *testing.T, name string, l *agenda, h http.Handler) *side {
	return &side{name, "rest", fmt.Sprintf(`
source "rest" %q {
  base_url = %q
  feed "appointments" {
    path    = "/appointments"
    query   = { since = "{since}" }
    items   = "appointments"
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
  }
  resource "patient" {
    path = "/patients/{id}"
  }
}`, name, serve(t, h)), "source.rest." + name + ".feed.appointments", patientOfAppointment, l.change}
}

func minimalSide(t *testing.T) *side {
	path := filepath.Join(t.TempDir(), "adapter-minimal")
	if out, err := exec.Command("go", "build", "-C", "../../examples/adapter-minimal", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l := &agenda{}
	return &side{"minimal", "minimal", fmt.Sprintf("adapter \"minimal\" {\n  path = %q\n}\nsource \"minimal\" \"clinic\" {\n  base_url = %q\n  token = \"example\"\n}",
		path, serve(t, l)), "source.minimal.clinic.feed.appointments", patientOfAppointment, l.change}
}

func languageSide(t *testing.T, l language) *side {
	url := jsonServer(t)
	return &side{l.name, l.name, fmt.Sprintf("adapter %q {\n  path = %q\n}\nsource %q \"clinic\" {\n  base_url = %q\n}",
		l.name, filepath.Join(l.example(t), l.program), l.name, url),
		"source." + l.name + ".clinic.feed.appointments", patientOfAppointment, func(n int) string {
			post(t, url+"/appointments", booking{1000 + n, 100, "2026-12-01T08:00:00.000Z", time.Now().UTC().Format(milliseconds)})
			return fmt.Sprint(1000 + n)
		}}
}

// post sends JSON. It may be called beside the test.
func post(t *testing.T, url string, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(data))
	if err != nil {
		t.Error(err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		t.Error(resp.Status)
	}
}

func orthancSide(t *testing.T) *side {
	s := orthanctest.New(t, nil)
	return &side{"orthanc", "orthanc", fmt.Sprintf("source \"orthanc\" \"pacs\" {\n  base_url = %q\n  username = %q\n  password = %q\n}",
		s.URL, orthanctest.User, orthanctest.Password), "source.orthanc.pacs.feed.studies", "fetch \"study\" {\n    id = change.id\n  }",
		func(n int) string {
			s.Store(fmt.Sprint("P", n), "1", 1, fmt.Sprint("Study ", n))
			return fmt.Sprint("Study ", n)
		}}
}

func couchSide(t *testing.T) *side {
	s := newPouch(t)
	s.call(http.MethodPut, "/visits", struct{}{})
	return &side{"couchdb", "couchdb", fmt.Sprintf("source \"couchdb\" \"ward\" {\n  base_url = %q\n  feed \"visits\" {}\n}", s.url),
		"source.couchdb.ward.feed.visits", "", func(n int) string {
			s.call(http.MethodPut, fmt.Sprint("/visits/v", n), map[string]any{"reason": "first"})
			return fmt.Sprint("v", n)
		}}
}

func openmrsSide(t *testing.T) *side {
	s := openmrs.New(openmrs.Options{})
	return &side{"openmrs", "openmrs", fmt.Sprintf("source \"openmrs\" \"clinic\" {\n  base_url = %q\n  auth \"basic\" {\n    username = \"rounds\"\n    password = \"Rounds123\"\n  }\n"+
		"  feed \"patient\" {}\n  resource \"patient\" {}\n}", serve(t, s)+"/openmrs"), "source.openmrs.clinic.feed.patient", "fetch \"patient\" {\n    id = change.id\n  }",
		func(n int) string {
			uuid := fmt.Sprintf("5946f880-b197-400b-9caa-%012d", n)
			s.Save("patient", uuid, map[string]any{"display": fmt.Sprint("Patient ", n)})
			return uuid
		}}
}

func athenaSide(t *testing.T) *side {
	s := athena.New(athena.Options{})
	s.Subscribe("appointments")
	return &side{"athenahealth", "athenahealth", fmt.Sprintf("source \"athenahealth\" \"practice\" {\n  environment = \"preview\"\n  practice_id = \"195900\"\n  client_id = \"rounds\"\n"+
		"  client_secret = \"secret\"\n  base_url = %q\n}", serve(t, s)), "source.athenahealth.practice.feed.appointments", "", func(n int) string {
		s.Set("appointments", fmt.Sprint(5000+n), map[string]any{"departmentid": "1", "patientid": "1"})
		return fmt.Sprint(5000 + n)
	}}
}

// TestCounterpartAdaptersSideBySide runs all adapters in one engine, each with an EHR of its own. One adapter is killed over and over, and one
// source is refused by its EHR for the whole run: the others are polled as ever, and at last everything has arrived once.
//
// Invariant 8.
func TestCounterpartAdaptersSideBySide(t *testing.T) {
	limited := &agenda{}
	limit := &rateLimited{Handler: limited}
	well := &agenda{}
	sides := []*side{
		restSide(t, "limited", limited, limit), restSide(t, "clinic", well, well), minimalSide(t), languageSide(t, languages[0]), languageSide(t, languages[1]),
		orthancSide(t), couchSide(t), openmrsSide(t), athenaSide(t),
	}
	hcl := "destination \"webhook\" \"receiver\" {\n  url = env(\"NOTIFY_URL\")\n  allow_private = true\n}\n"
	for _, s := range sides {
		hcl += fmt.Sprintf("%s\npipeline %q {\n  poll {\n    feed = %s\n    every = \"1s\"\n    start = \"beginning\"\n  }\n  %s\n"+
			"  deliver \"receiver\" {\n    to = destination.webhook.receiver\n    map = \"tell.js\"\n  }\n}\n", s.blocks, s.name, s.feed, s.fetch)
	}
	dir := write(t, map[string]string{"main.hcl": hcl,
		"tell.js": "export default ({ change, fetched }, { pipeline }) => ({ pipeline, id: fetched.study?.MainDicomTags.StudyDescription ?? change.id });\n"})
	to, err := receiver.New(receiver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := startRun(t, dir, []string{"NOTIFY_URL=" + serve(t, to)})

	const troubled, killed = "limited", "minimal"
	var mu sync.Mutex
	made := map[string]time.Time{} // what was changed, when
	arrived := func() (at map[string]time.Time) {
		at = map[string]time.Time{}
		for _, r := range to.Received(0) {
			var n struct{ Pipeline, ID string }
			if err := json.Unmarshal(r.Body, &n); err != nil {
				t.Fatal(err)
			}
			if n.Pipeline == "node" || n.Pipeline == "python" { // json-server has some records at its start
				if len(n.ID) < 4 {
					continue
				}
			}
			key := n.Pipeline + " " + n.ID
			if _, twice := at[key]; twice {
				t.Errorf("%s arrived twice", key)
			}
			at[key] = r.Time
		}
		return at
	}
	ofAdapter := func(name string) operate.Adapter {
		list := asked[[]operate.Adapter](t, dir, 0, "adapter", "list")
		return list[slices.IndexFunc(list, func(a operate.Adapter) bool { return a.Name == name })]
	}

	status := func() operate.Status {
		_, stdout, stderr := rounds(t, nil, "status", "--json", "--state", filepath.Join(dir, "state"))
		if stdout == "" {
			t.Fatal(stderr)
		}
		return decode[operate.Status](t, []byte(stdout))
	}
	p.logged("msg=running")
	p.eventually(time.Minute, "every source was polled", func() bool {
		st := status()
		return !slices.ContainsFunc(sides, func(s *side) bool { return s.name != troubled && ofPipeline(t, st, s.name).LastPoll.IsZero() })
	})
	const changes = 40
	var making sync.WaitGroup
	for _, s := range sides {
		making.Go(func() {
			for n := range changes {
				key := s.name + " " + s.change(n)
				mu.Lock()
				made[key] = time.Now()
				mu.Unlock()
				time.Sleep(500 * time.Millisecond)
			}
		})
	}
	done := make(chan struct{})
	go func() { making.Wait(); close(done) }()
	kills := 0
	for under := true; under; {
		select {
		case <-done:
			under = false
		case <-time.After(300 * time.Millisecond):
			if a := ofAdapter(killed); a.PID != 0 && syscall.Kill(a.PID, syscall.SIGKILL) == nil {
				kills++
			}
		}
	}
	if kills < 5 {
		t.Errorf("the adapter was killed %d times only", kills)
	}
	var st operate.Status // between two polls of the source that is refused
	p.eventually(time.Minute, "the pipeline of the source that is refused tells why", func() bool {
		st = status()
		refused := ofPipeline(t, st, troubled)
		return refused.State == "failing" && strings.Contains(refused.Why, "429")
	})
	waitFor := func(what string, but ...string) {
		t.Helper()
		p.eventually(time.Minute, what, func() bool {
			at := arrived()
			for key := range made {
				if _, ok := at[key]; !ok && !slices.Contains(but, strings.Fields(key)[0]) {
					return false
				}
			}
			return true
		})
	}
	waitFor("all of the others arrived", troubled, killed)
	for key := range arrived() {
		if strings.HasPrefix(key, troubled+" ") {
			t.Errorf("%s arrived from an EHR that refuses", key)
		}
	}
	waitFor("what came from the adapter that was killed", troubled)
	for _, s := range sides {
		if s.name == troubled || s.name == killed {
			continue
		}
		if got := ofPipeline(t, st, s.name); got.Failures != 0 || got.Why != "" {
			t.Errorf("%s noticed: %d failures, %s", s.name, got.Failures, got.Why)
		}
		if a := ofAdapter(s.adapter); a.Starts != 1 {
			t.Errorf("the adapter of %s was started %d times", s.name, a.Starts)
		}
		if line := regexp.MustCompile(`(?m)^.*level=(?:WARN|ERROR).*(?:pipeline|adapter)=` + s.name + `\b.*$`).FindString(p.log.String()); line != "" {
			t.Errorf("%s noticed: %s", s.name, line)
		}
		var late []time.Duration
		at := arrived()
		for key, since := range made {
			if strings.HasPrefix(key, s.name+" ") {
				late = append(late, at[key].Sub(since))
			}
		}
		slices.Sort(late)
		t.Logf("%-12s from change to arrival: median %v, longest %v", s.name, late[len(late)/2].Round(time.Millisecond), late[len(late)-1].Round(time.Millisecond))
		if late[len(late)/2] > 10*time.Second {
			t.Errorf("%s was polled late: the median from change to arrival is %v", s.name, late[len(late)/2])
		}
	}
	limit.lift()
	p.eventually(time.Minute, "the refused source is polled", func() bool {
		code, _, _ := rounds(t, nil, "poll", troubled, "--state", filepath.Join(dir, "state"))
		return code == 0
	})
	waitFor("what came from the EHR that refused")
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if got := arrived(); len(got) != len(made) {
		t.Errorf("%d of %d arrived", len(got), len(made))
	}
	t.Logf("%d adapters' processes were killed", kills)
}
