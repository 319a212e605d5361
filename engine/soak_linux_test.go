// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

const soakHCL = `
source "a" "clinic" {}

destination "stdout" "scheduling" {}
destination "stdout" "oncall" {}

history {
  keep     = "48h"
  max_size = %d
}

alert "waiting" {
  outbox_older_than = "1h"
  destination       = destination.stdout.scheduling
  to                = destination.stdout.oncall
}

pipeline "appointments" {
  poll {
    feed    = source.a.clinic.feed.appointments
    every   = "1m"
    overlap = "1m"
    start   = "now"
  }
  fetch "patient" {
    id = change.data.patient
  }
  deliver "scheduling" {
    to       = destination.stdout.scheduling
    map      = "appointment.js"
    order_by = change.data.patient
  }
}
`

const soakJS = `
export default function ({ change, fetched }, context) {
  const { data } = change, { patient } = fetched;
  return {
    Meta: { DataModel: "Scheduling", EventType: data.state === 1 ? "New" : "Modification", EventDateTime: change.time, Source: context.source },
    Patient: { ID: patient.id, Name: patient.name, BirthDate: patient.birthDate, Address: patient.address },
    Visit: {
      Number: data.id, State: data.state, Start: data.start, Minutes: data.minutes, Status: data.status,
      Location: data.location, Provider: data.practitioner, Reason: data.reason, Comment: data.comment,
    },
  };
}
`

// soak is an engine that works for days in fake time, on a state on the disk: all but the adapter's process and the receiver's socket
// is real.
type soak struct {
	*testing.T
	world  *hospital
	oncall *oncall
	state  *badgerstore.Store
	run    *running

	days, changes int // in all
	history       int // MiB that is kept of it
	record        int // bytes of what is kept with a notification, in its plain form
	samples       []sample
	cpu           time.Duration
	table         io.Writer // takes the samples; nil: they are not written
}

// TestNothingGrowsButWhatIsKept lets changes come for days, polled every minute, while the receiver can't be reached for one of the
// days: memory, goroutines and descriptors stay what they are, the state takes no more than what docs/operations.md says, and each
// state that was to be seen is delivered once and in order.
//
// In CI these are 200,000 changes in five days. ROUNDS_SOAK=10000000 is that many in thirty days, and writes what it measures to
// docs/soak.csv, of which docs/soak.svg is made.
func TestNothingGrowsButWhatIsKept(t *testing.T) {
	withoutRace(t)
	s := &soak{T: t, days: 5, changes: 200_000, history: 16}
	if n, err := strconv.Atoi(os.Getenv("ROUNDS_SOAK")); err == nil {
		s.days, s.changes, s.history = 30, n, 256
		table, err := os.Create(soakTable)
		s.must(err)
		defer table.Close()
		s.table = table
	}
	synctest.Test(t, func(t *testing.T) {
		s.T = t
		s.begin()
		s.live()
		s.end()
		s.judge()
		s.report()
	})
}

// withoutRace skips a test under the race detector, with which what it measures says nothing. .ci/run has a step without it.
func withoutRace(t *testing.T) {
	t.Helper()
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "-race" && setting.Value == "true" {
			t.Skip("it is run without the race detector")
		}
	}
}

func (s *soak) begin() {
	perMinute := max(s.changes/(s.days*24*60), 1)
	s.world = &hospital{
		T: s.T, rand: rand.New(rand.NewPCG(1, 2)), slots: make([]appointment, perMinute*440), past: map[int]appointment{}, owed: map[int][]int{},
	}
	s.oncall = &oncall{}
	s.record = s.world.record()
	dir := s.TempDir()
	for name, text := range map[string]string{"soak.hcl": fmt.Sprintf(soakHCL, s.history), "appointment.js": soakJS} {
		s.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	cfg, _, diags := config.Load(s.Context(), dir, config.Options{Adapters: anAdapter{}, Bundled: []string{"a"}, Destinations: destination.Schemas()})
	if diags.HasErrors() {
		s.Fatal(diags)
	}
	e := New(Options{StateDir: filepath.Join(dir, "state"), Logger: slog.New(slog.DiscardHandler), Grace: time.Second})
	var err error
	s.state, err = badgerstore.Open(e.o.StateDir, badgerstore.Options{Logger: e.o.Logger, Keep: cfg.History.Keep, KeepBytes: cfg.History.Bytes})
	s.must(err)
	s.run = newRunning(context.Background(), e, s.state)
	r := s.run
	c, err := r.compare(cfg)
	s.must(err)
	for _, p := range c.pipelines {
		p.pipeline.Source = s.world
	}
	for id, d := range c.destinations {
		if d.to = (scheduling{s.world}); id == "stdout.oncall" {
			d.to = s.oncall
		}
	}
	r.cfg, r.build, r.rules, r.pipelines, r.destinations = c.cfg, c.build, c.rules, c.pipelines, c.destinations
	r.start()
	r.startAlerts()
}

// live lets the days pass. The third is the one without the receiver.
func (s *soak) live() {
	const step = 10 * time.Second
	steps := s.days * int(24*time.Hour/step)
	for i := range steps {
		switch day := 24 * int(time.Hour/step); i {
		case 2 * day:
			s.cut(true)
		case 3 * day:
			s.cut(false)
		}
		s.world.change(s.changes*(i+1)/steps - s.changes*i/steps)
		time.Sleep(step)
		if (i+1)%int(time.Hour/step) == 0 {
			s.sample()
		}
		if s.Failed() {
			return
		}
	}
	time.Sleep(10 * time.Minute)
	s.sample()
}

func (s *soak) cut(down bool) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.down = down
}

func (s *soak) end() {
	s.must(s.run.end())
	pending, err := s.state.Admin().Pending(s.Context())
	s.must(err)
	if len(pending) > 0 {
		s.Errorf("there waits %+v", pending)
	}
	dead, err := s.state.Admin().DeadCount(s.Context())
	s.must(err)
	if len(dead) > 0 {
		s.Errorf("there are dead letters: %v", dead)
	}
	s.must(s.state.Close())
}

func (s *soak) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// sample is what is measured once an hour.
type sample struct {
	hour, changes, delivered, waiting, rows int
	heap, state, bound                      int64 // bytes; of the state what the disk has, and what it may take
	goroutines, descriptors                 int
	cpu                                     time.Duration // of the hour
}

func (s *soak) sample() {
	synctest.Wait()
	h := s.world
	h.mu.Lock()
	is := sample{hour: len(s.samples) + 1, changes: h.changes, delivered: h.delivered, rows: h.made}
	h.mu.Unlock()
	pending, err := s.state.Admin().Pending(s.Context())
	s.must(err)
	is.waiting = pending["stdout.scheduling"].Count
	is.state, err = s.state.Size()
	s.must(err)
	is.bound = s.bound(is)
	var used syscall.Rusage
	s.must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	is.cpu, s.cpu = cpu-s.cpu, cpu
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	is.heap, is.goroutines = int64(memory.HeapAlloc), runtime.NumGoroutine()
	open, err := os.ReadDir("/proc/self/fd")
	s.must(err)
	is.descriptors = len(open)
	if s.samples = append(s.samples, is); s.table != nil {
		is.write(s.table)
	}
}

// bound is what docs/operations.md says that a state takes at most: that it does is what the table there promises.
func (s *soak) bound(is sample) int64 {
	body := s.world.size / int64(max(is.delivered, 1))
	return 45<<20 + int64(is.rows)*100 + s.run.cfg.History.Bytes + int64(is.waiting)*(body+int64(s.record))/2
}
