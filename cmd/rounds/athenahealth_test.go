// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
)

// runAthenahealth runs the example against the stand-in that its README starts: each change is told once, with its patient.
func runAthenahealth(t *testing.T, dir string) {
	work := t.TempDir()
	config := filepath.Join(work, "config")
	if err := os.CopyFS(config, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(work, "practice"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	const events = 30
	server := exec.Command(filepath.Join(work, "practice"), "-listen", address, "-every", "150ms", "-events", fmt.Sprint(events))
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	eventually(t, 20*time.Second, "the stand-in listens", func() bool {
		resp, err := http.Get("http://" + address)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	overwrite(t, config, "athena", "Rounds123\n")
	overwrite(t, config, "rounds.hcl", replaced(t, content(t, filepath.Join(config, "rounds.hcl")), `"2s"`, `"1s"`))
	env := []string{"ATHENA_URL=http://" + address, "CREDENTIALS_DIRECTORY=" + config}
	if code, stdout, stderr := rounds(t, env, "validate", config); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, env, "test", config); code != 0 || !strings.Contains(stdout, "3 tests ran, all passed") {
		t.Fatalf("%s%s", stdout, stderr)
	}
	p := start(t, env, "run", config, "--state", filepath.Join(work, "state"))
	type told struct {
		Meta    struct{ EventType string }
		Patient struct{ Demographics struct{ LastName string } }
		Visit   struct{ VisitNumber, VisitDateTime string }
	}
	lines := func() (all []told) {
		for line := range strings.Lines(p.stdout.String()) {
			var v told
			if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &v) == nil {
				all = append(all, v)
			}
		}
		return all
	}
	p.eventually(40*time.Second, "all are told", func() bool { return len(lines()) >= events })
	p.stop()
	counts := map[string]int{}
	for _, v := range lines() {
		counts[v.Meta.EventType]++
		if v.Patient.Demographics.LastName == "" || v.Visit.VisitNumber == "" {
			t.Errorf("told without its patient: %+v", v)
		}
	}
	if counts["New"] != events/3 || counts["Modification"] != events/3 || counts["Cancel"] != events/3 {
		t.Errorf("told of %d changes: %v", events, counts)
	}
}

func TestASecondPipelineOnAQueueIsRefused(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"main.hcl": queueHCL, "told.js": "export default ({ change }) => ({});\n"})
	env := []string{"NOTIFY_URL=http://127.0.0.1:1", "ATHENA_URL=http://127.0.0.1:1"}
	if code, _, stderr := rounds(t, env, "validate", dir); code != 0 {
		t.Fatal(stderr)
	}
	_, second, _ := strings.Cut(queueHCL, "pipeline ")
	overwrite(t, dir, "second.hcl", replaced(t, "pipeline "+second, `"appointments"`, `"billing"`))
	code, _, stderr := rounds(t, env, "validate", dir)
	if code == 0 || !strings.Contains(stderr, `pipeline "billing"`) || !strings.Contains(stderr, `Pipeline "appointments" polls this feed already`) {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

const queueHCL = `
source "athenahealth" "clinic" {
  environment         = "preview"
  practice_id         = "195900"
  client_id           = "rounds"
  client_secret       = "secret"
  base_url            = env("ATHENA_URL")
  manage_subscription = true
  page_size           = 7
  limits {
    per_second = 0
  }
}
destination "webhook" "receiver" {
  url           = env("NOTIFY_URL")
  allow_private = true
}
pipeline "appointments" {
  poll {
    feed    = source.athenahealth.clinic.feed.appointments
    every   = "1s"
    overlap = "5s"
    start   = "now"
  }
  deliver "receiver" {
    to  = destination.webhook.receiver
    map = "told.js"
  }
}
`

// TestPlanRecordAndCheckTakeNothingFromAQueue: what they read still waits for the run.
func TestPlanRecordAndCheckTakeNothingFromAQueue(t *testing.T) {
	t.Parallel()
	practice := simulator.New(simulator.Options{})
	practice.Subscribe("appointments")
	for n := range 9 {
		practice.Set("appointments", fmt.Sprint(n), map[string]any{"n": n})
	}
	dir := write(t, map[string]string{"main.hcl": replaced(t, queueHCL, `"now"`, `"beginning"`), "told.js": "export default ({ change }) => ({ n: change.data.n });\n"})
	env := []string{"NOTIFY_URL=http://127.0.0.1:1", "ATHENA_URL=" + serve(t, practice)}
	state := filepath.Join(dir, "state")
	for _, command := range []struct {
		args []string
		text string
	}{
		{[]string{"plan", "--state", state, dir}, "new            9\n"},
		{[]string{"check", "--state", state, dir}, "poll feed appointments"},
		{[]string{"record", "appointments", "--n", "4", "--since", "2h", "--to", filepath.Join(dir, "tests"), dir}, ""},
	} {
		code, stdout, stderr := rounds(t, env, command.args...)
		if code != 0 && command.args[0] != "check" || !strings.Contains(stdout, command.text) { // nobody is at NOTIFY_URL
			t.Errorf("%s: exit code %d\n%s%s", command.args[0], code, stdout, stderr)
		}
		if n := practice.Waiting("appointments"); n != 9 {
			t.Errorf("after rounds %s, %d of 9 messages wait", command.args[0], n)
		}
	}
}
