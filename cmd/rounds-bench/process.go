// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that the bench started, with all processes under it.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	stdin  io.Closer
	done   chan struct{}
	err    error // after done
	ending sync.Once
	rests  func(context.Context) error // waits until it has done what is left to do after the last arrival

	sampling sync.Mutex
	family   []int // it and those under it, when somebody last looked
	seen     map[int]memory
}

// start starts a program in a process group of its own, so that what it leaves behind can be ended with it.
func start(dir string, env []string, name string, args ...string) (*process, error) {
	p, _, err := begin(dir, env, false, name, args...)
	if err == nil {
		go p.watch()
	}
	return p, err
}

// startServer starts a part of this program that serves, and gives its URL.
func startServer(args ...string) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	p, out, err := begin("", nil, true, self, args...)
	if err != nil {
		return nil, "", err
	}
	url, err := out.ReadString('\n')
	if err != nil {
		p.end()
		return nil, "", fmt.Errorf("%s did not start: %s", args[0], p.stderr.String())
	}
	return p, strings.TrimSpace(url), nil
}

func begin(dir string, env []string, talks bool, name string, args ...string) (*process, *bufio.Reader, error) {
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{}), seen: map[int]memory{}}
	p.rests = func(ctx context.Context) error { return sleep(ctx, 500*time.Millisecond) }
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = dir, append(os.Environ(), env...), &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out *bufio.Reader
	if talks {
		stdout, err := p.cmd.StdoutPipe()
		if err != nil {
			return nil, nil, err
		}
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			return nil, nil, err
		}
		out = bufio.NewReader(stdout)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, nil, err
	}
	go func() {
		defer close(p.done)
		if talks {
			state, err := p.cmd.Process.Wait() // cmd.Wait would close the pipe under its reader
			if p.err = err; err == nil && !state.Success() {
				p.err = errors.New(state.String())
			}
			return
		}
		p.err = p.cmd.Wait()
	}()
	return p, out, nil
}

// end stops the program kindly, and after a while with force, its children included. It may be called again.
func (p *process) end() { p.ending.Do(p.kill) }

func (p *process) kill() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// usage is what a program and all processes under it have used so far.
type usage struct {
	cpu    time.Duration
	memory []memory
}

// ticksPerSecond is USER_HZ, which Linux shows times in to programs: 100 on every platform that Go runs on.
const ticksPerSecond = 100

func (p *process) usage() (u usage, err error) {
	if err := p.look(); err != nil {
		return u, fmt.Errorf("reading /proc, which only Linux has: %w", err)
	}
	for _, pid := range p.alive() {
		ticks, err := cpuTicks(pid)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	p.sample()
	u.memory = p.peaks()
	return u, nil
}

// stat gives the fields of /proc/PID/stat after the name, which is in parentheses and may hold anything.
func stat(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])), nil
}

func descendants(root int) ([]int, error) {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(entries) == 0 {
		return nil, errors.Join(err, os.ErrNotExist)
	}
	parents := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(filepath.Base(e))
		if err != nil {
			continue
		}
		if fields, err := stat(pid); err == nil { // else it has just ended
			if parents[pid], err = strconv.Atoi(fields[1]); err != nil {
				return nil, err
			}
		}
	}
	family := []int{root}
	for i := 0; i < len(family); i++ {
		for pid, parent := range parents {
			if parent == family[i] {
				family = append(family, pid)
			}
		}
	}
	return family, nil
}

// cpuTicks is the time of a process and of those of its children that have ended.
func cpuTicks(pid int) (sum int, err error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// sleep waits, or ends early when ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
