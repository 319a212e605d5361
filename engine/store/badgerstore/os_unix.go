// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin || freebsd

package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rounds-engine/rounds/engine/store"
)

// minFiles is how many files Badger must still be able to make: logs and tables, while it compacts.
const minFiles = 64

// FreeSpace is what this user may still write. It is store.ErrFull where bytes are left and no files can be made.
func FreeSpace(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	if files := int64(s.Ffree); s.Files > 0 && files < minFiles {
		return 0, fmt.Errorf("%w: the file system of %s has %d inodes left and must keep %d: delete files there", store.ErrFull, dir, files, minFiles)
	}
	return uint64(max(s.Bavail, 0)) * uint64(s.Bsize), nil //nolint:unconvert // the types differ by system
}

// onDisk is what a file takes on disk: Badger's are sparse.
func onDisk(f fs.FileInfo) int64 {
	if s, ok := f.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return f.Size()
}

// locked tells whether Badger has dir open, in this or another process: it locks the directory.
func locked(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer unlock(f)
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// lock takes the lock that Badger takes.
func lock(dir string) (release func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, heldError(dir)
		}
		return nil, fmt.Errorf("lock the state in %s: %w", dir, err)
	}
	return func() { unlock(f) }, nil
}

// unlock gives a lock back also where a program that is just being started still has the file.
func unlock(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	_ = f.Close()
}

// syncDir makes a renaming in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
