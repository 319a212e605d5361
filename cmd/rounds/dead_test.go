// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// brokenFor is tellAll, broken for a patient.
func brokenFor(t *testing.T, patient string) string {
	return replaced(t, tellAll, "  return {", fmt.Sprintf("  if (change.data.patientID === %q) throw new Error(`no mapping for ${change.id}`);\n  return {", patient))
}

// handled is what retry and discard tell.
type handled struct {
	Retried, Notifications, Filtered, Discarded int
	Failed                                      map[string]string
}

// brokenMapping runs an engine whose mapping fails for the appointments of one of three patients.
func brokenMapping(t *testing.T) (c *clinic, dir string, p *process, patient string, dead []operate.DeadLetter) {
	t.Helper()
	c = newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	a, err := c.Appointment(c.IDs()[0])
	if err != nil {
		t.Fatal(err)
	}
	patient = a.PatientID
	dir = write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": brokenFor(t, patient)})
	p = startRun(t, dir, c.env())
	n := c.appointmentsOf(t, patient)
	p.eventually(30*time.Second, "the others arrived", func() bool { return c.Accepted() == 12-n })
	dead = asked[[]operate.DeadLetter](t, dir, 0, "dead", "list")
	if len(dead) != n {
		t.Fatalf("%d dead letters, want %d", len(dead), n)
	}
	return c, dir, p, patient, dead
}

// TestDeadLettersAreMappedAgain: by the mapping that is in use now, not by what the file holds.
func TestDeadLettersAreMappedAgain(t *testing.T) {
	t.Parallel()
	c, dir, p, patient, dead := brokenMapping(t)
	n := len(dead)
	stdout, stderr := command(t, dir, 0, "dead", "list")
	says(t, stderr, byTheEngine)
	says(t, stdout, dead[0].ID, "script", "mapping.js", dead[0].Record)
	if dead[0].Pipeline != "appointments" || dead[0].Deliver != "scheduling" || dead[0].Stage != "map" || dead[0].Kind == "" || dead[0].Attempts != 1 {
		t.Errorf("a dead letter is listed as %+v", dead[0])
	}
	if got := ofPipeline(t, asked[operate.Status](t, dir, 3, "status"), "appointments"); got.DeadLetters != n {
		t.Errorf("the status tells of %d dead letters, want %d", got.DeadLetters, n)
	}
	shown := asked[operate.DeadContent](t, dir, 0, "dead", "show", dead[0].ID)
	if !slices.Contains(c.IDs(), shown.RecordID) || !strings.Contains(string(shown.Change), patient) || !strings.Contains(shown.Detail, "no mapping for "+shown.RecordID) ||
		shown.Superseded || len(shown.Body) > 0 {
		t.Errorf("a dead letter is shown as %+v", shown)
	}
	stdout, _ = command(t, dir, 0, "dead", "show", dead[0].ID)
	says(t, stdout, shown.RecordID, "no mapping for", patient, "\nrecord:\n")
	_, stderr = command(t, dir, 1, "dead", "show", "0123")
	says(t, stderr, "there is none of that id")

	// How they are chosen.
	for _, x := range []struct {
		args string
		want int
	}{
		{"--cause script", n}, {"--cause http_422", 0}, {"--pipeline appointments", n}, {"--pipeline visits", 0}, {"--newer-than 1h", n},
		{"--older-than 1h", 0}, {"--since 2031-01-01T00:00:00Z", 0}, {"--until 2031-01-01T00:00:00Z", n}, {"--limit 1", 1}, {"--limit 0", n},
		{"--record " + dead[0].Record, 1}, {"--pipeline appointments --record " + shown.RecordID, 1}, {"--destination webhook.nothing", 0},
	} {
		if got := asked[[]operate.DeadLetter](t, dir, 0, append([]string{"dead", "list"}, strings.Fields(x.args)...)...); len(got) != x.want {
			t.Errorf("dead list %s: %d, want %d", x.args, len(got), x.want)
		}
	}
	_, stderr = command(t, dir, 1, "dead", "list", "--record", "0123456789abcdef")
	says(t, stderr, "no such record")

	// A file that is corrected is not in use before a reload.
	overwrite(t, dir, "mapping.js", tellAll)
	got := asked[handled](t, dir, 1, "dead", "retry", "--all")
	if got.Retried != 0 || len(got.Failed) != n || !strings.Contains(got.Failed[dead[0].ID], "it fails again, and stays") || !strings.Contains(got.Failed[dead[0].ID], "mapping.js") {
		t.Errorf("before the reload: %+v", got)
	}
	command(t, dir, 0, "reload")
	one := asked[handled](t, dir, 0, "dead", "retry", dead[0].ID)
	if one.Retried != 1 || one.Notifications != 1 || one.Filtered != 0 || len(one.Failed) != 0 {
		t.Errorf("a retry did %+v", one)
	}
	p.eventually(20*time.Second, "it arrived", func() bool { return c.Accepted() == 12-n+1 })
	stdout, _ = command(t, dir, 0, "dead", "retry", "--cause", "script", "--pipeline", "appointments")
	says(t, stdout, fmt.Sprintf("%d retried: %d notifications are in the outbox, 0 are filtered now.", n-1, n-1))
	p.eventually(20*time.Second, "all arrived", func() bool { return c.Accepted() == 12 })
	stdout, _ = command(t, dir, 0, "dead", "list")
	says(t, stdout, "There are no dead letters.")
	stdout, _ = command(t, dir, 0, "dead", "retry", "--all")
	says(t, stdout, "There are none.")
	command(t, dir, 0, "status")
	p.stop()
	eachArrivedOnce(t, c)
}

