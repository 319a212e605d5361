// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// planned is what these tests read of `rounds plan --json`.
type planned struct {
	StateExists bool `json:"state_exists"`
	Pipelines   []struct {
		Name, Error               string
		Complete                  bool
		New, Seen, Filtered, Dead int
		Calls                     struct{ Poll, Fetch int }
		Forecast                  struct {
			PerHour int `json:"per_hour"`
		}
		List []struct {
			ID         string
			RecordID   string `json:"record_id"`
			Generation int
			Body       json.RawMessage
		} `json:"notifications"`
	}
	Sources []struct {
		ID        string
		OverLimit bool `json:"over_limit"`
	}
}

func plan(t *testing.T, env []string, args ...string) planned {
	t.Helper()
	code, stdout, stderr := rounds(t, env, append([]string{"plan", "--json"}, args...)...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	return decode[planned](t, []byte(stdout))
}

// filesIn gives the content of all files below dir.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type() == os.ModeSocket { // which a kill left
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestAPlanTellsWhatTheRunDeliversAndLeavesNoTrace: before the first run and between runs.
func TestAPlanTellsWhatTheRunDeliversAndLeavesNoTrace(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 4}}, receiver.Options{})
	dir := write(t, map[string]string{
		"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, `start   = "beginning"`, `"1s"`, `"1m"`, `base_url = env("EHR_URL")`,
			"base_url = env(\"EHR_URL\")\n  limits {\n    per_second = 500\n  }"),
		"mapping.js": tellAll,
	})
	state := filepath.Join(dir, "state")
	configured := filesIn(t, dir)
	n := len(c.IDs())

	first := plan(t, c.env(), "--state", state, "--show", dir)
	p := first.Pipelines[0]
	if first.StateExists || !p.Complete || p.New != n || p.Seen != 0 || len(p.List) != n || p.Calls.Poll != 1 || p.Calls.Fetch == 0 ||
		p.Forecast.PerHour != 60*(p.Calls.Poll+p.Calls.Fetch) || len(first.Sources) != 1 || first.Sources[0].OverLimit {
		t.Errorf("planned: %+v", p)
	}
	if !maps.Equal(configured, filesIn(t, dir)) || exists(state) {
		t.Error("the plan left something")
	}
	if c.Accepted() != 0 || len(c.Received(0)) != 0 {
		t.Error("the plan delivered something")
	}
	arrivedAs := func(p planned, received []receiver.Received) {
		t.Helper()
		got := map[string][16]byte{}
		for _, r := range received {
			got[r.ID] = rawjson.Hash(r.Body)
		}
		for _, x := range p.Pipelines[0].List {
			if got[x.ID] != rawjson.Hash(x.Body) {
				t.Errorf("generation %d of %s did not arrive as planned", x.Generation, x.RecordID)
			}
		}
		if len(got) != len(p.Pipelines[0].List) {
			t.Errorf("%d arrived, %d were planned", len(got), len(p.Pipelines[0].List))
		}
	}
	run := startRun(t, dir, c.env())
	run.eventually(30*time.Second, "all arrived", func() bool { return c.Accepted() == n })
	run.stop()
	arrivedAs(first, c.Received(0))

	id := c.IDs()[3]
	if err := c.Move(id, time.Hour); err != nil {
		t.Fatal(err)
	}
	before := filesIn(t, dir)
	second := plan(t, c.env(), "appointments", "--state", state, "--show", dir)
	if p := second.Pipelines[0]; !second.StateExists || p.New != 1 || len(p.List) != 1 || p.List[0].RecordID != id || p.List[0].Generation != 2 {
		t.Errorf("planned: %+v", p)
	}
	code, text, stderr := rounds(t, c.env(), "plan", "--state", state, dir)
	var patient struct{ PatientID string }
	if err := json.Unmarshal(c.History(id)[id][0].JSON, &patient); err != nil {
		t.Fatal(err)
	}
	last := c.Patient(patient.PatientID).Name.Last
	if code != 0 || stderr != "" || !strings.Contains(text, "new            1\n") || !strings.Contains(text, `"data"`) ||
		!strings.Contains(text, "generation 2, record=") {
		t.Errorf("exit code %d\n%s%s", code, text, stderr)
	}
	for _, never := range []string{`"` + id + `"`, `"` + patient.PatientID + `"`, last} {
		if strings.Contains(text, never) {
			t.Errorf("a masked plan shows %s:\n%s", never, text)
		}
	}
	_, text, _ = rounds(t, c.env(), "plan", "--state", state, "--show", dir)
	if !strings.Contains(text, last) || !strings.Contains(text, `, id "`+id+`", ordering key "`+patient.PatientID+`"`) {
		t.Errorf("--show does not show %s:\n%s", last, text)
	}
	masked := plan(t, c.env(), "--state", state, dir).Pipelines[0].List[0]
	if masked.RecordID != "" || masked.ID != "" || strings.Contains(string(masked.Body), last) {
		t.Error("masked JSON shows content")
	}
	if after := filesIn(t, dir); !maps.Equal(before, after) {
		t.Error("a plan changed the state or left something")
	}
	if c.Accepted() != n {
		t.Error("a plan delivered something")
	}
	overwrite(t, dir, "main.hcl", replaced(t, content(t, filepath.Join(dir, "main.hcl")), `"1m"`, `"1s"`, "per_second = 500", "per_second = 0.5"))
	if over := plan(t, c.env(), "--state", state, dir); !over.Sources[0].OverLimit {
		t.Error("two calls a second are not more than half a call a second")
	}
	overwrite(t, dir, "main.hcl", replaced(t, content(t, filepath.Join(dir, "main.hcl")), "per_second = 0.5", "per_second = 500"))
	run = startRun(t, dir, c.env())
	run.eventually(30*time.Second, "the change arrived", func() bool { return c.Accepted() == n+1 })
	run.stop()
	arrivedAs(second, c.Received(n))
}

