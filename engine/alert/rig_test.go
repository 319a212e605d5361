// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
)

const (
	oncall = "webhook.oncall"
	other  = "webhook.other"
)

// rig is an engine as a loop sees it: one pipeline, visits of rest.clinic, and two destinations.
type rig struct {
	t      *testing.T
	memory *memstore.Memory
	faults *storetest.Faults
	config alert.Config

	mu  sync.Mutex
	is  alert.Now
	err error

	visits alert.Pipeline
	sends  alert.Destination
	log    bytes.Buffer
}

func simulate(t *testing.T, test func(r *rig), rules ...alert.Rule) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, memory: new(memstore.Memory), faults: &storetest.Faults{}}
		r.is = alert.Now{
			Pipelines:    []alert.PipelineNow{{Name: "visits"}},
			Destinations: []alert.DestinationNow{{Name: oncall}, {Name: other}},
			Sources:      []string{"rest.clinic"},
		}
		for i := range rules {
			if rules[i].To == "" {
				rules[i].To = oncall
			}
		}
		r.config = alert.Config{
			Rules: rules, Destinations: []string{oncall, other}, Host: "here", Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
			Now: func(context.Context) (alert.Now, error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				return alert.Now{
					Pipelines: slices.Clone(r.is.Pipelines), Destinations: slices.Clone(r.is.Destinations), Sources: r.is.Sources,
				}, r.err
			},
		}
		test(r)
	})
}

// start begins the life of an engine; its end is a stop.
func (r *rig) start() (stop func()) {
	s := storetest.Faulty(r.memory.Open(store.Limits{Items: 5, Refs: 3}), r.faults)
	r.config.Meter = alert.NewMeter()
	r.visits, r.sends = r.config.Meter.Pipeline("visits", "rest.clinic"), r.config.Meter.Destination(other)
	r.visits.Begins()
	end := r.loop(s)
	return func() {
		end()
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	}
}

// loop runs a loop, as after a reload.
func (r *rig) loop(s store.Store) (stop func()) {
	c := r.config
	c.Claim, c.Limits = s.Claim, s.Limits()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		alert.New(c).Run(ctx)
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-done
	}
}

// set changes what the state says.
func (r *rig) set(change func(p *alert.PipelineNow, d *alert.DestinationNow)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.is.Pipelines[0], &r.is.Destinations[1])
}

// kill ends the life of an engine that keeps nothing at its end.
func (r *rig) kill(stop func()) {
	r.faults.Before = func(int, storetest.Op) error { return store.ErrBusy }
	stop()
	r.faults.Before = nil
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// sent is what waits for a destination, by lane in the order of commit.
func (r *rig) sent(to string) []record.Entry {
	r.t.Helper()
	s := r.memory.Open(store.Limits{})
	box, err := s.Attach(r.t.Context(), to)
	if err != nil {
		r.t.Fatal(err)
	}
	lanes, _, err := box.Lanes(r.t.Context(), nil, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []record.Entry
	for _, lane := range slices.Sorted(slices.Values(lanes)) {
		entries, err := box.Head(r.t.Context(), lane, 100)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, entries...)
	}
	return all
}

// expect compares what was sent, as "alert subject state", each with an id of its own.
func (r *rig) expect(to string, want ...string) {
	r.t.Helper()
	var got []string
	ids := map[string]bool{}
	for _, e := range r.sent(to) {
		var m alert.Message
		if err := json.Unmarshal(e.Body, &m); err != nil {
			r.t.Fatal(err)
		}
		got = append(got, m.Alert+" "+m.Subject+" "+m.State)
		ids[e.ID] = true
		if e.Destination != to || e.Deliver != m.Alert || e.Pipeline != alert.Owner || e.Ref.Kind != "alert" || e.Version != m.State ||
			e.Key != m.Alert+"/"+m.Subject {
			r.t.Errorf("the entry of %s is %+v", got[len(got)-1], e)
		}
	}
	if !slices.Equal(got, want) || len(ids) != len(want) {
		r.t.Errorf("%s was sent %q with %d ids, want %q\n%s", to, got, len(ids), want, r.log.String())
	}
}

// texts are those of all that was sent.
func (r *rig) texts(to string) string {
	var all []string
	for _, e := range r.sent(to) {
		var m alert.Message
		if err := json.Unmarshal(e.Body, &m); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, m.Text)
	}
	return strings.Join(all, "\n")
}

var waiting = alert.Rule{Name: "waiting", Condition: alert.OutboxOlderThan, Limit: 600, ResolveAfter: 5 * time.Minute}

func (r *rig) stuck() {
	r.set(func(_ *alert.PipelineNow, d *alert.DestinationNow) { d.Oldest = time.Now() })
}
func (r *rig) unstuck() {
	r.set(func(_ *alert.PipelineNow, d *alert.DestinationNow) { d.Oldest = time.Time{} })
}

const (
	fired    = "waiting destination.webhook.other firing"
	resolved = "waiting destination.webhook.other resolved"
)
