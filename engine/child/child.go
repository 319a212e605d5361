// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package child starts programs that serve the engine: in a group of their own that ends as a whole, that the system ends with the
// engine where it can, and before the engine when memory runs out. What they write to stderr is kept, and never logged as it is.
package child

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Command is a program to start.
type Command struct {
	Path        string
	Arguments   []string
	Environment []string // all of it: nothing of the engine's own is passed on
	Stdin       bool     // it reads from a pipe; else there is nothing to read
}

// Process is a program that was started.
type Process struct {
	PID    int
	Stdin  *os.File // nil without Command.Stdin
	Stdout *os.File // this and Stderr end soon after the program
	Stderr *os.File
	status *os.File // tells of its memory; nil: nothing does
	exited chan struct{}
	state  string
}

// Start starts a program. The error is the system's; Reason says it for a person.
func Start(c Command) (*Process, error) {
	p := &Process{exited: make(chan struct{})}
	cmd := exec.Command(c.Path, c.Arguments...)
	cmd.Env = c.Environment
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	isolate(cmd)
	var theirs []*os.File // ends of pipes
	closeAll := func(files ...*os.File) {
		for _, f := range files {
			if f != nil {
				_ = f.Close() // a pipe's end
			}
		}
	}
	fail := func(err error) (*Process, error) {
		closeAll(append(theirs, p.Stdin, p.Stdout, p.Stderr)...)
		return nil, err
	}
	if c.Stdin {
		r, w, err := os.Pipe()
		if err != nil {
			return fail(err)
		}
		cmd.Stdin, p.Stdin, theirs = r, w, append(theirs, r)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	cmd.Stdout, p.Stdout, theirs = w, r, append(theirs, w)
	if r, w, err = os.Pipe(); err != nil {
		return fail(err)
	}
	cmd.Stderr, p.Stderr, theirs = w, r, append(theirs, w)
	started := make(chan error)
	go func() {
		// Linux sends the signal that ends a child with its parent when the thread dies that started it: so this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		closeAll(theirs...) // the child has its own; the other end sees the end of file with it
		if err != nil {
			started <- err
			return
		}
		p.PID = cmd.Process.Pid
		sacrifice(p.PID)
		p.watch()
		started <- nil
		reap(cmd)
		p.state = cmd.ProcessState.String()
		// Something that left the group could hold the pipes for ever.
		time.AfterFunc(time.Second, func() { closeAll(p.Stdin, p.Stdout, p.Stderr, p.status) })
		close(p.exited)
	}()
	if err := <-started; err != nil {
		theirs = nil
		return fail(err)
	}
	return p, nil
}

// Exited is closed when the program has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State says how the program has ended, which it has.
func (p *Process) State() string {
	<-p.exited
	return p.state
}

// Kill ends the program and what it started, if it runs.
func (p *Process) Kill() {
	select {
	case <-p.exited:
	default:
		killGroup(p.PID)
	}
}

// Reason says why a program could not be started, or its file not be read, without the names of files.
func Reason(err error) string {
	var number syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "the file, or the interpreter or loader that it names, does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "it is not executable for this user"
	case errors.Is(err, syscall.ENOEXEC):
		return "it is not a program for this system"
	case errors.As(err, &number):
		return number.Error()
	}
	return "the system refused"
}
