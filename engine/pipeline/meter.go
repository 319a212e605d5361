// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Meter counts what a pipeline does. What is read or mapped again counts again; what is committed counts once. Its methods are
// called from several goroutines at a time.
//
// Invariant 6: it is told names of the configuration, codes, numbers and times, and nothing of a record.
type Meter interface {
	// Polled is told of one page that the adapter was asked for, or would have been if the source could be opened: how many calls
	// to the EHR it made, what pause the EHR asks for, and what failed, nothing if the code is empty.
	Polled(took time.Duration, calls int, wait time.Duration, code sdk.Code)
	// Changes is told how n changes were judged: new, seen, stale, before_start; deleted, as inferred from a scan; expanded, for
	// parents; and skipped, for what is missing, of the new ones.
	Changes(outcome string, n int)
	// Called is told of one call that fetched, and Fetched what came of n records that it asked for; all is well if the code is
	// empty.
	Called(took time.Duration)
	Fetched(resource string, code sdk.Code, n int)
	// Unwanted is told of a record for which a deliver block's filter does not hold, Mapped of one call of a mapping: mapped,
	// filtered, failed, timed_out, abandoned (it timed out and runs on), refused (it was not called).
	Unwanted(deliver string)
	Mapped(deliver, outcome string, took time.Duration)
	// Committed is told of one commit, Notification and DeadLetter of what is in it.
	Committed(took time.Duration, err error)
	Notification(deliver, destination string)
	DeadLetter(stage record.Stage)
}

// Unmetered counts nothing.
type Unmetered struct{}

func (Unmetered) Polled(time.Duration, int, time.Duration, sdk.Code) {}
func (Unmetered) Changes(string, int)                                {}
func (Unmetered) Called(time.Duration)                               {}
func (Unmetered) Fetched(string, sdk.Code, int)                      {}
func (Unmetered) Unwanted(string)                                    {}
func (Unmetered) Mapped(string, string, time.Duration)               {}
func (Unmetered) Committed(time.Duration, error)                     {}
func (Unmetered) Notification(string, string)                        {}
func (Unmetered) DeadLetter(record.Stage)                            {}

// stopped says that a call was cut off by the stop of the pipeline, which says nothing of the server.
func stopped(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// tell tells the meter how changes were judged since it was told last.
func (w *window) tell() {
	now, before := w.stats, w.told
	w.told = *now
	for _, c := range []struct {
		outcome string
		n       int
	}{
		{"new", now.fresh - now.deleted - before.fresh + before.deleted},
		{"seen", now.seen - before.seen},
		{"stale", now.stale - before.stale},
		{"before_start", now.primed - before.primed},
		{"deleted", now.deleted - before.deleted},
		{"expanded", now.expanded - before.expanded},
		{"skipped", now.skipped - before.skipped},
	} {
		if c.n > 0 {
			w.Meter.Changes(c.outcome, c.n)
		}
	}
}

// answered tells the meter of one call that fetched.
func (w *window) answered(refs []sdk.Ref, results []sdk.Result, err error, took time.Duration) {
	w.Meter.Called(took)
	type outcome struct {
		resource string
		code     sdk.Code
	}
	counts := map[outcome]int{}
	for i, ref := range refs {
		code := sdk.CodeOf(err)
		if err == nil && i < len(results) {
			code = sdk.CodeOf(results[i].Err)
		}
		counts[outcome{ref.Kind, code}]++
	}
	for o, n := range counts {
		w.Meter.Fetched(o.resource, o.code, n)
	}
}

// mapping names what came of a call of a mapping.
func mapping(body []byte, err error) string {
	var failed *MapError
	switch {
	case errors.As(err, &failed) && failed.Abandoned:
		return "abandoned"
	case errors.As(err, &failed) && failed.TimedOut:
		return "timed_out"
	case errors.As(err, &failed):
		return "failed"
	case err != nil:
		return "refused"
	case body == nil:
		return "filtered"
	}
	return "mapped"
}

// committed tells the meter of a commit.
func (w *window) committed(b *store.Batch, took time.Duration, err error) {
	w.Meter.Committed(took, err)
	if err != nil {
		return
	}
	for i := range b.Entries {
		w.Meter.Notification(b.Entries[i].Deliver, b.Entries[i].Destination)
	}
	for i := range b.Dead {
		w.Meter.DeadLetter(b.Dead[i].Cause.Stage)
	}
}
