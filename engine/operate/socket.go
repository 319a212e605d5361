// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package operate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// SocketName is the name of the admin socket, in the directory of the state.
const SocketName = "admin.sock"

// The path of a socket is bounded: by 104 bytes with the zero at its end on macOS, a few more elsewhere.
const maxSocketPath = 103

// Server serves an engine on the admin socket of its state. Whoever may open the socket may do all that Engine lists: it is in the
// state's directory, which is its owner's alone, as the socket is itself.
type Server struct {
	http *http.Server
	path string
}

// Serve makes the socket and serves. Whoever calls it has the lock of the state, so that a socket that is there is left over.
func Serve(e Engine, stateDir string) (*Server, error) {
	path, release, err := socketPath(stateDir)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the admin socket that was left over can't be removed: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the admin socket can't be made: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // by a path that may be another's by then
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("the admin socket can't be made: %w", err), l.Close())
	}
	s := &Server{path: filepath.Join(stateDir, SocketName), http: &http.Server{
		Handler: Handler(e), ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return As(ctx, "admin socket"+peer(c)) },
	}}
	go func() { _ = s.http.Serve(l) }() // it ends with Close
	return s, nil
}

// Close ends what is being answered, and removes the socket.
func (s *Server) Close() error {
	err := s.http.Close()
	if removing := os.Remove(s.path); err == nil && !errors.Is(removing, fs.ErrNotExist) {
		err = removing
	}
	return err
}

// notListening says that an error of dialling means that there is no engine.
func notListening(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}
