// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"

	"github.com/rounds-engine/rounds/engine/record"
)

// call is one use of a script: a runtime that lives as long as the call.
type call struct {
	script *Script
	vm     *goja.Runtime
}

// run evaluates the script's module in a new runtime and calls use with its default export, all within the limits.
func (s *Script) run(ctx context.Context, now time.Time, seed uint64, use func(*call, goja.Value) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := windClock(); err != nil {
		return err
	}
	k := &call{script: s, vm: goja.New()}
	began := time.Now()
	timer := time.AfterFunc(TimeLimit, func() { k.vm.Interrupt("time is up") })
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { k.vm.Interrupt("canceled") })()

	err := k.guarded(func() error {
		if err := k.prepare(now, seed); err != nil {
			return err
		}
		value, err := k.vm.RunProgram(s.program)
		if err != nil {
			return err
		}
		return use(k, value)
	})
	// The clock decides, not the interrupt: a native function, such as a regular expression, does not see the interrupt and
	// may have been the last thing that ran, and what it returned may be wrong.
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case time.Since(began) >= TimeLimit:
		return k.timeUp(err)
	case err != nil:
		return k.failed(err)
	}
	return nil
}

// prepare makes the runtime what the package comment promises.
func (k *call) prepare(now time.Time, seed uint64) error {
	k.vm.SetMaxCallStackSize(StackLimit)
	k.vm.SetParserOptions(parser.WithDisableSourceMaps) // else code made at run time could name a file to be read
	k.vm.SetTimeSource(func() time.Time { return now })
	var random *rand.Rand
	k.vm.SetRandSource(func() float64 {
		if random == nil {
			random = rand.New(rand.NewPCG(seed, 0))
		}
		return random.Float64()
	})
	if err := k.pinDate(); err != nil {
		return err
	}
	if k.script.library {
		return k.vm.Set(nativeName, k.native)
	}
	return nil
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
