// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
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

// minimalAPI is the API that the adapter of examples/adapter-minimal speaks to.
func minimalAPI(t *testing.T) string {
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
	return serve(t, mux)
}

// conform runs the kit and gives its report.
func conform(t *testing.T, args ...string) (code int, report sdktest.Report) {
	t.Helper()
	code, stdout, stderr := rounds(t, nil, append([]string{"adapter", "test", "--json"}, args...)...)
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
	overwrite(t, work, "clinic.hcl", replaced(t, string(text), "http://localhost:8080", minimalAPI(t)))
	code, report := conform(t, program, "--config", config)
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
