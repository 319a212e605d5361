// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package badgerstore keeps the engine's state in an embedded Badger database: the default, for one engine on one machine.
//
// All writes pass one goroutine, the committer, which puts what waits (commits of all pipelines, acknowledgements of all
// destinations) into as few transactions as fit and syncs once for each that holds more than acknowledgements and the times of
// polls that brought nothing. So numbers
// of entries are given in the order in which entries become visible, and ownership needs no locks: the directory's lock
// keeps other processes out, and inside the process a claim is a request to the committer like any other.
//
// Badger runs without its own syncing of writes, since an acknowledgement must survive the end of the process (it is in
// the memory-mapped log, so it does) but a sync for each would cost a third of the engine's speed. That rests on two
// things that the code must keep: nobody but the committer writes, so that what is synced after a transaction is the log
// which holds it; and no value ever enters Badger's value log, whose order of syncing against that of the table log would
// matter (see tx.set, which cuts large values into parts).
package badgerstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/rounds-engine/rounds/engine/store"
)

// Sizes. Badger bounds a transaction to 15 % of the memtable, so all follows from the memtable.
const (
	memtable     = 8 << 20
	transaction  = memtable * 15 / 100 // what Badger takes in one transaction
	group        = transaction * 9 / 10
	maxItems     = 512
	maxBytes     = 16 << 20
	maxRefs      = 1024
	wholeValue   = 512 << 10 // longer values are cut into parts; Badger's bound for values outside the value log is 1 MiB
	crowdedValue = 1 << 10   // the same in a batch that does not fit one transaction: two of these for each of maxItems do
)

// Options of Open. The zero value is good.
type Options struct {
	Logger *slog.Logger // nil: slog.Default()
	// Existing asks for a state that was made before; without one, Open fails and leaves nothing behind.
	Existing bool
	// ReadOnly changes no file, and implies Existing: Claim gives a handle that only reads, whatever writes fails. The state
	// must have been closed by whoever wrote it last, since what a kill left has to be mended by writing (ErrNotClosed). One of an
	// older format is read, and stays of that format.
	ReadOnly bool
	// Limits lower the limits of the store, for tests; zero fields leave them.
	Limits store.Limits
	// EncryptionKey of 16, 24 or 32 bytes encrypts the state at rest, and its backups. It must be given when the state is made, and
	// ever after; Rekey changes it.
	EncryptionKey []byte
	// Keep is how long delivered notifications are kept: 0, not at all; those that are there already stay for the time that held
	// when they were delivered. When it is shortened, the shorter time holds for them too.
	Keep time.Duration
	// KeepBytes bounds what delivered notifications take, as they are stored; the oldest give way, within a minute or so. 0: 1 GiB.
	KeepBytes int64
	// MinFree is the free space in bytes under which commits are refused with store.ErrFull, and below half of it all writes. 0: MinFree.
	MinFree uint64
	// FreeSpace tells how many bytes are free for dir. nil: asks the operating system.
	FreeSpace func(dir string) (uint64, error)
	// Indexed is the number of entries of a destination up to which their places are kept in memory; beyond it they are
	// looked up on disk. 0: 65,536, which take about 8 MB.
	Indexed int
	// Around, for tests, is put around each step by which the state is written, and may keep it from being done, or fail after it. The
	// committer waits meanwhile. nil: nothing is.
	Around func(s Step, do func() error) error
}

// Step is one step of writing.
type Step struct {
	Kind StepKind
	Log  string // path of the log that is synced, where it is not the one in use
}

// StepKind says what a step does.
type StepKind string

// The kinds.
const (
	StepWrite StepKind = "write" // a transaction, to the log in use
	StepSync  StepKind = "sync"  // of the log
	// StepSyncDir is the sync of the directory, for the name of a new log.
	StepSyncDir StepKind = "sync directory"
)