// TestASupersededDeadLetterNeedsForce, others can be filtered by now, and what is not wanted is discarded.
func TestASupersededDeadLetterNeedsForce(t *testing.T) {
	t.Parallel()
	c, dir, p, _, dead := brokenMapping(t)
	n := len(dead)
	first := asked[operate.DeadContent](t, dir, 0, "dead", "show", dead[0].ID)
	overwrite(t, dir, "mapping.js", tellAll)
	command(t, dir, 0, "reload")
	if err := c.Move(first.RecordID, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "the newer generation arrived", func() bool { return c.Accepted() == 12-n+1 })
	if !asked[operate.DeadContent](t, dir, 0, "dead", "show", dead[0].ID).Superseded {
		t.Error("it is not shown as superseded")
	}
	got := asked[handled](t, dir, 1, "dead", "retry", dead[0].ID)
	if got.Retried != 0 || !strings.Contains(got.Failed[dead[0].ID], "the record has changed since") {
		t.Errorf("without force: %+v", got)
	}
	if got = asked[handled](t, dir, 0, "dead", "retry", dead[0].ID, "--force"); got.Retried != 1 {
		t.Errorf("with force: %+v", got)
	}
	p.eventually(20*time.Second, "it arrived", func() bool { return c.Accepted() == 12-n+2 })

	overwrite(t, dir, "mapping.js", "export default () => null;")
	command(t, dir, 0, "reload")
	if got = asked[handled](t, dir, 0, "dead", "retry", dead[1].ID); got.Retried != 1 || got.Filtered != 1 || got.Notifications != 0 {
		t.Errorf("what is filtered by now: %+v", got)
	}
	p.stop()

	// Without an engine a mapping needs the configuration; to discard does not.
	rest := len(asked[[]operate.DeadLetter](t, dir, 0, "dead", "list"))
	if rest != n-2 || rest < 2 {
		t.Fatalf("%d dead letters are left of %d", rest, n)
	}
	got = asked[handled](t, dir, 1, "dead", "retry", "--all")
	for _, why := range got.Failed {
		says(t, why, "no configuration was given")
	}
	overwrite(t, dir, "mapping.js", tellAll)
	code, stdout, stderr := rounds(t, c.env(), "dead", "retry", dead[2].ID, "--config", dir, "--state", filepath.Join(dir, "state"))
	if code != 0 || !strings.Contains(stdout, "1 retried: 1 notifications") || !strings.Contains(stderr, byTheState) {
		t.Errorf("without an engine: exit code %d\n%s%s", code, stdout, stderr)
	}
	stdout, _ = command(t, dir, 0, "dead", "discard", dead[3].ID)
	says(t, stdout, "1 discarded.")
	_, stderr = command(t, dir, 2, "dead", "discard")
	says(t, stderr, "which ones?")
	_, stderr = command(t, dir, 2, "dead", "discard", dead[3].ID, "--all")
	says(t, stderr, "not both")
	command(t, dir, 1, "dead", "discard", dead[3].ID)
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "what was retried without an engine arrived", func() bool { return c.Accepted() == 12-n+3 })
	p.stop()

	var looks []string
	for _, line := range auditLog(t, dir) {
		looks = append(looks, line.At)
	}
	for what, want := range map[string]int{"dead letter": 2, "discard of a dead letter": 1} {
		if got := len(slices.DeleteFunc(slices.Clone(looks), func(s string) bool { return s != what })); got != want {
			t.Errorf("the audit log has %d lines %q, want %d", got, what, want)
		}
	}
}

