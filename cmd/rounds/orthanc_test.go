// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"strings"
	"testing"
)

// runOrthanc checks the example; TestCounterpartOrthanc runs it against the server that its README starts.
func runOrthanc(t *testing.T, dir string) {
	env := []string{"ORTHANC_URL=http://127.0.0.1:8042", "ORTHANC_PASSWORD=example"}
	if code, stdout, stderr := rounds(t, env, "validate", dir); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, env, "test", dir); code != 0 || !strings.Contains(stdout, "2 tests ran, all passed") {
		t.Fatalf("%s%s", stdout, stderr)
	}
}
