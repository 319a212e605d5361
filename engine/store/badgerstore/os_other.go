// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin && !freebsd

package badgerstore

import (
	"io/fs"
	"math"
)

// FreeSpace is not watched here.
func FreeSpace(string) (uint64, error) { return math.MaxUint64, nil }

// onDisk is the length of a file.
func onDisk(f fs.FileInfo) int64 { return f.Size() }

// locked leaves it to Badger to notice.
func locked(string) bool { return false }

// lock leaves it to the caller that nobody has the state open.
func lock(string) (unlock func(), err error) { return func() {}, nil }

// syncDir is left to the system.
func syncDir(string) error { return nil }
