// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// TestWhatIsTriedIsWhatIsCommitted: a record that was delivered is tried, and gives the same body and ordering key.
func TestWhatIsTriedIsWhatIsCommitted(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.config.Delivers[0].OrderBy = inFetched("patient", "id")
		r.ehr.fill(2, "a")
		r.run(3 * time.Minute)
		entries := r.outbox()
		if len(entries) != 2 {
			t.Fatalf("%d entries", len(entries))
		}
		p, err := pipeline.New(r.config)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			rec, err := record.Unmarshal(e.Body) // what the rig maps a record to
			if err != nil {
				t.Fatal(err)
			}
			outcomes, err := p.Try(t.Context(), rec, nil, time.Now())
			if err != nil || len(outcomes) != 1 {
				t.Fatalf("%v, %v", outcomes, err)
			}
			if o := outcomes[0]; string(o.Body) != string(e.Body) || o.Key != e.Key || o.Deliver != e.Deliver || o.Destination != e.Destination || o.Cause != nil {
				t.Errorf("%+v of %+v", o, e)
			}
		}
	})
}

func TestATryTellsWhyNothingWouldBeSent(t *testing.T) {
	block := func(name string, change func(*pipeline.Deliver)) pipeline.Deliver {
		d := deliver(name)
		change(&d)
		return d
	}
	gives := func(body []byte, err error) func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) {
		return func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) { return body, err }
	}
	at := time.Date(2026, 5, 10, 10, 0, 0, 0, time.UTC)
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{patients()}
		r.config.KeepPrevious = true
		before := &record.Record{}
		r.config.Delivers = []pipeline.Deliver{
			block("unwanted", func(d *pipeline.Deliver) {
				d.Filter = condition(func(string) (bool, error) { return false, nil })
			}),
			block("null", func(d *pipeline.Deliver) { d.Map = gives(nil, nil) }),
			block("filter fails", func(d *pipeline.Deliver) {
				d.Filter = condition(func(string) (bool, error) { return false, errors.New("a.hcl:1: why") })
			}),
			block("order fails", func(d *pipeline.Deliver) {
				d.OrderBy = expr(func(*record.Record) (string, bool, error) { return "", false, errors.New("a.hcl:2: why") })
			}),
			block("throws", func(d *pipeline.Deliver) {
				d.Map = gives(nil, &pipeline.MapError{Text: "a.js:1:1: why", Detail: "thrown"})
			}),
			block("too slow", func(d *pipeline.Deliver) {
				d.Map = gives(nil, &pipeline.MapError{Text: "a.js:2:1: slow", TimedOut: true})
			}),
			block("panics", func(d *pipeline.Deliver) {
				d.Map = func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) { panic(canary) }
			}),
			block("mapped", func(d *pipeline.Deliver) {
				d.Map = func(_ context.Context, rec *record.Record, c pipeline.MapContext) ([]byte, error) {
					if !c.Now.Equal(at) || c.Pipeline != r.config.Name || c.Deliver != "mapped" || c.Attempt != 1 || c.Previous != before || string(rec.Fetched["patient"]) != "null" {
						t.Errorf("%+v, %s", c, rec.Fetched)
					}
					return []byte("{}"), nil
				}
			}),
		}
		p, err := pipeline.New(r.config)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, err := p.Try(t.Context(), &record.Record{Change: sdk.Change{Ref: sdk.Ref{ID: "1"}, Op: sdk.Updated, Data: json.RawMessage("{}")}}, before, at)
		if err != nil {
			t.Fatal(err)
		}
		causes := map[string]string{"filter fails": "a.hcl:1: why", "order fails": "a.hcl:2: why", "throws": "a.js:1:1: why", "too slow": "a.js:2:1: slow", "panics": "internal error"}
		for _, o := range outcomes {
			var text string
			if o.Cause != nil {
				text = o.Cause.Text
			}
			if want := causes[o.Deliver]; !strings.Contains(text, want) || (text != "") != (want != "") || (o.Body != nil) != (o.Deliver == "mapped") ||
				o.Unwanted != (o.Deliver == "unwanted") {
				t.Errorf("%s: %+v", o.Deliver, o)
			}
		}
		if len(outcomes) != len(r.config.Delivers) || outcomes[4].Cause.Detail != "thrown" {
			t.Errorf("%+v", outcomes)
		}

		r.config.KeepPrevious = false
		if p, err = pipeline.New(r.config); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Try(t.Context(), &record.Record{}, before, at); err == nil || !strings.Contains(err.Error(), "keep_previous") {
			t.Errorf("a record before, in a pipeline that keeps none: %v", err)
		}
		for name, rec := range map[string]*record.Record{
			"fetched by no block":         {Fetched: map[string]json.RawMessage{canary: nil}},
			"a parent without expansions": {Parent: &sdk.Change{}},
		} {
			if _, err := p.Try(t.Context(), rec, nil, at); err == nil || strings.Contains(err.Error(), canary) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
