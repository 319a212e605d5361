// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

func TestARecordIsTheSameAfterItsJSONForm(t *testing.T) {
	change := sdk.Change{Ref: sdk.Ref{Kind: "order", ID: "1"}, Version: "v", Op: sdk.Created, Event: "e", Actor: "a",
		Time: time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC), Data: json.RawMessage(`{"n":12345678901234567890}`)}
	parent := change
	parent.Ref = sdk.Ref{Kind: "patient", ID: "2"}
	parent.Time = time.Time{}
	fetched := map[string]json.RawMessage{"patient": json.RawMessage("null")}
	for name, r := range map[string]*record.Record{
		"alone":         {Change: change, Fetched: fetched},
		"with a parent": {Change: change, Parent: &parent, Fetched: fetched},
	} {
		data, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := record.Unmarshal(data)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %+v, %v became of %s", name, got, err, data)
		}
		if has := strings.Contains(string(data), `"parent"`); has != (r.Parent != nil) {
			t.Errorf("%s: %s", name, data)
		}
	}
}
