// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

func TestSecondOpenSaysWhoHoldsTheState(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	_, err := badgerstore.Open(dir, badgerstore.Options{})
	if !errors.Is(err, store.ErrHeld) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("%v, want ErrHeld and this process's id", err)
	}
	must(t, s.Close())
	open(t, dir, badgerstore.Options{})
}

func TestAStateThatHasToExistIsNotMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := badgerstore.Open(dir, badgerstore.Options{Existing: true}); err == nil || !strings.Contains(err.Error(), "there is no state in "+dir) {
		t.Errorf("%v, want an error that says so", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
	must(t, open(t, dir, badgerstore.Options{}).Close())
	open(t, dir, badgerstore.Options{Existing: true})
}

func TestDirectoryIsPrivate(t *testing.T) {
	parent := t.TempDir()
	wide := filepath.Join(parent, "wide")
	must(t, os.Mkdir(wide, 0o755))
	for _, dir := range []string{wide, filepath.Join(parent, "new", "state")} {
		open(t, dir, badgerstore.Options{})
		info, err := os.Stat(dir)
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", dir, info.Mode())
		}
	}
}

func TestDirectoriesThatAreNotOursAreRefused(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"holds other files":          {"notes.txt": "mine"},
		"state of a newer":           {"FORMAT": "rounds state, format 4\n"},
		"format file that is broken": {"FORMAT": "rounds st"},
		"badger of another program":  {"MANIFEST": "x", "000001.vlog": ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Chmod(dir, 0o755))
			for file, text := range files {
				must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
			}
			s, err := badgerstore.Open(dir, badgerstore.Options{})
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("%q does not say which directory", err)
			}
			left, err := os.ReadDir(dir)
			must(t, err)
			if info, _ := os.Stat(dir); len(left) != len(files) || info.Mode().Perm() != 0o755 {
				t.Error("the directory was changed")
			}
		})
	}
	t.Run("fresh volume", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
		open(t, dir, badgerstore.Options{})
	})
}

// TestAStateThatAKillLeftUnfinishedIsFinished: else what is missing later would be taken for what was never there.
func TestAStateThatAKillLeftUnfinishedIsFinished(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, dir, badgerstore.Options{}).Close())
	format := filepath.Join(dir, "FORMAT")
	must(t, os.Rename(format, format+".new"))
	must(t, open(t, dir, badgerstore.Options{}).Close())
	if _, err := os.Stat(format); err != nil {
		t.Error(err)
	}
}

func TestEncryptedStateNeedsItsKey(t *testing.T) {
	dir := t.TempDir()
	key := []byte("0123456789abcdef0123456789abcdef")
	s := open(t, dir, badgerstore.Options{EncryptionKey: key})
	secret := []byte("the content of a notification")
	must(t, s.SaveState(t.Context(), "rest.a", secret))
	must(t, s.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil && bytes.Contains(text, secret) {
			t.Errorf("%s holds plain text", filepath.Base(name))
		}
	}
	for name, wrong := range map[string][]byte{"none": nil, "another": []byte("another key, 32 bytes in length.")} {
		if _, err := badgerstore.Open(dir, badgerstore.Options{EncryptionKey: wrong}); err == nil || !strings.Contains(err.Error(), "is encrypted") {
			t.Errorf("key %s: %v, want one that says that it is encrypted", name, err)
		}
	}
	s = open(t, dir, badgerstore.Options{EncryptionKey: key})
	if got, err := s.LoadState(t.Context(), "rest.a"); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestAStateOpensAfterAKillBetweenTheMakingOfAFileAndItsFirstByte: the next files of Badger's value log and of its memtables
// are there and empty.
func TestAStateOpensAfterAKillBetweenTheMakingOfAFileAndItsFirstByte(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	fill(t, s, 100)
	must(t, s.Close())
	for _, name := range []string{"000099.vlog", "00099.mem"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	must(t, open(t, dir, badgerstore.Options{}).Close())
	if rows, entries, err := readAll(dir); err != nil || rows != 100 || entries != 100 {
		t.Errorf("%d rows and %d entries, want 100: %v", rows, entries, err)
	}
}

// Damage is an error, in opening or in reading; the process lives.
func TestDamageIsAnError(t *testing.T) {
	whole := t.TempDir()
	s := open(t, whole, badgerstore.Options{})
	fill(t, s, 2000)
	must(t, badgerstore.Flatten(s))
	fill2(t, s, 2000)
	must(t, s.Close())
	damages := map[string]func([]byte) []byte{
		"halved": func(b []byte) []byte { return b[:len(b)/2] },
		"empty":  func([]byte) []byte { return nil },
		"changed": func(b []byte) []byte {
			for i := len(b) / 3; i < min(len(b)/3+200, len(b)); i++ {
				b[i] ^= 0x5a
			}
			return b
		},
		"end changed": func(b []byte) []byte {
			for i := max(len(b)-20, 0); i < len(b); i++ {
				b[i] ^= 0x5a
			}
			return b
		},
	}
	files, err := os.ReadDir(whole)
	must(t, err)
	for _, file := range files {
		for name, damage := range damages {
			t.Run(file.Name()+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				must(t, os.CopyFS(dir, os.DirFS(whole)))
				text, err := os.ReadFile(filepath.Join(dir, file.Name()))
				must(t, err)
				must(t, os.WriteFile(filepath.Join(dir, file.Name()), damage(text), 0o600))
				c := child(t, "read", dir)
				c.Stderr = nil
				out, err := c.Output()
				if err != nil || len(out) == 0 {
					t.Errorf("the process ended: %v", err)
				}
				t.Logf("%s", bytes.TrimSpace(out))
			})
		}
	}
}

func fill2(t testing.TB, s store.Store, n int) {
	t.Helper()
	f := claim(t, s)
	must(t, f.Commit(t.Context(), batchOf(f, 5000, min(n, 250), 1, true)))
}

// read opens a state, reads all of it and says how that went.
func read(dir string) {
	defer func() {
		if p := recover(); p != nil {
			check(fmt.Errorf("panic: %v", p))
		}
	}()
	rows, entries, err := readAll(dir)
	fmt.Printf("%d rows, %d entries, error: %v\n", rows, entries, err)
}

func readAll(dir string) (rows, entries int, err error) {
	s, err := badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx := context.Background()
	f, err := s.Claim(ctx, "p")
	if err != nil {
		return 0, 0, err
	}
	for i := range 6000 {
		r, err := f.Seen(ctx, []sdk.Ref{appointment(i)})
		if err != nil {
			return rows, entries, err
		}
		rows += len(r)
	}
	o, err := s.Attach(ctx, "webhook.d")
	if err != nil {
		return rows, entries, err
	}
	for token, more := []byte(nil), true; more; more = token != nil {
		lanes, next, err := o.Lanes(ctx, token, 1000)
		if err != nil {
			return rows, entries, err
		}
		for _, lane := range lanes {
			head, err := o.Head(ctx, lane, 100)
			if err != nil {
				return rows, entries, err
			}
			entries += len(head)
		}
		token = next
	}
	return rows, entries, f.Commit(ctx, store.Batch{Base: f.Position().Commit})
}
