// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package operate says what a person can ask of an engine, and carries it: Engine is the list of it, Handler and Client bring it over
// HTTP from a command to the engine that runs on the state. The commands and the web page know nothing else of an engine.
//
// What holds content of a record (its identifiers included) is in the types whose names end with Content, and in nothing else; who
// asks for it has to be told by As, and the engine writes it down.
package operate

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// Engine is an engine as a person sees it. Errors are texts for that person, and may be shown; errors.Is knows those below.
type Engine interface {
	Status(context.Context) (*Status, error)
	// Pause keeps a pipeline from polling or a destination from sending, over restarts too, until Resume.
	Pause(ctx context.Context, t Target, why string) error
	// Resume ends a pause, whoever made it: a person, or a destination for itself. It also ends back-off and held lanes.
	Resume(context.Context, Target) error
	// Poll polls at once and tells what came of it.
	Poll(ctx context.Context, pipeline string) (*Polled, error)
	Position(ctx context.Context, pipeline string) (*Position, error)
	// SetPosition lets a pipeline go on from another instant; zero: from the beginning of all records.
	SetPosition(ctx context.Context, pipeline string, start time.Time) error
	Dead(context.Context, Filter, Page) (*DeadList, error)
	DeadLetter(ctx context.Context, id string) (*DeadContent, error)
	// Retry gives a dead letter another way: its record is mapped again by the mapping of today, or, where the record is not
	// known, its notification is sent again.
	Retry(ctx context.Context, id string, force bool) (*Retried, error)
	Discard(ctx context.Context, id string) error
	// Notifications lists those that wait and, newest first, those that were delivered.
	Notifications(context.Context, Filter, Page) (*NotificationList, error)
	Notification(ctx context.Context, id string) (*NotificationContent, error)
	Replay(context.Context, Replay) (*Replayed, error)
	// Trace tells what happened to a record.
	Trace(context.Context, Record) (*TraceContent, error)
	// Try maps a record with a script that is not in use, and keeps nothing.
	Try(context.Context, Trial) (*TriedContent, error)
	Adapters(context.Context) ([]Adapter, error)
	// Reload reads the configuration again. One that is invalid changes nothing.
	Reload(context.Context) (*Reloaded, error)
	// OpenPage makes a link that opens the web page once, for a short while. The error is ErrInvalid when there is no page.
	OpenPage(context.Context) (*Link, error)
	// Backup writes all of the state, as it is at one instant.
	Backup(context.Context, io.Writer) error
}

// Errors of an Engine.
var (
	ErrNotFound   = errors.New("not found")
	ErrNotRunning = errors.New("no engine is running")
	ErrSuperseded = errors.New("superseded")
	ErrInvalid    = errors.New("invalid")
)

// Error is an error whose text a person sees; Kind is one of the errors above, or nil.
type Error struct {
	Kind error
	Text string
}

func (e *Error) Error() string { return e.Text }

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

// Kinds of a Target.
const (
	Pipeline    = "pipeline"
	Destination = "destination"
)

// Target is what can be paused.
type Target struct {
	Kind string `json:"kind"` // Pipeline or Destination
	Name string `json:"name"`
}

// Status is the state of everything.
type Status struct {
	Running      bool                `json:"running"` // else the rest is what the state alone tells
	Version      string              `json:"version,omitempty"`
	PID          int                 `json:"pid,omitempty"`
	Started      time.Time           `json:"started,omitzero"`
	StateDir     string              `json:"state"`
	Reload       *Reloaded           `json:"reload,omitempty"` // the last one
	Attached     []Attached          `json:"attached,omitempty"`
	Pipelines    []PipelineStatus    `json:"pipelines"`
	Sources      []SourceStatus      `json:"sources"`
	Destinations []DestinationStatus `json:"destinations"`
}

// Attached is an adapter that a person debugs, in place of the program that the configuration names.
type Attached struct {
	Adapter string `json:"adapter"`
	Address string `json:"address"`
}

// PipelineStatus is one pipeline. State is "claiming", "waiting", "polling", "failing", "gap", "paused", "stopped" or "orphan"
// (its name is in the state and not in the configuration).
type PipelineStatus struct {
	Name        string    `json:"name"`
	Source      string    `json:"source,omitempty"`
	Feed        string    `json:"feed,omitempty"`
	Every       string    `json:"every,omitempty"`
	State       string    `json:"state"`
	Why         string    `json:"why,omitempty"` // what is wrong, or why it was paused
	Since       time.Time `json:"since,omitzero"`
	LastPoll    time.Time `json:"last_poll,omitzero"` // begin of the last poll that was read to its end
	NextPoll    time.Time `json:"next_poll,omitzero"`
	Failures    int       `json:"failures"` // polls that failed in a row
	DeadLetters int       `json:"dead_letters"`
	Worker      *Worker   `json:"worker,omitempty"` // nil: its mappings are not isolated
}

// Worker is the process of a pipeline's isolated mappings.
type Worker struct {
	PID  int `json:"pid"`  // 0: it does not run; it is started when there is something to map
	Ends int `json:"ends"` // how often it has ended by itself or had to be, since the pipeline was started
}

