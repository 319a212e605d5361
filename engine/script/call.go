// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// call is one use of a script: a runtime that lives as long as the call.
type call struct {
	script  *Script
	vm      *goja.Runtime
	views   bool // objects of the record are made when they are read
	changes bool // the script would have changed a view
}

// run evaluates the script's module in a new runtime and calls use with its default export, all within the limits. It does so once
// more, and without views, for a script that turns out not to leave them as they are.
func (s *Script) run(ctx context.Context, now time.Time, seed uint64, use func(*call, goja.Value) error) error {
	err := s.once(ctx, now, seed, use)
	if errors.Is(err, errChanges) {
		s.changes.Store(true)
		err = s.once(ctx, now, seed, use)
	}
	return err
}

var errChanges = errors.New("change")

// once does what run says.
//
// It happens in a goroutine of its own, since only code of the script sees the interrupt, and some functions of the language run
// for hours in one step: new Array(4294967290).includes(5). A call that does not end in time is abandoned: the error is
// returned, and the goroutine ends when the function does. So use changes nothing that its caller looks at after an error.
func (s *Script) once(ctx context.Context, now time.Time, seed uint64, use func(*call, goja.Value) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n := s.abandoned.Load(); n >= abandonedLimit {
		return sdk.Retryable("%s is not called: %d earlier calls have not ended long after their time was up, and each keeps a processor "+
			"busy; correct the script, and restart the engine to be rid of them", s.Name, n)
	}
	if err := windClock(); err != nil {
		return err
	}
	k := &call{script: s, vm: goja.New(), views: s.views && !s.changes.Load()}
	began := time.Now()
	ended := make(chan struct{})
	var result error
	go func() {
		defer close(ended)
		growStack(false)
		err := k.guarded(func() error {
			if err := k.prepare(now, seed); err != nil {
				return err
			}
			program := s.program
			if len(s.shapes) > 0 && !k.views {
				var err error
				if program, err = s.plain(); err != nil {
					return err
				}
			}
			value, err := k.vm.RunProgram(program)
			if err != nil {
				return err
			}
			return use(k, value)
		})
		// A literal is made by a call, which counts among those that are nested, and is where there may be one too many.
		var overflow *goja.StackOverflowError
		k.changes = k.changes || k.views && len(s.shapes) > 0 && errors.As(err, &overflow)
		if result = k.conclude(ctx, began, err); k.changes {
			result = errChanges
		}
	}()
	timer := time.NewTimer(TimeLimit)
	defer timer.Stop()
	select {
	case <-ended:
		return result
	case <-ctx.Done():
	case <-timer.C:
	}
	k.vm.Interrupt("stopped")
	timer.Reset(grace)
	select {
	case <-ended:
		return result
	case <-timer.C:
	}
	s.abandoned.Add(1)
	go func() {
		<-ended
		s.abandoned.Add(-1)
	}()
	if err := ctx.Err(); err != nil {
		return err
	}
	// Where it is can't be seen, as its runtime is still at work. To try again would start another: it has not TimedOut.
	e := s.fail(s.export, fmt.Sprintf("took longer than the limit of %v; look for a very long array or string, a large BigInt, or for "+
		"many matches of a regular expression that backtracks", TimeLimit)+StillBusy)
	e.Abandoned = true
	return e
}

// growStack makes the goroutine's stack large enough for most calls. Else it grows in the middle of them, time and again, which takes up
// to a tenth of a call, as there are many frames by then.
//
//go:noinline
func growStack(use bool) byte {
	if !use {
		return 0 // the stack grows with the function's frame, and nothing in that is touched
	}
	var frame [24 << 10]byte
	for i := range frame {
		frame[i] = byte(i) + frame[i/2]
	}
	return frame[len(frame)-1]
}

// StillBusy ends the text of an error that is Abandoned.
const StillBusy = "; it has not ended yet and keeps a processor busy"

// abandonedLimit is how many abandoned calls of a script may run on before it is called no more.
var abandonedLimit = int32(2 * runtime.GOMAXPROCS(0))

// conclude makes what run returns of what the call ended with. It looks at what was thrown, which may be a Proxy, so the script may run.
func (k *call) conclude(ctx context.Context, began time.Time, err error) error {
	concluded := error(k.script.fail(k.script.export, "what was thrown can't be looked at"))
	_ = k.guarded(func() error {
		// The clock decides, not the interrupt: a native function, such as a regular expression, does not see the interrupt and
		// may have been the last thing that ran, and what it returned may be wrong.
		switch {
		case ctx.Err() != nil:
			concluded = ctx.Err()
		case time.Since(began) >= TimeLimit:
			concluded = k.timeUp(err)
		case err != nil:
			concluded = k.failed(err)
		default:
			concluded = nil
		}
		return nil
	})
	return concluded
}

// prepare makes the runtime what the package comment promises.
func (k *call) prepare(now time.Time, seed uint64) error {
	k.vm.SetMaxCallStackSize(StackLimit)
	k.vm.SetParserOptions(noParser(k, parser.WithDisableSourceMaps))
	k.vm.SetTimeSource(func() time.Time { return now })
	var random *rand.Rand
	k.vm.SetRandSource(func() float64 {
		if random == nil {
			random = rand.New(rand.NewPCG(seed, 0))
		}
		return random.Float64()
	})
	var errs []error
	if k.views && len(k.script.shapes) > 0 {
		errs = append(errs, k.vm.GlobalObject().DefineDataProperty(literalName, k.vm.ToValue(k.literal), goja.FLAG_FALSE, goja.FLAG_FALSE,
			goja.FLAG_FALSE))
	}
	if k.script.natives {
		errs = append(errs, k.vm.Set(nativeName, k.native))
	}
	return errors.Join(append(errs, k.boundRecursion())...)
}

// guarded calls f and turns into an error what goja panics with: a thrown value where Go code reads a script's object, and
// whatever it panics with where it is broken.
func (k *call) guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			if cause, ok := p.(error); ok && isThrown(cause) {
				err = cause
			}
		}
	}()
	if ex := k.vm.Try(func() { err = f() }); ex != nil {
		return ex
	}
	return err
}

// isThrown reports whether err is how goja says that a script ended without returning.
func isThrown(err error) bool {
	var exception *goja.Exception
	var interrupted *goja.InterruptedError
	var overflow *goja.StackOverflowError
	return errors.As(err, &exception) || errors.As(err, &interrupted) || errors.As(err, &overflow)
}

// seed makes Math.random() the same whenever the same state of a record is mapped.
func seed(r *record.Record) uint64 {
	h := fnv.New64a()
	for _, s := range []string{r.Change.Ref.Kind, r.Change.Ref.ID, r.Change.Version} {
		_, _ = h.Write([]byte(s)) // never fails
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}
