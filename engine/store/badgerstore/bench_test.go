// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 100, 256} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s := open(b, b.TempDir(), badgerstore.Options{})
			f := claim(b, s)
			i := 0
			for b.Loop() {
				must(b, f.Commit(b.Context(), batchOf(f, i, n, 1, true)))
				i += n
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

func BenchmarkSeen256(b *testing.B) {
	s := open(b, b.TempDir(), badgerstore.Options{})
	f := claim(b, s)
	const known = 100_000
	for i := 0; i < known; i += 500 {
		must(b, f.Commit(b.Context(), batchOf(f, i, 500, 1, false)))
	}
	refs := make([]sdk.Ref, 256)
	i := 0
	for b.Loop() {
		for j := range refs {
			refs[j] = appointment((i*256 + j) % (known * 2)) // half of them unknown
		}
		i++
		if _, err := f.Seen(b.Context(), refs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*256), "ns/ref")
}

// Acknowledging with 16 lanes in flight; the figure of 1 is that of a lane alone. With history, what was acknowledged is kept.
func BenchmarkAck(b *testing.B) {
	for name, keep := range map[string]time.Duration{"plain": 0, "history": time.Hour} {
		for _, parallel := range []int{1, 16} {
			b.Run(fmt.Sprint(name, "-", parallel), func(b *testing.B) { ack(b, keep, parallel) })
		}
	}
}

func ack(b *testing.B, keep time.Duration, parallel int) {
	s := open(b, b.TempDir(), badgerstore.Options{Keep: keep})
	fill(b, s, b.N)
	o := attach(b, s)
	ids := make(chan store.EntryID, b.N)
	for token, more := []byte(nil), true; more; more = token != nil {
		lanes, next, err := o.Lanes(b.Context(), token, 1024)
		must(b, err)
		for _, lane := range lanes {
			head, err := o.Head(b.Context(), lane, 100)
			must(b, err)
			for _, e := range head {
				ids <- store.EntryID{Lane: lane, Seq: e.Seq, ID: e.ID}
			}
		}
		token = next
	}
	close(ids)
	b.ResetTimer()
	cpu := cpuTime()
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for id := range ids {
				if err := o.Ack(b.Context(), done(id)...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkHead(b *testing.B) {
	forLanes(b, func(b *testing.B, o store.Outbox) {
		lanes, _, err := o.Lanes(b.Context(), nil, 4000)
		must(b, err)
		i := 0
		for b.Loop() {
			if head, err := o.Head(b.Context(), lanes[i%len(lanes)], 1); err != nil || len(head) != 1 {
				b.Fatal(len(head), err)
			}
			i++
		}
	})
}

// A page of 1,024 lanes of 4,000.
func BenchmarkLanes(b *testing.B) {
	forLanes(b, func(b *testing.B, o store.Outbox) {
		var token []byte
		for b.Loop() {
			var err error
			_, token, err = o.Lanes(b.Context(), token, 1024)
			must(b, err)
		}
	})
}

// A destination works off 20,000 notifications of 4,000 lanes, 16 at a time, while as many come in.
func BenchmarkDrain(b *testing.B) {
	for name, indexed := range map[string]int{"memory": 0, "disk": 1000} {
		b.Run(name, func(b *testing.B) {
			s := open(b, b.TempDir(), badgerstore.Options{Indexed: indexed})
			o := attach(b, s)
			fill(b, s, 20_000)
			cpu := cpuTime()
			for b.Loop() {
				var all sync.WaitGroup
				all.Go(func() { fill(b, s, 20_000) })
				drain(b, o, 20_000)
				all.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*20_000), "ns/notification")
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N*20_000), "cpu-ns/notification")
		})
	}
}

// forLanes has 20,000 entries in 4,000 lanes, after as many more were acknowledged.
func forLanes(b *testing.B, run func(*testing.B, store.Outbox)) {
	for name, indexed := range map[string]int{"memory": 0, "disk": 1000} {
		b.Run(name, func(b *testing.B) {
			s := open(b, b.TempDir(), badgerstore.Options{Indexed: indexed})
			o := attach(b, s)
			fill(b, s, 20_000)
			drain(b, o, 20_000)
			fill(b, s, 20_000)
			run(b, o)
		})
	}
}

// BenchmarkFootprint tells what a state costs that nobody uses: memory of a process that has it open, disk, and disk per
// row. The first figure is that of a process without a store.
func BenchmarkFootprint(b *testing.B) {
	for _, rows := range []int{-1, 0, 100_000} {
		name := fmt.Sprint(rows, "rows")
		if rows < 0 {
			name = "no store"
		}
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			if rows >= 0 {
				s := open(b, dir, badgerstore.Options{})
				f := claim(b, s)
				for i := 0; i < rows; i += 500 {
					must(b, f.Commit(b.Context(), batchOf(f, i, 500, 1, false)))
				}
				must(b, s.Close())
				s = open(b, dir, badgerstore.Options{}) // now all is in tables
				must(b, badgerstore.Flatten(s))
				must(b, s.Close())
			}
			out, err := child(b, "footprint", dir, strconv.Itoa(rows)).Output()
			must(b, err)
			disk, apparent := used(b, dir)
			kept := tables(b, dir)
			for b.Loop() { // the figures are of the state, not of time
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(parse(b, out), "MiB-memory")
			b.ReportMetric(float64(disk)/(1<<20), "MiB-disk")
			b.ReportMetric(float64(apparent)/(1<<20), "MiB-apparent")
			if rows > 0 {
				b.ReportMetric(float64(kept)/float64(rows), "bytes/row")
			}
		})
	}
}

// footprint is the child of BenchmarkFootprint: it opens a state, reads a little, rests, and tells its memory in MiB.
func footprint(dir, rows string) {
	if rows != "-1" {
		s, err := badgerstore.Open(dir, badgerstore.Options{})
		check(err)
		f, err := s.Claim(context.Background(), "p")
		check(err)
		for i := range 100 {
			_, err := f.Seen(context.Background(), []sdk.Ref{appointment(i * 1000)})
			check(err)
		}
	}
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/status")
	check(err)
	for line := range strings.Lines(string(text)) {
		// What is mapped from files belongs to the page cache.
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			check(err)
			fmt.Println(float64(kb) / 1024)
		}
	}
}

func parse(t testing.TB, out []byte) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	must(t, err)
	return v
}
