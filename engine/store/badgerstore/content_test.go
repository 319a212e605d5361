// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// TestInvariant3AContentIsThereAsLongAsAnythingRefersToIt, and no longer, whatever becomes of its notification, while history is turned
// on and off between starts.
func TestInvariant3AContentIsThereAsLongAsAnythingRefersToIt(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r, dir, records := rand.New(rand.NewPCG(seed, 7)), t.TempDir(), 0
			bodies := map[string][]byte{}
			check := func(s *badgerstore.Store) {
				t.Helper()
				badgerstore.Contents(t, s)
				waiting, _, err := s.Admin().Waiting(t.Context(), store.Filter{}, nil, 10_000)
				must(t, err)
				for _, d := range delivered(t, s, store.Filter{}) {
					waiting = append(waiting, d.Entry)
				}
				for _, e := range waiting {
					if !bytes.Equal(e.Body, bodies[e.ID]) || len(e.Record) != 7 {
						t.Errorf("%s has a body of %d bytes, a record of %d", e.ID, len(e.Body), len(e.Record))
					}
				}
			}
			for _, keep := range []time.Duration{time.Hour, 0, time.Hour, 2 * time.Hour} {
				o := badgerstore.Options{Keep: keep, Indexed: 5}
				if seed%2 == 1 {
					o.KeepBytes = 20_000
				}
				s := open(t, dir, o)
				check(s)
				f, out := claim(t, s), attach(t, s)
				for range 60 {
					switch ids := oldest(t, out, 1+r.IntN(10)); r.IntN(7) {
					case 0, 1:
						b := batchOf(f, records, 1+r.IntN(8), 1, true)
						for i := range b.Entries {
							e := &b.Entries[i]
							if e.Body, e.Record = noise(r.IntN(3000)), []byte("record "); r.IntN(20) == 0 {
								e.Body = noise(600_000) // in parts
							}
							bodies[e.ID] = e.Body
							if len(e.Body) == 0 {
								bodies[e.ID], e.Body = nil, nil
							}
						}
						must(t, f.Commit(t.Context(), b))
						records += len(b.Entries)
					case 2, 3:
						must(t, out.Ack(t.Context(), append(done(ids...), done(ids...)...)...))
					case 4:
						for _, id := range ids {
							must(t, out.Defer(t.Context(), id, store.Attempt{Attempts: 1, At: instant, Code: "http_503"}))
						}
					case 5:
						if len(ids) > 0 {
							must(t, out.Bury(t.Context(), ids[0], record.Cause{Code: "http_422"}, instant))
							must(t, s.Admin().Retry(t.Context(), ids[0].ID, nil, true))
						}
					case 6:
						if kept := delivered(t, s, store.Filter{}); len(kept) > 0 {
							_, err := s.Admin().Replay(t.Context(), []store.Again{{Entry: kept[r.IntN(len(kept))].Entry}})
							must(t, err)
						}
						must(t, badgerstore.Trim(s))
						must(t, badgerstore.Sweep(s))
					}
				}
				check(s)
				must(t, s.Close())
			}
			s := open(t, dir, badgerstore.Options{Keep: time.Nanosecond})
			out := attach(t, s)
			for ids := oldest(t, out, 500); len(ids) > 0; ids = oldest(t, out, 500) {
				must(t, out.Ack(t.Context(), done(ids...)...))
			}
			must(t, badgerstore.Trim(s))
			must(t, badgerstore.Sweep(s))
			for _, kind := range "ehxcb" {
				if n := badgerstore.Keys(t, s, byte(kind)); n > 0 {
					t.Errorf("%d keys %q are left of nothing", n, kind)
				}
			}
		})
	}
}

// What a delivered notification takes is counted for its destination with its content, in whatever form it is, and the same after a start.
func TestTheHistoryIsCountedWithItsContents(t *testing.T) {
	const n, size = 40, 5000
	for _, keep := range []time.Duration{time.Hour, 0} { // when it is committed
		dir := t.TempDir()
		s := open(t, dir, badgerstore.Options{Keep: keep})
		f := claim(t, s)
		b := batchOf(f, 0, n, 1, true)
		for i := range b.Entries {
			b.Entries[i].Body = noise(size)
		}
		must(t, f.Commit(t.Context(), b))
		must(t, s.Close())
		s = open(t, dir, badgerstore.Options{Keep: time.Hour, KeepBytes: n / 2 * size})
		o := attach(t, s)
		must(t, o.Ack(t.Context(), done(oldest(t, o, n)...)...))
		counted := badgerstore.History(s)
		if counted < n*size || counted > n*(size+700) {
			t.Errorf("%d bytes are counted for %d of %d", counted, n, size)
		}
		must(t, badgerstore.Trim(s))
		if got := len(delivered(t, s, store.Filter{})); got < n/2*size/(size+700) || got > n/2 {
			t.Errorf("%d are kept, want about %d", got, n/2)
		}
		counted = badgerstore.History(s)
		must(t, s.Close())
		if again := badgerstore.History(open(t, dir, badgerstore.Options{Keep: time.Hour})); again != counted {
			t.Errorf("%d bytes are counted after a start, %d before", again, counted)
		}
	}
}

