// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Badger's second compactor merges tables of level zero among themselves (fillTablesL0ToL0) when there are at least four, older than ten
// seconds, that the first is not at work on. It forgets a deletion then if no deeper level may hold the key, though what was deleted
// may stand in a table that the first compactor is just moving there: what was acknowledged would wait again (invariant 3). So no
// four may ever be found. In one process there are at most levelZeroMax that it made, and one more while it closes, which is young then;
// those that it found when it opened are young for as long as it runs (stayYoung).
const (
	levelZero    = 2 // tables, of a memtable each, that wait to be merged into the other levels
	levelZeroMax = 3 // with so many, no log becomes a table until some are merged; kills and Close may leave more behind
)

// young is the time of tables that stay young: that of their files, by which Badger tells how old they are. No clock that is set while the
// process runs, as at the start of a machine without one of its own, comes up with it.
var young = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// stayYoung lets the tables in dir be young.
func stayYoung(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".sst" {
			continue
		}
		if err := os.Chtimes(filepath.Join(dir, f.Name()), time.Time{}, young); err != nil {
			return err
		}
	}
	return nil
}
