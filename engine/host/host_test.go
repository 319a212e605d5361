// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// log is a log that can be read while it is written.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// states is an engine's state for tests.
type states struct {
	mu    sync.Mutex
	saved map[string][]byte
	fail  error
	made  bool // what fails was made all the same
}

func (s *states) LoadState(_ context.Context, source string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved[source], s.fail
}

func (s *states) SaveState(_ context.Context, source string, state []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil || s.made {
		s.saved[source] = state
	}
	return s.fail
}

var test = host.Adapter{Name: "test"}

func newHost(t testing.TB) (*host.Host, *log, *states) {
	t.Helper()
	l, s := new(log), &states{saved: map[string][]byte{}}
	h := host.New(host.Options{
		Logger: slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo})), Bundled: bundled(t), State: s,
	})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", l)
		}
	})
	return h, l, s
}

// ask polls the feed that makes the test adapter do something.
func ask(t testing.TB, s *host.Source, feed string, cursor ...byte) string {
	t.Helper()
	page, err := s.Poll(t.Context(), sdk.Query{Feed: feed, Cursor: cursor})
	if err != nil {
		t.Fatalf("%s: %v", feed, err)
	}
	return string(page.Cursor)
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAnAdapterIsToldTheSpanThatCallsIt(t *testing.T) {
	h, _, _ := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	if got := ask(t, s, "trace"); got != "" {
		t.Errorf("a call that is in no trace came with %q", got)
	}
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	page, err := s.Poll(record.InTrace(t.Context(), parent), sdk.Query{Feed: "trace"})
	if err != nil || string(page.Cursor) != parent {
		t.Errorf("got %q, %v", page.Cursor, err)
	}
}

func TestAnAdapterDescribesItselfAndChecksConfigurations(t *testing.T) {
	h, _, _ := newHost(t)
	d, err := h.Describe(t.Context(), test)
	if err != nil || d.Info.Version != "1.2.3" || len(d.Schema.Attributes) != 3 {
		t.Errorf("got %+v, %v", d, err)
	}
	if err := h.Validate(t.Context(), test, []byte(`{"zone": "UTC"}`)); err != nil {
		t.Error(err)
	}
	var e *sdk.Error
	if err := h.Validate(t.Context(), test, []byte(`{"zone": "Mars"}`)); !errors.As(err, &e) || e.Path != "zone" {
		t.Errorf("got %v", err)
	}
}

func TestSourcesOfOneAdapterShareAProcessUnlessIsolated(t *testing.T) {
	h, _, _ := newHost(t)
	one, two := h.Open(test, "test.one", []byte(`{}`), false), h.Open(test, "test.two", []byte(`{}`), false)
	alone := h.Open(test, "test.alone", []byte(`{}`), true)
	if a, b, c := ask(t, one, "pid"), ask(t, two, "pid"), ask(t, alone, "pid"); a != b || a == c {
		t.Errorf("pids %s and %s, isolated %s", a, b, c)
	}
	if f, err := one.Feed(t.Context(), "b"); err != nil || f.Name != "b" {
		t.Errorf("got %+v, %v", f, err)
	}
	if _, err := one.Feed(t.Context(), "c"); sdk.CodeOf(err) != sdk.CodePermanent || err.Error() != `source test.one has no feed "c"; it has: a, b` {
		t.Errorf("got %v", err)
	}
}

func TestAProcessEndsWithItsLastSource(t *testing.T) {
	h, _, _ := newHost(t)
	one, two := h.Open(test, "test.one", []byte(`{}`), false), h.Open(test, "test.two", []byte(`{}`), false)
	pid := ask(t, one, "pid")
	ask(t, two, "pid")
	if err := one.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := one.Poll(t.Context(), sdk.Query{Feed: "pid"}); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("a closed source: %v", err)
	}
	if got := ask(t, two, "pid"); got != pid {
		t.Errorf("the process changed from %s to %s", pid, got)
	}
	if err := two.Close(t.Context()); err != nil {
		t.Error(err)
	}
	gone(t, pid)
}

