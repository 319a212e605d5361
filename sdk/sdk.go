// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package sdk is what the author of an adapter imports: the types of the contract between the engine and an adapter, the
// errors that mean something to the engine, and Serve, which turns a program into an adapter.
//
// An adapter speaks one vendor's API and nothing else. It can be polled for what changed, it can fetch the details by an
// identifier, and it keeps no memory of what it gave: watermarks, what was seen before and what was delivered are the
// engine's.
package sdk

import (
	"context"
	"encoding/json"
	"time"
)

// Source is one configured, opened use of an adapter. One process serves many sources at the same time, so all state
// belongs into the value that the open function returned. All methods may be called concurrently.
type Source interface {
	// Catalog tells what can be polled and fetched. It is asked once, after opening, and does not change.
	Catalog() Catalog
	// Poll reads one page of a feed. The same query asked again gives the same page as long as the server's data stand
	// still: the engine repeats a query whose answer it could not commit.
	Poll(context.Context, Query) (Page, error)
	// Fetch reads the details of refs; Ref.Kind is the name of a resource of the catalog. It returns exactly one Result
	// per Ref, in the order of the refs. The error is for a failure of the whole call; what befell a single ref goes into
	// its Result.
	Fetch(context.Context, []Ref) ([]Result, error)
	// Close releases what the source holds. No call is under way and none comes after it.
	Close() error
}

// Acker is a Source whose server keeps changes until it is told that they were taken over (feed class Queue).
type Acker interface {
	// Ack tells the server that the changes of the page that carried token are committed. It may be called twice with the
	// same token.
	Ack(ctx context.Context, feed string, token []byte) error
}

// Validator is implemented by an adapter's configuration that checks itself offline, beyond what its schema says. The
// error is best made by Misconfigured, which names the attribute to blame.
type Validator interface{ Validate() error }

// Info describes an adapter.
type Info struct {
	Name    string // as in HCL: source "NAME" "…"
	Version string // semantic version
	Doc     string // one sentence

	// Feeds and Resources are what every source offers, whatever its configuration: known without a source, to describe the adapter and
	// to check the names in a configuration. Empty where they depend on the configuration; a source's Catalog is what counts.
	Feeds     []Feed
	Resources []Resource
	Limits    []Limit // what the vendor allows, for a person
}

// Limit is a bound that a vendor sets to the use of its API.
type Limit struct {
	Calls int           // in the time of Per; 0: Doc says what is bounded
	Per   time.Duration // a second, a minute, an hour, a day
	Doc   string        // of what, and when it begins anew: "per API key; begins anew at midnight GMT"
}

// Catalog is what an opened source offers.
type Catalog struct {
	Feeds     []Feed
	Resources []Resource
}

// Feed is one list of changes that a source can be polled for.
type Feed struct {
	Name      string
	Kind      string        // kind of the records that the feed lists, the Kind of their refs
	Class     Class         // how the feed is read
	Version   VersionKind   // what a change's Version is worth
	Precision time.Duration // of the server's timestamps; zero: not a feed of timestamps
	History   bool          // lists every version of a record, not only the last, and uses none twice if they are Exact
	Deletes   bool          // lists deletions
	Drifts    bool          // pages shift while they are read (offset paging over a moving set)
	Peeks     bool          // of a Queue: a Query with Peek takes nothing away
	// Ignore are dotted paths of what changes without meaning anything, such as a counter of views: it is left out when data
	// are compared, which they are for Coarse and None. A step names a member; an array is passed through. What a change
	// holds is delivered whole.
	Ignore []string
	Why    string // why it is read this way, for a person
}

// Resource is something that can be fetched by an identifier.
type Resource struct {
	Name  string // the Kind of its refs
	Batch int    // refs that one upstream call can carry; 0 or 1: one call per ref
	Why   string // why it is fetched this way, for a person
}

// Class says how a feed is read.
type Class string

// The feed classes.
const (
	Timestamp Class = "timestamp" // changed since an instant
	Sequence  Class = "sequence"  // after a sequence number
	Scan      Class = "scan"      // no change feed: each window lists everything, the engine compares
	Queue     Class = "queue"     // reading consumes; Ack after commit, or Recover after a restart
)

// VersionKind says what the versions of a feed are worth when the engine decides whether a change is new.
type VersionKind string

// The kinds of version.
const (
	Exact  VersionKind = "exact"  // equal version: the same state
	Coarse VersionKind = "coarse" // equal version may hide a second change (timestamps of a second's precision)
	None   VersionKind = "none"   // no version: only the data can be compared
)

// Start says where a feed that was never read begins. The zero value is the beginning of all records.
type Start struct {
	// At asks for changes from this instant on; zero: from the beginning. An adapter reads the overlap before it as well: the
	// engine delivers nothing that is dated before the start, but has to know it, to tell what becomes visible late.
	At time.Time
}

// Query asks for one page.
type Query struct {
	Feed      string
	Watermark []byte        // up to where whole windows were read; nil: never
	Cursor    []byte        // where in the current window to go on; nil: begin a window
	Start     Start         // where to begin when Watermark is nil
	Overlap   time.Duration // how far before the watermark to read again
	Limit     int           // wanted number of changes, a hint; 0: the adapter's choice
	// Recover says that pages may have been given that were not committed: it is set in the first poll after a start, and in each
	// that follows one whose page was not committed and acknowledged. A Queue gives again what was read since the watermark.
	Recover bool
	// Peek asks for what there is without taking anything away, for plans, records and checks, which keep nothing. A Queue gets it
	// only if it Peeks; to other feeds it means nothing.
	Peek bool
}

// Page is one answer to a Query. A window's last page has no Cursor and carries the Watermark; a page with a Cursor is
// followed by another of the same window.
type Page struct {
	Changes   []Change // those of one record oldest first, also from page to page
	Included  []Result // resources that came along
	Cursor    []byte
	Watermark []byte
	Ack       []byte        // to be acknowledged after commit
	Complete  bool          // on the last page of a Scan: the window showed everything that there is
	Now       time.Time     // the server's clock, when it tells
	Wait      time.Duration // the server asks for a pause before the next call
	Calls     int           // upstream calls that were made
	Notes     []Note        // what a person should know
}

// Note is a remark on a page, such as "the filter was ignored by the server". It holds no record content.
type Note struct {
	Code string // short and stable, "filter-ignored"
	Text string
}

// Op is what happened to a record, as far as the feed tells.
type Op string

// The operations. Upsert is for a feed that does not tell created from updated.
const (
	Upsert  Op = "upsert"
	Created Op = "created"
	Updated Op = "updated"
	Deleted Op = "deleted"
)

// Change is one changed record.
type Change struct {
	Ref     Ref
	Version string
	Op      Op
	Event   string    // the vendor's name for what happened, "appointment.rescheduled"
	Actor   string    // who made the change, if the feed tells
	Time    time.Time // when, by the server's clock; zero: unknown
	Data    json.RawMessage
	Err     error // this item could not be read; the others of the page could
}

// Ref identifies a record (Kind is a feed's kind) or a resource (Kind is a resource's name). Comparable.
type Ref struct {
	Kind string
	ID   string
	Args string // further arguments of a fetch, in a form that the adapter defines; mostly empty
}

// Result is what was fetched for one Ref.
type Result struct {
	Ref     Ref
	Version string
	Data    json.RawMessage
	Err     error
}
