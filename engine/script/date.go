// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	_ "embed"
	"sync"
	"time"

	"github.com/dop251/goja"
)

//go:embed date.js
var dateSource string

var dateProgram = sync.OnceValues(func() (*goja.Program, error) {
	return goja.Compile("date.js", dateSource, true)
})

// pinDate makes the time zone of Date UTC. goja takes that of the process, so where time.Local is time.UTC, as in the rounds
// binary, there is nothing to do. It costs more than all else that is done for a call, so it is done when a script first
// touches Date.
func (k *call) pinDate() error {
	if time.Local == time.UTC {
		return nil
	}
	global := k.vm.GlobalObject()
	host := global.Get("Date")
	return global.DefineAccessorProperty("Date", k.vm.ToValue(func(goja.FunctionCall) goja.Value {
		date := k.utcDate(host)
		if err := global.DefineDataProperty("Date", date, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE); err != nil {
			panic(k.vm.NewGoError(err))
		}
		return date
	}), nil, goja.FLAG_TRUE, goja.FLAG_FALSE)
}

func (k *call) utcDate(host goja.Value) goja.Value {
	program, err := dateProgram()
	if err != nil {
		panic(k.vm.NewGoError(err))
	}
	pin, err := k.vm.RunProgram(program)
	if err != nil {
		panic(err)
	}
	f, _ := goja.AssertFunction(pin)
	date, err := f(goja.Undefined(), host, k.vm.ToValue(k.formatDate))
	if err != nil {
		panic(err)
	}
	return date
}

// formatDate writes a Date in UTC in one of Go's layouts.
func (k *call) formatDate(call goja.FunctionCall) goja.Value {
	at, ok := call.Argument(0).Export().(time.Time)
	if !ok {
		return k.vm.ToValue("Invalid Date")
	}
	return k.vm.ToValue(at.UTC().Format(call.Argument(1).String()))
}
