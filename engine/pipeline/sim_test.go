// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
)

// sim is an engine in a simulated world: the loops of four pipelines, two destinations and the alerts on the embedded store, with
// servers that change, receivers that fail, a person who interferes, and stops; all from a seed, in fake time. At one point
// something happens to a write.
type sim struct {
	*testing.T
	seed  uint64
	point point
	step  int        // number of the step that its kind comes at next
	rand  *rand.Rand // of the schedule
	torn  *rand.Rand // of what a loss of power leaves
	logs  *bytes.Buffer
	log   *slog.Logger

	home   string
	disk   *disk
	image  *disk  // what the next process finds, if that is not what is there
	how    string // in what way the power was lost
	copies int
	lives  int

	limits  store.Limits
	keep    time.Duration
	key     []byte // encrypts the state; nil: it is not encrypted
	faults  *storetest.Faults
	feeds   []*feed
	process *process
	paused  bool
	calm    atomic.Bool // nothing fails by chance any more

	mu     sync.Mutex
	writes []string // kinds of the writes that were asked of the store, in order
	steps  []string // kinds of the steps of the committer
	hit    string   // what the point was
	oracle
}

// point is where something happens, and what. The writes that are asked of the store are counted, and the steps of its committer on
// the disk, each from 1.
type point struct {
	kind string
	n    int
}

func (p point) String() string { return strconv.Itoa(p.n) + " " + p.kind }

func (p point) losesPower() bool { return p.kind == powerBefore || p.kind == powerAfter }

// What happens to a write that is asked of the store.
var refusals = map[string]struct {
	written bool
	err     error
}{
	"busy, not written":    {false, store.ErrBusy},
	"unknown, not written": {false, store.ErrUnknown},
	"fenced, not written":  {false, store.ErrFenced},
	"unknown, written":     {true, store.ErrUnknown},
	"fenced, written":      {true, store.ErrFenced},
	"any error, written":   {true, errDisk},
}

// What happens to a step of the committer.
const (
	failsBefore = "step fails, not done"
	failsAfter  = "step fails, done"
	killBefore  = "kill before the step"
	killAfter   = "kill after the step"
	powerBefore = "loss of power before the step"
	powerAfter  = "loss of power after the step"
)

var stepKinds = []string{failsBefore, failsAfter, killBefore, killAfter, powerBefore, powerAfter}

var writeKinds = slices.Sorted(maps.Keys(refusals))

// simulated runs one schedule with something happening at one point, n of zero: nowhere. It gives what there was to hit.
func simulated(t *testing.T, seed uint64, at point) (writes, steps []string, hit string) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{
			T: t, seed: seed, point: at, step: at.n, rand: rand.New(rand.NewPCG(seed, 0)), torn: rand.New(rand.NewPCG(seed, uint64(at.n))),
			logs: &bytes.Buffer{}, home: filepath.Join(room(t), "state"), oracle: newOracle(),
		}
		s.log = slog.New(slog.NewTextHandler(s.logs, nil))
		s.disk = newDisk(s.home)
		s.limits = store.Limits{Items: 4 + s.rand.IntN(9), Refs: 1 + s.rand.IntN(5)}
		s.keep = []time.Duration{time.Minute, time.Hour}[s.rand.IntN(2)]
		if s.rand.IntN(3) == 0 {
			s.key = bytes.Repeat([]byte{7}, 32)
		}
		s.saved["pause"] = &register{value: "false"}
		s.faults = &storetest.Faults{Before: s.before, After: s.after}
		s.build()
		s.live()
		writes, steps, hit = s.writes, s.steps, s.hit
		if t.Failed() {
			t.Logf("in life %d, %q at %q; the power was lost with: %s", s.lives, at, s.hit, s.how)
			t.Logf("to repeat it: ROUNDS_SEED=%d ROUNDS_POINT=%q go test -run %s ./engine/pipeline", seed, at, "TestInvariants1To4AtEveryWritePoint")
			if os.Getenv("ROUNDS_POINT") != "" {
				t.Logf("log:\n%s", s.logs)
			}
		}
	})
	return writes, steps, hit
}

