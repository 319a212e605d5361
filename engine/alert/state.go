// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// kept is the snapshot of an alert's row.
type kept struct {
	To      string  `json:"to"` // destination that was told; empty: none was
	Message Message `json:"message"`
}

// claim takes the state and reads what is firing. A row that is Deleted is of an alert that is over, so what Unmarked lists is the rest:
// no scan ever marks a row here.
func (l *Loop) claim(ctx context.Context) error {
	feed, err := l.Claim(ctx, Owner)
	if err != nil {
		return err
	}
	all := map[sdk.Ref]*firing{}
	for token := []byte(nil); ; {
		refs, next, err := feed.Unmarked(ctx, 1, token, l.Limits.Refs)
		if err != nil {
			return err
		}
		rows, err := feed.Seen(ctx, refs)
		if err != nil {
			return err
		}
		snapshots, err := feed.Snapshots(ctx, refs)
		if err != nil {
			return err
		}
		for _, row := range rows {
			f := &firing{row: row}
			if err := json.Unmarshal(snapshots[row.Ref], &f.kept); err != nil {
				return fmt.Errorf("what is kept of an alert: %w", store.ErrDamaged)
			}
			all[row.Ref] = f
		}
		if token = next; len(token) == 0 {
			break
		}
	}
	var past memory
	if mark := feed.Position().Watermark; len(mark) > 0 {
		if err := json.Unmarshal(mark, &past); err != nil {
			return fmt.Errorf("what is kept for alerts: %w", store.ErrDamaged)
		}
	}
	l.Meter.restore(time.Now(), past)
	l.feed, l.firing = feed, all
	return nil
}

// tell commits changes, as many at a time as the store takes: each row with its message.
func (l *Loop) tell(ctx context.Context, now time.Time, changes []change) error {
	generations, err := l.generations(ctx, changes)
	if err != nil {
		return err
	}
	var b store.Batch
	var part []change
	commit := func() error {
		if len(part) == 0 {
			return nil
		}
		if err := l.commit(ctx, now, b); err != nil {
			return err
		}
		for i, c := range part {
			l.told(c, b.Rows[i])
		}
		b, part = store.Batch{}, nil
		return nil
	}
	for _, c := range changes {
		row, entry, err := l.render(ctx, now, c, generations[c.ref]+1)
		if err != nil {
			return err
		}
		size := store.RowSize(&row)
		if entry != nil {
			size += store.EntrySize(entry)
		}
		if b.Items()+2 > l.Limits.Items || b.Size()+size > l.Limits.Bytes/2 {
			if err := commit(); err != nil {
				return err
			}
		}
		b.Rows, part = append(b.Rows, row), append(part, c)
		if entry != nil {
			b.Entries = append(b.Entries, *entry)
		}
	}
	return commit()
}

// generations are those of the alerts that were told before.
func (l *Loop) generations(ctx context.Context, changes []change) (map[sdk.Ref]uint64, error) {
	all := map[sdk.Ref]uint64{}
	for part := range slices.Chunk(changes, l.Limits.Refs) {
		var refs []sdk.Ref
		for _, c := range part {
			refs = append(refs, c.ref)
		}
		rows, err := l.feed.Seen(ctx, refs)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			all[row.Ref] = row.Generation
		}
	}
	return all, nil
}

// render makes the row and the message of a change; no entry if nobody is told.
func (l *Loop) render(ctx context.Context, now time.Time, c change, generation uint64) (store.Row, *record.Entry, error) {
	to := l.destination(c)
	snapshot, err := json.Marshal(kept{to, c.message})
	if err != nil {
		return store.Row{}, nil, err
	}
	row := store.Row{
		Ref: c.ref, Generation: generation, Version: c.message.State, Time: now, Key: c.ref.ID,
		Deleted: c.message.State == isResolved, Snapshot: snapshot,
	}
	if to == "" {
		return row, nil, nil
	}
	body, err := l.body(ctx, c)
	if err != nil || body == nil {
		return row, nil, err
	}
	return row, &record.Entry{
		ID: messageID(c.ref, generation, to, now), Pipeline: Owner, Deliver: alertName(c.ref), Destination: to, Key: c.ref.ID, Ref: c.ref,
		Version: c.message.State, Generation: generation, Committed: now, Body: body,
	}, nil
}

// destination is who is told: that an alert is over, who was told that it fires. Empty: nobody is left.
func (l *Loop) destination(c change) string {
	if c.was != nil && slices.Contains(l.Destinations, c.was.kept.To) {
		return c.was.kept.To
	}
	if c.rule != nil {
		return c.rule.To
	}
	return ""
}

// body is what is sent; nil: nothing.
func (l *Loop) body(ctx context.Context, c change) ([]byte, error) {
	plain, err := json.Marshal(c.message)
	if err != nil || c.rule == nil || c.rule.Map == nil {
		return plain, err
	}
	body, err := c.rule.Map(ctx, &record.Record{Change: sdk.Change{Ref: c.ref, Version: c.message.State, Time: c.message.Time, Data: plain}})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil: // somebody has to be told all the same
		l.Logger.Error("the mapping of an alert failed; the alert is sent as it is", "alert", c.rule.Name, "error", err)
		return plain, nil
	}
	return body, nil
}

// messageID is the same in every attempt, and for no other message: it is made once, as the row of the same commit tells after a crash
// that the message was made. A restored backup counts generations again, so the time tells apart what they are of.
func messageID(ref sdk.Ref, generation uint64, to string, at time.Time) string {
	h := sha256.New()
	for _, s := range []string{"alert", ref.ID, to, at.UTC().Format(time.RFC3339Nano)} {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	h.Write(binary.AppendUvarint(nil, generation))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// told takes note of a change that was committed.
func (l *Loop) told(c change, row store.Row) {
	if c.message.State == isResolved {
		delete(l.firing, c.ref)
		l.Logger.Info("an alert is resolved", "alert", c.message.Alert, "subject", c.message.Subject, "text", c.message.Text)
		return
	}
	l.firing[c.ref] = &firing{row: row, kept: kept{c.rule.To, c.message}}
	l.Logger.Warn("an alert fires", "alert", c.message.Alert, "subject", c.message.Subject, "text", c.message.Text)
}

func (l *Loop) save(ctx context.Context) error { return l.commit(ctx, time.Now(), store.Batch{}) }

// commit writes a batch, and what the meter is to keep with it. A commit that began is not cut off by the stop.
func (l *Loop) commit(ctx context.Context, now time.Time, b store.Batch) error {
	var past memory
	position := l.feed.Position()
	position.Watermark = nil // without rules nobody keeps it up
	if len(l.Rules) > 0 {
		past = l.Meter.memory(now)
		var err error
		if position.Watermark, err = json.Marshal(past); err != nil {
			return err
		}
	}
	b.Base, b.Position = position.Commit, &position
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	if err := l.feed.Commit(ctx, b); err != nil {
		return err
	}
	l.Meter.wasSaved(now, past)
	return nil
}
