// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

// onePage is a source that gives one page and the patients of its changes, at once.
type onePage struct {
	changes []sdk.Change
	patient json.RawMessage
}

func (s *onePage) Feed(context.Context, string) (sdk.Feed, error) {
	return sdk.Feed{Name: "appointments", Kind: "appointment", Class: sdk.Timestamp, Version: sdk.Coarse, Precision: time.Second}, nil
}

func (s *onePage) Poll(context.Context, sdk.Query) (sdk.Page, error) {
	return sdk.Page{Changes: s.changes, Watermark: []byte("w"), Now: time.Now(), Calls: 1}, nil
}

func (s *onePage) Fetch(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	results := make([]sdk.Result, len(refs))
	for i, ref := range refs {
		results[i] = sdk.Result{Ref: ref, Data: s.patient}
	}
	return results, nil
}

func (s *onePage) Ack(context.Context, string, []byte) error { return nil }

// BenchmarkPage is the way of a page of 2,000 changes of 1.5 KB through the pipeline loop on the embedded state: new ones, with 500 patients
// to be fetched and notifications of 1.5 KB that a mapping has ready; and ones that were seen. What it costs beside is the adapter's, the
// script's and the delivery loop's.
func BenchmarkPage(b *testing.B) {
	const size = 2000
	text := strings.Repeat("what a clinician wrote ", 60)
	body, err := json.Marshal(map[string]string{"Comment": text})
	if err != nil {
		b.Fatal(err)
	}
	page := func(round int) []sdk.Change {
		changes := make([]sdk.Change, size)
		for i := range changes {
			id, at := fmt.Sprintf("%d-%d", round, i), time.Date(2026, 7, 1, 12, 0, i, 0, time.UTC)
			changes[i] = sdk.Change{Ref: sdk.Ref{Kind: "appointment", ID: id}, Version: at.Format(time.DateTime), Op: sdk.Upsert, Time: at,
				Data: fmt.Appendf(nil, `{"id":%q,"patient":"p%d","comment":%q}`, id, i%500, text)}
		}
		return changes
	}
	for _, again := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "seen"}[again], func(b *testing.B) {
			s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			source := &onePage{changes: page(0), patient: body}
			p, err := pipeline.New(pipeline.Config{
				Name: "visits", SourceName: "rest.clinic", Feed: "appointments", Every: time.Minute, Timeout: time.Minute, Parallel: 2,
				Delivers: []pipeline.Deliver{{Name: "out", Destination: "file.out", OrderBy: inData("patient"),
					Map: func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) { return body, nil }}},
				Fetches: []pipeline.Fetch{patients()}, Source: source, Claim: s.Claim, Limits: s.Limits(),
				Names: record.Names{Secret: s.Secret()}, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			once := func(mapped int) {
				if c, err := p.Once(b.Context()); err != nil || c.Changes != size || c.Mapped != mapped {
					b.Fatal(c, err)
				}
			}
			if again {
				once(size)
			}
			b.ReportAllocs()
			for round := 1; b.Loop(); round++ {
				if again {
					once(0)
					continue
				}
				b.StopTimer()
				source.changes = page(round)
				b.StartTimer()
				once(size)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/change")
		})
	}
}
