// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// tellBy tells who mapped, by what it imports, by a table and by a local of the configuration.
const tellBy = `
import { who } from "./who.js";
export default ({ change }, { tables }) => ({ id: change.id, by: who, table: tables.names.one });
`

// reloadHCL has two pipelines with a destination each, of one source, which poll once an hour and when they are asked to.
var reloadHCL = func() string {
	block := func(name, start string) string {
		return fmt.Sprintf(`
destination "webhook" %q {
  url             = "${env("NOTIFY_URL")}/%[1]s"
  allow_private   = true
  signing_secrets = [secret("signing")]
}
pipeline %[1]q {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "8760h"
    start = %[2]q
  }
  deliver "tell" {
    to  = destination.webhook.%[1]s
    map = "%[1]s.js"
  }
}
`, name, start)
	}
	head, _, _ := strings.Cut(pipelineHCL, "destination")
	return head + `
table "names" {
  values = { one = "eins" }
}
` + block("kept", "beginning") + block("changed", "beginning")
}()

// reloaded is what a command's JSON tells.
type reloaded struct {
	Started, Stopped, Restarted []string
	Unchanged                   int
}

func TestAReloadChangesWhatChanged(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 2, Patients: 1}}, receiver.Options{})
	secrets := write(t, map[string]string{"signing": "whsec_" + strings.Repeat("YWJj", 8)})
	dir := write(t, map[string]string{"main.hcl": reloadHCL, "kept.js": "export default ({ change }) => ({ id: change.id });", "changed.js": tellBy,
		"who.js": `export const who = "first";`})
	p := startRun(t, dir, append(c.env(), "CREDENTIALS_DIRECTORY="+secrets))
	p.eventually(30*time.Second, "all arrived", func() bool { return c.Accepted() == 4 })
	adapter := asked[[]operate.Adapter](t, dir, 0, "adapter", "list")
	if len(adapter) != 1 || adapter[0].PID == 0 || adapter[0].Starts != 1 || adapter[0].Sources != 1 {
		t.Fatalf("the adapters are %+v", adapter)
	}
	polls := c.polls()

	// What is told of the next change, by the pipeline that is changed again and again.
	last := func() string {
		t.Helper()
		was := c.Accepted()
		if err := c.Move(c.IDs()[0], time.Hour); err != nil {
			t.Fatal(err)
		}
		polls++
		command(t, dir, 0, "poll", "changed")
		p.eventually(20*time.Second, "it arrived", func() bool { return c.Accepted() == was+1 })
		return string(c.Received(0)[len(c.Received(0))-1].Body)
	}
	changed := []string{"pipeline.changed"}
	hcl := reloadHCL
	for _, x := range []struct {
		what   string
		change func()
		want   reloaded
		told   string // of the next change; empty: nothing polls
	}{
		{"nothing", func() {}, reloaded{Unchanged: 5}, `"by":"first","table":"eins"`},
		{"an import", func() { overwrite(t, dir, "who.js", `export const who = "second";`) }, reloaded{Restarted: changed, Unchanged: 4}, `"by":"second"`},
		{"a script", func() { overwrite(t, dir, "changed.js", strings.Replace(tellBy, "by:", "BY:", 1)) },
			reloaded{Restarted: changed, Unchanged: 4}, `"BY":"second"`},
		{"a table", func() { hcl = replaced(t, hcl, `"eins"`, `"uno"`) },
			reloaded{Restarted: []string{"pipeline.changed", "pipeline.kept"}, Unchanged: 3}, `"table":"uno"`},
		{"a destination", func() { hcl = replaced(t, hcl, `/changed"`, `/other"`) },
			reloaded{Restarted: []string{"destination.webhook.changed"}, Unchanged: 4}, `"table":"uno"`},
		{"a secret", func() { overwrite(t, secrets, "signing", "whsec_"+strings.Repeat("ZGVm", 8)) },
			reloaded{Restarted: []string{"destination.webhook.changed", "destination.webhook.kept"}, Unchanged: 3}, `"table":"uno"`},
		{"added", func() {
			hcl += `
destination "file" "more" {
  path = "` + filepath.Join(dir, "more.jsonl") + `"
}
pipeline "more" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "8760h"
    start = "now"
  }
  deliver "tell" {
    to  = destination.file.more
    map = "kept.js"
  }
}
`
		}, reloaded{Started: []string{"destination.file.more", "pipeline.more"}, Unchanged: 5}, `"table":"uno"`},
		{"removed", func() { hcl, _, _ = strings.Cut(hcl, "\ndestination \"file\"") },
			reloaded{Stopped: []string{"destination.file.more", "pipeline.more"}, Unchanged: 5}, `"table":"uno"`},
	} {
		x.change()
		overwrite(t, dir, "main.hcl", hcl)
		before := c.polls()
		got := asked[reloaded](t, dir, 0, "reload")
		if fmt.Sprint(got) != fmt.Sprint(x.want) {
			t.Errorf("%s: the reload did %+v, want %+v", x.what, got, x.want)
		}
		if x.what == "added" {
			p.eventually(20*time.Second, "the new pipeline has polled", func() bool { return c.polls() == before+1 })
			polls++
		}
		if told := last(); !strings.Contains(told, x.told) {
			t.Errorf("%s: after the reload it tells %s, want %s in it", x.what, told, x.told)
		}
	}
	// Nothing of all this was a reason to poll, or to disturb the adapter.
	if now := asked[[]operate.Adapter](t, dir, 0, "adapter", "list"); len(now) != 1 || now[0].PID != adapter[0].PID || now[0].Starts != 1 {
		t.Errorf("the adapter was disturbed: %+v", now)
	}
	if n := c.polls(); n != polls {
		t.Errorf("%d polls, want %d", n, polls)
	}
	// The source: all that poll it do so anew, by the same process.
	overwrite(t, dir, "main.hcl", replaced(t, hcl, `base_url = env("EHR_URL")`, `base_url = "${env("EHR_URL")}/"`))
	if got := asked[reloaded](t, dir, 0, "reload"); !slices.Equal(got.Restarted, []string{"pipeline.changed", "pipeline.kept", "source.rest.clinic"}) {
		t.Errorf("another source: the reload did %+v", got)
	}
	if told := last(); !strings.Contains(told, `"BY":"second"`) {
		t.Errorf("after the source was changed it tells %s", told)
	}
	p.stop()
}

