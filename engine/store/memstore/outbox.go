// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

var errToken = errors.New("this token was never given")

type outbox struct {
	store *Store
	queue *queue
	owner *owner
}

// enter locks the memory for an owner; the caller unlocks it when the error is nil.
func (o *outbox) enter(ctx context.Context) error {
	if err := o.store.enter(ctx); err != nil {
		return err
	}
	if o.queue.owner != o.owner {
		o.store.mu.Unlock()
		return store.ErrFenced
	}
	return nil
}

func (o *outbox) Lanes(ctx context.Context, token []byte, limit int) (lanes []string, next []byte, err error) {
	if err := o.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer o.store.mu.Unlock()
	after, given := strings.CutPrefix(string(token), "after ")
	if token != nil && !given {
		return nil, nil, errToken
	}
	for _, name := range slices.Sorted(maps.Keys(o.queue.lanes)) {
		switch {
		case given && name <= after:
		case len(lanes) == limit:
			return lanes, []byte("after " + lanes[limit-1]), nil
		default:
			lanes = append(lanes, name)
		}
	}
	return lanes, nil, nil
}

func (o *outbox) Head(ctx context.Context, lane string, n int) ([]record.Entry, error) {
	if err := o.enter(ctx); err != nil {
		return nil, err
	}
	defer o.store.mu.Unlock()
	entries := o.queue.lanes[lane]
	head := slices.Clone(entries[:min(n, len(entries))])
	for i := range head {
		head[i] = cloneEntry(head[i])
	}
	return head, nil
}

func (o *outbox) Ack(ctx context.Context, done ...store.Done) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.store.mu.Unlock()
	if len(done) > o.store.limits.Items {
		return fmt.Errorf("%d acknowledgements at once: %w", len(done), store.ErrTooLarge)
	}
	for _, d := range done {
		if e, ok := o.queue.take(d.EntryID); ok && o.store.Keep > 0 {
			o.store.keep(store.Delivered{Entry: e, At: d.At.Round(0), Code: d.Code})
		}
	}
	return nil
}

func (o *outbox) Defer(ctx context.Context, id store.EntryID, a store.Attempt) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.store.mu.Unlock()
	if i := o.queue.find(id); i >= 0 {
		e := &o.queue.lanes[id.Lane][i]
		e.Attempts, e.NextAttempt = a.Attempts, a.Next.Round(0)
		e.Tried(record.Try{At: a.At.Round(0), Code: a.Code})
	}
	return nil
}

func (o *outbox) Bury(ctx context.Context, id store.EntryID, cause record.Cause, at time.Time) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.store.mu.Unlock()
	if e, ok := o.queue.take(id); ok {
		e.Tried(record.Try{At: at.Round(0), Code: cause.Code})
		o.store.bury(record.DeadLetter{
			ID: e.ID, Pipeline: e.Pipeline, Deliver: e.Deliver, Key: e.Key, Ref: e.Ref, Version: e.Version, Generation: e.Generation,
			Time: at.Round(0), Cause: cause, Record: e.Record, Previous: e.Previous, Entry: &e,
		})
	}
	return nil
}

func (o *outbox) Wake() <-chan struct{} { return o.queue.wake }
func (o *outbox) Lost() <-chan struct{} { return o.owner.lost }

func (o *outbox) Release(context.Context) error {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	if o.queue.owner == o.owner {
		o.owner.lose()
		o.queue.owner = nil
	}
	return nil
}

func (q *queue) find(id store.EntryID) int {
	return slices.IndexFunc(q.lanes[id.Lane], func(e record.Entry) bool { return e.Seq == id.Seq && e.ID == id.ID })
}

// take removes an entry, if it is there.
func (q *queue) take(id store.EntryID) (record.Entry, bool) {
	i := q.find(id)
	if i < 0 {
		return record.Entry{}, false
	}
	e := q.lanes[id.Lane][i]
	if q.lanes[id.Lane] = slices.Delete(q.lanes[id.Lane], i, i+1); len(q.lanes[id.Lane]) == 0 {
		delete(q.lanes, id.Lane)
	}
	return e, true
}
