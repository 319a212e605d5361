// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// What is kept of patients is in no file of an encrypted state: not in tables, not in logs, not in what a backup or another key
// leaves. The canary is short, and different each time, so that compression can't hide it.
func TestAnEncryptedStateHidesWhatItKeeps(t *testing.T) {
	for name, x := range map[string]struct {
		o    badgerstore.Options
		held bool
	}{
		"plain":     {badgerstore.Options{Keep: time.Hour}, true},
		"encrypted": {keyed, false},
	} {
		t.Run(name, func(t *testing.T) {
			// Each kind of state alone: if all were in one, a table of one kind could hide that another is in the open.
			for kind, write := range map[string]func(*badgerstore.Store, string){
				"row": func(s *badgerstore.Store, canary string) {
					f := claim(t, s)
					b := batchOf(f, 0, 1, 1, false)
					b.Rows[0].Key = canary
					must(t, f.Commit(t.Context(), b))
				},
				"snapshot": func(s *badgerstore.Store, canary string) {
					f := claim(t, s)
					b := batchOf(f, 0, 1, 1, false)
					b.Rows[0].Snapshot = []byte(canary)
					must(t, f.Commit(t.Context(), b))
				},
				"entry": func(s *badgerstore.Store, canary string) {
					f := claim(t, s)
					b := batchOf(f, 0, 1, 1, true)
					b.Entries[0].Body = []byte(canary)
					must(t, f.Commit(t.Context(), b))
				},
				"delivered": func(s *badgerstore.Store, canary string) {
					f, o := claim(t, s), attach(t, s)
					b := batchOf(f, 0, 1, 1, true)
					b.Entries[0].Body = []byte(canary)
					must(t, f.Commit(t.Context(), b))
					must(t, o.Ack(t.Context(), done(oldest(t, o, 1)...)...))
				},
				"dead letter": func(s *badgerstore.Store, canary string) {
					f, o := claim(t, s), attach(t, s)
					b := batchOf(f, 0, 1, 1, true)
					b.Entries[0].Record = []byte(canary)
					must(t, f.Commit(t.Context(), b))
					ids := oldest(t, o, 1)
					must(t, o.Bury(t.Context(), ids[0], record.Cause{Detail: canary}, instant))
				},
				"saved state": func(s *badgerstore.Store, canary string) {
					must(t, s.SaveState(t.Context(), "rest.clinic", []byte(canary)))
				},
				"watermark": func(s *badgerstore.Store, canary string) {
					f := claim(t, s)
					must(t, f.Commit(t.Context(), store.Batch{Position: &store.Position{Watermark: []byte(canary)}}))
				},
				"pause": func(s *badgerstore.Store, canary string) {
					must(t, s.Admin().Pause(t.Context(), store.Pause{Kind: store.Pipeline, Name: "p", Why: canary}))
				},
			} {
				dir, canary := t.TempDir(), "Cnry7f3aQz"
				s := open(t, dir, x.o)
				write(s, canary)
				inLog := holders(t, dir, canary) // as a kill would leave it
				copied := backup(t, s)
				must(t, s.Close())
				inTables := holders(t, dir, canary)
				for where, held := range map[string]bool{
					"the log": len(inLog) > 0, "the tables": len(inTables) > 0, "the backup": bytes.Contains(copied, []byte(canary)),
				} {
					if held != x.held {
						t.Errorf("%s: in %s of a state that is %s: %v", kind, where, name, held)
					}
				}
				if x.held {
					continue
				}
				again := filepath.Join(t.TempDir(), "again")
				must(t, badgerstore.Restore(again, bytes.NewReader(copied), x.o))
				must(t, badgerstore.Rekey(again, x.o.EncryptionKey, bytes.Repeat([]byte("n"), 32)))
				if files := holders(t, again, canary); len(files) > 0 {
					t.Errorf("%s: in %v, restored and with another key", kind, files)
				}
			}
		})
	}
}

func TestAKeyThatDoesNotFitIsExplained(t *testing.T) {
	sealed, plain, fresh := t.TempDir(), t.TempDir(), t.TempDir()
	must(t, open(t, sealed, keyed).Close())
	must(t, open(t, plain, badgerstore.Options{}).Close())
	other := bytes.Repeat([]byte("o"), 32)
	for name, x := range map[string]struct {
		dir  string
		key  []byte
		want string
	}{
		"none for an encrypted state":    {sealed, nil, "is encrypted, and no key is given"},
		"another for an encrypted state": {sealed, other, "is encrypted by another key"},
		"one of another length":          {sealed, other[:16], "is encrypted by another key"},
		"one for a plain state":          {plain, other, "is not encrypted, and an encryption key is given"},
		"no key at all":                  {fresh, []byte("secret"), "has 6 bytes"},
	} {
		for _, readOnly := range []bool{false, true} {
			if x.dir == fresh && readOnly {
				continue
			}
			_, err := badgerstore.Open(x.dir, badgerstore.Options{EncryptionKey: x.key, ReadOnly: readOnly})
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s: %v, want %q", name, err, x.want)
			} else if len(x.key) > 0 && strings.Contains(err.Error(), string(x.key)) {
				t.Errorf("%s: %v tells the key", name, err)
			}
		}
	}
	must(t, os.WriteFile(filepath.Join(plain, "KEYREGISTRY"), []byte("cut"), 0o600))
	if _, err := badgerstore.Open(plain, badgerstore.Options{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged registry: %v", err)
	}
}

func TestAnotherKeyOpensTheStateAfterRekey(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, keyed)
	everything(t, s, "some content")
	want := contents(t, s)
	from, to := keyed.EncryptionKey, bytes.Repeat([]byte("n"), 16)
	if err := badgerstore.Rekey(dir, from, to); !errors.Is(err, store.ErrHeld) {
		t.Errorf("of a state that is open: %v, want ErrHeld", err)
	}
	must(t, s.Close())
	for name, keys := range map[string][2][]byte{
		"from another": {to, from}, "from none": {nil, to}, "to none": {from, nil}, "to a short one": {from, []byte("short")},
	} {
		if err := badgerstore.Rekey(dir, keys[0], keys[1]); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if err := badgerstore.Rekey(t.TempDir(), from, to); err == nil {
		t.Error("a directory without a state got a key")
	}
	must(t, open(t, dir, keyed).Close())
	must(t, badgerstore.Rekey(dir, from, to))
	if _, err := badgerstore.Open(dir, keyed); err == nil {
		t.Error("the old key still opens it")
	}
	o := keyed
	o.EncryptionKey = to
	for i := range 2 { // what is written with the new key is read with it
		s = open(t, dir, o)
		if got := contents(t, s); i == 0 && !reflect.DeepEqual(got, want) {
			t.Error("with another key it is another")
		}
		f := claim(t, s)
		must(t, f.Commit(t.Context(), batchOf(f, 100, 10, 1, true)))
		must(t, s.Close())
	}
	// And back.
	must(t, badgerstore.Rekey(dir, to, from))
	if got := len(oldest(t, attach(t, open(t, dir, keyed)), 1000)); got != 41 {
		t.Errorf("%d wait, want 41", got)
	}
}
