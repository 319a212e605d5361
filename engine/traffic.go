// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

func (r *running) notification(e *record.Entry, delivered time.Time, code string) operate.Notification {
	out := operate.Notification{
		ID: e.ID, Pipeline: e.Pipeline, Deliver: e.Deliver, Destination: e.Destination, Record: record.Name(r.state.Secret(), e.Pipeline, e.Ref),
		Kind: e.Ref.Kind, Generation: e.Generation, State: "waiting", Changed: e.Time, Polled: e.Committed, Tries: tries(e.Tries),
		Attempts: e.Attempts, Next: e.NextAttempt, Delivered: delivered, Code: code,
	}
	if !delivered.IsZero() {
		out.State, out.Next = "delivered", time.Time{}
	}
	return out
}

// Notifications implements operate.Engine. The first pages are of those that wait; the last byte of a token says which list goes on.
func (e *Engine) Notifications(ctx context.Context, f operate.Filter, page operate.Page) (*operate.NotificationList, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	token, limit, err := span(page)
	if err != nil {
		return nil, err
	}
	filter, err := r.filter(ctx, f)
	if err != nil {
		return nil, err
	}
	out := &operate.NotificationList{Notifications: []operate.Notification{}}
	const waiting, delivered = 'w', 'd'
	list := byte(waiting)
	if n := len(token); n > 0 {
		list, token = token[n-1], token[:n-1]
	}
	if len(token) == 0 {
		token = nil
	}
	var next []byte
	if list == waiting {
		entries, more, err := r.state.Admin().Waiting(ctx, filter, token, limit)
		if err != nil {
			return nil, shown(err)
		}
		for i := range entries {
			out.Notifications = append(out.Notifications, r.notification(&entries[i], time.Time{}, ""))
		}
		if len(more) > 0 {
			out.Next = nextPage(append(slices.Clone(more), waiting))
			return out, nil
		}
		token = nil
	}
	if room := limit - len(out.Notifications); room > 0 {
		var done []store.Delivered
		if done, next, err = r.state.Admin().Delivered(ctx, filter, true, token, room); err != nil {
			return nil, shown(err)
		}
		for i := range done {
			out.Notifications = append(out.Notifications, r.notification(&done[i].Entry, done[i].At, done[i].Code))
		}
		if len(next) == 0 {
			return out, nil
		}
	}
	out.Next = nextPage(append(slices.Clone(next), delivered))
	return out, nil
}

