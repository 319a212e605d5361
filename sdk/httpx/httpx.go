// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package httpx is the HTTP client of an adapter: it keeps to the limits that a source has, repeats what may be repeated,
// pauses when the server asks for it, and its errors are *sdk.Error with a text that may be logged: method, path template,
// status, and no URL, header or body.
//
// One Client serves all calls of one source, so that its limits hold for all of them together.
package httpx

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
)

// What a zero field of Config means.
const (
	DefaultTimeout     = 30 * time.Second
	DefaultConcurrency = 8
	DefaultAttempts    = 4
	// DefaultMaxBody is half of the largest message between adapter and engine, so that a page made of a body always fits.
	DefaultMaxBody = 128 << 20
)

// pingAfter is the silence of an HTTP/2 connection after which it is asked whether it lives; the answer may take as long.
var pingAfter = 10 * time.Second

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second

	backoffBase = 250 * time.Millisecond
	backoffCap  = 5 * time.Second

	// A pause that the server asks for is waited for in the client up to patience; a longer one is the engine's to keep,
	// which learns of it by sdk.RateLimited. maxPause bounds what a server can ask for (a daily quota is the longest known).
	patience = 10 * time.Second
	maxPause = 24 * time.Hour

	maxRedirects = 5
	maxShown     = 4 << 10  // of the body of an answer that is an error
	maxDrain     = 64 << 10 // of a body that nobody reads, so that its connection can be used again
)

// Config says how to call. The zero value is good.
type Config struct {
	Timeout     time.Duration // for one attempt, from dialling to the body's last byte
	Concurrency int           // attempts under way at once
	Attempts    int           // of one call
	MaxBody     int64         // bytes of a decompressed body; a larger one is an error
	// Limits are what the vendor allows: attempts are counted against them, repetitions and redirects included.
	Limits budget.Limits
	Saved  *sdk.Section // what was counted over restarts, env.State.Section("budget"); nil: it is not kept
	TLS    *tls.Config  // nil: the system's roots. Versions before 1.2 are never spoken
	// Proxy for all calls. Without it the proxy variables of the environment count, as in most programs; which of them
	// reach an adapter is the engine's decision.
	Proxy *url.URL
	// Transport takes the place of the client's own, which is made from TLS and Proxy.
	Transport http.RoundTripper
}

// Client makes calls. It is safe for concurrent use.
type Client struct {
	http      http.Client
	transport *http.Transport // its own; nil when it was given one
	timeout   time.Duration
	attempts  int
	maxBody   int64
	slots     chan struct{}
	budget    *budget.Budget

	mu     sync.Mutex
	paused time.Time // until then the server wants no calls
}

// New makes a client. It calls nobody.
func New(c Config) (*Client, error) {
	if c.Timeout < 0 || c.Concurrency < 0 || c.Attempts < 0 || c.MaxBody < 0 {
		return nil, errors.New("httpx: a limit is negative")
	}
	calls, err := budget.New(c.Limits, c.Saved)
	if err != nil {
		return nil, err
	}
	cl := &Client{
		timeout:  or(c.Timeout, DefaultTimeout),
		attempts: or(c.Attempts, DefaultAttempts),
		maxBody:  or(c.MaxBody, DefaultMaxBody),
		slots:    make(chan struct{}, or(c.Concurrency, DefaultConcurrency)),
		budget:   calls,
	}
	cl.http = http.Client{Transport: c.Transport, CheckRedirect: cl.redirect}
	if c.Transport == nil {
		cl.transport = newTransport(c, cap(cl.slots))
		cl.http.Transport = cl.transport
	}
	return cl, nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func newTransport(c Config, concurrency int) *http.Transport {
	t := &tls.Config{}
	if c.TLS != nil {
		t = c.TLS.Clone()
	}
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	proxy := http.ProxyFromEnvironment
	if c.Proxy != nil {
		proxy = http.ProxyURL(c.Proxy)
	}
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     t,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		// The attempt's own time-out covers the wait for a header; connections are bounded by the client's slots.
		MaxIdleConns:        concurrency,
		MaxIdleConnsPerHost: concurrency,
		IdleConnTimeout:     idleTimeout,
		// A connection that a firewall has forgotten is silent for ever: over HTTP/2 all calls would go on to share it.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
		MaxResponseHeaderBytes: 1 << 20,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK {
				return &tunnelError{answer.StatusCode}
			}
			return nil
		},
	}
}

