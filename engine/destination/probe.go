// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/rounds-engine/rounds/engine/record"
)

// Prober is a destination that can be tested without being sent anything. The error may be shown.
type Prober interface {
	Probe(ctx context.Context) error
}

var (
	_ Prober = (*webhook)(nil)
	_ Prober = (*file)(nil)
	_ Prober = (*mllp)(nil)
	_ Prober = (*program)(nil)
)

var defaultPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// Probe connects to the receiver, or to the proxy that leads to it, and asks nothing of either.
func (w *webhook) Probe(ctx context.Context) error {
	at := w.url
	proxy, err := w.transport.Proxy(&http.Request{URL: w.url})
	if err != nil {
		return &record.SendError{Code: "network", Text: "the proxy of the environment (HTTPS_PROXY, HTTP_PROXY) is not a URL"}
	}
	if proxy != nil {
		at = proxy
	}
	conn, err := w.transport.DialContext(ctx, "tcp", net.JoinHostPort(at.Hostname(), cmp.Or(at.Port(), defaultPorts[at.Scheme])))
	if err != nil {
		return networkError(err)
	}
	defer func() { _ = conn.Close() }() // nothing was sent
	if at.Scheme != "https" {
		return nil
	}
	secure := w.transport.TLSClientConfig.Clone()
	secure.ServerName = cmp.Or(secure.ServerName, at.Hostname())
	if err := tls.Client(conn, secure).HandshakeContext(ctx); err != nil {
		return networkError(err)
	}
	return nil
}

// Probe opens the file, or makes one beside it and removes that again.
func (f *file) Probe(context.Context) error {
	now, err := os.Stat(f.path)
	switch {
	case err == nil && !now.Mode().IsRegular():
		return notRegular()
	case err == nil:
		g, err := os.OpenFile(f.path, os.O_WRONLY, 0)
		if err == nil {
			err = g.Close()
		}
		if err != nil {
			return ioError("file", "cannot open the file", err)
		}
		return nil
	}
	g, err := os.CreateTemp(filepath.Dir(f.path), ".rounds-check-*")
	if err != nil {
		return ioError("file", "cannot make the file", err)
	}
	if err := errors.Join(g.Close(), os.Remove(g.Name())); err != nil {
		return ioError("file", "cannot make the file", err)
	}
	return nil
}

// Probe connects to the receiver and hangs up.
func (m *mllp) Probe(ctx context.Context) error {
	conn, err := m.dial(ctx)
	if err != nil {
		return networkError(err)
	}
	_ = conn.Close() // nothing was sent
	return nil
}

// Probe looks for the program and its directory, and does not run it.
func (p *program) Probe(context.Context) error {
	_, err := p.ready()
	return err
}
