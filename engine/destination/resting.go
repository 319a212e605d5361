// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"time"
)

// restTime is how long a connection is kept that nothing is sent on. It is below the minute after which firewalls and receivers begin to
// drop what is idle.
const restTime = 50 * time.Second

// conn is a connection to a receiver, on which nothing is waited for, or which one Send has.
type conn struct {
	net.Conn
	in       *bufio.Reader
	bound    io.LimitedReader // under in: how much more may come
	out      bytes.Buffer     // what is sent
	watching chan struct{}    // closed when the watch on a resting connection has ended
	lost     bool             // what the watch saw; read after watching
}

func newConn(c net.Conn) *conn {
	made := &conn{Conn: c, bound: io.LimitedReader{R: c, N: math.MaxInt64}}
	made.in = bufio.NewReader(&made.bound)
	return made
}

// secured speaks TLS on a new connection, which it closes if that fails.
func secured(ctx context.Context, c net.Conn, config *tls.Config) (net.Conn, error) {
	secure := tls.Client(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return secure, nil
}

// cut ends what waits on the connection when ctx is done. Before it is given to rest stop has to be true.
func (c *conn) cut(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
}

// resting are connections that are kept for the next notification, and closed when they rest for long. On each one message is on its way
// at a time; so there are as many as notifications in flight.
type resting struct {
	time time.Duration // how long one may rest

	mu     sync.Mutex
	conns  []*conn // the one that rests the shortest is last
	closed bool
}

// take gives one that is good; nil: there is none.
func (r *resting) take() *conn {
	for {
		r.mu.Lock()
		var c *conn
		if n := len(r.conns); n > 0 {
			c, r.conns = r.conns[n-1], r.conns[:n-1]
		}
		r.mu.Unlock()
		if c == nil || c.wake() {
			return c
		}
		_ = c.Close()
	}
}

// give lets a connection rest until the next message.
func (r *resting) give(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = c.Close()
		return
	}
	r.conns = append(r.conns, c)
	c.watch(r.time, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, other := range r.conns {
			if other == c {
				r.conns = append(r.conns[:i], r.conns[i+1:]...)
				_ = c.Close()
				return
			}
		}
	})
}

// close closes those that rest and those that come to rest.
func (r *resting) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// watch waits on a resting connection for what must not come, its end or a byte, or for the end of its time, and calls drop. That one
// finds nothing to drop when the connection was taken and woken.
func (c *conn) watch(rest time.Duration, drop func()) {
	c.watching = make(chan struct{})
	_ = c.SetReadDeadline(time.Now().Add(rest)) // the read would fail too
	go func() {
		_, err := c.in.Peek(1)
		var timeout net.Error
		c.lost = !errors.As(err, &timeout) || !timeout.Timeout()
		drop()
		close(c.watching)
	}()
}

// wake ends the watch and reports whether the connection is good.
func (c *conn) wake() bool {
	_ = c.SetReadDeadline(time.Unix(1, 0))
	<-c.watching
	return !c.lost && c.SetDeadline(time.Time{}) == nil
}