// Concurrency is how many attempts are under way at once, at most.
func (c *Client) Concurrency() int { return cap(c.slots) }

// Budget is what is left of Config.Limits.
func (c *Client) Budget() *budget.Budget { return c.budget }

// Close closes the connections that idle, and the budget, so that nothing of it is lost. Calls under way are not touched.
func (c *Client) Close() error {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	return c.budget.Close()
}

// Request is one call.
type Request struct {
	Method string // "": GET
	URL    string
	// Template names the call in errors, which may be logged: a path with its placeholders, "/patient/{id}", never with values.
	Template string
	Header   http.Header
	Body     []byte
	Repeat   bool // may be repeated although its method is neither GET nor HEAD
	// Once is for a GET that takes something away, as of a queue: it is neither repeated nor redirected. That it may have been heard
	// twice, or heard and not answered, is an error: what was taken has to be asked for in another way.
	Once bool

	accept string // the header Accept, where Header has none
}

func (r *Request) method() string { return or(r.Method, http.MethodGet) }

func (r *Request) repeatable() bool {
	return !r.Once && (r.Repeat || r.method() == http.MethodGet || r.method() == http.MethodHead)
}

// Response is an answer of the 200s, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Calls  int       // calls that were made, repetitions and redirects included
	Date   time.Time // the server's clock when it answered; zero: it does not tell
	// Asked is the server's clock when it was asked, at the latest: Date less the time that the answer took. What the
	// server stored before Asked was there to be seen by the answer. Zero: the server does not tell its clock.
	Asked time.Time
	Sent  time.Time // this machine's clock when it was asked, after whatever came before: its turn, pauses, repetitions
}

// Do makes a call and repeats it while that can help: a GET or HEAD (others only if Request.Repeat) that met a network
// error, 408, 425, 429, 500, 502, 503 or 504, with growing random delays, at most Config.Attempts times.
//
// All errors are *sdk.Error: NotFound (404), Gone (410), Unauthorized (401), Forbidden (403), RateLimited (429, and whatever
// comes with a Retry-After), Retryable (network, 408, 425, 5xx), else Permanent. When the server asks for a pause of more than
// ten seconds, the error is RateLimited, and until the pause ends all calls fail so without reaching the server. So does a call
// that was not made because the budget has no room for it, or the client's limits left no time for it before the deadline.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	calls := 0
	for n := 1; ; n++ {
		res, f := c.attempt(ctx, &r, &calls)
		if f == nil {
			res.Calls = calls
			return res, nil
		}
		if !f.again || n >= c.attempts || !r.repeatable() || f.after > patience {
			return nil, f.err
		}
		if f.after > 0 {
			continue // the next attempt waits for the pause to end
		}
		if sleep(ctx, backoff(n)) != nil {
			return nil, interrupted(ctx, r.named())
		}
	}
}

