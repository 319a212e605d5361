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

	"github.com/rounds-engine/rounds/engine/store"
)

// The form of the state is told by a file, which is read before Badger touches the directory: one that isn't ours stays as
// it is, and so does one that a newer rounds wrote. The file has another name until the state is made.
const (
	formatFile   = "FORMAT"
	formatBegun  = "FORMAT.new"
	formatPrefix = "rounds state, format "
	lostFound    = "lost+found" // stands in every fresh volume
	formatTemp   = "FORMAT.tmp"
	// 1: as the first release wrote it. 2: entries and dead letters have a second form (codec.go), and there are delivered entries and
	// pauses. 3: the content of entries may have a key of its own (content.go), snapshots and dead letters are packed. All forms are read,
	// so nothing is rewritten when a state of an older format is opened; but from then on a rounds that does not know the newest must not
	// open it.
	format = 3
)

// prepare makes dir if need be, and makes sure that it is ours and private. It tells the format of the state that is there, 0 when
// none is.
func prepare(dir string) (found int, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("make the state directory: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, formatFile))
	switch {
	case err == nil:
		found, err = checkFormat(dir, string(text))
	case errors.Is(err, fs.ErrNotExist):
		err = checkEmpty(dir)
	}
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return 0, fmt.Errorf("look at the state directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return 0, fmt.Errorf("make the state directory private (give one that this user owns): %w", err)
		}
	}
	if found > 0 {
		return found, nil
	}
	err = os.WriteFile(filepath.Join(dir, formatBegun), formatText(format), 0o600)
	if err != nil {
		return 0, fmt.Errorf("begin the state: %w", err)
	}
	return 0, nil
}

func formatText(n int) []byte { return fmt.Appendf(nil, "%s%d\n", formatPrefix, n) }

// Exists says whether dir holds a state; one that can't be looked at may be there.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, formatFile))
	return !errors.Is(err, fs.ErrNotExist)
}

func checkFormat(dir, text string) (int, error) {
	number, ok := strings.CutPrefix(strings.TrimSpace(text), formatPrefix)
	n, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || n < 1:
		return 0, fmt.Errorf("%s is damaged: it should say %q: restore the state from a backup",
			filepath.Join(dir, formatFile), formatPrefix+strconv.Itoa(format))
	case n > format:
		return 0, fmt.Errorf("the state in %s has format %d, and this rounds knows formats up to %d: use the rounds that wrote it, or a newer one",
			dir, n, format)
	}
	return n, nil
}

// checkEmpty refuses a directory with files of others.
func checkEmpty(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into the state directory: %w", err)
	}
	for _, f := range files {
		switch f.Name() {
		case formatBegun:
			return nil // ours, stopped while it was made
		case restoring:
			return fmt.Errorf("in %s a backup was begun to be restored, and not finished: restore it again", dir)
		}
	}
	for _, f := range files {
		if f.Name() != lostFound {
			return fmt.Errorf("%s holds other files and no state of rounds: give an empty or a new directory", dir)
		}
	}
	return nil
}

// finishFormat is called when the state is made.
func finishFormat(dir string) error { return becomesFormat(dir, formatBegun) }

// raiseFormat is called before anything is written to a state of an older format.
func raiseFormat(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, formatTemp), formatText(format), 0o600); err != nil {
		return err
	}
	return becomesFormat(dir, formatTemp)
}

// becomesFormat lets a file be the one that tells the format, at once and to stay.
func becomesFormat(dir, name string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(filepath.Join(dir, name), filepath.Join(dir, formatFile)), syncDir(dir))
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