func TestAPlanThatCanNotBeMadeSaysWhy(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 5, Patients: 2}}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
	state := filepath.Join(dir, "state")
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Ada Lovelace", http.StatusForbidden) }))
	defer broken.Close()
	down := append(c.env(), "EHR_URL="+broken.URL)
	fails := func(env []string, text string, args ...string) {
		t.Helper()
		code, stdout, stderr := rounds(t, env, append([]string{"plan", "--state", state}, args...)...)
		if code != 1 || !strings.Contains(stdout+stderr, text) || strings.Contains(stdout+stderr, "Lovelace") {
			t.Errorf("%s: exit code %d, want %q in\n%s%s", args, code, text, stdout, stderr)
		}
	}
	fails(c.env(), `no pipeline "appointment"; it has: appointments`, "appointment", dir)
	fails(c.env(), "no file or directory", filepath.Join(dir, "none"))
	fails(down, "403", dir)
	if exists(state) {
		t.Error("a plan made a state")
	}

	run := startRun(t, dir, c.env())
	run.eventually(30*time.Second, "polled", func() bool { return c.polls() > 0 })
	run.logged("msg=running")
	fails(c.env(), fmt.Sprintf("is in use by process %d", run.cmd.Process.Pid), dir)
	run.pollsMore(c, 1)
	run.kill()
	before := filesIn(t, state)
	fails(c.env(), "start rounds run on it and stop it", dir)
	if !maps.Equal(before, filesIn(t, state)) {
		t.Error("a plan changed a state that was not closed")
	}
	run = startRun(t, dir, c.env())
	run.logged("msg=running")
	run.stop()
	if code, stdout, stderr := rounds(t, c.env(), "plan", "--state", state, dir); code != 0 {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// TestAPlanShowsTheFirstDeadLetter, and of a step that fails as a whole that it fails.
func TestAPlanShowsTheFirstDeadLetter(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 4}}, receiver.Options{})
	dir := write(t, map[string]string{
		"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, `start   = "beginning"`),
		"mapping.js": "let n = 0;\nexport default function ({ change, fetched }) {\n" +
			"  if (change.id === " + fmt.Sprintf("%q", c.IDs()[0]) + ") throw new Error(fetched.patient.id);\n  if (change.id === " +
			fmt.Sprintf("%q", c.IDs()[1]) + ") return null;\n  return { id: change.id };\n}\n",
	})
	state := filepath.Join(dir, "state")
	code, stdout, _ := rounds(t, c.env(), "plan", "--state", state, dir)
	for _, want := range []string{
		"dead letters   1\n", "the first: deliver \"scheduling\"", "mapping.js:3", "filtered       1\n",
		fmt.Sprintf("notifications  %d\n", len(c.IDs())-2),
	} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, want %q in\n%s", code, want, stdout)
		}
	}
	overwrite(t, dir, "mapping.js", "export default function ({ change }) {\n  return change.none.id;\n}\n")
	code, stdout, _ = rounds(t, c.env(), "plan", "--state", state, dir)
	if code != 1 || !strings.Contains(stdout, "FAILED: every new change failed at deliver") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

// TestAPlanOfAnExternalAdapter: what it saves is not kept, a queue is not read, a gap is told.
func TestAPlanOfAnExternalAdapter(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir, env, keep := newLedger(t, c.receiverURL)
	keep(page{First: 1, Changes: []json.RawMessage{json.RawMessage(`{"id": "A\u001b[2J\u009b1m"}`)}})
	state, hcl := filepath.Join(dir, "state"), content(t, filepath.Join(dir, "main.hcl"))
	const path = `path = env("LEDGER_FILE")`
	shows := func(code int, text string, with string) {
		t.Helper()
		overwrite(t, dir, "main.hcl", replaced(t, hcl, path, path+with))
		before := filesIn(t, dir)
		got, stdout, stderr := rounds(t, env, "plan", "--show", "--state", state, dir)
		if got != code || !strings.Contains(stdout, text) {
			t.Errorf("exit code %d, want %d and %q in\n%s%s", got, code, text, stdout, stderr)
		}
		if strings.ContainsAny(stdout, "\x1b\u009b") {
			t.Errorf("what came from the EHR steers the terminal: %q", stdout)
		}
		if !maps.Equal(before, filesIn(t, dir)) {
			t.Error("a plan wrote something")
		}
	}
	shows(0, "WARNING: its adapter saved something", "\nsaves = true")
	shows(1, "FAILED: feed orders is a queue", "\nqueue = true")
	run := startRun(t, dir, env) // a queue can be run
	run.eventually(30*time.Second, "the order arrived", func() bool { return c.Accepted() == 1 })
	run.stop()
	shows(0, "new            0\n", "\nsaves = true")
	keep(page{First: 7})
	shows(1, "rounds state set orders --start now|beginning|INSTANT", "")
}
