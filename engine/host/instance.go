// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/handshake"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// An instance is given up when so many calls in a row ended by their deadline and nothing answered between them: an adapter
// answers before the deadline, even if only to say that the server is slow (see sdk.Serve).
const silentCalls = 3

// silence is how long a call must have waited to count.
const silence = time.Second

// life is what an instance lives by: a program that was started, or a connection to one that a person started.
type life interface {
	kill()                 // may be called at any time
	over() <-chan struct{} // closed when it has ended
	status() string        // how it has ended
	report() []any         // attributes for the log when it has ended
	memory() int64         // bytes that it takes; 0: not known
}

// instance is one life of a process.
type instance struct {
	client   *sdk.Client
	schema   schema.Schema
	life     life
	attached bool   // a person started it: it may stand still for long, at a breakpoint
	pid      int    // 0: attached
	cleanUp  func() // ends it, if it runs, and removes what is kept of it: a socket's directory, goroutines
	begun    time.Time
	wrote    int64 // to stderr, by lives before
	t        timings
	ended    chan struct{} // closed when it has ended
	followed chan struct{} // closed when the process has taken note of it
	silent   atomic.Int32  // calls in a row without an answer

	mu     sync.Mutex
	reason error // why it was given up; nil: it was not
	done   context.CancelFunc
}

// launch starts a program and waits until it answers. The errors are for the person who wrote the configuration.
func launch(p *process) (*instance, error) {
	path, arguments, err := p.host.command(p.key.adapter)
	if err != nil {
		return nil, err
	}
	output := newPaced(p.raw)
	prog := &program{path: path, arguments: arguments, limit: p.host.memory(p.key.adapter), level: p.level, environment: p.environment, raw: output, bridge: p.bridge}
	mutual, certificate, err := handshake.Identity()
	if err != nil {
		return nil, sdk.Retryable("adapter %s: no certificate for the connection to it can be made", p.key.adapter.Name).Because(err)
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: sdk.CookieVariable, MagicCookieValue: sdk.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{sdk.ProtocolVersion: {"adapter": nil}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		// The runner is ours, for what go-plugin's own can't do: a thread that lives as long as the program, a group of
		// processes that ends as a whole, no stdin, and a stderr that nobody else parses.
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, sockets string) (runner.Runner, error) {
			prog.pluginEnv, prog.sockets = append(spec.Env, certificate), sockets
			return prog, nil
		},
		SkipHostEnv:     true,
		TLSConfig:       mutual,
		StartTimeout:    p.host.t.start,
		SyncStdout:      output, // what an adapter prints is no more fit for a log than its stderr
		SyncStderr:      output,
		GRPCDialOptions: append(dialOptions(), p.dial...),
		// Not Managed: go-plugin never forgets a managed client, one for each restart. Host.Close ends all.
		Logger: hclog.NewNullLogger(),
	})
	i := newInstance(p, prog, client.Kill)
	stopStart := context.AfterFunc(p.ctx, prog.kill)
	health, err := i.connect(p, prog, client, mutual)
	if stopStart() && err == nil {
		go i.watch()
		go i.ping(health)
		return i, nil
	}
	prog.kill()
	client.Kill()
	if prog.sockets != "" {
		_ = os.RemoveAll(prog.sockets) // go-plugin leaves it of a program that could not be started
	}
	if err == nil {
		err = errClosed
	}
	return nil, err
}

func newInstance(p *process, l life, cleanUp func()) *instance {
	return &instance{
		life: l, cleanUp: sync.OnceFunc(cleanUp), t: p.host.t, begun: time.Now(), wrote: p.stderr.Written(), ended: make(chan struct{}), followed: make(chan struct{}),
	}
}

