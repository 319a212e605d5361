// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// cancelled is a mapping with a slip of the pen that only cancelled appointments meet.
const cancelled = `const texts = {
  cancelled: (a) => "cancelled by " + a.cancelReasen.toUpperCase(),
  booked: (a) => "booked for " + a.start,
};

export default function ({ change, fetched }) {
  const appointment = change.data;
  const text = texts[appointment.status] ?? (() => appointment.status);
  return { Patient: { Identifiers: [{ ID: fetched.patient.id }] }, id: change.id, text: text(appointment), comment: appointment.comment };
}
`

// TestCounterpartChromiumWalksTheWebPage walks the page as a person on call does: dead letters, a mapping that is put right in the
// playground, deployed by a reload and retried; a trace; on a phone, in the dark, by keyboard alone. The browser must not
// have a word to say of it, and nothing is asked for elsewhere. ROUNDS_PICTURES names a directory for pictures of the pages.
func TestCounterpartChromiumWalksTheWebPage(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Seed: 7}, receiver.Options{})
	dir := write(t, map[string]string{
		"main.hcl": pipelineHCL + "\nweb {\n  listen = \"127.0.0.1:0\"\n  token  = \"" + webToken + "\"\n}\n", "mapping.js": cancelled,
	})
	p := startRun(t, dir, c.env())
	base := p.webAt(1)
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	ids := c.IDs()
	for _, id := range ids[:4] {
		if err := c.Update(id, time.Now(), func(a *sampleehr.Appointment) {
			a.Comment = `</pre></textarea><script>document.title = "owned"</script><img src=x onerror="document.title='owned'">`
		}); err != nil {
			t.Fatal(err)
		}
	}
	p.eventually(20*time.Second, "notifications arrived", func() bool { return len(c.Received(0)) >= 4 })
	for _, id := range ids[4:7] {
		if err := c.Cancel(id, "Patient"); err != nil {
			t.Fatal(err)
		}
		p.pollsMore(c, 1) // a change that fails alone becomes a dead letter
	}
	p.eventually(20*time.Second, "three dead letters", func() bool {
		status, page := ask(t, http.DefaultClient, base+"/dead", webToken)
		return status == http.StatusOK && strings.Count(page, `name="id"`) == 3
	})

	pictures := os.Getenv("ROUNDS_PICTURES")
	if pictures == "" {
		pictures = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	walk := exec.CommandContext(ctx, "node", "../../.ci/page.cjs", base, webToken, filepath.Join(dir, "mapping.js"),
		strings.ReplaceAll(cancelled, "cancelReasen", "cancelReason"), pictures)
	walk.Env = append(os.Environ(), "NODE_PATH="+nodeModules(t))
	if out, err := walk.CombinedOutput(); err != nil || !strings.Contains(string(out), "walked") {
		t.Errorf("%v\n%s", err, out)
	}
	p.eventually(20*time.Second, "what was retried arrived", func() bool {
		arrived := 0
		for _, r := range c.Received(0) {
			if strings.Contains(string(r.Body), "cancelled by PATIENT") {
				arrived++
			}
		}
		return arrived == 3
	})
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
