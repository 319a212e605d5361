// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rounds-engine/rounds/engine/delivery"
)

type natsConfig struct {
	_       struct{}   `doc:"Publishes each notification to a stream of NATS JetStream, and waits until the stream has stored it."`
	Servers []string   `hcl:"servers" doc:"Addresses of servers of one cluster, nats://host:4222, or with tls:// in place of nats://."`
	Subject string     `hcl:"subject" doc:"The subject; {pipeline} and {deliver} stand for the names of the pipeline and of the deliver block."`
	Stream  string     `hcl:"stream,optional" doc:"The stream that has to take it: any other refuses."`
	Auth    *natsAuth  `hcl:"auth,block"`
	TLS     *tlsConfig `hcl:"tls,block"`

	options []nats.Option // set by check
}

const (
	natsDial = 5 * time.Second  // for one server, and as long for its greeting and TLS
	natsPing = 20 * time.Second // of silence; after two that are not answered the connection is given up
)

func (c *natsConfig) check() error {
	secure := c.TLS != nil
	if len(c.Servers) == 0 {
		return blame("servers", "names no server")
	}
	for i, server := range c.Servers {
		u, err := url.Parse(server)
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls",
			u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			return blame("servers", "number %d is not an address like nats://host:4222 or tls://host:4222", i+1)
		case u.User != nil:
			return blame("servers", "number %d must not hold a user or a token; use an auth block", i+1)
		}
		secure = secure || u.Scheme == "tls"
	}
	if !isSubject(c.Subject) {
		return blame("subject", "is not a subject to publish to: names with dots between them, without blanks, wildcards (* and >) and a $ "+
			"at its beginning; there are the placeholders {pipeline} and {deliver}")
	}
	if strings.ContainsAny(c.Stream, " \t\r\n.*>/\\") {
		return blame("stream", "is not the name of a stream")
	}
	t, err := c.TLS.compile()
	if err != nil {
		return err
	}
	auth, err := c.Auth.option()
	if err != nil {
		return err
	}
	c.options = []nats.Option{nats.Name("rounds"), nats.Timeout(natsDial), nats.PingInterval(natsPing), nats.MaxPingsOutstanding(2),
		// The delivery loop decides when there is another attempt, and so another connection.
		nats.NoReconnect(), func(o *nats.Options) error { o.TLSConfig, o.Secure = t, secure; return nil }}
	if auth != nil {
		c.options = append(c.options, auth)
	}
	return nil
}

// isSubject leaves subjects that begin with $ to the servers.
func isSubject(s string) bool {
	s = strings.NewReplacer("{pipeline}", "p", "{deliver}", "d").Replace(s)
	return !strings.HasPrefix(s, "$") && !slices.Contains(strings.Split(s, "."), "") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("*>{}", r) })
}

func (c *natsConfig) open() Destination {
	return &natsStream{servers: strings.Join(c.Servers, ","), options: c.options, subject: c.Subject, stream: c.Stream}
}

// natsStream publishes with the notification's id as Nats-Msg-Id: what comes again within the stream's duplicate window is stored
// once.
type natsStream struct {
	servers, subject, stream string
	options                  []nats.Option

	mu      sync.Mutex
	link    *natsLink
	dialing chan struct{} // closed when a connection stands or failed; nil: nobody dials
	failed  error         // why the last dialling failed
	closed  bool
}

// natsLink is a connection. It is not taken up again once it is lost.
type natsLink struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	denied atomic.Bool // the server said that the user may not do what was asked for
}

func (d *natsStream) Send(ctx context.Context, n delivery.Notification) error {
	link, err := d.connected(ctx)
	if err != nil {
		return err
	}
	m := nats.NewMsg(strings.NewReplacer("{pipeline}", n.Pipeline, "{deliver}", n.Deliver).Replace(d.subject))
	m.Data = n.Body
	m.Header = nats.Header{
		"Content-Type": {"application/json"}, "Rounds-Pipeline": {n.Pipeline}, "Rounds-Deliver": {n.Deliver},
	}
	if n.Trace != "" {
		m.Header["traceparent"] = []string{n.Trace}
	}
	options := []jetstream.PublishOpt{jetstream.WithMsgID(n.ID), jetstream.WithRetryAttempts(0)}
	if d.stream != "" {
		options = append(options, jetstream.WithExpectStream(d.stream))
	}
	_, err = link.js.PublishMsg(ctx, m, options...)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return canceled(ctx)
	case link.denied.Load():
		return natsDenied()
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return link.noStream(ctx, m.Subject)
	}
	return natsError(err)
}

// Probe connects. Whether a stream takes the subject is not asked, as not every user may.
func (d *natsStream) Probe(ctx context.Context) error {
	_, err := d.connected(ctx)
	return err
}

// connected returns the connection, which one of those that wait for it makes.
func (d *natsStream) connected(ctx context.Context) (*natsLink, error) {
	d.mu.Lock()
	if d.link != nil && !d.link.conn.IsClosed() {
		defer d.mu.Unlock()
		return d.link, nil
	}
	if d.dialing == nil {
		d.dialing = make(chan struct{})
		go d.dial()
	}
	done := d.dialing
	d.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return nil, canceled(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link == nil {
		return nil, natsError(d.failed)
	}
	return d.link, nil
}

// dial does not heed a context, as the library does not; it ends after some seconds for each server.
func (d *natsStream) dial() {
	link := &natsLink{}
	options := append(slices.Clone(d.options), nats.ErrorHandler(func(conn *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) { // the library lets who waits for the acknowledgement wait on
			link.denied.Store(true)
			conn.Close()
		}
	}))
	var err error
	if link.conn, err = nats.Connect(d.servers, options...); err == nil {
		link.js, err = jetstream.New(link.conn)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link, d.failed = nil, err
	switch {
	case err == nil && !d.closed:
		d.link = link
	case link.conn != nil:
		link.conn.Close()
		if d.failed == nil {
			d.failed = nats.ErrConnectionClosed
		}
	}
	close(d.dialing)
	d.dialing = nil
}

func (d *natsStream) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.link != nil {
		d.link.conn.Close()
	}
	return nil
}
