// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

const (
	byTheEngine = "The engine that runs on "
	byTheState  = "No engine is running on "
)

// command runs an operator's command on the state in dir/state, which has to end with the code.
func command(t *testing.T, dir string, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr := rounds(t, nil, append(args, "--state", filepath.Join(dir, "state"))...)
	if got != code {
		t.Fatalf("rounds %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout, stderr
}

// asked is command with --json.
func asked[T any](t *testing.T, dir string, code int, args ...string) T {
	t.Helper()
	stdout, _ := command(t, dir, code, append(args, "--json")...)
	return decode[T](t, []byte(stdout))
}

// says checks for parts of what a command printed.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q:\n%s", part, text)
		}
	}
}

// ofPipeline and ofDestination pick one of a status.
func ofPipeline(t *testing.T, st operate.Status, name string) operate.PipelineStatus {
	t.Helper()
	i := slices.IndexFunc(st.Pipelines, func(p operate.PipelineStatus) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("the status has no pipeline %s: %+v", name, st.Pipelines)
	}
	return st.Pipelines[i]
}

func ofDestination(t *testing.T, st operate.Status, name string) operate.DestinationStatus {
	t.Helper()
	i := slices.IndexFunc(st.Destinations, func(d operate.DestinationStatus) bool { return d.Name == name })
	if i < 0 {
		t.Fatalf("the status has no destination %s: %+v", name, st.Destinations)
	}
	return st.Destinations[i]
}

// smallClinic runs an engine on a clinic with 12 appointments of 3 patients, which were read from the beginning.
func smallClinic(t *testing.T, oldnew ...string) (c *clinic, dir string, p *process) {
	t.Helper()
	c = newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	hcl := replaced(t, pipelineHCL, append([]string{`start   = "now"`, fromTheBeginning}, oldnew...)...)
	dir = write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll})
	p = startRun(t, dir, c.env())
	p.eventually(30*time.Second, "all arrived", func() bool { return c.Accepted() == 12 })
	return c, dir, p
}

func TestStatus(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	p.pollsMore(c, 1)
	stdout, stderr := command(t, dir, 0, "status")
	says(t, stderr, byTheEngine)
	says(t, stdout, "rounds dev runs since", "appointments", "rest.clinic", "open", "webhook.scheduling", "delivering")
	st := asked[operate.Status](t, dir, 0, "status")
	pipe, to := ofPipeline(t, st, "appointments"), ofDestination(t, st, "webhook.scheduling")
	if !st.Running || st.PID != p.cmd.Process.Pid || st.Version != "dev" || pipe.LastPoll.IsZero() || pipe.Every != "1s" || to.Delivered != 12 || to.Waiting != 0 {
		t.Errorf("the status of a healthy engine is %+v", st)
	}

	c.EHR.SetFaults(sampleehr.Faults{ServerErrors: 1})
	p.logged("the poll failed")
	p.eventually(10*time.Second, "the status tells", func() bool {
		st := asked[operate.Status](t, dir, 3, "status")
		pipe := ofPipeline(t, st, "appointments")
		return pipe.State == "failing" && pipe.Failures > 0 && strings.Contains(pipe.Why, "GET /appointments") && !pipe.NextPoll.IsZero()
	})
	c.EHR.SetFaults(sampleehr.Faults{})
	p.logged("the pipeline works again")
	command(t, dir, 0, "status")

	p.stop()
	stdout, stderr = command(t, dir, 0, "status")
	says(t, stderr, byTheState)
	says(t, stdout, "appointments", "stopped")
	st = asked[operate.Status](t, dir, 0, "status")
	if pipe := ofPipeline(t, st, "appointments"); st.Running || pipe.State != "stopped" || pipe.LastPoll.IsZero() {
		t.Errorf("the status of the state is %+v", st)
	}
	_, stderr = command(t, t.TempDir(), 1, "status")
	says(t, stderr, "there is no state in")
}

