// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/rounds-engine/rounds/engine/store"
)

// ErrNotClosed: the state was last written by a process that was killed, and this can only be mended by writing.
var ErrNotClosed = errors.New("the process that wrote it last was killed")

var errReadOnly = errors.New("the state is open for reading only")

// openReadOnly opens the state without the committer and without tidying: nobody writes.
func openReadOnly(dir string, o Options) (*Store, error) {
	text, err := os.ReadFile(filepath.Join(dir, formatFile))
	if err != nil {
		return nil, fmt.Errorf("read the form of the state: %w", err)
	}
	if _, err := checkFormat(dir, string(text)); err != nil {
		return nil, err
	}
	if locked(dir) { // before the logs, which the holder has open
		return nil, heldError(dir)
	}
	// Badger refuses such a log only after it has begun to read it.
	switch logs, err := logsIn(dir); {
	case err != nil:
		return nil, fmt.Errorf("look into the state directory: %w", err)
	case len(logs) > 0:
		return nil, fmt.Errorf("the state in %s can't be read without being changed: %w: start rounds run on it and stop it", dir, ErrNotClosed)
	}
	db, err := openBadger(dir, o)
	if err != nil {
		return nil, err
	}
	s := newStore(dir, o)
	s.uses(db)
	close(s.stopped) // there is no committer
	err = s.load()
	if err == nil && s.secret == nil {
		err = fmt.Errorf("%w: what every state holds is missing: restore it from a backup", errCorrupt)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the state in %s: %w", dir, err), db.Close())
	}
	return s, nil
}

// lookAt is Claim without the write. A pipeline that the state does not know has the number 0, which is nobody's.
func (s *Store) lookAt(ctx context.Context, pipeline string) (store.Feed, error) {
	f := &feed{s: s, name: pipeline, lost: make(chan struct{})}
	f.pipeline, _ = s.names.id(pipelineName, pipeline) // no committer changes the names
	err := s.view(ctx, func(txn *badger.Txn) (err error) {
		f.position, err = position(txn, f.pipeline)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at pipeline %s: %w", pipeline, err)
	}
	return f, nil
}
