// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

// Without a bound, a text or a value of some million levels ends the process.
func TestNoTextOrValueIsTooDeepForTheProcess(t *testing.T) {
	const made = "a mapping can't make code at run time"
	deep := `{"s":"` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `"}`
	for name, test := range map[string]struct{ source, data, want string }{
		"JSON.parse":         {"JSON.parse(change.data.s)", deep, "map.js:1:61: SyntaxError ("},
		"reviver":            {"JSON.parse('[0,0]', function (k, v) { if (k === '0') this[1] = [0, 0]; return v; })", `{}`, "map.js:1:"},
		"flat":               {"(a => { for (let i = 0; i < 20_000; i++) a = [a]; return a.flat(Infinity).length; })([])", `{}`, `{"v":1}`},
		"cyclic flat":        {"(a => { a.push(a); return a.flat(Infinity).length; })([])", `{}`, `{"v":1}`},
		"eval":               {"(0, eval)('1')", `{}`, "map.js:1:60: " + made},
		"Function":           {"new Function('1')", `{}`, "map.js:1:56: " + made},
		"Function's name":    {"(() => {}).constructor('return 1')()", `{}`, "map.js:1:67: " + made},
		"async function":     {"(async () => {}).constructor('1')", `{}`, "map.js:1:73: " + made},
		"generator function": {"(function* () {}).constructor('1')", `{}`, "map.js:1:74: " + made},
		"nested calls":       {"(function f(n) { return f(n + 1) + 1; })(0)", `{}`, "map.js:1:80: calls are nested deeper than 2000: a recursion"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapRecord(t, compile(t, returning(test.source)), small(test.data))
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// docs/scripts.md says so.
func TestWhatTheLanguageLacksIsNotThere(t *testing.T) {
	for _, name := range []string{"WeakRef", "FinalizationRegistry", "Atomics", "Intl", "console", "setTimeout", "fetch", "process", "__rounds"} {
		s := compileFiles(t, map[string]string{
			"map.js": "import { first } from './first.js';\nimport { toUTC } from 'rounds/time';\n" +
				"export default () => ({ v: [typeof " + name + ", typeof first, toUTC('2026-01-01', 'UTC')] });",
			"first.js": "export const first = globalThis." + name + ";",
		})
		if got, err := mapRecord(t, s, small(`{}`)); err != nil || got != `{"v":["undefined","undefined","2026-01-01T00:00:00Z"]}` {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}

func TestFlatIsThatOfTheLanguage(t *testing.T) {
	s := compile(t, "const a = [1, [2, [3, [4]]]];\n"+
		returning("[a.flat(), a.flat(undefined), a.flat(0), a.flat(2), a.flat('1'), a.flat(-1), a.flat(Infinity), [1, , 2].flat()]"))
	got, err := mapRecord(t, s, small(`{}`))
	want := `{"v":[[1,2,[3,[4]]],[1,2,[3,[4]]],[1,[2,[3,[4]]]],[1,2,3,[4]],[1,2,[3,[4]]],[1,[2,[3,[4]]]],[1,2,3,4],[1,2]]}`
	if err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// What is thrown is asked for its class and its text, which are the script's.
func TestWhatIsThrownEndsWithinTheLimit(t *testing.T) {
	for _, source := range []string{
		"export default () => { throw { toString() { for (;;) {} } }; };",
		"export default () => { globalThis.TypeError = { [Symbol.hasInstance]() { for (;;) {} } }; throw new RangeError(); };",
		"export default () => { throw new Proxy({}, { get() { for (;;) {} }, getPrototypeOf() { for (;;) {} } }); };",
		"export default () => { throw new Proxy({}, { get() { throw 1 }, getPrototypeOf() { throw 1 } }); };",
		"export default () => { throw Object.create(Error.prototype, { message: { get() { for (;;) {} } } }); };",
	} {
		s := compile(t, source)
		var own *script.Error
		if got, err := mapRecord(t, s, small(`{}`)); !errors.As(err, &own) || script.Abandoned(s) > 0 {
			t.Errorf("%s: got %s, %v", source, got, err)
		}
	}
}

// What sees no interrupt can't be stopped, but it must not hold the pipeline, nor take more and more processors.
func TestInvariant5WhatCantBeStoppedIsAbandoned(t *testing.T) {
	script.SetAbandoning(t, 50*time.Millisecond, 1)
	s, other := compile(t, returning("1")), compile(t, returning("2"))
	end := make(chan struct{})
	var own *script.Error
	err := script.Hang(t.Context(), s, end)
	if !errors.As(err, &own) || own.TimedOut || !strings.HasPrefix(err.Error(), "map.js:1:16: took longer than the limit of 1s; look for a very long array") {
		t.Fatalf("got %v", err)
	}
	if n := script.Abandoned(s); n != 1 {
		t.Fatalf("%d calls run on, want 1", n)
	}
	body, err := s.Map(t.Context(), small(`{}`), script.Context{}) // a worker would be ended
	if want := "map.js is not called: 1 earlier calls have not ended"; errors.As(err, &own) || !strings.HasPrefix(sdk.Safe(err).Error(), want) || body != nil {
		t.Errorf("got %s, %v, want %s", body, err, want)
	}
	if got, err := mapRecord(t, other, small(`{}`)); err != nil || got != `{"v":2}` {
		t.Errorf("another script: %s, %v", got, err)
	}
	close(end)
	for script.Abandoned(s) > 0 {
		runtime.Gosched()
	}
	if got, err := mapRecord(t, s, small(`{}`)); err != nil || got != `{"v":1}` {
		t.Errorf("after the end: %s, %v", got, err)
	}
}

func TestAStopDoesNotWaitForWhatCantBeStopped(t *testing.T) {
	script.SetAbandoning(t, 50*time.Millisecond, 1)
	s := compile(t, returning("1"))
	end := make(chan struct{})
	defer close(end)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := script.Hang(ctx, s, end); !errors.Is(err, context.DeadlineExceeded) || script.Abandoned(s) != 1 {
		t.Errorf("got %v, and %d calls that run on", err, script.Abandoned(s))
	}
}

// Scripts that were stopped leave nothing behind that runs on.
func TestAStoppedScriptLeavesNoGoroutine(t *testing.T) {
	s := compile(t, "export default () => { for (;;) {} };")
	before := runtime.NumGoroutine()
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := s.Map(ctx, small(`{}`), script.Context{}); err == nil {
			t.Error("no error")
		}
		cancel()
	}
	for began := time.Now(); runtime.NumGoroutine() > before+1; runtime.Gosched() { // the clock of regular expressions may have begun
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}
