// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// A row remembers so many states of its record, to tell an old state that comes again (a stale replica, a drifting page) from
// a new one. A feed that lists every version gives all of the overlap again at each poll.
const (
	recentStates  = 4
	recentHistory = 64
)

// item is one new change on its way through the steps.
type item struct {
	rec      *record.Record
	row      store.Row      // as it will be committed
	previous *item          // the change before it of the same record on this page, until this one has its place in the order
	before   *record.Record // as last committed; nil: unknown, or not kept
	steps    []result       // how it fared, by step
	asked    []sdk.Ref      // what was fetched for it, by fetch block
	cause    *record.Cause  // why the change is a dead letter as a whole
	waits    error          // why it could not be read, fetched or mapped this time; it is not committed
	waitStep int            // the step that waits
	skipped  bool           // filtered out before mapping, as what was to be fetched is missing
	outcomes []outcome      // one per deliver block
}

// open says that the item's way goes on.
func (it *item) open() bool { return it.cause == nil && it.waits == nil && !it.skipped }

// outcome is what one deliver block made of a change: a body, nothing (filtered), or a failure.
type outcome struct {
	key      string // "": order_by says nothing
	body     []byte
	unwanted bool // filtered by the block, not by its mapping
	cause    *record.Cause
}

// sieve drops the changes of a page that are seen or stale and gives the others, in the order of the page, each with the row
// that it will have.
func (w *window) sieve(ctx context.Context, page sdk.Page) ([]*item, error) {
	changes, states := make([]sdk.Change, len(page.Changes)), make([]state, len(page.Changes))
	for i, c := range page.Changes {
		changes[i] = w.readable(c)
	}
	of, refs := number(changes)
	w.arrange(changes, of, len(refs))
	for i, c := range changes {
		states[i] = w.state(c)
	}
	rows, err := w.rows(ctx, refs)
	if err != nil {
		return nil, err
	}
	records := make([]known, len(refs))
	for n, ref := range refs {
		records[n].row, records[n].known = rows[ref]
	}
	// Where the page last shows what the row holds: what stands before it led there and is repeated.
	for i, c := range changes {
		if r := &records[of[i]]; r.known && w.comparable(r.row) && w.same(r.row, c, states[i]) {
			r.current = i
		}
	}
	var fresh []*item
	w.known = nil
	for i, c := range changes {
		r := &records[of[i]]
		before, known := r.row, r.known
		if known && !w.comparable(before) {
			before.Recent = nil
		}
		if c.Err == nil && c.Op != sdk.Deleted {
			w.scan.witness = c.Ref
		}
		shown := w.shows(c, states[i])
		repeated := i < r.current || repeats(shown, before.Recent)
		switch w.judge(before, known && w.comparable(before), c, states[i], repeated) {
		case seen:
			w.stats.seen++
			w.scan.saw(c.Ref)
			if len(w.known) < few && c.Err == nil && c.Op != sdk.Deleted {
				c.Op = sdk.Updated
				w.known = append(w.known, c)
			}
			continue
		case stale:
			w.stats.stale++
			w.scan.saw(c.Ref)
			continue
		}
		hash, sum := states[i].hash, states[i].sum
		if c.Err != nil {
			hash, sum = unreadable, states[i].unread
		}
		// A return in doubt, to a state of a list of all versions that was not read from its begin: the list may go on from there, so
		// what came after that state is no longer known, and is told again when it comes.
		if i := slices.Index(before.Recent, sum); i >= 0 && w.shown == nil && w.info.History {
			before.Recent = before.Recent[i+1:]
		}
		row := store.Row{
			Ref: c.Ref, Generation: before.Generation + 1, Epoch: w.feed.Position().Epoch, Version: c.Version, Hash: hash,
			Time: c.Time, Key: before.Key, Deleted: c.Op == sdk.Deleted, Recent: append([]uint64{sum}, before.Recent...),
		}
		row.Recent = row.Recent[:min(len(row.Recent), w.remembered())]
		if c.Op == sdk.Upsert || c.Op == "" {
			c.Op = sdk.Updated
			if !known || before.Deleted {
				c.Op = sdk.Created
			}
		}
		r.row, r.known = row, true
		if w.predates(c, known) {
			w.primed = append(w.primed, row)
			continue
		}
		it := w.item(c, row)
		it.previous, r.last = r.last, it
		fresh = append(fresh, it)
	}
	w.stats.fresh += len(fresh)
	w.scan.listed += len(changes)
	return fresh, nil
}

