// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package store says what the engine needs of a state: rows, watermarks and cursors, the outbox, dead letters, what adapters
// saved. Two loops meet here and nowhere else. An implementation stands in a folder beside it; storetest holds every
// implementation to the promises made here.
//
// What callers may not assume: key order or iteration; that an error means "not written" (see ErrUnknown); a transaction
// across pipelines, or an Ack inside a commit; a global order in a lane (the order is per pipeline and ordering key);
// acknowledging "everything up to X"; that a page fits one commit.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// The errors of a store. An implementation wraps them with what happened, in texts that may be logged: they hold nothing of a
// record, not even in a key that they quote.
var (
	// ErrHeld: another owner holds the pipeline or the destination, or the whole state.
	ErrHeld = errors.New("held by another owner")
	// ErrFenced: this handle is no longer the owner; nothing was written. Claim or attach again.
	ErrFenced = errors.New("no longer the owner")
	// ErrUnknown: it is not known whether the commit was written. Claim again and read the position.
	ErrUnknown = errors.New("outcome unknown")
	// ErrBusy: not now; nothing was written; try later with back-off.
	ErrBusy = errors.New("store is busy")
	// ErrFull: free space is under the bound; nothing was written; try later.
	ErrFull = errors.New("no space left for state")
	// ErrTooLarge: the batch is beyond Limits; nothing was written.
	ErrTooLarge = errors.New("batch is too large")
	// ErrStale: the batch was built on another position than the stored one; nothing was written.
	ErrStale = errors.New("built on an old position")
	// ErrDamaged: what is stored can't be read; nothing was written.
	ErrDamaged = errors.New("the state is damaged, or was written by a newer rounds")
	// ErrNotFound: there is no such dead letter.
	ErrNotFound = errors.New("not found")
	// ErrSuperseded: the record has a newer generation; retrying the older would deliver it after the newer.
	ErrSuperseded = errors.New("superseded by a newer generation")
	// ErrOccupied: the name that state was to be moved to has state of its own.
	ErrOccupied = errors.New("the name has state of its own")
)

