// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk/sdktest"
)

// minimalAPI is the API that the adapter of examples/adapter-minimal speaks to, over TLS.
func minimalAPI(t *testing.T) *httptest.Server {
	type appointment struct {
		ID          string    `json:"id"`
		PatientID   string    `json:"patientID"`
		LastUpdated time.Time `json:"lastUpdated"`
		Start       string    `json:"start"`
	}
	var all []appointment
	for i := range 9 {
		all = append(all, appointment{fmt.Sprint("A-77", 10+i), fmt.Sprint("P-55", 10+i%2), time.Date(2026, 5, 10, 10+i/2, 0, 0, 0, time.UTC), "2026-06-01T08:00:00Z"})
	}
	all[8].LastUpdated = all[7].LastUpdated
	mux := http.NewServeMux()
	mux.HandleFunc("GET /appointments", func(w http.ResponseWriter, r *http.Request) {
		since, err := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
		if err != nil {
			t.Errorf("asked for %s", r.URL.RawQuery)
		}
		found := slices.DeleteFunc(slices.Clone(all), func(a appointment) bool { return a.LastUpdated.Before(since) })
		page, _ := strconv.Atoi(r.URL.Query().Get("page")) // none: the first
		from, to := min(page*4, len(found)), min(page*4+4, len(found))
		answer := map[string]any{"appointments": append([]appointment{}, found[from:to]...)}
		if to < len(found) {
			answer["next"] = strconv.Itoa(page + 1)
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("GET /patients/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id := r.PathValue("id"); id == "P-5510" || id == "P-5511" {
			fmt.Fprintf(w, `{"id": %q, "name": "Patient Surname"}`, id)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

// conform runs the kit and gives its report.
func conform(t *testing.T, env []string, args ...string) (code int, report sdktest.Report) {
	t.Helper()
	code, stdout, stderr := rounds(t, env, append([]string{"adapter", "test", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	return code, report
}

func TestTheMinimalAdapterKeepsToTheContract(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	dir := "../../examples/adapter-minimal"
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(work, "elsewhere", "adapter") // not where the configuration has it
	if out, err := exec.Command("go", "build", "-C", dir, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config := filepath.Join(work, "clinic.hcl")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	api := minimalAPI(t)
	overwrite(t, work, "clinic.hcl", replaced(t, string(text), "http://localhost:8080", api.URL))
	authority := filepath.Join(work, "authority.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	code, report := conform(t, []string{"SSL_CERT_FILE=" + authority}, program, "--config", config)
	if code != 0 || report.Adapter != "minimal" || len(report.Rules) != len(sdktest.Rules()) {
		t.Errorf("exit code %d, %d rules of adapter %s", code, len(report.Rules), report.Adapter)
	}
	for _, o := range report.Rules {
		want := sdktest.Passed
		if o.Rule == "queue" {
			want = sdktest.Inapplicable
		}
		if o.State != want {
			t.Errorf("%s: %s %s\n%s", o.Rule, o.State, o.Reason, strings.Join(o.Seen, "\n"))
		}
	}
	if !slices.Contains(report.Facts, sdktest.Fact{Name: "refs to fetch", Value: "2"}) {
		t.Errorf("the fetch block names two patients; facts: %v", report.Facts)
	}
}

func TestTheReportOfTheConformanceKitSaysWhatToDo(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"main.hcl": `
source "rest" "one" {
  base_url = "http://127.0.0.1:1/c4n4ry-path"
  auth "bearer" {
    token = "c4n4ry-token"
  }
  feed "a" {
    path  = "/a"
    query = { since = "{since}" }
    id    = "id"
    time  = "t"
    since {}
  }
}
source "rest" "two" {
  base_url = "http://127.0.0.1:1"
}
`})
	code, stdout, stderr := rounds(t, nil, "adapter", "test", "rest", "--config", dir, "--source", "one")
	if code != 1 || strings.Contains(stdout+stderr, "c4n4ry") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, line := range []string{
		"rest 0.", "ok           config ", "FAILED       open ", "the EHR could not be reached", "What to do: see the error",
		"not checked  ties ", "not checked: the source could not be opened or read", " 1 failed, ",
	} {
		if !strings.Contains(stdout, line) {
			t.Errorf("the report does not say %q:\n%s", line, stdout)
		}
	}
	if n := strings.Count(stdout, "the source could not be opened or read"); n > 3 {
		t.Errorf("one reason is said %d times", n)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"rest", "--config", dir}, "several sources"},
		{[]string{"rest", "--config", dir, "--source", "three"}, `no source "three"`},
		{[]string{"./nowhere", "--config", dir}, "there is no file"},
		{[]string{binary, "--config", dir}, "is not an adapter"},
		{[]string{"rest", "--config", dir, "--source", "one", "--start", "today"}, "--start"},
	} {
		if code, _, stderr := rounds(t, nil, append([]string{"adapter", "test"}, tt.args...)...); code == 0 || !strings.Contains(stderr, tt.says) {
			t.Errorf("%v: exit code %d, %s", tt.args, code, stderr)
		}
	}
}