// known is what is known of one of a page's records, while the page is gone through.
type known struct {
	row     store.Row
	known   bool  // there is a row
	current int   // index of the last change that shows what the row holds
	last    *item // the last change that is new
}

// number numbers the records of changes: of which each change is, and what they are.
func number(changes []sdk.Change) (of []int, refs []sdk.Ref) {
	of, refs = make([]int, len(changes)), make([]sdk.Ref, 0, len(changes))
	numbers := make(map[sdk.Ref]int, len(changes))
	for i := range changes {
		ref := changes[i].Ref
		n, there := numbers[ref]
		if !there {
			n = len(refs)
			numbers[ref], refs = n, append(refs, ref)
		}
		of[i] = n
	}
	return of, refs
}

// arrange puts the states of a record that a page lists in the order of their times, in the places that they have. Where the newest
// comes first, the oldest would else be delivered last. A sequence and a queue tell by their own order what came after what.
func (w *window) arrange(changes []sdk.Change, of []int, records int) {
	if w.info.Class == sdk.Sequence || w.info.Class == sdk.Queue || records == len(changes) {
		return
	}
	newest, astray := make([]time.Time, records), map[int][]int{}
	for i, c := range changes {
		switch {
		case c.Time.IsZero():
		case c.Time.Before(newest[of[i]]):
			astray[of[i]] = nil
		default:
			newest[of[i]] = c.Time
		}
	}
	if len(astray) == 0 {
		return
	}
	for i, c := range changes {
		if _, is := astray[of[i]]; is && !c.Time.IsZero() {
			astray[of[i]] = append(astray[of[i]], i)
		}
	}
	for _, places := range astray {
		states := make([]sdk.Change, len(places))
		for n, i := range places {
			states[n] = changes[i]
		}
		slices.SortStableFunc(states, func(a, b sdk.Change) int { return a.Time.Compare(b.Time) })
		for n, i := range places {
			changes[i] = states[n]
		}
	}
}

// predates says whether a change of the very first window is provably from before the start. Such a change is remembered and
// not delivered: the overlap before the start is read so that what becomes visible late is told from what was there.
//
// A scan whose records have no time tells what was there by listing it for the first time. So does, in any window, the first expansion of
// a parent: what of its children is dated before the start was there. A child that is known has changed since.
func (w *window) predates(c sdk.Change, known bool) bool {
	from := w.from
	if w.parents != nil && !known {
		from = w.since
	}
	if w.info.Class == sdk.Scan && c.Time.IsZero() {
		return w.Start.Now && !w.from.IsZero() && !known && c.Err == nil
	}
	unit := cmp.Or(w.info.Precision, time.Second) // where it is not known, as most times are told
	return !c.Time.IsZero() && c.Time.Before(from) && !c.Time.Add(unit).After(from)
}

func (w *window) item(c sdk.Change, row store.Row) *item {
	return &item{rec: &record.Record{Change: c, Parent: w.parents[c.Ref]}, row: row, steps: make([]result, len(w.worked)), asked: make([]sdk.Ref, w.fetching())}
}

func (w *window) remembered() int {
	if w.info.History {
		return recentHistory
	}
	return recentStates
}

// unidentified begins the id of what has none.
const unidentified = "unidentified:"

// maxIdentifier bounds what identifies a record, which is a key of the state, and a version.
const maxIdentifier = 4 << 10