// look is a line of the audit log.
type look struct {
	Time                      time.Time
	Who, At, Pipeline, Record string
}

func auditLog(t *testing.T, dir string) (all []look) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "state", "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the audit log: %v %v", info.Mode(), err)
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		all = append(all, decode[look](t, lines.Bytes()))
	}
	return all
}

// TestWhatCouldNotBeFetchedIsFetchedAgain by a retry, which needs a running engine.
func TestWhatCouldNotBeFetchedIsFetchedAgain(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	a, err := c.Appointment(c.IDs()[0])
	if err != nil {
		t.Fatal(err)
	}
	var gone atomic.Bool
	gone.Store(true)
	ehr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() && r.URL.Path == "/patient/"+a.PatientID {
			http.NotFound(w, r)
			return
		}
		c.EHR.ServeHTTP(w, r)
	}))
	n := c.appointmentsOf(t, a.PatientID)
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	env := []string{"EHR_URL=" + ehr, "NOTIFY_URL=" + c.receiverURL}
	p := startRun(t, dir, env)
	p.eventually(30*time.Second, "the others arrived", func() bool { return c.Accepted() == 12-n })
	if dead := asked[[]operate.DeadLetter](t, dir, 0, "dead", "list", "--cause", "not_found"); len(dead) != n || dead[0].Stage != "fetch" {
		t.Fatalf("the dead letters are %+v", dead)
	}
	got := asked[handled](t, dir, 1, "dead", "retry", "--all")
	if got.Retried != 0 || len(got.Failed) != n {
		t.Errorf("while it can't be fetched: %+v", got)
	}
	for _, why := range got.Failed {
		says(t, why, "it fails again, and stays", "/patient/{id}")
		if strings.Contains(why, a.PatientID) {
			t.Errorf("it tells whose: %s", why)
		}
	}
	gone.Store(false)
	p.stop()
	code, _, stderr := rounds(t, env, "dead", "retry", "--all", "--config", dir, "--state", filepath.Join(dir, "state"))
	if code != 1 || !strings.Contains(stderr, "needs a running engine") {
		t.Errorf("without an engine: exit code %d\n%s", code, stderr)
	}
	p = startRun(t, dir, env)
	p.logged("msg=running")
	if got := asked[handled](t, dir, 0, "dead", "retry", "--all"); got.Retried != n || got.Notifications != n {
		t.Errorf("when it can be fetched: %+v", got)
	}
	p.eventually(20*time.Second, "all arrived", func() bool { return c.Accepted() == 12 })
	p.stop()
	for _, r := range c.Received(0) {
		if got := decode[told](t, r.Body); len(got.Fetched.Patient) == 0 {
			t.Error("a notification came without what was fetched")
		}
	}
}

