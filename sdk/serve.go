// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pb "github.com/rounds-engine/rounds/sdk/proto"
)

// ProtocolVersion is the version of the contract as proto/adapter.proto has it. What is added to the contract does not
// change it.
const ProtocolVersion = 1

// Serve makes the program an adapter; it is all that main has to call, and returns when the engine is done with it. C is the
// struct that holds a source's configuration, described by tags (see package schema); if it has a method Validate() error,
// that is asked too. open is called for each source and may call the EHR; when it fails, the engine opens the source again
// later. With DebugVariable in its environment, a program that a person started waits there for engines, and never returns.
func Serve[C any](info Info, open func(context.Context, C, Env) (Source, error)) {
	a, err := newAdapter(info, open)
	if os.Getenv(CookieVariable) != CookieValue {
		if address := os.Getenv(DebugVariable); address != "" && err == nil {
			fmt.Fprintf(os.Stderr, "%s=%s: %v\n", DebugVariable, address, serveDebug(a, address))
			os.Exit(1)
		}
		introduce(info, err)
		os.Exit(2)
	}
	logger := newLogger(os.Stderr, os.Getenv(LogLevelVariable))
	if err != nil {
		logger.Error("the adapter's configuration type can't be used", "reason", err.Error()) // names of Go fields only
		os.Exit(1)
	}
	go followParent()
	// When a whole group of processes is told to end, the engine still has calls to finish; it ends its adapters itself.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	p := &plugged{server: newServer(a, logger)}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: CookieVariable, MagicCookieValue: CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{ProtocolVersion: {"adapter": p}},
		GRPCServer:       p.newGRPCServer,
		Logger:           hclog.NewNullLogger(),
	})
}

// introduce is for someone who started the program by hand.
func introduce(info Info, unusable error) {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	fmt.Fprintf(os.Stderr, `%s is an adapter of Rounds: the engine starts it when a source needs it.
To use it, name it in a configuration, and open sources with it:

  adapter %q {
    path = %q
  }

  source %q "NAME" {
    ...
  }

With %s=127.0.0.1:4711 in its environment it waits there for an engine, to be run under a debugger.
`, info.Name, info.Name, path, info.Name, DebugVariable)
	if unusable != nil {
		fmt.Fprintf(os.Stderr, "\nThe type of its configuration can't be used: %v\n", unusable)
	}
}

// followParent ends the process when the engine has ended without ending it, by SIGKILL for example. Where the system offers
// more (a signal at the parent's death), the engine asks for it as well.
func followParent() {
	parent := os.Getppid()
	for os.Getppid() == parent {
		time.Sleep(500 * time.Millisecond)
	}
	os.Exit(1)
}

// plugged is go-plugin's view of a server.
type plugged struct {
	plugin.NetRPCUnsupportedPlugin
	server *server
}

func (p *plugged) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pb.RegisterAdapterServer(s, p.server)
	return nil
}

func (p *plugged) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("an adapter's process has no client")
}

func (p *plugged) newGRPCServer(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options, grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.UnaryInterceptor(p.server.intercept))...)
}
