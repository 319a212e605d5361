// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

type finding struct {
	Subject, What, Text string
	OK                  bool
}

func TestCheckFindsWhatIsWrongAndConsumesNothing(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}, Token: "right"}, receiver.Options{})
	ahead := newClinic(t, sampleehr.Options{Now: func() time.Time { return time.Now().Add(time.Hour) }, Token: "right"}, receiver.Options{})
	const token = "base_url = env(\"EHR_URL\")\n  auth \"bearer\" {\n    token = %s\n  }"
	good := replaced(t, pipelineHCL, `base_url = env("EHR_URL")`, strings.Replace(token, "%s", `"right"`, 1), `start   = "now"`, fromTheBeginning)
	for _, x := range []struct {
		what, hcl string
		env       []string
		code      int
		found     string // of what is wrong; empty: nothing is
	}{
		{"all right", good, c.env(), 0, ""},
		{"bad credentials", replaced(t, good, `"right"`, `"wrong"`), c.env(), 3, "source.rest.clinic poll feed appointments GET /appointments: 401"},
		{"a wrong path", replaced(t, good, `"/appointments"`, `"/visits"`), c.env(), 3, "source.rest.clinic poll feed appointments GET /visits: 404"},
		{"no EHR", good, []string{"EHR_URL=http://127.0.0.1:1", "NOTIFY_URL=" + c.receiverURL}, 3, "source.rest.clinic poll feed appointments GET /appointments: "},
		{"no receiver", good, []string{"EHR_URL=" + c.ehrURL, "NOTIFY_URL=http://127.0.0.1:1"}, 3, "destination.webhook.scheduling reach connection refused"},
		{"a clock that is off", good, ahead.env(), 3, "source.rest.clinic clock the server's clock is "},
	} {
		dir := write(t, map[string]string{"main.hcl": x.hcl, "mapping.js": tellAll})
		state := filepath.Join(dir, "state")
		code, stdout, stderr := rounds(t, x.env, "check", "--json", "--state", state, dir)
		if code != x.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", x.what, code, x.code, stdout, stderr)
			continue
		}
		wrong, tried := "", 0
		for _, f := range decode[[]finding](t, []byte(stdout)) {
			tried++
			if !f.OK {
				wrong += f.Subject + " " + f.What + " " + f.Text + "\n"
			}
		}
		if (wrong == "") != (x.found == "") || !strings.Contains(wrong, x.found) || strings.Count(wrong, "\n") > 1 || tried < 4 {
			t.Errorf("%s: found %q, want %q\n%s", x.what, wrong, x.found, stdout)
		}
		if strings.Contains(stdout+stderr, "127.0.0.1") || strings.Contains(stdout+stderr, `"right"`) {
			t.Errorf("%s: it shows addresses or secrets:\n%s%s", x.what, stdout, stderr)
		}
		if exists(state) {
			t.Errorf("%s: a state was made", x.what)
		}
		code, stdout, _ = rounds(t, x.env, "check", "--state", state, dir)
		if code != x.code || (x.code == 3) != strings.Contains(stdout, "WRONG") || !strings.Contains(stdout, "ok") {
			t.Errorf("%s: exit code %d\n%s", x.what, code, stdout)
		}
	}
	for _, r := range append(c.Received(0), ahead.Received(0)...) {
		if r.Bytes > 0 || r.ID != "" {
			t.Error("a notification was sent")
		}
	}
}

// TestCheckReadsNoQueue and shows an adapter that is not the one that is meant.
func TestCheckReadsNoQueue(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir, env, _ := newLedger(t, c.receiverURL)
	hcl := replaced(t, ledgerHCL, `path = env("LEDGER_FILE")`, "path  = env(\"LEDGER_FILE\")\n  queue = true")
	overwrite(t, dir, "main.hcl", hcl) // there is no ledger, so that a reading would fail
	code, stdout, stderr := rounds(t, env, "check", "--state", filepath.Join(dir, "state"), dir)
	if code != 0 || !strings.Contains(stdout, "not tried: a reading would empty the queue") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	overwrite(t, dir, "main.hcl", replaced(t, hcl, `path = env("LEDGER")`, "path   = env(\"LEDGER\")\n  sha256 = \""+strings.Repeat("0", 64)+"\""))
	code, _, stderr = rounds(t, env, "check", "--state", filepath.Join(dir, "state"), dir)
	if code != 1 || !strings.Contains(stderr, "is not the file that the configuration means") {
		t.Errorf("another adapter than is meant: exit code %d\n%s", code, stderr)
	}
}

func TestAdaptersAreListedAndDescribed(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir, env, keep := newLedger(t, c.receiverURL)
	keep(page{First: 1, Changes: orders("A")})
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "the order arrived", func() bool { return c.Accepted() == 1 })
	stdout, _ := command(t, dir, 0, "adapter", "list")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	says(t, stdout, "ledger", self, "PID")
	p.stop()
	_, stderr := command(t, dir, 1, "adapter", "list")
	says(t, stderr, byTheState, "this needs one")

	for _, args := range [][]string{{"adapter", "describe", "rest"}, {"adapter", "describe", self}} {
		code, stdout, stderr := rounds(t, nil, args...)
		if code != 0 || !strings.Contains(stdout, "required") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	code, stdout, _ := rounds(t, nil, "adapter", "describe", "rest", "--json")
	if code != 0 || !strings.Contains(stdout, `"base_url"`) {
		t.Errorf("as JSON: exit code %d\n%.300s", code, stdout)
	}
	if code, _, stderr := rounds(t, nil, "adapter", "describe", "/no/such/adapter"); code != 1 || !strings.Contains(stderr, "/no/such/adapter") {
		t.Errorf("of none: exit code %d\n%s", code, stderr)
	}
}

// A check may be made beside an engine, which has another refresh token by then than the configuration: servers take who comes with the old
// one for a thief, and withdraw both.
func TestCheckSpendsNoRefreshToken(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	tokens := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("a token was asked for")
		w.WriteHeader(http.StatusBadRequest)
	}))
	dir := write(t, map[string]string{"mapping.js": tellAll, "main.hcl": replaced(t, pipelineHCL, `base_url = env("EHR_URL")`, `base_url = env("EHR_URL")
  limits {
    per_day = 100
  }
  auth "oauth2" {
    token_url     = "`+tokens+`/token"
    client_id     = "rounds"
    refresh_token = "c4n4ry"
  }`)})
	code, stdout, stderr := rounds(t, c.env(), "check", "--state", filepath.Join(dir, "state"), dir)
	if code != 0 || !strings.Contains(stdout, "not tried: its adapter has to keep something for the next time") || strings.Contains(stdout+stderr, "c4n4ry") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
