// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// recorded is a record of the sample EHR in a file.
type recorded struct {
	Change struct {
		ID   string
		Data struct{ ID, PatientID, Status string }
	}
	Fetched struct {
		Patient struct {
			ID   string
			Name struct{ Last string }
		}
	}
}

func TestRecordedRecordsTellOfNobodyAndCanBeMapped(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": pipelineHCL, "mapping.js": tellAll})
	to := filepath.Join(dir, "tests", "appointments", "scheduling")
	code, stdout, stderr := rounds(t, c.env(), "record", "appointments", "--n", "5", "--to", to, "--since", "1000000h", dir)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "5 records are in "+to) || !strings.Contains(stdout, "a person must look at each file") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	files, err := os.ReadDir(to)
	if err != nil || len(files) != 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		path := filepath.Join(to, f.Name())
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
		text := content(t, path)
		r := decode[recorded](t, []byte(text))
		if r.Change.ID == "" || r.Change.Data.ID != r.Change.ID || r.Change.Data.PatientID != r.Fetched.Patient.ID || r.Fetched.Patient.Name.Last == "" ||
			r.Change.Data.Status == "" {
			t.Errorf("%s does not hold together:\n%s", f.Name(), text)
		}
		for _, id := range c.IDs() {
			a, err := c.Appointment(id)
			if err != nil {
				t.Fatal(err)
			}
			p := c.Patient(a.PatientID)
			for _, secret := range []string{p.Email, p.Name.First + `"`, p.Name.Last + `"`, a.Start.Format("2006-01-02T15:04")} {
				if strings.Contains(text, `"`+secret) {
					t.Errorf("%s tells %q:\n%s", f.Name(), secret, text)
				}
			}
		}
	}
	if code, stdout, stderr := rounds(t, c.env(), "test", "--update", dir); code != 0 || !strings.Contains(stdout, "5 tests ran, all passed") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if n := c.Accepted(); n != 0 || exists(filepath.Join(dir, ".rounds")) || exists(".rounds") {
		t.Errorf("%d notifications, or a state", n)
	}

	polls := c.polls()
	code, stdout, stderr = rounds(t, c.env(), "record", "appointments", "--n", "5", "--to", to, dir)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "001.record.json is there already") || c.polls() != polls {
		t.Errorf("again: exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestRecordSaysWhyThereIsNothing(t *testing.T) {
	t.Parallel()
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Authorization") {
		case "Bearer empty":
			_, _ = w.Write([]byte("[]"))
		case "Bearer lost":
			if strings.HasPrefix(r.URL.Path, "/patient") {
				http.Error(w, canaryAnswer, http.StatusNotFound)
				return
			}
			_, _ = w.Write([]byte("[" + canaryItem + "]"))
		default:
			http.Error(w, canaryAnswer, http.StatusInternalServerError)
		}
	})
	ehr := serve(t, answer)
	for token, want := range map[string]string{
		"empty":  "the source listed no records that changed in the last 1000000h0m0s",
		"lost":   "patient",
		"broken": "500",
	} {
		hcl := replaced(t, pipelineHCL, `base_url = env("EHR_URL")`, `base_url = env("EHR_URL")
  auth "bearer" {
    token = "`+token+`"
  }`)
		dir := write(t, map[string]string{"main.hcl": hcl, "mapping.js": tellAll})
		args := []string{"record", "appointments", "--since", "1000000h", "--to", filepath.Join(dir, "to"), dir}
		code, stdout, stderr := rounds(t, []string{"EHR_URL=" + ehr, "NOTIFY_URL=" + ehr}, args...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, want) || exists(filepath.Join(dir, "to")) {
			t.Errorf("%s: exit code %d\n%s%s", token, code, stdout, stderr)
		}
		noCanary(t, token, stdout+stderr)
	}
}
