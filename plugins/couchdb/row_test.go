// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb

import (
	"encoding/json"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

func TestARowIsRead(t *testing.T) {
	for row, want := range map[string]sdk.Change{
		`{"id": "a", "changes": [{"rev": "1-x"}], "doc": {"_id": "a", "_rev": "1-x", "n": 1}}`: {
			Ref: sdk.Ref{ID: "a"}, Version: "1-x", Data: json.RawMessage(`{"_id": "a", "_rev": "1-x", "n": 1}`)},
		// The document was written again, deleted or made again between the row and its reading.
		`{"id": "a", "changes": [{"rev": "1-x"}], "doc": {"_id": "a", "_rev": "2-y"}}`: {
			Ref: sdk.Ref{ID: "a"}, Version: "2-y", Data: json.RawMessage(`{"_id": "a", "_rev": "2-y"}`)},
		`{"id": "a", "changes": [{"rev": "1-x"}], "doc": {"_id": "a", "_rev": "2-y", "_deleted": true}}`: {
			Ref: sdk.Ref{ID: "a"}, Version: "2-y", Op: sdk.Deleted},
		`{"id": "a", "changes": [{"rev": "2-y"}], "deleted": true, "doc": {"_id": "a", "_rev": "3-z"}}`: {
			Ref: sdk.Ref{ID: "a"}, Version: "3-z", Data: json.RawMessage(`{"_id": "a", "_rev": "3-z"}`)},
		`{"id": "a", "changes": [{"rev": "2-y"}], "deleted": true}`:              {Ref: sdk.Ref{ID: "a"}, Version: "2-y", Op: sdk.Deleted},
		`{"id": "a", "changes": [{"rev": "2-y"}], "deleted": true, "doc": null}`: {Ref: sdk.Ref{ID: "a"}, Version: "2-y", Op: sdk.Deleted},
		`{"id": "a", "changes": [{"rev": "2-y"}], "doc": null}`: {
			Ref: sdk.Ref{ID: "a"}, Version: "2-y", Err: sdk.Retryable("")},
		`{"changes": [{"rev": "2-y"}], "doc": {}}`: {Version: "2-y", Err: sdk.Permanent("")},
		`{"id": "a", "doc": {"n": 1}}`:             {Ref: sdk.Ref{ID: "a"}, Err: sdk.Permanent("")},
		`null`:                                     {Err: sdk.Permanent("")},
	} {
		got := feed{database: "visits"}.change([]byte(row))
		if got.Ref != want.Ref || got.Version != want.Version || got.Op != want.Op || sdk.CodeOf(got.Err) != sdk.CodeOf(want.Err) ||
			want.Err == nil && string(got.Data) != string(want.Data) {
			t.Errorf("%s gives %+v", row, got)
		}
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{{"1", "2", true}, {"2", "2", false}, {"10", "9", false}, {"9007199254740992", "9007199254740993", true}, {"-", "1", false}} {
		if got := less([]byte(tt.a), []byte(tt.b)); got != tt.want {
			t.Errorf("%s < %s: %v", tt.a, tt.b, got)
		}
	}
}

func FuzzChanges(f *testing.F) {
	for _, s := range []string{`{"results": [], "last_seq": 5, "pending": 0}`,
		`{"results": [{"id": "a", "changes": [{"rev": "1-x"}], "doc": {"_rev": "1-x"}}, {"id": "_design/x"}, 7], "last_seq": "3-g1A"}`,
		`{"results": [{"id": "a", "changes": [{"rev": "1-x"}], "deleted": true, "doc": {"_rev": "1-x", "_deleted": true, "by": 1}}], "last_seq": [3, "g1A"]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !rawjson.Valid(body) {
			return
		}
		var page sdk.Page
		if err := (feed{name: "visits", database: "visits", limit: 2}).read(body, position{Seq: json.RawMessage("1")}, &page); err != nil {
			return
		}
		if (page.Cursor == nil) == (page.Watermark == nil) {
			t.Errorf("cursor %s, watermark %s", page.Cursor, page.Watermark)
		}
		if p, ok := parsePosition(append(page.Cursor, page.Watermark...)); !ok || since(p.Seq) == "" && string(p.Seq) != `""` {
			t.Errorf("can't go on from %s%s", page.Cursor, page.Watermark)
		}
		for _, c := range page.Changes {
			if c.Err == nil && (c.Ref.ID == "" || c.Version == "" || c.Op != sdk.Deleted && !json.Valid(c.Data)) {
				t.Errorf("change %+v", c)
			}
		}
	})
}
