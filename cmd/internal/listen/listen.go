// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package listen serves HTTP on an address until told to stop.
package listen

import (
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Server is a handler that is being served.
type Server struct {
	URL  string // http://127.0.0.1:4010
	http *http.Server
	done chan struct{}
}

// Serve begins to serve h on addr, such as "127.0.0.1:0". What clients do wrong is not logged.
func Serve(addr string, h http.Handler) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + l.Addr().String(), done: make(chan struct{}), http: &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}}
	go func() {
		_ = s.http.Serve(l) // ends with ErrServerClosed; a listener that fails by itself shows at its clients
		close(s.done)
	}()
	return s, nil
}

// Close stops at once: listeners and connections are closed, and requests under way are cut off.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}
