// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/sdk"
)

// debugged is an adapter's program that was started by hand in debug mode.
type debugged struct {
	command *exec.Cmd
	stderr  *log
	at      netip.AddrPort
}

var waitsAt = regexp.MustCompile(`--attach \w+=(\S+)`)

// debug starts the test adapter in debug mode. The certificates are kept in a directory of the test's own.
func debug(t testing.TB, address string) *debugged {
	t.Helper()
	d := &debugged{stderr: new(log)}
	self := bundled(t)
	d.command = exec.Command(self[0], "adapter", "test")
	d.command.Env = append(os.Environ(), sdk.DebugVariable+"="+address)
	d.command.Stderr = d.stderr
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.end)
	eventually(t, "it waits", func() bool { return waitsAt.MatchString(d.stderr.String()) })
	var err error
	if d.at, err = netip.ParseAddrPort(waitsAt.FindStringSubmatch(d.stderr.String())[1]); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *debugged) end() {
	_ = d.command.Process.Kill()
	_ = d.command.Wait()
}

// cache gives the test a directory for certificates.
func cache(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	return dir
}

func newAttaching(t testing.TB, at netip.AddrPort) (*host.Host, *log) {
	t.Helper()
	l := new(log)
	h := host.New(host.Options{
		Logger: slog.New(slog.NewTextHandler(l, nil)), State: &states{saved: map[string][]byte{}}, Attach: map[string]netip.AddrPort{"test": at},
	})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", l)
		}
	})
	return h, l
}

const warning = "THIS ADAPTER IS ATTACHED TO BE DEBUGGED"

func TestAnAdapterThatAPersonStartedIsAttached(t *testing.T) {
	cache(t)
	d := debug(t, "127.0.0.1:0")
	h, l := newAttaching(t, d.at)
	if got, err := h.Describe(t.Context(), test); err != nil || got.Info.Version != "1.2.3" {
		t.Errorf("got %+v, %v", got, err)
	}
	var e *sdk.Error
	if err := h.Validate(t.Context(), test, []byte(`{"zone": "Mars"}`)); !errors.As(err, &e) || e.Path != "zone" {
		t.Errorf("got %v", err)
	}
	s, alone := h.Open(test, "test.one", []byte(`{"token": "canary-token"}`), false), h.Open(test, "test.alone", []byte(`{}`), true)
	for _, source := range []*host.Source{s, alone} {
		if got := ask(t, source, "pid"); number(t, got) != d.command.Process.Pid {
			t.Errorf("it is process %s that answers, and not the one that was attached", got)
		}
	}
	ask(t, s, "save", []byte("kept")...)
	if _, err := s.Poll(t.Context(), sdk.Query{Feed: "error"}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(l.String(), warning); n != 2 { // each is a connection of its own
		t.Errorf("%d warnings", n)
	}
	if list := h.Processes(); len(list) != 2 || list[0].Attached != d.at || list[0].PID != 0 || list[0].Since.IsZero() {
		t.Errorf("got %+v", list)
	}
	// Its memory may be read, or a debugger that is started later could do nothing.
	if _, err := os.ReadFile("/proc/" + ask(t, s, "pid") + "/environ"); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "it knows that the engine has gone", func() bool { return strings.Count(d.stderr.String(), "the engine has gone") == 2 })
	if !alive(ask(t, mustAttach(t, d), "pid")) {
		t.Error("it ended with the engine")
	}
}

func mustAttach(t testing.TB, d *debugged) *host.Source {
	h, _ := newAttaching(t, d.at)
	return h.Open(test, "test.one", []byte(`{}`), false)
}

func TestTheWarningOfAnAttachedAdapterComesAgain(t *testing.T) {
	cache(t)
	h, l := newAttaching(t, debug(t, "[::1]:0").at)
	host.Remind(h, 20*time.Millisecond)
	ask(t, h.Open(test, "test.one", []byte(`{}`), false), "pid")
	eventually(t, "it comes again", func() bool { return strings.Count(l.String(), warning) > 3 })
}

func TestASourceIsOpenedAgainWhenItsAttachedAdapterIsBuiltAnew(t *testing.T) {
	cache(t)
	d := debug(t, "127.0.0.1:0")
	h, l := newAttaching(t, d.at)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	for range 3 { // it would be put off ever longer if the engine had started it
		ask(t, s, "save", []byte("kept")...)
		ask(t, s, "pid")
		d.end()
		eventually(t, "it is missed", func() bool { open, _ := s.Status(); return !open })
		answer := make(chan string, 1)
		go func() {
			page, err := s.Poll(within(t, time.Minute), sdk.Query{Feed: "pid"}) // which waits
			answer <- fmt.Sprintf("%s, %v", page.Cursor, err)
		}()
		time.Sleep(time.Second) // so long nothing is there
		d = debug(t, d.at.String())
		if got, want := <-answer, fmt.Sprintf("%d, <nil>", d.command.Process.Pid); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := ask(t, s, "state"); got != "kept" {
			t.Errorf("the saved state is %q", got)
		}
	}
	if !strings.Contains(l.String(), "the attached adapter has gone; it is waited for") {
		t.Error("nothing says that it is waited for")
	}
}

