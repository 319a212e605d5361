// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// disk is the directory of a state, and what a loss of power would leave of it. Badger's logs are written by memory maps, which
// the system takes to the disk when it likes, and for sure when they are synced. Everything else Badger syncs itself before it
// relies on it.
type disk struct {
	dir     string
	synced  map[string]int64  // up to where each log is surely on the disk
	removed map[string][]byte // logs that are removed, or will be, of which that need not be on the disk
	tables  []string          // as the state was opened
}

const (
	logMost = 32 << 20 // a log's length, of which most is not written
	chunk   = 64 << 10 // zeros of this length end what is written
	sector  = 512
	pageLen = 4096
)

// isLog says whether a file is a log that the committer syncs.
func isLog(name string) bool { return filepath.Ext(name) == ".mem" }

func newDisk(dir string) *disk {
	return &disk{dir: dir, synced: map[string]int64{}, removed: map[string][]byte{}}
}

// opened takes note that a state is opened in the directory: its logs become tables, and are removed.
func (d *disk) opened() (err error) {
	clear(d.removed)
	if d.tables, err = filepath.Glob(filepath.Join(d.dir, "*.sst")); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(d.dir, "*.mem"))
	for _, name := range names {
		data, unread := written(name)
		err = errors.Join(err, unread)
		base := filepath.Base(name)
		d.removed[base] = data[:min(int64(len(data)), d.synced[base])]
	}
	return err
}

// done takes note of a sync, while the committer waits.
func (d *disk) done(step badgerstore.Step) error {
	if step.Kind == badgerstore.StepSyncDir {
		maps.DeleteFunc(d.removed, func(name string, _ []byte) bool {
			_, err := os.Stat(filepath.Join(d.dir, name))
			return errors.Is(err, fs.ErrNotExist)
		})
		return nil
	}
	log := step.Log
	if log == "" {
		names, err := filepath.Glob(filepath.Join(d.dir, "*.mem"))
		if err != nil || len(names) == 0 {
			return errors.Join(err, errors.New("there is no log"))
		}
		log = slices.Max(names)
	}
	data, err := written(log)
	if errors.Is(err, fs.ErrNotExist) { // it is a table now
		return nil
	}
	d.synced[filepath.Base(log)] = int64(len(data))
	return err
}

// written reads a file as far as it is written; the rest of a sparse one is zeros.
func written(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []byte
	for {
		part := make([]byte, chunk)
		n, err := io.ReadFull(f, part)
		if n == 0 || len(bytes.Trim(part[:n], "\x00")) == 0 {
			return bytes.TrimRight(all, "\x00"), nil
		}
		all = append(all, part[:n]...)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return bytes.TrimRight(all, "\x00"), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// killed copies the directory as the end of the process leaves it: all that was written is there.
func (d *disk) killed(to string) (*disk, error) {
	after := newDisk(to)
	maps.Copy(after.synced, d.synced)
	return after, d.copy(to, func(_ string, data []byte) ([]byte, bool) { return data, true })
}

// lostPower copies the directory as a loss of power may leave it, and says in what way.
func (d *disk) lostPower(to string, r *rand.Rand) (*disk, string, error) {
	after := newDisk(to)
	var how []string
	err := d.copy(to, func(name string, data []byte) ([]byte, bool) {
		switch {
		case isLog(name):
			sure, known := d.synced[name]
			kept, way := tear(data, int(min(sure, int64(len(data)))), known, r)
			how = append(how, name+" "+way)
			after.synced[name] = int64(len(kept))
			return kept, way != missing
		case strings.HasSuffix(name, ".vlog") && r.IntN(4) == 0: // it stays empty, so nobody syncs it
			how = append(how, name+" zeros")
			return nil, true
		}
		return data, true
	})
	for _, name := range slices.Sorted(maps.Keys(d.removed)) {
		if d.compacted() {
			break
		}
		if _, gone := os.Stat(filepath.Join(d.dir, name)); gone == nil || r.IntN(2) == 0 {
			continue
		}
		how = append(how, name+" is back")
		err = errors.Join(err, writeSparse(filepath.Join(to, name), d.removed[name], logMost))
		after.synced[name] = int64(len(d.removed[name]))
	}
	return after, strings.Join(how, ", "), err
}

// compacted says whether tables were compacted since the state was opened. Badger syncs the directory then, before anything of the
// old ones is gone: else what a log that is back says might be newer than all there is.
func (d *disk) compacted() bool {
	now, err := filepath.Glob(filepath.Join(d.dir, "*.sst"))
	if err != nil || len(now) < len(d.tables) || !slices.Equal(now[:len(d.tables)], d.tables) {
		return true
	}
	made := now[len(d.tables):]
	for i := 1; i < len(made); i++ { // numbers are given one after the other
		if numberOf(made[i]) != numberOf(made[i-1])+1 {
			return true
		}
	}
	return len(made) > 0 && len(d.tables) > 0 && numberOf(made[0]) != numberOf(d.tables[len(d.tables)-1])+1
}

func numberOf(table string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(table), ".sst"))
	return n
}

const missing = "missing"

// tear gives what may be left of a log of which the first so many bytes are synced. One that was never synced may be missing.
func tear(data []byte, sure int, synced bool, r *rand.Rand) (left []byte, way string) {
	if !synced && r.IntN(3) == 0 {
		return nil, missing
	}
	loose := len(data) - sure
	if loose == 0 {
		return data, "whole"
	}
	end := sure + r.IntN(loose+1)
	switch left = slices.Clone(data[:end]); r.IntN(5) {
	case 0:
		return slices.Clone(data[:sure]), "as synced"
	case 1:
		return slices.Clone(data), "whole"
	case 2: // pages go to the disk in any order
		left = slices.Clone(data)
		for at := sure; at < len(left); at = (at/pageLen + 1) * pageLen {
			if r.IntN(2) == 0 {
				clear(left[at:min(len(left), (at/pageLen+1)*pageLen)])
			}
		}
		return left, "with pages missing"
	case 3:
		// The first sector has the header, which is written once: it is there, or zeros. Should it hold anything else, the state is
		// refused as damaged, since what was synced into such a log would be lost in silence.
		for i := max(sure, sector, (end-1)/sector*sector); i < end; i++ {
			left[i] = byte(r.Uint32())
		}
		return left, "with its last sector garbled"
	}
	return left, "cut"
}

// copy copies the directory, each file as change has it, unless it says that the file is missing. Nothing writes meanwhile.
func (d *disk) copy(to string, change func(name string, data []byte) ([]byte, bool)) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return err
		}
		name := filepath.Join(d.dir, f.Name())
		read := os.ReadFile
		if info.Size() > 512<<10 && filepath.Ext(name) != ".sst" {
			read = written
		}
		data, err := read(name)
		if err != nil {
			return err
		}
		data, there := change(f.Name(), data)
		if !there {
			continue
		}
		if err := writeSparse(filepath.Join(to, f.Name()), data, info.Size()); err != nil {
			return err
		}
	}
	return nil
}

func writeSparse(name string, data []byte, size int64) error {
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return err
	}
	return os.Truncate(name, max(size, int64(len(data))))
}
