// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

// firstFormat unpacks a state that was written by the code of before there was a second format: 20 records by batchOf, of scan 7,
// one with a snapshot, one deleted, one with arguments; of their notifications the first acknowledged, the second buried with its
// record, the third deferred and large; a dead letter that could not be mapped, with a large record; and what an adapter saved.
func firstFormat(t *testing.T) (dir string) { return unpacked(t, "testdata/format1.tar.gz") }

// unpacked gives a directory with the files of a fixture.
func unpacked(t *testing.T, fixture string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	packed, err := os.Open(fixture)
	must(t, err)
	defer packed.Close()
	unzipped, err := gzip.NewReader(packed)
	must(t, err)
	for files := tar.NewReader(unzipped); ; {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		must(t, err)
		data, err := io.ReadAll(files)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(head.Name)), data, 0o600))
	}
}

func format(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "FORMAT"))
	must(t, err)
	return strings.TrimSpace(string(text))
}

func TestAStateOfTheFirstFormatIsTakenOver(t *testing.T) {
	dir := firstFormat(t)
	if got := format(t, dir); got != "rounds state, format 1" {
		t.Fatalf("the fixture says %q", got)
	}
	o := badgerstore.Options{Keep: 24 * time.Hour}

	// To look at it changes nothing.
	o.ReadOnly = true
	s := open(t, dir, o)
	holdsTheFirst(t, s)
	must(t, s.Close())
	if got := format(t, dir); got != "rounds state, format 1" {
		t.Fatalf("after it was looked at: %q", got)
	}
	o.ReadOnly = false
	for range 2 {
		s = open(t, dir, o)
		holdsTheFirst(t, s)
		if got := format(t, dir); got != "rounds state, format 3" {
			t.Errorf("after it was opened: %q", got)
		}
		must(t, s.Close())
	}
	s = open(t, dir, o)
	again := restored(t, backup(t, s), o)
	holdsTheFirst(t, again)

	// It is worked on: old entries leave in each way, new ones come behind them, old letters are retried.
	f, out := claim(t, s), attach(t, s)
	if n, _, err := f.Unmarked(t.Context(), 7, nil, 100); err != nil || len(n) > 0 {
		t.Errorf("%d rows are not marked by the scan that saw them, %v", len(n), err)
	}
	must(t, f.Commit(t.Context(), batchOf(f, 20, 5, 1, true)))
	ids := oldest(t, out, 100)
	must(t, out.Defer(t.Context(), ids[1], store.Attempt{Attempts: 5, At: instant, Code: "http_503"}))
	must(t, out.Ack(t.Context(), done(ids[0], ids[1])...))
	must(t, out.Bury(t.Context(), ids[2], record.Cause{Code: "http_422"}, instant))
	for _, letter := range []string{fmt.Sprintf("%032d-1", 1), ids[2].ID} {
		must(t, s.Admin().Retry(t.Context(), letter, nil, false))
	}
	must(t, s.Admin().Discard(t.Context(), "unmapped"))
	for range 2 {
		delivered, _, err := s.Admin().Delivered(t.Context(), store.Filter{}, false, nil, 100)
		must(t, err)
		if len(delivered) != 2 || len(delivered[0].Body) != 600_000 || !bytes.Equal(delivered[1].Body, body) || len(delivered[1].Tries) != 1 {
			t.Errorf("%d delivered: %.300v", len(delivered), delivered)
		}
		pending, err := s.Admin().Pending(t.Context())
		if d := pending["webhook.d"]; err != nil || d.Count != 18-3+5+2 || !d.Oldest.Equal(instant) {
			t.Errorf("pending %+v, %v", pending, err)
		}
		must(t, s.Close())
		s = open(t, dir, o)
	}
}

