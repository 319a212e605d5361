// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// runCouchDB checks the example; TestCounterpartCouchDB runs it against the server that its README starts.
func runCouchDB(t *testing.T, dir string) {
	env := []string{"COUCH_URL=http://127.0.0.1:5984"}
	if code, stdout, stderr := rounds(t, env, "validate", dir); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, env, "test", dir); code != 0 || !strings.Contains(stdout, "2 tests ran, all passed") {
		t.Fatalf("%s%s", stdout, stderr)
	}
	type packages struct{ Dependencies map[string]string }
	own := decode[packages](t, []byte(content(t, filepath.Join(dir, "package.json"))))
	tested := decode[packages](t, []byte(content(t, "../../.ci/counterparts.json")))
	for name, version := range own.Dependencies {
		if tested.Dependencies[name] != version {
			t.Errorf("the example's server uses %s %s, and tests run it with %q", name, version, tested.Dependencies[name])
		}
	}
}
