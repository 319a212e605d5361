// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

func TestTheCommandLineIsExplained(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		args   string
		code   int
		stdout string // a part of it
		stderr string
	}{
		{"--help", 0, "Exit codes", ""},
		{"run --help", 0, "--grace", ""},
		{"validate --help", 0, "--json", ""},
		{"resume --help", 0, "see rounds state set", ""},
		{"map --help", 0, "--watch", ""},
		{"test --help", 0, "--update", ""},
		{"record --help", 0, "a person must look at each file", ""},
		{"plan --help", 0, "--show", ""},
		{"fmt --help", 0, "--check", ""},
		{"validate --help", 0, "--var-file", ""},
		{"demo --help", 0, "--faults", ""},
		{"version --help", 0, "--json", ""},
		{"adapter --help", 0, "serve", ""},
		{"adapter serve --help", 0, "Bundled: ", ""},
		{"adapter", 0, "serve", ""},
		{"adapter new --help", 0, "--sdk", ""},
		{"adapter describe --help", 0, "--markdown", ""},
		{"run --help", 0, "--attach NAME=127.0.0.1:PORT", ""},
		{"run --attach minimal", 2, "", "NAME=127.0.0.1:PORT"},
		{"adapter new", 2, "", "Usage: rounds adapter new NAME"},
		{"", 0, "Available Commands", ""},
		{"version", 0, "rounds dev (go", ""},
		{"version --json", 0, `"version":"dev"`, ""},
		{"bogus", 2, "", `unknown command "bogus"`},
		{"validat", 2, "", "validate"},
		{"adapter bogus", 2, "", `unknown command "bogus"`},
		{"adapter serve nothing", 2, "", "there are: "},
		{"adapter serve rest", 2, "", `the engine starts this, when a configuration has a source "rest"`},
		{"run --nothing", 2, "", "unknown flag: --nothing"},
		{"run --log-level loud", 2, "", "must be debug, info, warn or error"},
		{"run --log-format xml", 2, "", "must be text or json"},
		{"run a b", 2, "", "Usage: rounds run [PATH]"},
		{"resume", 2, "", "Usage: rounds resume pipeline.NAME|destination.TYPE.NAME"},
		{"map", 2, "", "Usage: rounds map PIPELINE --record FILE [PATH]"},
		{"map x", 2, "", "record"},
		{"record x", 2, "", "to"},
		{"record x --to y --n 0", 2, "", "--n has to be between 1 and 1000"},
		{"record x --to y --since -1h", 2, "", "--since has to be above 0"},
		{"test --run [", 2, "", "--run: error parsing regexp"},
		{"resume x", 2, "", "must be pipeline.NAME or destination.TYPE.NAME"},
		{"state set x", 2, "", "start"},
		{"state set x --start tomorrow", 2, "", "2026-05-10T10:00:00Z"},
		{"state set x --start now --state nowhere", 1, "", "there is no state in nowhere"},
		{"run nowhere", 1, "", `no file or directory "nowhere"`},
		{"plan ./nowhere", 1, "", `no file or directory "./nowhere"`},
		{"validate nowhere", 1, "", `no file or directory "nowhere"`},
	} {
		code, stdout, stderr := rounds(t, nil, strings.Fields(x.args)...)
		if code != x.code || !strings.Contains(stdout, x.stdout) || !strings.Contains(stderr, x.stderr) || code == 0 && stderr != "" {
			t.Errorf("rounds %s: exit code %d, want %d\n%s%s", x.args, code, x.code, stdout, stderr)
		}
	}
	for _, made := range []string{"nowhere", ".rounds"} {
		if exists(made) {
			t.Errorf("%s was made", made)
		}
	}
}

func TestTheCompletionIsAScript(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	code, script, _ := rounds(t, nil, "completion", "bash")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	c := exec.Command(bash, "-n")
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, names, _ := rounds(t, nil, "__complete", "adapter", "serve", ""); !strings.Contains(names, "rest") {
		t.Errorf("the bundled adapters are not completed: %s", names)
	}
}

// wrongHCL has a mistake in each layer: a reference, the adapter's own block, a script.
var wrongHCL = strings.NewReplacer(
	"destination.webhook.scheduling", "destination.webhook.schedulin",
	`    id      = "id"`, `    ids     = "id"`,
	`zone   = "America/New_York"`, `zone   = "America/Gotham"`,
).Replace(pipelineHCL)

