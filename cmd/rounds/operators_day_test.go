// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

const onCallHCL = `
destination "webhook" "oncall" {
  url           = env("ONCALL_URL")
  allow_private = true
}

alert "queue" {
  destination       = destination.webhook.scheduling
  outbox_older_than = "2s"
  resolve_after     = "1s"
  to                = destination.webhook.oncall
}

alert "letters" {
  pipeline           = pipeline.appointments
  dead_letters_above = 0
  resolve_after      = "1s"
  to                 = destination.webhook.oncall
}
`

const archiveHCL = `
destination "webhook" "archive" {
  url           = env("ARCHIVE_URL")
  allow_private = true
}
`

// breaksForSome is the mapping above with a mistake that shows at some patients only.
const breaksForSome = `
export default function ({ change, fetched }) {
  if (Number(change.data.patientID.slice(1)) % 2 === 0) {
    return { name: fetched.patient.names.last.toUpperCase() };
  }
` + "  return { Patient: { Identifiers: [{ ID: fetched.patient.id }] }, id: change.id, version: change.version, data: change.data, fetched };\n}\n"

// day is what an operator has at hand.
type day struct {
	*testing.T
	*clinic
	dir, state    string
	env           []string
	oncall, other *receiver.Receiver
	p             *process
}

// command runs a command on the state, to its end.
func (d *day) command(want int, args ...string) string {
	d.Helper()
	code, stdout, stderr := rounds(d.T, d.env, append(args, "--state", d.state)...)
	if code != want {
		d.Fatalf("rounds %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

func (d *day) json(into any, want int, args ...string) {
	d.Helper()
	if out := d.command(want, append(args, "--json")...); json.Unmarshal([]byte(out), into) != nil {
		d.Fatalf("rounds %s: %s", strings.Join(args, " "), out)
	}
}

func (d *day) status(want int) (st operate.Status) {
	d.Helper()
	d.json(&st, want, "status")
	return st
}

func (d *day) destination(want int, name string) operate.DestinationStatus {
	d.Helper()
	st := d.status(want)
	i := slices.IndexFunc(st.Destinations, func(x operate.DestinationStatus) bool { return x.Name == name })
	if i < 0 {
		d.Fatalf("%s is not in the status: %+v", name, st)
	}
	return st.Destinations[i]
}

// change lets the EHR change n times.
func (d *day) change(n int) {
	d.Helper()
	for range n {
		if err := d.EHR.Step(); err != nil {
			d.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// told waits until the person on call was told this of an alert.
func (d *day) told(alert, state string, times int) {
	d.Helper()
	d.p.eventually(time.Minute, alert+" is "+state, func() bool {
		n := 0
		for _, r := range d.oncall.Received(0) {
			var m struct{ Alert, State string }
			if json.Unmarshal(r.Body, &m) == nil && m.Alert == alert && m.State == state {
				n++
			}
		}
		if n > times {
			d.Fatalf("the person on call was told %d times that %s is %s", n, alert, state)
		}
		return n == times
	})
}

func (d *day) file(name, text string) {
	d.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

// TestAnOperatorsDay: a destination dies and recovers, a bad mapping is deployed, found, put right and its dead letters are retried, a
// record is traced, traffic is replayed to a new destination, and the machine is lost and made again of a backup. All by commands, on
// the built binary; at the end nothing was lost, and what came twice had its id.
func TestAnOperatorsDay(t *testing.T) {
	t.Parallel()
	d := &day{T: t, clinic: newClinic(t, sampleehr.Options{Seed: 11}, receiver.Options{})}
	for _, r := range []**receiver.Receiver{&d.oncall, &d.other} {
		made, err := receiver.New(receiver.Options{})
		if err != nil {
			t.Fatal(err)
		}
		*r = made
	}
	d.env = append(d.clinic.env(), "ONCALL_URL="+serve(t, d.oncall), "ARCHIVE_URL="+serve(t, d.other))
	d.dir = write(t, map[string]string{"main.hcl": pipelineHCL, "oncall.hcl": onCallHCL, "mapping.js": tellAll})
	d.state = filepath.Join(d.dir, "state")
	since := versionsNow(d.EHR)
	d.p = startRun(t, d.dir, d.env)
	d.p.eventually(30*time.Second, "polled", func() bool { return d.polls() > 0 })
	d.change(30)
	d.p.eventually(time.Minute, "all arrived", func() bool { return settled(d.clinic, since) })
	d.status(0)

	// The receiver dies. The person on call is told, and sees what waits and why.
	d.Receiver.SetFaults(receiver.Faults{Status: 503, Failing: 1})
	d.change(40)
	d.told("queue", "firing", 1)
	if s := d.destination(3, "webhook.scheduling"); s.State != "backing_off" || s.Waiting == 0 || s.Oldest.IsZero() || !strings.Contains(s.Why, "503") {
		t.Errorf("while the receiver is down: %+v", s)
	}
	// It recovers. A person who knows does not wait for the next try; the queue drains in order, which the oracle looks at in the end.
	d.Receiver.SetFaults(receiver.Faults{})
	d.command(0, "resume", "destination.webhook.scheduling")
	d.p.eventually(time.Minute, "the queue drained", func() bool { return settled(d.clinic, since) })
	d.told("queue", "resolved", 1)
	if s := d.destination(0, "webhook.scheduling"); s.Waiting != 0 || s.State != "delivering" {
		t.Errorf("after the recovery: %+v", s)
	}

	// A bad mapping is deployed. What it breaks becomes dead letters, the rest goes on.
	d.file("mapping.js", breaksForSome)
	d.command(0, "reload")
	d.change(40)
	d.told("letters", "firing", 1)
	d.p.eventually(time.Minute, "what the mapping does not break arrived", func() bool {
		return d.destinationQuiet("webhook.scheduling")
	})
	var dead []operate.DeadLetter
	d.json(&dead, 0, "dead", "list", "--cause", "script", "--pipeline", "appointments")
	if len(dead) == 0 || !strings.Contains(dead[0].Text, "mapping.js:4") {
		t.Fatalf("dead letters: %+v", dead)
	}

	// It is found with the record at hand, and tried until it is right, while nothing of that is in use.
	client, err := operate.Dial(t.Context(), d.state)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := client.Try(t.Context(), operate.Trial{DeadLetter: dead[0].ID})
	if err != nil || !strings.Contains(bad.Error, "mapping.js:4") || bad.Script != breaksForSome || len(bad.Change) == 0 {
		t.Fatalf("the playground with the mapping in use: %+v, %v", bad, err)
	}
	fixed := tellAll
	good, err := client.Try(t.Context(), operate.Trial{DeadLetter: dead[0].ID, Script: &fixed})
	if err != nil || good.Error != "" || !strings.Contains(string(good.Body), dead[0].Kind) && len(good.Body) == 0 {
		t.Fatalf("the playground with the corrected one: %+v, %v", good, err)
	}
	d.file("mapping.js", fixed)
	d.command(0, "reload")
	var h struct {
		Retried int
		Failed  map[string]string
	}
	out := d.exit(&h, "dead", "retry", "--cause", "script")
	if h.Retried == 0 || out == 0 != (len(h.Failed) == 0) {
		t.Errorf("retry: exit code %d, %+v", out, h)
	}
	for _, why := range h.Failed {
		if !strings.Contains(why, "changed since") {
			t.Errorf("a dead letter stays: %s", why)
		}
	}
	if len(h.Failed) > 0 { // what a newer notification superseded is of no use to anybody
		d.command(0, "dead", "discard", "--all")
	}
	d.p.eventually(time.Minute, "what was retried arrived", func() bool { return settled(d.clinic, since) })
	d.told("letters", "resolved", 1)

	// Somebody asks what happened to a record that a log line names.
	name := regexp.MustCompile(`record=([0-9a-f]{16})`).FindStringSubmatch(d.p.log.String())
	if name == nil {
		t.Fatal("no line of the log names a record")
	}
	var trace operate.TraceContent
	d.json(&trace, 0, "history", "record", name[1])
	var steps []string
	for _, e := range trace.Events {
		steps = append(steps, e.What)
	}
	for _, step := range []string{"polled", "fetched", "mapped", "delivered"} {
		if !slices.Contains(steps, step) {
			t.Errorf("the trace of a record has no %q: %v", step, steps)
		}
	}
	if len(d.EHR.History(trace.Record.ID)[trace.Record.ID]) == 0 {
		t.Errorf("the trace is of %q, which the EHR does not know", trace.Record.ID)
	}

	// A new receiver wants the traffic so far.
	d.file("archive.hcl", archiveHCL)
	d.command(0, "reload")
	var replayed operate.Replayed
	d.json(&replayed, 0, "replay", "--destination", "webhook.scheduling", "--newer-than", "24h", "--to", "webhook.archive")
	d.p.eventually(time.Minute, "the new receiver has it all", func() bool { return d.other.Accepted() >= replayed.Notifications })
	ids := map[string]bool{}
	for _, r := range d.Received(0) {
		ids[r.ID] = ids[r.ID] || r.Accepted()
	}
	accepted := 0
	for _, was := range ids {
		if was {
			accepted++
		}
	}
	if replayed.Notifications != accepted || replayed.Superseded != 0 {
		t.Errorf("%+v of %d were replayed", replayed, accepted)
	}
	for _, r := range d.other.Received(0) {
		if !ids[r.ID] {
			t.Errorf("what was replayed has another id, %s", r.ID)
		}
	}

	// The state is backed up, goes on, and is lost with the machine.
	backup := filepath.Join(t.TempDir(), "backup")
	d.command(0, "backup", backup)
	before := d.Accepted()
	d.change(30)
	d.p.eventually(time.Minute, "more arrived", func() bool { return d.Accepted() > before })
	d.p.kill()
	if err := os.RemoveAll(d.state); err != nil {
		t.Fatal(err)
	}
	d.change(10)
	d.command(0, "restore", backup)
	d.p = startRun(t, d.dir, d.env)
	d.change(10)
	d.p.eventually(2*time.Minute, "all arrived", func() bool { return settled(d.clinic, since) && d.destinationQuiet("webhook.scheduling") })
	if code := d.p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	repeated := oracle(t, d.EHR, d.Received(0), since)
	t.Logf("%d notifications arrived, %d of them repeated by their ids after the restore; %d dead letters were retried, %d discarded",
		d.Accepted(), repeated, h.Retried, len(h.Failed))
}

// destinationQuiet says whether nothing waits for a destination, whatever else the status says.
func (d *day) destinationQuiet(name string) bool {
	var st operate.Status
	d.exit(&st, "status")
	i := slices.IndexFunc(st.Destinations, func(x operate.DestinationStatus) bool { return x.Name == name })
	return i >= 0 && st.Destinations[i].Waiting == 0 && st.Destinations[i].InFlight == 0
}

// exit is json for a command whose exit code depends.
func (d *day) exit(into any, args ...string) int {
	d.Helper()
	code, stdout, stderr := rounds(d.T, d.env, append(args, "--json", "--state", d.state)...)
	if json.Unmarshal([]byte(stdout), into) != nil {
		d.Fatalf("rounds %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return code
}
