// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/rounds-engine/rounds/sdk"
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
	Parent  *changeJSON                `json:"parent,omitempty"`
	Fetched map[string]json.RawMessage `json:"fetched"`
}

// Marshal gives a record's JSON form: {"change": {…}, "fetched": {…}}, as a mapping sees it; with
// "parent" where there is one.
func (r *Record) Marshal() ([]byte, error) {
	out := recordJSON{Change: toJSON(&r.Change), Fetched: r.Fetched}
	if r.Parent != nil {
		parent := toJSON(r.Parent)
		out.Parent = &parent
	}
	if out.Fetched == nil {
		out.Fetched = map[string]json.RawMessage{}
	}
	data, err := json.Marshal(out)
	if err != nil {
		// The text of a json error quotes what it could not read.
		return nil, errors.New("the record holds invalid JSON")
	}
	return data, nil
}

// Unmarshal reads a record's JSON form.
func Unmarshal(data []byte) (*Record, error) {
	var in recordJSON
	if json.Unmarshal(data, &in) != nil {
		return nil, errors.New("this is not the JSON form of a record")
	}
	r := &Record{Change: fromJSON(in.Change), Fetched: in.Fetched}
	if in.Parent != nil {
		parent := fromJSON(*in.Parent)
		r.Parent = &parent
	}
	return r, nil
}

func toJSON(c *sdk.Change) changeJSON {
	out := changeJSON{c.Ref.ID, c.Ref.Kind, c.Version, c.Op, c.Event, c.Actor, nil, c.Data}
	if !c.Time.IsZero() {
		out.Time = &c.Time
	}
	return out
}

func fromJSON(c changeJSON) sdk.Change {
	out := sdk.Change{Ref: sdk.Ref{Kind: c.Kind, ID: c.ID}, Version: c.Version, Op: c.Op, Event: c.Event, Actor: c.Actor, Data: c.Data}
	if c.Time != nil {
		out.Time = *c.Time
	}
	return out
}
