// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// Size is what the state takes on disk, in bytes.
func (s *Store) Size() (int64, error) {
	var sum int64
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var f fs.FileInfo
			if f, err = d.Info(); err == nil {
				sum += onDisk(f)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Badger has removed it meanwhile
		}
		return err
	})
	return sum, err
}
