// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// TestALossOfPowerBringsAcknowledgedEntriesAgainAndNothingElse: acknowledgements are not synced. When Badger begins a new log
// among them, the old log may lose those that it holds, and the new one keeps what was committed after them.
func TestALossOfPowerBringsAcknowledgedEntriesAgainAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	f, o := claim(t, s), attach(t, s)
	large := entryOf(0, 1)
	large.Body = make([]byte, 600<<10) // in parts
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
	for range perLog - 4 { // the next log is nearly full
		commit()
	}
	for len(logs(t, dir)) > 1 {
		time.Sleep(time.Millisecond) // until the full log is a table
	}
	synced := files(t, dir)
	acked, fresh := 0, ""
	for ; fresh == ""; fresh = newLog(t, dir, synced) {
		if acked == entries {
			t.Fatal("no new log was begun")
		}
		drain(t, o, 50)
		acked += 50
	}
	must(t, badgerstore.Sweep(s)) // what the acknowledgement that may be lost has set free
	commit()
	data, err := os.ReadFile(filepath.Join(dir, fresh))
	must(t, err)
	synced[fresh] = data
	if len(logs(t, dir)) == 1 {
		t.Skip("the full log became a table too soon for the power to fail before")
	}

	lost := t.TempDir()
	for name, data := range synced {
		must(t, os.WriteFile(filepath.Join(lost, name), data, 0o600))
	}
	s = open(t, lost, badgerstore.Options{})
	o, f = attach(t, s), claim(t, s)
	if n := f.Position().Commit; n != uint64(1+entries/100) {
		t.Errorf("%d commits are there, want %d", n, 1+entries/100)
	}
	there := 0
	for token, more := []byte(nil), true; more; more = token != nil {
		var lanes []string
		lanes, token, err = o.Lanes(t.Context(), token, 100)
		must(t, err)
		for _, lane := range lanes {
			head, err := o.Head(t.Context(), lane, 1000)
			must(t, err)
			there += len(head)
		}
	}
	if there <= entries-acked {
		t.Errorf("%d entries are there: no acknowledgement of %d was lost, and the test tests nothing", there, acked)
	}
	pending, err := s.Admin().Pending(t.Context())
	must(t, err)
	if pending["webhook.d"] != there {
		t.Errorf("%d entries are said to be pending, %d are there", pending["webhook.d"], there)
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
