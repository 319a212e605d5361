// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/rounds-engine/rounds/engine/child"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/handshake"
)

// program is a started executable; go-plugin's runner.Runner.
type program struct {
	path        string
	arguments   []string
	limit       int64                  // bytes of memory that it may take; 0: nobody looks
	level       string                 // of what the adapter is to log
	environment []string               // beside what is passed
	pluginEnv   []string               // the variables that go-plugin sets
	sockets     string                 // go-plugin's directory for them
	raw         io.Writer              // gets stderr
	bridge      func(line []byte) bool // logs a line that is meant for the log; else false

	pid       int
	stdout    *os.File
	greeting  handshake.Greeting
	unbridged atomic.Int64    // lines of stderr
	taken     atomic.Int64    // bytes of memory, at the last look
	exited    <-chan struct{} // closed when it has ended; nil until it was started
	drained   chan struct{}   // closed when its stderr is read, soon after that; nil until it was started

	mu       sync.Mutex
	child    *child.Process // nil until it was started
	startErr error
	killed   bool
	heavy    int64 // bytes that it had taken when it was ended for that; 0: it was not
}

var _ runner.Runner = (*program)(nil)

// Start implements runner.Runner.
func (p *program) Start(context.Context) error {
	if runtime.GOOS != "windows" && len(p.sockets)+socketName > maxSocketPath {
		return p.failed(errLongPath)
	}
	env := append(environment(os.Environ()), sdk.LogLevelVariable+"="+p.level)
	if p.limit > 0 { // Go's collector works harder before there is too much garbage
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%d", p.limit/10*9))
	}
	started, err := child.Start(child.Command{
		Path: p.path, Arguments: p.arguments, Environment: append(append(env, p.environment...), p.pluginEnv...),
	})
	if err != nil {
		return p.failed(err)
	}
	p.pid, p.stdout, p.drained = started.PID, started.Stdout, make(chan struct{})
	go p.readStderr(started.Stderr)
	p.mu.Lock()
	p.child, p.exited = started, started.Exited()
	killed := p.killed
	p.mu.Unlock()
	if killed {
		started.Kill()
	}
	if p.limit > 0 {
		go p.weigh(started)
	}
	return nil
}

func (p *program) failed(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.startErr = err
	return err
}

// kill ends the program and what it started. It may be called at any time.
func (p *program) kill() {
	p.mu.Lock()
	p.killed = true
	started := p.child
	p.mu.Unlock()
	if started != nil {
		started.Kill()
	}
}

// weigh ends a program that takes more memory than it may. The next look comes before the room that is left could be filled.
func (p *program) weigh(started *child.Process) {
	for {
		used, known := started.Memory()
		if !known {
			return // it has ended, or the system tells nothing
		}
		p.taken.Store(used)
		if used > p.limit {
			p.mu.Lock()
			p.heavy = used
			p.mu.Unlock()
			p.kill()
			return
		}
		room := time.Duration(float64(p.limit-used) / fastestFill * float64(time.Second))
		select {
		case <-started.Exited():
			return
		case <-time.After(min(max(room, 20*time.Millisecond), time.Second)):
		}
	}
}

// fastestFill is how many bytes of memory a program takes a second at most, as far as one can tell.
const fastestFill = 4 << 30

// memory implements life.
func (p *program) memory() int64 { return p.taken.Load() }

// over implements life. The program was started.
func (p *program) over() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// report implements life.
func (p *program) report() []any { return []any{"pid", p.pid, "stderr_lines", p.lines()} }

// status says how the program has ended.
func (p *program) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heavy > 0 {
		return fmt.Sprintf("it took %d MiB of memory and may take %d (memory_limit)", p.heavy>>20, p.limit>>20)
	}
	return p.child.State()
}

// ending says how the program ended, and how its author can see what it wrote to stderr, which may hold anything.
func (p *program) ending() string {
	n := p.lines()
	ending := fmt.Sprintf("%s, %d lines on stderr", p.status(), n)
	if n > 0 {
		ending += fmt.Sprintf("; it shows them when it is started by hand with %s=%s in its environment", sdk.CookieVariable, sdk.CookieValue)
	}
	return ending
}

// lines counts what the program, which has ended, wrote to stderr and was not for the log.
func (p *program) lines() int64 {
	<-p.drained
	return p.unbridged.Load()
}

func (p *program) readStderr(r io.Reader) {
	defer close(p.drained)
	lines := bufio.NewReaderSize(r, maxLine)
	for continued := false; ; {
		line, long, err := lines.ReadLine()
		if err != nil {
			return // the program's end, or nothing more to be had
		}
		_, _ = p.raw.Write(line)
		if !long {
			_, _ = p.raw.Write([]byte{'\n'})
		}
		if continued || long || !p.bridge(line) {
			if !continued {
				p.unbridged.Add(1)
			}
		}
		continued = long
	}
}

// The rest of runner.Runner.

// Kill implements runner.Runner.
func (p *program) Kill(context.Context) error { p.kill(); return nil }

// Wait implements runner.Runner.
func (p *program) Wait(context.Context) error { <-p.exited; return nil }

// Stdout implements runner.Runner.
func (p *program) Stdout() io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{p.greeting.In(p.stdout), p.stdout}
}

// Stderr implements runner.Runner: go-plugin gets none. Its parser logs lines as they are, and panics at some.
func (p *program) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (p *program) Name() string { return p.path }

// ID implements runner.Runner.
func (p *program) ID() string {
	if p.pid == 0 {
		return "" // it was never started
	}
	return strconv.Itoa(p.pid)
}

// Diagnose implements runner.Runner; diagnose does it.
func (p *program) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner.
func (p *program) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (p *program) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// The path of a socket is bounded: by 104 bytes with the zero at its end on macOS, a few more elsewhere. go-plugin names it
// "/plugin" and up to ten digits.
const (
	maxSocketPath = 103
	socketName    = 17
)

var errLongPath = errors.New("the path of the directory for temporary files (TMPDIR) is too long for a socket in it")

// diagnose says why a program did not become an adapter. go-plugin's own errors quote the program's output; cause counts only
// where there was no program.
func (p *program) diagnose(a Adapter, cause error, late bool, limit time.Duration) error {
	say := func(format string, args ...any) error {
		return sdk.Retryable("adapter %s: %s %s", a.Name, p.path, fmt.Sprintf(format, args...))
	}
	p.mu.Lock()
	startErr := p.startErr
	p.mu.Unlock()
	parts, _ := p.greeting.Parts()
	switch problem := p.greeting.Problem(); {
	case startErr != nil:
		return say("can't be started: %s", startReason(startErr))
	case problem != "":
		return say("%s", problem)
	case parts != nil:
		return say("said hello, and then no connection came about")
	case late:
		return say("did not start in time: no handshake within %s", limit)
	}
	p.mu.Lock()
	started := p.exited != nil
	p.mu.Unlock()
	if !started {
		return say("can't be started: no directory for its socket can be made in %s (TMPDIR): %s", os.TempDir(), startReason(cause))
	}
	p.kill()
	<-p.exited
	return say("is not an adapter, or failed at its start: it ended without a handshake (%s)", p.ending())
}

// whyMute says why a program that said hello does not answer, "" if nothing is found.
func (p *program) whyMute(c *tls.Config) string {
	select {
	case <-p.exited:
		return "said hello and ended (" + p.ending() + ")"
	case <-time.After(200 * time.Millisecond): // its connection ends a moment before it does
	}
	return p.greeting.Unreachable(c)
}

func startReason(err error) string {
	if errors.Is(err, errLongPath) {
		return err.Error()
	}
	return child.Reason(err)
}
