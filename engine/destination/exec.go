// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

type execConfig struct {
	_           struct{}          `doc:"Runs a local program for each notification."`
	Command     []string          `hcl:"command" doc:"The program and its arguments, without a shell. A name without a slash is looked for in PATH; a relative path starts at the directory in which rounds was started. Arguments are visible to every user of the machine: no secrets."`
	Environment map[string]string `hcl:"environment,optional,sensitive" doc:"Variables of the program's environment, beside the few that it gets anyway."`
	Directory   string            `hcl:"directory,optional" doc:"Its working directory. Without it: that in which rounds was started."`
}

// inherited are the variables of the engine's environment that a program gets. All others stay: they may be secrets.
var (
	inherited        = []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL"}
	inheritedWindows = []string{"SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "PATHEXT"}
)

// The exit codes that mean more than a failure which may pass, from BSD's sysexits.h.
const (
	exitDataErr = 65
	exitNoPerm  = 77
	exitConfig  = 78
)

// stderrTime is how long the end of a program's standard error is waited for after its own.
const stderrTime = time.Second

func (c *execConfig) check() error {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return blame("command", "must name a program, as [\"/usr/local/bin/notify\", \"--clinic\"]")
	}
	if slices.ContainsFunc(c.Command, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return blame("command", "holds a NUL character")
	}
	for name, value := range c.Environment {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			return blame("environment", "has a name that is not a variable's name")
		case strings.HasPrefix(strings.ToUpper(name), "ROUNDS_"):
			return blame("environment", "can't set variables that begin with ROUNDS_")
		case strings.ContainsRune(value, 0):
			return blame("environment", "has a value with a NUL character")
		}
	}
	return nil
}

func (c *execConfig) open() Destination {
	p := &program{command: c.Command, directory: c.Directory}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if slices.Contains(inherited, name) || runtime.GOOS == "windows" && slices.Contains(inheritedWindows, strings.ToUpper(name)) {
			p.environment = append(p.environment, variable)
		}
	}
	for name, value := range c.Environment { // the last of a name counts
		p.environment = append(p.environment, name+"="+value)
	}
	return p
}

// program is run once for each attempt. The notification's body comes by its standard input, as arguments and environment can be
// seen by others.
type program struct {
	command     []string
	directory   string
	environment []string
}

// Send runs the program to its end. Nothing that it started is left when Send returns: the next attempt must not meet it.
func (p *program) Send(ctx context.Context, n delivery.Notification) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	path, err := p.path()
	if err != nil {
		return err
	}
	stderr, in, err := os.Pipe()
	if err != nil {
		return startError("it can't be started", err)
	}
	cmd := &exec.Cmd{
		Path: path, Args: p.command, Dir: p.directory, Stderr: in, SysProcAttr: ownGroup(),
		Env: append(slices.Clip(p.environment), "ROUNDS_NOTIFICATION_ID="+n.ID, "ROUNDS_PIPELINE="+n.Pipeline, "ROUNDS_DELIVER="+n.Deliver,
			"ROUNDS_ATTEMPT="+strconv.Itoa(n.Attempt)),
	}
	// Linux takes the end of the thread that started a program for that of the engine: so this one stays until the program's end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	_ = in.Close() // the program has its own
	if err != nil {
		_ = stderr.Close()
		return startError("it can't be started", err)
	}
	go func() {
		// A program may end, and accept, without reading all of it; reap closes this end.
		_, _ = stdin.Write(n.Body)
		_ = stdin.Close()
	}()
	said := keepEnd(stderr)

	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		killGroup(cmd.Process.Pid)
	})
	inTime := true
	reap(cmd, func() {
		if inTime = stop(); !inTime {
			<-killed
		}
	})
	detail := said()
	switch code := cmd.ProcessState.ExitCode(); {
	case code == 0:
		return nil
	case !inTime:
		return canceled(ctx)
	default:
		return exitError(code, detail)
	}
}

func (p *program) Close() error { return nil }

// Probe looks whether the program is there.
func (p *program) Probe(context.Context) error {
	_, err := p.path()
	return err
}

// path finds the program anew for each attempt: it may have been put there meanwhile.
func (p *program) path() (string, error) {
	if p.directory != "" {
		if _, err := os.Stat(p.directory); err != nil {
			return "", startError("its directory can't be used", err)
		}
	}
	path, err := exec.LookPath(p.command[0])
	if err == nil {
		path, err = filepath.Abs(path) // else it would start at the program's own working directory
	}
	if err != nil {
		return "", startError("it can't be started", err)
	}
	return path, nil
}

// exitError gives an exit code its meaning; detail is what the program said.
func exitError(code int, detail string) *record.SendError {
	e := &record.SendError{Code: "exit_" + strconv.Itoa(code), Text: fmt.Sprintf("the program ended with exit code %d", code), Detail: detail}
	switch code {
	case -1: // by a signal
		e.Code, e.Text = "killed", "the program was ended by a signal"
	case exitDataErr:
		e.Verdict = record.Reject
	case exitNoPerm, exitConfig:
		e.Verdict = record.Pause
	}
	return e
}

// startError says why a program did not start. Where a person has to put it right the destination is paused.
func startError(what string, err error) *record.SendError {
	reason := fmt.Sprintf("%T", err)
	lasting := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
	switch no := syscall.Errno(0); {
	case errors.As(err, &no):
		reason = no.Error()
		lasting = lasting || no == syscall.ENOTDIR || no == syscall.EISDIR || no == syscall.ENOEXEC || no == syscall.E2BIG
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, exec.ErrDot):
		reason, lasting = "it is not in PATH", true
	case errors.Is(err, fs.ErrPermission):
		reason = "it is not executable"
	}
	e := &record.SendError{Code: "exec", Text: "the program did not run, " + what + ": " + reason}
	if lasting {
		e.Verdict = record.Pause
	}
	return e
}

// keepEnd reads r in the background. The function that it returns gives the last of it, and closes it; a process that escaped from
// its group may still hold the other end.
func keepEnd(r io.ReadCloser) func() string {
	var mu sync.Mutex
	var kept []byte
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4<<10)
		for {
			n, err := r.Read(buf)
			mu.Lock()
			kept = append(kept, buf[:n]...)
			kept = kept[max(0, len(kept)-maxDetail):]
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return func() string {
		select {
		case <-ended:
		case <-time.After(stderrTime):
		}
		mu.Lock()
		defer mu.Unlock()
		go func() { _ = r.Close() }() // where a read can't be interrupted this waits for it
		return string(bytes.ToValidUTF8(kept, []byte("\uFFFD")))
	}
}