// TestAnUnusableConfigurationChangesNothing: by SIGHUP and by the command.
func TestAnUnusableConfigurationChangesNothing(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	good := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning)
	for what, x := range map[string]struct{ hcl, script, said string }{
		"a wrong attribute":  {replaced(t, good, "overlap", "overlop"), tellAll, "overlop"},
		"a script":           {good, "let = ;", "mapping.js"},
		"a missing variable": {replaced(t, good, `env("NOTIFY_URL")`, `env("NOTIFY_URI")`), tellAll, "NOTIFY_URI"},
	} {
		overwrite(t, dir, "main.hcl", x.hcl)
		overwrite(t, dir, "mapping.js", x.script)
		_, stderr := command(t, dir, 1, "reload")
		says(t, stderr, x.said, "the one before goes on")
		st := asked[operate.Status](t, dir, 3, "status")
		if st.Reload == nil || !strings.Contains(st.Reload.Error, x.said) {
			t.Errorf("%s: the status tells of the reload %+v", what, st.Reload)
		}
		p.pollsMore(c, 1)
	}
	was := strings.Count(p.log.String(), "changes nothing")
	p.signal(syscall.SIGHUP)
	p.eventually(20*time.Second, "the signal was heeded", func() bool { return strings.Count(p.log.String(), "changes nothing") == was+1 })
	overwrite(t, dir, "main.hcl", good)
	overwrite(t, dir, "mapping.js", replaced(t, tellAll, "data: change.data", "news: change.data"))
	p.signal(syscall.SIGHUP)
	p.logged("restarted=pipeline.appointments")
	command(t, dir, 0, "status")
	if err := c.Move(c.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "it arrived", func() bool { return c.Accepted() == 13 })
	says(t, string(c.Received(12)[0].Body), `"news":`)
	p.stop()
	_, stderr := command(t, dir, 1, "reload")
	says(t, stderr, byTheState, "this needs one")
}