// At a breakpoint all threads stand still.
func TestAnAttachedAdapterMayStandStill(t *testing.T) {
	cache(t)
	d := debug(t, "127.0.0.1:0")
	h, _ := newAttaching(t, d.at)
	host.Hurry(h, 30*time.Second, 10*time.Millisecond, 10*time.Millisecond)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	ask(t, s, "pid")
	stopProcess(t, d.command.Process.Pid)
	for range 4 { // one more than makes an engine end a process of its own
		if _, err := s.Poll(within(t, 1100*time.Millisecond), sdk.Query{Feed: "pid"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	if err := d.command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	ask(t, s, "pid")
	if list := h.Processes(); list[0].Starts != 1 {
		t.Errorf("it was attached %d times", list[0].Starts)
	}
	stopProcess(t, d.command.Process.Pid) // it must not keep an engine from ending
	closing := make(chan error, 1)
	go func() {
		_ = s.Close(within(t, 100*time.Millisecond)) // it has no answer
		closing <- h.Close()
	}()
	select {
	case err := <-closing:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the engine does not end")
	}
}

func TestAnAdapterIsDebuggedAtALoopbackAddressOnly(t *testing.T) {
	cache(t)
	for _, address := range []string{"0.0.0.0:0", "192.0.2.1:4711", "[::]:0", "localhost:4711", ":4711", "127.0.0.1", "[::ffff:192.0.2.1]:0"} {
		if _, err := sdk.Loopback(address); err == nil {
			t.Errorf("%s was taken by the engine", address)
		}
		c := exec.Command(bundled(t)[0], "adapter", "test")
		c.Env = append(os.Environ(), sdk.DebugVariable+"="+address)
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "such as 127.0.0.1:4711") {
			t.Errorf("%s: %v\n%s", address, err, out)
		}
	}
	for _, address := range []string{"127.0.0.1:4711", "127.8.8.8:1", "[::1]:4711", "[::ffff:127.0.0.1]:4711"} {
		if _, err := sdk.Loopback(address); err != nil {
			t.Error(err)
		}
	}
}

// An engine starts its adapters without this, but one that has it in its environment all the same must not listen.
func TestAnAdapterThatAnEngineStartsIsNotDebugged(t *testing.T) {
	cache(t)
	t.Setenv(sdk.DebugVariable, "127.0.0.1:0")
	h, l, _ := newHost(t)
	if got := ask(t, h.Open(test, "test.one", []byte(`{}`), false), "environment"); strings.Contains(got, sdk.DebugVariable) {
		t.Error("the variable reached the adapter")
	}
	if strings.Contains(l.String(), warning) || h.Processes()[0].Attached.IsValid() {
		t.Error("it was attached")
	}
}

// Other users of the machine reach a loopback port as well. They have neither the adapter's certificate nor its key.
func TestNobodyButTheSameUserIsServedByADebuggedAdapter(t *testing.T) {
	mine := cache(t)
	d := debug(t, "127.0.0.1:0")
	cache(t) // another user's
	other := debug(t, "127.0.0.1:0")
	if _, err := mustAttach(t, d).Catalog(t.Context()); err == nil || !strings.Contains(err.Error(), "no adapter of this user has waited at") {
		t.Errorf("without a certificate: %v", err)
	}
	stranger, err := sdk.DebugTLS(other.at)
	if err != nil {
		t.Fatal(err)
	}
	stranger.InsecureSkipVerify = true
	for name, config := range map[string]*tls.Config{
		"with another certificate": stranger,
		"with none":                {InsecureSkipVerify: true, NextProtos: []string{"h2"}},
	} {
		conn, err := tls.Dial("tcp", d.at.String(), config)
		if err == nil { // the server looks at the client's certificate after the client has done
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || !strings.HasPrefix(err.Error(), "remote error: tls: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	plain, err := net.Dial("tcp", d.at.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(plain); strings.Contains(string(answer), "HTTP") {
		t.Errorf("it answers without TLS: %q", answer)
	}
	eventually(t, "it says so", func() bool { return strings.Count(d.stderr.String(), "was refused") == 3 })
	t.Setenv("XDG_CACHE_HOME", mine)
	if _, err := mustAttach(t, d).Catalog(t.Context()); err != nil {
		t.Error(err)
	}
}

// When the adapter has ended, another user may listen at its port, to be given what the configuration holds.
func TestNothingIsSentToWhoeverListensInPlaceOfADebuggedAdapter(t *testing.T) {
	cache(t)
	theirs, err := sdk.DebugTLS(debug(t, "127.0.0.1:0").at)
	if err != nil {
		t.Fatal(err)
	}
	d := debug(t, "127.0.0.1:0")
	d.end()
	listener, err := net.Listen("tcp", d.at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	theirs.ClientAuth = tls.NoClientCert
	var mu sync.Mutex
	var got []byte
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			text, _ := io.ReadAll(tls.Server(conn, theirs))
			mu.Lock()
			got = append(got, text...)
			mu.Unlock()
		}
	}()
	_, err = mustAttach(t, d).Catalog(within(t, 5*time.Second))
	if err == nil || !strings.Contains(err.Error(), "is not the adapter that this user started there last") {
		t.Errorf("got %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) > 0 {
		t.Errorf("it was sent %d bytes", len(got))
	}
}

func TestTheCertificateOfADebuggedAdapterIsItsUsersOnly(t *testing.T) {
	dir := cache(t)
	debug(t, "127.0.0.1:0")
	files, err := filepath.Glob(filepath.Join(dir, "rounds", "debug", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range []string{files[0], filepath.Dir(files[0])} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %s", filepath.Base(path), info.Mode())
		}
	}
}
