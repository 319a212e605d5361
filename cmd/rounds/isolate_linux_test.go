// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// isolatedHCL is a pipeline whose mappings are isolated, with a file of its own to deliver to.
const isolatedHCL = `
destination "file" %[1]q {
  path = "%[2]s/%[1]s.out"
}
pipeline %[1]q {
  isolate = true
  poll {
    feed    = source.rest.clinic.feed.appointments
    every   = "1s"
    overlap = "10s"
    start   = "beginning"
  }
  deliver %[1]q {
    to  = destination.file.%[1]s
    map = "%[1]s.js"
  }
}
`

const tookTooMuch = "the mapping ended its worker: it took more than 256 MiB of memory"

// bombs are what a mapping does with one of the changes, and what the cause of its dead letter says.
var bombs = map[string]struct{ code, want string }{
	"gigabyte": {`return { v: "x".repeat(1 << 30) };`, tookTooMuch},
	"endless":  {`const all = []; for (;;) all.push(new ArrayBuffer(1 << 25));`, tookTooMuch},
	"getter":   {`return { get v() { return "x".repeat(1 << 30); } };`, tookTooMuch},
	"tojson":   {`return { v: new (class { toJSON() { return "x".repeat(1 << 30); } })() };`, tookTooMuch},
	"thrown":   {`throw { toString() { return "x".repeat(1 << 30); } };`, tookTooMuch},
	"hours":    {`return { v: new Array(4294967290).includes(5) };`, "took longer than the limit of 1s; look for a very long array or string, a large BigInt, or for many matches of a regular expression that backtracks; its worker was ended"},
	"loop":     {`for (;;);`, "took longer than the limit of 1s; look for an endless loop"},
	"recurses": {`const f = () => f(); return f();`, "calls are nested deeper than 2000"},
	"proxy":    {`throw new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; } });`, "what was thrown can't be looked at"},
	"cycle":    {`const v = {}; v.v = v; return v;`, "contains itself"},
}

// TestInvariant8ABombInAnIsolatedMappingReachesNothingElse: each in a pipeline of its own, beside one that has none.
func TestInvariant8ABombInAnIsolatedMappingReachesNothingElse(t *testing.T) {
	t.Parallel()
	const n = 8
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: n, Patients: 3}}, receiver.Options{})
	bad, err := c.Appointment(c.IDs()[3])
	if err != nil {
		t.Fatal(err)
	}
	files, out := map[string]string{"mapping.js": tellAll}, t.TempDir()
	hcl := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning)
	for name, bomb := range bombs {
		hcl += fmt.Sprintf(isolatedHCL, name, out)
		files[name+".js"] = "export default ({ change }) => {\n  if (change.id === \"" + bad.ID + "\") { " + bomb.code + " }\n  return { id: change.id };\n};\n"
	}
	// A module that does it when it is evaluated for a record, and not when it is looked at: random numbers are the record's.
	hcl += fmt.Sprintf(isolatedHCL, "module", out)
	files["module.js"] = fmt.Sprintf("const v = Math.random() === %v ? \"\" : \"x\".repeat(1 << 30);\nexport default () => ({ v });\n",
		rand.New(rand.NewPCG(0, 0)).Float64())
	files["main.hcl"] = hcl
	dir := write(t, files)
	p := startRun(t, dir, c.env())
	engine := p.cmd.Process.Pid

	p.eventually(60*time.Second, "the pipeline beside them delivered", func() bool { return c.Accepted() >= n })
	for name := range bombs {
		p.eventually(90*time.Second, "the others of "+name+" arrived", func() bool {
			lines, _ := os.ReadFile(filepath.Join(out, name+".out"))
			return strings.Count(string(lines), "\n") == n-1
		})
		if lines, err := os.ReadFile(filepath.Join(out, name+".out")); err != nil || strings.Contains(string(lines), bad.ID) {
			t.Errorf("%s delivered its bomb, or %v", name, err)
		}
	}
	dead := map[string]operate.DeadLetter{}
	p.eventually(90*time.Second, "dead letters", func() bool {
		for _, d := range asked[[]operate.DeadLetter](t, dir, 0, "dead", "list") {
			dead[d.Pipeline] = d
		}
		return len(dead) >= len(bombs)
	})
	for name, bomb := range bombs {
		if d := dead[name]; d.Stage != "map" || !strings.Contains(d.Text, bomb.want) || !strings.Contains(d.Text, name+".js:") {
			t.Errorf("the dead letter of %s says %q, want %q", name, d.Text, bomb.want)
		}
	}
	p.logged(`every new change failed at deliver \"module\", nothing of the page was committed (8 changes): deliver \"module\": module.js:2:16: ` + tookTooMuch)
	if len(dead) != len(bombs) {
		t.Errorf("dead letters are of %v", slices.Sorted(maps.Keys(dead)))
	}

	// What a person does with it leaves the engine running, too.
	client, err := operate.Dial(t.Context(), filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Retry(t.Context(), dead["gigabyte"].ID, false); err == nil || !strings.Contains(err.Error(), "it fails again, and stays: deliver \"gigabyte\": gigabyte.js:1:16: "+tookTooMuch) {
		t.Errorf("a retry says: %v", err)
	}
	top := "const v = \"x\".repeat(1 << 30); export default () => ({ v });"
	for name, text := range map[string]*string{"as it is": nil, "at the top": &top} {
		if tried, err := client.Try(t.Context(), operate.Trial{DeadLetter: dead["gigabyte"].ID, Script: text}); err != nil || !strings.Contains(tried.Error, "ended its worker") {
			t.Errorf("a trial, %s, says: %v, %v", name, tried, err)
		}
	}
	if code, stdout, stderr := rounds(t, c.env(), "plan", "gigabyte", dir, "--state", filepath.Join(out, "none")); code != 0 || !strings.Contains(stdout, tookTooMuch) {
		t.Errorf("a plan says: %d\n%s%s", code, stdout, stderr)
	}
	overwrite(t, dir, "cycle.js", top)
	if _, stderr := command(t, dir, 1, "reload"); !strings.Contains(stderr, "cycle.js:1:1: evaluating the module ended its worker: it took more than 256 MiB of memory") {
		t.Errorf("a reload says: %s", stderr)
	}

	// The engine is the same, and works.
	st := asked[operate.Status](t, dir, 3, "status")
	if st.PID != engine {
		t.Errorf("the engine is process %d, and was %d", st.PID, engine)
	}
	if w := ofPipeline(t, st, "gigabyte").Worker; w == nil || w.Ends < 2 {
		t.Errorf("the status tells of the worker %+v, which has ended at least twice", w)
	}
	if w := ofPipeline(t, st, "appointments").Worker; w != nil {
		t.Errorf("what is not isolated has the worker %+v", w)
	}
	for _, id := range c.IDs() {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	p.eventually(30*time.Second, "what changed since has arrived", func() bool { return settled(c, nil) })
	if log := p.log.String(); strings.Contains(log, bad.ID) || strings.Contains(log, "xxxx") {
		t.Error("the log holds an id or content")
	}
	left := children(t, engine)
	p.stop()
	areGone(t, left)
}

// areGone waits until processes have ended.
func areGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		eventually(t, 10*time.Second, fmt.Sprint("process ", pid, " has ended"), func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " Z ")
		})
	}
}

