// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

// The test binary runs itself again as a process that can be killed or measured.
func TestMain(m *testing.M) {
	switch os.Getenv("BADGERSTORE_TEST_CHILD") {
	case "":
		os.Exit(m.Run())
	case "load":
		load(os.Args[1])
	case "compact":
		compact(os.Args[1])
	case "read":
		read(os.Args[1])
	case "footprint":
		footprint(os.Args[1], os.Args[2])
	case "peak":
		peak(os.Args[1], os.Args[2])
	}
}

func child(t testing.TB, what string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), "BADGERSTORE_TEST_CHILD="+what, "GORACE=atexit_sleep_ms=0")
	c.Stderr = os.Stderr
	return c
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	crashPipelines = 3
	crashBatch     = 8 // entries of a batch, one lane each
)

// said keeps the lines that a child says apart. They are not buffered: what is said has left the process.
var said sync.Mutex

func say(format string, args ...any) {
	said.Lock()
	defer said.Unlock()
	fmt.Printf(format+"\n", args...)
}

// load commits and acknowledges until it is killed. It says what it knows to be done, a line each: "c PIPELINE COMMIT" after
// a commit, "t ID" before an entry is acknowledged or buried, "a ID" after it. Half of what a batch holds is large.
func load(dir string) {
	s, err := badgerstore.Open(dir, badgerstore.Options{Keep: time.Hour})
	check(err)
	work(s)
}

// compact is load while the store compacts all that it has, again and again. It says "f begin" and "f end" around each.
func compact(dir string) {
	s, err := badgerstore.Open(dir, badgerstore.Options{Keep: time.Hour})
	check(err)
	go func() {
		for {
			say("f begin 0")
			check(badgerstore.Flatten(s))
			say("f end 0")
		}
	}()
	work(s)
}

func work(s *badgerstore.Store) {
	ctx := context.Background()
	for p := range crashPipelines {
		name := fmt.Sprint("p", p)
		f, err := s.Claim(ctx, name)
		check(err)
		go func() {
			for {
				b := crashBatchOf(name, f.Position().Commit)
				check(f.Commit(ctx, b))
				say("c %s %d", name, b.Base+1)
			}
		}()
	}
	out, err := s.Attach(ctx, "webhook.d")
	check(err)
	for round := 0; ; round++ {
		lanes, _, err := out.Lanes(ctx, nil, 64)
		check(err)
		work := make(chan string, len(lanes))
		for _, lane := range lanes {
			work <- lane
		}
		close(work)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for lane := range work {
					head, err := out.Head(ctx, lane, 2)
					check(err)
					for i, e := range head {
						id := store.EntryID{Lane: lane, Seq: e.Seq, ID: e.ID}
						say("t %s", e.ID)
						if (round+i)%7 == 0 {
							check(out.Bury(ctx, id, record.Cause{Code: "x"}, instant))
						} else {
							check(out.Ack(ctx, done(id)...))
						}
						say("a %s", e.ID)
					}
				}
			})
		}
		all.Wait()
	}
}

func crashID(pipeline string, commit uint64, i int) string {
	return fmt.Sprintf("%s/%d/%d", pipeline, commit, i)
}

func crashBatchOf(pipeline string, base uint64) store.Batch {
	b := store.Batch{Base: base, Position: &store.Position{Watermark: fmt.Append(nil, base+1)}}
	for i := range crashBatch {
		size := 1500
		if i == 0 && base%16 == 0 {
			size = 600 << 10 // in parts
		}
		e := record.Entry{
			ID: crashID(pipeline, base+1, i), Pipeline: pipeline, Destination: "webhook.d", Key: fmt.Sprint(i),
			Ref: sdk.Ref{ID: fmt.Sprint(i)}, Generation: base + 1, Body: bytes.Repeat([]byte{'x'}, size),
		}
		b.Entries = append(b.Entries, e)
		b.Rows = append(b.Rows, store.Row{Ref: e.Ref, Generation: e.Generation})
	}
	b.Dead = []record.DeadLetter{{ID: "dead/" + b.Entries[0].ID, Pipeline: pipeline}}
	return b
}

// A process under load is killed at random instants. What it was told is kept: no commit is lost or half there, nothing
// that was acknowledged or buried comes again, and nothing leaves that was not.
func TestInvariant1And3SurviveAKill(t *testing.T) { surviveKills(t, "load") }

// In operation a store is compacted as a whole when it is idle, once a day at most; here always, and under load.
func TestInvariant1And3SurviveAKillWhileTheStateIsCompacted(t *testing.T) { surviveKills(t, "compact") }

