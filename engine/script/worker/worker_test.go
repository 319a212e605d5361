// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/engine/script/worker"
	"github.com/rounds-engine/rounds/sdk"
)

// This program is its own worker.
func TestMain(m *testing.M) {
	if os.Getenv(sdk.CookieVariable) == sdk.CookieValue {
		if len(os.Args) > 1 {
			pretend(os.Args[1:])
		} else {
			serve()
		}
		return
	}
	os.Exit(m.Run())
}

func serve() {
	if err := worker.Serve(os.Stdin, os.Stdout, worker.Memory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// logged is what was logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorker(t testing.TB, arguments ...string) (*worker.Worker, *logged) {
	t.Helper()
	log := &logged{}
	w := worker.New(worker.Options{Command: append([]string{os.Args[0]}, arguments...), Name: "appointments", Logger: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(w.End)
	return w, log
}

func bundle(t testing.TB, text string) *script.Bundle {
	t.Helper()
	path := filepath.Join(t.TempDir(), "map.js")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := script.NewBundle(path, script.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func numbered(n int) *record.Record {
	return &record.Record{
		Change:  sdk.Change{Ref: sdk.Ref{Kind: "appointment", ID: fmt.Sprint("A", n)}, Version: "1", Op: sdk.Updated, Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))},
		Fetched: map[string]json.RawMessage{"patient": json.RawMessage(`{"name":"Canary"}`)},
	}
}

const tooMuch = "map.js:1:16: the mapping ended its worker: it took more than 256 MiB of memory"

// bombs are bodies of a mapping, and what its error says.
var bombs = map[string]struct{ body, want string }{
	"one string of a gigabyte": {`return { v: "x".repeat(1 << 30) };`, tooMuch},
	"an endless array":         {`const a = []; for (;;) a.push(new ArrayBuffer(1 << 26));`, tooMuch},
	"a getter":                 {`return { get v() { return "x".repeat(1 << 30); } };`, tooMuch},
	"a loop":                   {`for (;;);`, "took longer than the limit of 1s; look for an endless loop"},
	"a recursion":              {`const f = () => f(); return f();`, "calls are nested deeper than 2000"},
	"a backtracking pattern":   {`return { v: /^(?=)(a+)+$/.test("a".repeat(40) + "b") };`, "took longer than the limit of 1s; look for an endless loop"},
	"a step of hours":          {`return { v: new Array(4294967290).includes(5) };`, "; its worker was ended, as it could not be stopped"},
	"a throwing proxy":         {`throw new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; } });`, "what was thrown can't be looked at"},
	"a cycle":                  {`const v = {}; v.v = v; return v;`, "contains itself"},
	"too much":                 {`let v = "x".repeat(1 << 10); while (v.length <= 4 << 20) v += v; return { v };`, "returned more than the limit of 4 MiB"},
	"much of nothing":          {`const v = {}, k = "k".repeat(1 << 16); for (let i = 0; i < 80; i++) v[k + i] = {}; return v;`, "returned more than the limit of 4 MiB"},
}

// TestInvariant8ABombEndsTheWorkerAtTheWorst, and what is mapped beside it has its result.
func TestInvariant8ABombEndsTheWorkerAtTheWorst(t *testing.T) {
	t.Parallel()
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, log := newWorker(t)
			b := bundle(t, "export default ({ change }) => { if (change.data.n % 7 === 3) { "+bomb.body+" } return { n: change.data.n }; };")
			var wg sync.WaitGroup
			for g := range 3 {
				wg.Go(func() {
					for i := range 3 {
						n := 3*i + g // 3 is a bomb
						body, err := w.Map(t.Context(), b, numbered(n), script.Context{Now: time.Now()})
						for tries := 0; (n%7 != 3 || strings.HasPrefix(name, "too much")) && timedOut(err) && tries < 20; tries++ { // a machine under load
							body, err = w.Map(t.Context(), b, numbered(n), script.Context{Now: time.Now()})
						}
						var failed *script.Error
						switch {
						case n%7 != 3:
							if want := fmt.Sprintf(`{"n":%d}`, n); err != nil || string(body) != want {
								t.Errorf("got %s, %v, want %s", body, err, want)
							}
						case !errors.As(err, &failed) || !strings.Contains(err.Error(), bomb.want) || failed.Abandoned || body != nil:
							t.Errorf("got %.100s, %v, want %q", body, err, bomb.want)
						}
					}
				})
			}
			wg.Wait()
			if text := log.String(); strings.Contains(text, "Canary") || strings.Contains(text, "xxx") {
				t.Errorf("the log holds content: %s", text)
			}
		})
	}
}

