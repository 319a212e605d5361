// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
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

// TestWhatHappenedToARecord: by its name in the log, and by its id.
func TestWhatHappenedToARecord(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	id := c.IDs()[0]
	c.Receiver.SetFaults(receiver.Faults{Status: 503, Failing: 1})
	if err := c.Move(id, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.logged("a delivery failed and will be repeated")
	name := regexp.MustCompile(`a delivery failed.* record=([0-9a-f]{16})`).FindStringSubmatch(p.log.String())[1]
	waiting := asked[[]operate.Notification](t, dir, 0, "history", "list", "--record", name)
	if len(waiting) != 2 || waiting[0].State != "waiting" || waiting[0].Attempts == 0 || waiting[0].Next.IsZero() || waiting[1].State != "delivered" ||
		waiting[1].Code != "accepted" || waiting[1].Delivered.IsZero() || waiting[0].Record != name || waiting[0].Generation != 2 {
		t.Errorf("the history of a record is %+v", waiting)
	}
	c.Receiver.SetFaults(receiver.Faults{})
	p.eventually(30*time.Second, "it arrived", func() bool { return c.Accepted() == 13 })

	what := func(trace operate.TraceContent) (all []string) {
		for _, e := range trace.Events {
			all = append(all, fmt.Sprint(e.Generation, " ", e.What, " ", e.Code, e.Text))
		}
		return slices.Compact(all)
	}
	want := []string{"1 polled ", "1 fetched patient", "1 mapped ", "1 delivered accepted",
		"2 polled ", "2 fetched patient", "2 mapped ", "2 attempt http_503", "2 delivered accepted"}
	var byName operate.TraceContent
	p.eventually(20*time.Second, "the delivery is in the history", func() bool {
		byName = asked[operate.TraceContent](t, dir, 0, "history", "record", name)
		return len(byName.Events) > 0 && byName.Events[len(byName.Events)-1].What == "delivered"
	})
	if byName.Record.ID != id || byName.Record.Pipeline != "appointments" || byName.Generation != 2 || byName.Deleted {
		t.Errorf("the record is %+v", byName)
	}
	if got := what(byName); !slices.Equal(got, want) {
		t.Errorf("what happened: %q\nwant %q", got, want)
	}
	if !slices.IsSortedFunc(byName.Events, func(a, b operate.Event) int { return a.Time.Compare(b.Time) }) {
		t.Error("what happened is not in its order")
	}
	if byID := asked[operate.TraceContent](t, dir, 0, "history", "record", "--pipeline", "appointments", "--id", id); byID.Record != byName.Record {
		t.Errorf("by its id it is %+v", byID.Record)
	}
	if byKind := asked[operate.TraceContent](t, dir, 0, "history", "record", "--pipeline", "appointments", "--id", id, "--kind", byName.Record.Kind); byKind.Record != byName.Record {
		t.Errorf("by its kind and id it is %+v", byKind.Record)
	}
	stdout, _ := command(t, dir, 0, "history", "record", name)
	says(t, stdout, id, name, "http_503", "webhook.scheduling")
	notification := byName.Events[len(byName.Events)-1].ID
	shown := asked[operate.NotificationContent](t, dir, 0, "history", "show", notification)
	if shown.RecordID != id || shown.State != "delivered" || len(shown.Tries) == 0 || shown.Tries[0].Code != "http_503" || shown.Tries[0].Time.IsZero() ||
		!strings.Contains(string(shown.Body), id) || !strings.Contains(string(shown.Change), id) {
		t.Errorf("a notification is shown as %+v", shown)
	}
	stdout, _ = command(t, dir, 0, "history", "show", notification)
	says(t, stdout, "attempt:      ", "http_503", "\nrecord:\n", "\nnotification:\n")

	for _, x := range []struct {
		code int
		args string
		said string
	}{
		{1, "history record 0123456789abcdef", "no such record"},
		{1, "history record --pipeline appointments --id 0", "no such record"},
		{1, "history record --pipeline visits --id " + id, "knows no pipeline"},
		{1, "history show 0123", "no notification of that id waits, or was delivered and is still kept"},
		{2, "history record", "which record?"},
		{2, "history record --id 7", "which record?"},
		{2, "history list --since yesterday", "must be an instant"},
	} {
		_, stderr := command(t, dir, x.code, strings.Fields(x.args)...)
		says(t, stderr, x.said)
	}
	for args, want := range map[string]int{
		"": 13, "--limit 5": 5, "--limit 0": 13, "--pipeline visits": 0, "--destination webhook.scheduling": 13, "--newer-than 1h": 13, "--older-than 1h": 0,
	} {
		if got := asked[[]operate.Notification](t, dir, 0, append([]string{"history", "list"}, strings.Fields(args)...)...); len(got) != want {
			t.Errorf("history list %s: %d, want %d", args, len(got), want)
		}
	}
	p.stop()
	// The state tells the same.
	if got := asked[operate.TraceContent](t, dir, 0, "history", "record", name); !slices.Equal(what(got), want) {
		t.Errorf("without an engine it tells %q", what(got))
	}
	stdout, stderr := command(t, dir, 0, "history", "list")
	says(t, stderr, byTheState)
	says(t, stdout, name)

	// Whoever looked is written down, what was only listed is not.
	looks := auditLog(t, dir)
	traces, notifications := 0, 0
	for _, l := range looks {
		switch l.At {
		case "trace":
			traces++
		case "notification":
			notifications++
		}
		if l.Record != name || l.Pipeline != "appointments" || time.Since(l.Time) > time.Hour || !strings.Contains(l.Who, fmt.Sprintf("uid %d", os.Getuid())) {
			t.Errorf("a look is written down as %+v", l)
		}
	}
	if traces < 5 || notifications != 2 || len(looks) != traces+notifications {
		t.Errorf("the looks are %+v", looks)
	}
	if last := looks[len(looks)-1].Who; !strings.HasPrefix(last, "command, ") {
		t.Errorf("a look without an engine was by %q", last)
	}
}

// TestALookThatCantBeWrittenDownIsNotShown in either mode.
func TestALookThatCantBeWrittenDownIsNotShown(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	list := asked[[]operate.Notification](t, dir, 0, "history", "list")
	if err := os.Mkdir(filepath.Join(dir, "state", "audit.log"), 0o700); err != nil { // not even root writes lines to it
		t.Fatal(err)
	}
	try := func() {
		t.Helper()
		for _, args := range [][]string{
			{"history", "show", list[0].ID}, {"history", "record", list[0].Record}, {"history", "record", "--pipeline", "appointments", "--id", c.IDs()[0]},
		} {
			stdout, stderr := command(t, dir, 1, args...)
			says(t, stderr, "the audit log can't be written, so nothing is shown")
			if stdout != "" {
				t.Errorf("it shows %s", stdout)
			}
		}
	}
	try()
	p.stop()
	try()
}

// TestReplay delivers again what was delivered: in its order, by the same ids or new ones, to the same receiver or another.
func TestReplay(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	other, err := receiver.New(receiver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, dir, "main.hcl", replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning)+fmt.Sprintf(`
destination "webhook" "other" {
  url           = %q
  allow_private = true
}
`, serve(t, other)))
	command(t, dir, 0, "reload")
	all := c.Received(0)
	ids := func(received []receiver.Received) (all []string) {
		for _, r := range received {
			all = append(all, r.ID)
		}
		slices.Sort(all)
		return all
	}
	kept := func(n int) func() bool {
		return func() bool {
			return len(asked[[]operate.Notification](t, dir, 0, "history", "list", "--limit", "0")) >= n
		}
	}
	p.eventually(20*time.Second, "the history is whole", kept(12))

	_, stderr := command(t, dir, 2, "replay")
	says(t, stderr, "which ones?")
	_, stderr = command(t, dir, 1, "replay", "--all", "--to", "webhook.nothing")
	says(t, stderr, `there is no destination "webhook.nothing"; there are: webhook.other, webhook.scheduling`)
	stdout, _ := command(t, dir, 0, "replay", "--all", "--dry-run")
	says(t, stdout, "12 notifications would be in the outbox; 0 are left out")
	if got := asked[operate.Replayed](t, dir, 0, "replay", "--older-than", "1h"); got != (operate.Replayed{}) {
		t.Errorf("of another time: %+v", got)
	}
	if got := asked[operate.Replayed](t, dir, 0, "replay", "--newer-than", "1h"); got.Notifications != 12 {
		t.Errorf("the same again: %+v", got)
	}
	p.eventually(20*time.Second, "all arrived again", func() bool { return c.Accepted() == 24 })
	if !slices.Equal(ids(c.Received(0)[12:]), ids(all)) {
		t.Error("what is replayed has other ids")
	}
	command(t, dir, 0, "replay", "--record", asked[[]operate.Notification](t, dir, 0, "history", "list")[0].Record, "--until", all[0].Time.Add(time.Hour).Format(time.RFC3339),
		"--as-new", "--to", "webhook.other")
	p.eventually(20*time.Second, "one arrived elsewhere", func() bool { return other.Accepted() >= 1 })
	for _, r := range other.Received(0) {
		if slices.Contains(ids(all), r.ID) {
			t.Error("with --as-new it has an id of before")
		}
	}

	// What changed since is left out, unless its newest generation is replayed too.
	id := c.IDs()[0]
	for n := range 2 {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
		p.eventually(20*time.Second, "it arrived", func() bool { return c.Accepted() == 24+n+1 })
	}
	p.eventually(20*time.Second, "the history is whole", kept(26))
	if got := asked[operate.Replayed](t, dir, 0, "replay", "--pipeline", "appointments", "--record", id, "--destination", "webhook.scheduling", "--dry-run"); got.Superseded != 0 ||
		got.Notifications != 4 {
		t.Errorf("all generations of a record: %+v", got)
	}
	moved := c.Received(0)[24].Time
	until := []string{"replay", "--pipeline", "appointments", "--record", id, "--destination", "webhook.scheduling", "--until", moved.UTC().Format(time.RFC3339Nano)}
	if got := asked[operate.Replayed](t, dir, 0, until...); got.Superseded != 2 || got.Notifications != 0 {
		t.Errorf("what was superseded: %+v", got)
	}
	// While the destination is paused the newest generation waits there: older ones must not come after it.
	command(t, dir, 0, "pause", "destination.webhook.scheduling")
	if got := asked[operate.Replayed](t, dir, 0, append(until, "--force")...); got.Superseded != 0 || got.Notifications != 2 {
		t.Errorf("by force: %+v", got)
	}
	command(t, dir, 0, "resume", "destination.webhook.scheduling")
	p.eventually(20*time.Second, "what was forced arrived", func() bool { return c.Accepted() == 28 })
	p.stop()
	_, stderr = command(t, dir, 1, "replay", "--all", "--to", "webhook.other")
	says(t, stderr, byTheState, `nothing waits for a destination "webhook.other"`, "takes a running engine")
	got := asked[operate.Replayed](t, dir, 0, "replay", "--all", "--force", "--destination", "webhook.other")
	n := other.Accepted()
	if got.Notifications != n {
		t.Errorf("without an engine: %+v, want %d", got, n)
	}
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "what was replayed without an engine arrived", func() bool { return other.Accepted() == 2*n })
	p.stop()
}

