// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

// children lists the processes that a process started.
func children(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		// After the command's name, which is in parentheses and may hold anything: state, parent.
		rest := string(data)[strings.LastIndexByte(string(data), ')')+1:]
		fields := strings.Fields(rest)
		if parent, err := strconv.Atoi(fields[1]); err == nil && parent == pid && fields[0] != "Z" {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, child)
		}
	}
	return found
}

// longForm is the number that ROUNDS_LONG asks for, or else the short one.
func longForm(t *testing.T, short int) int {
	t.Helper()
	text := os.Getenv("ROUNDS_LONG")
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < short {
		t.Fatalf("ROUNDS_LONG=%s is not a number of at least %d", text, short)
	}
	return n
}

// crash is an engine that is killed again and again.
type crash struct {
	t        *testing.T
	random   *rand.Rand
	hospital *ehrs
	inbox    *inbox
	prophet  *prophet
	config   *crashConfig
	env      []string

	run      int // number of the engine that runs
	p        *process
	phase    string        // that it was started for
	began    time.Time     // its start
	tables   []string      // of the state, then
	starting time.Duration // how long a start takes, about
	orphans  []orphan
	looking  chan func() // at states, beside the next run
	looked   chan struct{}
	hits     map[string]int // by phase
	misses   int
	raised   int // upgrades in which it had begun to raise the format
}

// TestInvariants1To4HoldWhenTheProcessesAreKilled kills engines, adapters, backups and restores at random instants, each in a phase that it
// is shown to have hit, while five pipelines follow EHRs that keep changing and fail now and then, and receivers fail too. After each kill
// of an engine a copy of its state is held against what happened and what arrived, and at the end all that arrived. The state that it all
// begins with was written by the first release. ROUNDS_LONG=300 asks for so many kills; ROUNDS_SEED for the choices of an earlier run.
func TestInvariants1To4HoldWhenTheProcessesAreKilled(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("ROUNDS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ROUNDS_SEED=%d", seed)
	c := newCrash(t, seed)
	kills := longForm(t, len(phases))
	// Each phase once, then each again, so that all come about as often; and once more where the machine was so fast that little was to be seen.
	most := kills + len(phases)
	var plan []string
	for len(plan) <= most {
		part := phaseNames()
		c.random.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		plan = append(plan, part...)
	}
	c.start("upgrade")
	c.strike("upgrade", plan[0])
	ctx, stop := context.WithCancel(t.Context())
	living := make(chan error, 1)
	go func() { living <- c.hospital.live(ctx) }()
	done := 0
	for ; (done < kills || done < most && c.sawTooLittle()) && !t.Failed(); done++ {
		c.strike(plan[done], plan[done+1])
	}
	stop()
	if err := <-living; err != nil {
		t.Fatal(err)
	}
	c.end()
	c.report(done)
}

func newCrash(t *testing.T, seed uint64) *crash {
	t.Helper()
	c := &crash{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), hospital: newEHRs(t, seed), inbox: newInbox(t, seed), starting: time.Second,
		looking: make(chan func(), 2), looked: make(chan struct{}), hits: map[string]int{},
	}
	c.config = newCrashConfig(t, c.random)
	c.env = append(c.hospital.serve(t), c.inbox.serve(t)...)
	c.hospital.setFaulty(true)
	c.inbox.setFaulty(true)
	c.prophet = newProphet(t, c.hospital, c.inbox, c.firstFormat())
	c.prophet.smallPages = c.config.page < 100
	go func() {
		for look := range c.looking {
			look()
		}
		close(c.looked)
	}()
	return c
}

func (c *crash) state() string { return filepath.Join(c.config.dir, "state") }