func TestValidateShowsAllMistakesWithTheirLines(t *testing.T) {
	t.Parallel()
	env := []string{"EHR_URL=http://localhost", "NOTIFY_URL=http://localhost"}
	good := write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
	code, stdout, stderr := rounds(t, env, "validate", good)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "1 pipelines, 1 sources, 1 destinations") {
		t.Errorf("a good configuration: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := rounds(t, env, "validate", "--json", filepath.Join(good, "main.hcl")); code != 0 || !strings.Contains(stdout, `"valid": true`) {
		t.Errorf("a good configuration as JSON: exit code %d\n%s", code, stdout)
	}
	if left, _ := os.ReadDir(good); len(left) != 2 {
		t.Error("validate left something beside the configuration")
	}

	wrong := write(t, map[string]string{"main.hcl": wrongHCL, "mapping.js": tellAll + "\nlet = ;"})
	line := func(part string) int { return 1 + strings.Count(wrongHCL[:strings.Index(wrongHCL, part)], "\n") }
	mistakes := map[string]int{ // a part of the text → its line
		`"ids"`: line("ids     ="), "schedulin": line("schedulin\n"), "mapping.js:": line("map      ="),
	}
	for _, command := range []string{"validate", "run"} {
		args := []string{command, wrong}
		if command == "run" {
			args = append(args, "--state", filepath.Join(wrong, "state"))
		}
		code, stdout, stderr = rounds(t, env, args...)
		if code != 1 || stdout != "" {
			t.Errorf("%s: exit code %d, stdout %q", command, code, stdout)
		}
		for text, line := range mistakes {
			if !strings.Contains(stderr, text) || !strings.Contains(stderr, fmt.Sprintf("main.hcl line %d", line)) ||
				!strings.Contains(stderr, fmt.Sprintf("  %d: ", line)) {
				t.Errorf("%s does not show %s with line %d:\n%s", command, text, line, stderr)
			}
		}
	}
	if exists(filepath.Join(wrong, "state")) {
		t.Error("run made a state for a configuration that can't run")
	}

	code, stdout, _ = rounds(t, env, "validate", "--json", wrong)
	var result struct {
		Valid       bool
		Diagnostics []struct {
			Range struct {
				Filename string
				Start    struct{ Line int }
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 1 || result.Valid {
		t.Fatalf("exit code %d, %v:\n%s", code, err, stdout)
	}
	lines := map[int]bool{}
	for _, d := range result.Diagnostics {
		lines[d.Range.Start.Line] = filepath.Base(d.Range.Filename) == "main.hcl"
	}
	for text, line := range mistakes {
		if !lines[line] {
			t.Errorf("the JSON does not show %s in line %d:\n%s", text, line, stdout)
		}
	}
}

func TestAStateHasOneEngine(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 5, Patients: 2}}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
	p := startRun(t, dir, c.env())
	p.logged("msg=running")
	holder := fmt.Sprintf("is in use by process %d", p.cmd.Process.Pid)
	state := filepath.Join(dir, "state")
	code, _, stderr := rounds(t, c.env(), "run", dir, "--state", state)
	if code != 1 || !strings.Contains(stderr, holder) {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	p.pollsMore(c, 1)
	if code := p.stop(); code != 0 {
		t.Errorf("the engine that holds the state was disturbed: exit code %d", code)
	}
}

// TestAGapIsAcceptedByAPerson: the server no longer has everything since the last poll. The pipeline says so and waits, also
// over a restart; after `rounds state set` it goes on.
func TestAGapIsAcceptedByAPerson(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir, env, keep := newLedger(t, c.receiverURL)
	order := func(id, what string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"id": %q, "what": %q}`, id, what))
	}
	keep(page{First: 1, Changes: []json.RawMessage{order("A", "one"), order("B", "one")}})
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "the first orders arrived", func() bool { return c.Accepted() == 2 })

	keep(page{First: 7, Changes: []json.RawMessage{order("B", "one"), order("A", "two"), order("C", "one")}})
	const told = `to_resume="rounds state set orders --start now|beginning|INSTANT"`
	p.logged("there is a gap in the feed, the pipeline pauses", told)
	p.stop()
	p = startRun(t, dir, env)
	p.logged(told)
	p.stop()
	if n := c.Accepted(); n != 2 {
		t.Errorf("%d notifications over the gap", n-2)
	}

	state := filepath.Join(dir, "state")
	code, _, stderr := rounds(t, nil, "state", "set", "order", "--start", "beginning", "--state", state)
	if code != 1 || !strings.Contains(stderr, `knows no pipeline "order"`) || !strings.Contains(stderr, "it knows: orders") {
		t.Errorf("an unknown pipeline: exit code %d\n%s", code, stderr)
	}
	code, stdout, stderr := rounds(t, nil, "state", "set", "orders", "--start", "beginning", "--state", state)
	if code != 0 || !strings.Contains(stdout, "Pipeline orders goes on from beginning") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	p = startRun(t, dir, env)
	p.eventually(20*time.Second, "the orders after the gap arrived", func() bool { return c.Accepted() == 2+3 })
	keep(page{First: 7, Changes: []json.RawMessage{order("B", "one"), order("A", "two"), order("C", "one"), order("D", "one")}})
	p.eventually(20*time.Second, "the pipeline goes on", func() bool { return c.Accepted() > 2+3 })
	p.stop()
	got := map[string]int{}
	for _, r := range c.Received(0)[2:] {
		got[decode[struct{ ID string }](t, r.Body).ID]++
	}
	// The numbers of the feed may have begun anew, so that B's may be another change.
	if !maps.Equal(got, map[string]int{"A": 1, "B": 1, "C": 1, "D": 1}) {
		t.Errorf("after the gap arrived: %v", got)
	}
}

// Scripts operate engines too.
func TestEachCommandOfAnOperatorHasJSON(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"status", "pause", "resume", "poll", "state show", "state set", "state rekey", "reload", "dead list", "dead show", "dead retry", "dead discard",
		"history list", "history show", "history record", "replay", "adapter list", "adapter describe", "adapter test", "backup", "restore", "check", "web",
	} {
		if code, stdout, _ := rounds(t, nil, append(strings.Fields(command), "--help")...); code != 0 || !strings.Contains(stdout, "--json") {
			t.Errorf("rounds %s has no --json", command)
		}
	}
}
