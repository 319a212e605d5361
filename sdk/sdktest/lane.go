// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rounds-engine/rounds/sdk/schema"
)

// maxBody bounds what is looked into of a body; a longer one is passed on as it is.
const maxBody = 32 << 20

// lane is a way from the adapter to its EHR, which the kit watches and can block. It has a gate for each origin that the configuration
// names.
type lane struct {
	config []byte // with the gates' addresses
	secure *authority
	gates  []*gate
	fault  atomic.Pointer[fault] // nil: none
	asked  atomic.Int64          // requests
	failed atomic.Int64          // requests that the EHR could not be asked
	seen   func(answer *http.Response, body []byte)
	heard  func(*http.Request)
	saved  saved

	mu      sync.Mutex
	answers map[string][sha256.Size]byte // by request, of those that are to be the same when made again
	changed int                          // requests that had another answer
}

// gate is a server on this machine in the place of one origin.
type gate struct {
	origin *url.URL // of the EHR
	own    string   // "http://127.0.0.1:4321"
	server *http.Server

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// fault is what a lane does instead of passing on.
type fault struct {
	answer http.HandlerFunc    // nil: the EHR's own answer, changed
	change func([]byte) []byte // of the body of a good answer
	hits   atomic.Int64
	begun  chan struct{} // gets one when a request has come
	left   chan struct{} // gets one when the one who asked has gone
}

// newLane stands between an adapter with that configuration and its EHR. It has no gates if the configuration names no address. With an
// authority they speak TLS where the EHR does.
func newLane(config []byte, s schema.Schema, secure *authority) (*lane, error) {
	l := &lane{secure: secure}
	doc, err := replaceURLs(config, s, l.gateTo)
	if err != nil {
		l.close()
		return nil, err
	}
	l.config = doc
	return l, nil
}

// gateTo gives the address of the gate that stands for an origin.
func (l *lane) gateTo(origin *url.URL) (string, error) {
	for _, g := range l.gates {
		if g.origin.Scheme == origin.Scheme && g.origin.Host == origin.Host {
			return g.own, nil
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	g := &gate{origin: origin, own: "http://" + listener.Addr().String(), conns: map[net.Conn]bool{}}
	g.server = &http.Server{
		Handler:           l.handler(g),
		ConnState:         g.connected,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	l.gates = append(l.gates, g)
	if l.secure != nil && origin.Scheme == "https" {
		g.own = "https://" + listener.Addr().String()
		g.server.TLSConfig = l.secure.tls.Clone()
		go g.server.ServeTLS(listener, "", "") //nolint:errcheck // ends by close
		return g.own, nil
	}
	go g.server.Serve(listener) //nolint:errcheck // ends by close
	return g.own, nil
}

func (g *gate) connected(c net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch state {
	case http.StateNew:
		g.conns[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(g.conns, c)
	}
}

// open counts the connections that the adapter holds.
func (l *lane) open() (n int) {
	for _, g := range l.gates {
		g.mu.Lock()
		n += len(g.conns)
		g.mu.Unlock()
	}
	return n
}

func (l *lane) close() {
	for _, g := range l.gates {
		_ = g.server.Close() // what is under way is of no interest any more
	}
}

// transport is that of all lanes to all EHRs.
var transport = sync.OnceValue(func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	return t
})

func (l *lane) handler(g *gate) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return transport().RoundTrip(r) }),
		Rewrite: func(p *httputil.ProxyRequest) {
			to := *p.In.URL
			to.Scheme, to.Host = g.origin.Scheme, g.origin.Host
			to.RawQuery = l.outward(to.RawQuery)
			p.Out.URL, p.Out.Host = &to, g.origin.Host
			p.Out.Header.Del("Accept-Encoding") // so that the answer comes readable
			l.rewriteRequest(p.Out)
		},
		ModifyResponse: func(r *http.Response) error { return l.back(g, r) },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, _ error) {
			if r.Context().Err() == nil {
				l.failed.Add(1)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		if l.heard != nil {
			l.heard(r)
		}
		f := l.fault.Load()
		if f == nil {
			proxy.ServeHTTP(w, r)
			return
		}
		f.hits.Add(1)
		if f.answer == nil {
			proxy.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBody)) // only then the server notices that the client goes
		f.answer(w, r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// rewriteRequest gives the EHR its own addresses where the adapter repeats them.
func (l *lane) rewriteRequest(r *http.Request) {
	if r.Body == nil || r.ContentLength < 0 || r.ContentLength > maxBody || !textual(r.Header.Get("Content-Type")) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		body = nil // the client has gone
	}
	body = []byte(l.outward(string(body)))
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
}

// outward replaces the gates' addresses, written plainly or percent-encoded.
func (l *lane) outward(text string) string {
	for _, g := range l.gates {
		origin := g.origin.Scheme + "://" + g.origin.Host
		text = replaceOrigin(text, g.own, origin)
		text = strings.ReplaceAll(text, url.QueryEscape(g.own), url.QueryEscape(origin))
	}
	return text
}

// inward replaces the origins' addresses.
func (l *lane) inward(text string) string {
	for _, g := range l.gates {
		origin := g.origin.Scheme + "://" + g.origin.Host
		text = replaceOrigin(text, origin, g.own)
		text = replaceOrigin(text, strings.ReplaceAll(origin, "/", `\/`), strings.ReplaceAll(g.own, "/", `\/`))
	}
	return text
}

// back works over an answer on its way to the adapter.
func (l *lane) back(g *gate, r *http.Response) error {
	for _, name := range []string{"Location", "Content-Location", "Link"} {
		for i, v := range r.Header[name] {
			r.Header[name][i] = l.inward(v)
		}
	}
	if r.ContentLength > maxBody || !textual(r.Header.Get("Content-Type")) || r.Header.Get("Content-Encoding") != "" || r.Body == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return err
	}
	if len(body) > maxBody {
		r.Body = readCloser{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		return nil
	}
	_ = r.Body.Close() // it is read
	body = []byte(l.inward(string(body)))
	l.compare(r, body)
	good := r.StatusCode >= 200 && r.StatusCode < 300
	if l.seen != nil && good {
		l.seen(r, body)
	}
	if f := l.fault.Load(); f != nil && f.change != nil && good {
		body = f.change(body)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if r.Request.Method != http.MethodHead {
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	return nil
}

// maxAnswers bounds how many answers are remembered.
const maxAnswers = 10_000

// compare takes note of whether the EHR answers a request as it did before.
func (l *lane) compare(r *http.Response, body []byte) {
	if r.Request.Method != http.MethodGet {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers == nil {
		l.answers = map[string][sha256.Size]byte{}
	}
	request, sum := r.Request.URL.String(), sha256.Sum256(body)
	before, known := l.answers[request]
	if known && before != sum {
		l.changed++
	}
	if known || len(l.answers) < maxAnswers {
		l.answers[request] = sum
	}
}

// moved counts the requests that had another answer when they were made again.
func (l *lane) moved() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

type readCloser struct {
	io.Reader
	io.Closer
}

// textual says whether a body can be read as text.
func textual(contentType string) bool {
	t := strings.ToLower(contentType)
	return t == "" || strings.HasPrefix(t, "text/") || strings.Contains(t, "json") || strings.Contains(t, "xml") || strings.Contains(t, "urlencoded")
}

// replaceOrigin replaces an origin where it stands whole: http://host is not part of http://host.example.
func replaceOrigin(text, origin, by string) string {
	if origin == "" || !strings.Contains(text, origin) {
		return text
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, origin)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if after != "" && (letterOrDigit(after[0]) || strings.IndexByte("-.:_@", after[0]) >= 0) {
			b.WriteString(origin)
		} else {
			b.WriteString(by)
		}
		text = after
	}
}

func letterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// replaceURLs gives a configuration in which gates stand for all origins.
func replaceURLs(config []byte, s schema.Schema, gate func(*url.URL) (string, error)) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(config, &members); err != nil || members == nil {
		return config, nil //nolint:nilerr // what is no object has no addresses
	}
	var failed error
	for _, a := range s.Attributes {
		if v, ok := members[a.Name]; ok && !a.Sensitive {
			members[a.Name] = replaceStrings(v, func(text string) string {
				u, err := url.Parse(text)
				if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
					return text
				}
				own, err := gate(&url.URL{Scheme: u.Scheme, Host: u.Host})
				if err != nil {
					failed = err
					return text
				}
				return own + text[strings.Index(text, "://")+3+len(u.Host):]
			})
		}
	}
	for _, b := range s.Blocks {
		v, ok := members[b.Name]
		if !ok {
			continue
		}
		bodies, list := blocks(v)
		for i := range bodies {
			body, err := replaceURLs(bodies[i], b.Body, gate)
			if err != nil {
				return nil, err
			}
			bodies[i] = body
		}
		members[b.Name] = joined(bodies, list)
	}
	if failed != nil {
		return nil, failed
	}
	return json.Marshal(members)
}

// blocks gives the bodies of a block's member, which may be one or a list.
func blocks(v json.RawMessage) (bodies []json.RawMessage, list bool) {
	if json.Unmarshal(v, &bodies) == nil && bodies != nil {
		return slices.Clone(bodies), true
	}
	return []json.RawMessage{v}, false
}

func joined(bodies []json.RawMessage, list bool) json.RawMessage {
	if !list {
		return bodies[0]
	}
	b, err := json.Marshal(bodies)
	if err != nil {
		return []byte("[]") // they were JSON before
	}
	return b
}

// replaceStrings changes the strings of a JSON value, but the names of members.
func replaceStrings(doc json.RawMessage, change func(string) string) json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return doc
	}
	var walk func(any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case string:
			return change(v)
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			for name := range v {
				v[name] = walk(v[name])
			}
		}
		return v
	}
	out, err := json.Marshal(walk(v))
	if err != nil {
		return doc
	}
	return out
}