// readable is the change as it goes on. One without an id, which could not be read, or with one that is none, gets an id that is the
// same at each poll: it becomes one dead letter, not one per poll.
func (w *window) readable(c sdk.Change) sdk.Change {
	if len(c.Ref.Kind)+len(c.Ref.ID)+len(c.Ref.Args) > maxIdentifier || len(c.Version) > maxIdentifier {
		h := sha256.Sum256([]byte(c.Ref.ID + "\x00" + c.Ref.Args))
		c.Ref, c.Version = sdk.Ref{Kind: w.info.Kind, ID: unidentified + hex.EncodeToString(h[:16])}, ""
		c.Err = sdk.Permanent("the identifier or the version of the change is longer than %d bytes", maxIdentifier)
	}
	if c.Ref.ID == "" {
		h := sha256.Sum256(c.Data)
		c.Ref = sdk.Ref{Kind: w.info.Kind, ID: unidentified + hex.EncodeToString(h[:16])}
		if c.Err == nil {
			c.Err = sdk.Permanent("the change has no id")
		}
	}
	if y := c.Time.Year(); y < 0 || y > 9999 { // mistyped; there is no form in JSON for it, and so for nothing that has it
		c.Time = time.Time{}
	}
	if len(c.Data) == 0 {
		c.Data = json.RawMessage("null")
	} else if !rawjson.Valid(c.Data) {
		c.Err, c.Data = sdk.Permanent("the adapter gave no valid JSON"), json.RawMessage("null")
	}
	return c
}

