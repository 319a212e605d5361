// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// checkTables looks at the ends of the tables before Badger opens them: Badger opens tables in goroutines of its own, and a
// damaged end panics there, where nobody can recover. A table ends with its index, the length of that, a checksum of the
// index, and the length of that (see initIndex in Badger's table package); lengths are four bytes, big-endian.
//
// Only tables that the manifest names are looked at. Badger removes the others, which a crash left half-written.
func checkTables(opt badger.Options) error {
	f, err := os.Open(filepath.Join(opt.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new state
	}
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, opt.ExternalMagicVersion, opt)
	if err != nil {
		return fmt.Errorf("the state in %s is damaged: %w: restore it from a backup", opt.Dir, err)
	}
	for id := range manifest.Tables {
		name := table.NewFilename(id, opt.Dir)
		if err := checkTable(name); err != nil {
			return fmt.Errorf("%s is damaged: %w: restore the state from a backup", name, err)
		}
	}
	return nil
}

func checkTable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	before := func(n int64) ([]byte, error) { // the n bytes before those read last
		if at -= n; at < 0 || n == 0 {
			return nil, errors.New("its end is missing")
		}
		b := make([]byte, n)
		_, err := f.ReadAt(b, at)
		return b, err
	}
	sized := func() ([]byte, error) {
		n, err := before(4)
		if err != nil {
			return nil, err
		}
		return before(int64(binary.BigEndian.Uint32(n)))
	}
	sum, err := sized()
	if err != nil {
		return err
	}
	index, err := sized()
	if err != nil {
		return err
	}
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil || pb.Checksum_Algorithm_name[int32(want.Algo)] == "" {
		return errors.New("its checksum is unreadable")
	}
	if y.VerifyChecksum(index, &want) != nil {
		return errors.New("its index does not match its checksum")
	}
	return nil
}

// checkBlocks reads all tables: Badger's iterators and look-ups pass a damaged block in silence, as if its keys had never
// been written.
func checkBlocks(db *badger.DB) (err error) {
	defer func() {
		if p := recover(); p != nil { // Badger's, on a damaged block
			err = errors.New("a table does not match its checksums")
		}
	}()
	return db.VerifyChecksum()
}