// TestInvariant3AContentOutlastsAnAcknowledgementThatALossOfPowerUndoes: the acknowledgements stand in the end of a full log, which nothing
// has synced; what is deleted of the history stands in the next one, of which the system may write what it likes before the other.
func TestInvariant3AContentOutlastsAnAcknowledgementThatALossOfPowerUndoes(t *testing.T) {
	dir := t.TempDir()
	o := badgerstore.Options{Keep: time.Hour}
	s := open(t, dir, o)
	f, out := claim(t, s), attach(t, s)
	entries := nearlyFull(t, dir, f)
	power, full := watch(t, s, dir), files(t, dir)
	ids := oldest(t, out, entries)
	acked := 0
	for ; newLog(t, dir, full) == ""; acked++ {
		if acked == entries {
			t.Fatal("no new log was begun")
		}
		// Their time is over as they come.
		must(t, out.Ack(t.Context(), store.Done{EntryID: ids[acked], At: time.Now().Add(-2 * time.Hour), Code: "accepted"}))
	}
	must(t, badgerstore.Trim(s))
	if n := len(delivered(t, s, store.Filter{})); n > 0 {
		t.Fatalf("%d are kept", n)
	}
	if n := badgerstore.Contents(t, s); n != entries-acked {
		t.Errorf("%d contents for the %d that wait", n, entries-acked)
	}
	next := newLog(t, dir, full)
	written, err := os.ReadFile(filepath.Join(dir, next))
	must(t, err)
	lost := power.fail()
	must(t, os.WriteFile(filepath.Join(lost, next), written, 0o600))

	s = open(t, lost, o)
	badgerstore.Contents(t, s)
	waiting := lanesOf(t, attach(t, s))
	there := 0
	for _, seqs := range waiting {
		there += len(seqs)
	}
	if there < entries-acked {
		t.Errorf("%d wait, want those %d that were not acknowledged", there, entries-acked)
	}
}

// TestWhatTheLimitsAllowIsCommitted, however it is spread over values that are too small for parts, or too large for a transaction.
func TestWhatTheLimitsAllowIsCommitted(t *testing.T) {
	limits := badgerstore.Limits()
	text := func(n int) string { return strings.Repeat("v", n) } // a head is not compressed
	for _, keep := range []time.Duration{0, time.Hour} {
		for _, size := range []int{100, 750, 1000, 1100, 1900, 5000, 30_000} {
			s := open(t, t.TempDir(), badgerstore.Options{Keep: keep})
			f, o := claim(t, s), attach(t, s)
			for name, fill := range map[string]func(b *store.Batch, i int){
				"entries": func(b *store.Batch, i int) {
					e := entryOf(i, 1)
					e.Version, e.Body = text(size), noise(size)
					b.Entries = append(b.Entries, e)
				},
				"rows": func(b *store.Batch, i int) {
					row := rowOf(i, 1)
					row.Version = text(size)
					b.Rows, b.Scan = append(b.Rows, row), 1
				},
				"dead letters": func(b *store.Batch, i int) {
					b.Dead = append(b.Dead, record.DeadLetter{ID: fmt.Sprint(i), Pipeline: "p", Cause: record.Cause{Text: text(size)}})
				},
			} {
				b := store.Batch{Base: f.Position().Commit, Position: &store.Position{Watermark: []byte("w")}}
				for i := range limits.Items {
					before := b
					if fill(&b, i); b.Size() > limits.Bytes {
						b = before
						break
					}
				}
				if err := f.Commit(t.Context(), b); err != nil {
					t.Errorf("%d %s of %d: %v", b.Items(), name, size, err)
				}
			}
			ids := oldest(t, o, limits.Items)
			must(t, o.Ack(t.Context(), done(ids...)...))
			if n := len(delivered(t, s, store.Filter{})); keep > 0 && n != len(ids) {
				t.Errorf("of %d of %d %d are kept", len(ids), size, n)
			}
			badgerstore.Contents(t, s)
			must(t, s.Close())
		}
	}
}

// A notification may be as large as a commit.
func TestALargeNotificationComesAndGoesWhole(t *testing.T) {
	for _, keep := range []time.Duration{0, time.Hour} {
		s := open(t, t.TempDir(), badgerstore.Options{Keep: keep})
		f, o := claim(t, s), attach(t, s)
		b := batchOf(f, 0, 3, 1, true)
		for i := range b.Entries {
			b.Entries[i].Body = noise(4 << 20)
		}
		must(t, f.Commit(t.Context(), b))
		ids := oldest(t, o, 10)
		for _, id := range ids {
			if head, err := o.Head(t.Context(), id.Lane, 1); err != nil || len(head) == 0 || len(head[0].Body) != 4<<20 {
				t.Fatalf("%d entries, %v", len(head), err)
			}
		}
		must(t, o.Ack(t.Context(), done(ids...)...))
		must(t, badgerstore.Sweep(s))
		all := delivered(t, s, store.Filter{})
		if keep > 0 && (len(all) != 3 || !bytes.Equal(all[2].Body, b.Entries[2].Body)) {
			t.Errorf("%d are kept", len(all))
		}
		if n := badgerstore.Parts(t, s); keep == 0 && n > 0 {
			t.Errorf("%d parts are left of nothing", n)
		}
	}
}
