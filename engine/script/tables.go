// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"maps"
	"slices"

	"github.com/dop251/goja"
)

// tables makes context.tables. A table stays the map that it is, which all calls share, and is looked up in when the script
// does; so a large one costs a call nothing.
func (k *call) tables() goja.Value {
	made := map[string]goja.Value{}
	return k.readOnly(&lookup{
		get: func(name string) goja.Value {
			values, ok := k.script.Tables[name]
			if !ok {
				return nil
			}
			if made[name] == nil {
				made[name] = k.table(name, values)
			}
			return made[name]
		},
		keys: func() []string { return slices.Sorted(maps.Keys(k.script.Tables)) },
	})
}

func (k *call) table(name string, values map[string]string) goja.Value {
	fallback, any := k.script.TableDefaults[name]
	return k.readOnly(&lookup{
		get: func(key string) goja.Value {
			value, ok := values[key]
			switch {
			case ok:
				return k.vm.ToValue(value)
			case any:
				return k.vm.ToValue(fallback)
			}
			return nil
		},
		has:  func(key string) bool { _, ok := values[key]; return ok },
		keys: func() []string { return slices.Sorted(maps.Keys(values)) },
	})
}

// readOnly makes an object without a prototype: a table must not seem to hold "constructor".
func (k *call) readOnly(l *lookup) goja.Value {
	object := k.vm.NewDynamicObject(l)
	_ = object.SetPrototype(nil) // fails on objects that can't be extended
	return object
}

// lookup is a goja.DynamicObject that a script can't change: in a module, which is strict, trying to throws a TypeError.
type lookup struct {
	get  func(string) goja.Value
	has  func(string) bool // nil: what get has
	keys func() []string
}

var _ goja.DynamicObject = (*lookup)(nil)

func (l *lookup) Get(key string) goja.Value { return l.get(key) }

func (l *lookup) Has(key string) bool {
	if l.has != nil {
		return l.has(key)
	}
	return l.get(key) != nil
}

func (l *lookup) Set(string, goja.Value) bool { return false }
func (l *lookup) Delete(string) bool          { return false }
func (l *lookup) Keys() []string              { return l.keys() }