func TestSavedStateIsGivenBackAtTheNextOpening(t *testing.T) {
	h, _, kept := newHost(t)
	kept.saved["test.one"] = []byte("from an earlier run")
	s := h.Open(test, "test.one", []byte(`{}`), false)
	if got := ask(t, s, "state"); got != "from an earlier run" {
		t.Errorf("got %q", got)
	}
	ask(t, s, "save", []byte("rotated")...)
	if got := string(kept.saved["test.one"]); got != "rotated" {
		t.Errorf("saved %q", got)
	}
	delete(kept.saved, "test.one") // the host remembers by itself
	kill(t, ask(t, s, "pid"))
	if got := again(t, s, "state"); got != "rotated" {
		t.Errorf("after a restart: %q", got)
	}
	kept.mu.Lock()
	kept.fail = errors.New("no space")
	kept.mu.Unlock()
	if _, err := s.Poll(t.Context(), sdk.Query{Feed: "save", Cursor: []byte("x")}); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("a save that failed: %v", err)
	}
	if _, err := h.Open(test, "test.other", []byte(`{}`), false).Catalog(t.Context()); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("a state that can't be read: %v", err)
	}
}

// A state that says that it failed to save may have saved: what it has counts when the adapter is started again. A refresh token that the
// server has replaced since would be refused, and a person would have to log in.
func TestWhatWasSavedByASaveThatFailedIsGivenBack(t *testing.T) {
	h, _, kept := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	ask(t, s, "save", []byte("first")...)
	pid := ask(t, s, "pid")
	failing := func(err error, made bool) {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		kept.fail, kept.made = err, made
	}
	failing(errors.New("the outcome is not known"), true)
	if _, err := s.Poll(t.Context(), sdk.Query{Feed: "save", Cursor: []byte("rotated")}); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("a save that failed: %v", err)
	}
	failing(nil, false)
	kill(t, pid)
	if got := again(t, s, "state"); got != "rotated" {
		t.Errorf("after a restart: %q", got)
	}
}

// A source that is opened anew by the engine is closed first: what a call saves that is still under way would else be unknown to the
// one that was opened beside it, which would save over it.
func TestASourceIsNotOpenTwice(t *testing.T) {
	h, l, kept := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	late := make(chan error, 1)
	go func() {
		_, err := s.Poll(within(t, 5*time.Second), sdk.Query{Feed: "save late", Cursor: []byte("rotated")})
		late <- err
	}()
	eventually(t, "the call is under way", func() bool { return strings.Contains(l.String(), "it saves late") })
	if _, err := s.Feed(t.Context(), "c"); sdk.CodeOf(err) != sdk.CodePermanent {
		t.Errorf("a feed that there is not: %v", err)
	}
	if got := ask(t, s, "state"); got != "rotated" {
		t.Errorf("it was opened with the state %q while a call was under way that saved another", got)
	}
	if err := <-late; err != nil {
		t.Error(err)
	}
	ask(t, s, "save", []byte("newest")...)
	if got := string(kept.saved["test.one"]); got != "newest" {
		t.Errorf("saved %q", got)
	}
}

// After a reload, a source that could not be closed in time may save something: what the new one has saved since must stay.
func TestASourceThatWasReplacedSavesNoMore(t *testing.T) {
	h, _, kept := newHost(t)
	old := h.Open(test, "test.one", []byte(`{}`), false)
	ask(t, old, "save", []byte("1")...)
	replaced := h.Open(test, "test.one", []byte(`{}`), false)
	if got := ask(t, replaced, "state"); got != "1" {
		t.Errorf("got %q", got)
	}
	ask(t, replaced, "save", []byte("2")...)
	if _, err := old.Poll(t.Context(), sdk.Query{Feed: "save", Cursor: []byte("3")}); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("got %v", err)
	}
	ask(t, h.Open(test, "test.two", []byte(`{}`), false), "save", []byte("other")...)
	if string(kept.saved["test.one"]) != "2" {
		t.Errorf("saved %q", kept.saved["test.one"])
	}
}

// again asks until the adapter is there again.
func again(t testing.TB, s *host.Source, feed string) string {
	t.Helper()
	ctx := within(t, 20*time.Second)
	for {
		page, err := s.Poll(ctx, sdk.Query{Feed: feed})
		if err == nil {
			return string(page.Cursor)
		}
		if ctx.Err() != nil || sdk.CodeOf(err) != sdk.CodeRetryable {
			t.Fatalf("%s: %v", feed, err)
		}
	}
}

