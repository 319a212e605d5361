// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestALineThatFoundNoRoomIsTakenBack: the next line would be written behind what the disk took of it.
func TestALineThatFoundNoRoomIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("rounds-test", dir, "tmpfs", 0, "mode=0700,size=8k"); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("a file system can be mounted by root only, and not in every container (%v)", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	f, err := os.OpenFile(filepath.Join(dir, AuditLog), os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := append(bytes.Repeat([]byte("x"), 999), '\n')
	room := os.Getpagesize() * 2 / len(line)
	for range room {
		if err := appendWhole(f, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := appendWhole(f, line); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("a line beyond the end of the disk: %v", err)
	}
	if err := unix.Mount("rounds-test", dir, "tmpfs", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if err := appendWhole(f, line); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, bytes.Repeat(line, room+1)) {
		t.Errorf("%d bytes, want %d lines of %d: %v", len(got), room+1, len(line), err)
	}
}
