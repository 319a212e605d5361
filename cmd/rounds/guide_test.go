// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// TestTheGuideCanBeFollowed does what docs/guide.md says, with its files, and looks for its messages; the sample EHR and the
// receiver are those of `rounds demo --serve`, at other addresses.
func TestTheGuideCanBeFollowed(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := func(language string, n int) (texts []string) {
		t.Helper()
		for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
			texts = append(texts, m[1])
		}
		if len(texts) != n {
			t.Fatalf("the guide has %d blocks of %s, want %d", len(texts), language, n)
		}
		return texts
	}
	hcl, js, text := blocks("hcl", 2), blocks("js", 3), blocks("text", 3)
	if commands := strings.Join(blocks("sh", 2), ""); !strings.Contains(commands, "rounds validate\n") || !strings.HasSuffix(commands, "rounds run\n") {
		t.Errorf("the guide's commands are others: %s", commands)
	}
	// What the guide shows of output, in which … stands for what differs.
	pattern := func(shown string) *regexp.Regexp {
		return regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(shown)), "…", ".*"))
	}
	c := newClinic(t, sampleehr.Options{Token: "token-of-the-clinic"}, receiver.Options{Secret: signingKey})
	open := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir := write(t, map[string]string{"rounds.hcl": hcl[0], "appointment.js": js[0],
		"secrets/clinic_token": "token-of-the-clinic", "secrets/notify": signingKey})

	// Check: a name with a mistake, in the directory itself.
	if code, _, stderr := rounds(t, open.env(), "validate", dir); code != 0 {
		t.Fatal(stderr)
	}
	overwrite(t, dir, "rounds.hcl", replaced(t, hcl[0], "every =", "evry ="))
	code, _, stderr := rounds(t, open.env(), "validate", dir)
	if stderr = strings.ReplaceAll(stderr, dir+"/", ""); code != 1 || !pattern(text[0]).MatchString(stderr) {
		t.Errorf("exit code %d, the guide shows\n%s\nand it is\n%s", code, text[0], stderr)
	}
	overwrite(t, dir, "rounds.hcl", hcl[0])

	// Run: one notification; and one of what changes while nothing runs.
	id := open.IDs()[0]
	appointment, err := open.Appointment(id)
	if err != nil {
		t.Fatal(err)
	}
	name := open.Patient(appointment.PatientID).Name
	p := startRun(t, dir, open.env())
	p.eventually(20*time.Second, "polled", func() bool { return open.polls() > 0 })
	move := func() {
		t.Helper()
		if err := open.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	arrived := func(n int, member, want string) {
		t.Helper()
		p.eventually(20*time.Second, "arrived", func() bool { return open.Accepted() == n })
		raw, _ := rawjson.Get(open.Received(0)[n-1].Body, member)
		if got, _ := rawjson.Text(raw); got != want {
			t.Errorf("notification %d has the %s %q, want %q", n, member, got, want)
		}
	}
	logged := func(shown string) {
		t.Helper()
		p.eventually(20*time.Second, "logged "+shown, func() bool { return pattern(shown).MatchString(p.log.String()) })
	}
	move()
	arrived(1, "patient", name.Last)
	logged(text[1])
	p.stop()
	move()

	// Another mapping.
	overwrite(t, dir, "appointment.js", js[1])
	p = startRun(t, dir, open.env())
	arrived(2, "what", name.First+" "+name.Last+": booked")
	if err := open.Cancel(id, "Patient"); err != nil {
		t.Fatal(err)
	}
	arrived(3, "what", name.First+" "+name.Last+": called off")
	p.stop()

	// A mistake in it, and put right.
	overwrite(t, dir, "appointment.js", js[2])
	p = startRun(t, dir, open.env())
	before := open.polls()
	p.eventually(20*time.Second, "polled", func() bool { return open.polls() > before })
	id = open.IDs()[1]
	move()
	logged(text[2])
	p.stop()
	if n := open.Accepted(); n != 3 {
		t.Errorf("%d notifications arrived, the last by a mapping that fails", n)
	}
	overwrite(t, dir, "appointment.js", js[0])
	p = startRun(t, dir, open.env())
	arrived(4, "appointment", id)
	p.stop()

	// Production: another EHR, with a token, and signatures.
	overwrite(t, dir, "rounds.hcl", replaced(t, hcl[1], `"1m"`, `"1s"`,
		`env("NOTIFY_URL")`, "env(\"NOTIFY_URL\")\n  allow_private = true"))
	env := append(c.env(), "CREDENTIALS_DIRECTORY="+dir+"/secrets", "ROUNDS_VAR_ehr="+c.ehrURL)
	p = startRun(t, dir, env, "--state", dir+"/production")
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	if err := c.Move(c.IDs()[2], time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "arrived", func() bool { return c.Accepted() == 1 })
	if r := c.Received(0)[0]; r.Signature != "valid" {
		t.Errorf("a notification with %s signature", r.Signature)
	}
	p.stop()
}