func surviveKills(t *testing.T, what string) {
	t.Parallel()
	dir := t.TempDir()
	committed := map[string]uint64{} // by pipeline, as the process said
	tried, done := map[string]bool{}, map[string]bool{}
	rounds := 8
	if testing.Short() || what == "compact" {
		rounds = 2
	}
	if text := os.Getenv("ROUNDS_LONG"); text != "" {
		n, err := strconv.Atoi(text)
		must(t, err)
		rounds = n
	}
	inside := 0 // kills in a compaction
	for range rounds {
		c := child(t, what, dir)
		pipe, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		kill := sync.OnceFunc(func() {
			time.AfterFunc(time.Duration(150+rand.IntN(500))*time.Millisecond, func() { _ = c.Process.Kill() })
		})
		if what != "compact" && rand.IntN(4) == 0 { // it may be at its start still
			kill()
		}
		said, compacting := 0, false
		for in := bufio.NewScanner(pipe); in.Scan(); said++ {
			if what != "compact" { // beside a compaction it may be long until the first acknowledgement
				kill()
			}
			var kind, name string
			var n uint64
			if _, err := fmt.Sscan(in.Text(), &kind, &name, &n); kind == "c" {
				must(t, err)
				committed[name] = n
			} else if kind == "f" {
				compacting = name == "begin"
			} else if kind == "t" {
				tried[name] = true
			} else if kind == "a" {
				done[name] = true
				kill()
			}
		}
		_ = c.Wait()
		if compacting {
			inside++
		}
		verifyAfterKill(t, dir, committed, tried, done)
		if t.Failed() {
			return
		}
		t.Logf("%d lines, %d of %d entries acknowledged or buried", said, len(done), len(tried))
	}
	if len(done) == 0 {
		t.Error("nothing was acknowledged: the test tests nothing")
	}
	if what == "compact" && inside == 0 {
		t.Error("no kill fell into a compaction: the test tests nothing")
	}
}

func verifyAfterKill(t *testing.T, dir string, committed map[string]uint64, tried, done map[string]bool) {
	t.Helper()
	s, err := badgerstore.Open(dir, badgerstore.Options{Keep: time.Hour})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	ctx := t.Context()

	badgerstore.Contents(t, s)
	there := map[string]bool{}
	out, err := s.Attach(ctx, "webhook.d")
	must(t, err)
	for token, more := []byte(nil), true; more; more = token != nil {
		lanes, next, err := out.Lanes(ctx, token, 100)
		must(t, err)
		token = next
		for _, lane := range lanes {
			head, err := out.Head(ctx, lane, 1_000_000)
			must(t, err)
			for _, e := range head {
				there[e.ID] = true
				if len(e.Body) < 1500 {
					t.Errorf("%s came with a body of %d bytes", e.ID, len(e.Body))
				}
			}
		}
	}
	pending, err := s.Admin().Pending(ctx)
	must(t, err)
	if pending["webhook.d"].Count != len(there) {
		t.Errorf("%d entries pending, %d there", pending["webhook.d"].Count, len(there))
	}
	dead := map[string]bool{}
	for token, more := []byte(nil), true; more; more = token != nil {
		page, next, err := s.Admin().Dead(ctx, store.Filter{}, token, 500)
		must(t, err)
		token = next
		for _, l := range page {
			dead[l.ID] = true
		}
	}

	accepted := map[string]bool{}
	for _, d := range delivered(t, s, store.Filter{}) {
		if accepted[d.ID] || there[d.ID] || dead[d.ID] {
			t.Errorf("%s was delivered, and is elsewhere too", d.ID)
		}
		accepted[d.ID] = true
	}
	for id := range done {
		if there[id] {
			t.Errorf("%s was acknowledged and came again", id)
		}
		if !accepted[id] && !dead[id] {
			t.Errorf("%s was acknowledged or buried, and is neither kept nor dead", id)
		}
	}
	for p := range crashPipelines {
		name := fmt.Sprint("p", p)
		f, err := s.Claim(ctx, name)
		must(t, err)
		last := f.Position().Commit
		if last < committed[name] {
			t.Errorf("%s stands at commit %d and was told %d", name, last, committed[name])
		}
		if last > 0 && string(f.Position().Watermark) != fmt.Sprint(last) {
			t.Errorf("%s has commit %d and watermark %s", name, last, f.Position().Watermark)
		}
		for n := uint64(1); n <= last; n++ {
			for i := range crashBatch {
				id := crashID(name, n, i)
				if !there[id] && !tried[id] {
					t.Errorf("%s was committed and is gone", id)
				}
				if tried[id] && !done[id] && !there[id] {
					done[id] = true // killed between the write and the word
				}
				delete(there, id)
			}
			if !dead["dead/"+crashID(name, n, 0)] {
				t.Errorf("the dead letter of commit %d of %s is gone", n, name)
			}
		}
		for i := range crashBatch {
			rows, err := f.Seen(ctx, []sdk.Ref{{ID: fmt.Sprint(i)}})
			must(t, err)
			if last > 0 && (len(rows) != 1 || rows[0].Generation != last) {
				t.Errorf("row %d of %s is of another commit than %d", i, name, last)
			}
		}
	}
	for id := range there {
		t.Errorf("%s is there, of a commit that is not", id)
	}
}
