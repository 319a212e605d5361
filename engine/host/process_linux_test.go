// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/sdk"
)

func number(t testing.TB, pid string) int {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func kill(t testing.TB, pid string) {
	t.Helper()
	if err := syscall.Kill(number(t, pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// stopProcess stops a process, and waits until all its threads have: until then it may still answer.
func stopProcess(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process has stopped", func() bool {
		threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat")
		return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(file string) bool {
			stat, _ := os.ReadFile(file)
			_, after, _ := strings.Cut(string(stat), ") ")
			return !strings.HasPrefix(after, "T")
		})
	})
}

// alive says whether a process runs; one that has ended and was not waited for does not.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func gone(t testing.TB, pid string) {
	t.Helper()
	eventually(t, "process "+pid+" has ended", func() bool { return !alive(pid) })
}

// surroundings is what others on the machine could see of a process.
func surroundings(t testing.TB, pid string) string {
	t.Helper()
	all := ""
	for _, file := range []string{"environ", "cmdline"} {
		text, err := os.ReadFile("/proc/" + pid + "/" + file)
		if errors.Is(err, fs.ErrPermission) && file == "environ" && os.Geteuid() != 0 {
			continue // an adapter that has a configuration shows it to root only
		}
		if err != nil || len(text) == 0 {
			t.Fatalf("%s: %v", file, err)
		}
		all += string(text)
	}
	return strings.ReplaceAll(all, "\x00", "\n")
}

func TestAKilledAdapterIsStartedAgainAndItsSourcesOpenedAgain(t *testing.T) {
	h, l, _ := newHost(t)
	one, two := h.Open(test, "test.one", []byte(`{}`), false), h.Open(test, "test.two", []byte(`{}`), false)
	pid := ask(t, one, "pid")
	ask(t, two, "pid")
	child := ask(t, one, "child")
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			_, err := one.Poll(t.Context(), sdk.Query{Feed: "hang"}) // no deadline
			if sdk.CodeOf(err) != sdk.CodeRetryable || !errors.Is(err, sdk.ErrNoAnswer) {
				t.Errorf("a call in flight: %v", err)
			}
		})
	}
	time.AfterFunc(100*time.Millisecond, func() { kill(t, pid) })
	calls.Wait()
	if got := again(t, one, "pid"); got == pid {
		t.Error("nothing was started")
	} else if other := again(t, two, "pid"); other != got {
		t.Errorf("two sources, two processes: %s and %s", got, other)
	}
	gone(t, child)
	eventually(t, "the end is logged", func() bool { return strings.Contains(l.String(), `cause="it ended: signal: killed"`) })
}

func TestAnAdapterThatExitsIsStartedAgain(t *testing.T) {
	h, l, _ := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	if _, err := s.Poll(t.Context(), sdk.Query{Feed: "exit"}); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("got %v", err)
	}
	again(t, s, "pid")
	eventually(t, "the end is logged", func() bool { return strings.Contains(l.String(), `cause="it ended: exit status 7"`) })
	// Within back-off a caller who can't wait that long is told at once.
	if _, err := s.Poll(t.Context(), sdk.Query{Feed: "exit"}); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("got %v", err)
	}
	eventually(t, "the end is noticed", func() bool {
		_, err := s.Poll(within(t, 10*time.Millisecond), sdk.Query{Feed: "pid"})
		return err != nil && strings.HasPrefix(err.Error(), "adapter test starts again in ") &&
			strings.HasSuffix(err.Error(), ", after: it ended: exit status 7")
	})
}

// A crash is told of the life that ended by it, and not of one that ends in another way later.
func TestACrashOfBeforeIsNotTheCauseOfAnEnd(t *testing.T) {
	h, l, _ := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	for _, feed := range []string{"crash", "exit"} {
		again(t, s, "pid")
		if _, err := s.Poll(t.Context(), sdk.Query{Feed: feed}); sdk.CodeOf(err) != sdk.CodeRetryable {
			t.Errorf("%s: %v", feed, err)
		}
	}
	eventually(t, "both ends are logged", func() bool { return strings.Count(l.String(), "the adapter ended by itself") == 2 })
	if n := strings.Count(l.String(), "host_test.crashDeliberately"); n != 1 {
		t.Errorf("the crash is told %d times", n)
	}
}

