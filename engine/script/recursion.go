// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"errors"
	"fmt"

	"github.com/dop251/goja"
)

// goja parses code and JSON, and flattens arrays, by functions that call themselves for each level. They do so on Go's stack,
// where StackLimit does not count, and when that is full the process ends. So a text of a record, or an array that contains
// itself, could end the engine: here is what stands in their place.

// noParser is an option of goja's parser that refuses to parse what a script makes at run time, by eval or by the constructor of
// a kind of function. It is made like another option since goja does not export the type that options change.
func noParser[T any](k *call, _ func(*T)) func(*T) {
	return func(*T) {
		panic(k.vm.NewGoError(&invalid{"a mapping can't make code at run time, by eval or by new Function"}))
	}
}

// boundRecursion replaces JSON.parse and Array.prototype.flat where the code names them. That costs more than making the runtime
// does, and a script that spells them in another way does so on purpose.
func (k *call) boundRecursion() error {
	var errs []error
	replace := func(object *goja.Object, name string, f func(goja.FunctionCall) goja.Value) {
		errs = append(errs, object.DefineDataProperty(name, k.vm.ToValue(f), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	}
	if k.script.parses {
		replace(k.vm.Get("JSON").ToObject(k.vm), "parse", k.parser(k.vm.Get("SyntaxError")))
	}
	if k.script.flattens {
		arrays := k.vm.NewArray().Prototype()
		replace(arrays, "flat", k.flat(arrays.Get("flat")))
	}
	return errors.Join(errs...)
}

// flat is Array.prototype.flat, which for Infinity flattens as deep as a record can be.
func (k *call) flat(native goja.Value) func(goja.FunctionCall) goja.Value {
	flat, _ := goja.AssertFunction(native)
	return func(c goja.FunctionCall) goja.Value {
		depth := c.Argument(0)
		if !goja.IsUndefined(depth) {
			depth = k.vm.ToValue(min(depth.ToInteger(), decodeDepth))
		}
		return must(flat(c.This, depth))
	}
}

// parser is JSON.parse. It reads as records are read, so that the digits of large integers stay here too.
func (k *call) parser(syntaxError goja.Value) func(goja.FunctionCall) goja.Value {
	return func(c goja.FunctionCall) goja.Value {
		d := decoder{vm: k.vm, text: c.Argument(0).String()}
		v, ok := d.document()
		if !ok {
			text := fmt.Sprintf("JSON.parse: not JSON at byte %d of %d, or nested deeper than %d", d.at, len(d.text), decodeDepth)
			panic(must(k.vm.New(syntaxError, k.vm.ToValue(text))))
		}
		reviver, ok := goja.AssertFunction(c.Argument(1))
		if !ok {
			return v
		}
		root := k.vm.NewObject()
		put(root, "", v)
		return k.revive(reviver, root, "", 0)
	}
}

// revive has JSON.parse's reviver replace the members of a value, and then the value.
func (k *call) revive(reviver goja.Callable, holder *goja.Object, name string, depth int) goja.Value {
	v := holder.Get(name)
	if v == nil { // the reviver deleted it
		v = goja.Undefined()
	}
	if object, ok := v.(*goja.Object); ok {
		if depth > decodeDepth { // the reviver makes members as it goes
			panic(k.vm.NewTypeError("JSON.parse: the reviver nests objects deeper than %d", decodeDepth))
		}
		for _, member := range object.Keys() {
			if revived := k.revive(reviver, object, member, depth+1); goja.IsUndefined(revived) {
				_ = object.Delete(member) // fails where the reviver made it a constant, which stays
			} else {
				put(object, member, revived)
			}
		}
	}
	return must(reviver(holder, k.vm.ToValue(name), v))
}

// must throws what a function of the script threw on to its caller.
func must[V goja.Value](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}