const movedHCL = `
moved {
  from = pipeline.appointments
  to   = pipeline.visits
}
moved {
  from = destination.webhook.scheduling
  to   = destination.webhook.planning
}
`

// TestStateMovesInAReload: with what is paused, what waits and what was seen. If one move can't be made, none is.
func TestStateMovesInAReload(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	command(t, dir, 0, "pause", "destination.webhook.scheduling")
	if err := c.Move(c.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "one waits", func() bool {
		return ofDestination(t, asked[operate.Status](t, dir, 3, "status"), "webhook.scheduling").Waiting == 1
	})
	good := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning)
	renamed := replaced(t, good, `pipeline "appointments"`, `pipeline "visits"`, `"webhook" "scheduling"`, `"webhook" "planning"`,
		"webhook.scheduling", "webhook.planning")

	// The new name of the destination has state of its own, so that only the pipeline could be moved.
	overwrite(t, dir, "main.hcl", good+strings.ReplaceAll(good[strings.Index(good, "\ndestination"):strings.Index(good, "\npipeline")], "scheduling", "planning"))
	command(t, dir, 0, "reload")
	command(t, dir, 0, "pause", "destination.webhook.planning")
	overwrite(t, dir, "main.hcl", renamed+movedHCL)
	_, stderr := command(t, dir, 1, "reload")
	says(t, stderr, "can't take over the state of webhook.scheduling", "the one before goes on")
	p.pollsMore(c, 2)
	st := asked[operate.Status](t, dir, 3, "status")
	if ofPipeline(t, st, "appointments").State == "orphan" || ofDestination(t, st, "webhook.scheduling").Waiting != 1 || len(st.Pipelines) != 1 {
		t.Errorf("a reload that could not be made left: %+v", st)
	}

	command(t, dir, 0, "resume", "destination.webhook.planning")
	got := asked[reloaded](t, dir, 0, "reload")
	if !slices.Equal(got.Started, []string{"pipeline.visits"}) || !slices.Equal(got.Restarted, []string{"destination.webhook.planning"}) {
		t.Errorf("the reload did %+v", got)
	}
	st = asked[operate.Status](t, dir, 3, "status")
	if to := ofDestination(t, st, "webhook.planning"); to.State != "paused" || to.Waiting != 1 || len(st.Pipelines) != 1 || len(st.Destinations) != 1 {
		t.Errorf("after the move: %+v", st)
	}
	command(t, dir, 0, "resume", "destination.webhook.planning")
	p.eventually(20*time.Second, "what waited arrived", func() bool { return c.Accepted() == 13 })
	p.pollsMore(c, 2)
	if n := c.Accepted(); n != 13 {
		t.Errorf("%d notifications, want 13: what was seen is not new under another name", n)
	}
	p.stop()
}