// room is a directory, in memory where there is enough: a sync then takes no time, and what it leaves is simulated anyway.
func room(t *testing.T) string {
	const memory = "/dev/shm"
	if free, err := badgerstore.FreeSpace(memory); err != nil || free < 1<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "rounds-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (s *sim) before(n int, op storetest.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, string(op))
	if r, is := refusals[s.point.kind]; is && s.point.n == n && !s.process.dead.Load() {
		s.hit = string(op)
		if !r.written {
			return r.err
		}
	}
	return nil
}

func (s *sim) after(n int, _ storetest.Op) error {
	if r := refusals[s.point.kind]; s.point.n == n && r.written {
		return r.err
	}
	return nil
}

// stepped counts a step, and says whether it is the one.
func (s *sim) stepped(step badgerstore.Step) (hit bool, kind string) {
	what := []string{string(step.Kind)}
	if step.Log != "" {
		what[0] += " older"
	}
	for _, op := range s.faults.Doing() {
		what = append(what, string(op))
	}
	if len(what) == 1 { // of the state's making, or of what it does by itself
		what = append(what, "store")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, strings.Join(what, " "))
	if len(s.steps) != s.step || !slices.Contains(stepKinds, s.point.kind) {
		return false, ""
	}
	s.hit = s.steps[len(s.steps)-1]
	if kind = s.point.kind; kind != failsBefore && kind != failsAfter && s.torn.IntN(3) == 0 {
		s.step += 1 + s.torn.IntN(20) // the next process meets the same, in its opening or soon after
	}
	return true, kind
}

const turns = 30

// live runs the schedule: things happen, a person interferes, processes end and begin; then all comes to rest and is judged.
func (s *sim) live() {
	s.begin()
	wishes := map[int][]func() bool{}
	wish := func(at int, w func() bool) { wishes[at] = append(wishes[at], w) }
	for range 3 {
		wish(5+s.rand.IntN(turns-5), s.retry)
		wish(5+s.rand.IntN(turns-5), s.discard)
		wish(5+s.rand.IntN(turns-5), s.replay)
	}
	for from := range 2 {
		at := 3 + 13*from + s.rand.IntN(8)
		wish(at, func() bool { return s.pause(true) })
		wish(at+2+s.rand.IntN(3), func() bool { return s.pause(false) })
	}
	for range 2 {
		wish(3+s.rand.IntN(turns-3), s.rename)
	}
	var open []func() bool // wishes that could not be fulfilled yet
	for turn := range turns {
		for range s.rand.IntN(4) {
			s.happen()
		}
		s.pass(time.Duration(1 + s.rand.Int64N(int64(8*time.Second))))
		open = slices.DeleteFunc(append(open, wishes[turn]...), func(w func() bool) bool { return w() })
		if s.rand.IntN(100) < 5 {
			s.end()
			time.Sleep(time.Duration(1 + s.rand.Int64N(int64(20*time.Second))))
			s.begin()
		}
	}
	s.rest()
}

func (s *sim) rest() {
	s.calm.Store(true)
	for _, f := range s.feeds {
		if f.listing != nil {
			f.rig.ehr.do(func() { clear(f.listing.hidden) })
		}
	}
	for lives := -1; lives != s.lives && !s.Failed(); {
		lives = s.lives
		s.settle()
		s.pass(time.Minute) // a scan that was interrupted infers no deletion, and the next one has to come to its end
	}
	s.end()
	state, err := badgerstore.Open(s.disk.dir, badgerstore.Options{Logger: s.log, Keep: s.keep, EncryptionKey: s.key})
	s.must(err)
	s.judge(state)
	s.must(state.Close())
	s.quiet()
}

