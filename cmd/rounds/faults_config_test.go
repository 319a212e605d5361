// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// otherHCL is what stays when the rest of a configuration goes.
const otherHCL = `
source "rest" "other" {
  base_url = env("EHR_URL")
  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" }
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
  }
}
destination "stdout" "other" {}
pipeline "other" {
  poll {
    feed  = source.rest.other.feed.appointments
    every = "8760h"
    start = "now"
  }
  deliver "other" {
    to  = destination.stdout.other
    map = "other.js"
  }
}
`

// TestWhatWaitsOutlivesAConfigurationWithoutIt: what a configuration no longer names, or names otherwise, keeps what waits, over restarts
// too. When it is put back, all of that arrives, in order, and so does what changed meanwhile.
func TestWhatWaitsOutlivesAConfigurationWithoutIt(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	good := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning)
	_, rest, _ := strings.Cut(good, "\ndestination")
	source := strings.TrimSuffix(good, "\ndestination"+rest)
	destination, _, _ := strings.Cut("\ndestination"+rest, "\npipeline")
	dir := write(t, map[string]string{"main.hcl": good, "other.hcl": otherHCL, "mapping.js": tellAll, "other.js": "export default () => null;"})
	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "the first arrived", func() bool { return c.Accepted() == 12 })
	waiting := func(destination string) int {
		t.Helper()
		st := statusOf(t, dir)
		return ofDestination(t, st, destination).Waiting
	}
	for _, x := range []struct {
		what, hcl string
		goes      bool // what waits is delivered all the same
	}{
		{"pipeline", source + destination, true},
		{"pipeline, source and destination", "", false},
		{"destination", replaced(t, good, destination, "", "destination.webhook.scheduling", "destination.stdout.other"), false},
		{"names, without moved", replaced(t, good, `"webhook" "scheduling"`, `"webhook" "planning"`, "webhook.scheduling", "webhook.planning",
			`pipeline "appointments"`, `pipeline "visits"`, fromTheBeginning, `start   = "now"`), false},
	} {
		c.Receiver.SetFaults(receiver.Faults{Failing: 1, Status: 503})
		was := c.Accepted()
		c.moveAll(t)
		p.eventually(20*time.Second, "all wait", func() bool { return waiting("webhook.scheduling") == 12 })
		overwrite(t, dir, "main.hcl", x.hcl)
		command(t, dir, 0, "reload")
		c.Receiver.SetFaults(receiver.Faults{})
		if x.goes {
			p.eventually(20*time.Second, "what waited arrived without its pipeline", func() bool { return c.Accepted() == was+12 })
		} else {
			p.logged("notifications wait for a destination that the configuration does not name", "destination=webhook.scheduling count=12")
			if code := p.stop(); code != 0 {
				t.Errorf("%s: exit code %d after SIGTERM", x.what, code)
			}
			p = startRun(t, dir, c.env())
			p.logged("destination=webhook.scheduling count=12")
			if n := waiting("webhook.scheduling"); n != 12 || c.Accepted() != was {
				t.Errorf("%s: %d wait and %d arrived, want 12 and none", x.what, n, c.Accepted()-was)
			}
		}
		c.moveAll(t)
		overwrite(t, dir, "main.hcl", good)
		command(t, dir, 0, "reload")
		p.eventually(30*time.Second, "all arrived", func() bool { return settled(c, nil) && waiting("webhook.scheduling") == 0 })
	}
	p.stop()
	received := c.Received(0)
	lanesWait(t, received)
	if n := oracle(t, c.EHR, received, nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// TestAReloadWithoutItsFilesChangesNothing: a file that the configuration needs is gone or can't be read.
func TestAReloadWithoutItsFilesChangesNothing(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	dir := write(t, map[string]string{"mapping.js": tellAll, "credentials/signing": "whsec_" + strings.Repeat("YWJj", 8),
		"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, "allow_private = true", "allow_private = true\n  signing_secrets = [secret(\"signing\")]")})
	p := startRun(t, dir, append(c.env(), "CREDENTIALS_DIRECTORY="+filepath.Join(dir, "credentials")))
	p.eventually(20*time.Second, "the first arrived", func() bool { return c.Accepted() == 12 })
	const gone, unreadable = true, false // unreadable for root too: a link to itself
	for _, x := range []struct {
		file string
		how  bool
		said string
	}{
		{"credentials", gone, `There is no file "signing"`},
		{"credentials/signing", unreadable, "Unreadable secret"},
		{"mapping.js", gone, `There is no file "mapping.js"`},
		{"mapping.js", unreadable, `"mapping.js" can't be read`},
		{"main.hcl", unreadable, "main.hcl"},
	} {
		path := filepath.Join(dir, x.file)
		err := os.Rename(path, path+".away")
		if x.how == unreadable {
			err = errors.Join(err, os.Symlink(filepath.Base(path), path))
		}
		if err != nil {
			t.Fatal(err)
		}
		_, stderr := command(t, dir, 1, "reload")
		says(t, strings.Join(strings.Fields(stderr), " "), "the one before goes on", x.said)
		if st := statusOf(t, dir); st.Reload == nil || st.Reload.Error == "" {
			t.Errorf("%s: the status tells of the reload %+v", x.file, st.Reload)
		}
		was := c.Accepted()
		if err := c.Move(c.IDs()[0], time.Hour); err != nil {
			t.Fatal(err)
		}
		p.eventually(20*time.Second, "the old configuration goes on", func() bool { return c.Accepted() == was+1 })
		_ = os.Remove(path) // the link, where there is one
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		command(t, dir, 0, "reload")
	}
	p.stop()
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// TestAnEngineThatStoodStillGoesOn: it is stopped by a signal for longer than a delivery, a poll and an answer of its adapter may take, as
// happens to a machine that is suspended.
func TestAnEngineThatStoodStillGoesOn(t *testing.T) {
	t.Parallel()
	c, dir, env, g := hanging(t)
	hcl := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, "allow_private = true", "allow_private = true\n  timeout = \"1s\"",
		`every   = "1s"`, "every   = \"1s\"\n    timeout = \"1s\"")
	overwrite(t, dir, "main.hcl", hcl)
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "a delivery of each patient is on its way", func() bool { return g.waiting.Load() == 8 })
	p.signal(syscall.SIGSTOP)
	close(g.opened)
	stood := time.Now()
	eventually(t, 20*time.Second, "what was on its way arrived", func() bool { return c.Accepted() == 8 })
	c.moveAll(t)
	time.Sleep(time.Until(stood.Add(3 * time.Second))) // the fault itself
	p.signal(syscall.SIGCONT)
	p.eventually(30*time.Second, "everything arrived", func() bool { return settled(c, nil) })
	if st := statusOf(t, dir); ofPipeline(t, st, "appointments").State == "claiming" {
		t.Errorf("the status is %+v", st)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 8 {
		t.Errorf("%d notifications were repeated; 8 were on their way", n)
	}
}
