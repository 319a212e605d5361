// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inModule runs a command in a directory, without a network: what an adapter is built of is there when Rounds itself is.
func inModule(t *testing.T, dir string, command ...string) string {
	t.Helper()
	c := exec.Command(command[0], command[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOPROXY=off", "GOWORK=off", "GOFLAGS="+os.Getenv("GOFLAGS")+" -mod=readonly")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

func TestANewAdapterBuildsPassesAndValidates(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a new one", "adapter-acme-2")
	code, stdout, stderr := rounds(t, nil, "adapter", "new", "acme-2", "--dir", dir, "--module", "acme.example/rounds/adapter", "--sdk", "../..")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 || !strings.Contains(stdout, "go.mod") || !strings.Contains(stdout, "checkout of Rounds in "+root) {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for name, want := range map[string]string{
		"go.mod": "module acme.example/rounds/adapter\n", "README.md": root, "clinic.hcl": `source "acme-2" "clinic"`, "main.go": "package main",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), "minimal") || strings.Contains(string(text), "SPDX") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	inModule(t, dir, "go", "build", "./...")
	inModule(t, dir, "go", "build", "-o", "adapter-acme-2", ".")
	inModule(t, dir, "go", "vet", "./...")
	if out := inModule(t, dir, "gofmt", "-l", "."); out != "" {
		t.Errorf("not formatted: %s", out)
	}
	if out := inModule(t, dir, "go", "test", "-v", "-count=1", "./..."); !strings.Contains(out, "--- PASS: TestConformance/ties") {
		t.Errorf("the conformance test was not run:\n%s", out)
	}
	if code, stdout, stderr := rounds(t, nil, "validate", filepath.Join(dir, "clinic.hcl")); code != 0 {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, nil, "adapter", "describe", filepath.Join(dir, "adapter-acme-2")); code != 0 || !strings.HasPrefix(stdout, "acme-2 0.1.0\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestANewAdapterOverwritesNothing(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"notes.txt": "mine"})
	code, _, stderr := rounds(t, nil, "adapter", "new", "acme", "--dir", dir, "--sdk", "../..")
	if left, err := os.ReadDir(dir); code != 1 || !strings.Contains(stderr, "nothing was written") || err != nil || len(left) != 1 {
		t.Errorf("exit code %d, %v %v\n%s", code, left, err, stderr)
	}
	empty := t.TempDir()
	for _, x := range []struct {
		code int
		want string
		args []string
	}{
		{2, `an adapter "rest" is bundled with rounds`, []string{"rest"}},
		{2, "can't be an adapter's name", []string{"Acme"}},
		{2, "can't be an adapter's name", []string{"../acme"}},
		{2, "can't be an adapter's name", []string{"a" + strings.Repeat("b", 40)}},
		{2, "can't be the path of a module", []string{"acme", "--module", "a b"}},
		{1, "is not a checkout of Rounds", []string{"acme", "--sdk", empty}},
	} {
		args := append([]string{"adapter", "new", "--dir", filepath.Join(empty, "new")}, x.args...)
		if code, _, stderr := rounds(t, nil, args...); code != x.code || !strings.Contains(stderr, x.want) {
			t.Errorf("%s: exit code %d\n%s", x.args, code, stderr)
		}
	}
	c := exec.Command(binary, "adapter", "new", "acme")
	c.Dir = empty
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "name a checkout by --sdk") {
		t.Errorf("outside of a checkout: %v\n%s", err, out)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
