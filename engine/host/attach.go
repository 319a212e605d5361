// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rounds-engine/rounds/sdk"
)

// attached is a connection to an adapter that a person has started. The engine neither starts nor ends its process, and knows
// of it by the connection alone.
type attached struct {
	net.Conn // TLS
	at       netip.AddrPort
	end      func()
	ended    chan struct{}
}

var _ life = (*attached)(nil)

// Close implements net.Conn: gRPC closes what has broken.
func (a *attached) Close() error {
	a.end()
	return a.Conn.Close()
}

func (a *attached) kill()                 { _ = a.Close() } // it fails when it is closed
func (a *attached) over() <-chan struct{} { return a.ended }
func (a *attached) status() string        { return "its connection ended" }
func (a *attached) memory() int64         { return 0 }
func (a *attached) report() []any         { return []any{"attached", a.at} }

// attach begins a life of an adapter that is attached. One that was there before is waited for: its author is building it anew.
func (p *process) attach() (*instance, error) {
	for waiting := false; ; waiting = true {
		i, err := p.attachOnce()
		p.mu.Lock()
		first := p.starts == 0
		p.mu.Unlock()
		if err == nil || first {
			return i, err
		}
		if !waiting {
			p.logger.Warn("the attached adapter has gone; it is waited for", "attached", p.at, "cause", err)
		}
		select {
		case <-p.ctx.Done():
			return nil, errClosed
		case <-time.After(p.host.t.again):
		}
	}
}

func (p *process) attachOnce() (*instance, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.host.t.start)
	defer cancel()
	conn, err := dialAttached(ctx, p.at)
	if err != nil {
		return nil, sdk.Retryable("adapter %s: %s", p.key.adapter.Name, unattached(p.at, err))
	}
	once := make(chan net.Conn, 1)
	once <- conn
	// The connection is made, and can't be made twice: when it ends, the sources that were open at its other end are gone.
	client, err := grpc.NewClient("passthrough:///localhost", append(dialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case conn := <-once:
				return conn, nil
			default:
				return nil, net.ErrClosed
			}
		}))...)
	if err != nil {
		conn.kill()
		return nil, sdk.Retryable("adapter %s can't be attached at %s (%T)", p.key.adapter.Name, p.at, err)
	}
	i := newInstance(p, conn, func() { _ = client.Close() })
	i.attached = true
	info, err := i.greet(ctx, client)
	if err != nil {
		_ = client.Close()
		conn.kill()
		return nil, sdk.Retryable("adapter %s at %s failed to tell about itself: %v", p.key.adapter.Name, p.at, err)
	}
	p.warnAttached(info.Version)
	go i.watch()
	go i.remind(p, info.Version)
	return i, nil
}

func dialAttached(ctx context.Context, at netip.AddrPort) (*attached, error) {
	identity, err := sdk.DebugTLS(at)
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{Config: identity}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	a := &attached{Conn: conn, at: at, ended: make(chan struct{})}
	a.end = sync.OnceFunc(func() { close(a.ended) })
	return a, nil
}

// unattached says why an adapter can't be attached and what to do.
func unattached(at netip.AddrPort, err error) string {
	var certificate *tls.CertificateVerificationError
	start := " Start it with " + sdk.DebugVariable + "=" + at.String() + " as the user that runs the engine."
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no adapter of this user has waited at " + at.String() + "." + start
	case errors.Is(err, fs.ErrPermission):
		return "the certificate of the adapter at " + at.String() + " can't be read." + start
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing waits at " + at.String() + "." + start
	case errors.As(err, &certificate):
		return "what answers at " + at.String() + " is not the adapter that this user started there last, and is told nothing." + start
	case errors.Is(err, context.DeadlineExceeded):
		return "what listens at " + at.String() + " does not answer. Under a debugger it has to be let run first."
	}
	return "what listens at " + at.String() + " does not speak as an adapter that is debugged." + start
}

func (p *process) warnAttached(version string) {
	p.logger.Warn("THIS ADAPTER IS ATTACHED TO BE DEBUGGED (--attach): it is not the program that the configuration names, was not verified, is not "+
		"ended when it hangs, and a debugger reads what it is given, secrets included; never with patients' data", "attached", p.at, "version", version)
}

// remind warns for as long as the adapter is attached.
func (i *instance) remind(p *process, version string) {
	for {
		select {
		case <-i.ended:
			return
		case <-time.After(i.t.remind):
			p.warnAttached(version)
		}
	}
}
