// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	connectTime  = 10 * time.Second // for a connection and for its TLS
	writtenAtOne = 32 << 10         // bytes of a request that are written before its answer is looked for
	mostInterim  = 5                // answers of 1xx before the one that counts, as in net/http
)

// errNotHTTP is in the chain of an error about an answer that can't be read.
var errNotHTTP = errors.New("the answer is not HTTP/1.1, or its headers are too long")

// direct makes calls of HTTP/1.1 to one server, each from begin to end in the goroutine of its caller. http.Transport passes a call on to
// two goroutines of its connection and back, which makes the call a sixth dearer (docs/performance.md).
type direct struct {
	address string // host:port
	secure  *tls.Config
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	resting resting
}

// RoundTrip implements http.RoundTripper. A connection that the server closed while it rested is not used again; a call that fails later
// is not repeated, as the server may have taken the request.
func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	c, err := d.resting.take(), error(nil)
	if c == nil {
		if c, err = d.connect(req.Context()); err != nil {
			return nil, err
		}
	}
	a := &answer{to: d, conn: c, stop: c.cut(req.Context()), written: make(chan error, 1)}
	request, err := c.request(req)
	if err != nil {
		a.drop()
		return nil, err
	}
	send := func() {
		_, err := c.Write(request)
		a.written <- err
	}
	if len(request) <= writtenAtOne {
		send()
	} else { // the server may answer before it has read all, and read no more
		go send()
	}
	resp, err := c.answerTo(req)
	if err != nil {
		a.drop()
		return nil, err
	}
	a.keep = !resp.Close && resp.StatusCode != http.StatusSwitchingProtocols
	a.ReadCloser, resp.Body = resp.Body, a
	return resp, nil
}

// request is a request as it is sent. What stands in its header was checked with the configuration.
func (c *conn) request(req *http.Request) ([]byte, error) {
	b := &c.out
	if b.Reset(); b.Cap() > writtenAtOne { // a large one is not kept
		*b = bytes.Buffer{}
	}
	b.Grow(1<<10 + int(req.ContentLength))
	b.WriteString(req.Method + " " + req.URL.RequestURI() + " HTTP/1.1\r\nHost: " + req.Host + "\r\n")
	if req.Body != nil {
		b.WriteString("Content-Length: " + strconv.FormatInt(req.ContentLength, 10) + "\r\n")
	}
	if err := req.Header.Write(b); err != nil {
		return nil, err
	}
	b.WriteString("\r\n")
	if req.Body == nil {
		return b.Bytes(), nil
	}
	_, err := b.ReadFrom(req.Body)
	return b.Bytes(), errors.Join(err, req.Body.Close())
}

// CloseIdleConnections closes those that rest, for good: what comes to rest later is closed too.
func (d *direct) CloseIdleConnections() { d.resting.close() }

func (d *direct) connect(ctx context.Context) (*conn, error) {
	c, err := d.dial(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	if d.secure != nil {
		within, cancel := context.WithTimeout(ctx, connectTime)
		defer cancel()
		if c, err = secured(within, c, d.secure); err != nil {
			return nil, err
		}
	}
	return newConn(c), nil
}

// answerTo reads up to the body of the answer.
func (c *conn) answerTo(req *http.Request) (*http.Response, error) {
	c.bound.N = maxHeaders
	defer func() { c.bound.N = math.MaxInt64 }()
	for range mostInterim + 1 {
		resp, err := http.ReadResponse(c.in, req)
		var network net.Error
		switch {
		case err == nil && resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols:
			continue
		case err == nil:
			return resp, nil
		case c.bound.N == 0:
			return nil, errNotHTTP
		case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, err
		}
		return nil, errNotHTTP // the error quotes the answer
	}
	return nil, errNotHTTP
}

// answer is the body of an answer, and what its end decides: whether the connection can be used again.
type answer struct {
	io.ReadCloser
	to      *direct
	conn    *conn
	stop    func() bool
	written chan error // has room for what came of the sending
	keep    bool       // the server will take another request
	ended   bool       // all was read
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	a.ended = a.ended || errors.Is(err, io.EOF)
	return n, err
}

// Close does not read the rest, which may be endless.
func (a *answer) Close() error {
	whole := false
	select {
	case err := <-a.written:
		whole = err == nil
	default: // answered before all was sent
	}
	if !a.stop() || !whole || !a.keep || !a.ended {
		return a.conn.Close()
	}
	a.to.resting.give(a.conn)
	return nil
}

func (a *answer) drop() {
	a.stop()
	_ = a.conn.Close()
}