func TestAnAdapterThatHangsIsFoundByPings(t *testing.T) {
	h, l, _ := newHost(t)
	host.Hurry(h, 30*time.Second, 100*time.Millisecond, time.Second)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	pid := ask(t, s, "pid")
	stopProcess(t, number(t, pid))
	if _, err := s.Poll(t.Context(), sdk.Query{Feed: "pid"}); sdk.CodeOf(err) != sdk.CodeRetryable { // no deadline
		t.Errorf("a call in flight: %v", err)
	}
	if got := again(t, s, "pid"); got == pid {
		t.Error("it was not replaced")
	}
	gone(t, pid)
	eventually(t, "the cause is logged", func() bool {
		return strings.Contains(l.String(), `cause="it hung: no answer to a ping for 1s"`)
	})
}

func TestAnAdapterThatAnswersNoCallIsGivenUpAfterThree(t *testing.T) {
	h, l, _ := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	pid := ask(t, s, "pid")
	poll := func(feed string, n int) {
		var calls sync.WaitGroup
		for range n {
			calls.Go(func() { _, _ = s.Poll(within(t, 5*time.Second), sdk.Query{Feed: feed}) }) // all end by their deadline
		}
		calls.Wait()
	}
	poll("slow", 6) // a server that does not answer: its adapter says so in time
	poll("hang", 2)
	if got := ask(t, s, "pid"); got != pid { // an answer: the count begins anew
		t.Fatal("it was given up too early")
	}
	poll("hang", 3)
	if got := again(t, s, "pid"); got == pid {
		t.Error("it was not replaced")
	}
	eventually(t, "the cause is logged", func() bool {
		return strings.Contains(l.String(), `cause="it hung: 3 calls in a row had no answer before their deadline"`)
	})
}

// TestWhatIsAnsweredOfflineIsAnsweredInTime: nobody else gives these calls a deadline, and a start or a reload would wait for ever.
func TestWhatIsAnsweredOfflineIsAnsweredInTime(t *testing.T) {
	h, _, _ := newHost(t)
	host.Hurry(h, 3*time.Second, time.Minute, time.Minute)
	err := h.Validate(t.Context(), test, []byte(`{"zone": "Hades"}`))
	if err == nil || !strings.Contains(err.Error(), "Validate: deadline exceeded") {
		t.Errorf("got %v", err)
	}
}

// TestAnAdapterThatTakesTooMuchMemoryIsEnded, from its start on, and says what was too much.
func TestAnAdapterThatTakesTooMuchMemoryIsEnded(t *testing.T) {
	h, _, _ := newHost(t)
	_, err := h.Describe(t.Context(), host.Adapter{Name: "eats", Memory: 300})
	if err == nil || !strings.Contains(err.Error(), " MiB of memory and may take 300 (memory_limit)") {
		t.Errorf("got %v", err)
	}
	modest := h.Open(host.Adapter{Name: "test", Memory: 300}, "test.one", []byte(`{}`), false)
	if !strings.Contains(ask(t, modest, "environment"), "GOMEMLIMIT=283115520") {
		t.Error("Go's collector is not told of the limit")
	}
	eventually(t, "its memory is known", func() bool {
		return slices.ContainsFunc(h.Processes(), func(p host.Process) bool { return p.Memory > 1<<20 && p.Memory < 300<<20 })
	})
}

