// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// ehrAnswer answers a request in the place of an EHR.
type ehrAnswer = func(u *upstream, w http.ResponseWriter, r *http.Request)

// ehrFault is a way in which an EHR misbehaves.
type ehrFault struct {
	// answer stands between Rounds and the EHR while the fault lasts.
	answer   ehrAnswer
	at       string                          // the paths that it befalls begin so; "": the list's
	says     string                          // what status and log have to tell; "": the fault is no failure
	logs     string                          // what the log has to tell beside
	config   []string                        // pairs for replaced: what is otherwise in the configuration
	begin    func(t *testing.T, u *upstream) // before the run
	breaks   func(u *upstream)               // when the fault begins, beside answer
	mend     func(t *testing.T, u *upstream) // when it ends, beside answer
	retries  bool                            // a person may have to retry dead letters then: the fault lasts as long as the machine is slow
	bad      int                             // the certificate of an EHR that speaks TLS
	restarts bool                            // a person has to start the engine again then
}

// upstream is the EHR of one pipeline, the fault in front of it, and what arrived by it.
type upstream struct {
	ehrFault
	clinic
	name     string
	url      string       // base_url
	ill      atomic.Bool  // the fault lasts
	hits     atomic.Int32 // requests that it befell
	tokens   atomic.Int32 // the number of the token that is valid, if the source has one
	ahead    atomic.Int64 // of its clock
	other    elsewhere    // another server, which must not be called
	otherURL string
	files    map[string]string // that the configuration needs
	second   atomic.Value      // the cursor of the second page
	life     string            // of tokens, as their answer tells it
}

const upstreamHCL = `
source "rest" "NAME" {
  base_url = "BASE"
  timeout  = "1s"
  feed "appointments" {
    path    = "/v2/appointments"
    query   = { changedsince = "{since}", limit = "2" }
    items   = "items"
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
    page "cursor" {
      next   = "next"
      param  = "cursor"
      stable = true
    }
  }
  resource "patient" {
    path = "/patient/{id}"
  }
}
destination "webhook" "NAME" {
  url           = "RECEIVER/NAME"
  allow_private = true
}
pipeline "NAME" {
  poll {
    feed    = source.rest.NAME.feed.appointments
    every   = "1s"
    overlap = "10s"
    start   = "beginning"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "to" {
    to       = destination.webhook.NAME
    map      = "mapping.js"
    order_by = change.data.patientID
  }
}
`

const oauthHCL = `
  auth "oauth2" {
    token_url     = "BASE/token"
    client_id     = "rounds"
    client_secret = secret("client")
  }
  feed "appointments" {`

