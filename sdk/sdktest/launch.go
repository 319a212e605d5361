// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/handshake"
)

// Process is a running adapter.
type Process struct {
	Client *sdk.Client
	PID    int    // 0: unknown, and then nothing is measured
	End    func() // ends the program and returns when it has ended
}

// Start says how a program is started.
type Start struct {
	Tap         grpc.UnaryClientInterceptor // stands in the way of all calls
	Output      io.Writer                   // gets what the program writes to stderr and stdout, log lines of every level included
	Environment []string                    // further variables, "NAME=value"
}

// Launch starts an adapter's program.
type Launch func(context.Context, Start) (*Process, error)

// startTimeout is how long a program may take to say hello.
const startTimeout = 30 * time.Second

// Program launches a program as the engine does.
func Program(path string, arguments ...string) Launch {
	return func(ctx context.Context, start Start) (*Process, error) {
		p := &program{path: path, arguments: arguments, environment: start.Environment, output: start.Output, exited: make(chan struct{})}
		mutual, certificate, err := handshake.Identity()
		if err != nil {
			return nil, fmt.Errorf("no certificate for the connection to an adapter can be made: %w", err)
		}
		client := plugin.NewClient(&plugin.ClientConfig{
			HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: sdk.CookieVariable, MagicCookieValue: sdk.CookieValue},
			VersionedPlugins: map[int]plugin.PluginSet{sdk.ProtocolVersion: {"adapter": nil}},
			AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
			RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, _ string) (runner.Runner, error) {
				p.pluginEnv = append(spec.Env, certificate)
				return p, nil
			},
			SkipHostEnv:  true,
			TLSConfig:    mutual,
			StartTimeout: startTimeout,
			SyncStdout:   start.Output,
			SyncStderr:   start.Output,
			GRPCDialOptions: []grpc.DialOption{
				grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(sdk.MaxMessage), grpc.MaxCallSendMsgSize(sdk.MaxMessage)),
				grpc.WithChainUnaryInterceptor(start.Tap),
			},
			Logger: hclog.NewNullLogger(),
		})
		life, done := context.WithCancel(context.WithoutCancel(ctx))
		end := func() {
			done()
			client.Kill()
			_ = p.Kill(ctx) // has no error
			if p.started {
				<-p.exited
			}
		}
		protocol, err := client.Client()
		if err != nil {
			end()
			// go-plugin's own error quotes what the program wrote, which is on the output.
			if problem := p.greeting.Problem(); problem != "" {
				return nil, fmt.Errorf("%s %s", path, problem)
			}
			return nil, fmt.Errorf("%s did not become an adapter (%s): it has to call sdk.Serve, or in a test's TestMain sdktest.Main", path, p.state())
		}
		c, err := sdk.NewClient(life, protocol.(*plugin.GRPCClient).Conn)
		if err == nil {
			greeting, cancel := context.WithTimeout(ctx, startTimeout)
			_, _, err = c.Describe(greeting)
			cancel()
		}
		if errors.Is(err, sdk.ErrNoAnswer) {
			if problem := p.greeting.Unreachable(mutual); problem != "" {
				end()
				return nil, fmt.Errorf("%s %s", path, problem)
			}
		}
		if err != nil {
			end()
			return nil, fmt.Errorf("%s started and then failed: %w", path, err)
		}
		return &Process{Client: c, PID: p.cmd.Process.Pid, End: end}, nil
	}
}

// passed are the variables of the environment that an adapter gets, as from the engine but for proxies: all calls go to the kit on this
// machine.
var passed = []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOCOVERDIR",
	"SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "PATHEXT"}

// program is a started executable; go-plugin's runner.Runner, as its own parses stderr, and panics at some of it.
type program struct {
	path        string
	arguments   []string
	environment []string // beside what is passed
	pluginEnv   []string
	output      io.Writer

	cmd      *exec.Cmd
	stdout   io.ReadCloser
	started  bool
	greeting handshake.Greeting
	exited   chan struct{} // closed when it has ended

	mu  sync.Mutex
	how string
}

// Start implements runner.Runner.
func (p *program) Start(context.Context) error {
	p.cmd = exec.Command(p.path, p.arguments...)
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); slices.Contains(passed, strings.ToUpper(name)) {
			p.cmd.Env = append(p.cmd.Env, variable)
		}
	}
	p.cmd.Env = append(p.cmd.Env, sdk.LogLevelVariable+"=DEBUG")
	p.cmd.Env = append(append(p.cmd.Env, p.environment...), p.pluginEnv...)
	p.cmd.Stderr = p.output
	p.cmd.WaitDelay = time.Second
	stdout, w, err := os.Pipe()
	if err != nil {
		return err
	}
	p.stdout, p.cmd.Stdout = stdout, w
	err = p.cmd.Start()
	_ = w.Close() // the child has its own
	if err != nil {
		p.said("it can't be started")
		return errors.Join(err, stdout.Close())
	}
	p.started = true
	go func() {
		_ = p.cmd.Wait() // how it ended is told by its state
		p.said(p.cmd.ProcessState.String())
		close(p.exited)
	}()
	return nil
}

func (p *program) said(how string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.how = how
}

func (p *program) state() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.how
}

// Kill implements runner.Runner.
func (p *program) Kill(context.Context) error {
	if p.started {
		_ = p.cmd.Process.Kill() // fails when it has ended
	}
	return nil
}

// Wait implements runner.Runner.
func (p *program) Wait(context.Context) error { <-p.exited; return nil }

// Stdout implements runner.Runner.
func (p *program) Stdout() io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{p.greeting.In(p.stdout), p.stdout}
}

// Stderr implements runner.Runner: go-plugin gets none.
func (p *program) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (p *program) Name() string { return p.path }

// ID implements runner.Runner.
func (p *program) ID() string {
	if !p.started {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

// Diagnose implements runner.Runner.
func (p *program) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner.
func (p *program) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (p *program) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