// Invariant 8: a source whose EHR is down is not ready, no more; other sources of the same process go on.
func TestInvariant8ASourceThatCantBeOpenedSaysWhyAndIsOpenedLater(t *testing.T) {
	h, _, _ := newHost(t)
	down := t.TempDir()
	bad := h.Open(test, "test.bad", fmt.Appendf(nil, `{"down": %q, "token": "canary-token"}`, down), false)
	good := h.Open(test, "test.good", []byte(`{}`), false)
	for range 2 {
		_, err := bad.Poll(t.Context(), sdk.Query{Feed: "pid"})
		if sdk.CodeOf(err) != sdk.CodeUnauthorized || err.Error() != "opening test.bad: GET /: status 401 with [secret]" {
			t.Errorf("got %v", err)
		}
	}
	pid := ask(t, good, "pid")
	bad2 := h.Open(test, "test.bad", []byte(`{"down": "/nowhere"}`), false) // it is up again
	if got := ask(t, bad2, "pid"); got != pid {
		t.Errorf("opened in %s, not in %s", got, pid)
	}
}

func TestAFetchAnswersEachRefInOrder(t *testing.T) {
	h, _, _ := newHost(t)
	s := h.Open(test, "test.one", []byte(`{"token": "canary-token"}`), false)
	refs := []sdk.Ref{{Kind: "patient", ID: "1"}, {Kind: "failing", ID: "2"}, {Kind: "patient", ID: "3", Args: "x"}}
	results, err := s.Fetch(t.Context(), refs)
	if err != nil || len(results) != 3 {
		t.Fatalf("got %v, %v", results, err)
	}
	for i, r := range results {
		if r.Ref != refs[i] || (r.Err != nil) != (i == 1) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if got := fmt.Sprint(results[1].Err); got != "GET /patient/{id}: status 404 with [secret]" {
		t.Errorf("got %s", got)
	}
	if _, err := s.Fetch(t.Context(), []sdk.Ref{{Kind: "shuffled", ID: "1"}, {Kind: "shuffled", ID: "2"}}); sdk.CodeOf(err) != sdk.CodePermanent {
		t.Errorf("one patient's record for another: %v", err)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	h, _, _ := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	ask(t, s, "pid")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := s.Poll(ctx, sdk.Query{Feed: "hang"}); !errors.Is(err, context.Canceled) || sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("canceled: %v", err)
	}
	if _, err := s.Poll(within(t, 5*time.Second), sdk.Query{Feed: "slow"}); sdk.CodeOf(err) != sdk.CodeRetryable || errors.Is(err, sdk.ErrNoAnswer) {
		t.Errorf("a server that is slow: %v", err)
	}
}

// Invariant 6: whatever an adapter does, what it was given and what surrounds the engine is not shown.
func TestInvariant6NoSecretReachesLogErrorsOrTheAdaptersSurroundings(t *testing.T) {
	t.Setenv("SOME_SECRET", "canary-environment")
	t.Setenv("ROUNDS_STATE_KEY", "canary-key")
	t.Setenv("HTTPS_PROXY", "http://proxy.example")
	h, l, _ := newHost(t)
	h.Hide([]string{"canary-path"})
	s := h.Open(test, "test.one", []byte(`{"token": "canary-token", "down": "/canary-path"}`), false)
	environment := ask(t, s, "environment")
	if !strings.Contains(environment, "HTTPS_PROXY=http://proxy.example") || !strings.Contains(environment, "PATH=") {
		t.Errorf("an adapter needs PATH and the proxy, and has:\n%s", environment)
	}
	pid := ask(t, s, "pid")
	all := environment + surroundings(t, pid)
	ask(t, s, "log")
	for _, feed := range []string{"panic", "error", "foreign", "crash"} {
		_, err := s.Poll(t.Context(), sdk.Query{Feed: feed})
		if err == nil {
			t.Errorf("%s: no error", feed)
		}
		all += fmt.Sprintf("%s: %v %+v\n", feed, err, err)
	}
	again(t, s, "pid")
	noted, err := s.Poll(t.Context(), sdk.Query{Feed: "note"})
	if err != nil || len(noted.Notes) != 1 {
		t.Errorf("notes %v, %v", noted.Notes, err)
	}
	all += fmt.Sprintln(noted.Notes, noted.Included) // the pipeline logs them
	eventually(t, "the end of the process is logged", func() bool {
		return strings.Contains(l.String(), "the adapter ended by itself")
	})
	// The log has what may be there.
	for _, want := range []string{`level=WARN msg="logging in as [secret]" adapter=test err="*errors.errorString (text withheld`,
		`http.header="Bearer [secret]" http.status=401 list=[[secret]] source=test.one token=[secret]`, "host_test.crashDeliberately", "the adapter panicked", "source=test.one"} {
		if !strings.Contains(l.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	all += l.String()
	for line := range strings.Lines(all) {
		if strings.Contains(line, "canary") {
			t.Errorf("shown: %s", line)
		}
	}
	// What is not fit for the log is kept for a person.
	stderr := string(h.Stderr(test))
	for _, want := range []string{"raw canary-token", "printed canary-token", "panic: of canary-token", "goroutine"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	if strings.Contains(l.String(), "too low") {
		t.Error("a line below the engine's level was logged")
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came about: %s", what)
		}
	}
}

func TestBackoffGrowsToItsCapAndIsRandom(t *testing.T) {
	for n, most := range map[int]time.Duration{1: 200 * time.Millisecond, 2: 400 * time.Millisecond, 6: 6400 * time.Millisecond,
		9: 30 * time.Second, 64: 30 * time.Second, 1 << 40: 30 * time.Second} {
		seen := map[time.Duration]bool{}
		for range 100 {
			d := host.Backoff(n)
			if d < most/2 || d > most {
				t.Fatalf("%d: %s", n, d)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("%d: only %d different pauses of 100", n, len(seen))
		}
	}
}

func TestTheRingKeepsTheLast64KiB(t *testing.T) {
	write, got := host.NewRing()
	var all []byte
	for i := range 5000 {
		line := fmt.Appendf(nil, "line %d %s\n", i, strings.Repeat("x", i%300))
		all = append(all, line...)
		if n, err := write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := all[len(all)-64<<10:]; !bytes.Equal(got(), want) {
		t.Errorf("%d bytes, which end in %q", len(got()), got()[len(got())-20:])
	}
	if _, err := write(bytes.Repeat([]byte("y"), 1<<20)); err != nil || string(got()) != strings.Repeat("y", 64<<10) {
		t.Errorf("a large write: %v, %d bytes kept", err, len(got()))
	}
}

func TestOfACrashOnlyFunctionNamesAreTaken(t *testing.T) {
	for in, want := range map[string]string{
		"": "",
		"panic: of canary(x)\n\ngoroutine 7 [running]:\nmain.(*source).Poll(0xc000, {0x1, 0x2})\n\t/src/main.go:7 +0x1d\n" +
			"created by main.main in goroutine 1\n": "main.(*source).Poll",
		"goroutine 1 [running]:\npanic({0x1, 0x2})\nruntime.goexit()\nmain.one(...)\nmain.two[...](0x1)\nthe canary(1)\n\nmain.three(0x1)\n": "main.one < main.two[...]",
	} {
		if got := host.Crashed([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Invariant 6: a secret of digits is one as a number, too.
func TestInvariant6ASecretIsHiddenInNumbersOfTheLog(t *testing.T) {
	var l bytes.Buffer
	host.Bridge(&l, "48151623", []byte(`{"@message":"m","attributes":{"pin":48151623,"list":[148151623.5],"port":443}}`))
	if got := l.String(); strings.Contains(got, "48151623") || !strings.Contains(got, `"port":443`) {
		t.Errorf("logged: %s", got)
	}
}

// FuzzBridge writes what an adapter might; only whole lines of the log come of it, and never a secret.
func FuzzBridge(f *testing.F) {
	const token = "canary-token"
	for _, line := range []string{`{"@message":"m canary-token","@level":"warn","@timestamp":"x","a":[{"b":"canary-token"}],"attributes":{"c":null}}`,
		`{"@message":"m","canary-token":{"canary-token":[{"canary-token":1}]}}`, `{"@message":"m","a":{"":null},"b":1}`, `{"@message":"m","a":{"b":{}},"c":1}`, `{"@message":1,"@level":{}}`, `{"@message":"","attributes":"canary-token"}`, "1|1|unix|/x|grpc|cert", "goroutine 1 [running]:\nmain.f(1)\n"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, output []byte) {
		var l bytes.Buffer
		host.Bridge(&l, token, output)
		for line := range bytes.Lines(l.Bytes()) {
			var members map[string]any
			if err := json.Unmarshal(line, &members); err != nil {
				t.Errorf("%v: %s", err, line)
			}
			if bytes.Contains(line, []byte(token)) {
				t.Errorf("shown: %s", line)
			}
		}
	})
}

func BenchmarkFetch256(b *testing.B) {
	h, _, _ := newHost(b)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	refs := make([]sdk.Ref, 256)
	for i := range refs {
		refs[i] = sdk.Ref{Kind: "patient", ID: fmt.Sprintf("p%06d", i)}
	}
	b.SetBytes(int64(len(refs) * len(document)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Fetch(b.Context(), refs); err != nil {
			b.Fatal(err)
		}
	}
}