// Store is the state in one directory.
type Store struct {
	db      *badger.DB
	sync    func() error            // of db; tests make it fail
	syncLog func(name string) error // of an older log
	dir     string
	opened  os.FileInfo // dir, to tell it from another in its place
	opt     Options
	limits  store.Limits
	secret  []byte

	queue   chan *request
	stop    chan struct{} // closed: the committer ends
	stopped chan struct{} // closed: the committer has ended

	// Only the committer writes these, under mu; others read them under mu.
	mu       sync.RWMutex
	names    names
	depths   depths
	letters  map[uint32]int   // dead letters by pipeline
	history  map[uint32]int64 // bytes of delivered entries by destination
	feeds    map[uint32]*feed
	outboxes map[uint32]*outbox

	// Only the committer uses these.
	last   uint64        // number given last
	named  string        // log whose name is known to be on disk
	oldest []byte        // key before which no delivered entry stands; nil: the first key
	failed error         // a write or a sync failed: what is on disk is not known, so nothing more is written
	dead   chan struct{} // closed then

	work tidying // what maintain goes by

	alive   sync.RWMutex // read-locked by every use of db outside the committer, locked by Close
	closed  bool
	helpers sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

var errClosed = fmt.Errorf("the state is closed: %w", store.ErrFenced)

// Open opens the state in dir, which is made if it does not exist. It returns store.ErrHeld when another process has it
// open.
func Open(dir string, o Options) (*Store, error) {
	o = withDefaults(o)
	if o.Existing && !Exists(dir) {
		return nil, fmt.Errorf("there is no state in %s", dir)
	}
	if o.ReadOnly {
		return openReadOnly(dir, o)
	}
	found, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	s := newStore(dir, o)
	if err := s.forAny(s.look()); err != nil {
		return nil, fmt.Errorf("the state can't be opened: %w", err)
	}
	if s.opened, err = os.Stat(dir); err != nil {
		return nil, fmt.Errorf("look at the state directory: %w", err)
	}
	db, err := openBadger(dir, o)
	if err != nil {
		return nil, err
	}
	s.uses(db)
	err = s.load()
	if err == nil && s.secret == nil {
		err = s.beginState(found > 0)
	}
	switch {
	case err != nil || found == format:
	case found == 0:
		o.Logger.Info("a new state was made", "directory", dir)
		err = finishFormat(dir)
	default:
		o.Logger.Info("the state is of an older format and is taken over; an older rounds can't open it from now on",
			"directory", dir, "format", found, "now", format)
		err = raiseFormat(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the state in %s: %w", dir, err), db.Close())
	}
	go s.commitLoop()
	s.helpers.Go(s.maintain)
	return s, nil
}

func withDefaults(o Options) Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MinFree == 0 {
		o.MinFree = MinFree
	}
	if o.KeepBytes == 0 {
		o.KeepBytes = 1 << 30
	}
	if o.FreeSpace == nil {
		o.FreeSpace = FreeSpace
	}
	if o.Indexed == 0 {
		o.Indexed = 1 << 16
	}
	return o
}

func newStore(dir string, o Options) *Store {
	s := &Store{
		dir: dir, opt: o, limits: lower(o.Limits),
		queue: make(chan *request, 256), stop: make(chan struct{}), stopped: make(chan struct{}), dead: make(chan struct{}),
		names: newNames(), depths: depths{}, letters: map[uint32]int{}, history: map[uint32]int64{}, feeds: map[uint32]*feed{}, outboxes: map[uint32]*outbox{},
	}
	s.syncLog = func(name string) error {
		return s.step(Step{Kind: StepSync, Log: name}, func() error { return syncFile(name) })
	}
	return s
}

func (s *Store) step(step Step, do func() error) error {
	if s.opt.Around == nil {
		return do()
	}
	return s.opt.Around(step, do)
}

func (s *Store) uses(db *badger.DB) {
	s.db, s.sync = db, func() error { return s.step(Step{Kind: StepSync}, db.Sync) }
}

// Limits are those of a state with default options.
func Limits() store.Limits { return lower(store.Limits{}) }

func lower(l store.Limits) store.Limits {
	at := func(want, most int) int {
		if want <= 0 {
			return most
		}
		return min(want, most)
	}
	return store.Limits{Items: at(l.Items, maxItems), Bytes: at(l.Bytes, maxBytes), Refs: at(l.Refs, maxRefs)}
}

// openBadger opens the database with settings for many small uses. It turns what Badger panics at into an error.
func openBadger(dir string, o Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("the state in %s is damaged: %v: restore it from a backup", dir, p)
		}
	}()
	opt := badger.DefaultOptions(dir).
		WithLogger(logger{o.Logger}).
		WithSyncWrites(false). // see the package's comment
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithNumGoroutines(1).
		WithNumCompactors(2). // Badger's least
		WithMemTableSize(memtable).
		WithBaseTableSize(memtable). // so that what tables of all levels are built in, several at a time, can be taken for the next
		WithNumMemtables(1).
		WithNumLevelZeroTables(levelZero).
		WithNumLevelZeroTablesStall(levelZeroMax).
		WithValueThreshold(1 << 20).
		WithValueLogFileSize(1 << 20). // stays empty
		// What is large is compressed once, by encoder.pack, and not again with every table that it comes into. So blocks are read where
		// their files are mapped, and need no cache.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithReadOnly(o.ReadOnly)
	if len(o.EncryptionKey) > 0 {
		opt = opt.WithEncryptionKey(o.EncryptionKey).WithBlockCacheSize(8 << 20).WithIndexCacheSize(8 << 20) // of what is decrypted
	}
	opt.TableSizeMultiplier = 1 // for all levels
	if locked(dir) {
		return nil, heldError(dir)
	}
	if err := checkKey(dir, o.EncryptionKey); err != nil {
		return nil, err
	}
	if err := checkTables(opt); err != nil {
		return nil, err
	}
	if !o.ReadOnly {
		if err := stayYoung(dir); err != nil {
			return nil, fmt.Errorf("open the state in %s: %w", dir, err)
		}
	}
	// A log file that a kill left between its making and its first byte is empty. Badger gives it what a new one has, and fails
	// for its being new; it is good the next time.
	for tries := 0; ; tries++ {
		db, err = badger.Open(opt)
		if err == nil {
			return db, nil
		}
		if tries == 4 || !strings.Contains(err.Error(), "Create a new file") {
			return nil, openError(dir, err)
		}
	}
}

