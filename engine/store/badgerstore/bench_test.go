// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
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
			s := open(b, b.TempDir(), badgerstore.Options{Keep: time.Hour})
			f := claim(b, s)
			i := 0
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				must(b, f.Commit(b.Context(), likely(f, i, n, 1, true)))
				i += n
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N*n), "cpu-ns/record")
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
	b.ReportAllocs()
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

// BenchmarkGrown tells what a change costs in a state of many rows: to look up 256 records, half of them known, and to commit 256 rows that
// are known, which Badger then merges into the others. ROUNDS_LONG makes it ten million rows too.
func BenchmarkGrown(b *testing.B) {
	sizes := []int{10_000, 1_000_000}
	if os.Getenv("ROUNDS_LONG") != "" {
		sizes = append(sizes, 10_000_000)
	}
	for _, rows := range sizes {
		b.Run(strconv.Itoa(rows), func(b *testing.B) {
			dir := b.TempDir()
			s := open(b, dir, badgerstore.Options{})
			f := claim(b, s)
			for i := 0; i < rows; i += 500 {
				must(b, f.Commit(b.Context(), batchOf(f, i, 500, 1, false)))
			}
			must(b, badgerstore.Flatten(s))
			r := rand.New(rand.NewPCG(1, 1))
			perRecord := func(b *testing.B, do func()) {
				b.ReportAllocs()
				cpu := cpuTime()
				for b.Loop() {
					do()
				}
				b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N*256), "cpu-ns/record")
			}
			b.Run("seen", func(b *testing.B) {
				refs := make([]sdk.Ref, 256)
				perRecord(b, func() {
					for j := range refs {
						refs[j] = appointment(r.IntN(2 * rows))
					}
					_, err := f.Seen(b.Context(), refs)
					must(b, err)
				})
			})
			b.Run("commit", func(b *testing.B) {
				perRecord(b, func() {
					next := store.Batch{Base: f.Position().Commit}
					for j := range 256 {
						next.Rows = append(next.Rows, rowOf(r.IntN(rows/256)*256+j, 2))
					}
					must(b, f.Commit(b.Context(), next))
				})
				b.ReportMetric(float64(tables(b, dir))/float64(rows), "bytes/row")
			})
		})
	}
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
	fillLikely(b, s, b.N, keep > 0)
	o := attach(b, s)
	b.ReportAllocs()
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

func fillLikely(t testing.TB, s store.Store, n int, history bool) {
	t.Helper()
	f := claim(t, s)
	for i := 0; i < n; i += 250 {
		must(t, f.Commit(t.Context(), likely(f, i, min(250, n-i), 1, history)))
	}
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
		b.ReportAllocs()
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
		b.ReportAllocs()
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
			fillLikely(b, s, 20_000, false)
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				var all sync.WaitGroup
				all.Go(func() { fillLikely(b, s, 20_000, false) })
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
			fillLikely(b, s, 20_000, false)
			drain(b, o, 20_000)
			fillLikely(b, s, 20_000, false)
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

// BenchmarkPeak tells what a process costs at most that commits 20,000 notifications in batches of 256 rows while they are acknowledged
// by 16 lanes: its resident memory, that of mapped files apart, its CPU time and what it writes.
func BenchmarkPeak(b *testing.B) {
	for name, keep := range map[string]time.Duration{"plain": 0, "history": time.Hour} {
		b.Run(name, func(b *testing.B) {
			sum := map[string]float64{}
			for b.Loop() {
				out, err := child(b, "peak", b.TempDir(), keep.String()).Output()
				must(b, err)
				for line := range strings.Lines(string(out)) {
					var what string
					var n float64
					_, err := fmt.Sscan(line, &n, &what)
					must(b, err)
					sum[what] += n
				}
			}
			b.ReportMetric(0, "ns/op")
			for what, n := range sum {
				b.ReportMetric(n/float64(b.N), what)
			}
		})
	}
}

// peak is the child of BenchmarkPeak.
func peak(dir, keep string) {
	const total = 20_000
	kept, err := time.ParseDuration(keep)
	check(err)
	ctx := context.Background()
	s, err := badgerstore.Open(dir, badgerstore.Options{Keep: kept})
	check(err)
	f, err := s.Claim(ctx, "p")
	check(err)
	o, err := s.Attach(ctx, "webhook.d")
	check(err)
	ended, watched := make(chan struct{}), make(chan map[string]float64)
	go watchMemory(ended, watched)
	begun, cpu := time.Now(), cpuTime()
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; i < total; i += 256 {
			check(f.Commit(ctx, likely(f, i, min(256, total-i), 1, kept > 0)))
		}
	})
	for acked := 0; acked < total; {
		lanes, _, err := o.Lanes(ctx, nil, 1024)
		check(err)
		work := make(chan string, len(lanes))
		for _, lane := range lanes {
			work <- lane
		}
		close(work)
		acked += len(lanes)
		var sends sync.WaitGroup
		for range 16 {
			sends.Go(func() {
				for lane := range work {
					head, err := o.Head(ctx, lane, 1)
					check(err)
					check(o.Ack(ctx, done(store.EntryID{Lane: lane, Seq: head[0].Seq, ID: head[0].ID})...))
				}
			})
		}
		sends.Wait()
	}
	all.Wait()
	fmt.Println(float64(time.Since(begun).Nanoseconds())/total, "ns/notification")
	fmt.Println(float64((cpuTime()-cpu).Nanoseconds())/total, "cpu-ns/notification")
	close(ended)
	for what, n := range <-watched {
		fmt.Println(n, what)
	}
	check(s.Close())
	text, err := os.ReadFile("/proc/self/io")
	check(err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			check(err)
			fmt.Println(n/(1<<20), "MiB-written")
		}
	}
}

// watchMemory looks every few milliseconds until it is ended, and gives the most that it saw, in MiB.
func watchMemory(ended chan struct{}, watched chan map[string]float64) {
	most := map[string]float64{}
	for {
		text, err := os.ReadFile("/proc/self/status")
		check(err)
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			switch fields[0] {
			case "VmHWM:", "RssAnon:", "RssFile:":
				kb, err := strconv.ParseFloat(fields[1], 64)
				check(err)
				what := "MiB-" + strings.TrimSuffix(fields[0], ":")
				most[what] = max(most[what], kb/1024)
			}
		}
		select {
		case <-ended:
			watched <- most
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func parse(t testing.TB, out []byte) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	must(t, err)
	return v
}
