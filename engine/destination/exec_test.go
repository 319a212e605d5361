// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package destination_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/record"
)

// shell opens a destination that runs a script of the shell, which finds its directory in $1.
func shell(t *testing.T, dir, script string, more map[string]any) destination.Destination {
	t.Helper()
	config := map[string]any{"command": []string{"sh", "-c", script, "sh", dir}}
	for name, value := range more {
		config[name] = value
	}
	return open(t, "exec", config)
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExecHandsOverTheNotification(t *testing.T) {
	t.Setenv("EHR_TOKEN", "hush")
	t.Setenv("ROUNDS_STATE_KEY", "hush")
	t.Setenv("LANG", "C.UTF-8")
	dir, body := t.TempDir(), `{"name":"`+strings.Repeat("Müller ", 100_000)+`"}`
	d := shell(t, dir, `cat >"$1/body"; env >"$1/env"; pwd >"$1/pwd"; cat "/proc/$$/cmdline" >"$1/args" 2>&1; echo told`, map[string]any{
		"environment": map[string]string{"CLINIC": "north", "LANG": "C"}, "directory": dir,
	})
	n := delivery.Notification{ID: hl7ID, Pipeline: "appointments", Deliver: "fax", Body: []byte(body), Attempt: 3}
	if err := d.Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(dir, "body")); got != body {
		t.Errorf("its input has %d bytes of %d", len(got), len(body))
	}
	env := strings.Split(content(t, filepath.Join(dir, "env")), "\n")
	for _, want := range []string{
		"ROUNDS_NOTIFICATION_ID=" + hl7ID, "ROUNDS_PIPELINE=appointments", "ROUNDS_DELIVER=fax", "ROUNDS_ATTEMPT=3", "CLINIC=north", "LANG=C",
		"PATH=" + os.Getenv("PATH"),
	} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is not in its environment", want)
		}
	}
	for _, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		if !slices.Contains([]string{"", "PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "CLINIC", "PWD", "OLDPWD", "SHLVL", "_",
			"ROUNDS_NOTIFICATION_ID", "ROUNDS_PIPELINE", "ROUNDS_DELIVER", "ROUNDS_ATTEMPT"}, name) {
			t.Errorf("%s is in its environment", name)
		}
	}
	if got, _ := filepath.EvalSymlinks(strings.TrimSpace(content(t, filepath.Join(dir, "pwd")))); got != must(filepath.EvalSymlinks(dir)) {
		t.Errorf("its directory is %s", got)
	}
	if args := content(t, filepath.Join(dir, "args")); strings.Contains(args, "Müller") {
		t.Error("the notification is in its arguments")
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

func TestExecExitCodesHaveTheirVerdicts(t *testing.T) {
	for end, c := range map[string]struct {
		verdict    record.Verdict
		code, text string
	}{
		"exit 1":       {record.Retry, "exit_1", "the program ended with exit code 1"},
		"exit 64":      {record.Retry, "exit_64", "the program ended with exit code 64"},
		"exit 65":      {record.Reject, "exit_65", "the program ended with exit code 65"},
		"exit 75":      {record.Retry, "exit_75", "the program ended with exit code 75"},
		"exit 77":      {record.Pause, "exit_77", "the program ended with exit code 77"},
		"exit 78":      {record.Pause, "exit_78", "the program ended with exit code 78"},
		"no-such-tool": {record.Retry, "exit_127", "the program ended with exit code 127"},
		"kill -9 $$":   {record.Retry, "killed", "the program was ended by a signal"},
	} {
		d := shell(t, "", `echo MRN-12345 >&2; echo MRN-1; exec 2>&1; `+end, nil)
		e := sendError(t, d.Send(t.Context(), note(`{"id":"MRN-12345"}`)))
		if e.Verdict != c.verdict || e.Code != c.code || e.Text != c.text || e.Detail != "MRN-12345\n" {
			t.Errorf("%s: verdict %d, code %s, %q, detail %q", end, e.Verdict, e.Code, e.Text, e.Detail)
		}
	}
}

func TestExecKeepsTheEndOfWhatAProgramSays(t *testing.T) {
	d := shell(t, "", `i=0; while [ $i -lt 20000 ]; do echo "line $i of very many"; i=$((i+1)); done >&2; exit 1`, nil)
	e := sendError(t, d.Send(t.Context(), note(`{}`)))
	if len(e.Detail) != 2048 || !strings.HasSuffix(e.Detail, "line 19999 of very many\n") {
		t.Errorf("kept are %d bytes: %q", len(e.Detail), e.Detail)
	}
}

func TestExecTakesTheExitCodeAsTheProgramsWord(t *testing.T) {
	large := note(`"` + strings.Repeat("x", 1<<20) + `"`)
	if err := shell(t, "", `exec <&-; exit 0`, nil).Send(t.Context(), large); err != nil {
		t.Errorf("a program that does not read its input: %v", err)
	}
}

func TestExecThatCannotStartIsForAPerson(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("exit 0"), 0o600); err != nil {
		t.Fatal(err)
	}
	noProgram := filepath.Join(dir, "noprogram")
	if err := os.WriteFile(noProgram, []byte{1, 2, 3}, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config map[string]any
		text   string
	}{
		"missing":           {map[string]any{"command": []string{filepath.Join(dir, "none")}}, "no such file or directory"},
		"not in PATH":       {map[string]any{"command": []string{"rounds-no-such-program"}}, "it is not in PATH"},
		"not executable":    {map[string]any{"command": []string{plain}}, "permission denied"},
		"no program":        {map[string]any{"command": []string{noProgram}}, "exec format error"},
		"a directory":       {map[string]any{"command": []string{dir}}, "directory"},
		"without directory": {map[string]any{"command": []string{"true"}, "directory": filepath.Join(dir, "none")}, "no such file or directory"},
	} {
		d := open(t, "exec", c.config)
		e := sendError(t, d.Send(t.Context(), note(`{}`)))
		if err := d.(destination.Prober).Probe(t.Context()); (err == nil) != (name == "no program") || err != nil && err.Error() != e.Text {
			t.Errorf("%s: the probe says %v", name, err)
		}
		if e.Verdict != record.Pause || e.Code != "exec" || !strings.Contains(e.Text, c.text) || strings.Contains(e.Text, dir) {
			t.Errorf("%s: verdict %d, code %s, %q", name, e.Verdict, e.Code, e.Text)
		}
	}
	// What was missing may have been put there.
	late := filepath.Join(dir, "late")
	d := open(t, "exec", map[string]any{"command": []string{late}})
	_ = sendError(t, d.Send(t.Context(), note(`{}`)))
	if err := os.WriteFile(late, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.(destination.Prober).Probe(t.Context()), d.Send(t.Context(), note(`{}`))); err != nil {
		t.Error(err)
	}
}

// Nothing of an attempt is left when it has ended, by itself or by its time.
func TestExecEndsAllThatItStarted(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"by its time":   {`sleep 300 & echo $! >"$1/pid"; wait`, "deadline"},
		"by itself":     {`sleep 300 & echo $! >"$1/pid"`, ""},
		"with an error": {`sleep 300 >/dev/null 2>&1 <&- & echo $! >"$1/pid"; exit 65`, "exit code 65"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := shell(t, dir, c.script, nil).Send(ctx, note(`{}`))
			switch {
			case c.want == "deadline" && !errors.Is(err, context.DeadlineExceeded),
				c.want == "" && err != nil, strings.Contains(c.want, "exit") && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v", err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(content(t, filepath.Join(dir, "pid"))))
			if err != nil {
				t.Fatal(err)
			}
			// It was killed; that it is gone waits for whoever has inherited it.
			for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
				if state, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); strings.Contains(string(state), ") Z ") {
					return
				}
				if time.Now().After(end) {
					t.Fatal("what it started still runs")
				}
			}
		})
	}
}

func TestExecIsNotStartedForNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if err := shell(t, dir, `touch "$1/ran"`, nil).Send(ctx, note(`{}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("it ran")
	}
}