// SourceStatus is one source. State is "open", "not_ready" or "unused".
type SourceStatus struct {
	Name    string `json:"name"`
	Adapter string `json:"adapter"`
	State   string `json:"state"`
	Why     string `json:"why,omitempty"`
}

// DestinationStatus is one destination. State is "attaching", "delivering", "backing_off", "paused", "stopped" or "orphan".
type DestinationStatus struct {
	Name      string    `json:"name"`
	State     string    `json:"state"`
	Why       string    `json:"why,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Waiting   int       `json:"waiting"`         // notifications in the outbox
	Oldest    time.Time `json:"oldest,omitzero"` // when the oldest of them was committed
	InFlight  int       `json:"in_flight"`       // lanes
	Held      int       `json:"held"`            // lanes that are held behind a refused notification
	Delivered uint64    `json:"delivered"`       // since the engine started to deliver to it
}

// Polled says what became of the changes of one poll.
type Polled struct {
	Pages       int `json:"pages"`
	Changes     int `json:"changes"`
	New         int `json:"new"`
	Seen        int `json:"seen"`
	Stale       int `json:"stale"`
	BeforeStart int `json:"before_start"`
	Filtered    int `json:"filtered"`
	Skipped     int `json:"skipped"`
	Mapped      int `json:"mapped"`
	Dead        int `json:"dead"`
	Deleted     int `json:"deleted"`
	Expanded    int `json:"expanded"`
	Children    int `json:"children"`
}

// Position is where a pipeline stands.
type Position struct {
	Pipeline  string          `json:"pipeline"`
	Started   bool            `json:"started"`
	Start     time.Time       `json:"start,omitzero"`      // zero: the beginning of all records
	LastPoll  time.Time       `json:"last_poll,omitzero"`  // as in PipelineStatus
	Watermark json.RawMessage `json:"watermark,omitempty"` // as its adapter writes it; null: no window was finished yet
	HalfRead  bool            `json:"half_read"`           // a window was begun and not finished
	Epoch     uint64          `json:"epoch"`               // how often the position was set, or the feed was reset
}

// Filter chooses dead letters or notifications. What is empty does not restrict.
type Filter struct {
	Pipeline    string    `json:"pipeline,omitempty"`
	Destination string    `json:"destination,omitempty"`
	Code        string    `json:"code,omitempty"`   // of a dead letter's cause
	Record      string    `json:"record,omitempty"` // name of a record in logs, or with Pipeline its id
	From        time.Time `json:"from,omitzero"`
	To          time.Time `json:"to,omitzero"` // exclusive
}

// Page asks for a part of a list.
type Page struct {
	After string `json:"after,omitempty"` // Next of the page before; empty: the first
	Limit int    `json:"limit,omitempty"` // 0: 100
}

// DeadLetter is one without content.
type DeadLetter struct {
	ID          string    `json:"id"`
	Pipeline    string    `json:"pipeline"`
	Deliver     string    `json:"deliver,omitempty"`     // empty: it failed before it was mapped
	Destination string    `json:"destination,omitempty"` // of its notification, if it was mapped
	Record      string    `json:"record"`                // its name in logs
	Kind        string    `json:"kind"`
	Generation  uint64    `json:"generation"`
	Time        time.Time `json:"time"`
	Stage       string    `json:"stage"`
	Code        string    `json:"code"`
	Text        string    `json:"text"`
	Attempts    int       `json:"attempts"`
}

// DeadList is a page of dead letters, oldest first.
type DeadList struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
	Next        string       `json:"next,omitempty"`
}

// DeadContent is a dead letter with everything.
type DeadContent struct {
	DeadLetter
	RecordID   string          `json:"record_id"`
	Version    string          `json:"version"`
	Detail     string          `json:"detail,omitempty"` // what a script threw, what a receiver answered
	Change     json.RawMessage `json:"record_content,omitempty"`
	Previous   json.RawMessage `json:"previous,omitempty"`
	Body       json.RawMessage `json:"notification,omitempty"`
	Superseded bool            `json:"superseded"` // the record changed since: a retry needs force
	Tries      []Try           `json:"tries,omitempty"`
}

// Retried says what became of a dead letter.
type Retried struct {
	Notifications int  `json:"notifications"` // back in the outbox
	Filtered      bool `json:"filtered"`      // the mapping of today makes nothing of it
}

// Try is one attempt to deliver that failed.
type Try struct {
	Time time.Time `json:"time"`
	Code string    `json:"code"`
}

// Notification is one without content. State is "waiting" or "delivered".
type Notification struct {
	ID          string    `json:"id"`
	Pipeline    string    `json:"pipeline"`
	Deliver     string    `json:"deliver"`
	Destination string    `json:"destination"`
	Record      string    `json:"record"` // its name in logs
	Kind        string    `json:"kind"`
	Generation  uint64    `json:"generation"`
	State       string    `json:"state"`
	Changed     time.Time `json:"changed,omitzero"` // by the server's clock
	Polled      time.Time `json:"polled"`
	Tries       []Try     `json:"tries,omitempty"`
	Attempts    int       `json:"attempts"` // failed
	Next        time.Time `json:"next_attempt,omitzero"`
	Delivered   time.Time `json:"delivered,omitzero"`
	Code        string    `json:"code,omitempty"` // of its acceptance
}

// NotificationList is a page of notifications.
type NotificationList struct {
	Notifications []Notification `json:"notifications"`
	Next          string         `json:"next,omitempty"`
}

// NotificationContent is a notification with everything.
type NotificationContent struct {
	Notification
	RecordID string          `json:"record_id"`
	Version  string          `json:"version"`
	Change   json.RawMessage `json:"record_content,omitempty"` // what it was mapped from, where that is kept
	Body     json.RawMessage `json:"notification,omitempty"`
}

// Replay asks for delivered notifications to be delivered again.
type Replay struct {
	Filter Filter `json:"filter"`
	To     string `json:"to,omitempty"`     // another destination; empty: the same
	AsNew  bool   `json:"as_new,omitempty"` // with new ids, which a receiver does not take for repetitions
	Force  bool   `json:"force,omitempty"`  // also what a newer generation outside of the filter superseded
	DryRun bool   `json:"dry_run,omitempty"`
}

// Replayed says what was put into the outbox.
type Replayed struct {
	Notifications int `json:"notifications"`
	Superseded    int `json:"superseded"` // left out, as they would be delivered after a newer generation
}

// Record names a record: by its name in logs, or by its id.
type Record struct {
	Name     string `json:"name,omitempty"`
	Pipeline string `json:"pipeline,omitempty"`
	Kind     string `json:"kind,omitempty"` // empty: the one kind that there is with this id
	ID       string `json:"id,omitempty"`
}

// TraceContent is what happened to a record.
type TraceContent struct {
	Record     Record    `json:"record"`
	Generation uint64    `json:"generation"` // how often it changed
	Version    string    `json:"version"`
	Changed    time.Time `json:"changed,omitzero"`
	Deleted    bool      `json:"deleted"`
	Events     []Event   `json:"events"`
}

// Event is one step of a record's way. What is "polled", "fetched", "mapped", "attempt", "delivered", "waiting" or "dead_letter".
type Event struct {
	Time        time.Time `json:"time"`
	What        string    `json:"what"`
	Generation  uint64    `json:"generation"`
	Deliver     string    `json:"deliver,omitempty"`
	Destination string    `json:"destination,omitempty"`
	Code        string    `json:"code,omitempty"`
	Text        string    `json:"text,omitempty"`
	ID          string    `json:"id,omitempty"` // of the notification or dead letter
}

// Trial is a record, and a script to try on it. The record is that of a dead letter or of a notification, or is given.
type Trial struct {
	Pipeline     string          `json:"pipeline,omitempty"`
	Deliver      string          `json:"deliver,omitempty"`
	DeadLetter   string          `json:"dead_letter,omitempty"`
	Notification string          `json:"notification,omitempty"`
	Change       json.RawMessage `json:"record_content,omitempty"`
	Script       *string         `json:"script,omitempty"` // nil: the one that is in use
}

// TriedContent is what a mapping makes of a record.
type TriedContent struct {
	Pipeline string          `json:"pipeline"`
	Deliver  string          `json:"deliver"`
	File     string          `json:"file"`   // of the script, from the directory of the configuration on
	Script   string          `json:"script"` // text of the one that is in use
	Change   json.RawMessage `json:"record_content"`
	Body     json.RawMessage `json:"notification,omitempty"`
	Filtered bool            `json:"filtered"`
	Error    string          `json:"error,omitempty"`
	Detail   string          `json:"detail,omitempty"`
}

// Adapter is an adapter and its process.
type Adapter struct {
	Name     string    `json:"name"`
	Path     string    `json:"path,omitempty"` // empty: bundled
	Isolated string    `json:"isolated,omitempty"`
	Sources  int       `json:"sources"`
	Attached string    `json:"attached,omitempty"`     // the address at which a person debugs it
	PID      int       `json:"pid,omitempty"`          // of the engine's own process
	Memory   int64     `json:"memory_bytes,omitempty"` // that its process takes; 0: not known
	Since    time.Time `json:"since,omitzero"`
	Starts   int       `json:"starts"`
	Why      string    `json:"why,omitempty"` // why it does not run, though it should
}

// Reloaded says what a new reading of the configuration changed.
type Reloaded struct {
	Time      time.Time `json:"time"`
	Error     string    `json:"error,omitempty"` // why nothing changed
	Started   []string  `json:"started,omitempty"`
	Stopped   []string  `json:"stopped,omitempty"`
	Restarted []string  `json:"restarted,omitempty"`
	Unchanged int       `json:"unchanged"`
}

// Link opens the web page. Whoever has it first is let in as who asked for it.
type Link struct {
	URL string `json:"url"`
}

type actorKey struct{}

// As tells who asks, for what is written down of looks at content: "uid 1000 by the admin socket".
func As(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// Actor is who asks; empty: nobody said.
func Actor(ctx context.Context) string {
	actor, _ := ctx.Value(actorKey{}).(string)
	return actor
}
