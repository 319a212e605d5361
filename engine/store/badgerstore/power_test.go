// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// durable is what a loss of power would leave of a state's directory, by file: of the logs what was synced, of all else what is
// there, as Badger syncs that itself.
type durable struct {
	*testing.T
	dir   string
	files map[string][]byte
}

// watch begins with all that is there now, and follows the syncs of s.
func watch(t *testing.T, s *badgerstore.Store, dir string) *durable {
	d := &durable{t, dir, files(t, dir)}
	badgerstore.OnSyncLog(s, func(name string, sync func(string) error) error {
		err := sync(name)
		if data, unread := os.ReadFile(name); err == nil && unread == nil {
			d.files[filepath.Base(name)] = data
		}
		return err
	})
	badgerstore.OnSync(s, func(sync func() error) error {
		logs := logs(t, dir)
		err := sync()
		if len(logs) > 1 { // the older one is no table yet: the rest is as it was
			name := logs[len(logs)-1]
			data, unread := os.ReadFile(name)
			d.files[filepath.Base(name)] = data
			return errors.Join(err, unread)
		}
		d.files = files(t, dir)
		for begun := []byte(nil); !bytes.Equal(begun, d.files["MANIFEST"]); d.files = files(t, dir) {
			begun = d.files["MANIFEST"] // a table came or went meanwhile: the files are not of one moment
		}
		return err
	})
	return d
}

// fail gives the directory as it is after a loss of power.
func (d *durable) fail() string {
	d.Helper()
	lost := d.TempDir()
	for name, data := range d.files {
		must(d.T, os.WriteFile(filepath.Join(lost, name), data, 0o600))
	}
	return lost
}

// lanesOf are the numbers of the entries of each lane.
func lanesOf(t *testing.T, o store.Outbox) map[string][]uint64 {
	t.Helper()
	all := map[string][]uint64{}
	for token, more := []byte(nil), true; more; more = token != nil {
		lanes, next, err := o.Lanes(t.Context(), token, 100)
		must(t, err)
		token = next
		for _, lane := range lanes {
			head, err := o.Head(t.Context(), lane, 1000)
			must(t, err)
			for _, e := range head {
				all[lane] = append(all[lane], e.Seq)
			}
		}
	}
	return all
}

// TestInvariant4ALossOfPowerBringsTheLastAcknowledgedEntriesAgain, in their order, and nothing else: acknowledgements are not
// synced, and Badger begins a new log among them.
func TestInvariant4ALossOfPowerBringsTheLastAcknowledgedEntriesAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	f, o := claim(t, s), attach(t, s)
	entries := nearlyFull(t, dir, f)
	power, full := watch(t, s, dir), files(t, dir)

	before := lanesOf(t, o)
	acked := map[string]int{}
	total := 0
	ack := func(lane string) {
		if acked[lane] == len(before[lane]) {
			return
		}
		head, err := o.Head(t.Context(), lane, 1)
		must(t, err)
		must(t, o.Ack(t.Context(), done(store.EntryID{Lane: lane, Seq: head[0].Seq, ID: head[0].ID})...))
		acked[lane]++
		total++
	}
	names := slices.Sorted(maps.Keys(before))
	for n := 0; newLog(t, dir, full) == ""; n++ { // the oldest of each lane, until a new log is begun
		if total == entries-1 {
			t.Fatal("no new log was begun")
		}
		ack(names[n%len(names)])
	}
	for _, lane := range names[:50] {
		ack(lane)
	}
	must(t, badgerstore.Sweep(s)) // what was acknowledged has set parts free, so this syncs; the full log is hardly a table yet
	kept := total
	for _, lane := range names[200:400] {
		ack(lane) // nothing is synced after these
	}

	s = open(t, power.fail(), badgerstore.Options{})
	o, f = attach(t, s), claim(t, s)
	if n := f.Position().Commit; n != uint64(1+entries/100) {
		t.Errorf("%d commits are there, want %d", n, 1+entries/100)
	}
	there := 0
	after := lanesOf(t, o)
	for lane, seqs := range after {
		there += len(seqs)
		old := before[lane]
		again := slices.DeleteFunc(seqs, func(n uint64) bool { return !slices.Contains(old, n) })
		if !slices.Equal(again, old[len(old)-len(again):]) || len(again) < len(old)-acked[lane] {
			t.Errorf("a lane of %v, of which the first %d were acknowledged, is now %v", old, acked[lane], again)
		}
	}
	if most := entries - kept; there > most {
		t.Errorf("%d entries are there, want %d at most: an acknowledgement from before the last sync was lost", there, most)
	}
	if there <= entries-total {
		t.Errorf("%d entries are there: no acknowledgement of %d was lost, and the test tests nothing", there, total)
	}
	pending, err := s.Admin().Pending(t.Context())
	must(t, err)
	if pending["webhook.d"].Count != there {
		t.Errorf("%d entries are said to be pending, %d are there", pending["webhook.d"].Count, there)
	}
}

// nearlyFull commits in hundreds until the log in use is nearly full and the only one, and gives the number of entries. The first is large.
func nearlyFull(t *testing.T, dir string, f store.Feed) (entries int) {
	t.Helper()
	large := entryOf(0, 1)
	large.Body = noise(600 << 10) // in parts
	must(t, f.Commit(t.Context(), store.Batch{Entries: []record.Entry{large}}))
	entries, first := 1, files(t, dir)
	commit := func() {
		must(t, f.Commit(t.Context(), batchOf(f, entries, 100, 1, true)))
		entries += 100
	}
	perLog := 0
	for ; newLog(t, dir, first) == ""; perLog++ {
		commit()
	}
	for range perLog - 2 {
		commit()
	}
	for len(logs(t, dir)) > 1 {
		time.Sleep(time.Millisecond) // until the full log is a table
	}
	return entries
}

// TestInvariant1ANewLogOutlastsALossOfPowerWithItsName: what is synced into a file is lost with its name, and that is the directory's.
func TestInvariant1ANewLogOutlastsALossOfPowerWithItsName(t *testing.T) {
	dir := t.TempDir()
	named := map[string][]byte{} // logs whose names are on disk
	s := open(t, dir, badgerstore.Options{Around: func(step badgerstore.Step, do func() error) error {
		err := do()
		if step.Kind == badgerstore.StepSyncDir {
			for _, log := range logs(t, dir) {
				named[filepath.Base(log)] = []byte{}
			}
		}
		return err
	}})
	f := claim(t, s)
	begun := map[string][]byte{filepath.Base(logs(t, dir)[0]): {}}
	for i := 0; newLog(t, dir, begun) == ""; i++ {
		if i == 100 {
			t.Fatal("no new log was begun")
		}
		b := batchOf(f, 4*i, 4, 1, true)
		for j := range b.Entries {
			b.Entries[j].Body = noise(400 << 10)
		}
		must(t, f.Commit(t.Context(), b))
	}
	if name := newLog(t, dir, named); name != "" {
		t.Errorf("a commit is told to be durable, and the name of its log %s is not", name)
	}
}

func logs(t *testing.T, dir string) []string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	must(t, err)
	return logs
}

// newLog names the log that is not among the files of before.
func newLog(t *testing.T, dir string, before map[string][]byte) (name string) {
	t.Helper()
	for _, log := range logs(t, dir) {
		if name := filepath.Base(log); before[name] == nil {
			return name
		}
	}
	return ""
}

// files reads a directory.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if data, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil {
			all[e.Name()] = data
		}
	}
	return all
}