func holdsTheFirst(t *testing.T, s *badgerstore.Store) {
	t.Helper()
	if got := fmt.Sprintf("%x", s.Secret()); got != "65e07e3a9cf722c3d96873526206ff427ff1b764bdcf80148e8abc8c05aeba0a" {
		t.Errorf("secret %s", got)
	}
	f, err := s.Claim(t.Context(), "p")
	must(t, err)
	wantAt := store.Position{
		Watermark: []byte("watermark"), Cursor: []byte("cursor"), Start: instant, Started: true, Epoch: 2, Polled: instant, Scan: 7, Commit: 1,
	}
	if got := f.Position(); !reflect.DeepEqual(got, wantAt) {
		t.Errorf("position %+v, want %+v", got, wantAt)
	}
	for i := range 20 {
		want := rowOf(i, 1)
		switch i {
		case 3:
			want.Snapshot = []byte(`{"change":{"id":"1000003"}}`)
		case 4:
			want.Deleted = true
		case 5:
			want.Ref.Args = "args"
		}
		if got, found, err := s.Admin().Row(t.Context(), "p", want.Ref); err != nil || !found || !reflect.DeepEqual(got, want) {
			t.Errorf("row %+v, %v, %v, want %+v", got, found, err, want)
		}
	}
	waiting, _, err := s.Admin().Waiting(t.Context(), store.Filter{}, nil, 100)
	must(t, err)
	if len(waiting) != 18 {
		t.Errorf("%d wait, want 18", len(waiting))
	}
	for _, got := range waiting {
		i := 0
		_, err := fmt.Sscanf(got.ID, "%d-1", &i)
		must(t, err)
		want := entryOf(i, 1)
		want.Seq = got.Seq
		if i == 2 {
			want.Body, want.Attempts, want.NextAttempt = bytes.Repeat([]byte("large "), 100_000), 4, instant
		}
		if got.Seq == 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("entry %.500v, want %.500v", got, want)
		}
	}
	pending, err := s.Admin().Pending(t.Context())
	if want := (map[string]store.Depth{"webhook.d": {Count: 18, Oldest: instant}}); err != nil || !reflect.DeepEqual(pending, want) {
		t.Errorf("pending %v, %v, want %v", pending, err, want)
	}
	dead, _, err := s.Admin().Dead(t.Context(), store.Filter{}, nil, 100)
	must(t, err)
	unmapped := record.DeadLetter{
		ID: "unmapped", Pipeline: "p", Deliver: "scheduling", Key: "0", Ref: sdk.Ref{Kind: "appointment", ID: "0"}, Version: "v", Generation: 3,
		Time: instant, Cause: record.Cause{Stage: record.StageMap, Code: "script_error", Text: "text", Detail: "detail", Attempts: 2},
		Record: bytes.Repeat([]byte("record "), 100_000),
	}
	n := entryOf(1, 1)
	n.Record = []byte(`{"change":{"id":"1000001"}}`)
	refused := record.DeadLetter{
		ID: n.ID, Pipeline: "p", Deliver: n.Deliver, Key: n.Key, Ref: n.Ref, Version: n.Version, Generation: 1,
		Cause:  record.Cause{Stage: record.StageDeliver, Code: "http_422", Text: "refused", Detail: "why", Attempts: 1},
		Record: n.Record, Entry: &n,
	}
	if len(dead) == 2 {
		refused.Time = dead[1].Time // it was the clock's
	}
	if want := []record.DeadLetter{unmapped, refused}; !reflect.DeepEqual(dead, want) {
		t.Errorf("dead letters %.1000v, want %.1000v", dead, want)
	}
	if counts, err := s.Admin().DeadCount(t.Context()); err != nil || counts["p"] != 2 {
		t.Errorf("%v dead letters, %v", counts, err)
	}
	if saved, err := s.LoadState(t.Context(), "rest.clinic"); err != nil || string(saved) != "saved" {
		t.Errorf("saved %q, %v", saved, err)
	}
}

