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
	"testing"

	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

// filesIn gives the content of all files of a directory.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		files[e.Name()] = string(data)
	}
	return files
}

func TestAStateThatIsOnlyReadTellsAllAndStaysAsItIs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	f, err := s.Claim(t.Context(), "p")
	must(t, err)
	must(t, f.Commit(t.Context(), batchOf(f, 0, 100, 1, true)))
	must(t, s.SaveState(t.Context(), "rest.clinic", []byte("token")))
	want, secret := f.Position(), s.Secret()
	must(t, s.Close())
	before := filesIn(t, dir)

	s = open(t, dir, badgerstore.Options{Existing: true, ReadOnly: true})
	f, err = s.Claim(t.Context(), "p")
	must(t, err)
	if got := f.Position(); got.Commit != want.Commit || !bytes.Equal(got.Watermark, want.Watermark) {
		t.Errorf("the position is %+v, want %+v", got, want)
	}
	rows, err := f.Seen(t.Context(), []sdk.Ref{appointment(3), appointment(99), appointment(100)})
	must(t, err)
	if len(rows) != 2 {
		t.Errorf("%d rows, want 2", len(rows))
	}
	missing, _, err := f.Unmarked(t.Context(), 1, nil, 1000)
	must(t, err)
	if len(missing) != 100 {
		t.Errorf("%d rows are unmarked, want 100", len(missing))
	}
	other, err := s.Claim(t.Context(), "unknown")
	must(t, err)
	if rows, err := other.Seen(t.Context(), []sdk.Ref{appointment(3)}); err != nil || len(rows) != 0 || other.Position().Commit != 0 {
		t.Errorf("an unknown pipeline has %d rows (%v)", len(rows), err)
	}
	saved, err := s.LoadState(t.Context(), "rest.clinic")
	must(t, err)
	if string(saved) != "token" || !bytes.Equal(s.Secret(), secret) {
		t.Error("what adapters saved, or the secret, is another")
	}
	for what, err := range map[string]error{
		"commit": f.Commit(t.Context(), batchOf(f, 0, 1, 2, false)), "save": s.SaveState(t.Context(), "rest.clinic", nil),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	must(t, f.Release(t.Context()))
	must(t, s.Close())
	if !maps.Equal(before, filesIn(t, dir)) {
		t.Error("a file was changed")
	}
	open(t, dir, badgerstore.Options{})
}

func TestAStateThatCanNotBeReadWithoutAChangeIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, badgerstore.Options{})
	readOnly := badgerstore.Options{Existing: true, ReadOnly: true}
	if _, err := badgerstore.Open(dir, readOnly); !errors.Is(err, store.ErrHeld) {
		t.Errorf("a state that is in use: %v", err)
	}
	f, err := s.Claim(t.Context(), "p")
	must(t, err)
	must(t, f.Commit(t.Context(), batchOf(f, 0, 100, 1, true)))
	killed := t.TempDir() // what a kill would leave
	must(t, os.CopyFS(killed, os.DirFS(dir)))
	before := filesIn(t, killed)
	if _, err := badgerstore.Open(killed, readOnly); !errors.Is(err, badgerstore.ErrNotClosed) {
		t.Errorf("a state that was not closed: %v", err)
	}
	if !maps.Equal(before, filesIn(t, killed)) {
		t.Error("a file was changed")
	}
	if _, err := badgerstore.Open(filepath.Join(dir, "none"), readOnly); err == nil {
		t.Error("a state that does not exist was opened")
	}
}
