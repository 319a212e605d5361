// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"reflect"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/window"
)

func FuzzChanges(f *testing.F) {
	for _, s := range []string{
		`{"Changes": [], "Done": true, "Last": 7}`, `{"Changes": [], "Done": false, "Last": 7}`, `{"Changes": {}, "Done": true, "Last": 7}`,
		`{"Changes": [{"Seq": 3, "ChangeType": "NewStudy", "ResourceType": "Study", "ID": "784028ce", "Date": "20261126T023721"}], "Done": true, "Last": 3}`,
		`{"Changes": [{"Seq": 3}, {"Seq": 2}], "Done": true, "Last": 3}`, `{"Changes": [{"seq": 9223372036854775807, "Seq": 1}], "Done": true, "Last": -1}`,
		`{"Changes": [{"Seq": 3, "Date": "20261301T023721", "ID": null}], "Done": true, "Last": 3}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(s), int64(0))
	}
	format, err := window.New(dates, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, since int64) {
		l, err := parseList(body, since, format)
		if err != nil {
			if sdk.CodeOf(err) != sdk.CodeRetryable || !strings.HasPrefix(err.Error(), "GET /changes: ") || len(err.Error()) > 120 {
				t.Errorf("the error %v", err)
			}
			return
		}
		if len(l.changes) == 0 && !l.done {
			t.Error("an answer that never ends was taken")
		}
		for _, c := range l.changes {
			if c.seq <= since {
				t.Errorf("%d after %d", c.seq, since)
			}
			if since = c.seq; c.late.Before(c.early) || c.early.IsZero() != c.late.IsZero() {
				t.Errorf("from %v to %v", c.early, c.late)
			}
		}
	})
}

func FuzzWatermark(f *testing.F) {
	for _, s := range []string{
		`{"last":3,"print":"00","time":"2026-11-26T02:37:21Z","again":2}`, `{"last":0,"again":0}`, `{"last":9,"again":9,"waiting":[{"seq":4,"key":"ab"}]}`,
		`{"mark":{"last":9,"again":9},"after":7}`, `{"mark":{"last":9,"again":9},"after":10}`, `{"t":"2026-11-26T02:37:21Z"}`, `null`, `{}`, `3`, `{"last":1}{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseMark(b); err != nil {
			if sdk.CodeOf(err) != sdk.CodeWatermarkExpired {
				t.Errorf("the error %v", err)
			}
		} else if again, err := parseMark(written(m)); err != nil || !reflect.DeepEqual(written(m), written(again)) {
			t.Errorf("%s becomes %s: %v", b, written(m), err)
		}
		if p, err := parsePlace(b); err != nil {
			if sdk.CodeOf(err) != sdk.CodeCursorExpired {
				t.Errorf("the error %v", err)
			}
		} else if again, err := parsePlace(written(p)); err != nil || !reflect.DeepEqual(written(p), written(again)) {
			t.Errorf("%s becomes %s: %v", b, written(p), err)
		}
	})
}
