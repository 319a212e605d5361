// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// restoring stands in a directory while a backup is restored into it, so that what a crash leaves is not taken for a state.
const restoring = "RESTORING"

// Restore makes the state in dir, which has to be new or empty, from a backup. With an error, dir is as empty as before. A backup
// that is damaged or cut off anywhere is refused. The key has to be that of the state that was backed up; if that was not
// encrypted, a key encrypts the new one.
func Restore(dir string, r io.Reader, o Options) (err error) {
	o = withDefaults(o)
	stream, stateFormat, err := openBackup(r, o.EncryptionKey)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	if err := checkFree(dir); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory private (give one that this user owns): %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clearDir(dir))
		}
	}()
	if err := os.WriteFile(filepath.Join(dir, restoring), nil, 0o600); err != nil {
		return fmt.Errorf("begin to restore: %w", err)
	}
	if err := fill(dir, stream, o); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, formatTemp), formatText(stateFormat), 0o600); err != nil {
		return fmt.Errorf("end the state: %w", err)
	}
	if err := becomesFormat(dir, formatTemp); err != nil {
		return fmt.Errorf("end the state: %w", err)
	}
	return os.Remove(filepath.Join(dir, restoring))
}

// checkFree refuses a directory that holds anything but what an earlier attempt left, which it removes.
func checkFree(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into the state directory: %w", err)
	}
	of := func(name string) bool {
		return slices.ContainsFunc(files, func(f fs.DirEntry) bool { return f.Name() == name })
	}
	switch {
	case len(files) == 0, len(files) == 1 && of(lostFound):
		return nil
	case of(restoring) && !of(formatFile):
		return clearDir(dir)
	}
	return fmt.Errorf("%s holds files: a backup is restored into an empty or a new directory", dir)
}

// fill writes all keys of a backup into a new database.
func fill(dir string, stream io.Reader, o Options) (err error) {
	s := newStore(dir, o)
	if err := s.forMore(s.look()); err != nil {
		return err
	}
	db, err := openBadger(dir, o)
	if err != nil {
		return err
	}
	s.uses(db)
	defer func() {
		if closed := db.Close(); err == nil && closed != nil {
			err = fmt.Errorf("close the state in %s: %w", dir, closed)
		}
	}()
	in := bufio.NewReaderSize(stream, 1<<16)
	batch, size, secret := db.NewTransaction(true), 0, false
	defer func() { batch.Discard() }()
	write := func() error {
		err := batch.Commit()
		batch, size = db.NewTransaction(true), 0
		if err != nil {
			return fmt.Errorf("write the state in %s: %w", dir, err)
		}
		return nil
	}
	for {
		key, value, err := next(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		secret = secret || string(key) == string(keyMeta("secret"))
		if n := len(key) + len(value) + 64; size+n > group || size == 0 {
			if err := s.forMore(s.look()); err != nil {
				return err
			}
			if size > 0 {
				if err := write(); err != nil {
					return err
				}
			}
		}
		size += len(key) + len(value) + 64
		if err := batch.Set(key, value); err != nil {
			return fmt.Errorf("write the state in %s: %w", dir, err)
		}
	}
	if !secret {
		return errBackup
	}
	if err := write(); err != nil {
		return err
	}
	return s.syncAll()
}

// next reads a key and its value. It is io.EOF only at the end of the backup.
func next(in *bufio.Reader) (key, value []byte, err error) {
	if _, err := in.Peek(1); err != nil {
		return nil, nil, err
	}
	part := func(most uint64) ([]byte, error) {
		n, err := binary.ReadUvarint(in)
		if err == nil && n > most {
			return nil, errBackup
		}
		if err != nil {
			return nil, cutOff(err)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, cutOff(err)
		}
		return b, nil
	}
	if key, err = part(1 << 16); err != nil {
		return nil, nil, err
	}
	if len(key) == 0 {
		return nil, nil, errBackup
	}
	value, err = part(1 << 20)
	return key, value, err
}

// clearDir removes what Restore made.
func clearDir(dir string) error {
	files, err := os.ReadDir(dir)
	files = slices.DeleteFunc(files, func(f fs.DirEntry) bool { return f.Name() == lostFound })
	// The file that says what the others are goes last.
	slices.SortFunc(files, func(a, b fs.DirEntry) int {
		if a.Name() == restoring {
			return 1
		}
		if b.Name() == restoring {
			return -1
		}
		return 0
	})
	for _, f := range files {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
	}
	return err
}