func timedOut(err error) bool {
	var failed *script.Error
	return errors.As(err, &failed) && failed.TimedOut
}

// A module that is a bomb when it is evaluated is found when it is checked.
func TestAModuleIsCheckedInTheWorker(t *testing.T) {
	t.Parallel()
	w, _ := newWorker(t)
	for text, want := range map[string]string{
		`export default () => null;`: "",
		`export default 5;`:          "map.js:1:1: the default export is a number, not a function",
		`const v = "x".repeat(1 << 30); export default () => ({ v })`: "map.js:1:1: evaluating the module ended its worker: it took more than 256 MiB of memory",
		`for (;;); export default () => null;`:                        "took longer than the limit of 1s",
		`throw new Error("no"); export default () => null;`:           "Error (the message is withheld, it may quote the record)",
	} {
		if err := w.Check(t.Context(), bundle(t, text)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// What an end from outside interrupted is mapped again: nothing of it is to blame.
func TestWhatTheEndOfAWorkerInterruptsIsMappedAgain(t *testing.T) {
	t.Parallel()
	asked := filepath.Join(t.TempDir(), "asked")
	w, log := newWorker(t, "hangs", "hangs "+asked) // until there is that file, which it makes
	b := bundle(t, "export default () => ({ v: 1 });")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if body, err := w.Map(t.Context(), b, numbered(1), script.Context{Now: time.Now()}); string(body) != `{"v":2}` || err != nil {
				t.Errorf("got %s, %v", body, err)
			}
		})
	}
	for {
		if _, err := os.Stat(asked); err == nil {
			break
		}
		runtime.Gosched()
	}
	killed, err := os.FindProcess(w.Status().PID)
	if err != nil {
		t.Fatal(err)
	}
	_ = killed.Kill()
	wg.Wait()
	if st := w.Status(); st.Ends != 1 || st.PID == killed.Pid || !strings.Contains(log.String(), "it ended by itself (signal: killed)") {
		t.Errorf("%+v, and logged is %s", st, log)
	}
}

// One that is ended from outside each time is given up after three, with an error of the script; the number of tries is bounded.
func TestTheNumberOfTriesIsBounded(t *testing.T) {
	t.Parallel()
	w, _ := newWorker(t, "dies")
	_, err := w.Map(t.Context(), bundle(t, "export default () => ({ v: 1 });"), numbered(1), script.Context{Now: time.Now()})
	if want := "map.js:1:1: the mapping ended its worker: it ended by itself (exit status 9)"; err == nil || err.Error() != want || w.Status().Ends != 3 {
		t.Errorf("after %d ends: %v, want %s", w.Status().Ends, err, want)
	}
}

func TestAnEndedWorkerBeginsAgain(t *testing.T) {
	t.Parallel()
	w, log := newWorker(t)
	b := bundle(t, "export default () => ({ v: 1 });")
	var pids []int
	for range 2 {
		if body, err := w.Map(t.Context(), b, numbered(1), script.Context{Now: time.Now()}); string(body) != `{"v":1}` || err != nil {
			t.Fatalf("%s, %v", body, err)
		}
		pids = append(pids, w.Status().PID)
		w.End()
		if st := w.Status(); st.PID != 0 || st.Ends != 0 {
			t.Errorf("%+v", st)
		}
	}
	if pids[0] == pids[1] || log.String() != "" {
		t.Errorf("processes %v, logged is %s", pids, log)
	}
}

// A stop is not a fault of the script, and does not end the worker.
func TestAStopEndsTheMapping(t *testing.T) {
	t.Parallel()
	w, _ := newWorker(t)
	loop := bundle(t, "export default () => { for (;;); };")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for worker.InFlight(w) == 0 {
			runtime.Gosched()
		}
		cancel()
	}()
	if _, err := w.Map(ctx, loop, numbered(1), script.Context{Now: time.Now()}); !errors.Is(err, context.Canceled) && !timedOut(err) {
		t.Errorf("got %v", err)
	}
	if w.Status().Ends != 0 {
		t.Errorf("%+v", w.Status())
	}
}

