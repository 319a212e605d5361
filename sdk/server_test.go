// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

type testConfig struct {
	Name string `hcl:"name,optional"`
	Auth *struct {
		Kind  string `hcl:"kind,label"`
		Token string `hcl:"token,optional,sensitive"`
	} `hcl:"auth,block"`
}

func (c testConfig) Validate() error {
	switch c.Name {
	case "bad":
		return Misconfigured("name", "is bad")
	case "untyped":
		return fmt.Errorf("canary")
	}
	return nil
}

// testSource does what its functions say.
type testSource struct {
	poll   func(context.Context, Query) (Page, error)
	fetch  func(context.Context, []Ref) ([]Result, error)
	closed func() error
}

func (testSource) Catalog() Catalog { return Catalog{} }
func (s testSource) Poll(ctx context.Context, q Query) (Page, error) {
	return s.poll(ctx, q)
}
func (s testSource) Fetch(ctx context.Context, refs []Ref) ([]Result, error) {
	return s.fetch(ctx, refs)
}
func (s testSource) Close() error {
	if s.closed == nil {
		return nil
	}
	return s.closed()
}

// connect serves open over a real gRPC connection; log gets what the adapter logs.
func connect(t *testing.T, log *bytes.Buffer, options []grpc.DialOption,
	open func(context.Context, testConfig, Env) (Source, error)) *Client {
	t.Helper()
	a, err := newAdapter(Info{Name: "test", Version: "1.2.3", Doc: "A test."}, open)
	if err != nil {
		t.Fatal(err)
	}
	p := &plugged{server: newServer(a, newLogger(log, "debug"))}
	server := p.newGRPCServer(nil)
	if err := p.GRPCServer(nil, server); err != nil {
		t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///test", append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
	})
	client, err := NewClient(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func opened(t *testing.T, c *Client, o Opening) *Opened {
	t.Helper()
	if o.Config == nil {
		o.Config = []byte(`{}`)
	}
	s, err := c.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDescribeAndValidateNeedNoSource(t *testing.T) {
	c := connect(t, &bytes.Buffer{}, nil, func(context.Context, testConfig, Env) (Source, error) {
		t.Error("validation is offline")
		return nil, nil
	})
	info, s, err := c.Describe(t.Context())
	if err != nil || !reflect.DeepEqual(info, Info{Name: "test", Version: "1.2.3", Doc: "A test."}) || len(s.Attributes) != 1 || len(s.Blocks) != 1 {
		t.Errorf("got %+v %+v %v", info, s, err)
	}
	for config, want := range map[string]string{
		`{"name": "good"}`:  "",
		`{"name": "bad"}`:   "name: is bad",
		`{"name": 1}`:       "name: must be a string",
		`{"nam": "canary"}`: "nam: is not known here",
		`{"auth": {"kind": "bearer", "token": [1]}}`: "auth.bearer.token: must be a string",
	} {
		err := c.Validate(t.Context(), []byte(config))
		switch {
		case err == nil && want != "", err != nil && err.Error() != want:
			t.Errorf("%s: got %v, want %q", config, err, want)
		case err != nil && CodeOf(err) != CodeMisconfigured:
			t.Errorf("%s: code is %s", config, CodeOf(err))
		}
	}
	err = c.Validate(t.Context(), []byte(`{"name": "untyped"}`))
	if CodeOf(err) != CodeMisconfigured || strings.Contains(err.Error(), "canary") {
		t.Errorf("an untyped error became %v", err)
	}
}

func TestOneProcessServesManySources(t *testing.T) {
	c := connect(t, &bytes.Buffer{}, nil, func(_ context.Context, c testConfig, env Env) (Source, error) {
		return testSource{poll: func(context.Context, Query) (Page, error) {
			return Page{Watermark: []byte(c.Name + " of " + env.Source + " with " + string(env.State.Section("").Load()))}, nil
		}}, nil
	})
	var wg sync.WaitGroup
	for i := range 50 {
		s := opened(t, c, Opening{Source: fmt.Sprintf("test.%d", i), Config: fmt.Appendf(nil, `{"name": "n%d"}`, i),
			State: fmt.Appendf(nil, "s%d", i)})
		wg.Go(func() {
			for range 5 {
				p, err := s.Poll(t.Context(), Query{})
				if want := fmt.Sprintf("n%d of test.%d with s%d", i, i, i); err != nil || string(p.Watermark) != want {
					t.Errorf("got %q, %v, want %q", p.Watermark, err, want)
				}
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := s.Poll(t.Context(), Query{}); CodeOf(err) != CodeRetryable {
				t.Errorf("polling a closed source: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestAPanicIsAnErrorOfItsCallAndShowsNoValue(t *testing.T) {
	var log bytes.Buffer
	c := connect(t, &log, nil, func(_ context.Context, c testConfig, _ Env) (Source, error) {
		if c.Name == "panics" {
			panic("canary")
		}
		return testSource{
			poll:   func(context.Context, Query) (Page, error) { panicWith("canary"); return Page{}, nil },
			fetch:  func(context.Context, []Ref) ([]Result, error) { return nil, nil },
			closed: func() error { panic(errors.New("canary")) },
		}, nil
	})
	s := opened(t, c, Opening{})
	_, err := s.Poll(t.Context(), Query{})
	if CodeOf(err) != CodeRetryable || errors.Is(err, ErrNoAnswer) {
		t.Errorf("Poll: %v", err)
	}
	_, openErr := c.Open(t.Context(), Opening{Config: []byte(`{"name": "panics"}`)})
	if openErr == nil {
		t.Error("Open: no error")
	}
	if _, err := s.Fetch(t.Context(), nil); err != nil {
		t.Errorf("after the panic: %v", err)
	}
	closeErr := s.Close(t.Context())
	if closeErr == nil {
		t.Error("Close: no error")
	}
	all := fmt.Sprint(err, openErr, closeErr, log.String())
	if strings.Contains(all, "canary") {
		t.Errorf("the value is shown: %s", all)
	}
	if !strings.Contains(log.String(), "sdk.panicWith:") {
		t.Errorf("the log does not name the function: %s", log.String())
	}
}

func panicWith(v any) { panic(v) }

// uncatalogued is a source whose catalog can't be had.
type uncatalogued struct{ testSource }

func (uncatalogued) Catalog() Catalog { panic("of canary") }

// The engine opens it again and again: what each of them holds, connections and goroutines, must not pile up.
func TestASourceWhoseCatalogPanicsIsClosed(t *testing.T) {
	var log bytes.Buffer
	closed := 0
	client := connect(t, &log, nil, func(context.Context, testConfig, Env) (Source, error) {
		return uncatalogued{testSource{closed: func() error { closed++; return nil }}}, nil
	})
	for n := 1; n <= 2; n++ {
		if _, err := client.Open(t.Context(), Opening{Config: []byte(`{}`)}); CodeOf(err) != CodeRetryable || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v", err)
		}
		if closed != n {
			t.Errorf("of %d sources %d are closed", n, closed)
		}
	}
}

func TestCloseWaitsForCallsUnderWayAndTakesNoNewOnes(t *testing.T) {
	polling, release, closed := make(chan bool), make(chan bool), make(chan bool)
	var saved atomic.Value
	c := connect(t, &bytes.Buffer{}, nil, func(_ context.Context, _ testConfig, env Env) (Source, error) {
		return testSource{
			poll: func(context.Context, Query) (Page, error) {
				close(polling)
				<-release
				if err := env.State.Section("").Save(t.Context(), []byte("rotated")); err != nil {
					t.Errorf("a call that Close waits for could not save: %v", err)
				}
				select {
				case <-closed:
					t.Error("closed under a call")
				default:
				}
				return Page{}, nil
			},
			closed: func() error { close(closed); return nil },
		}, nil
	})
	s := opened(t, c, Opening{Save: func(_ context.Context, state []byte) error { saved.Store(string(state)); return nil }})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Poll(t.Context(), Query{}); err != nil {
			t.Error(err)
		}
	})
	<-polling
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(short); CodeOf(err) != CodeRetryable {
		t.Errorf("Close with a call under way: %v", err)
	}
	if _, err := s.Fetch(t.Context(), nil); CodeOf(err) != CodeRetryable {
		t.Errorf("a call during Close: %v", err)
	}
	close(release)
	wg.Wait()
	<-closed
	if saved.Load() != "rotated" {
		t.Error("what was saved while Close waited is lost")
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func TestASourceIsClosedWhenTheAnswerToOpenIsNotAwaited(t *testing.T) {
	opening, release, closed := make(chan bool), make(chan bool), make(chan bool)
	c := connect(t, &bytes.Buffer{}, nil, func(context.Context, testConfig, Env) (Source, error) {
		close(opening)
		<-release // an adapter that ignores its context
		return testSource{closed: func() error { close(closed); return nil }}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-opening; cancel() }()
	if _, err := c.Open(ctx, Opening{Config: []byte(`{}`)}); !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	<-closed
}

func TestWhatIsSavedReachesTheEngineAndItsAnswerComesBack(t *testing.T) {
	c := connect(t, &bytes.Buffer{}, nil, func(ctx context.Context, _ testConfig, env Env) (Source, error) {
		if err := env.State.Section("").Save(ctx, []byte("opened "+env.Source)); err != nil { // a token that was rotated at opening
			return nil, err
		}
		return testSource{poll: func(ctx context.Context, q Query) (Page, error) {
			return Page{}, env.State.Section("").Save(ctx, q.Cursor)
		}}, nil
	})
	var mu sync.Mutex
	saved := map[string]string{}
	open := func(name string) *Opened {
		return opened(t, c, Opening{Source: name, Save: func(_ context.Context, state []byte) error {
			if string(state) == "too much" {
				return Permanent("no space")
			}
			mu.Lock()
			defer mu.Unlock()
			saved[name] = string(state)
			return nil
		}})
	}
	a, b := open("a"), open("b")
	if saved["a"] != "opened a" || saved["b"] != "opened b" {
		t.Errorf("saved at opening: %v", saved)
	}
	var wg sync.WaitGroup
	for range 20 {
		for name, s := range map[string]*Opened{"a": a, "b": b} {
			wg.Go(func() {
				if _, err := s.Poll(t.Context(), Query{Cursor: []byte("polled " + name)}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if saved["a"] != "polled a" || saved["b"] != "polled b" {
		t.Errorf("saved while polling: %v", saved)
	}
	if _, err := a.Poll(t.Context(), Query{Cursor: []byte("too much")}); CodeOf(err) != CodePermanent || err.Error() != "no space" {
		t.Errorf("the engine's refusal arrived as %v", err)
	}
}

func TestAnAdaptersDeadlineIsEnoughEarlierThatItsErrorArrives(t *testing.T) {
	c := connect(t, &bytes.Buffer{}, nil, func(context.Context, testConfig, Env) (Source, error) {
		return testSource{poll: func(ctx context.Context, q Query) (Page, error) {
			if q.Feed == "hangs" {
				ctx = t.Context()
			}
			<-ctx.Done()
			return Page{}, Retryable("GET /appointments: %v", ctx.Err())
		}}, nil
	})
	s := opened(t, c, Opening{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := s.Poll(ctx, Query{}); errors.Is(err, ErrNoAnswer) || err.Error() != "GET /appointments: context deadline exceeded" {
		t.Errorf("got %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Poll(short, Query{Feed: "hangs"}); !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of an adapter that hangs: %v", err)
	}
}

func TestAnAnswerThatIsTooLargeIsAClearError(t *testing.T) {
	limit := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1 << 10)) // instead of MaxMessage, which is the same code
	c := connect(t, &bytes.Buffer{}, []grpc.DialOption{limit}, func(context.Context, testConfig, Env) (Source, error) {
		return testSource{poll: func(context.Context, Query) (Page, error) {
			return Page{Cursor: make([]byte, 1<<11)}, nil
		}}, nil
	})
	_, err := opened(t, c, Opening{}).Poll(t.Context(), Query{})
	if CodeOf(err) != CodePermanent || !strings.Contains(err.Error(), "256 MiB") {
		t.Errorf("got %v", err)
	}
}

func TestAckNeedsAnAcker(t *testing.T) {
	c := connect(t, &bytes.Buffer{}, nil, func(context.Context, testConfig, Env) (Source, error) { return testSource{}, nil })
	if err := opened(t, c, Opening{}).Ack(t.Context(), "f", []byte("t")); CodeOf(err) != CodePermanent {
		t.Errorf("got %v", err)
	}
}

func TestLogLinesAreTheEnginesForm(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, "WARN").With("source", "rest.clinic")
	log.Info("too low")
	log.Error("polling failed", "msg", "mine", "err", fmt.Errorf("patient canary"), "typed", NotFound("GET /patient/{id}: status 404"),
		slog.Group("http", "status", 404, "err", errors.New("canary")))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	attributes, _ := got[LogAttributes].(map[string]any)
	if got["@level"] != "ERROR" || got["@message"] != "polling failed" || attributes["source"] != "rest.clinic" ||
		attributes["msg"] != "mine" || attributes["typed"] != "GET /patient/{id}: status 404" {
		t.Errorf("got %s", out.String())
	}
	if strings.Contains(out.String(), "canary") {
		t.Errorf("a foreign error's text is logged: %s", out.String())
	}
}

// TestACrowdOfSourcesKeepsLessGarbage: the garbage of calls is not to grow with what sources keep.
func TestACrowdOfSourcesKeepsLessGarbage(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	c := connect(t, new(bytes.Buffer), nil, func(context.Context, testConfig, Env) (Source, error) { return &testSource{}, nil })
	for i := range crowd {
		if got := debug.SetGCPercent(100); got != 100 {
			t.Fatalf("with %d sources garbage may grow to %d %%", i, got)
		}
		opened(t, c, Opening{})
	}
	if got := debug.SetGCPercent(100); got != crowdedGC {
		t.Errorf("with %d sources garbage may grow to %d %%, want %d %%", crowd, got, crowdedGC)
	}
}
