// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/web"
)

// listening is where the engine answers over HTTP, as the web block says.
type listening struct {
	web    config.Web
	socket *net.TCPListener
	tls    *tls.Config // nil: no TLS
	site   *web.Site   // nil: health and metrics only

	instead bool // it could be had only when the one before no longer listened

	server *http.Server
	served chan struct{} // closed when the server has let go of the socket
}

// public is what is answered to anybody, by path: health and metrics.
func (e *Engine) public() map[string]http.Handler {
	all := map[string]http.Handler{"/healthz": e.Live(), "/readyz": e.Ready()}
	if e.metrics != nil {
		all["/metrics"] = e.metrics.Handler()
	}
	return all
}

// speak begins to listen as a web block says, if there is one.
func (e *Engine) speak(ctx context.Context, w *config.Web) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	next, err := e.bind(w, nil)
	if err == nil {
		e.listen(ctx, next)
	}
	return err
}

// mute ends that; ctx, which samples are taken until, is done. Nothing of the page looks at the state any more then.
func (e *Engine) mute(ctx context.Context) {
	e.changing.Lock()
	defer e.changing.Unlock()
	e.listen(ctx, nil)
	e.sampler.Wait()
}

// bind takes the address of a web block, or goes on with that of the listener before. Nothing is answered yet.
func (e *Engine) bind(w *config.Web, before *listening) (*listening, error) {
	if w == nil {
		return nil, nil
	}
	if before != nil && before.web == *w {
		return before, nil
	}
	l := &listening{web: *w}
	var names func(string) bool
	if w.Cert != "" {
		pair, err := tls.X509KeyPair([]byte(w.Cert), []byte(w.Key))
		if err != nil {
			return nil, errors.New("web: cert and key are not a certificate and its private key")
		}
		l.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
		names = func(name string) bool { return pair.Leaf.VerifyHostname(name) == nil }
	}
	if before != nil && before.web.Listen == w.Listen {
		l.socket = before.socket
	} else {
		socket, err := net.Listen("tcp", w.Listen)
		if _, port, _ := net.SplitHostPort(w.Listen); err != nil && before != nil && before.port() == port {
			// It is this engine that has it: the addresses of one host and of all can't be had together.
			_ = before.socket.Close()
			l.instead = true
			socket, err = net.Listen("tcp", w.Listen)
		}
		if err != nil {
			e.unbind(l)
			return nil, fmt.Errorf("web: %s can't be listened on, as \"listen\" says: %s", w.Listen, bindText(err))
		}
		l.socket = socket.(*net.TCPListener)
	}
	// Without TLS the page is for this machine only. Its contents, and what opens it, would travel for all to read.
	if local := l.socket.Addr().(*net.TCPAddr).IP.IsLoopback(); local || l.tls != nil {
		l.site = web.New(e, web.Options{Token: w.Token, TLS: l.tls != nil, Host: names, Samples: e.samples, Logger: e.o.Logger})
	}
	return l, nil
}

// bindText says why an address can't be had, without the rest of what the system says.
func bindText(err error) string {
	var sys *os.SyscallError
	var dns *net.DNSError
	switch {
	case errors.As(err, &sys):
		return sys.Err.Error()
	case errors.As(err, &dns):
		return "there is no such host"
	}
	return "it is no address of this machine"
}

// unbind gives an address back that is not to be used after all, and goes on with the one before.
func (e *Engine) unbind(l *listening) {
	before := e.listening
	if l == nil || l == before {
		return
	}
	if l.socket != nil && (before == nil || l.socket != before.socket) {
		_ = l.socket.Close() // nothing was answered on it
	}
	if !l.instead {
		return
	}
	before.close()
	address := before.socket.Addr().String()
	socket, err := net.Listen("tcp", address)
	if err != nil {
		e.o.Logger.Error("the web address can't be listened on any more: reload, or restart", "address", address, "error", bindText(err))
		return
	}
	again := &listening{web: before.web, socket: socket.(*net.TCPListener), tls: before.tls, site: before.site}
	e.serve(again)
	e.mu.Lock()
	e.listening = again
	e.mu.Unlock()
}