// firstFormat makes the state of one that the first release wrote, with much that waits for nobody, so that compactions and backups take
// their time. It gives the ids of what waits for the destination d.
func (c *crash) firstFormat() map[string]bool {
	c.t.Helper()
	unpack(c.t, "../../engine/store/badgerstore/testdata/format1.tar.gz", c.state())
	s, err := badgerstore.Open(c.state(), badgerstore.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx := c.t.Context()
	waiting, _, err := s.Admin().Waiting(ctx, store.Filter{}, nil, 1000)
	if err != nil {
		c.t.Fatal(err)
	}
	old := map[string]bool{}
	for _, e := range waiting {
		old[e.ID] = true
	}
	feed, err := s.Claim(ctx, "ballast")
	if err != nil {
		c.t.Fatal(err)
	}
	noise := rand.NewChaCha8([32]byte{})
	for i := range 40 {
		b := store.Batch{Base: feed.Position().Commit}
		for j := range 10 {
			row := store.Row{Ref: sdk.Ref{Kind: "ballast", ID: fmt.Sprint(i, "-", j)}, Generation: 1, Snapshot: make([]byte, 20<<10)}
			_, _ = noise.Read(row.Snapshot) // never fails
			b.Rows = append(b.Rows, row)
		}
		if err := feed.Commit(ctx, b); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		c.t.Fatal(err)
	}
	c.relabel()
	return old
}

// relabel lets the state say that it is of the first format, of which it may be in all its parts.
func (c *crash) relabel() {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.state(), "FORMAT"), []byte("rounds state, format 1\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func unpack(t *testing.T, file, dir string) {
	t.Helper()
	packed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unzipped, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(unzipped); ; {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(head.Name)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts an engine that a phase is about.
func (c *crash) start(phase string) {
	if phase == "upgrade" {
		c.relabel()
	}
	c.run++
	c.tables = c.stateTables()
	c.phase, c.began = phase, time.Now()
	c.p = startRun(c.t, c.config.dir, append(slices.Clone(c.env), fmt.Sprint("RUN=", c.run)))
}

func (c *crash) running() bool { return c.p.log.holds("msg=running") }

// upAndRunning waits until the engine runs.
func (c *crash) upAndRunning() {
	c.t.Helper()
	if !c.running() {
		c.p.eventually(30*time.Second, "running", c.running)
		c.starting = (3*c.starting + time.Since(c.began)) / 4
	}
}

// kill kills the engine, and has a copy of its state looked at. The next engine gets the state as the kill left it.
func (c *crash) kill() {
	c.t.Helper()
	_ = c.p.cmd.Process.Signal(syscall.SIGSTOP) // now, and not after a look at all processes; it may have ended
	for _, pid := range children(c.t, c.p.cmd.Process.Pid) {
		c.orphans = append(c.orphans, orphan{pid, begunAt(pid)})
	}
	c.p.kill()
	c.lookAtState()
}

func (c *crash) lookAtState() {
	c.t.Helper()
	killed, run, to := time.Now(), c.run, filepath.Join(c.t.TempDir(), "state")
	c.copyState(to)
	c.looking <- func() {
		c.prophet.look(run, to, killed)
		_ = os.RemoveAll(to) // so that not all copies are there at once
	}
}

// copyState copies the state of an engine that is dead; its files are mostly holes. (Links would not do for tables: Badger empties what it
// deletes.)
func (c *crash) copyState(to string) {
	c.t.Helper()
	files, err := os.ReadDir(c.state())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		c.t.Fatal(err)
	}
	args := []string{"--sparse=always"}
	for _, f := range files {
		if f.Type().IsRegular() { // no socket
			args = append(args, filepath.Join(c.state(), f.Name()))
		}
	}
	if out, err := exec.Command("cp", append(args, to)...).CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
}

// strike kills in a phase, until the phase was hit, and starts the next engine for another.
func (c *crash) strike(phase, next string) {
	c.t.Helper()
	if (phase == "start" || phase == "upgrade" || phase == "compact") && c.phase != phase { // the one before left the engine alive
		c.kill()
		c.start(phase)
	}
	for tries := 0; ; tries++ {
		hit := phases[phase](c)
		if hit {
			c.hits[phase]++
		} else {
			c.misses++
		}
		again := !hit && tries < 20
		if c.p.cmd.ProcessState != nil { // it was the engine that was killed
			c.start(map[bool]string{true: phase, false: next}[again])
		}
		if !again {
			return
		}
	}
}

// end lets all settle, stops the engine, and holds everything against what happened.
func (c *crash) end() {
	c.t.Helper()
	c.hospital.setFaulty(false)
	c.inbox.setFaulty(false)
	if !c.t.Failed() {
		deadline := time.Now().Add(time.Minute)
		for missing := c.prophet.missing(); missing != ""; missing = c.prophet.missing() {
			if time.Now().After(deadline) {
				c.t.Errorf("%s has not arrived", missing)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	if code := c.p.stop(); code != 0 {
		c.t.Errorf("exit code %d after SIGTERM", code)
	}
	close(c.looking)
	<-c.looked
	left := func(o orphan) bool { return o.begun != "" && begunAt(o.pid) == o.begun }
	if !soon(10*time.Second, func() bool { return !slices.ContainsFunc(c.orphans, left) }) {
		c.t.Error("adapters of killed engines go on")
	}
}

func (c *crash) sawTooLittle() bool {
	c.wait()
	return c.prophet.sawTooLittle()
}

// orphan is an adapter of a killed engine: by its number, which another process may get, and by the time when it began.
type orphan struct {
	pid   int
	begun string
}

// begunAt tells, as the kernel does, when a process began; "": there is none.
func begunAt(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(data)[strings.LastIndexByte(string(data), ')')+1:])
	return fields[19]
}

func (c *crash) report(kills int) {
	t := c.t
	t.Helper()
	repeated := c.prophet.end(c.state(), c.run)
	p := c.prophet
	for phase := range phases {
		if least := max(1, kills/len(phases)/2); c.hits[phase] < least {
			t.Errorf("the phase %q was hit %d times, not %d", phase, c.hits[phase], least)
		}
	}
	if p.sawTooLittle() {
		t.Errorf("nothing was under way at a kill (%d), behind a watermark (%d) or refused (%d): the test tests too little", p.underWay, len(p.watermarked), p.inbox.refused)
	}
	versions := 0
	happened, _ := c.hospital.chronicles()
	for _, of := range happened {
		for _, v := range of {
			versions += len(v)
		}
	}
	t.Logf("%d kills by phase %v, %d missed their phase; %d engines; of the upgrades %d had begun to raise the format", kills+1, c.hits, c.misses,
		c.run, c.raised)
	t.Logf("%d versions, %d notifications; %d repeated, %d were under way at the kills, at most %v at one; %d requests refused; %d messages told again", versions, len(p.inbox.order), repeated,
		p.underWay, p.mostAtOnce, p.inbox.refused, p.doubts)
}
