// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dop251/goja"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// record makes the first argument of a mapping.
func (k *call) record(r *record.Record) (goja.Value, error) {
	change, err := k.change("change", &r.Change)
	if err != nil {
		return nil, err
	}
	labels := make([]string, 0, len(r.Fetched))
	for label := range r.Fetched {
		labels = append(labels, label)
	}
	slices.Sort(labels)
	fetched := k.vm.NewObject()
	for _, label := range labels {
		v, err := k.json("fetched."+label, r.Fetched[label])
		if err != nil {
			return nil, err
		}
		put(fetched, label, v)
	}
	input := k.vm.NewObject()
	put(input, "change", change)
	if r.Parent != nil {
		parent, err := k.change("parent", r.Parent)
		if err != nil {
			return nil, err
		}
		put(input, "parent", parent)
	}
	put(input, "fetched", fetched)
	return input, nil
}

func (k *call) change(where string, c *sdk.Change) (goja.Value, error) {
	data, err := k.json(where+".data", c.Data)
	if err != nil {
		return nil, err
	}
	var at any
	if !c.Time.IsZero() {
		at = c.Time.UTC().Format(time.RFC3339Nano)
	}
	change := k.vm.NewObject()
	for _, m := range []struct {
		name  string
		value any
	}{
		{"id", c.Ref.ID}, {"kind", c.Ref.Kind}, {"version", c.Version}, {"op", string(c.Op)}, {"event", c.Event},
		{"actor", c.Actor}, {"time", at}, {"data", data},
	} {
		put(change, m.name, k.vm.ToValue(m.value))
	}
	return change, nil
}

// context makes the second argument of a mapping. What may be large is made when the script first asks for it.
func (k *call) context(r *record.Record, c Context) goja.Value {
	context := k.vm.NewObject()
	for _, m := range []struct {
		name  string
		value any
	}{
		{"pipeline", c.Pipeline}, {"source", c.Source}, {"deliver", c.Deliver},
		{"now", c.Now.UTC().Format("2006-01-02T15:04:05.000Z")}, {"attempt", c.Attempt},
	} {
		put(context, m.name, k.vm.ToValue(m.value))
	}
	k.lazy(context, "previous", func() (goja.Value, error) {
		if c.Previous == nil {
			return goja.Null(), nil
		}
		return k.record(c.Previous)
	})
	k.lazy(context, "changed", func() (goja.Value, error) {
		var paths []any
		for _, path := range changed(c.Previous, r) {
			paths = append(paths, path)
		}
		return k.vm.NewArray(paths...), nil
	})
	k.lazy(context, "tables", func() (goja.Value, error) { return k.tables(), nil })
	return context
}

// lazy gives an object of ours a member that is made once, when it is first read.
func (k *call) lazy(object *goja.Object, name string, make func() (goja.Value, error)) {
	var made goja.Value
	get := func(goja.FunctionCall) goja.Value {
		if made == nil {
			var err error
			if made, err = make(); err != nil {
				panic(k.vm.NewGoError(err))
			}
		}
		return made
	}
	_ = object.DefineAccessorProperty(name, k.vm.ToValue(get), nil, goja.FLAG_FALSE, goja.FLAG_TRUE) // fails on frozen objects only
}

// json makes JavaScript's value of a JSON document. The document is checked as it is read; where is what it is called in
// an error, which holds nothing of it.
func (k *call) json(where string, doc json.RawMessage) (goja.Value, error) {
	if len(doc) == 0 {
		return goja.Null(), nil
	}
	p := decoder{vm: k.vm, text: string(doc)}
	v, ok := p.document()
	if !ok {
		return nil, k.script.fail(k.script.export, fmt.Sprintf("%s is not valid JSON at byte %d of %d", where, p.at, len(p.text)))
	}
	return v, nil
}
