// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// changeJSON is a change as scripts and people see it; its names are those of HCL and JavaScript.
type changeJSON struct {
	ID      string          `json:"id"`
	Kind    string          `json:"kind"`
	Version string          `json:"version"`
	Op      sdk.Op          `json:"op"`
	Event   string          `json:"event"`
	Actor   string          `json:"actor"`
	Time    *time.Time      `json:"time"`
	Data    json.RawMessage `json:"data"`
}

type recordJSON struct {
	Change  changeJSON                 `json:"change"`
	Parent  *changeJSON                `json:"parent"`
	Fetched map[string]json.RawMessage `json:"fetched"`
}

// Marshal gives a record's JSON form: {"change": {…}, "fetched": {…}}, as a mapping sees it; with
// "parent" where there is one. What the EHR gave stands in it as it was written.
func (r *Record) Marshal() ([]byte, error) {
	size := 512 + len(r.Change.Data)
	for _, data := range r.Fetched {
		size += 32 + len(data)
	}
	w := writer{out: make([]byte, 0, size)}
	w.text(`{"change":`)
	w.change(&r.Change)
	if r.Parent != nil {
		w.text(`,"parent":`)
		w.change(r.Parent)
	}
	w.text(`,"fetched":{`)
	for i, label := range slices.Sorted(maps.Keys(r.Fetched)) {
		if i > 0 {
			w.text(",")
		}
		w.value(label)
		w.text(":")
		w.raw(r.Fetched[label])
	}
	w.text("}}")
	if w.failed {
		return nil, errors.New("the record holds invalid JSON")
	}
	return w.out, nil
}

// writer writes a record's JSON form. It takes raw values as they are, which json.Marshal would read byte by byte.
type writer struct {
	out    []byte
	failed bool
}

func (w *writer) text(s string) { w.out = append(w.out, s...) }

func (w *writer) value(v any) {
	data, err := json.Marshal(v)
	w.out, w.failed = append(w.out, data...), w.failed || err != nil
}

func (w *writer) raw(doc json.RawMessage) {
	if doc == nil {
		doc = json.RawMessage("null")
	}
	w.out, w.failed = append(w.out, doc...), w.failed || !rawjson.Valid(doc)
}

func (w *writer) change(c *sdk.Change) {
	out := changeJSON{c.Ref.ID, c.Ref.Kind, c.Version, c.Op, c.Event, c.Actor, nil, nil}
	if !c.Time.IsZero() {
		out.Time = &c.Time
	}
	w.value(out)
	w.out = bytes.TrimSuffix(w.out, []byte("null}")) // the data are last
	w.raw(c.Data)
	w.text("}")
}

// Unmarshal reads a record's JSON form.
func Unmarshal(data []byte) (*Record, error) {
	var in recordJSON
	if json.Unmarshal(data, &in) != nil {
		return nil, errors.New("this is not the JSON form of a record")
	}
	return fromRecordJSON(in), nil
}

func fromRecordJSON(in recordJSON) *Record {
	r := &Record{Change: fromJSON(in.Change), Fetched: in.Fetched}
	if in.Parent != nil {
		parent := fromJSON(*in.Parent)
		r.Parent = &parent
	}
	return r
}

func fromJSON(c changeJSON) sdk.Change {
	out := sdk.Change{Ref: sdk.Ref{Kind: c.Kind, ID: c.ID}, Version: c.Version, Op: c.Op, Event: c.Event, Actor: c.Actor, Data: c.Data}
	if c.Time != nil {
		out.Time = *c.Time
	}
	return out
}
