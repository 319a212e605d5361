// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

func TestAFixtureHasWhatEveryRecordHas(t *testing.T) {
	for _, x := range []struct {
		file string
		op   sdk.Op
		data string
	}{
		{`{"change": {}}`, sdk.Created, "null"},
		{"\ufeff" + `{"change": {"op": "upsert", "data": [1]}, "fetched": null, "previous": null}`, sdk.Created, "[1]"},
		{`{"change": {"op": "deleted"}, "previous": {"change": {"op": "updated"}}}`, sdk.Deleted, "null"},
		{`{"change": {}, "previous": {"change": {"data": {}}}}`, sdk.Updated, "null"},
		{`{"change": {}, "previous": {"change": {"op": "deleted"}}}`, sdk.Created, "null"},
	} {
		f, err := record.UnmarshalFixture([]byte(x.file))
		if err != nil {
			t.Errorf("%s: %v", x.file, err)
			continue
		}
		if c := f.Record.Change; c.Op != x.op || string(c.Data) != x.data {
			t.Errorf("%s: %s of %s", x.file, c.Op, c.Data)
		}
		if before := strings.Contains(x.file, `"previous": {`); before != (f.Previous != nil) {
			t.Errorf("%s: the record before is %v", x.file, f.Previous)
		}
	}
}

func TestAFixtureThatCanNotBeMeantSaysWhatIsWrong(t *testing.T) {
	for file, want := range map[string]string{
		"":                                   "line 1, column 1: this is not valid JSON",
		"{\n \"change\": {\"id\": \"é\" x}}": "line 2, column 23: this is not valid JSON",
		`{"change": {}`:                      "line 1, column 13: this is not valid JSON",
		`[]`:                                 "this is no record",
		`{}`:                                 "change is missing",
		`{"change": null}`:                   "change is missing",
		`{"change": {}, "Fetched": {}}`:      "it has only change, fetched, parent, previous",
		`{"change": {"id": 1}}`:              "change.id is of the wrong kind",
		`{"change": {"time": "Canary"}}`:     "a time in it is not in the form of",
		`{"change": {"op": "Canary"}}`:       "op has to be created, updated or deleted",
		`{"change": {}, "fetched": []}`:      "fetched is of the wrong kind",
		`{"change": {}, "previous": {}}`:     "previous: change is missing",
		`{"change": {}, "previous": {"change": {}, "previous": {}}}`: "previous: there is a member that a record does not have",
		`{"change": {}, "parent": {"op": "Canary"}}`:                 "op has to be",
	} {
		_, err := record.UnmarshalFixture([]byte(file))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Canary") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// FuzzFixture: whatever a file holds, it is refused or is a record that has a JSON form, which is the same record.
func FuzzFixture(f *testing.F) {
	f.Add([]byte(`{"change": {"id": "1", "kind": "k", "op": "created", "time": "2026-05-10T10:00:00.5+02:00", "data": {"a": [1.0]}},
		"fetched": {"p": {}}, "parent": {"id": "2"}, "previous": {"change": {}}}`))
	f.Add([]byte(`{"change": {"id": 1}}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		fixture, err := record.UnmarshalFixture(file)
		if err != nil {
			return
		}
		data, err := fixture.Record.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := record.UnmarshalFixture(data)
		if err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if !again.Record.Change.Time.Equal(fixture.Record.Change.Time) {
			t.Fatalf("another time: %s", data)
		}
		if once, _ := again.Record.Marshal(); !reflect.DeepEqual(once, data) {
			t.Fatalf("%s became %s", data, once)
		}
	})
}
