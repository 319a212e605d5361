// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/orthanc/orthanctest"
)

// imaging is a notification of examples/orthanc, in words.
func imaging(t *testing.T, line string) string {
	t.Helper()
	var n struct {
		Meta    struct{ EventType string }
		Patient struct {
			Identifiers  []struct{ ID string }
			Demographics struct{ LastName, FirstName string }
		}
		Study struct {
			Description string
			Modalities  []string
			Instances   int
		}
	}
	if err := json.Unmarshal([]byte(line), &n); err != nil || len(n.Patient.Identifiers) != 1 {
		t.Fatalf("%v: %s", err, line)
	}
	return fmt.Sprintf("%s of %s %s %s: %s %s %d", n.Meta.EventType, n.Patient.Identifiers[0].ID, n.Patient.Demographics.FirstName, n.Patient.Demographics.LastName,
		n.Study.Description, n.Study.Modalities, n.Study.Instances)
}

// TestCounterpartOrthanc walks through the README of examples/orthanc with the Orthanc of Debian, and then has studies come, grow, be replaced and
// deleted while the adapter is killed, and Orthanc restarted before it has told that a study is whole, and at last made anew.
func TestCounterpartOrthanc(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/orthanc")); err != nil {
		t.Fatal(err)
	}
	var settings map[string]any
	if err := json.Unmarshal([]byte(content(t, filepath.Join(dir, "orthanc.json"))), &settings); err != nil {
		t.Fatal(err)
	}
	s := orthanctest.New(t, settings)
	readme := strings.NewReplacer("http://127.0.0.1:8042", s.URL, "examples/orthanc", dir).Replace(content(t, filepath.Join(dir, "README.md")))
	curls := regexp.MustCompile(`(?m)^    (curl .*)$`).FindAllStringSubmatch(readme, -1)
	if len(curls) != 2 {
		t.Fatalf("the README has %d calls of Orthanc", len(curls))
	}
	curl := func(n int) {
		t.Helper()
		if out, err := exec.Command("sh", "-c", strings.Replace(curls[n][1], "curl ", "curl -sS --fail ", 1)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	// What is asked for is deleted just before it is answered, if its path is this one.
	var doomed atomic.Value
	doomed.Store("")
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) } // while it is down
	between := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if doomed.CompareAndSwap(r.URL.Path, "") {
			s.Delete(r.URL.Path)
		}
		proxy.ServeHTTP(w, r)
	}))
	env := []string{"ORTHANC_URL=" + between, "ORTHANC_PASSWORD=" + orthanctest.Password}
	state := filepath.Join(t.TempDir(), "state")
	p := start(t, env, "run", dir, "--state", state)

	var want []string
	told := func() (told []string) {
		for line := range strings.Lines(p.stdout.String()) {
			told = append(told, imaging(t, line))
		}
		return told
	}
	arrive := func(what string, notifications ...string) {
		t.Helper()
		want = append(want, notifications...)
		p.eventually(40*time.Second, what, func() bool { return len(told()) >= len(want) })
	}
	available := func(patient, description string, instances int) string {
		return fmt.Sprintf("StudyAvailable of %s %s Doe: %s [MR] %d", patient, patient, description, instances)
	}
	changed := func(patient, description string, instances int) string {
		return strings.Replace(available(patient, description, instances), "Available", "Changed", 1)
	}

	curl(0)
	arrive("the example's study", "StudyAvailable of MRN-000204 Ann Lee: MRI of the left knee [MR] 1")
	curl(1)
	arrive("its second instance", "StudyChanged of MRN-000204 Ann Lee: MRI of the left knee [MR] 2")

	s.Store("P1", "1", 1, "Hip")
	s.Store("P1", "1", 2, "Hip")
	second := s.Store("P2", "1", 1, "Wrist")
	s.Store("P3", "1", 1, "Spine")
	arrive("three studies", available("P1", "Hip", 2), available("P2", "Wrist", 1), available("P3", "Spine", 1))

	s.Store("P1", "1", 3, "Hip")
	s.Store("P3", "1", 1, "Spine with contrast") // in the place of the first
	s.Delete("/studies/" + second.ParentStudy)
	arrive("what changed", changed("P1", "Hip", 3), changed("P3", "Spine with contrast", 1))

	s.Store("P2", "2", 1, "Ankle")
	arrive("a study of a patient whose other study was deleted", available("P2", "Ankle", 1))
	doomed.Store("/studies/" + s.Store("P2", "3", 1, "Knee").ParentStudy)
	p.eventually(20*time.Second, "asked for", func() bool { return doomed.Load() == "" })
	var dead []json.RawMessage
	code, stdout, stderr := rounds(t, env, "dead", "list", "--json", "--state", state)
	if err := json.Unmarshal([]byte(stdout), &dead); err != nil || code != 0 || len(dead) > 0 {
		t.Errorf("what was deleted before it was fetched: exit code %d, %v, %s%s", code, err, stdout, stderr)
	}

	adapters := children(t, p.cmd.Process.Pid)
	if len(adapters) != 1 {
		t.Fatalf("%d adapters", len(adapters))
	}
	s.Store("P4", "1", 1, "Foot")
	if err := syscall.Kill(adapters[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Store("P5", "1", 1, "Hand")
	arrive("what came while the adapter was killed", available("P4", "Foot", 1), available("P5", "Hand", 1))

	s.Store("P6", "1", 1, "Head")
	s.Stop() // so that it never lists that this study is stable, which the adapter's own test makes sure of
	s.Start()
	s.Store("P7", "1", 1, "Neck")
	arrive("what a restart kept from becoming stable", available("P6", "Head", 1), available("P7", "Neck", 1))

	s.Renew()
	s.Store("P8", "1", 1, "Elbow")
	p.logged("there is a gap in the feed", "the numbers have begun anew")
	if code, stdout, stderr := rounds(t, env, "state", "set", "studies", "--start", "beginning", "--state", state); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	s.Store("P1", "1", 1, "Hip") // a study of before, with numbers of before
	arrive("what a database has that was made anew", available("P8", "Elbow", 1), changed("P1", "Hip", 1))
	s.Store("P9", "1", 1, "Shoulder")
	s.Store("P9", "2", 1, "Shoulder")
	arrive("two studies of a second", available("P9", "Shoulder", 1), available("P9", "Shoulder", 1))
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if code, stdout, stderr := rounds(t, env, "adapter", "test", "orthanc", "--config", dir); code != 0 {
		t.Errorf("the conformance kit:\n%s%s", stdout, stderr)
	}
	got := told()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, secret := range []string{second.ParentStudy, orthanctest.Password, "P6", "Elbow"} {
		if strings.Contains(strings.ReplaceAll(p.log.String(), dir, ""), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}