// TestStatusOfWhatTheConfigurationNoLongerNames: what is kept without being used wants a person.
func TestStatusOfWhatTheConfigurationNoLongerNames(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	command(t, dir, 0, "pause", "destination.webhook.scheduling", "--why", "moves")
	if err := c.Move(c.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "one waits", func() bool {
		return ofDestination(t, asked[operate.Status](t, dir, 3, "status"), "webhook.scheduling").Waiting == 1
	})
	overwrite(t, dir, "main.hcl", replaced(t, pipelineHCL, `"appointments" {
  poll`, `"visits" {
  poll`, `"webhook" "scheduling"`, `"webhook" "planning"`, "webhook.scheduling", "webhook.planning"))
	command(t, dir, 0, "reload")
	st := asked[operate.Status](t, dir, 3, "status")
	if got := ofPipeline(t, st, "appointments"); got.State != "orphan" || got.LastPoll.IsZero() {
		t.Errorf("the pipeline that is gone: %+v", got)
	}
	if got := ofDestination(t, st, "webhook.scheduling"); got.State != "orphan" || got.Waiting != 1 || got.Why != "moves" {
		t.Errorf("the destination that is gone: %+v", got)
	}
	// A pause can be ended without its destination.
	command(t, dir, 0, "resume", "destination.webhook.scheduling")
	_, stderr := command(t, dir, 1, "resume", "destination.webhook.nothing")
	says(t, stderr, `there is no destination "webhook.nothing"; there are: webhook.planning`)
	p.stop()
}

