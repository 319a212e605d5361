// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rounds-engine/rounds/engine/store"
)

// MinFree is how much free space, in bytes, commits need where nothing else is said.
const MinFree = 256 << 20

// ErrGone: the directory of the state was removed, or another was put in its place, while it was open.
var ErrGone = errors.New("it was removed or replaced while it was in use")

// room is what is free on the disk, looked up before each transaction. Badger writes by memory maps, and where the disk is full the
// system kills a process that does so, by SIGBUS. So what brings more into the state, as commits do, is refused below MinFree. What lets
// entries leave goes on down to the half of it; the rest is left to Badger, which still writes tables and compacts what it has.
type room struct {
	free uint64
	err  error
}

func (s *Store) look() room {
	free, err := s.opt.FreeSpace(s.dir)
	return room{free, err}
}

// forMore is an error where nothing more may come into the state.
func (s *Store) forMore(r room) error { return s.least(r, s.opt.MinFree, "polling goes on then") }

// forAny is an error where nothing at all may be written.
func (s *Store) forAny(r room) error { return s.least(r, s.opt.MinFree/2, "all goes on then") }

func (s *Store) least(r room, keep uint64, then string) error {
	switch {
	case errors.Is(r.err, store.ErrFull):
		return fmt.Errorf("%w; %s", r.err, then)
	case r.err != nil:
		return fmt.Errorf("look for free space in %s: %w", s.dir, r.err)
	case r.free < keep:
		return fmt.Errorf("%w: %s has %d MiB free and must keep %d MiB: make room; %s", store.ErrFull, s.dir, r.free>>20, keep>>20, then)
	}
	return nil
}

// present is an error when what is written would be lost, since the directory that the state was opened in is no longer there: its
// files are open, and so can be written to as if nothing had happened.
func (s *Store) present() error {
	now, err := os.Stat(s.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, s.opened) {
		return fmt.Errorf("the directory of the state, %s: %w", s.dir, ErrGone)
	}
	return nil
}
