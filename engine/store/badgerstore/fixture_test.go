// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

var instant = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// body is a notification of 1.5 KB that compresses about as well as JSON does.
var body = func() []byte {
	b := []byte(`{"Meta":{"DataModel":"Scheduling","EventType":"Modification"},"Patient":{"Identifiers":[`)
	for r := rand.New(rand.NewPCG(1, 2)); len(b) < 1490; {
		b = fmt.Appendf(b, `{"ID":"%08x","IDType":"MR"},`, r.Uint32())
	}
	return append(b[:len(b)-1], "]}}"...)
}()

// document is JSON of about n bytes, of which nearly half is told apart from others', as names, dates and ids are.
func document(i, n int) []byte {
	b := []byte(`{"resourceType":"Appointment","participant":[`)
	for r := rand.New(rand.NewPCG(3, uint64(i))); len(b) < n-100; {
		b = fmt.Appendf(b, `{"identifier":"%012x","start":"2026-03-%02dT%02d:%02d:00Z","status":"booked","name":"%07x"},`,
			r.Uint64()>>16, 1+r.IntN(28), r.IntN(24), r.IntN(60), r.Uint32()>>4)
	}
	return append(b[:len(b)-1], "]}"...)
}

// likely is batchOf with entries as a pipeline makes them: a notification of 2.5 KB, and with history its record of 3.3 KB.
func likely(f store.Feed, i, n int, generation uint64, history bool) store.Batch {
	b := batchOf(f, i, n, generation, true)
	for j := range b.Entries {
		of := &documents[(i+j)%len(documents)]
		b.Entries[j].Body = of.body
		if history {
			b.Entries[j].Record = of.record
		}
	}
	return b
}

var documents = func() (all [997]struct{ body, record []byte }) {
	for i := range all {
		all[i].body, all[i].record = document(i, 2500), document(i, 3300)
	}
	return all
}()

func appointment(i int) sdk.Ref { return sdk.Ref{Kind: "appointment", ID: strconv.Itoa(1_000_000 + i)} }

func rowOf(i int, generation uint64) store.Row {
	h := sha256.Sum256([]byte(fmt.Sprint(i, generation)))
	at := instant.Add(time.Duration(i) * 7 * time.Second)
	return store.Row{
		Ref: appointment(i), Generation: generation, Version: at.Format("2006-01-02T15:04:05"), Hash: [16]byte(h[:16]),
		Time: at, Key: strconv.Itoa(i / 5), Recent: []uint64{binary.BigEndian.Uint64(h[16:]), binary.BigEndian.Uint64(h[24:])},
	}
}

func entryOf(i int, generation uint64) record.Entry {
	return record.Entry{
		ID: fmt.Sprintf("%032d-%d", i, generation), Pipeline: "p", Deliver: "scheduling", Destination: "webhook.d",
		Key: strconv.Itoa(i / 5), Ref: appointment(i), Version: "2026-03-04T05:06:07", Generation: generation,
		Committed: instant, Body: body,
	}
}

// batchOf holds n records from i on, each with its row and, if wanted, an entry.
func batchOf(f store.Feed, i, n int, generation uint64, entries bool) store.Batch {
	b := store.Batch{Base: f.Position().Commit, Position: &store.Position{Watermark: []byte(`"2026-03-04T05:06:07Z"`)}}
	for j := i; j < i+n; j++ {
		b.Rows = append(b.Rows, rowOf(j, generation))
		if entries {
			b.Entries = append(b.Entries, entryOf(j, generation))
		}
	}
	return b
}

// noise is content that can't be compressed, for what has to be large also where it is stored.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return b
}

func claim(t testing.TB, s store.Store) store.Feed {
	t.Helper()
	f, err := s.Claim(t.Context(), "p")
	must(t, err)
	return f
}

func attach(t testing.TB, s store.Store) store.Outbox {
	t.Helper()
	o, err := s.Attach(t.Context(), "webhook.d")
	must(t, err)
	return o
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// done says that entries were accepted just now.
func done(ids ...store.EntryID) (list []store.Done) {
	for _, id := range ids {
		list = append(list, store.Done{EntryID: id, At: time.Now(), Code: "accepted"})
	}
	return list
}

// fill commits records with entries until n wait.
func fill(t testing.TB, s store.Store, n int) {
	t.Helper()
	f := claim(t, s)
	for i := 0; i < n; i += 250 {
		must(t, f.Commit(t.Context(), batchOf(f, i, min(250, n-i), 1, true)))
	}
}

// drain acknowledges by as many goroutines as a destination has parallel sends, n entries at most.
func drain(t testing.TB, o store.Outbox, n int) {
	t.Helper()
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	close(left)
	var token []byte
	for len(left) > 0 {
		lanes, next, err := o.Lanes(t.Context(), token, 1024)
		must(t, err)
		token = next
		if len(lanes) == 0 && next == nil {
			continue
		}
		work := make(chan string, len(lanes))
		for _, lane := range lanes {
			work <- lane
		}
		close(work)
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for lane := range work {
					if _, ok := <-left; !ok {
						return
					}
					head, err := o.Head(t.Context(), lane, 1)
					if err != nil || len(head) == 0 {
						t.Errorf("head: %d entries, %v", len(head), err)
						return
					}
					if err := o.Ack(t.Context(), done(store.EntryID{Lane: lane, Seq: head[0].Seq, ID: head[0].ID})...); err != nil {
						t.Errorf("ack: %v", err)
						return
					}
				}
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
	}
}

// used gives the blocks that a directory takes on disk, and the sum of its files' lengths, which are sparse.
func used(t testing.TB, dir string) (disk, apparent int64) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil // removed in between
		}
		apparent += info.Size()
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			disk += sys.Blocks * 512
		}
		return nil
	}))
	return disk, apparent
}

// tables is the length of the tables: what is kept, without the logs that wait for the next writes.
func tables(t testing.TB, dir string) (n int64) {
	t.Helper()
	for _, name := range tableFiles(t, dir) {
		info, err := os.Stat(name)
		must(t, err)
		n += info.Size()
	}
	return n
}

func tableFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	must(t, err)
	return names
}
