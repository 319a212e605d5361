// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/sdk"
)

// clinic is a source that lists all it has, in pages of 40, and knows the patients whose number is not divisible by 7.
type clinic struct {
	class  sdk.Class
	has    map[int]string // state by number
	peeks  bool
	acks   int
	polled int
	peeked int // of these, without taking anything away
}

func (c *clinic) Feed(_ context.Context, name string) (sdk.Feed, error) {
	return sdk.Feed{Name: name, Kind: "appointment", Class: c.class, Version: sdk.Exact, Peeks: c.peeks}, nil
}

func (c *clinic) Poll(_ context.Context, q sdk.Query) (sdk.Page, error) {
	c.polled++
	if q.Peek {
		c.peeked++
	}
	var from int
	_, _ = fmt.Sscan(string(q.Cursor), &from) // else it is the first page
	numbers := slices.Sorted(maps.Keys(c.has))
	page := sdk.Page{Calls: 2, Ack: []byte("a")}
	for _, n := range numbers[from:min(from+40, len(numbers))] {
		page.Changes = append(page.Changes, sdk.Change{
			Ref: sdk.Ref{Kind: "appointment", ID: fmt.Sprint(n)}, Version: c.has[n], Op: sdk.Upsert,
			Data: json.RawMessage(fmt.Sprintf(`{"n": %d, "state": %q}`, n, c.has[n])),
		})
	}
	if from+40 < len(numbers) {
		page.Cursor = fmt.Append(nil, from+40)
		return page, nil
	}
	page.Watermark, page.Complete = []byte("1"), true
	page.Notes = []sdk.Note{{Code: "hint", Text: "the filter was ignored"}}
	return page, nil
}

func (c *clinic) Fetch(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	results := make([]sdk.Result, len(refs))
	for i, ref := range refs {
		var n int
		_, _ = fmt.Sscan(ref.ID, &n) // ids here are numbers
		results[i] = sdk.Result{Ref: ref, Data: json.RawMessage(`{"name": "Ada"}`)}
		_, listed := c.has[n]
		if ref.Kind == "patient" && n%7 == 0 || ref.Kind == "appointment" && !listed {
			results[i] = sdk.Result{Ref: ref, Err: sdk.NotFound("no such record")}
		}
	}
	return results, nil
}

func (c *clinic) Ack(context.Context, string, []byte) error {
	c.acks++
	return nil
}

type idOf struct{}

func (idOf) Eval(r *record.Record) (string, bool, error) { return r.Change.Ref.ID, true, nil }