// A worker that a script has taken over could answer anything.
func TestInvariant6WhatAWorkerSaysIsLookedAt(t *testing.T) {
	t.Parallel()
	b := bundle(t, "export default ({ change }) => ({ visible: change.id });")
	for mode, want := range map[string]string{
		"body {\"v\":1}":      "",
		"body {\"v\":":        "gave an answer that was none",
		"body {\n\"v\":1}":    "gave an answer that was none",
		"body [1]":            "gave an answer that was none",
		"body \xff":           "gave an answer that was none",
		"deep":                "gave an answer that was none",
		"large":               "gave an answer that was none",
		"unasked":             "gave an answer that was none",
		"garbage":             "gave an answer that was none",
		"text Canary is here": "map.js:7:3: failed (what its worker says of that is withheld)",
		"text TypeError (the message is withheld, it may quote the record)": "map.js:7:3: TypeError (the message is withheld, it may quote the record)",
		"text visible is undefined, 12":                                     "map.js:7:3: visible is undefined, 12",
		"text 1234567890":                                                   "withheld",
		"place":                                                             "map.js:1:1: is not a function",
	} {
		w, log := newWorker(t, strings.Fields(strings.ReplaceAll(mode, "Canary is", "Canary_is"))[0], mode)
		body, err := w.Map(t.Context(), b, numbered(1), script.Context{Now: time.Now()})
		if want == "" {
			if string(body) != `{"v":1}` || err != nil {
				t.Errorf("%s: %s, %v", mode, body, err)
			}
		} else if body != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %.40s, %v, want %s", mode, body, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "Canary") || strings.Contains(log.String(), "Canary") {
			t.Errorf("%s: content is told: %v %s", mode, err, log)
		}
		w.End()
	}
}

func TestAWorkerThatIsNone(t *testing.T) {
	t.Parallel()
	b := bundle(t, "export default () => null;")
	for mode, want := range map[string]string{
		"ends":  "the worker of appointments can't be started: it ended at its start (exit status 3)",
		"other": "the worker of appointments can't be started: its program is not the one that this engine was started from; restart the engine",
	} {
		w, _ := newWorker(t, mode)
		var again *sdk.Error
		if _, err := w.Map(t.Context(), b, numbered(1), script.Context{}); !errors.As(err, &again) || err.Error() != want {
			t.Errorf("%s: %v, want %s", mode, err, want)
		}
	}
	w := worker.New(worker.Options{Command: []string{filepath.Join(t.TempDir(), "none")}, Name: "appointments", Logger: slog.New(slog.DiscardHandler)})
	if _, err := w.Map(t.Context(), b, numbered(1), script.Context{}); err == nil || !strings.Contains(err.Error(), "can't be started: the file") {
		t.Errorf("got %v", err)
	}
}

// A record that is too large for a worker is one change that fails, and not the pipeline.
func TestARecordThatIsTooLargeIsToBlameItself(t *testing.T) {
	t.Parallel()
	w, _ := newWorker(t)
	b := bundle(t, "export default () => ({ v: 1 });")
	large := numbered(1)
	large.Fetched["patient"] = bytes.Repeat([]byte("1"), 65<<20)
	_, err := w.Map(t.Context(), b, large, script.Context{Now: time.Now()})
	if want := "map.js:1:16: the record takes more than the 64 MiB that a worker takes"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if body, err := w.Map(t.Context(), b, numbered(1), script.Context{Now: time.Now()}); string(body) != `{"v":1}` || err != nil || w.Status().Ends != 0 {
		t.Errorf("the next one: %s, %v", body, err)
	}
}

func TestStartsAreSpaced(t *testing.T) {
	t.Parallel()
	if worker.BackOff(0) != 0 || worker.BackOff(4) != 0 || worker.BackOff(5) != 50*time.Millisecond || worker.BackOff(7) != 200*time.Millisecond || worker.BackOff(1000) != 2*time.Second {
		t.Error(worker.BackOff(0), worker.BackOff(4), worker.BackOff(5), worker.BackOff(7), worker.BackOff(1000))
	}
}

// Where the system refuses no memory, the process looks at itself.
func TestAProcessThatLooksAtItself(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "grows")
	cmd.Env = append(os.Environ(), sdk.CookieVariable+"="+sdk.CookieValue)
	out, err := cmd.CombinedOutput()
	if !worker.IsNoMemory(out) || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("%v: %s", err, out)
	}
}
