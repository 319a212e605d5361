// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// FuzzAnswer reads what a server may answer: whatever it is, each item becomes a change or an error, and nothing quotes it.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"appointments": [{"appointmentid": "1", "lastmodified": "11/01/2026 01:30:00"}], "next": "/v1/1/a?offset=1", "totalcount": 2}`), 1)
	f.Add([]byte(`{"appointments": {}, "patients": null, "orders": [1, null, []]}`), 1000)
	f.Fuzz(func(t *testing.T, body []byte, limit int) {
		if !rawjson.Valid(body) {
			return
		}
		for name, feed := range feeds {
			changes, more, err := feed.parse(body, 0, max(limit, 1), time.Now())
			if err != nil && (len(changes) > 0 || more) {
				t.Errorf("%s: an error and %d changes", name, len(changes))
			}
			for _, c := range changes {
				if (c.Ref.ID == "") != (c.Err != nil) || !json.Valid(c.Data) {
					t.Errorf("%s: %+v", name, c)
				}
			}
		}
	})
}

// FuzzPlace reads what the engine gives back: another's is refused, and one that is read stays the same when it is written.
func FuzzPlace(f *testing.F) {
	f.Add([]byte(`{"read":"2026-01-01T00:00:00Z","until":"2026-01-01T00:05:00Z"}`), []byte(`{"mark":{"read":"2026-01-01T00:00:00Z"},"again":{"from":"2026-01-01T00:00:00Z"}}`), true)
	f.Fuzz(func(t *testing.T, watermark, cursor []byte, recover bool) {
		at, err := placeOf(sdk.Query{Watermark: watermark, Cursor: cursor, Recover: recover})
		if err != nil {
			return
		}
		first := written(at)
		again, err := placeOf(sdk.Query{Watermark: watermark, Cursor: first})
		if at.Mark.Read.IsZero() {
			return // never read
		}
		if err != nil || string(written(again)) != string(first) {
			t.Errorf("%s became %s, %v", first, written(again), err)
		}
	})
}

// FuzzEastern: a range that is asked for in Eastern time holds each instant of it, however a server reads a time that comes twice.
func FuzzEastern(f *testing.F) {
	f.Add(int64(1793511000), int64(3600))
	f.Fuzz(func(t *testing.T, unix, length int64) {
		if unix < 1e9 || unix > 4e9 || length < 0 || length > 1e6 {
			return
		}
		e := eastern()
		from, to := time.Unix(unix, 0), time.Unix(unix+length, 0)
		early, late, err := e.format.Parse(e.from(from))
		if err != nil || early.After(from) || late.After(from) {
			t.Errorf("from %v is written %s", from, e.from(from))
		}
		early, late, err = e.format.Parse(e.to(to))
		if err != nil || early.Before(to) || late.Before(to) {
			t.Errorf("to %v is written %s", to, e.to(to))
		}
	})
}
