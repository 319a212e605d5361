// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// Fixture is a record as people keep it in a file, for mappings to be tried on.
type Fixture struct {
	Record   *Record
	Previous *Record // the record as it was committed before; nil: it was not
}

// members of a fixture's file.
var members = []string{"change", "fetched", "parent", "previous"}

// UnmarshalFixture reads a record's JSON form, which may have the record before as "previous". It takes what Unmarshal takes, but
// not what the author of a file can only have meant otherwise, and fills in what every record has: data, and an operation, which
// follows from there being a record before or not. An error says what is wrong and where, and quotes nothing.
func UnmarshalFixture(data []byte) (*Fixture, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	r, previous, err := fixtureRecord(data, "")
	if err != nil {
		return nil, err
	}
	f := &Fixture{Record: r}
	if !rawjson.IsNull(previous) {
		if f.Previous, _, err = fixtureRecord(previous, "previous: "); err != nil {
			return nil, err
		}
	}
	if c := &r.Change; c.Op == "" || c.Op == sdk.Upsert {
		c.Op = sdk.Updated
		if f.Previous == nil || f.Previous.Change.Op == sdk.Deleted {
			c.Op = sdk.Created
		}
	}
	return f, nil
}

// fixtureRecord reads one record, and gives what it has of the record before, unread; where begins the texts of errors.
func fixtureRecord(data []byte, where string) (r *Record, previous []byte, err error) {
	var found map[string]json.RawMessage
	if err := json.Unmarshal(data, &found); err != nil {
		return nil, nil, explained(data, where, err)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !slices.Contains(members, name) || where != "" && name == "previous" {
			return nil, nil, fmt.Errorf("%sthere is a member that a record does not have; it has only %s", where, strings.Join(members, ", "))
		}
	}
	if rawjson.IsNull(found["change"]) {
		return nil, nil, fmt.Errorf("%schange is missing: a record is {\"change\": {…}, \"fetched\": {…}}", where)
	}
	var in recordJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, nil, explained(data, where, err)
	}
	r = fromRecordJSON(in)
	for _, c := range []*sdk.Change{&r.Change, r.Parent} {
		switch {
		case c == nil:
			continue
		case len(c.Data) == 0:
			c.Data = json.RawMessage("null")
		}
		switch c.Op {
		case "", sdk.Upsert, sdk.Created, sdk.Updated, sdk.Deleted:
		default:
			return nil, nil, fmt.Errorf("%sop has to be created, updated or deleted, or to be left out", where)
		}
	}
	return r, found["previous"], nil
}

// explained says what json found wrong, as its own texts quote what they could not read.
func explained(data []byte, where string, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%sline %d, column %d: this is not valid JSON", where, line(data, syntax.Offset), column(data, syntax.Offset))
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Errorf("%s%s is of the wrong kind: a record is {\"change\": {…}, \"fetched\": {…}}, whose ids, versions and times are strings", where, kind.Field)
	case errors.As(err, &kind):
		return fmt.Errorf("%sthis is no record: a record is {\"change\": {…}, \"fetched\": {…}}", where)
	}
	return fmt.Errorf("%sa time in it is not in the form of 2026-05-10T10:00:00Z", where)
}

// before is what was read up to an offset of json: the byte at fault is the last of it.
func before(data []byte, offset int64) []byte { return data[:max(0, min(int(offset), len(data))-1)] }

func line(data []byte, offset int64) int { return 1 + bytes.Count(before(data, offset), []byte("\n")) }

// column counts characters.
func column(data []byte, offset int64) int {
	read := before(data, offset)
	return 1 + len(bytes.Runes(read[bytes.LastIndexByte(read, '\n')+1:]))
}
