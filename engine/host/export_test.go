// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package host

import (
	"io"
	"log/slog"
	"time"

	"github.com/rounds-engine/rounds/engine/child"
	"github.com/rounds-engine/rounds/sdk/handshake"
)

// Hurry makes a host find out sooner what it would find out anyway.
func Hurry(h *Host, start, ping, pingTimeout time.Duration) {
	h.t.start, h.t.ping, h.t.pingTimeout = start, ping, pingTimeout
}

// Handshake gives the fields of the line by which a running adapter said hello.
func Handshake(h *Host, a Adapter) []string {
	h.mu.Lock()
	p := h.processes[key{adapter: a}]
	h.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	parts, _ := p.alive.life.(*program).greeting.Parts()
	return parts
}

// Remind makes a host warn more often of what is attached.
func Remind(h *Host, every time.Duration) { h.t.remind = every }

// Backoff is the pause after the nth end in a row.
var Backoff = backoff

// Crashed gives the functions of the last crash in a program's stderr.
var Crashed = child.Crashed

// NewRing makes a ring; bytes gives what it holds.
func NewRing() (write func([]byte) (int, error), bytes func() []byte) {
	r := new(child.Tail)
	return r.Write, r.Bytes
}

// Bridge reads what an adapter writes to stdout first and to stderr, as the host does; token is a secret.
func Bridge(log io.Writer, token string, output []byte) {
	p := newProcess(New(Options{Logger: slog.New(slog.NewJSONHandler(log, nil))}), key{})
	p.secrets.add([]string{token})
	p.bridge(output)
	child.Crashed(output)
	var g handshake.Greeting
	_, _ = g.Write(output)
	_ = g.Problem()
}

// WithoutParentDeathSignal is how it is on systems that have no such signal.
func WithoutParentDeathSignal() { child.ParentDeathSignal = 0 }