// TestAStateOfTheSecondFormatIsTakenOver: it was written by the code of before contents had keys of their own, with history for a hundred
// years. Of the records 0 to 9, by batchOf with something in every field, 0 (after an attempt that failed), 2 and 3 were delivered, 4 was
// buried, 1 deferred. 1 and 5 have an ordering key of 600 KB, so their values are in parts.
func TestAStateOfTheSecondFormatIsTakenOver(t *testing.T) {
	dir := unpacked(t, "testdata/format2.tar.gz")
	const years = 100 * 365 * 24 * time.Hour
	want := func(i int) record.Entry {
		e := entryOf(i, 1)
		e.Time, e.Trace = instant.Add(-time.Hour), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		e.Record, e.Previous = []byte(`{"change":{"id":"2"}}`), []byte(`{"change":{"id":"1"}}`)
		switch i {
		case 0:
			e.Attempts, e.Tries = 1, []record.Try{{At: instant, Code: "http_503"}}
		case 1:
			e.Attempts, e.NextAttempt, e.Tries = 2, instant, []record.Try{{At: instant, Code: "http_500"}}
			fallthrough
		case 5:
			e.Key = strings.Repeat("k", 600_000)
		}
		return e
	}
	// holds compares what is there of the ten with the records that are said.
	holds := func(s *badgerstore.Store, waiting, accepted, dead []int) {
		t.Helper()
		var entries []record.Entry
		all, _, err := s.Admin().Waiting(t.Context(), store.Filter{}, nil, 100)
		must(t, err)
		entries = append(entries, all...)
		for _, d := range delivered(t, s, store.Filter{}) {
			entries = append(entries, d.Entry)
		}
		letters, _, err := s.Admin().Dead(t.Context(), store.Filter{}, nil, 100)
		must(t, err)
		for _, l := range letters {
			l.Entry.Tries = nil
			entries = append(entries, *l.Entry)
		}
		if len(all) != len(waiting) || len(letters) != len(dead) || len(entries) != len(waiting)+len(accepted)+len(dead) {
			t.Fatalf("%d wait, %d are dead, %d are there", len(all), len(letters), len(entries))
		}
		for n, i := range slices.Concat(waiting, accepted, dead) {
			w := want(i)
			w.Seq = entries[n].Seq
			if got := entries[n]; !reflect.DeepEqual(got, w) {
				t.Errorf("entry %.700v, want %.700v", got, w)
			}
		}
	}
	s := open(t, dir, badgerstore.Options{ReadOnly: true, Keep: years})
	holds(s, []int{1, 5, 6, 7, 8, 9}, []int{0, 2, 3}, []int{4})
	must(t, s.Close())
	if got := format(t, dir); got != "rounds state, format 2" {
		t.Fatalf("after it was looked at: %q", got)
	}
	s = open(t, dir, badgerstore.Options{Keep: years})
	holds(s, []int{1, 5, 6, 7, 8, 9}, []int{0, 2, 3}, []int{4})
	holds(restored(t, backup(t, s), badgerstore.Options{Keep: years}), []int{1, 5, 6, 7, 8, 9}, []int{0, 2, 3}, []int{4})
	if got := format(t, dir); got != "rounds state, format 3" {
		t.Errorf("after it was opened: %q", got)
	}

	// Old ones leave in each way, and beside them new ones come and go.
	o := attach(t, s)
	for n, id := range oldest(t, o, 3) {
		switch n {
		case 0, 1:
			must(t, o.Ack(t.Context(), store.Done{EntryID: id, At: instant.Add(time.Hour), Code: "http_202"}))
		default:
			must(t, o.Bury(t.Context(), id, record.Cause{Code: "http_422"}, instant))
		}
	}
	if n := badgerstore.Contents(t, s); n != 0 {
		t.Errorf("%d contents are apart, of what was written before", n)
	}
	must(t, s.Admin().Retry(t.Context(), entryOf(4, 1).ID, nil, false))
	if n := badgerstore.Contents(t, s); n != 1 {
		t.Errorf("%d contents are apart, want that of what was put back", n)
	}
	f := claim(t, s)
	must(t, f.Commit(t.Context(), batchOf(f, 20, 5, 1, true)))
	must(t, o.Ack(t.Context(), done(oldest(t, o, 100)...)...))
	if n, apart := len(delivered(t, s, store.Filter{})), badgerstore.Contents(t, s); n != 14 || apart != 6 {
		t.Errorf("%d are delivered, %d with their content apart, want 14 and 6", n, apart)
	}
	must(t, s.Close())
	s = open(t, dir, badgerstore.Options{Keep: time.Nanosecond})
	must(t, badgerstore.Trim(s))
	for _, kind := range "ehxc" {
		if n := badgerstore.Keys(t, s, byte(kind)); n > 0 {
			t.Errorf("%d keys %q are left", n, kind)
		}
	}
}

// What can't be raised is not written to.
func TestAStateThatCanNotBeTakenOverIsLeft(t *testing.T) {
	dir := firstFormat(t)
	must(t, os.Mkdir(filepath.Join(dir, "FORMAT.tmp"), 0o700)) // in the way of the new file
	if _, err := badgerstore.Open(dir, badgerstore.Options{}); err == nil {
		t.Fatal("it was opened, and would be written in a form that its format does not tell")
	}
	must(t, os.Remove(filepath.Join(dir, "FORMAT.tmp")))
	holdsTheFirst(t, open(t, dir, badgerstore.Options{}))
}