// TestAPauseLasts: over a restart, and whether an engine runs when it is made and ended or not.
func TestAPauseLasts(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	stdout, stderr := command(t, dir, 0, "pause", "pipeline.appointments", "--why", "the EHR is being upgraded")
	says(t, stderr, byTheEngine)
	says(t, stdout, "rounds resume pipeline.appointments")
	command(t, dir, 0, "pause", "pipeline.appointments") // once more changes nothing
	polls := c.polls()
	st := asked[operate.Status](t, dir, 3, "status")
	if got := ofPipeline(t, st, "appointments"); got.State != "paused" || got.Why != "the EHR is being upgraded" || got.Since.IsZero() || !got.NextPoll.IsZero() {
		t.Errorf("a paused pipeline: %+v", got)
	}
	_, stderr = command(t, dir, 1, "poll", "appointments")
	says(t, stderr, "paused", "rounds resume pipeline.appointments")
	p.stop()
	stdout, stderr = command(t, dir, 3, "status")
	says(t, stderr, byTheState)
	says(t, stdout, "paused", "the EHR is being upgraded")

	_, stderr = command(t, dir, 1, "pause", "pipeline.nothing")
	says(t, stderr, byTheState, `knows no pipeline "nothing"`, "it knows: appointments")
	_, stderr = command(t, dir, 1, "pause", "destination.webhook.nothing")
	says(t, stderr, `nothing waits for a destination "webhook.nothing"`, "takes a running engine")
	p = startRun(t, dir, c.env())
	p.logged("msg=running")
	if c.polls() != polls {
		t.Error("a paused pipeline polls")
	}
	// What is paused is set all the same, and stays paused.
	command(t, dir, 0, "state", "set", "appointments", "--start", "beginning")
	if got := ofPipeline(t, asked[operate.Status](t, dir, 3, "status"), "appointments"); got.State != "paused" || c.polls() != polls {
		t.Errorf("a paused pipeline whose position was set: %+v", got)
	}
	p.stop()
	_, stderr = command(t, dir, 0, "resume", "pipeline.appointments")
	says(t, stderr, byTheState)
	p = startRun(t, dir, c.env())
	p.pollsMore(c, 1)

	command(t, dir, 0, "pause", "destination.webhook.scheduling")
	accepted := c.Accepted()
	for _, id := range c.IDs() {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	waits := func(state string) func() bool {
		return func() bool {
			got := ofDestination(t, asked[operate.Status](t, dir, 3, "status"), "webhook.scheduling")
			return got.State == state && got.Waiting == 12 && !got.Oldest.IsZero()
		}
	}
	p.eventually(20*time.Second, "all wait", waits("paused"))
	p.stop()
	p = startRun(t, dir, c.env())
	p.logged("msg=running")
	p.pollsMore(c, 1)
	if !waits("paused")() || c.Accepted() != accepted {
		t.Errorf("a paused destination sent %d", c.Accepted()-accepted)
	}
	command(t, dir, 0, "resume", "destination.webhook.scheduling")
	p.eventually(20*time.Second, "what waited arrived", func() bool { return c.Accepted() == accepted+12 })
	p.stop()
	eachArrivedOnce(t, c)
}

// eachArrivedOnce checks that no id was accepted twice.
func eachArrivedOnce(t *testing.T, c *clinic) {
	t.Helper()
	ids := map[string]int{}
	for _, r := range c.Received(0) {
		if r.Accepted() {
			ids[r.ID]++
		}
	}
	maps.DeleteFunc(ids, func(_ string, n int) bool { return n == 1 })
	if len(ids) > 0 {
		t.Errorf("%d notifications were accepted twice", len(ids))
	}
}

// TestAPersonResumesWhatPausedItself: a receiver that refuses everything, then lanes that it holds.
func TestAPersonResumesWhatPausedItself(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	move := func() {
		t.Helper()
		for _, id := range c.IDs() {
			if err := c.Move(id, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Receiver.SetFaults(receiver.Faults{Status: 401, Failing: 1})
	move()
	p.logged("the destination is paused", `to_resume="rounds resume destination.webhook.scheduling"`)
	p.eventually(20*time.Second, "the status tells", func() bool {
		got := ofDestination(t, asked[operate.Status](t, dir, 3, "status"), "webhook.scheduling")
		return got.State == "paused" && strings.Contains(got.Why, "401") && got.Waiting == 12
	})
	c.Receiver.SetFaults(receiver.Faults{})
	command(t, dir, 0, "resume", "destination.webhook.scheduling")
	p.eventually(20*time.Second, "all arrived", func() bool { return c.Accepted() == 24 })
	command(t, dir, 0, "status")

	a, err := c.Appointment(c.IDs()[0])
	if err != nil {
		t.Fatal(err)
	}
	held := c.appointmentsOf(t, a.PatientID)
	c.Receiver.SetFaults(receiver.Faults{Status: 422, Failing: 1, Only: a.PatientID})
	move()
	p.logged("its lane is held")
	p.eventually(20*time.Second, "the others arrived, and the lane is held", func() bool {
		return c.Accepted() == 36-held && ofDestination(t, asked[operate.Status](t, dir, 3, "status"), "webhook.scheduling").Held == 1
	})
	c.Receiver.SetFaults(receiver.Faults{})
	command(t, dir, 0, "resume", "destination.webhook.scheduling")
	p.eventually(20*time.Second, "all arrived", func() bool { return c.Accepted() == 36 })
	command(t, dir, 0, "status")
	p.stop()
	eachArrivedOnce(t, c)
}

func TestAPollThatIsAskedFor(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t, `every   = "1s"`, `every   = "8760h"`)
	if err := c.Move(c.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := command(t, dir, 0, "poll", "appointments")
	says(t, stderr, byTheEngine)
	says(t, stdout, " 1 new, ", " 1 notifications")
	p.eventually(20*time.Second, "it arrived", func() bool { return c.Accepted() == 13 })
	got := asked[operate.Polled](t, dir, 0, "poll", "appointments")
	if got.New != 0 || got.Seen == 0 || got.Pages != 1 {
		t.Errorf("a poll without news: %+v", got)
	}
	_, stderr = command(t, dir, 1, "poll", "appointment")
	says(t, stderr, `there is no pipeline "appointment"; there are: appointments`)
	c.EHR.SetFaults(sampleehr.Faults{ServerErrors: 1})
	_, stderr = command(t, dir, 1, "poll", "appointments")
	says(t, stderr, "GET /appointments", "50")
	p.stop()
	_, stderr = command(t, dir, 1, "poll", "appointments")
	says(t, stderr, byTheState, "this needs one: start it with rounds run")
}

// TestNamesAreCompleted by the engine that runs; without one there are none to offer.
func TestNamesAreCompleted(t *testing.T) {
	t.Parallel()
	_, dir, p := smallClinic(t)
	complete := func(args ...string) string {
		t.Helper()
		_, stdout, _ := rounds(t, nil, append(append([]string{"__complete"}, args...), "--state", filepath.Join(dir, "state"), "")...)
		return stdout
	}
	says(t, complete("poll"), "appointments\n")
	says(t, complete("pause"), "pipeline.appointments\ndestination.webhook.scheduling\n")
	says(t, complete("state", "show"), "appointments\n")
	p.stop()
	if got := complete("poll"); strings.Contains(got, "appointments") {
		t.Errorf("without an engine it offers %q", got)
	}
}

func TestWhereAPipelineStands(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t, `every   = "1s"`, `every   = "8760h"`)
	stdout, stderr := command(t, dir, 0, "state", "show", "appointments")
	says(t, stderr, byTheEngine)
	says(t, stdout, "start:      the beginning of all records", "watermark:  ")
	pos := asked[operate.Position](t, dir, 0, "state", "show", "appointments")
	if !pos.Started || !pos.Start.IsZero() || pos.LastPoll.IsZero() || len(pos.Watermark) == 0 || pos.HalfRead {
		t.Errorf("a pipeline that has polled stands at %+v", pos)
	}
	_, stderr = command(t, dir, 1, "state", "show", "visits")
	says(t, stderr, `knows no pipeline "visits"; it knows: appointments`)

	// Read again from the beginning: what did not change is not delivered again.
	stdout, _ = command(t, dir, 0, "state", "set", "appointments", "--start", "beginning")
	says(t, stdout, "Pipeline appointments goes on from beginning")
	if got := asked[operate.Polled](t, dir, 0, "poll", "appointments"); got.Seen != 12 || got.New != 0 {
		t.Errorf("a reading from the beginning again: %+v", got)
	}
	p.stop()
	_, stderr = command(t, dir, 0, "state", "set", "appointments", "--start", "2031-01-01T00:00:00Z")
	says(t, stderr, byTheState)
	pos = asked[operate.Position](t, dir, 0, "state", "show", "appointments")
	if pos.Start.Year() != 2031 || pos.Watermark != nil || pos.Epoch != 2 {
		t.Errorf("after it was set it stands at %+v", pos)
	}
	if n := c.Accepted(); n != 12 {
		t.Errorf("%d notifications", n)
	}
}

// TestAPipelineThatNeverPolled: it is in the configuration, and not in the state yet.
func TestAPipelineThatNeverPolled(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	c.EHR.SetFaults(sampleehr.Faults{ServerErrors: 1})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	p := startRun(t, dir, c.env())
	p.logged("the poll failed")
	stdout, _ := command(t, dir, 0, "state", "show", "appointments")
	says(t, stdout, "last poll:  -")
	command(t, dir, 0, "pause", "pipeline.appointments")
	command(t, dir, 0, "state", "set", "appointments", "--start", "2031-01-01T00:00:00Z")
	pos := asked[operate.Position](t, dir, 0, "state", "show", "appointments")
	if !pos.Started || pos.Start.Year() != 2031 {
		t.Errorf("it stands at %+v", pos)
	}
	p.stop()
}

// TestAGapIsAcceptedWhileTheEngineRuns: neither resume nor poll go over a gap, which a start instant does.
func TestAGapIsAcceptedWhileTheEngineRuns(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir, env, keep := newLedger(t, c.receiverURL)
	keep(page{First: 1, Changes: orders("A", "B")})
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "the first orders arrived", func() bool { return c.Accepted() == 2 })
	keep(page{First: 7, Changes: orders("C")})
	p.logged("there is a gap in the feed")
	const advice = "rounds state set orders --start now|beginning|INSTANT"
	p.eventually(10*time.Second, "the status tells", func() bool {
		return ofPipeline(t, asked[operate.Status](t, dir, 3, "status"), "orders").State == "gap"
	})
	for _, args := range [][]string{{"resume", "pipeline.orders"}, {"poll", "orders"}} {
		_, stderr := command(t, dir, 1, args...)
		says(t, stderr, "there is a gap", advice)
	}
	command(t, dir, 0, "state", "set", "orders", "--start", "beginning")
	p.eventually(20*time.Second, "the order after the gap arrived", func() bool { return c.Accepted() == 3 })
	command(t, dir, 0, "status")
	p.stop()
}
