// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/operate"
)

// TestInvariant6LogsNameRecordsByIDWhenToldOnly, and warn of it; what operators list and the audit log go on with the hash.
func TestInvariant6LogsNameRecordsByIDWhenToldOnly(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprint(told), func(t *testing.T) {
			t.Parallel()
			c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 2, Patients: 1}}, receiver.Options{})
			id := c.IDs()[0]
			dir := write(t, map[string]string{
				"main.hcl":   replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning),
				"mapping.js": replaced(t, tellAll, "  return {", fmt.Sprintf("  if (change.id === %q) throw new Error();\n  return {", id)),
			})
			p := startRun(t, dir, c.env(), fmt.Sprintf("--log-refs=%v", told))
			p.logged("changes became dead letters")
			dead := asked[[]operate.DeadLetter](t, dir, 0, "dead", "list")
			if len(dead) != 1 {
				t.Fatalf("%d dead letters, want 1", len(dead))
			}
			command(t, dir, 0, "dead", "show", dead[0].ID)
			p.stop()
			log := p.log.String()
			want := "record=" + dead[0].Record
			if told {
				want = "record=" + dead[0].Kind + "/" + id
			}
			if !strings.Contains(log, want) {
				t.Errorf("there is no %s in the log:\n%s", want, log)
			}
			if got := strings.Contains(log, "/"+id); got != told {
				t.Errorf("the log holds the id: %v\n%s", got, log)
			}
			if got := strings.Contains(log, "level=WARN msg=\"THIS LOG NAMES RECORDS BY THEIR IDS"); got != told {
				t.Errorf("a warning: %v\n%s", got, log)
			}
			if looks := auditLog(t, dir); len(looks) != 1 || looks[0].Record != dead[0].Record || strings.Contains(dead[0].Record, id) {
				t.Errorf("the audit log holds %+v", looks)
			}
		})
	}
}

// TestIdentifiersNeedNoCommandLine, which all users of the machine may see: they are read from the standard input.
func TestIdentifiersNeedNoCommandLine(t *testing.T) {
	t.Parallel()
	c, dir, p := smallClinic(t)
	id := c.IDs()[0]
	state := filepath.Join(dir, "state")
	for _, x := range []struct {
		args, in, said string
		code           int
	}{
		{"history record --pipeline appointments --id -", id + "\n", " " + id + " of pipeline appointments", 0},
		{"history list --pipeline appointments --record -", id, "webhook.scheduling", 0},
		{"history record --pipeline appointments --id -", " \n", "the standard input has to hold the value", 2},
		{"history record --pipeline appointments --id -", strings.Repeat("1", 1<<17), "the standard input has to hold the value", 2},
	} {
		code, stdout, stderr := reading(t, x.in, nil, append(strings.Fields(x.args), "--state", state)...)
		if code != x.code || !strings.Contains(stdout+stderr, x.said) {
			t.Errorf("rounds %s: exit code %d, want %d and %q\n%s%s", x.args, code, x.code, x.said, stdout, stderr)
		}
	}
	p.stop()
}