// TestWithoutAPlaceForItsSocketNoAdapterStarts, and who waits for it is told why.
func TestWithoutAPlaceForItsSocketNoAdapterStarts(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		"/no/such/directory": "can't be started: no directory for its socket can be made in /no/such/directory (TMPDIR)",
		long:                 "can't be started: the path of the directory for temporary files (TMPDIR) is too long for a socket in it",
	} {
		t.Run(want, func(t *testing.T) {
			h, _, _ := newHost(t)
			t.Setenv("TMPDIR", dir)
			_, err := h.Describe(within(t, 20*time.Second), test)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestAdapterAndEngineSpeakMutualTLS: others on the machine may find the socket.
func TestAdapterAndEngineSpeakMutualTLS(t *testing.T) {
	h, _, _ := newHost(t)
	s := h.Open(test, "test.one", []byte(`{}`), false)
	environment := ask(t, s, "environment")
	if !strings.Contains(environment, "PLUGIN_CLIENT_CERT=-----BEGIN CERTIFICATE-----") {
		t.Error("the adapter is not told the engine's certificate")
	}
	if parts := host.Handshake(h, test); len(parts) < 6 || len(parts[5]) < 100 {
		t.Errorf("the adapter's handshake has no certificate: %d parts", len(parts))
	}
}

func TestAProcessThatNoSourceUsesEnds(t *testing.T) {
	h, _, _ := newHost(t)
	if _, err := h.Describe(t.Context(), test); err != nil {
		t.Fatal(err)
	}
	alone := h.Open(test, "test.alone", []byte(`{}`), true)
	pid := ask(t, alone, "pid")
	h.EndUnused()
	eventually(t, "the process that was only asked to describe itself has ended", func() bool { return slices.Equal(children(t), []string{pid}) })
}

func TestNoAdapterSurvivesClose(t *testing.T) {
	h, _, _ := newHost(t)
	s, alone := h.Open(test, "test.one", []byte(`{}`), false), h.Open(test, "test.alone", []byte(`{}`), true)
	pids := []string{ask(t, s, "pid"), ask(t, s, "child"), ask(t, alone, "pid")}
	stopProcess(t, number(t, pids[2])) // hung
	starting := h.Open(host.Adapter{Name: "silent"}, "silent.one", []byte(`{}`), false)
	failed := make(chan error)
	go func() {
		_, err := starting.Catalog(t.Context())
		failed <- err
	}()
	eventually(t, "the third adapter is starting", func() bool { return len(children(t)) == 3 })
	begun := time.Now()
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("took %s", took)
	}
	if err := <-failed; sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("who waited for the start got %v", err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("%s lives", pid)
		}
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := s.Poll(t.Context(), sdk.Query{Feed: "pid"}); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("after Close: %v", err)
	}
	if _, err := h.Describe(t.Context(), test); sdk.CodeOf(err) != sdk.CodeRetryable {
		t.Errorf("after Close: %v", err)
	}
}

// children are the processes that this one has started.
func children(t testing.TB) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		all = append(all, strings.Fields(string(text))...)
	}
	return all
}

