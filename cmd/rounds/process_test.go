// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/listen"
	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk"
)

// serveAdapter is what these tests are when an engine of theirs starts them.
var serveAdapter = serveLedger

// binary is the built command: these tests run what users run, in processes of their own.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv(sdk.CookieVariable) == sdk.CookieValue || os.Getenv(sdk.DebugVariable) != "" { // these tests, or an engine of them, started it
		serveAdapter()
		return
	}
	os.Exit(func() int {
		flag.Parse()
		given := false
		flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
		if !given {
			// These tests mostly wait for processes; so many at a time also on a machine of two cores.
			if err := flag.Set("test.parallel", "8"); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		dir, err := os.MkdirTemp("", "rounds-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "rounds")
		if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the command: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// withoutRace skips a test under the race detector, with which the processes take several times the memory and the processor: what such a
// test measures, or lets dozens of processes do, says nothing then. .ci/run has a step without it.
func withoutRace(t *testing.T) {
	t.Helper()
	info, _ := debug.ReadBuildInfo()
	if info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("it is run without the race detector")
	}
}

// rounds runs the command to its end.
func rounds(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return reading(t, "", env, args...)
}

// reading is rounds with a standard input.
func reading(t *testing.T, stdin string, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	c.Env, c.Stdin = append(os.Environ(), env...), strings.NewReader(stdin)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// process is a `rounds` under way.
type process struct {
	t           *testing.T
	cmd         *exec.Cmd
	stdout, log *output
	temp        string        // its directory for temporary files
	ended       chan struct{} // closed when it has ended
}

// output gathers what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) holds(text string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Contains(o.buf.Bytes(), []byte(text))
}

// startRun starts `rounds run` on a configuration with the state in dir/state; the test's end stops it.
func startRun(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return start(t, env, append([]string{"run", "--state", filepath.Join(dir, "state"), "--log-level", "debug", dir}, args...)...)
}

func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return launch(t, exec.Command(binary, args...), env, (*exec.Cmd).Start)
}

// launch starts a command, whose outputs are kept where they go nowhere else.
func launch(t *testing.T, cmd *exec.Cmd, env []string, start func(*exec.Cmd) error) *process {
	t.Helper()
	// Not t.TempDir, whose path holds the test's name: sockets have short paths.
	temp, err := os.MkdirTemp("", "rt")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, stdout: &output{}, log: &output{}, temp: temp, ended: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), "TMPDIR="+temp), env...)
	if cmd.Stdout == nil {
		cmd.Stdout = p.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.log
	}
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState tells
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		os.RemoveAll(temp)
		for _, never := range []string{"DATA RACE", "internal error", "goroutine "} {
			if strings.Contains(p.log.String(), never) {
				t.Errorf("rounds logged %q", never)
			}
		}
		if t.Failed() {
			storesOwn := regexp.MustCompile(`(?m)^.*msg=badger .*\n`)
			t.Logf("what rounds wrote:\n%s", tail(storesOwn.ReplaceAllString(p.log.String(), ""), 60))
		}
	})
	return p
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// kill ends the process by SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// wait waits for the process's end and gives its exit code; a process that has ended by itself must have left nothing behind.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		p.t.Fatalf("the process did not end within %v", limit)
	}
	nothingIsLeft(p.t, p.temp)
	return p.cmd.ProcessState.ExitCode()
}

// stop ends the process by SIGTERM and gives its exit code.
func (p *process) stop() int {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	return p.wait(30 * time.Second)
}

// logged waits until all of the texts are in the log.
func (p *process) logged(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.eventually(30*time.Second, fmt.Sprintf("logged: %q", text), func() bool { return strings.Contains(p.log.String(), text) })
	}
}

// eventually waits until a condition holds, which the process brings about.
func (p *process) eventually(limit time.Duration, what string, holds func() bool) {
	p.t.Helper()
	eventually(p.t, limit, what, func() bool {
		select {
		case <-p.ended:
			if !holds() {
				p.t.Fatalf("rounds has ended (%v), and it is not %s", p.cmd.ProcessState, what)
			}
			return true
		default:
			return holds()
		}
	})
}

// nothingIsLeft checks that a directory for temporary files is empty, and that no process lives that was given it.
func nothingIsLeft(t *testing.T, temp string) {
	t.Helper()
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
	if left := processesWith(t, temp); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// processesWith lists the processes, by their folders in /proc, that were given a directory for temporary files; none where
// there is no /proc.
func processesWith(t *testing.T, temp string) (found []string) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range environs {
		env, _ := os.ReadFile(file) // fails for what has ended meanwhile, for other users' processes, and for engines unless root looks
		if bytes.Contains(env, []byte("TMPDIR="+temp+"\x00")) {
			found = append(found, filepath.Dir(file))
		}
	}
	return found
}

// write makes a directory with files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// replaced is text with other parts; each part that is replaced must be in it.
func replaced(t *testing.T, text string, oldnew ...string) string {
	t.Helper()
	for pair := range slices.Chunk(oldnew, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("the text has no %q", pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// eventually waits until a condition holds.
func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not yet %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// clinic is a sample EHR and a receiver, both over HTTP.
type clinic struct {
	*sampleehr.EHR
	*receiver.Receiver
	ehrURL, receiverURL string
}

func newClinic(t *testing.T, e sampleehr.Options, r receiver.Options) *clinic {
	t.Helper()
	ehr, err := sampleehr.New(e)
	if err != nil {
		t.Fatal(err)
	}
	to, err := receiver.New(r)
	if err != nil {
		t.Fatal(err)
	}
	return &clinic{ehr, to, serve(t, ehr), serve(t, to)}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s, err := listen.Serve("127.0.0.1:0", h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.URL
}

func (c *clinic) env() []string {
	return []string{"EHR_URL=" + c.ehrURL, "NOTIFY_URL=" + c.receiverURL}
}

// polls counts the times that the list of appointments was asked for.
func (c *clinic) polls() int { return c.Calls()["appointments"] }

// pollsMore waits until n whole polls have been made from now on: one that is under way may not have seen what is there now.
func (p *process) pollsMore(c *clinic, n int) {
	p.t.Helper()
	was := c.polls()
	p.eventually(30*time.Second, "polled again", func() bool { return c.polls() > was+n })
}

// overwrite replaces a file of a directory in one step.
func overwrite(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
