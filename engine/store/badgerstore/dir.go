// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/store"
)

// The form of the state is told by a file, which is read before Badger touches the directory: one that isn't ours stays as
// it is, and so does one that a newer rounds wrote. The file has another name until the state is made.
const (
	formatFile   = "FORMAT"
	formatBegun  = "FORMAT.new"
	formatPrefix = "rounds state, format "
	format       = 1
)

// prepare makes dir if need be, and makes sure that it is ours and private. It tells whether there is a state already.
func prepare(dir string) (begun bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("make the state directory: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, formatFile))
	switch {
	case err == nil:
		begun, err = true, checkFormat(dir, string(text))
	case errors.Is(err, fs.ErrNotExist):
		err = checkEmpty(dir)
	}
	if err != nil {
		return false, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false, fmt.Errorf("look at the state directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return false, fmt.Errorf("make the state directory private (give one that this user owns): %w", err)
		}
	}
	if begun {
		return true, nil
	}
	err = os.WriteFile(filepath.Join(dir, formatBegun), fmt.Appendf(nil, "%s%d\n", formatPrefix, format), 0o600)
	if err != nil {
		return false, fmt.Errorf("begin the state: %w", err)
	}
	return false, nil
}

// Exists says whether dir holds a state; one that can't be looked at may be there.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, formatFile))
	return !errors.Is(err, fs.ErrNotExist)
}

func checkFormat(dir, text string) error {
	number, ok := strings.CutPrefix(strings.TrimSpace(text), formatPrefix)
	n, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || n < 1:
		return fmt.Errorf("%s is damaged: it should say %q: restore the state from a backup",
			filepath.Join(dir, formatFile), formatPrefix+strconv.Itoa(format))
	case n > format:
		return fmt.Errorf("the state in %s has format %d, and this rounds knows formats up to %d: use the rounds that wrote it, or a newer one",
			dir, n, format)
	}
	return nil
}

// checkEmpty refuses a directory with files of others.
func checkEmpty(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into the state directory: %w", err)
	}
	for _, f := range files {
		if f.Name() == formatBegun {
			return nil // ours, stopped while it was made
		}
	}
	for _, f := range files {
		if f.Name() != "lost+found" { // stands in every fresh volume
			return fmt.Errorf("%s holds other files and no state of rounds: give an empty or a new directory", dir)
		}
	}
	return nil
}

// finishFormat is called when the state is made.
func finishFormat(dir string) error {
	f, err := os.Open(filepath.Join(dir, formatBegun))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), os.Rename(filepath.Join(dir, formatBegun), filepath.Join(dir, formatFile)))
}

// heldError names the process that has the state open, as Badger keeps it beside its lock.
func heldError(dir string) error {
	holder := "another process"
	if pid, err := os.ReadFile(filepath.Join(dir, "LOCK")); err == nil {
		holder = "process " + strings.TrimSpace(string(pid))
	}
	return fmt.Errorf("the state in %s is in use by %s: stop it, or give another directory: %w", dir, holder, store.ErrHeld)
}

// openError says what a person can do about an error of badger.Open, which wraps nothing.
func openError(dir string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "Cannot acquire directory lock"), strings.Contains(text, "Cannot create lock file"):
		return heldError(dir)
	case errors.Is(err, badger.ErrEncryptionKeyMismatch), strings.Contains(text, badger.ErrEncryptionKeyMismatch.Error()):
		return fmt.Errorf("the state in %s can't be read with this encryption key: give the key that it was made with, none if it was made without", dir)
	}
	return fmt.Errorf("open the state in %s: %w", dir, err)
}

// logger passes Badger's words on. They are about files and levels; a key that is quoted holds hashes and numbers.
type logger struct{ to *slog.Logger }

func (l logger) log(level slog.Level, format string, args []any) {
	if l.to.Enabled(context.Background(), level) {
		l.to.Log(context.Background(), level, "badger", "says", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (l logger) Errorf(format string, args ...any)   { l.log(slog.LevelWarn, format, args) }
func (l logger) Warningf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }
func (l logger) Infof(format string, args ...any)    { l.log(slog.LevelDebug, format, args) }
func (l logger) Debugf(format string, args ...any)   { l.log(slog.LevelDebug, format, args) }