func TestNoOrphanStaysWhenTheEngineIsKilled(t *testing.T) {
	for _, mode := range []string{"with-signal", "without-signal", "stopped"} {
		t.Run(mode, func(t *testing.T) {
			sockets, err := os.MkdirTemp("", "rounds") // t.TempDir is too long for a socket's path
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.RemoveAll(sockets) }()
			engine := exec.Command(bundled(t)[0], "engine", mode)
			engine.Env = append(os.Environ(), "TMPDIR="+sockets)
			engine.Stderr = os.Stderr
			out, err := engine.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := engine.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pid := strings.TrimSpace(line)
			if !alive(pid) {
				t.Fatalf("no adapter: %s", line)
			}
			if err := engine.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = engine.Wait() // "signal: killed"
			gone(t, pid)
			if left, err := os.ReadDir(sockets); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestAdaptersAreEndedBeforeTheEngineWhenMemoryRunsOut(t *testing.T) {
	h, _, _ := newHost(t)
	pid := ask(t, h.Open(test, "test.one", []byte(`{}`), false), "pid")
	score := func(pid string) int {
		text, err := os.ReadFile("/proc/" + pid + "/oom_score_adj")
		if err != nil {
			t.Fatal(err)
		}
		return number(t, strings.TrimSpace(string(text)))
	}
	if own, its := score("self"), score(pid); its <= own && own < 1000 {
		t.Errorf("the adapter's score is %d, the engine's %d", its, own)
	}
}

func TestWhatCantBeStartedSaysWhy(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	talks := file("talks", "#!/bin/sh\necho hello from canary\nsleep 100\n", 0o755)
	sum := sha256.Sum256([]byte("#!/bin/sh\necho hello from canary\nsleep 100\n"))
	right := hex.EncodeToString(sum[:])
	wrong := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		adapter host.Adapter
		want    string // % stands for the path
	}{
		"missing":        {host.Adapter{Path: filepath.Join(dir, "nowhere")}, "there is no file %"},
		"directory":      {host.Adapter{Path: dir}, "% is not a file"},
		"not executable": {host.Adapter{Path: file("plain", "x", 0o644)}, "% is not executable (chmod +x)"},
		"not a program":  {host.Adapter{Path: file("garbage", "\x7fgarbage", 0o755)}, "% can't be started: it is not a program for this system"},
		"no interpreter": {host.Adapter{Path: file("lost", "#!/no/such/interpreter\n", 0o755)},
			"% can't be started: the file, or the interpreter or loader that it names, does not exist"},
		"wrong hash": {host.Adapter{Path: talks, SHA256: wrong},
			"% is not the file that the configuration means: its sha256 is " + right + ", expected is " + wrong +
				"; put the right file back, or, if it was replaced on purpose, the new sha256 into the configuration"},
		"half a hash": {host.Adapter{Path: talks, SHA256: "abcd"}, "its sha256 must be 64 hexadecimal digits"},
		"right hash, no adapter": {host.Adapter{Path: talks, SHA256: "sha256:" + strings.ToUpper(right)},
			"% is not an adapter: its first output is not an adapter's handshake"},
		"exits": {host.Adapter{Path: file("exits", "#!/bin/sh\necho canary >&2\nexit 3\n", 0o755)},
			"% is not an adapter, or failed at its start: it ended without a handshake (exit status 3, 1 lines on stderr; " +
				"it shows them when it is started by hand with ROUNDS_ADAPTER=adapter-v1 in its environment)"},
		"version": {host.Adapter{Name: "version2"},
			"% speaks version 2 of the adapter protocol, this engine speaks 1: use an adapter and an engine of the same version"},
		"not gRPC":      {host.Adapter{Name: "netrpc"}, "% said hello, and then no connection came about: it does not speak gRPC: the fifth field of its handshake line must be grpc"},
		"configuration": {host.Adapter{Name: "badconfig"}, "% is not an adapter, or failed at its start: it ended without a handshake (exit status 1, 0 lines on stderr)"},
		"endless line":  {host.Adapter{Path: file("endless", "#!/bin/sh\nexec tr '\\0' x < /dev/zero\n", 0o755)}, "% is not an adapter: its first output is not an adapter's handshake"},
		"start timeout": {host.Adapter{Name: "silent"}, "% did not start in time: no handshake within 3s"},
	} {
		t.Run(name, func(t *testing.T) {
			h, l, _ := newHost(t)
			host.Hurry(h, 3*time.Second, time.Minute, time.Minute)
			if c.adapter.Name == "" {
				c.adapter.Name = "x"
			}
			path := c.adapter.Path
			if path == "" {
				path = bundled(t)[0]
			}
			_, err := h.Describe(t.Context(), c.adapter)
			want := "adapter " + c.adapter.Name + ": " + strings.ReplaceAll(c.want, "%", path)
			if err == nil || err.Error() != want || sdk.CodeOf(err) != sdk.CodeRetryable {
				t.Errorf("got\n%v, want\n%s", err, want)
			}
			if strings.Contains(l.String(), "canary") {
				t.Errorf("logged: %s", l)
			}
			if name == "configuration" && !strings.Contains(l.String(), "config.C: chan int can't be configured") {
				t.Errorf("the reason is not logged: %s", l)
			}
		})
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	_, err := host.New(host.Options{}).Describe(t.Context(), test)
	if err == nil || err.Error() != "adapter test is not bundled with this engine: name its file by `path`" {
		t.Errorf("got %v", err)
	}
}

func TestTheExampleAdapterWorksThroughTheHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "adapter-minimal")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = filepath.Join("..", "..", "examples", "adapter-minimal")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var since []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/appointments":
			since = append(since, r.FormValue("since"))
			_, _ = w.Write([]byte(`{"appointments": [{"id": "a1", "lastUpdated": "2022-05-10T10:00:00Z", "patientID": "p1"}, {"id": 7}]}`))
		case "/patients/p1":
			_, _ = w.Write([]byte(`{"id": "p1", "name": "Ada"}`))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	h, _, _ := newHost(t)
	s := h.Open(host.Adapter{Name: "minimal", Path: path, SHA256: hex.EncodeToString(sum[:])}, "minimal.clinic",
		[]byte(`{"base_url": "`+server.URL+`", "token": "x"}`), false)
	if _, err := s.Feed(t.Context(), "appointments"); err != nil {
		t.Fatal(err)
	}
	page, err := s.Poll(t.Context(), sdk.Query{Feed: "appointments", Overlap: time.Minute})
	if err != nil || len(page.Changes) != 2 || page.Changes[0].Ref.ID != "a1" || page.Changes[0].Err != nil || page.Changes[1].Err == nil {
		t.Fatalf("got %+v, %v", page, err)
	}
	if _, err = s.Poll(t.Context(), sdk.Query{Feed: "appointments", Overlap: time.Minute, Watermark: page.Watermark}); err != nil {
		t.Fatal(err)
	}
	if want := "2022-05-10T09:58:59Z"; len(since) != 2 || since[1] != want {
		t.Errorf("asked since %q, want %s", since, want)
	}
	results, err := s.Fetch(t.Context(), []sdk.Ref{{Kind: "patient", ID: "p1"}, {Kind: "patient", ID: "p2"}})
	if err != nil || string(results[0].Data) != `{"id": "p1", "name": "Ada"}` || sdk.CodeOf(results[1].Err) != sdk.CodeNotFound {
		t.Errorf("got %+v, %v", results, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
