// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

const variablesHCL = `
variable "notify_url" {
  type      = string
  sensitive = true
}

variable "unwanted" {
  type    = list(string)
  default = []
}

locals {
  wanted = { for status in keys(table.statuses) : status => !contains(var.unwanted, status) }
}

table "statuses" {
  csv   = "statuses.csv"
  key   = "code"
  value = "name"
}
`

// TestVariablesTablesAndFiltersDecideWhatIsDelivered: the environment loses to the file, the file to the flag after it.
func TestVariablesTablesAndFiltersDecideWhatIsDelivered(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 25, Patients: 5}}, receiver.Options{})
	dir := write(t, map[string]string{
		"main.hcl": variablesHCL + replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, `env("NOTIFY_URL")`, `var.notify_url`,
			`map      = "mapping.js"`, `map      = "mapping.js"
    filter   = table.statuses[change.data.status] == "left" || local.wanted[change.data.status]`),
		"mapping.js":      tellAll,
		"statuses.csv":    "code,name\nbooked,to come\narrived,there\ncancelled,off\nnoshow,off\n",
		"values/test.hcl": "notify_url = \"" + c.receiverURL + "\"\nunwanted   = [\"booked\"]\n",
	})
	env := append(c.env(), "ROUNDS_VAR_notify_url=http://lost.invalid", `ROUNDS_VAR_unwanted=["lost"]`)
	p := startRun(t, dir, env, "-var-file", filepath.Join(dir, "values/test.hcl"), `-var=unwanted=["cancelled"]`)
	want := map[string]bool{}
	for _, id := range c.IDs() {
		a, err := c.Appointment(id)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status != sampleehr.Cancelled {
			want[id] = true
		}
	}
	p.eventually(20*time.Second, "all that are wanted arrived", func() bool { return c.Accepted() >= len(want) })
	p.pollsMore(c, 1)
	p.stop()
	if len(want) == 0 || len(want) == 25 {
		t.Fatalf("%d of 25 are wanted", len(want))
	}
	for _, r := range c.Received(0) {
		if id := decode[told](t, r.Body).ID; !want[id] {
			t.Errorf("%s arrived", id)
		}
	}
	if strings.Contains(p.log.String(), c.receiverURL) {
		t.Error("the log holds a sensitive variable")
	}
	if dead := deadLetters(t, dir, 0); len(dead) > 0 {
		t.Errorf("%d dead letters, the first: %s", len(dead), dead[0].Cause.Text)
	}
}

func TestValuesOfVariablesAreChecked(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"main.hcl":       variablesHCL,
		"statuses.csv":   "code,name\nbooked,to come\n",
		"good.values":    "notify_url = \"http://receiver.example\"\n",
		"unknown.values": "notify_ulr = \"" + canaryToken + "\"\n",
	})
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, x := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{nil, 1, `The variable "notify_url" has no default`},
		{[]string{"-var", "notify_url=" + canaryToken}, 0, ""},
		{[]string{"--var", "notify_url=" + canaryToken, "--var", `unwanted=["a=b"]`}, 0, ""},
		{[]string{"-var=notify_url=" + canaryToken}, 0, ""},
		{[]string{"-var-file=" + file("good.values")}, 0, ""},
		{[]string{"--var-file", file("good.values")}, 0, ""},
		{[]string{"-var-file", file("unknown.values")}, 1, `No variable "notify_ulr" is declared. Did you mean "notify_url"?`},
		{[]string{"-var-file", file("god.values")}, 1, `Did you mean "good.values"?`},
		{[]string{"-var", "notify_ulr=" + canaryToken}, 1, `Did you mean "notify_url"?`},
		{[]string{"-var", canaryToken}, 1, "NAME=VALUE"},
		{[]string{"-var", "notify_url=x", "-var", "unwanted=" + canaryToken}, 1, `variable "unwanted", given by -var unwanted, can't be`},
		{[]string{"-var"}, 2, "flag needs an argument: --var"},
		{[]string{"--", "-var"}, 1, `no file or directory "-var"`},
	} {
		for _, flag := range []string{"--json=false", "--json"} {
			args := append([]string{"validate", flag}, x.args...)
			if len(x.args) == 0 || x.args[0] != "--" {
				args = append([]string{"validate", dir, flag}, x.args...)
			}
			code, stdout, stderr := rounds(t, nil, args...)
			shown := strings.Join(strings.Fields(strings.ReplaceAll(stdout+stderr, `\"`, `"`)), " ")
			if code != x.code || !strings.Contains(shown, x.stderr) {
				t.Errorf("%q: exit code %d, want %d with %s\n%s%s", args, code, x.code, x.stderr, stdout, stderr)
			}
			noCanary(t, strings.Join(x.args, " "), stdout+stderr)
		}
	}
}

// TestStateFollowsWhatIsMoved: pipeline, source and destination get other names while notifications wait. Nothing is repeated,
// nothing is lost, and what waits goes to the destination's new name.
func TestStateFollowsWhatIsMoved(t *testing.T) {
	t.Parallel()
	c, patient := oneRefused(t)
	held := c.appointmentsOf(t, patient)
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	p := startRun(t, dir, c.env())
	p.eventually(20*time.Second, "the others arrived", func() bool { return c.Accepted() == 12-held })
	p.logged("its lane is held")
	p.stop()
	deadLetters(t, dir, held)

	renamed := strings.NewReplacer("clinic", "practice", `"webhook" "scheduling"`, `"webhook" "visits"`, "webhook.scheduling", "webhook.visits",
		`pipeline "appointments"`, `pipeline "visits"`).Replace(replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning))
	moved := `
moved {
  from = pipeline.appointments
  to   = pipeline.visits
}

moved {
  from = destination.webhook.scheduling
  to   = destination.webhook.visits
}

moved {
  from = source.rest.clinic
  to   = source.rest.practice
}
`
	overwrite(t, dir, "main.hcl", renamed+moved)
	c.Receiver.SetFaults(receiver.Faults{})
	p = startRun(t, dir, c.env())
	p.logged("state was moved to another name", "kind=pipeline from=appointments to=visits")
	p.logged("state was moved to another name", "kind=destination from=webhook.scheduling to=webhook.visits")
	p.eventually(20*time.Second, "what waited arrived", func() bool { return c.Accepted() == 12 })
	if err := c.Move(c.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "the next change arrived", func() bool { return c.Accepted() == 13 })
	p.pollsMore(c, 1)
	p.stop()
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
	if n := len(deadLetters(t, dir, 0)); n > 0 {
		t.Errorf("%d dead letters", n)
	}

	p = startRun(t, dir, c.env())
	p.pollsMore(c, 1)
	p.stop()
	if strings.Contains(p.log.String(), "state was moved") || c.Accepted() != 13 {
		t.Error("the second start moved something again")
	}

	// The old name begins anew, and has state of its own then.
	overwrite(t, dir, "main.hcl", pipelineHCL)
	p = startRun(t, dir, c.env())
	p.pollsMore(c, 1)
	p.stop()
	overwrite(t, dir, "main.hcl", renamed+moved)
	code, _, stderr := rounds(t, c.env(), "run", dir, "--state", filepath.Join(dir, "state"))
	if code != 1 || !strings.Contains(stderr, "pipeline visits can't take over the state of appointments, since it has its own by now") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}