// TestReplayKeepsTheOrderOfLanes: to a destination that has the newest generation only waiting, older ones go nowhere.
func TestReplayKeepsTheOrderOfLanes(t *testing.T) {
	t.Parallel()
	const two = `
destination "webhook" "second" {
  url           = "${env("NOTIFY_URL")}/second"
  allow_private = true
}
`
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 3, Patients: 1}}, receiver.Options{})
	hcl := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning)
	hcl = strings.TrimSuffix(strings.TrimSpace(hcl), "}") + "  deliver \"second\" {\n    to  = destination.webhook.second\n    map = \"mapping.js\"\n  }\n}\n" + two
	dir := write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll})
	p := startRun(t, dir, c.env())
	p.eventually(30*time.Second, "all arrived", func() bool { return c.Accepted() == 6 })
	command(t, dir, 0, "pause", "destination.webhook.second")
	id := c.IDs()[0]
	if err := c.Move(id, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "it arrived at the first, and waits for the second", func() bool {
		return c.Accepted() == 7 && ofDestination(t, asked[operate.Status](t, dir, 3, "status"), "webhook.second").Waiting == 1 &&
			len(asked[[]operate.Notification](t, dir, 0, "history", "list", "--destination", "webhook.scheduling")) == 4
	})
	got := asked[operate.Replayed](t, dir, 0, "replay", "--pipeline", "appointments", "--record", id, "--dry-run")
	if got.Notifications != 2 || got.Superseded != 1 {
		t.Errorf("of a record whose newest generation waits for one of two destinations: %+v, want 2 and 1 left out", got)
	}
	p.stop()
}