// load reads what is kept in memory.
func (s *Store) load() error {
	if err := checkBlocks(s.db); err != nil {
		return fmt.Errorf("%w: restore it from a backup", err)
	}
	return s.db.View(func(txn *badger.Txn) error {
		if err := s.names.load(txn); err != nil {
			return err
		}
		if err := s.count(txn); err != nil {
			return err
		}
		var err error
		if s.last, err = readNumber(txn, keyMeta("last")); err != nil {
			return err
		}
		s.secret, err = readValue(txn, keyMeta("secret"))
		return err
	})
}

// beginState makes the secret of a new state.
func (s *Store) beginState(begun bool) error {
	if begun {
		// Badger takes a manifest that was cut off for one whose last changes were not written.
		return fmt.Errorf("%w: what every state holds is missing: restore it from a backup", errCorrupt)
	}
	s.secret = make([]byte, 32)
	_, _ = rand.Read(s.secret) // never fails
	err := s.step(Step{Kind: StepWrite}, func() error {
		return s.db.Update(func(txn *badger.Txn) error { return txn.Set(keyMeta("secret"), s.secret) })
	})
	if err == nil {
		err = s.sync()
	}
	return err
}

// Limits implements store.Store.
func (s *Store) Limits() store.Limits { return s.limits }

// Secret implements store.Store.
func (s *Store) Secret() []byte { return append([]byte(nil), s.secret...) }

// LoadState implements store.Store.
func (s *Store) LoadState(ctx context.Context, source string) (state []byte, err error) {
	err = s.view(ctx, func(txn *badger.Txn) error {
		b, err := readValue(txn, keySaved(source))
		if err != nil || b == nil {
			return err
		}
		d := newDecoder(b)
		state = d.take(uint64(len(d.b)))
		return d.err
	})
	return state, err
}

// SaveState implements store.Store.
func (s *Store) SaveState(ctx context.Context, source string, state []byte) error {
	if len(source) > maxName || len(state) > maxBytes {
		return store.ErrTooLarge
	}
	return s.do(ctx, &request{size: len(state), durable: true, apply: func(t *tx) error {
		t.set(keySaved(source), append([]byte{valueForm}, state...))
		return nil
	}})
}

// Close waits for the commit under way, refuses those that wait, and closes the database.
func (s *Store) Close() error {
	s.alive.Lock()
	already := s.closed
	s.closed = true
	s.alive.Unlock()
	if already {
		return nil
	}
	close(s.stop)
	<-s.stopped
	s.helpers.Wait()
	s.mu.Lock()
	for _, f := range s.feeds {
		close(f.lost)
	}
	for _, o := range s.outboxes {
		close(o.lost)
	}
	clear(s.feeds)
	clear(s.outboxes)
	s.mu.Unlock()
	if err := s.forAny(s.look()); err != nil && !s.opt.ReadOnly {
		return fmt.Errorf("the state was not closed, which is as good as after a kill: %w", err) // it would write a table
	}
	if err := s.closeDB(); err != nil {
		return fmt.Errorf("close the state in %s: %w", s.dir, err)
	}
	return nil
}

// closeLimit is how long the database may take to close after a write failed.
const closeLimit = 5 * time.Second

// closeDB closes the database. After a failure it may try for ever to write what it could not, or panic for what it lacks; then it is left
// as a kill would leave it.
func (s *Store) closeDB() error {
	if s.failed == nil {
		return s.db.Close()
	}
	closed := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				closed <- errNotClosed
			}
		}()
		closed <- s.db.Close()
	}()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeLimit):
		return errNotClosed
	}
}

var errNotClosed = errors.New("it could not be written; nothing is lost")

// view runs a read, which sees all commits that have returned.
func (s *Store) view(ctx context.Context, read func(*badger.Txn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.alive.RLock()
	defer s.alive.RUnlock()
	if s.closed {
		return errClosed
	}
	if err := s.read(read); err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	return nil
}

// read reads from the database, which panics once it could not begin another log.
func (s *Store) read(read func(*badger.Txn) error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		select {
		case <-s.dead:
			err = s.failedError()
		case <-time.After(time.Second): // the committer has not heard of a failure, so it is another defect
			panic(p)
		}
	}()
	return s.db.View(read)
}
