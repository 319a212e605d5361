// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runOpenMRS runs the example against the stand-in that its README starts, while patients are saved: each event is told once, and of
// each patient the last address.
func runOpenMRS(t *testing.T, dir string) {
	work := t.TempDir()
	if err := os.CopyFS(filepath.Join(work, "config"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(work, "openmrs"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	const events = 42
	saved := &output{}
	server := exec.Command(filepath.Join(work, "openmrs"), "-listen", address, "-every", "60ms", "-events", "42")
	server.Stdout, server.Stderr = saved, os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	eventually(t, 20*time.Second, "the stand-in listens", func() bool {
		resp, err := http.Get("http://" + address)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})

	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("openmrs_password", "Rounds123\n")
	config := filepath.Join(work, "config")
	text, err := os.ReadFile(filepath.Join(config, "rounds.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	write("config/rounds.hcl", replaced(t, string(text), `"2s"`, `"1s"`))
	env := []string{"OPENMRS_URL=http://" + address + "/openmrs", "CREDENTIALS_DIRECTORY=" + work}
	if code, stdout, stderr := rounds(t, env, "validate", config); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, env, "test", config); code != 0 || !strings.Contains(stdout, "1 tests ran, all passed") {
		t.Fatalf("%s%s", stdout, stderr)
	}
	p := start(t, env, "run", config, "--state", filepath.Join(work, "state"))
	// lines gives the last address of each patient, and the number of lines that were printed.
	lines := func(o *output) (map[string]string, int) {
		last, n := map[string]string{}, 0
		for line := range strings.Lines(o.String()) {
			var v struct{ Saved, Patient, Address string }
			if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &v) == nil {
				last[v.Saved+v.Patient] = v.Address
				n++
			}
		}
		return last, n
	}
	p.eventually(40*time.Second, "all are told", func() bool { _, n := lines(p.stdout); return n >= events })
	p.stop()
	want, _ := lines(saved)
	if got, n := lines(p.stdout); n != events || len(got) != 5 {
		t.Errorf("%d notifications of %d events, of %d patients", n, events, len(got))
	} else {
		for patient, address := range want {
			if got[patient] != address {
				t.Errorf("told %q last of a patient who lives at %q", got[patient], address)
			}
		}
	}
}
