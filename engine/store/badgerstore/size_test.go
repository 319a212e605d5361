// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

func TestTheSizeIsWhatTheStateTakesOnDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := badgerstore.Open(dir, badgerstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before, err := s.Size()
	if err != nil || before <= 0 {
		t.Fatalf("an empty state takes %d bytes: %v", before, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if after, err := s.Size(); err != nil || after < before+1<<20 {
		t.Errorf("with another MiB it takes %d bytes instead of %d: %v", after, before, err)
	}
	if before > 20<<20 {
		t.Errorf("an empty state takes %d bytes: the holes of sparse files are counted", before)
	}
}
