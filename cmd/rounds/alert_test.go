// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/alert"
)

const oncallHCL = `
destination "webhook" "oncall" {
  url           = env("ONCALL_URL")
  allow_private = true
}
`

const waitingHCL = `
alert "waiting" {
  outbox_older_than = "2s"
  resolve_after     = "1s"
  to                = destination.webhook.oncall
}
`

// alerts are the messages that the person on call got, as "subject state", and their texts.
func alerts(t *testing.T, oncall *receiver.Receiver) (got []string, texts string) {
	t.Helper()
	for _, r := range oncall.Received(0) {
		var m struct{ Alert, Subject, State, Text string }
		if err := json.Unmarshal(r.Body, &m); err != nil || m.Alert != "waiting" {
			t.Fatalf("%v: the person on call got %s", err, r.Body)
		}
		got, texts = append(got, m.Subject+" "+m.State), texts+m.Text+"\n"
	}
	return got, texts
}

// stuckClinic is a clinic whose receiver fails, an alert about that, and who is told.
func stuckClinic(t *testing.T) (c *clinic, oncall *receiver.Receiver, dir string, env []string) {
	t.Helper()
	c = newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 6, Patients: 2}}, receiver.Options{})
	c.Receiver.SetFaults(receiver.Faults{Status: 503, Failing: 1})
	oncall, err := receiver.New(receiver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir = write(t, map[string]string{
		"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "oncall.hcl": oncallHCL, "alerts.hcl": waitingHCL,
		"mapping.js": tellAll,
	})
	return c, oncall, dir, append(c.env(), "ONCALL_URL="+serve(t, oncall))
}

func TestAReceiverThatIsDownIsToldOnceOverAKillAndOnceWhenItIsBack(t *testing.T) {
	t.Parallel()
	c, oncall, dir, env := stuckClinic(t)
	const fires, isOver = "destination.webhook.scheduling firing", "destination.webhook.scheduling resolved"
	p := startRun(t, dir, env)
	p.eventually(40*time.Second, "the person on call was told", func() bool { return len(oncall.Received(0)) > 0 })
	p.kill()
	p = startRun(t, dir, env)
	p.logged("msg=running")
	p.pollsMore(c, 8) // longer than it took until the alert fired
	if got, _ := alerts(t, oncall); !slices.Equal(slices.Compact(got), []string{fires}) {
		t.Errorf("the person on call was told %q", got)
	}
	c.Receiver.SetFaults(receiver.Faults{})
	p.eventually(90*time.Second, "all arrived", func() bool { return c.Accepted() == 6 })
	p.eventually(40*time.Second, "the person on call was told that it is over", func() bool {
		got, _ := alerts(t, oncall)
		return got[len(got)-1] == isOver
	})
	if code, out, _ := rounds(t, nil, "status", "--json", "--state", filepath.Join(dir, "state")); code != 0 || strings.Contains(out, alert.Owner) {
		t.Errorf("exit code %d, and the status takes what is kept for alerts for a pipeline: %s", code, out)
	}
	p.stop()
	got, texts := alerts(t, oncall)
	ids := map[string]bool{} // what was sent around the kill may come twice, with one id
	for _, r := range oncall.Received(0) {
		ids[r.ID] = true
	}
	if !slices.Equal(slices.Compact(got), []string{fires, isOver}) || len(ids) != 2 {
		t.Errorf("the person on call was told %q with %d ids", got, len(ids))
	}
	if !strings.HasPrefix(texts, "a notification has waited for destination.webhook.scheduling for ") {
		t.Errorf("the texts are %s", texts)
	}
	for _, r := range oncall.Received(0) {
		for _, id := range c.IDs() {
			a, err := c.Appointment(id)
			if err != nil {
				t.Fatal(err)
			}
			for _, never := range []string{id, a.PatientID} {
				if strings.Contains(string(r.Body), `"`+never+`"`) {
					t.Errorf("an alert holds an identifier of a record: %s", r.Body)
				}
			}
		}
	}
	if strings.Contains(p.log.String(), "that the configuration does not name") {
		t.Error("what is kept for alerts is taken for a pipeline that is gone")
	}
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

func TestAnAlertThatIsReloadedAwayIsOver(t *testing.T) {
	t.Parallel()
	_, oncall, dir, env := stuckClinic(t)
	p := startRun(t, dir, env)
	p.eventually(40*time.Second, "the person on call was told", func() bool { return len(oncall.Received(0)) > 0 })
	overwrite(t, dir, "alerts.hcl", "")
	p.signal(syscall.SIGHUP)
	p.eventually(40*time.Second, "the person on call was told that it is over", func() bool { return len(oncall.Received(0)) > 1 })
	got, texts := alerts(t, oncall)
	const subject = "destination.webhook.scheduling "
	if !slices.Equal(got, []string{subject + "firing", subject + "resolved"}) || !strings.Contains(texts, "the configuration was changed") {
		t.Errorf("the person on call was told %q:\n%s", got, texts)
	}

	// It comes back, with the mapping that the page for the person on call shows.
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```js\n// slack.js")
	script, _, _ := strings.Cut(rest, "```")
	overwrite(t, dir, "slack.js", "//"+script)
	overwrite(t, dir, "alerts.hcl", replaced(t, waitingHCL,
		`resolve_after     = "1s"`, "resolve_after     = \"1s\"\n  map               = \"slack.js\""))
	p.signal(syscall.SIGHUP)
	p.eventually(40*time.Second, "the person on call was told again", func() bool { return len(oncall.Received(0)) > 2 })
	p.stop()
	const begin = `{"text":":rotating_light: *waiting*: a notification has waited for `
	if body := string(oncall.Received(0)[2].Body); !strings.HasPrefix(body, begin) {
		t.Errorf("the mapping made %s", body)
	}
}