// TestARetryOfAllEnds, though the receiver makes dead letters of what is retried as fast as it is.
func TestARetryOfAllEnds(t *testing.T) {
	t.Parallel()
	c, refused := oneRefused(t)
	n := c.appointmentsOf(t, refused)
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning,
		`url = env("NOTIFY_URL")`, "url = env(\"NOTIFY_URL\")\n  on_reject = \"dead_letter\""), "mapping.js": tellAll})
	p := startRun(t, dir, c.env())
	p.logged("msg=running")
	all := func() bool {
		return len(asked[[]operate.DeadLetter](t, dir, 0, "dead", "list", "--cause", "http_422")) == n
	}
	p.eventually(30*time.Second, "all of the patient's are dead letters", all)
	for range 5 {
		if got := asked[handled](t, dir, 0, "dead", "retry", "--all"); got.Retried != n {
			t.Fatalf("a retry of all %d did %+v", n, got)
		}
		p.eventually(30*time.Second, "all of the patient's are dead letters again", all)
	}
	c.Receiver.SetFaults(receiver.Faults{})
	command(t, dir, 0, "dead", "retry", "--destination", "webhook.scheduling")
	p.eventually(20*time.Second, "all arrived", func() bool { return c.Accepted() == 12 })
	p.stop()
	eachArrivedOnce(t, c)
}

// TestWhatIsShownOfARecordSteersNoTerminal: an EHR or a receiver that was taken over could send what a terminal obeys.
func TestWhatIsShownOfARecordSteersNoTerminal(t *testing.T) {
	t.Parallel()
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "/patient/") {
			fmt.Fprint(w, `{"id": "P1", "name": {"given": "A", "family": "B"}}`)
			return
		}
		fmt.Fprint(w, `[{"id": "A1", "patientID": "P1", "lastUpdated": "2026-05-10T10:00:00"},
			{"id": "A2\u001b]0;pwned\u0007\u009b2J", "patientID": "P1", "lastUpdated": "2026-05-10T10:00:00"}]`)
	}))
	dir := write(t, map[string]string{
		"main.hcl":   replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning),
		"mapping.js": "export default ({ change }) => { if (change.id !== 'A1') throw new Error(change.id); return { id: change.id }; }",
	})
	p := startRun(t, dir, []string{"EHR_URL=" + url, "NOTIFY_URL=" + serve(t, http.NotFoundHandler())})
	p.logged("changes became dead letters")
	dead := asked[[]operate.DeadLetter](t, dir, 0, "dead", "list")
	if len(dead) != 1 {
		t.Fatalf("%d dead letters, want 1", len(dead))
	}
	for _, args := range [][]string{{"dead", "show", dead[0].ID}, {"history", "record", dead[0].Record}} {
		stdout, _ := command(t, dir, 0, args...)
		says(t, stdout, "A2\uFFFD")
		if i := strings.IndexAny(stdout, "\x1b\a\u009b"); i >= 0 {
			t.Errorf("rounds %s shows a control character: %q", args[:2], stdout[i:min(len(stdout), i+20)])
		}
	}
	p.stop()
}

// TestWhatIsRefusedAgainIsRetriedOnce: it is a new dead letter, which the same command does not take up, whatever time it was given.
func TestWhatIsRefusedAgainIsRetriedOnce(t *testing.T) {
	t.Parallel()
	const all = 250 // some pages of dead letters
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: all, Patients: all}}, receiver.Options{})
	c.Receiver.SetFaults(receiver.Faults{Status: 422, Failing: 1})
	dir := write(t, map[string]string{"mapping.js": tellAll, "main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning,
		`url = env("NOTIFY_URL")`, "url       = env(\"NOTIFY_URL\")\n  on_reject = \"dead_letter\"")})
	p := startRun(t, dir, c.env())
	refused := func(n int) func() bool {
		return func() bool {
			return len(c.Received(0)) >= n && len(asked[[]operate.DeadLetter](t, dir, 0, "dead", "list")) == all
		}
	}
	p.eventually(30*time.Second, "all were refused", refused(all))
	if h := asked[handled](t, dir, 0, "dead", "retry", "--until", "2199-01-01T00:00:00Z"); h.Retried != all {
		t.Errorf("%d were retried of %d", h.Retried, all)
	}
	p.eventually(30*time.Second, "all were refused again", refused(2*all))
	if n := len(c.Received(0)); n != 2*all {
		t.Errorf("%d requests, want %d", n, 2*all)
	}
	p.stop()
}