// newUpstream makes the EHR of a fault, which is well at first.
func newUpstream(t *testing.T, name string, f ehrFault) *upstream {
	t.Helper()
	u := &upstream{ehrFault: f, name: name}
	ehr, err := sampleehr.New(sampleehr.Options{Seed: 3, Load: sampleehr.Load{Appointments: 7, Patients: 3},
		Now: func() time.Time { return time.Now().Add(time.Duration(u.ahead.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	to, err := receiver.New(receiver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	u.EHR, u.Receiver = ehr, to
	u.otherURL = serve(t, &u.other)
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := u.at
	if at == "" {
		at = "/v2/"
	}
	if u.ill.Load() && u.answer != nil && strings.HasPrefix(r.URL.Path, at) {
		u.hits.Add(1)
		u.answer(u, w, r)
		return
	}
	u.well(w, r)
}

// well answers as the EHR does when nothing is wrong.
func (u *upstream) well(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		fmt.Fprintf(w, `{"access_token": "c4n4ry-token-%d"%s}`, u.tokens.Add(1), u.life)
		return
	}
	if n := u.tokens.Load(); n > 0 && r.Header.Get("Authorization") != fmt.Sprint("Bearer c4n4ry-token-", n) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/patients" {
		u.batch(w, r, "")
		return
	}
	u.EHR.ServeHTTP(w, r)
}

// batch answers with several patients, but for one.
func (u *upstream) batch(w http.ResponseWriter, r *http.Request, without string) {
	found := []sampleehr.Patient{}
	for id := range strings.SplitSeq(r.URL.Query().Get("id"), ",") {
		if id != without {
			found = append(found, u.Patient(id))
		}
	}
	_ = json.NewEncoder(w).Encode(found)
}

// changed answers as the EHR does, but for what change makes of the body.
func (u *upstream) changed(w http.ResponseWriter, r *http.Request, change func(body []byte) []byte) {
	answer := httptest.NewRecorder()
	u.well(answer, r)
	maps.Copy(w.Header(), answer.Header())
	w.Header().Del("Content-Length")
	w.WriteHeader(answer.Code)
	_, _ = w.Write(change(answer.Body.Bytes()))
}

// items answers with other items.
func (u *upstream) items(w http.ResponseWriter, r *http.Request, change func([]json.RawMessage) []json.RawMessage) {
	u.changed(w, r, func(body []byte) []byte {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  *string           `json:"next"`
		}
		_ = json.Unmarshal(body, &page)
		page.Items = change(page.Items)
		body, _ = json.Marshal(page)
		return body
	})
}

// sicken begins the fault, and then changes all that there is, and makes something new.
func (u *upstream) sicken(t *testing.T) {
	t.Helper()
	u.ill.Store(true)
	if u.breaks != nil {
		u.breaks(u)
	}
	for _, id := range u.IDs() {
		if err := u.Update(id, time.Time{}, func(a *sampleehr.Appointment) { a.Comment = "changed while the fault lasts" }); err != nil {
			t.Fatal(err)
		}
	}
	a, err := u.Appointment(u.IDs()[0])
	if err != nil {
		t.Fatal(err)
	}
	a.ID = "A2000001"
	if err := u.Create(a, time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// heal ends the fault.
func (u *upstream) heal(t *testing.T) {
	t.Helper()
	if u.mend != nil {
		u.mend(t, u)
	}
	u.ill.Store(false)
}

// status is what the engine tells of the pipeline.
func (u *upstream) status(st operate.Status) operate.PipelineStatus {
	for _, p := range st.Pipelines {
		if p.Name == u.name {
			return p
		}
	}
	return operate.PipelineStatus{}
}

// statusOf asks the engine.
func statusOf(t *testing.T, dir string) (st operate.Status) {
	t.Helper()
	_, stdout, _ := rounds(t, nil, "status", "--json", "--state", dir+"/state")
	if err := json.Unmarshal([]byte(stdout), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// told says whether the status, and the log, tell of the fault.
func (u *upstream) told(st operate.Status, log string) bool {
	if u.says == "" && u.logs == "" {
		return u.hits.Load() > 1 || u.answer == nil
	}
	p := u.status(st)
	return u.logged(log, u.logs) && u.logged(log, u.says) && (strings.Contains(p.Why, u.says) || p.DeadLetters > 0)
}

// logged says whether a line about the pipeline holds a text.
func (u *upstream) logged(log, text string) bool {
	text = strings.ReplaceAll(text, `"`, `\"`)
	for line := range strings.SplitSeq(log, "\n") {
		if strings.Contains(line+" ", "pipeline="+u.name+" ") && strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// TestNothingIsLostWhateverTheEHRDoes gives each fault an EHR, a source and a pipeline of its own, in one engine with one adapter's
// process: all goes well at first, then the EHR misbehaves while its records change, which has to be told so that a person can do
// something, then it is well again and everything has to arrive, once.
func TestNothingIsLostWhateverTheEHRDoes(t *testing.T) {
	t.Parallel()
	all := map[string]*upstream{}
	files := map[string]string{"mapping.js": tellAll, "client": "c4n4ry-secret"}
	var hcl strings.Builder
	mux := http.NewServeMux()
	url := serve(t, mux)
	receivers := http.NewServeMux()
	receiverURL := serve(t, receivers)
	for name, f := range ehrFaults {
		u := newUpstream(t, name, f)
		u.url = url + "/" + name
		all[name] = u
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, u))
		receivers.Handle("/"+name, u.Receiver)
		if u.begin != nil {
			u.begin(t, u)
		}
		maps.Copy(files, u.files)
		text := replaced(t, upstreamHCL, u.config...)
		hcl.WriteString(strings.NewReplacer("NAME", name, "BASE", u.url, "RECEIVER", receiverURL).Replace(text))
	}
	files["main.hcl"] = hcl.String()
	dir := write(t, files)
	env := []string{"CREDENTIALS_DIRECTORY=" + dir}
	p := startRun(t, dir, env)
	// each waits for something of every EHR.
	each := func(what string, holds func(*upstream) bool) {
		t.Helper()
		missing, began, last := maps.Clone(all), time.Now(), ""
		for len(missing) > 0 && time.Since(began) < 2*time.Minute {
			maps.DeleteFunc(missing, func(name string, u *upstream) bool {
				if holds(u) {
					last = name
					return true
				}
				return false
			})
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("%s after %s, the last was %s", what, time.Since(began).Round(time.Millisecond), last)
		if len(missing) == 0 {
			return
		}
		st := statusOf(t, dir)
		for name := range missing {
			t.Errorf("%s: not yet: %s; it was told: %t; the status tells: %q", name, what, !all[name].ill.Load(), ofPipeline(t, st, name).Why)
		}
		t.FailNow()
	}
	each("all arrived at first", func(u *upstream) bool { return settled(&u.clinic, nil) })
	for _, u := range all {
		u.sicken(t)
	}
	var st operate.Status
	var log string
	var looked time.Time
	each("all was told, and arrived in the end", func(u *upstream) bool {
		if time.Since(looked) > 300*time.Millisecond {
			st, log, looked = statusOf(t, dir), p.log.String(), time.Now()
		}
		if u.ill.Load() {
			if u.told(st, log) {
				u.heal(t)
			}
			return false
		}
		if u.retries && u.status(st).DeadLetters > 0 {
			rounds(t, nil, "dead", "retry", "--pipeline", u.name, "--state", dir+"/state")
		}
		return u.restarts || settled(&u.clinic, nil)
	})
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	log = p.log.String()
	polls := map[string]int{}
	for name, u := range all {
		polls[name] = u.polls()
	}
	p = startRun(t, dir, env)
	each("what a restart helps arrived as well", func(u *upstream) bool { return settled(&u.clinic, nil) && u.polls() > polls[u.name]+1 })
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			u := all[name]
			if n := oracle(t, u.EHR, u.Received(0), nil); n > 0 {
				t.Errorf("%d notifications were repeated", n)
			}
			if len(u.other.calls) > 0 {
				t.Errorf("the other server was called: %q", u.other.calls)
			}
		})
	}
	if strings.Contains(log+p.log.String(), "c4n4ry") {
		t.Error("the log holds a token, a secret or a part of an answer")
	}
}