// TestTheWorkerOfAPipelineLivesAsLongAsItsLoop: from the first mapping to a pause, a reload, a stop, or the end of the engine.
func TestTheWorkerOfAPipelineLivesAsLongAsItsLoop(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 4, Patients: 2}}, receiver.Options{})
	hcl := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, "pipeline \"appointments\" {\n", "pipeline \"appointments\" {\n  isolate = true\n")
	dir := write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll})
	if code, _, stderr := rounds(t, nil, "worker"); code == 0 || !strings.Contains(stderr, "isolate = true") {
		t.Errorf("a person who starts a worker reads: %d, %s", code, stderr)
	}
	p := startRun(t, dir, append(c.env(), "SECRET="+canarySecret))
	worker := func() int {
		return ofPipeline(t, asked[operate.Status](t, dir, 0, "status"), "appointments").Worker.PID
	}
	work := func() int {
		for _, id := range c.IDs() {
			if err := c.Move(id, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		p.eventually(30*time.Second, "delivered", func() bool { return settled(c, nil) })
		return worker()
	}
	first := work()
	if first == 0 || !slices.Contains(children(t, p.cmd.Process.Pid), first) {
		t.Fatalf("process %d maps, which the engine did not start", first)
	}
	if again := work(); again != first {
		t.Errorf("process %d maps, and before it was %d", again, first)
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", first)); err == nil && (strings.Contains(string(env), canarySecret) || strings.Contains(string(env), "EHR_URL")) {
		t.Errorf("the worker has the environment %q", env)
	}
	noCoreDump(t, first)

	command(t, dir, 0, "pause", "pipeline.appointments")
	areGone(t, []int{first})
	command(t, dir, 0, "resume", "pipeline.appointments")
	second := work()
	overwrite(t, dir, "main.hcl", replaced(t, hcl, "  isolate = true\n", ""))
	command(t, dir, 0, "reload")
	areGone(t, []int{second})
	if st := ofPipeline(t, asked[operate.Status](t, dir, 0, "status"), "appointments"); st.Worker != nil {
		t.Errorf("what is no longer isolated has the worker %+v", st.Worker)
	}
	overwrite(t, dir, "main.hcl", hcl)
	command(t, dir, 0, "reload")
	third := work()
	p.kill()
	areGone(t, []int{third})
}