// backoff is a random delay before the attempt after the nth: "full jitter", which spreads the calls of many best.
func backoff(n int) time.Duration {
	return rand.N(min(backoffCap, backoffBase<<min(n-1, 10))) + 1
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// failure is an attempt that did not succeed.
type failure struct {
	err    *sdk.Error
	again  bool          // another attempt may help
	after  time.Duration // the pause that the server asks for; zero: none
	status *StatusError  // that made it, if one did
}

func (c *Client) attempt(parent context.Context, r *Request, calls *int) (*Response, *failure) {
	named := r.named()
	if parent.Err() != nil {
		return nil, &failure{err: uncalled(parent, named, *calls)}
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-parent.Done():
		return nil, &failure{err: uncalled(parent, named, *calls)}
	}
	if err := c.turn(parent, named, *calls); err != nil {
		return nil, &failure{err: err}
	}

	ctx, cancel := context.WithTimeout(context.WithValue(parent, callsKey{}, calls), c.timeout)
	defer cancel()
	sent := new(atomic.Int32)
	if r.Once {
		ctx, sent = once(ctx)
	}
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method(), r.URL, body)
	if err != nil {
		return nil, &failure{err: sdk.Permanent("%s: the address can't be called", named).Because(err)}
	}
	if r.Header != nil {
		req.Header = r.Header.Clone()
	}
	if r.accept != "" && req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", r.accept)
	}
	*calls++
	began := time.Now()
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, c.networkFailure(parent, ctx, named, err)
	}
	defer answer.Body.Close() // it was read, or its connection is given up
	if sent.Load() > 1 {
		return nil, &failure{err: sdk.Retryable("%s: the connection broke and the call was sent again; what was taken by it the first time is not known", named)}
	}
	took := time.Since(began)
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		f := statusFailure(named, answer)
		if answer.StatusCode == http.StatusTooManyRequests && f.after == 0 {
			date, _ := http.ParseTime(answer.Header.Get("Date"))
			f.after = min(c.budget.Refused(ctx, date), maxPause)
			f.err.After = f.after
		}
		if f.after > 0 {
			c.pause(f.after)
		}
		if answer.StatusCode == http.StatusSwitchingProtocols { // nobody asked for that; the body is the connection, which heeds no context
			return nil, f
		}
		f.status.Body, _ = io.ReadAll(io.LimitReader(answer.Body, maxShown)) // cut off is as good
		io.CopyN(io.Discard, answer.Body, maxDrain)                          //nolint:errcheck // only to use the connection again
		return nil, f
	}
	res := &Response{Status: answer.StatusCode, Header: answer.Header, Sent: began}
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		res.Date, res.Asked = date.UTC(), date.UTC().Add(-took)
	}
	if coding := answer.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, &failure{err: sdk.Permanent("%s: answered in a content encoding that was not asked for", named)}
	}
	if answer.ContentLength <= c.maxBody { // else there is no need to read it
		res.Body, err = readAll(answer, c.maxBody)
	}
	if err != nil {
		return nil, c.networkFailure(parent, ctx, named, err)
	}
	if max(answer.ContentLength, int64(len(res.Body))) > c.maxBody {
		return nil, &failure{err: sdk.Permanent("%s: the answer is larger than %d bytes; ask for smaller pages", named, c.maxBody)}
	}
	return res, nil
}

// turn waits until pauses and the budget allow an attempt.
func (c *Client) turn(ctx context.Context, named string, calls int) *sdk.Error {
	for {
		left := c.pauseLeft()
		switch {
		case left > patience:
			return sdk.RateLimited(left, "%s: not called, the server asked for a pause", named)
		case left > 0:
			if sleep(ctx, left) != nil {
				return uncalled(ctx, named, calls)
			}
			continue
		}
		if err := c.budget.Take(ctx); err != nil {
			return untaken(ctx, err, named, calls)
		}
		if c.pauseLeft() <= 0 { // none was asked for meanwhile
			return nil
		}
	}
}

func (c *Client) pauseLeft() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(c.paused)
}

// pause keeps all calls of this client from the server: it counts them together.
func (c *Client) pause(d time.Duration) {
	until := time.Now().Add(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.After(c.paused) {
		c.paused = until
	}
}

type callsKey struct{}

var (
	errOrigin    = errors.New("redirected to another origin")
	errRedirect  = errors.New("redirected where no redirect is followed")
	errRedirects = errors.New("redirected too often")
)

// redirect follows only to the same origin: elsewhere the credentials would leak.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	switch first := via[0]; {
	case isOnce(req.Context()):
		return errOnce
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return errRedirect
	case !SameOrigin(first.URL, req.URL):
		return errOrigin
	case len(via) > maxRedirects:
		return errRedirects
	}
	if err := c.budget.Take(req.Context()); err != nil {
		return err
	}
	if calls, ok := req.Context().Value(callsKey{}).(*int); ok {
		*calls++
	}
	return nil
}

// Basic is the value of an Authorization header with a user's name and password.
func Basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// SameOrigin says whether a and b have the same scheme, host and port.
func SameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch strings.ToLower(u.Scheme) {
	case "https":
		return "443"
	case "http":
		return "80"
	}
	return ""
}