// Notification implements operate.Engine.
func (e *Engine) Notification(ctx context.Context, id string) (*operate.NotificationContent, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	entry, at, code, err := r.entry(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := r.audit(ctx, "notification", entry.Pipeline, entry.Ref); err != nil {
		return nil, err
	}
	return &operate.NotificationContent{
		Notification: r.notification(entry, at, code), RecordID: entry.Ref.ID, Version: entry.Version, Change: asJSON(entry.Record), Body: asJSON(entry.Body),
	}, nil
}

// entry finds a notification that waits or was delivered.
func (r *running) entry(ctx context.Context, id string) (e *record.Entry, delivered time.Time, code string, err error) {
	if id == "" {
		return nil, delivered, "", refusal(operate.ErrInvalid, "the id of a notification is needed")
	}
	filter := store.Filter{ID: id}
	for token := []byte(nil); ; {
		entries, next, err := r.state.Admin().Waiting(ctx, filter, token, 1)
		if err != nil {
			return nil, delivered, "", shown(err)
		}
		if len(entries) > 0 {
			return &entries[0], delivered, "", nil
		}
		if token = next; len(token) == 0 {
			break
		}
	}
	for token := []byte(nil); ; {
		done, next, err := r.state.Admin().Delivered(ctx, filter, true, token, 1)
		if err != nil {
			return nil, delivered, "", shown(err)
		}
		if len(done) > 0 {
			return &done[0].Entry, done[0].At, done[0].Code, nil
		}
		if token = next; len(token) == 0 {
			break
		}
	}
	return nil, delivered, "", refusal(operate.ErrNotFound, "no notification of that id waits, or was delivered and is still kept")
}

// Replay implements operate.Engine. The order is that of the deliveries, so that each lane gets its notifications as it got them.
//
// Invariant 4: what a newer generation superseded goes nowhere without force, unless the newest is replayed after it.
func (e *Engine) Replay(ctx context.Context, o operate.Replay) (*operate.Replayed, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	if o.To != "" {
		if err := r.destination(ctx, o.To); err != nil {
			return nil, err
		}
	}
	if now := time.Now(); o.Filter.To.IsZero() || o.Filter.To.After(now) {
		o.Filter.To = now // what is delivered meanwhile, replayed notifications too, is none of it
	}
	filter, err := r.filter(ctx, o.Filter)
	if err != nil {
		return nil, err
	}
	out, then := &operate.Replayed{}, r.builds()
	err = r.delivered(ctx, filter, func(page []store.Delivered) error {
		var all []store.Again
		for i := range page {
			again := store.Again{Entry: page[i].Entry}
			if !o.Force {
				newest, superseded, err := r.superseded(ctx, &page[i], filter)
				if err != nil {
					return err
				}
				if superseded {
					out.Superseded++
					continue
				}
				again.Newest = newest
			}
			again.Destination = cmp.Or(o.To, again.Destination)
			if o.AsNew {
				again.ID = newID()
			}
			all = append(all, again)
		}
		if o.DryRun {
			out.Notifications += len(all)
			return nil
		}
		return r.replay(ctx, then, all, out)
	})
	if !o.DryRun && (err == nil || out.Notifications > 0) {
		e.o.Logger.Info("a person replayed delivered notifications", "notifications", out.Notifications, "left_out", out.Superseded,
			"all", err == nil, "by", operate.Actor(ctx))
	}
	return out, err
}

// superseded says whether there is a newer generation of an entry that is not replayed after it, by the same deliver block to the same
// destination: one that the filter does not choose, that waits, that was delivered before the older one, or that came to nothing.
// It gives the newest generation that there is.
func (r *running) superseded(ctx context.Context, e *store.Delivered, f store.Filter) (newest uint64, superseded bool, err error) {
	row, known, err := r.state.Admin().Row(ctx, e.Pipeline, e.Ref)
	if err != nil {
		return 0, false, shown(err)
	}
	if !known || row.Generation <= e.Generation {
		return e.Generation, false, nil
	}
	f.Pipeline, f.Ref = e.Pipeline, e.Ref
	for token := []byte(nil); ; { // newest first, as it mostly is that which was delivered last
		later, next, err := r.state.Admin().Delivered(ctx, f, true, token, 8)
		if err != nil {
			return 0, false, shown(err)
		}
		for _, d := range later {
			switch {
			case !d.At.After(e.At) && (!d.At.Equal(e.At) || d.Seq <= e.Seq):
				return row.Generation, true, nil
			case d.Generation == row.Generation && d.Deliver == e.Deliver && d.Destination == e.Destination:
				return row.Generation, false, nil
			}
		}
		if token = next; len(token) == 0 {
			return row.Generation, true, nil
		}
	}
}

// replay puts entries into the outbox, as many at a time as the store takes.
func (r *running) replay(ctx context.Context, then *builder, all []store.Again, out *operate.Replayed) error {
	limits := r.state.Limits()
	for len(all) > 0 {
		n, size := 0, 0
		for n < len(all) && n < limits.Items && (n == 0 || size+store.EntrySize(&all[n].Entry) <= limits.Bytes) {
			size += store.EntrySize(&all[n].Entry)
			n++
		}
		entries := make([]record.Entry, n)
		for i := range entries {
			entries[i] = all[i].Entry
		}
		done, err := r.entering(then, entries)
		if err != nil {
			return refusal(operate.ErrInvalid, "%d notifications were put into the outbox, then: %v", out.Notifications, err)
		}
		superseded, err := r.state.Admin().Replay(ctx, all[:n])
		done()
		if err != nil {
			return refusal(nil, "%d notifications were put into the outbox, then it failed: %s. Replay the same once more: "+
				"of a record that changed, the newest may be among those that are missing", out.Notifications, store.Text(err))
		}
		out.Notifications += n - superseded
		out.Superseded += superseded
		all = all[n:]
	}
	return nil
}

// delivered goes through all that was delivered, oldest first.
func (r *running) delivered(ctx context.Context, f store.Filter, page func([]store.Delivered) error) error {
	for token := []byte(nil); ; {
		done, next, err := r.state.Admin().Delivered(ctx, f, false, token, 256)
		if err != nil {
			return shown(err)
		}
		if err := page(done); err != nil {
			return err
		}
		if token = next; len(token) == 0 {
			return nil
		}
	}
}

func newID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// find finds a record's row, by what it is called in logs or by its id.
func (r *running) find(ctx context.Context, want operate.Record) (pipeline string, row store.Row, err error) {
	positions, err := r.state.Admin().Positions(ctx)
	if err != nil {
		return "", row, shown(err)
	}
	if want.Name == "" && want.ID == "" {
		return "", row, refusal(operate.ErrInvalid, "a record is found by its name in logs, or by pipeline and id")
	}
	if want.ID != "" {
		if _, known := positions[want.Pipeline]; !known {
			return "", row, refusal(operate.ErrNotFound, "the state knows no pipeline %q; it knows: %s", want.Pipeline, listed(positions))
		}
	}
	if want.ID != "" && want.Kind != "" {
		row, known, err := r.state.Admin().Row(ctx, want.Pipeline, sdk.Ref{Kind: want.Kind, ID: want.ID})
		if err != nil {
			return "", row, shown(err)
		}
		if known {
			return want.Pipeline, row, nil
		}
	}
	secret := r.state.Secret()
	for pipeline := range positions {
		if want.Pipeline != "" && want.Pipeline != pipeline {
			continue
		}
		for token := []byte(nil); ; {
			rows, next, err := r.state.Admin().Rows(ctx, pipeline, token, 1000)
			if err == nil {
				err = ctx.Err() // there may be millions
			}
			if err != nil {
				return "", row, shown(err)
			}
			for _, row := range rows {
				if want.ID != "" && row.Ref.ID == want.ID && (want.Kind == "" || want.Kind == row.Ref.Kind) ||
					want.Name != "" && record.Name(secret, pipeline, row.Ref) == want.Name {
					return pipeline, row, nil
				}
			}
			if token = next; len(token) == 0 {
				break
			}
		}
	}
	return "", row, refusal(operate.ErrNotFound, "the state knows no such record")
}

// Trace implements operate.Engine.
func (e *Engine) Trace(ctx context.Context, want operate.Record) (*operate.TraceContent, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	pipeline, row, err := r.find(ctx, want)
	if err != nil {
		return nil, err
	}
	if err := r.audit(ctx, "trace", pipeline, row.Ref); err != nil {
		return nil, err
	}
	out := &operate.TraceContent{
		Record:     operate.Record{Name: record.Name(r.state.Secret(), pipeline, row.Ref), Pipeline: pipeline, Kind: row.Ref.Kind, ID: row.Ref.ID},
		Generation: row.Generation, Version: row.Version, Changed: row.Time, Deleted: row.Deleted, Events: []operate.Event{},
	}
	filter := store.Filter{Pipeline: pipeline, Ref: row.Ref}
	t := &trace{seen: map[uint64]bool{}}
	err = errors.Join(
		pages(func(token []byte) (list []store.Delivered, next []byte, err error) {
			return r.state.Admin().Delivered(ctx, filter, false, token, 256)
		}, func(d store.Delivered) {
			t.entry(&d.Entry)
			t.add(d.At, "delivered", &d.Entry, d.Code, "")
		}),
		pages(func(token []byte) (list []record.Entry, next []byte, err error) {
			return r.state.Admin().Waiting(ctx, filter, token, 256)
		}, func(entry record.Entry) {
			t.entry(&entry)
			t.add(time.Now(), "waiting", &entry, "", "")
		}),
		pages(func(token []byte) (list []record.DeadLetter, next []byte, err error) {
			return r.state.Admin().Dead(ctx, filter, token, 256)
		}, func(d record.DeadLetter) { t.letter(&d) }),
	)
	if err != nil {
		return nil, shown(err)
	}
	out.Events = t.sorted()
	return out, nil
}

func pages[T any](get func(token []byte) ([]T, []byte, error), do func(T)) error {
	for token := []byte(nil); ; {
		list, next, err := get(token)
		if err != nil {
			return err
		}
		for _, x := range list {
			do(x)
		}
		if token = next; len(token) == 0 {
			return nil
		}
	}
}

// trace collects what happened to a record, from what is kept of it.
type trace struct {
	events []operate.Event
	seen   map[uint64]bool // generations whose poll is told
}

func (t *trace) add(at time.Time, what string, e *record.Entry, code, text string) {
	t.events = append(t.events, operate.Event{
		Time: at, What: what, Generation: e.Generation, Deliver: e.Deliver, Destination: e.Destination, Code: code, Text: text, ID: e.ID,
	})
}

// origin tells how a generation came to be, once.
func (t *trace) origin(at time.Time, generation uint64, content []byte) {
	if t.seen[generation] {
		return
	}
	t.seen[generation] = true
	t.events = append(t.events, operate.Event{Time: at, What: "polled", Generation: generation})
	rec, err := record.Unmarshal(content)
	if err != nil {
		return // it was not kept
	}
	for _, name := range slices.Sorted(maps.Keys(rec.Fetched)) {
		t.events = append(t.events, operate.Event{Time: at, What: "fetched", Generation: generation, Text: name})
	}
}

func (t *trace) entry(e *record.Entry) {
	t.origin(e.Committed, e.Generation, e.Record)
	t.add(e.Committed, "mapped", e, "", "")
	for _, try := range e.Tries {
		t.add(try.At, "attempt", e, try.Code, "")
	}
}

func (t *trace) letter(d *record.DeadLetter) {
	if d.Entry != nil {
		t.entry(d.Entry)
	} else {
		t.origin(d.Time, d.Generation, d.Record)
	}
	t.events = append(t.events, operate.Event{
		Time: d.Time, What: "dead_letter", Generation: d.Generation, Deliver: d.Deliver, Code: d.Cause.Code, Text: d.Cause.Text, ID: d.ID,
	})
}

func (t *trace) sorted() []operate.Event {
	slices.SortStableFunc(t.events, func(a, b operate.Event) int { return a.Time.Compare(b.Time) })
	return t.events
}