// connect gets the program's first answers.
func (i *instance) connect(p *process, prog *program, client *plugin.Client, mutual *tls.Config) (grpc_health_v1.HealthClient, error) {
	a := p.key.adapter
	begun := time.Now()
	protocol, err := client.Client()
	if err != nil {
		return nil, prog.diagnose(a, err, time.Since(begun) >= i.t.start, i.t.start)
	}
	conn := protocol.(*plugin.GRPCClient).Conn
	ctx, cancel := context.WithTimeout(p.ctx, max(i.t.start-time.Since(begun), time.Second))
	defer cancel()
	info, err := i.greet(ctx, conn)
	if err != nil {
		if errors.Is(err, sdk.ErrNoAnswer) {
			if why := prog.whyMute(mutual); why != "" {
				return nil, sdk.Retryable("adapter %s: %s %s", a.Name, prog.path, why)
			}
		}
		return nil, sdk.Retryable("adapter %s started and then failed to tell about itself: %v", a.Name, err)
	}
	i.pid = prog.pid
	p.logger.Info("the adapter is running", "pid", i.pid, "version", info.Version)
	// The socket has done its service: an engine that is killed leaves nothing behind. What fails now, stop tries again.
	_ = os.RemoveAll(prog.sockets)
	return grpc_health_v1.NewHealthClient(conn), nil
}

// greet asks the adapter who it is.
func (i *instance) greet(ctx context.Context, conn grpc.ClientConnInterface) (info sdk.Info, err error) {
	life, done := context.WithCancel(context.Background())
	if i.client, err = sdk.NewClient(life, conn); err == nil {
		info, i.schema, err = i.client.Describe(ctx)
	}
	if err != nil {
		done()
		return info, err
	}
	i.done = done
	return info, nil
}

func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(sdk.MaxMessage), grpc.MaxCallSendMsgSize(sdk.MaxMessage)),
		grpc.WithUnaryInterceptor(inTrace),
	}
}

// inTrace tells the adapter the span that calls it, as OpenTelemetry does.
func inTrace(
	ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption,
) error {
	if parent := record.TraceOf(ctx); parent != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", parent)
	}
	return call(ctx, method, request, answer, conn, o...)
}

// watch waits for the end.
func (i *instance) watch() {
	<-i.life.over()
	i.done()
	close(i.ended)
}

// ping finds out that a process hangs which has no calls, or whose calls have long deadlines.
func (i *instance) ping(health grpc_health_v1.HealthClient) {
	for {
		select {
		case <-i.ended:
			return
		case <-time.After(i.t.ping):
		}
		ctx, cancel := context.WithTimeout(context.Background(), i.t.pingTimeout)
		_, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
		late := ctx.Err() != nil
		cancel()
		switch code := status.Code(err); {
		case err != nil && late:
			i.giveUp(sdk.Retryable("it hung: no answer to a ping for %s", i.t.pingTimeout))
		case code == codes.Unavailable || code == codes.Canceled: // it is ending, or else the connection alone has ended, which can't be made twice
			select {
			case <-i.ended:
			case <-time.After(time.Second):
				i.giveUp(sdk.Retryable("its connection broke"))
			}
		}
		// All else is an answer: an adapter need not have this service.
	}
}

// call makes a call and draws conclusions from its having an answer or none.
func (i *instance) call(do func() error) error {
	begun := time.Now()
	err := do()
	switch {
	case !errors.Is(err, sdk.ErrNoAnswer):
		i.silent.Store(0)
	case errors.Is(err, context.DeadlineExceeded) && time.Since(begun) >= silence && !i.attached:
		if i.silent.Add(1) == silentCalls {
			i.giveUp(sdk.Retryable("it hung: %d calls in a row had no answer before their deadline", silentCalls))
		}
	}
	return err
}

// bounded is the context of a call that nobody else gives a deadline: of one that is answered offline. Who debugs has all the time.
func (i *instance) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if i.attached {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, i.t.start)
}

// giveUp ends the instance; another one has to be begun.
func (i *instance) giveUp(reason error) {
	i.mu.Lock()
	if i.reason == nil {
		i.reason = reason
	}
	i.mu.Unlock()
	i.life.kill()
}

// cause says why the instance has ended.
func (i *instance) cause() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.reason != nil {
		return i.reason
	}
	return sdk.Retryable("it ended: %s", i.life.status())
}

// stop asks it to end, ends it when it does not, and returns when it has.
func (i *instance) stop(grace time.Duration) {
	late := time.AfterFunc(grace, i.life.kill)
	defer late.Stop()
	i.cleanUp()
	i.life.kill()
	<-i.ended
}

func (i *instance) hasEnded() bool {
	select {
	case <-i.ended:
		return true
	default:
		return false
	}
}
