// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/store"
)

// ending is a context that is done when it was asked n times.
type ending struct {
	context.Context
	n int
}

func (c *ending) Err() error {
	if c.n--; c.n < 0 {
		return context.Canceled
	}
	return nil
}

// TestStateIsMovedBackWhateverFailsAfterwards: else the old configuration, which goes on, would find nothing under its names.
func TestStateIsMovedBackWhateverFailsAfterwards(t *testing.T) {
	_, r := stateOnly(t)
	feed, err := r.state.Claim(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(feed.Commit(t.Context(), store.Batch{Position: &store.Position{Watermark: []byte("1")}}), feed.Release(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	names := func() []string {
		positions, err := r.state.Admin().Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(positions))
	}
	cfg := &config.Config{Moves: []config.Move{{Kind: "pipeline", From: "old", To: "new"}}}
	if err := r.rename(&ending{t.Context(), 1}, cfg); err == nil || !slices.Equal(names(), []string{"old"}) {
		t.Errorf("what failed (%v) left state under %q", err, names())
	}
	if err := r.rename(t.Context(), cfg); err != nil || !slices.Equal(names(), []string{"new"}) {
		t.Errorf("%v, and state is under %q", err, names())
	}
	// What was renamed twice is found under either name.
	cfg.Moves = append(cfg.Moves, config.Move{Kind: "pipeline", From: "new", To: "newest"})
	if err := r.rename(t.Context(), cfg); err != nil || !slices.Equal(names(), []string{"newest"}) {
		t.Errorf("%v, and state is under %q", err, names())
	}
	if _, err := r.state.Admin().Rename(t.Context(), store.Pipeline, "newest", "old"); err != nil {
		t.Fatal(err)
	}
	if err := r.rename(t.Context(), cfg); err != nil || !slices.Equal(names(), []string{"newest"}) {
		t.Errorf("%v, and state is under %q", err, names())
	}
}

// TestNothingIsSavedUnderANameThatWasMoved: an adapter that took too long to close may save something yet, and the next start would find two
// states. Under a name that a source has again it is saved.
func TestNothingIsSavedUnderANameThatWasMoved(t *testing.T) {
	e, r := stateOnly(t)
	e.saved.set(r.state)
	save := func(name string) error { return e.saved.SaveState(t.Context(), name, []byte("x")) }
	if err := save("rest.a"); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Moves: []config.Move{{Kind: "source", From: "rest.a", To: "rest.b"}}}
	if err := r.rename(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := save("rest.a"); err == nil {
		t.Error("something is kept under the old name")
	}
	if err := save("rest.b"); err != nil {
		t.Error(err)
	}
	e.openSource(config.Source{Adapter: config.Adapter{Name: "rest"}, Name: "a"})
	if err := save("rest.a"); err != nil {
		t.Errorf("by a source of the name: %v", err)
	}
}

// TestASourceThatStateIsMovedToIsOpenedAnew: its adapter was told what is kept when it was opened, and would write over what is moved.
func TestASourceThatStateIsMovedToIsOpenedAnew(t *testing.T) {
	_, r := stateOnly(t)
	cfg := &config.Config{Sources: []config.Source{{Adapter: config.Adapter{Name: "rest"}, Name: "b"}}}
	now := &opened{config: cfg.Sources[0]}
	r.sources["rest.b"] = now
	for _, moved := range []bool{false, true} {
		if moved {
			cfg.Moves = []config.Move{{Kind: "source", From: "rest.a", To: "rest.b"}}
		}
		c, err := r.compare(cfg)
		if err != nil || (c.sources["rest.b"] == now) == moved || (len(c.closeSources) == 1) != moved {
			t.Errorf("moved: %t, the same source goes on: %t (%v)", moved, c.sources["rest.b"] == now, err)
		}
	}
}

// TestAPipelineThatPollsAnotherFeedIsToldOf: it goes on from where it stood, and what is older in the other feed is never read. A source or a
// pipeline that is called otherwise is no other.
func TestAPipelineThatPollsAnotherFeedIsToldOf(t *testing.T) {
	_, r := stateOnly(t)
	as := func(name, source, feed string) *polling {
		return &polling{config: config.Pipeline{Name: name, Source: source, Feed: feed}}
	}
	r.pipelines = map[string]*polling{
		"same": as("same", "rest.a", "visits"), "feed": as("feed", "rest.a", "visits"), "source": as("source", "rest.a", "visits"),
		"old": as("old", "rest.b", "visits"), "gone": as("gone", "rest.a", "visits"),
	}
	c := &change{
		cfg: &config.Config{Moves: []config.Move{
			{Kind: "source", From: "rest.a", To: "rest.x"}, {Kind: "source", From: "rest.x", To: "rest.y"}, {Kind: "pipeline", From: "old", To: "new"},
		}},
		pipelines: map[string]*polling{
			"same": as("same", "rest.y", "visits"), "feed": as("feed", "rest.y", "orders"), "source": as("source", "rest.b", "visits"),
			"new": as("new", "rest.y", "visits"), "more": as("more", "rest.y", "visits"),
		},
	}
	if got := r.elsewhere(c); !slices.Equal(got, []string{"feed", "new", "source"}) {
		t.Errorf("told of: %q", got)
	}
}

// TestAStopWhileAnEngineBeginsIsAStop, and no failure.
func TestAStopWhileAnEngineBeginsIsAStop(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	e := New(Options{StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err := e.Run(ctx, &config.Config{}, nil); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestOneOfSeveralPipelinesOfAFeedGoesFirst: the first of the configuration. One that comes to be the first, or is it no more, is
// another one than before and is started anew.
func TestOneOfSeveralPipelinesOfAFeedGoesFirst(t *testing.T) {
	one := func(name, feed string) config.Pipeline {
		return config.Pipeline{Name: name, Source: "queue.clinic", Feed: feed}
	}
	a, b, c, other := one("a", "visits"), one("b", "visits"), one("c", "visits"), one("other", "patients")
	all := newBuilder(&config.Config{Pipelines: []config.Pipeline{other, a, b, c}}, nil)
	without := newBuilder(&config.Config{Pipelines: []config.Pipeline{other, b, c}}, nil)
	for p, want := range map[*config.Pipeline][2]string{&other: {"", ""}, &a: {"", "b"}, &b: {"a", ""}, &c: {"a", "b"}} {
		made, err := all.pipeline(*p)
		if err != nil || made.Rival != want[0] {
			t.Errorf("the rival of %s is %q, want %q (%v)", p.Name, made.Rival, want[0], err)
		}
		before, _ := all.fingerprint(*p)
		after, _ := without.fingerprint(*p)
		if now := without.rival(*p); now != want[1] || (before == after) != (want[0] == want[1]) {
			t.Errorf("without a the rival of %s is %q, want %q; the same as before: %t", p.Name, now, want[1], before == after)
		}
	}
}

// TestOverduePollsComeOneAfterAnother, but for those whose tick comes before their turn: they take none from the others.
func TestOverduePollsComeOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, begun := new(hurry), time.Now()
		turn := func(before, want time.Duration, has bool) {
			t.Helper()
			at, ok := h.Turn(begun.Add(before))
			if ok != has || ok && at.Sub(begun) != want {
				t.Errorf("its turn is after %v (%t), want %v (%t)", at.Sub(begun), ok, want, has)
			}
		}
		for i := range time.Duration(1000) {
			turn(time.Hour, i*hurryEvery, true)
			turn(i*hurryEvery, 0, false)
		}
		time.Sleep(time.Hour)
		turn(2*time.Hour, time.Hour, true)
	})
}

// TestASourceThatRunsAsItStandsIsNotValidatedAgain: its adapter is asked of what differs only. This one can't be started, which is an error.
func TestASourceThatRunsAsItStandsIsNotValidatedAgain(t *testing.T) {
	e := New(Options{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	a, data := config.Adapter{Name: "none"}, []byte(`{"base_url":"https://a.example"}`)
	if err := (described{e.host, e.runs()}).Validate(t.Context(), a, data); err == nil {
		t.Error("nothing runs, and nobody was asked")
	}
	e.running = &running{sources: map[string]*opened{"none.a": {config: config.Source{Adapter: a, Name: "a", Config: data}}}}
	if err := (described{e.host, e.runs()}).Validate(t.Context(), a, data); err != nil {
		t.Errorf("it runs, and its adapter was asked: %v", err)
	}
	for what, x := range map[string]struct {
		adapter config.Adapter
		data    string
	}{
		"another configuration": {a, `{"base_url":"https://b.example"}`},
		"another adapter":       {config.Adapter{Name: "nome"}, string(data)},
		"another program":       {config.Adapter{Name: "none", Path: "/nowhere"}, string(data)},
		"another sum":           {config.Adapter{Name: "none", SHA256: "00"}, string(data)},
	} {
		if err := (described{e.host, e.runs()}).Validate(t.Context(), x.adapter, []byte(x.data)); err == nil {
			t.Errorf("%s: nobody was asked", what)
		}
	}
}
