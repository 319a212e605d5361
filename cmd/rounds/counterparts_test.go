// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// nodeModules is where .ci/counterparts installed the third-party programs.
func nodeModules(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ROUNDS_NODE_MODULES")
	if dir == "" {
		t.Fatal("ROUNDS_NODE_MODULES is not set; run .ci/counterparts")
	}
	return dir
}

// node runs a Node.js program until the test ends, and hands over the lines that it prints.
func node(t *testing.T, line func(string), args ...string) {
	t.Helper()
	c := exec.Command("node", args...)
	c.Env = append(os.Environ(), "NODE_PATH="+nodeModules(t))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			line(s.Text())
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-read
		_ = c.Wait()
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

const signingSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// verifier is a receiver whose two libraries were written by others. It answers 204 only when both accept the signature.
const verifier = `
const http = require('node:http');
const { Webhook } = require('standardwebhooks');
const svix = require('svix');
const checks = { standardwebhooks: new Webhook(process.argv[3]), svix: new svix.Webhook(process.argv[3]) };
http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts).toString();
    const refused = [];
    for (const [name, check] of Object.entries(checks)) {
      try { check.verify(body, request.headers); } catch (error) { refused.push(name + ': ' + error.message); }
    }
    response.writeHead(refused.length ? 500 : 204).end();
    console.log(JSON.stringify({ id: request.headers['webhook-id'], refused, body: JSON.parse(body) }));
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
`

const jsonServerHCL = `
source "rest" "json_server" {
  base_url = env("EHR_URL")
  feed "appointments" {
    path    = "/appointments"
    query   = { updatedAt_gte = "{since}", _sort = "updatedAt", _order = "asc", _page = "1", _limit = "7" }
    id      = "id"
    version = "updatedAt"
    time    = "updatedAt"
    since {
      format = "2006-01-02T15:04:05.000Z07:00"
    }
    page "link" {}
  }
  resource "patient" {
    path = "/patients/{id}"
  }
}

destination "webhook" "verifier" {
  url             = env("NOTIFY_URL")
  allow_private   = true
  signing_secrets = [secret("old"), secret("new")]
}

pipeline "appointments" {
  poll {
    feed  = source.rest.json_server.feed.appointments
    every = "1s"
    start = "beginning"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "scheduling" {
    to       = destination.webhook.verifier
    map      = "mapping.ts"
    order_by = change.data.patientID
  }
}
`

const jsonServerMapping = `
type Appointment = { id: number; patientID: number; reason: string };
export default function ({ change, fetched }: { change: { id: string; version: string; data: Appointment }; fetched: any }) {
  return { id: change.id, version: change.version, reason: change.data.reason, patient: fetched.patient.id, of: change.data.patientID };
}
`

// TestCounterpartJSONServerAndWebhookVerifiers polls a server that nobody here wrote and delivers to verifiers that nobody
// here wrote: each change arrives once, with the right patient, and with signatures that both verifiers accept.
func TestCounterpartJSONServerAndWebhookVerifiers(t *testing.T) {
	t.Parallel()
	type appointment struct {
		ID        int    `json:"id"`
		PatientID int    `json:"patientID"`
		Reason    string `json:"reason"`
		UpdatedAt string `json:"updatedAt"`
	}
	stamp := func(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
	var all []appointment
	var patients []map[string]any
	begin := time.Now().Add(-time.Hour)
	for i := range 40 {
		all = append(all, appointment{i + 1, 100 + i%9, "first", stamp(begin.Add(time.Duration(i/3) * time.Second))})
	}
	for i := range 9 {
		patients = append(patients, map[string]any{"id": 100 + i, "name": fmt.Sprint("Patient ", i)})
	}
	db, err := json.Marshal(map[string]any{"appointments": all, "patients": patients})
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string]string{
		"db.json": string(db), "verifier.cjs": verifier, "main.hcl": jsonServerHCL, "mapping.ts": jsonServerMapping,
		"old": "whsec_" + strings.Repeat("QUJD", 8), "new": signingSecret + "\n",
	})
	ehr, to := freePort(t), freePort(t)
	node(t, func(string) {}, filepath.Join(nodeModules(t), "json-server", "lib", "cli", "bin.js"),
		"--port", ehr, "--host", "127.0.0.1", "--quiet", filepath.Join(dir, "db.json"))

	type arrival struct {
		ID      string
		Refused []string
		Body    struct {
			ID, Version, Reason string
			Patient, Of         int
		}
	}
	var mu sync.Mutex
	var arrivals []arrival
	node(t, func(line string) {
		var a arrival
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Errorf("the verifier printed %q", line)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		arrivals = append(arrivals, a)
	}, filepath.Join(dir, "verifier.cjs"), to, signingSecret)
	arrived := func() []arrival {
		mu.Lock()
		defer mu.Unlock()
		return append([]arrival(nil), arrivals...)
	}
	url := "http://127.0.0.1:" + ehr
	eventually(t, 20*time.Second, "json-server and the verifier listen", func() bool {
		resp, err := http.Get(url + "/patients/100")
		if err != nil {
			return false
		}
		resp.Body.Close()
		conn, err := net.Dial("tcp", "127.0.0.1:"+to)
		if err != nil {
			return false
		}
		conn.Close()
		return resp.StatusCode == http.StatusOK
	})

	p := startRun(t, dir, []string{"EHR_URL=" + url, "NOTIFY_URL=http://127.0.0.1:" + to, "CREDENTIALS_DIRECTORY=" + dir})
	eventually(t, time.Minute, "the first forty arrived", func() bool { return len(arrived()) >= len(all) })

	for i := 0; i < 12; i++ {
		body, err := json.Marshal(map[string]any{"reason": fmt.Sprint("changed ", i), "updatedAt": stamp(time.Now())})
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequest(http.MethodPatch, fmt.Sprintf("%s/appointments/%d", url, 1+i%4), bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		before := len(arrived())
		eventually(t, 20*time.Second, "the change arrived", func() bool { return len(arrived()) > before })
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	got := arrived()
	if want := len(all) + 12; len(got) != want {
		t.Errorf("%d notifications arrived, want %d", len(got), want)
	}
	ids := map[string]bool{}
	for _, a := range got {
		if len(a.Refused) > 0 {
			t.Errorf("a signature was refused: %v", a.Refused)
		}
		if ids[a.ID] {
			t.Errorf("webhook-id %s came twice", a.ID)
		}
		ids[a.ID] = true
		if a.Body.Patient != a.Body.Of {
			t.Errorf("appointment %s came with patient %d instead of %d", a.Body.ID, a.Body.Patient, a.Body.Of)
		}
	}
	if last := got[len(got)-1].Body; last.Reason != "changed 11" {
		t.Errorf("the last to arrive tells %q", last.Reason)
	}
}
