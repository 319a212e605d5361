// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package record holds the few types that the rooms of the engine share: what walks from poll to delivery.
package record

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// Record is the container of one change: the change and everything that was fetched for it.
type Record struct {
	Change  sdk.Change
	Parent  *sdk.Change                // what the feed listed, when the change was made of it by an expansion; else nil
	Fetched map[string]json.RawMessage // by label of the fetch block; JSON null where there was nothing to fetch
}

// Entry is one notification that is committed and not yet accepted by its destination.
type Entry struct {
	ID          string // notification id, the same in every attempt
	Pipeline    string
	Deliver     string // label of the deliver block
	Destination string // name as referred to in HCL, "webhook.scheduling"
	Key         string // ordering key; entries of one pipeline and key are a lane
	Ref         sdk.Ref
	Version     string
	Generation  uint64
	Time        time.Time // of the change, by the EHR's clock; zero: unknown
	Seq         uint64    // number in the order of commit; given by the store, zero before
	Committed   time.Time // when it went into the outbox: given by the pipeline loop, by the store when a person put it back
	Body        []byte    // rendered at commit
	Record      []byte    // the record in its JSON form, kept where a rejection becomes a dead letter to be mapped again; may be nil
	Previous    []byte    // the record before in its JSON form, kept beside Record where the pipeline keeps it; may be nil
	Attempts    int       // attempts that failed so far
	NextAttempt time.Time // not before; zero: at once
	Tries       []Try     // attempts that failed, oldest first, the last 20
	Trace       string    // W3C traceparent of the poll that made it; may be empty
}

// Try is an attempt to deliver that failed.
type Try struct {
	At   time.Time
	Code string // short and stable: "http_503"
}

// maxTries bounds Entry.Tries: a destination may be down for days.
const maxTries = 20

// Tried appends an attempt that failed.
func (e *Entry) Tried(t Try) {
	from := max(0, len(e.Tries)+1-maxTries)
	e.Tries = append(slices.Clone(e.Tries[from:]), t) // others may hold the old ones
}

// DeadLetter is a change or a notification that can't succeed without a person.
type DeadLetter struct {
	ID         string
	Pipeline   string
	Deliver    string // label of the deliver block; empty when the change failed before mapping
	Key        string
	Ref        sdk.Ref
	Version    string
	Generation uint64
	Time       time.Time
	Cause      Cause
	Record     []byte // the record in its JSON form; nil when it is not known
	Previous   []byte // the record before in its JSON form, where the pipeline keeps it; nil: there was none
	Entry      *Entry // the notification, when it was rendered
}

// Stage names the step of a record's way.
type Stage string

// The stages.
const (
	StagePoll    Stage = "poll"
	StageFetch   Stage = "fetch"
	StageMap     Stage = "map"
	StageCommit  Stage = "commit"
	StageDeliver Stage = "deliver"
)

// Cause says why something became a dead letter. Text may be logged; Detail may hold record content (what a script
// threw, what a receiver answered): it is kept in the state and never logged.
type Cause struct {
	Stage    Stage
	Code     string // short and stable: "not_found", "script_error", "http_422"
	Text     string
	Detail   string
	Attempts int
}

// Verdict is what a failed send means.
type Verdict int

// The verdicts.
const (
	Retry  Verdict = iota // may pass by itself: network, 408, 425, 429, 5xx
	Reject                // the receiver refuses this notification: other 4xx
	Pause                 // the receiver refuses all: 401, 403, 404, 407, 410
)

// SendError is the error of a destination. Any other error of a destination is taken for Retry, its text withheld.
type SendError struct {
	Verdict Verdict
	Code    string        // short and stable: "http_503", "network"
	Text    string        // may be logged: no body, no URL
	Detail  string        // what the receiver answered, bounded; never logged
	After   time.Duration // the pause that the receiver asks for; zero: it did not say
}

func (e *SendError) Error() string { return e.Text }
