// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// TestARetriedNotificationKeepsItsIdAndDestination, whatever generation the record has by now, and wherever it was replayed to.
func TestARetriedNotificationKeepsItsIdAndDestination(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "m.js")
	if err := os.WriteFile(script, []byte("export default ({ change }) => ({ id: change.id })\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ name, refusedBy, want, id string }{
		{"where it went first", "webhook.out", "webhook.out", "given"},
		{"where it was replayed to", "webhook.other", "webhook.other", "given"},
		{"by what is no longer configured", "webhook.gone", "webhook.out", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			e, r := stateOnly(t)
			r.build = newBuilder(&config.Config{
				Dir:          dir,
				Destinations: []config.Destination{{Type: "webhook", Name: "out"}, {Type: "webhook", Name: "other"}},
				Pipelines: []config.Pipeline{{
					Name: "visits", Every: time.Minute, Timeout: time.Minute,
					Delivers: []config.Deliver{{Name: "out", Destination: "webhook.out", Script: script}},
				}},
			}, e.o.Logger)
			ref := sdk.Ref{Kind: "visit", ID: "1"}
			rec := &record.Record{Change: sdk.Change{Ref: ref, Version: "v1", Op: sdk.Updated, Data: []byte(`{}`)}}
			kept, err := rec.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			feed, err := r.state.Claim(t.Context(), "visits")
			if err != nil {
				t.Fatal(err)
			}
			entry := record.Entry{
				ID: "given", Pipeline: "visits", Deliver: "out", Destination: x.refusedBy, Key: "k", Ref: ref, Version: "v1", Generation: 1,
				Body: []byte(`{}`), Record: kept,
			}
			err = feed.Commit(t.Context(), store.Batch{
				Rows: []store.Row{{Ref: ref, Generation: 2, Version: "v2", Hash: [16]byte{1}}},
				Dead: []record.DeadLetter{{
					ID: "given", Pipeline: "visits", Deliver: "out", Key: "k", Ref: ref, Version: "v1", Generation: 1, Time: time.Now(),
					Cause: record.Cause{Stage: record.StageDeliver, Code: "http_422"}, Record: kept, Entry: &entry,
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Retry(t.Context(), "given", true); err != nil {
				t.Fatal(err)
			}
			waiting, _, err := r.state.Admin().Waiting(t.Context(), store.Filter{}, nil, 10)
			if err != nil || len(waiting) != 1 || string(waiting[0].Body) != `{"id":"1"}` {
				t.Fatal(waiting, err)
			}
			if got := waiting[0]; got.Destination != x.want || x.id != "" && got.ID != x.id {
				t.Errorf("it goes to %s with the id %s", got.Destination, got.ID)
			}
		})
	}
}

// buried is a state in which one dead letter lies, and whose configuration has a pipeline for it.
func buried(t *testing.T, p config.Pipeline, c sdk.Change, cause record.Cause) *Engine {
	t.Helper()
	dir := t.TempDir()
	script := filepath.Join(dir, "m.js")
	if err := os.WriteFile(script, []byte("export default ({ change }) => ({ id: change.id })\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, r := stateOnly(t)
	p.Name, p.Every, p.Timeout = "visits", time.Minute, time.Minute
	p.Delivers = []config.Deliver{{Name: "out", Destination: "webhook.out", Script: script}}
	r.build = newBuilder(&config.Config{
		Dir: dir, Destinations: []config.Destination{{Type: "webhook", Name: "out"}}, Pipelines: []config.Pipeline{p},
	}, e.o.Logger)
	rec, err := (&record.Record{Change: c}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	feed, err := r.state.Claim(t.Context(), "visits")
	if err != nil {
		t.Fatal(err)
	}
	err = feed.Commit(t.Context(), store.Batch{
		Rows: []store.Row{{Ref: c.Ref, Generation: 2, Version: c.Version, Hash: [16]byte{1}, Deleted: c.Op == sdk.Deleted}},
		Dead: []record.DeadLetter{{
			ID: "dead", Pipeline: "visits", Ref: c.Ref, Version: c.Version, Generation: 2, Time: time.Now(), Cause: cause, Record: rec,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestInvariant2ARetriedDeletionHasTheIdOfADeletion: after a restore a change may have had its generation, version and data.
func TestInvariant2ARetriedDeletionHasTheIdOfADeletion(t *testing.T) {
	ids := map[string]sdk.Op{}
	for _, op := range []sdk.Op{sdk.Updated, sdk.Deleted} {
		e := buried(t, config.Pipeline{}, sdk.Change{Ref: sdk.Ref{Kind: "visit", ID: "1"}, Version: "v", Op: op, Data: []byte(`{}`)},
			record.Cause{Stage: record.StageMap, Code: "script"})
		if _, err := e.Retry(t.Context(), "dead", false); err != nil {
			t.Fatal(err)
		}
		waiting, _, err := e.running.state.Admin().Waiting(t.Context(), store.Filter{}, nil, 10)
		if err != nil || len(waiting) != 1 {
			t.Fatal(waiting, err)
		}
		ids[waiting[0].ID] = op
	}
	if len(ids) != 2 {
		t.Error("a change and a deletion have the same id")
	}
}

// meanwhile is a context that lets something happen when it is looked at for the n-th time.
type meanwhile struct {
	context.Context
	n  int
	do func()
}

func (m *meanwhile) Err() error {
	if m.n--; m.n == 0 {
		m.do()
	}
	return m.Context.Err()
}

// TestNothingIsPutIntoTheOutboxOfADestinationThatHasGoneMeanwhile: a reload that renames it has moved its outbox, and what comes later under the
// old name would wait for nobody, and be in the way of any move.
func TestNothingIsPutIntoTheOutboxOfADestinationThatHasGoneMeanwhile(t *testing.T) {
	for n := range 8 {
		e := buried(t, config.Pipeline{}, sdk.Change{Ref: sdk.Ref{Kind: "visit", ID: "1"}, Version: "v", Op: sdk.Updated, Data: []byte(`{}`)},
			record.Cause{Stage: record.StageMap, Code: "script"})
		r := e.running
		renamed := false
		_, err := e.Retry(&meanwhile{t.Context(), n + 1, func() {
			if !e.changing.TryLock() { // a reload waits
				return
			}
			defer e.changing.Unlock()
			cfg := *r.build.cfg
			cfg.Destinations = []config.Destination{{Type: "webhook", Name: "renamed"}}
			e.mu.Lock()
			r.build, renamed = newBuilder(&cfg, e.o.Logger), true
			e.mu.Unlock()
		}}, "dead", false)
		waiting, pending := r.state.Admin().Pending(t.Context())
		if pending != nil {
			t.Fatal(pending)
		}
		if renamed && (err == nil || len(waiting) > 0) {
			t.Errorf("renamed at look %d: %v, and there wait %v", n+1, err, waiting)
		}
		if !renamed && (err != nil || len(waiting) != 1) {
			t.Errorf("not renamed at look %d: %v, and there wait %v", n+1, err, waiting)
		}
	}
}

// TestARetriedParentIsNotMapped: it is what the feed listed, and only its children are mapped.
func TestARetriedParentIsNotMapped(t *testing.T) {
	e := buried(t, config.Pipeline{Expand: &config.Expand{Name: "order", Resource: "orders", Key: []string{"id"}}},
		sdk.Change{Ref: sdk.Ref{Kind: "patient", ID: "1"}, Version: "v", Op: sdk.Updated, Data: []byte(`{}`)},
		record.Cause{Stage: record.StageFetch, Code: "not_found"})
	if out, err := e.Retry(t.Context(), "dead", false); err == nil {
		t.Errorf("retried without a pipeline that runs: %+v", out)
	}
	waiting, _, err := e.running.state.Admin().Waiting(t.Context(), store.Filter{}, nil, 10)
	if err != nil || len(waiting) > 0 {
		t.Error("the parent was mapped", err)
	}
	if _, err := e.DeadLetter(t.Context(), "dead"); err != nil {
		t.Error("the dead letter is gone:", err)
	}
}