func (c *clinic) pipeline(t *testing.T, source pipeline.Source, state keeper) *pipeline.Pipeline {
	t.Helper()
	config := pipeline.Config{
		Name: "p", SourceName: "rest.clinic", Feed: "appointments", Every: time.Minute, Timeout: time.Minute, MaxDeleted: 0.5, KeepPrevious: true,
		Source: source, Claim: state.Claim, Limits: state.Limits(), Names: record.Names{Secret: state.Secret()}, Parallel: 2, Logger: slog.New(slog.DiscardHandler),
		Fetches: []pipeline.Fetch{{Name: "patient", Resource: "patient", ID: idOf{}}},
		Delivers: []pipeline.Deliver{{Name: "d", Destination: "webhook.d", KeepRecord: true,
			Map: func(_ context.Context, r *record.Record, m pipeline.MapContext) ([]byte, error) {
				switch {
				case strings.HasSuffix(r.Change.Ref.ID, "3"):
					return nil, nil
				case strings.HasSuffix(r.Change.Ref.ID, "5"):
					return nil, &pipeline.MapError{Text: "it failed", Detail: "Ada"}
				}
				body, err := r.Marshal()
				if m.Previous != nil {
					return fmt.Appendf(nil, `{"was": %q, "is": %s}`, m.Previous.Change.Version, body), err
				}
				return body, err
			}}},
	}
	if c.class == sdk.Scan {
		config.Confirm = "appointment"
	}
	p, err := pipeline.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// kept gives the bodies of the outbox and the causes of the dead letters, by id.
func kept(t *testing.T, s store.Store) (entries, dead map[string]string) {
	t.Helper()
	entries, dead = map[string]string{}, map[string]string{}
	out, err := s.Attach(t.Context(), "webhook.d")
	if err != nil {
		t.Fatal(err)
	}
	lanes, _, err := out.Lanes(t.Context(), nil, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, lane := range lanes {
		head, err := out.Head(t.Context(), lane, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range head {
			entries[e.ID] = fmt.Sprintf("%d %s %s", e.Generation, e.Key, e.Body)
		}
	}
	letters, _, err := s.Admin().Dead(t.Context(), store.Filter{}, nil, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		dead[l.ID] = l.Deliver + " " + l.Cause.Text
	}
	return entries, dead
}

// overlaid gives pipelines a draft over what a store holds.
type overlaid struct {
	store.Store
	made *draft
}

func (o *overlaid) Claim(ctx context.Context, name string) (store.Feed, error) {
	stored, err := o.Store.Claim(ctx, name)
	if err != nil {
		return nil, err
	}
	o.made = newDraft(stored, o.Limits())
	return o.made, nil
}

func TestAPlanSaysWhatTheRunThenDoes(t *testing.T) {
	for _, class := range []sdk.Class{sdk.Timestamp, sdk.Scan} {
		for name, limits := range map[string]store.Limits{"roomy": {}, "tiny": {Items: 6, Bytes: 16 << 10, Refs: 7}} {
			t.Run(fmt.Sprint(class, " ", name), func(t *testing.T) {
				state := memstore.New(limits)
				c := &clinic{class: class, has: map[int]string{}}
				for n := range 150 {
					c.has[n] = "a"
				}
				for round := range 3 {
					before, deadBefore := kept(t, state)
					acks := c.acks
					source := &probe{Source: c}
					over := &overlaid{Store: state}
					planned, err := c.pipeline(t, source, over).Once(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if e, d := kept(t, state); !maps.Equal(e, before) || !maps.Equal(d, deadBefore) || c.acks != acks {
						t.Fatal("the plan changed the state, or acknowledged something")
					}
					c.polled = 0
					done, err := c.pipeline(t, c, state).Once(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if planned != done || done.New == 0 {
						t.Errorf("round %d: planned %+v, done %+v", round, planned, done)
					}
					if source.calls.Poll != 2*c.polled || source.calls.Fetch == 0 || len(source.remarks) != 1 {
						t.Errorf("round %d: %+v in %d polls, %d remarks", round, source.calls, c.polled, len(source.remarks))
					}
					entries, dead := kept(t, state)
					maps.DeleteFunc(entries, func(id, _ string) bool { return before[id] != "" })
					maps.DeleteFunc(dead, func(id, _ string) bool { return deadBefore[id] != "" })
					for _, e := range over.made.entries {
						if entries[e.ID] != fmt.Sprintf("%d %s %s", e.Generation, e.Key, e.Body) {
							t.Errorf("round %d: planned was generation %d of %s, done %q", round, e.Generation, e.Ref.ID, entries[e.ID])
						}
					}
					for _, l := range over.made.dead {
						if dead[l.ID] != l.Deliver+" "+l.Cause.Text {
							t.Errorf("round %d: planned was the dead letter %q, done %q", round, l.Cause.Text, dead[l.ID])
						}
					}
					if n := len(slices.DeleteFunc(slices.Collect(maps.Values(entries)), func(e string) bool { return !strings.Contains(e, `{"was"`) })); (n > 0) != (round > 0) {
						t.Errorf("round %d: %d notifications know the state before them", round, n)
					}
					if len(entries) != len(over.made.entries) || len(dead) != len(over.made.dead) {
						t.Errorf("round %d: %d notifications and %d dead letters, planned were %d and %d", round, len(entries), len(dead),
							len(over.made.entries), len(over.made.dead))
					}
					if class == sdk.Scan && (done.Deleted > 0) != (round > 0) {
						t.Errorf("round %d: %d deletions", round, done.Deleted)
					}
					for n := range 30 { // changes, deletions and new ones
						c.has[3*n] = fmt.Sprint("b", round)
						c.has[1000*(round+1)+n] = "new"
						delete(c.has, 100+10*round+n%10)
					}
				}
			})
		}
	}
}

func TestAQueueIsNotPlanned(t *testing.T) {
	state := &planned{secret: make([]byte, 32), drafts: map[string]*draft{}}
	c := &clinic{class: sdk.Queue, has: map[int]string{1: "a"}}
	_, err := c.pipeline(t, &probe{Source: c}, state).Once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "can't be planned") || c.polled > 0 {
		t.Errorf("%v, and it was polled %d times", err, c.polled)
	}
}

func TestAQueueIsPlannedWithoutTakingAnythingAway(t *testing.T) {
	state := &planned{secret: make([]byte, 32), drafts: map[string]*draft{}}
	c := &clinic{class: sdk.Queue, peeks: true, has: map[int]string{1: "a"}}
	done, err := c.pipeline(t, &probe{Source: c}, state).Once(t.Context())
	if err != nil || done.New != 1 || c.polled == 0 || c.peeked != c.polled || c.acks > 0 {
		t.Errorf("%+v, %v; of %d polls %d took nothing away, and %d were acknowledged", done, err, c.polled, c.peeked, c.acks)
	}
}

func TestADraftListsWhatItsScanDidNotMark(t *testing.T) {
	state := memstore.New(store.Limits{})
	stored, err := state.Claim(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	ref := func(n int) sdk.Ref { return sdk.Ref{Kind: "slot", ID: fmt.Sprint(n)} }
	rows := func(from, to int) (rows []store.Row) {
		for n := from; n < to; n++ {
			rows = append(rows, store.Row{Ref: ref(n), Generation: 1})
		}
		return rows
	}
	if err := stored.Commit(t.Context(), store.Batch{Rows: rows(0, 10), Scan: 1}); err != nil {
		t.Fatal(err)
	}
	for name, beneath := range map[string]store.Feed{"over a state": stored, "over nothing": nil} {
		d := newDraft(beneath, state.Limits())
		commit := func(b store.Batch) {
			t.Helper()
			b.Base = d.Position().Commit
			if err := d.Commit(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if beneath == nil {
			commit(store.Batch{Rows: rows(0, 10), Scan: 1})
		}
		commit(store.Batch{Rows: rows(8, 12), Scan: 2})
		commit(store.Batch{Marks: []sdk.Ref{ref(0), ref(1)}, Scan: 2})
		commit(store.Batch{Rows: []store.Row{{Ref: ref(2), Generation: 2, Deleted: true}}})
		commit(store.Batch{Rows: rows(20, 25)}) // without a mark
		got := map[string]int{}
		for token, more := []byte(nil), true; more; more = token != nil {
			refs, next, err := d.Unmarked(t.Context(), 2, token, 3)
			if err != nil || len(refs) > 3 {
				t.Fatalf("%d refs, %v", len(refs), err)
			}
			for _, r := range refs {
				got[r.ID]++
			}
			token = next
		}
		want := map[string]int{}
		for _, n := range []int{3, 4, 5, 6, 7, 20, 21, 22, 23, 24} {
			want[fmt.Sprint(n)] = 1
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if err := d.Commit(t.Context(), store.Batch{}); err != store.ErrStale { //nolint:errorlint // as it is
			t.Errorf("%s: a commit on an old position: %v", name, err)
		}
	}
}

func TestAPlanReadsWhatMovedBlocksWillRename(t *testing.T) {
	dir := t.TempDir()
	o := badgerstore.Options{Logger: slog.New(slog.DiscardHandler)}
	state, err := badgerstore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	feed, err := state.Claim(t.Context(), "visits")
	if err != nil {
		t.Fatal(err)
	}
	ref := sdk.Ref{Kind: "slot", ID: "1"}
	if err := feed.Commit(t.Context(), store.Batch{Rows: []store.Row{{Ref: ref, Generation: 7}}}); err != nil {
		t.Fatal(err)
	}
	if err := state.SaveState(t.Context(), "rest.old", []byte("token")); err != nil {
		t.Fatal(err)
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
	e := New(Options{StateDir: dir, Logger: o.Logger})
	p, err := e.openPlanned(t.Context(), &config.Config{Moves: []config.Move{
		{Kind: "pipeline", From: "visits", To: "slots"}, {Kind: "pipeline", From: "slots", To: "appointments"}, {Kind: "source", From: "rest.old", To: "rest.clinic"},
		{Kind: "pipeline", From: "never", To: "was"}, {Kind: "destination", From: "file.a", To: "file.b"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := p.Claim(t.Context(), "appointments")
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := moved.Seen(t.Context(), []sdk.Ref{ref, ref}); err != nil || len(rows) != 1 || rows[0].Generation != 7 {
		t.Errorf("%+v, %v", rows, err)
	}
	if saved, err := p.LoadState(t.Context(), "rest.clinic"); err != nil || string(saved) != "token" || p.hasSaved("rest.clinic") {
		t.Errorf("%q, %v", saved, err)
	}
	if err := p.SaveState(t.Context(), "rest.clinic", []byte("rotated")); err != nil {
		t.Fatal(err)
	}
	if saved, _ := p.LoadState(t.Context(), "rest.clinic"); string(saved) != "rotated" || !p.hasSaved("rest.clinic") {
		t.Errorf("%q after it was saved", saved)
	}
	budget := sdk.NewState([]byte("token"), func(ctx context.Context, stored []byte) error { return p.SaveState(ctx, "rest.clinic", stored) }).Section("budget")
	if err := budget.Save(t.Context(), []byte("7")); err != nil || p.hasSaved("rest.clinic") {
		t.Errorf("a count of calls is warned of; %v", err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	state, err = badgerstore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	if saved, _ := state.LoadState(t.Context(), "rest.old"); string(saved) != "token" {
		t.Errorf("the state holds %q", saved)
	}
}

func TestTheForecastIsHeldAgainstTheLimits(t *testing.T) {
	pipelines := []PipelinePlan{
		{Source: "rest.a", Calls: Calls{Poll: 1, Fetch: 9}, Forecast: forecast(10, time.Minute)},
		{Source: "rest.a", Calls: Calls{Poll: 1}, Forecast: forecast(1, 7*time.Hour)},
	}
	source := config.Source{Adapter: config.Adapter{Name: "rest"}, Name: "a"} // 601 calls an hour, 14404 a day
	for _, tt := range []struct {
		config  string
		allowed Forecast
		over    bool
	}{
		{`{"limits": {"per_second": 0.2}}`, Forecast{720, 17280}, false},
		{`{"limits": {"per_second": 0.1}}`, Forecast{360, 8640}, true},
		{`{"limits": {"per_minute": 11, "per_second": 9}}`, Forecast{660, 15840}, false},
		{`{"limits": {"per_hour": 600, "per_minute": 11}}`, Forecast{600, 14400}, true},
		{`{"limits": {"per_day": 14404}}`, Forecast{0, 14404}, false},
		{`{"limits": {"per_day": 14403, "per_hour": 700}}`, Forecast{700, 14403}, true},
		{`{"limits": {}}`, Forecast{}, false},
		{`{"limits": ["other"]}`, Forecast{}, false},
	} {
		source.Config = json.RawMessage(tt.config)
		got := sumOf(source, pipelines)
		if got == nil || *got != (SourcePlan{ID: "rest.a", Calls: Calls{2, 9}, Forecast: Forecast{601, 14404}, Allowed: tt.allowed, OverLimit: tt.over}) {
			t.Errorf("%s: %+v", tt.config, got)
		}
	}
	source.Name = "b"
	if got := sumOf(source, pipelines); got != nil {
		t.Errorf("an unused source: %+v", got)
	}
}
