// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

const signingKey = "whsec_c2lnbmluZy1rZXktb2YtdGhlLXRlc3RzLW9m"

// TestTheFirstPipelineOfTheReadmeWorks writes README's two files as a reader would, validates them, and runs them against an
// EHR that is like the one they are written for.
func TestTheFirstPipelineOfTheReadmeWorks(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		t.Helper()
		found := regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```\n").FindAllStringSubmatch(string(readme), -1)
		if len(found) != 1 {
			t.Fatalf("README has %d blocks of %s, want one", len(found), language)
		}
		return found[0][1]
	}
	hcl := block("hcl")
	c := newClinic(t, sampleehr.Options{Token: "token-of-the-clinic"}, receiver.Options{Secret: signingKey})
	dir := write(t, map[string]string{"main.hcl": hcl, "appointment.js": block("js"),
		"secrets/clinic_token": "token-of-the-clinic\n", "secrets/notify": signingKey + "\n"})
	env := []string{"NOTIFY_URL=https://receiver.example", "CREDENTIALS_DIRECTORY=" + dir + "/secrets"}
	if code, _, stderr := rounds(t, env, "validate", dir); code != 0 {
		t.Fatalf("README's pipeline is not valid:\n%s", stderr)
	}
	overwrite(t, dir, "main.hcl", replaced(t, hcl, "https://ehr.example.com/api", c.ehrURL, `"1m"`, `"1s"`,
		`env("NOTIFY_URL")`, "env(\"NOTIFY_URL\")\n  allow_private = true"))
	env[0] = "NOTIFY_URL=" + c.receiverURL // which is on this machine
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	id := c.IDs()[0]
	if err := c.Move(id, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "arrived", func() bool { return c.Accepted() == 1 })
	p.stop()
	a, err := c.Appointment(id)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Received(0)[0]
	if r.Signature != "valid" || r.Visit != id || r.Patient != a.PatientID || r.Event != "Modification" {
		t.Errorf("a notification with %s signature: %s", r.Signature, r.Body)
	}
}

// examples run each directory of examples/ as its README says.
var examples = map[string]func(t *testing.T, dir string){
	"athenahealth":    runAthenahealth,
	"cookbook":        runCookbook,
	"couchdb":         runCouchDB,
	"orthanc":         runOrthanc,
	"hl7v2-siu":       runHL7,
	"deploy":          runDeployed,
	"quickstart":      runQuickstart,
	"adapter-minimal": runAdapterMinimal,
	"adapter-node":    checkProtocolCopy,
	"adapter-python":  checkProtocolCopy,
	"message-bus":     runMessageBus,
	"openmrs":         runOpenMRS,
	"observability":   runObservability,
}

func TestEachExampleRuns(t *testing.T) {
	entries, err := os.ReadDir("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			run := examples[e.Name()]
			if run == nil {
				t.Fatal("nobody runs this example")
			}
			run(t, filepath.Join("../../examples", e.Name()))
		})
	}
}

// runObservability scrapes a running engine for what the rules ask. That all of the dashboard is exported is engine/metrics' to test.
func runObservability(t *testing.T, dir string) {
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	p := startRun(t, write(t, map[string]string{"main.hcl": pipelineHCL + "\nweb { listen = \"127.0.0.1:0\" }\n", "mapping.js": tellAll}), c.env())
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	c.Receiver.SetFaults(receiver.Faults{Status: 503, Failing: 1}) // nothing is fetched and mapped before a change, and nothing waits
	if err := c.Step(); err != nil {
		t.Fatal(err)
	}
	url := p.webAt(1) + "/metrics"
	for _, name := range regexp.MustCompile(`rounds_[a-z_]+`).FindAllString(content(t, filepath.Join(dir, "rules.yml")), -1) {
		if name == "rounds_pipeline_worker_ends_total" {
			continue // only of a pipeline that is isolated
		}
		p.eventually(20*time.Second, name, func() bool {
			resp, err := http.Get(url)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), "\n"+name)
		})
	}
	p.stop()
}

func runQuickstart(t *testing.T, dir string) {
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	if code, stdout, stderr := rounds(t, c.env(), "validate", dir); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, c.env(), "test", dir); code != 0 || !strings.Contains(stdout, "4 tests ran, all passed") {
		t.Fatalf("%s%s", stdout, stderr)
	}
	p := start(t, c.env(), "run", dir, "--state", filepath.Join(t.TempDir(), "state"))
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	id := c.IDs()[0]
	event := func(n int, want string) {
		t.Helper()
		p.eventually(20*time.Second, want, func() bool { return c.Accepted() == n })
		a, err := c.Appointment(id)
		if err != nil {
			t.Fatal(err)
		}
		if r := c.Received(0)[n-1]; r.Event != want || r.Visit != a.VisitNumber || r.Patient != a.PatientID {
			t.Errorf("want %s of %s, got %s", want, a.VisitNumber, r.Body)
		}
	}
	if err := c.Move(id, time.Hour); err != nil {
		t.Fatal(err)
	}
	event(1, "Reschedule")
	if err := c.Cancel(id, "Patient"); err != nil {
		t.Fatal(err)
	}
	event(2, "Cancel")
	p.stop()
}

// checkProtocolCopy is for the adapters in other languages, which TestCounterpartAdaptersInOtherLanguagesRun runs.
func checkProtocolCopy(t *testing.T, dir string) {
	if content(t, filepath.Join(dir, "adapter.proto")) != content(t, "../../sdk/proto/adapter.proto") {
		t.Errorf("copy sdk/proto/adapter.proto to %s", dir)
	}
	var example, counterparts struct{ Dependencies map[string]string }
	for path, into := range map[string]any{"../../examples/adapter-node/package.json": &example, "../../.ci/counterparts.json": &counterparts} {
		if err := json.Unmarshal([]byte(content(t, path)), into); err != nil {
			t.Fatal(err)
		}
	}
	for name, version := range example.Dependencies {
		if got := counterparts.Dependencies[name]; got != version {
			t.Errorf("the example takes %s %s, and is tested with %q", name, version, got)
		}
	}
}

// runAdapterMinimal builds the adapter, which is a module of its own, beside a copy of its configuration.
func runAdapterMinimal(t *testing.T, dir string) {
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-C", dir, "-o", filepath.Join(work, "adapter-minimal"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	asked := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /appointments", func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Query().Get("since"):
		default: // only the first is looked at
		}
		fmt.Fprint(w, `{"appointments": [{"id": "A1", "patientID": "P/1", "lastUpdated": "2026-05-10T10:00:00Z", "start": "2026-06-01T08:00:00Z"}]}`)
	})
	mux.HandleFunc("GET /patients/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"name": "Patient %s"}`, r.PathValue("id"))
	})
	config := filepath.Join(work, "clinic.hcl")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, work, "clinic.hcl", replaced(t, string(text), "http://localhost:8080", serve(t, mux), `"1m"`, `"1s"`))
	if code, stdout, stderr := rounds(t, nil, "validate", config); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	p := start(t, nil, "run", config, "--state", filepath.Join(work, "state"))
	p.eventually(20*time.Second, "printed", func() bool { return strings.HasSuffix(p.stdout.String(), "}\n") })
	p.stop()
	if out := p.stdout.String(); out != `{"appointment":"A1","start":"2026-06-01T08:00:00Z","patient":"Patient P/1"}`+"\n" {
		t.Errorf("printed: %s", out)
	}
	first := <-asked
	if since, err := time.Parse(time.RFC3339, first); err != nil || since.After(time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("from the beginning is asked for as %q", first)
	}
	c := exec.Command(filepath.Join(work, "adapter-minimal")) // started by hand
	if out, _ := c.CombinedOutput(); !strings.Contains(string(out), "minimal is an adapter of Rounds") {
		t.Errorf("started by hand, the adapter says: %s", out)
	}
}