// rows looks up what is known of records.
func (w *window) rows(ctx context.Context, refs []sdk.Ref) (map[sdk.Ref]store.Row, error) {
	rows := make(map[sdk.Ref]store.Row, len(refs))
	for part := range slices.Chunk(refs, w.Limits.Refs) {
		known, err := w.feed.Seen(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, r := range known {
			rows[r.Ref] = r
		}
	}
	return rows, nil
}

// versionKind is what the version of a change is worth. Without one, only the data can tell.
func (w *window) versionKind(c sdk.Change) sdk.VersionKind {
	if c.Version == "" {
		return sdk.None
	}
	return w.info.Version
}

// state is what makes two readings of a record the same.
type state struct {
	hash   [16]byte // of the data; zero where the version alone decides
	sum    uint64   // of version and hash
	unread uint64   // of a change that can't be read: the sum by which a row remembers that
}

// unreadable is the hash of a change that could not be read: another than any that can, so that the record is new when it
// can be read, with the same version too.
var unreadable = [16]byte{'u', 'n', 'r', 'e', 'a', 'd', 'a', 'b', 'l', 'e'}

func (w *window) state(c sdk.Change) state {
	var s state
	kind := w.versionKind(c)
	sum := func(hash [16]byte) uint64 {
		h := fnv.New64a()
		if kind != sdk.None {
			h.Write([]byte(c.Version))
		}
		h.Write(hash[:])
		if c.Op == sdk.Deleted {
			h.Write([]byte{1})
		}
		return h.Sum64()
	}
	if c.Err != nil {
		s.unread = sum(unreadable)
	}
	switch {
	case kind == sdk.Exact:
		// The version tells what was seen, also of a change that can't be read now.
	case c.Err != nil:
		s.hash = unreadable
	default:
		s.hash = rawjson.HashWithout(c.Data, w.ignore)
	}
	s.sum = sum(s.hash)
	return s
}

// comparable says whether what a row holds can be compared with what the feed gives now. The numbers of a sequence that was
// reset begin anew; timestamps stay what they were.
func (w *window) comparable(row store.Row) bool {
	return w.info.Class != sdk.Sequence || row.Epoch == w.feed.Position().Epoch
}

// tomorrow is farther ahead than clocks differ: a row that is dated so late is dated wrongly, and nothing is older for it.
const tomorrow = 24 * time.Hour

type verdict int

const (
	fresh verdict = iota
	seen
	stale
)

// judge decides whether a change is new. Equal to the row: seen. Known and provably older than the row: stale. All else is
// new, a return to an earlier state included: when in doubt repeat, never lose.
//
// repeated says that the feed shows how the row came about: what is known and not younger than the row is then no return.
func (w *window) judge(row store.Row, known bool, c sdk.Change, s state, repeated bool) verdict {
	switch {
	case !known:
		return fresh
	case w.same(row, c, s):
		return seen
	case row.Deleted && w.info.Class == sdk.Scan:
		return fresh // what a scan lists is there, in whatever state
	case row.Hash == unreadable && len(row.Recent) > 1 && row.Recent[1] == s.sum:
		return seen // what it was before it could not be read
	case !slices.Contains(row.Recent, s.sum) && (c.Err == nil || !slices.Contains(row.Recent, s.unread)), c.Time.After(row.Time):
		return fresh
	case repeated || !c.Time.IsZero() && c.Time.Before(row.Time) && !row.Time.After(w.begin.Add(tomorrow)):
		return stale
	case w.info.History && w.versionKind(c) == sdk.Exact && !c.Time.IsZero():
		return stale // a list of all versions uses none twice
	}
	return fresh
}

// same says whether the row holds the change's state.
func (w *window) same(row store.Row, c sdk.Change, s state) bool {
	kind := w.versionKind(c)
	return row.Deleted == (c.Op == sdk.Deleted) && (row.Hash == s.hash || kind == sdk.Exact && c.Err != nil) &&
		(kind == sdk.None || row.Version == c.Version)
}

// shown are the states of a record of one instant that a feed of all versions has listed in this pass.
type shown struct {
	at   time.Time
	sums []uint64
}

// shows adds a change to what the pass has shown of its record. It gives nothing where the pass may not have shown all of the
// instant: of other feeds, and when it was not read from its begin. Nor is there a need where no version is used twice, and a window
// of such a feed may have more records than the memory.
func (w *window) shows(c sdk.Change, s state) []uint64 {
	if w.shown == nil || !w.info.History || c.Time.IsZero() || w.versionKind(c) == sdk.Exact {
		return nil
	}
	of := w.shown[c.Ref]
	if !of.at.Equal(c.Time) {
		of = shown{at: c.Time}
	}
	if n := len(of.sums); n == 0 || of.sums[n-1] != s.sum {
		of.sums = append(of.sums, s.sum)
	}
	w.shown[c.Ref] = of
	return of.sums
}

// repeats says whether the states that were shown are among those that a row remembers, newest first, in the same order: then
// nothing new is among them. A return to one of them is one state more.
func repeats(shown, recent []uint64) bool {
	n := 0
	for _, sum := range slices.Backward(recent) {
		if n < len(shown) && shown[n] == sum {
			n++
		}
	}
	return n > 0 && n == len(shown)
}

// notificationID is the same in every attempt, after every crash, and for no other generation, deliver block or destination.
//
// Invariant 2: what overlaps, retries and crashes bring again gets the id that it had. A restored backup counts generations again, so
// where versions say little the data tell them apart, and whether the record is deleted: a receiver must not take another state for one
// that it has.
func notificationID(pipeline string, row *store.Row, d *Deliver) string {
	what := "notification"
	if row.Deleted {
		what = "notification of a deletion"
	}
	return hashID(row.Generation, what, pipeline, row.Ref.Kind, row.Ref.ID, row.Ref.Args, row.Version, string(row.Hash[:]), d.Name,
		d.Destination)
}

func deadLetterID(pipeline string, row *store.Row, deliver string) string {
	return hashID(row.Generation, "dead letter", pipeline, row.Ref.Kind, row.Ref.ID, row.Ref.Args, row.Version, deliver)
}

func hashID(generation uint64, parts ...string) string {
	h := sha256.New()
	for _, s := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	h.Write(binary.AppendUvarint(nil, generation))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