// settle lets everything be done that is left to do.
func (s *sim) settle() {
	since := time.Now()
	for n := 0; !s.settledDown(since); n++ {
		if n == 400 {
			s.Errorf("it does not come to rest; the states are %v", s.states())
			break
		}
		s.pass(5 * time.Second)
		s.pause(false)
		for _, l := range s.process.loops {
			l.Resume()
		}
		for s.retry() {
		}
	}
}

func (s *sim) states() (all []string) {
	for name, l := range s.process.loops {
		all = append(all, fmt.Sprintf("%s %+v", name, l.Status()))
	}
	return all
}

// admin is the person's. Each method below says whether there was something to do.
func (s *sim) admin() store.Admin { return s.process.store.Admin() }

func (s *sim) retry() bool {
	for _, d := range s.letters(s.process.state) {
		if d.Entry == nil {
			continue
		}
		s.submitted([]record.Entry{*d.Entry})
		if err := s.admin().Retry(s.Context(), d.ID, nil, false); errors.Is(err, store.ErrSuperseded) {
			s.drop(d.ID, stateOf{baseOf(d.Pipeline), d.Deliver, s.notices[d.Entry.ID].id, s.notices[d.Entry.ID].state})
		} else if err != nil {
			return false
		}
		return true
	}
	return false
}

// discard removes a dead letter.
func (s *sim) discard() bool {
	for _, d := range s.letters(s.process.state) {
		id, state := s.read(d.Record)
		s.drop(d.ID, stateOf{baseOf(d.Pipeline), d.Deliver, id, state})
		return true
	}
	return false
}

func (s *sim) drop(id string, of stateOf) {
	s.let[of] = true
	_ = s.admin().Discard(s.Context(), id) // what comes of it, the state says
}

// replay has the last state of a record delivered once more. Should it not be known what came of it, it is left at that.
func (s *sim) replay() bool {
	all, _, err := s.process.state.Admin().Delivered(s.Context(), store.Filter{}, true, nil, 20)
	s.must(err)
	for _, d := range all {
		row, known, err := s.process.state.Admin().Row(s.Context(), d.Pipeline, d.Ref)
		s.must(err)
		s.mu.Lock()
		n := s.notices[d.ID]
		s.mu.Unlock()
		if !known || row.Generation != d.Generation || n == nil || n.replayed > 0 || strings.HasPrefix(d.Pipeline, ":") {
			continue
		}
		s.submitted([]record.Entry{d.Entry})
		s.mu.Lock()
		n.replayed++
		n.twice = true
		s.mu.Unlock()
		_, _ = s.admin().Replay(s.Context(), []store.Again{{Entry: d.Entry, Newest: row.Generation}})
		return true
	}
	return false
}

// pause stops the deliveries to a destination, or lets them go on.
func (s *sim) pause(pause bool) bool {
	if s.paused == pause {
		return true
	}
	err := s.register("pause", fmt.Sprint(pause), func() error {
		if pause {
			return s.admin().Pause(s.Context(), store.Pause{Kind: store.Destination, Name: refusing, Since: time.Now()})
		}
		return s.admin().Unpause(s.Context(), store.Destination, refusing)
	})
	if err != nil {
		return false
	}
	if s.paused = pause; pause {
		s.process.stop("destination " + refusing)
	} else {
		s.process.deliver(refusing)
	}
	return true
}

// rename gives a pipeline another name, for which it is stopped.
func (s *sim) rename() bool {
	f := s.feeds[s.rand.IntN(len(s.feeds))]
	s.process.stop("pipeline " + f.base)
	from := f.name()
	to := f.named(f.renamed.Load() + 1)
	if moved, err := s.admin().Rename(s.Context(), store.Pipeline, from, to); err != nil || !moved {
		s.again() // which finds whether it was written
		return true
	}
	f.renamed.Add(1)
	s.process.poll(f)
	return true
}

func (s *sim) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *sim) sorted(of map[string]func()) []string { return slices.Sorted(maps.Keys(of)) }