// TestWhatASourceSavesMovesInAReload: what it saves when it is closed, too. Else that would be left under the old name, which the next start
// would find occupied. When the moves can't be made, the source goes on under its old name.
func TestWhatASourceSavesMovesInAReload(t *testing.T) {
	t.Parallel()
	limited := []string{`base_url = env("EHR_URL")`, "base_url = env(\"EHR_URL\")\n  limits {\n    per_day = 100000\n  }"}
	c, dir, p := smallClinic(t, limited...)
	good := replaced(t, pipelineHCL, append(limited, `start   = "now"`, fromTheBeginning)...)
	moved := func(from, to string) string { return fmt.Sprintf("moved {\n  from = %s\n  to   = %s\n}\n", from, to) }
	renamed := replaced(t, good, `"rest" "clinic"`, `"rest" "practice"`, "source.rest.clinic", "source.rest.practice") +
		moved("source.rest.clinic", "source.rest.practice")

	// What is paused has state of its own.
	planning := strings.ReplaceAll(good[strings.Index(good, "\ndestination"):strings.Index(good, "\npipeline")], "scheduling", "planning")
	overwrite(t, dir, "main.hcl", good+planning)
	command(t, dir, 0, "reload")
	command(t, dir, 0, "pause", "destination.webhook.planning")
	overwrite(t, dir, "main.hcl", replaced(t, renamed, `"webhook" "scheduling"`, `"webhook" "planning"`, "webhook.scheduling", "webhook.planning")+
		moved("destination.webhook.scheduling", "destination.webhook.planning"))
	_, stderr := command(t, dir, 1, "reload")
	says(t, stderr, "can't take over the state of webhook.scheduling", "the one before goes on")
	p.pollsMore(c, 2)

	overwrite(t, dir, "main.hcl", renamed)
	got := asked[reloaded](t, dir, 0, "reload")
	if !slices.Equal(got.Started, []string{"source.rest.practice"}) || !slices.Contains(got.Stopped, "source.rest.clinic") {
		t.Errorf("the reload did %+v", got)
	}
	p.pollsMore(c, 2)

	const otherFeed = "a pipeline polls another feed than before"
	if strings.Contains(p.log.String(), otherFeed) {
		t.Error("a source of another name is taken for another")
	}
	overwrite(t, dir, "main.hcl", replaced(t, renamed, `feed "appointments"`, `feed "visits"`, ".feed.appointments", ".feed.visits"))
	command(t, dir, 0, "reload")
	p.logged(otherFeed)
	p.pollsMore(c, 2)
	p.stop()
	again := startRun(t, dir, c.env())
	again.pollsMore(c, 2)
	again.stop()
}

// TestAReloadGoesOnWithoutWhoeverAskedForIt, and a stop does not wait for an adapter that takes its time.
func TestAReloadIsNoStop(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	slow := filepath.Join(t.TempDir(), "slow")
	if err := os.WriteFile(slow, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	overwrite(t, dir, "main.hcl", replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning)+fmt.Sprintf(`
adapter "slow" {
  path = %q
}
source "slow" "x" {}
`, slow))
	p.signal(syscall.SIGHUP)
	p.eventually(20*time.Second, "the adapter was started", func() bool { return len(processesWith(t, p.temp)) > 2 })
	// While the configuration is read, the rest can be operated.
	command(t, dir, 0, "pause", "pipeline.appointments")
	command(t, dir, 0, "resume", "pipeline.appointments")
	p.pollsMore(c, 1)
	begun := time.Now()
	p.stop()
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

// TestASourceIsClosedBeforeItsStateIsMoved: what its adapter saves at its end, such as the calls that it really made, belongs to the state
// that is moved. Under the old name it would be missing, and keep anything else from being moved there.
func TestASourceIsClosedBeforeItsStateIsMoved(t *testing.T) {
	t.Parallel()
	limited := []string{`base_url = env("EHR_URL")`, "base_url = env(\"EHR_URL\")\n  limits {\n    per_day = 1000000\n  }"}
	c, dir, p := smallClinic(t, limited...)
	good := replaced(t, pipelineHCL, append([]string{`start   = "now"`, fromTheBeginning}, limited...)...)
	other := strings.ReplaceAll(good, "clinic", "practice")
	moved := func(from, to string) string {
		return fmt.Sprintf("\nmoved {\n  from = source.rest.%s\n  to   = source.rest.%s\n}\n", from, to)
	}
	for _, hcl := range []string{other + moved("clinic", "practice"), good + moved("practice", "clinic"), other + moved("clinic", "practice"),
		good + moved("practice", "clinic")} {
		p.pollsMore(c, 3)
		overwrite(t, dir, "main.hcl", hcl)
		command(t, dir, 0, "reload")
	}

	// Where the state can't be moved, the source that was closed for it is opened again.
	p.pollsMore(c, 2)
	overwrite(t, dir, "main.hcl", other)
	command(t, dir, 0, "reload")
	p.pollsMore(c, 2)
	overwrite(t, dir, "main.hcl", good+moved("practice", "clinic"))
	_, stderr := command(t, dir, 1, "reload")
	says(t, stderr, "source rest.clinic can't take over the state of rest.practice", "the one before goes on")
	p.pollsMore(c, 2)
	if err := c.Move(c.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "it arrived", func() bool { return c.Accepted() == 13 })
	p.stop()
}