// Text is what may be logged of an error that a store returned: that of any other error is withheld, as it may quote anything.
func Text(err error) string {
	for _, known := range []error{
		ErrHeld, ErrFenced, ErrUnknown, ErrBusy, ErrFull, ErrTooLarge, ErrStale, ErrDamaged, ErrNotFound, ErrSuperseded,
	} {
		if errors.Is(err, known) {
			return err.Error()
		}
	}
	for _, known := range []error{context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprintf("%T (text withheld, it may quote data)", err)
}

// Limits bound one call. All are positive.
type Limits struct {
	Items int // rows, entries, dead letters and marks together, per commit; also acknowledgements per Ack
	Bytes int // sum of Batch.Size per commit
	Refs  int // refs per Seen and Snapshots
}

// Store is the engine's state.
type Store interface {
	Limits() Limits
	// Claim makes the caller the one owner of a pipeline's rows and position, and fences the owner before it, before it
	// returns. ErrHeld when another living engine owns it.
	Claim(ctx context.Context, pipeline string) (Feed, error)
	// Attach makes the caller the one owner of a destination's outbox. ErrHeld as in Claim.
	Attach(ctx context.Context, destination string) (Outbox, error)
	// LoadState gives what an adapter saved for a source, nil if nothing; SaveState keeps it, durable on nil.
	LoadState(ctx context.Context, source string) ([]byte, error)
	SaveState(ctx context.Context, source string, state []byte) error
	// Secret is 32 random bytes, made with the state and kept with it: the key of the hashes that name records in logs.
	Secret() []byte
	Admin() Admin
	Close() error
}

// Position is where a pipeline stands.
type Position struct {
	Watermark []byte
	Cursor    []byte
	Start     time.Time // the instant that `start` meant when the pipeline was first seen; zero: the beginning
	Started   bool      // Start is decided
	Epoch     uint64    // counts resets of the feed
	Polled    time.Time // begin of the last window that was read to its end
	Scan      uint64    // number of the last scan that was begun; scans are numbered from 1
	Commit    uint64    // number of commits so far; given by the store
}

// Row is the engine's memory of one record of one pipeline.
type Row struct {
	Ref        sdk.Ref
	Generation uint64
	Epoch      uint64
	Version    string
	Hash       [16]byte  // of the data, canonical form, truncated SHA-256; zero where the version alone decides
	Time       time.Time // of the change, by the server's clock
	Key        string    // ordering keys of the last generation, in a form that is the pipeline loop's own
	Deleted    bool
	Recent     []uint64 // hashes of the last few states (version and data), newest first
	// Snapshot is what the pipeline loop keeps of the record as it was committed; nil: nothing. It is written with the row,
	// in the place of the one before, and read by Snapshots only, as most look-ups have no use for it.
	Snapshot []byte
}

// Batch is what one commit writes, all or nothing. The caller does not change it afterwards, as the store may still read it
// after ErrUnknown. All entries and dead letters are of the pipeline that commits; no two rows are of one record.
type Batch struct {
	Base     uint64 // Position.Commit that the batch was built on
	Rows     []Row
	Entries  []record.Entry
	Dead     []record.DeadLetter
	Scan     uint64    // number of the scan that saw Rows and Marks, and marks them; 0: none
	Marks    []sdk.Ref // rows, as they stand, that the scan saw as well
	Position *Position // the new position, on a page's last batch; Commit is ignored
}

// Feed is the ownership of one pipeline: the handle is the fencing token. One Commit at a time.
type Feed interface {
	// Position is that of the last commit.
	Position() Position
	// Seen gives the rows of refs, in any order, leaving out those that have none. It reflects every earlier commit,
	// previous owners' included. Row.Snapshot is nil in all of them.
	Seen(ctx context.Context, refs []sdk.Ref) ([]Row, error)
	// Snapshots gives the snapshots that are kept with the rows of refs, as Seen would give these.
	Snapshots(ctx context.Context, refs []sdk.Ref) (map[sdk.Ref][]byte, error)
	// Commit writes a batch: all or nothing, durable on nil, and only if this handle is still the owner and the stored
	// position is the batch's Base. Entries get their Seq in the order of Batch.Entries, and become visible in that order.
	// A batch that holds nothing but a position which differs in Polled only survives the kill of the process on nil; after a loss of
	// power it may be as if it had never been.
	Commit(ctx context.Context, b Batch) error
	// Unmarked lists what has a row that is not Deleted and that neither the scan of this number nor a later one marked,
	// limit at most, from token on (nil: the first); next is nil at the end. It reflects every earlier commit; what is
	// committed during the listing may be listed or not.
	Unmarked(ctx context.Context, scan uint64, token []byte, limit int) (refs []sdk.Ref, next []byte, err error)
	// Lost is closed when the ownership is gone.
	Lost() <-chan struct{}
	Release(ctx context.Context) error
}

// EntryID identifies an entry in its outbox. ID is the notification's id; Lane (as Lanes gave it: its form is the store's own
// business) and Seq say where it lies.
type EntryID struct {
	Lane string
	Seq  uint64
	ID   string
}

// Done is an entry that its destination accepted.
type Done struct {
	EntryID
	At   time.Time // of the acceptance
	Code string    // short and stable: "accepted", "http_200"
}

// Attempt is an attempt that failed and will be repeated.
type Attempt struct {
	Attempts int       // failed so far
	Next     time.Time // not before
	At       time.Time // of this one
	Code     string    // of what it met, short and stable: "http_503"
}

// Outbox is the ownership of one destination's entries.
type Outbox interface {
	// Lanes lists lanes that have entries, limit at most, from token on (nil: the first); next is nil at the end. A lane
	// that got its first entry during the listing may be missing: Wake tells. One that changed during it may come twice.
	Lanes(ctx context.Context, token []byte, limit int) (lanes []string, next []byte, err error)
	// Head gives the first n entries of a lane in the order of commit.
	Head(ctx context.Context, lane string, n int) ([]record.Entry, error)
	// Ack removes entries that were accepted; where the store keeps history, they are among the delivered ones in the same step.
	// Idempotent. It survives the kill of the process on nil; after a loss of power an acknowledged entry may come again.
	Ack(ctx context.Context, done ...Done) error
	// Defer keeps the outcome of a failed attempt with the entry, and among its Tries. For an entry that is gone it does
	// nothing, as does Bury.
	Defer(ctx context.Context, id EntryID, a Attempt) error
	// Bury moves an entry to the dead letters, where it keeps its id, in place of one that has it; but one that another destination
	// refused, as after a Replay, keeps its place, and then the new one is known by DeadIDOf. The attempt of the time at, which met the cause, is among
	// its Tries then.
	Bury(ctx context.Context, id EntryID, cause record.Cause, at time.Time) error
	// Wake receives after commits and retries that brought entries. It is a hint and may be lost: look as well.
	Wake() <-chan struct{}
	Lost() <-chan struct{}
	Release(ctx context.Context) error
}

// Kind says what a name is the name of.
type Kind string

// The kinds of names that state is kept under.
const (
	Pipeline    Kind = "pipeline"
	Source      Kind = "source"
	Destination Kind = "destination"
)

// Delivered is a notification that was accepted.
type Delivered struct {
	record.Entry
	At   time.Time
	Code string
}

// Again is a notification that is to be delivered once more.
type Again struct {
	record.Entry
	// Newest is the newest generation of its record that is known of. Where there is a newer one by now, this notification is
	// superseded, as it would be delivered after that; 0: this is not asked.
	Newest uint64
}

// Filter restricts a listing; what is zero does not restrict.
type Filter struct {
	Pipeline    string
	Destination string  // of a dead letter: that of its notification, if it has one
	ID          string  // of the notification or the dead letter
	Ref         sdk.Ref // only together with Pipeline
	// From and To bound a time: when it was delivered, when a waiting one was committed, when a dead letter became one. From is
	// inclusive, To exclusive.
	From, To time.Time
	Code     string // of a dead letter's cause
}

// Depth is what waits for one destination.
type Depth struct {
	Count  int
	Oldest time.Time // when the one was committed that waits longest, to the second
}

// Pause says that a person paused a pipeline or a destination.
type Pause struct {
	Kind  Kind // Pipeline or Destination
	Name  string
	Since time.Time
	Why   string
}

// Admin is for people: it works beside the owners. Listings are paged: limit at most, and about Limits.Bytes, from token on (nil: the
// first); next is nil at the end. A token is good for the listing, with the filter, that gave it.
type Admin interface {
	// Dead lists dead letters in the order in which they became such, oldest first.
	Dead(ctx context.Context, f Filter, token []byte, limit int) (dead []record.DeadLetter, next []byte, err error)
	// DeadLetter gives one. ErrNotFound.
	DeadLetter(ctx context.Context, id string) (record.DeadLetter, error)
	// DeadCount counts the dead letters of each pipeline that has any. It is cheap.
	DeadCount(ctx context.Context) (map[string]int, error)
	// Retry puts a dead letter back into the outbox: its own notification when entries is nil, else entries, which were
	// mapped again (none: they are filtered now). They go to the ends of their lanes. ErrSuperseded when the record has a
	// newer generation, which is on its way or delivered, and would be followed by the older one; unless force. Nothing but a
	// person removes a dead letter, by Retry or Discard.
	Retry(ctx context.Context, id string, entries []record.Entry, force bool) error
	// Discard removes a dead letter for good.
	Discard(ctx context.Context, id string) error
	// Pending gives what waits for each destination for which anything does. It is cheap, whatever waits.
	Pending(ctx context.Context) (map[string]Depth, error)
	// Waiting lists entries; those of a lane are in its order.
	Waiting(ctx context.Context, f Filter, token []byte, limit int) (entries []record.Entry, next []byte, err error)
	// Delivered lists what was accepted and is kept, by time of delivery, oldest or newest first. Those of one record are found
	// without looking at others.
	Delivered(ctx context.Context, f Filter, newest bool, token []byte, limit int) (delivered []Delivered, next []byte, err error)
	// Replay puts notifications at the ends of their lanes, in the order given, all in one step: with their ids, as if they had
	// never been tried. Those that were superseded meanwhile are left out, and counted. ErrTooLarge beyond Limits.
	Replay(ctx context.Context, all []Again) (superseded int, err error)
	// Row gives a record's row with its snapshot, and whether there is one; Rows lists the rows of a pipeline, without.
	Row(ctx context.Context, pipeline string, ref sdk.Ref) (Row, bool, error)
	Rows(ctx context.Context, pipeline string, token []byte, limit int) (rows []Row, next []byte, err error)
	// Positions gives the position of every pipeline that the state knows.
	Positions(ctx context.Context) (map[string]Position, error)
	// Pauses lists what people paused; Pause keeps one, in the place of that of the same name, durable on nil; Unpause forgets it,
	// if it is there. They are notes: a store lets paused owners work.
	Pauses(ctx context.Context) ([]Pause, error)
	Pause(ctx context.Context, p Pause) error
	Unpause(ctx context.Context, kind Kind, name string) error
	// Rename moves all that is kept under one name to another, in one step. Moved is false when nothing is kept under from, as
	// after an earlier Rename. ErrOccupied when something is kept under to; ErrHeld when an owner holds either. Entries, delivered
	// ones and dead letters keep their ids, places and order, and are of the new name.
	Rename(ctx context.Context, kind Kind, from, to string) (moved bool, err error)
	// Backup writes a copy of the whole state, as it is at one instant, while its owners work. What was written is good only if
	// the error is nil.
	Backup(ctx context.Context, w io.Writer) error
}

// RefusedElsewhere says that two dead letters with the same id are not of the same failure.
func RefusedElsewhere(a, b *record.DeadLetter) bool {
	return a.Entry != nil && b.Entry != nil && a.Entry.Destination != b.Entry.Destination
}

// DeadIDOf is the id of a dead letter where that of its notification is taken by what another destination refused.
func DeadIDOf(l *record.DeadLetter) string { return l.ID + "@" + l.Entry.Destination }

// Size is what a batch counts for Limits.Bytes.
func (b *Batch) Size() int {
	n := 0
	for i := range b.Rows {
		n += RowSize(&b.Rows[i])
	}
	for i := range b.Entries {
		n += EntrySize(&b.Entries[i])
	}
	for i := range b.Dead {
		n += DeadSize(&b.Dead[i])
	}
	for i := range b.Marks {
		n += MarkSize(b.Marks[i])
	}
	if p := b.Position; p != nil {
		n += 64 + len(p.Watermark) + len(p.Cursor)
	}
	return n
}

// Items is what a batch counts for Limits.Items.
func (b *Batch) Items() int { return len(b.Rows) + len(b.Entries) + len(b.Dead) + len(b.Marks) }

func refSize(r sdk.Ref) int { return len(r.Kind) + len(r.ID) + len(r.Args) }

// MarkSize is what a mark counts for Limits.Bytes.
func MarkSize(r sdk.Ref) int { return 64 + refSize(r) }

// RowSize is what a row counts for Limits.Bytes.
func RowSize(r *Row) int {
	return 128 + refSize(r.Ref) + len(r.Version) + len(r.Key) + 8*len(r.Recent) + len(r.Snapshot)
}

// EntrySize is what an entry counts for Limits.Bytes.
func EntrySize(e *record.Entry) int {
	return 256 + len(e.ID) + len(e.Pipeline) + len(e.Deliver) + len(e.Destination) + 2*len(e.Key) + refSize(e.Ref) +
		len(e.Version) + len(e.Body) + len(e.Record) + len(e.Previous) + len(e.Trace) + triesSize(e.Tries)
}

func triesSize(tries []record.Try) (n int) {
	for _, t := range tries {
		n += 16 + len(t.Code)
	}
	return n
}

// DeadSize is what a dead letter counts for Limits.Bytes.
func DeadSize(d *record.DeadLetter) int {
	n := 256 + len(d.ID) + len(d.Pipeline) + len(d.Deliver) + len(d.Key) + refSize(d.Ref) + len(d.Version) +
		len(d.Record) + len(d.Previous) + len(d.Cause.Text) + len(d.Cause.Detail)
	if d.Entry != nil {
		n += EntrySize(d.Entry)
	}
	return n
}
