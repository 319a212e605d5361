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

const (
	ragged    = "table \"x\" {\nvalues = { A = \"a\"\n  BB=\"b\" }\n  default=\"none\"\n}\n"
	formatted = "table \"x\" {\n  values = { A = \"a\"\n  BB = \"b\" }\n  default = \"none\"\n}\n"
)

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFmtBringsFilesIntoTheUsualLayout(t *testing.T) {
	t.Parallel()
	broken := "token = \"" + canaryToken + "\n"
	dir := write(t, map[string]string{"a.hcl": ragged, "b.hcl": formatted, "c.txt": ragged, "below/d.hcl": ragged, "broken/e.hcl": broken, "broken/f.hcl": ragged})
	file := func(name string) string { return filepath.Join(dir, name) }
	chmod(t, file("a.hcl"), 0o640)
	chmod(t, file("b.hcl"), 0o400)

	code, stdout, stderr := rounds(t, nil, "fmt", "--check", dir)
	if code != 1 || stdout != file("a.hcl")+"\n" || stderr != "" || content(t, file("a.hcl")) != ragged {
		t.Errorf("check: exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = rounds(t, nil, "fmt", dir)
	if code != 0 || stdout != file("a.hcl")+"\n" || stderr != "" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	info, err := os.Stat(file("a.hcl"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for name, want := range map[string]string{"a.hcl": formatted, "b.hcl": formatted, "c.txt": ragged, "below/d.hcl": ragged} {
		if got := content(t, file(name)); got != want {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	if code, stdout, _ := rounds(t, nil, "fmt", "--check", dir, file("b.hcl")); code != 0 || stdout != "" {
		t.Errorf("check of what was formatted: exit code %d\n%s", code, stdout)
	}

	code, stdout, stderr = rounds(t, nil, "fmt", file("below/d.hcl"), file("broken"))
	if code != 1 || stdout != file("below/d.hcl")+"\n"+file("broken/f.hcl")+"\n" || !strings.Contains(stderr, "e.hcl line 1") {
		t.Errorf("a file that does not parse: exit code %d\n%s%s", code, stdout, stderr)
	}
	if content(t, file("broken/e.hcl")) != broken {
		t.Error("a file that does not parse was changed")
	}
	noCanary(t, "fmt", stdout+stderr)
	for _, args := range [][]string{{"fmt", file("nowhere")}, {"fmt", file("c.txt")}} {
		if code, _, stderr := rounds(t, nil, args...); code != 1 || !strings.Contains(stderr, "No configuration") {
			t.Errorf("%q: exit code %d\n%s", args, code, stderr)
		}
	}
}

func TestFmtOfStandardInput(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		flags, in, out string
		code           int
	}{
		{"-", ragged, formatted, 0},
		{"- --check", ragged, "standard input\n", 1},
		{"- --check", formatted, "", 0},
		{"-", "a = ", "", 1},
	} {
		c := exec.Command(binary, append([]string{"fmt"}, strings.Fields(x.flags)...)...)
		c.Stdin = strings.NewReader(x.in)
		out, _ := c.Output() // the exit code tells
		if string(out) != x.out || c.ProcessState.ExitCode() != x.code {
			t.Errorf("fmt %s of %q: exit code %d\n%s", x.flags, x.in, c.ProcessState.ExitCode(), out)
		}
	}
}