// port is what is listened on, in decimal.
func (l *listening) port() string { return fmt.Sprint(l.socket.Addr().(*net.TCPAddr).Port) }

// listen answers by the next listener from now on; the one before ends what it is answering. It is called under Engine.changing.
func (e *Engine) listen(ctx context.Context, next *listening) {
	before := e.listening
	if next == before {
		return
	}
	if before != nil {
		ended := before.close()
		if next == nil || next.socket != before.socket {
			_ = before.socket.Close() // nobody listens any more
			e.o.Logger.Info("the web address is no longer listened on", "address", before.socket.Addr().String())
		}
		if next == nil {
			<-ended // the state may be closed then
		}
	}
	if next != nil {
		e.serve(next)
		if !e.sampling {
			e.sampling = true
			e.sampler.Go(func() { e.samples.Run(ctx, e) })
		}
	}
	e.mu.Lock()
	e.listening = next
	e.mu.Unlock()
}

func (e *Engine) serve(l *listening) {
	mux := http.NewServeMux()
	for path, h := range e.public() {
		mux.Handle(path, h)
	}
	if l.site != nil {
		mux.Handle("/", l.site)
	}
	l.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 10 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0), // it would tell of every port scan
	}
	l.served = make(chan struct{})
	_ = l.socket.SetDeadline(time.Time{}) // it is a TCP socket, which has deadlines
	var socket net.Listener = lent{l.socket}
	if l.tls != nil {
		socket = tls.NewListener(socket, l.tls)
	}
	go func() {
		defer close(l.served)
		_ = l.server.Serve(socket) // it ends with close
	}()
	e.o.Logger.Info("listening", "address", l.url(), "page", l.site != nil, "token", l.web.Token != "")
}

// close ends the server and leaves the socket open for the next one. What it is answering, such as what came of the reload that ends it,
// may be answered; ended is closed then.
func (l *listening) close() (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if l.server.Shutdown(ctx) != nil {
			_ = l.server.Close() // of connections that nobody waits for any more
		}
	}()
	<-l.served
	return done
}

// lent is a socket that its server can't close: another goes on with it.
type lent struct{ *net.TCPListener }

// Close ends Accept only.
func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }

// url is where a browser on this machine finds the page; with TLS, by the name that the certificate is for.
func (l *listening) url() string {
	addr := l.socket.Addr().(*net.TCPAddr)
	host, scheme := addr.IP.String(), "http"
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	if l.tls != nil {
		scheme = "https"
		host = cmp.Or(certifiedName(l.tls.Certificates[0].Leaf), host)
	}
	return fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(host, fmt.Sprint(addr.Port)))
}

func certifiedName(c *x509.Certificate) string {
	for _, name := range c.DNSNames {
		if c.VerifyHostname(name) == nil { // not for a wildcard
			return name
		}
	}
	return ""
}

// OpenPage implements operate.Engine.
func (e *Engine) OpenPage(ctx context.Context) (*operate.Link, error) {
	if _, err := e.online(); err != nil {
		return nil, err
	}
	e.mu.RLock()
	l := e.listening
	e.mu.RUnlock()
	switch {
	case l == nil:
		return nil, refusal(operate.ErrInvalid, "this engine has no page: add a web block to its configuration, and rounds reload")
	case l.site == nil:
		return nil, refusal(operate.ErrInvalid, "the web block listens for other machines without TLS, so there are health and metrics only: "+
			"add a tls block, or listen on 127.0.0.1")
	}
	actor := operate.Actor(ctx)
	e.o.Logger.Info("a link to the web page was made", "by", actor)
	return &operate.Link{URL: l.url() + l.site.Link(actor)}, nil
}
