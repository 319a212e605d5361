// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dop251/goja"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// record makes the first argument of a mapping.
func (k *call) record(r *record.Record) (goja.Value, error) {
	change, err := k.changeOf("change", &r.Change)
	if err != nil {
		return nil, err
	}
	labels := slices.Sorted(maps.Keys(r.Fetched))
	docs := make([]*document, len(labels))
	for i, label := range labels {
		if docs[i], err = k.json("fetched."+label, r.Fetched[label]); err != nil {
			return nil, err
		}
	}
	fetched := k.object(labels, func(i int) goja.Value { return docs[i].whole() })
	if r.Parent == nil {
		return k.object(recordNames, func(i int) goja.Value { return []goja.Value{change, fetched}[i] }), nil
	}
	parent, err := k.changeOf("parent", r.Parent)
	if err != nil {
		return nil, err
	}
	return k.object(expandedNames, func(i int) goja.Value { return []goja.Value{change, parent, fetched}[i] }), nil
}

var (
	recordNames   = []string{"change", "fetched"}
	expandedNames = []string{"change", "parent", "fetched"}
	changeNames   = []string{"id", "kind", "version", "op", "event", "actor", "time", "data"}
	contextNames  = []string{"pipeline", "source", "deliver", "now", "attempt", "previous", "changed", "tables"}
)

func (k *call) changeOf(where string, c *sdk.Change) (goja.Value, error) {
	data, err := k.json(where+".data", c.Data)
	if err != nil {
		return nil, err
	}
	return k.object(changeNames, func(i int) goja.Value {
		switch changeNames[i] {
		case "id":
			return k.vm.ToValue(c.Ref.ID)
		case "kind":
			return k.vm.ToValue(c.Ref.Kind)
		case "version":
			return k.vm.ToValue(c.Version)
		case "op":
			return k.vm.ToValue(string(c.Op))
		case "event":
			return k.vm.ToValue(c.Event)
		case "actor":
			return k.vm.ToValue(c.Actor)
		case "time":
			if c.Time.IsZero() {
				return goja.Null()
			}
			return k.vm.ToValue(c.Time.UTC().Format(time.RFC3339Nano))
		default:
			return data.whole()
		}
	}), nil
}

// context makes the second argument of a mapping. What may be large is made when the script first asks for it.
func (k *call) context(r *record.Record, c Context) goja.Value {
	get := func(i int) goja.Value {
		switch contextNames[i] {
		case "pipeline":
			return k.vm.ToValue(c.Pipeline)
		case "source":
			return k.vm.ToValue(c.Source)
		case "deliver":
			return k.vm.ToValue(c.Deliver)
		case "now":
			return k.vm.ToValue(c.Now.UTC().Format("2006-01-02T15:04:05.000Z"))
		case "attempt":
			return k.vm.ToValue(c.Attempt)
		case "previous":
			if c.Previous == nil {
				return goja.Null()
			}
			previous, err := k.record(c.Previous)
			if err != nil {
				panic(k.vm.NewGoError(err))
			}
			return previous
		case "changed":
			var paths []any
			for _, path := range changed(c.Previous, r) {
				paths = append(paths, path)
			}
			return k.vm.NewArray(paths...)
		default:
			return k.tables()
		}
	}
	if k.views {
		return k.object(contextNames, get)
	}
	const large = 5 // from "previous" on
	context := k.object(contextNames[:large], get)
	for i, name := range contextNames[large:] {
		k.lazy(context, name, func() goja.Value { return get(large + i) })
	}
	return context
}

// lazy gives an object of ours a member that is made once, when it is first read.
func (k *call) lazy(object *goja.Object, name string, make func() goja.Value) {
	var made goja.Value
	get := func(goja.FunctionCall) goja.Value {
		if made == nil {
			made = make()
		}
		return made
	}
	_ = object.DefineAccessorProperty(name, k.vm.ToValue(get), nil, goja.FLAG_FALSE, goja.FLAG_TRUE) // fails on frozen objects only
}

// json reads a JSON document, which is checked at once; where is what it is called in an error, which holds nothing of it.
func (k *call) json(where string, doc json.RawMessage) (*document, error) {
	if len(doc) == 0 {
		return &document{value: goja.Null()}, nil
	}
	text := string(doc)
	if k.views {
		if d := k.view(text); d != nil {
			return d, nil
		}
	}
	p := decoder{vm: k.vm, text: text}
	v, ok := p.document()
	if !ok {
		return nil, k.script.fail(k.script.export, fmt.Sprintf("%s is not valid JSON at byte %d of %d", where, p.at, len(p.text)))
	}
	return &document{value: v}, nil
}
