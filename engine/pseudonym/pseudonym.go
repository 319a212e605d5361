// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package pseudonym makes records that look like those of an EHR and no longer tell whose they are, for tests.
//
// All text is replaced, letter by letter and digit by digit, but for what is known to be none of a person's: booleans, small numbers,
// times of a day, and codes by the name of their member (status, type, unit …). Nobody can know every field: a person must look at
// what comes out. Replacements hold together: what was the same before is the same afterwards, in whatever member and case, and what
// differed in the same form differs; so references between records still lead somewhere. Dates all move by the same number of days,
// a multiple of seven.
package pseudonym

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// Replacer replaces by a key of its own, which nobody else ever has; what it replaced can't be looked up afterwards.
type Replacer struct {
	key   []byte
	days  int // by which dates move, into the past
	runs  map[string]string
	taken map[string]bool // replacements that were given
}

// New makes a Replacer with a new key.
func New() *Replacer {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return newReplacer(key)
}

func newReplacer(key []byte) *Replacer {
	r := &Replacer{key: key, runs: map[string]string{}, taken: map[string]bool{}}
	r.days = 7 * (20 + int(r.number("days", 0)%400))
	return r
}

// Record gives a record with everything replaced. The error is that its JSON is not valid.
func (r *Replacer) Record(in *record.Record) (*record.Record, error) {
	change, err := r.change(&in.Change)
	if err != nil {
		return nil, err
	}
	out := &record.Record{Change: *change, Fetched: make(map[string]json.RawMessage, len(in.Fetched))}
	if in.Parent != nil {
		if out.Parent, err = r.change(in.Parent); err != nil {
			return nil, err
		}
	}
	for label, data := range in.Fetched {
		if out.Fetched[label], err = r.document(data); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *Replacer) change(c *sdk.Change) (*sdk.Change, error) {
	data, err := r.document(c.Data)
	if err != nil {
		return nil, err
	}
	out := &sdk.Change{
		Ref:     sdk.Ref{Kind: c.Ref.Kind, ID: r.text("id", c.Ref.ID)},
		Version: r.text("version", c.Version), Op: c.Op, Event: r.text("event", c.Event), Actor: r.text("actor", c.Actor), Data: data,
	}
	if !c.Time.IsZero() {
		out.Time = r.moved(c.Time)
	}
	return out, nil
}

func (r *Replacer) moved(t time.Time) time.Time { return t.AddDate(0, 0, -r.days) }

// document replaces in a JSON document; one that is not there is null.
func (r *Replacer) document(doc json.RawMessage) (json.RawMessage, error) {
	if rawjson.IsNull(doc) {
		return json.RawMessage("null"), nil
	}
	if !json.Valid(doc) {
		return nil, errors.New("the record holds invalid JSON")
	}
	var out bytes.Buffer
	r.value(&out, "", doc)
	return out.Bytes(), nil
}

// value writes what a value becomes; member is the name of the innermost member that it is in.
func (r *Replacer) value(out *bytes.Buffer, member string, raw []byte) {
	raw = bytes.TrimSpace(raw)
	switch raw[0] {
	case '{':
		out.WriteByte('{')
		first := true
		for name, value := range rawjson.Members(raw) {
			if !first {
				out.WriteByte(',')
			}
			first = false
			writeString(out, r.name(name))
			out.WriteByte(':')
			if anyOf(words(member), phones) { // {"phones": {"home": "…"}}
				name = member + " " + name
			}
			r.value(out, name, value)
		}
		out.WriteByte('}')
	case '[':
		out.WriteByte('[')
		first := true
		for value := range rawjson.Elements(raw) {
			if !first {
				out.WriteByte(',')
			}
			first = false
			r.value(out, member, value)
		}
		out.WriteByte(']')
	case '"':
		var text string
		_ = json.Unmarshal(raw, &text) // the document is valid
		writeString(out, r.text(member, text))
	case 't', 'f', 'n':
		out.Write(raw)
	default:
		out.WriteString(r.numeral(member, string(raw)))
	}
}

func writeString(out *bytes.Buffer, text string) {
	to := json.NewEncoder(out)
	to.SetEscapeHTML(false)
	_ = to.Encode(text)         // a string always has a JSON form
	out.Truncate(out.Len() - 1) // the line's end
}

// number is the i-th of the numbers that stand for a text.
func (r *Replacer) number(text string, i uint64) uint64 {
	h := hmac.New(sha256.New, r.key)
	var count [8]byte
	binary.BigEndian.PutUint64(count[:], i)
	h.Write(count[:])
	h.Write([]byte(text))
	return binary.BigEndian.Uint64(h.Sum(nil))
}
