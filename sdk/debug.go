// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk/internal/identity"
	pb "github.com/rounds-engine/rounds/sdk/proto"
)

// DebugVariable holds a loopback address. With it, an adapter's program that a person starts, under a debugger for example, waits
// there for engines of the same user.
const DebugVariable = "ROUNDS_ADAPTER_DEBUG"

// Loopback reads the address of a program on this machine, "127.0.0.1:4711" or "[::1]:4711". A name is refused: what it
// stands for is decided elsewhere.
func Loopback(address string) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return at, fmt.Errorf("%q is not an IP address with a port, such as 127.0.0.1:4711", address)
	}
	ip := at.Addr().Unmap().WithZone("")
	if !ip.IsLoopback() {
		return at, fmt.Errorf("%s is not an address of this machine alone: an adapter is debugged at a loopback address, such as 127.0.0.1:4711", ip)
	}
	return netip.AddrPortFrom(ip, at.Port()), nil
}

// DebugTLS gives what both ends of the connection to an adapter at a loopback address identify themselves with, and wait for in
// the other: a certificate that the adapter makes at its start, in a file that only its user can read. So an engine gives the
// secrets of a configuration to nobody else who listens there, and an adapter serves nobody else. It fails with fs.ErrNotExist when
// no adapter of this user waits there.
func DebugTLS(at netip.AddrPort) (*tls.Config, error) {
	path, err := debugFile(at)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the adapter's certificate: %w", err)
	}
	return debugTLS(text)
}

// debugFile is where the certificate of an adapter at an address is kept, with its key.
func debugFile(at netip.AddrPort) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's directory for the adapter's certificate: %w", err)
	}
	return filepath.Join(dir, "rounds", "debug", strings.NewReplacer(":", "_", ".", "_").Replace(at.String())+".pem"), nil
}

func debugTLS(text []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, errors.New("the adapter's certificate: its file holds no certificate and key")
	}
	only := x509.NewCertPool()
	only.AddCert(pair.Leaf)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{pair},
		ServerName: identity.ServerName, RootCAs: only, ClientCAs: only, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// serveDebug waits for engines, until the program is ended. Each gets a server of its own, so that one which goes and comes again
// finds no sources that another has opened.
func serveDebug(a adapter, address string) error {
	at, err := Loopback(address)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", at.String())
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()                       // the program ends
	if at, err = Loopback(listener.Addr().String()); err != nil { // where port 0 was asked for, it has another one
		return err
	}
	identity, err := keepDebugCertificate(at)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, `WARNING: %[1]s is being debugged. It serves any engine of this user at %[2]s, and its memory, with the secrets of the
configurations that it is given, can be read by a debugger. Never leave it running like this with real credentials.

Attach it, instead of the program that the configuration names:

  rounds run --attach %[1]s=%[2]s

Where the configuration has another name for it, write that in place of %[1]s.
`, a.info.Name, at)
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: loggedError}))
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go serveEngine(a, logger, tls.Server(conn, identity))
	}
}

// keepDebugCertificate makes a certificate and puts it where engines of this user look for it.
func keepDebugCertificate(at netip.AddrPort) (*tls.Config, error) {
	path, err := debugFile(at)
	if err != nil {
		return nil, err
	}
	own, err := identity.New()
	if err != nil {
		return nil, err
	}
	key, err := identity.Key(own)
	if err != nil {
		return nil, err
	}
	text := append(identity.PEM(own), key...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "*") // which no one else can read
	if err != nil {
		return nil, err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return debugTLS(text)
}

// greeting is how long an engine may take to identify itself.
const greeting = 10 * time.Second

// serveEngine serves one engine until its connection ends, and then closes what it had opened.
func serveEngine(a adapter, logger *slog.Logger, conn *tls.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), greeting)
	err := conn.HandshakeContext(ctx)
	cancel()
	if err != nil {
		_ = conn.Close() // it was no connection
		logger.Warn("what connected is not an engine of this user, and was refused")
		return
	}
	logger.Info("an engine is attached")
	p := &plugged{server: newServer(a, logger)}
	p.server.debugged = true
	g := p.newGRPCServer(nil)
	pb.RegisterAdapterServer(g, p.server)
	_ = g.Serve(newSingle(conn)) // it says that there are no more connections
	g.Stop()
	p.server.closeAll(context.Background())
	logger.Info("the engine has gone")
}

// single is a listener of one connection: it ends with it.
type single struct {
	net.Conn
	once  chan net.Conn
	ended chan struct{}
	end   func()
}

func newSingle(conn net.Conn) *single {
	s := &single{Conn: conn, once: make(chan net.Conn, 1), ended: make(chan struct{})}
	s.end = sync.OnceFunc(func() { close(s.ended) })
	s.once <- s
	return s
}

// Accept implements net.Listener.
func (s *single) Accept() (net.Conn, error) {
	select {
	case conn := <-s.once:
		return conn, nil
	case <-s.ended:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (s *single) Addr() net.Addr { return s.LocalAddr() }

// Close implements net.Listener and net.Conn.
func (s *single) Close() error {
	s.end()
	return s.Conn.Close()
}
