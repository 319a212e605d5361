// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

const smallState = 10_000 // rows of the state that the grown one is held against

// grownLoad is how many times the waiting load is measured on a grown state: rows are merged in bursts. With ten million of them one comes
// with every 100,000 changes or so, and it takes twice as much, -appointments 40000, to have both sides of it.
const grownLoad = 5

// grown measures the waiting load on a state that knows few other records, and on one that knows many.
func (b *bench) grown(ctx context.Context) error {
	sizes, details := []int{min(smallState, b.Rows), b.Rows}, ""
	for i, rows := range sizes {
		tell("grown: a state of %d rows is made", rows)
		began := time.Now()
		if err := b.grow(ctx, b.state("grown", i), rows); err != nil {
			return err
		}
		details = fmt.Sprintf("%d rows were made in %v and take %.0f MB", rows, time.Since(began).Round(100*time.Millisecond), tables(b.state("grown", i)))
	}
	o, changes, patients := usual, grownLoad*b.Appointments, grownLoad*b.Patients
	o.Page = b.Page
	w, err := b.world(changes, patients)
	if err != nil {
		return err
	}
	defer w.end()
	var contenders []contender
	for i, rows := range sizes {
		used := b.state("used", i)
		contenders = append(contenders, contender{fmt.Sprintf("%d rows", rows), true, func(int) (*process, error) {
			if err := os.RemoveAll(used); err != nil { // of the round before
				return nil, err
			}
			if err := again(b.state("grown", i), used); err != nil {
				return nil, err
			}
			p, err := w.rounds(o, used)
			if err == nil {
				p.rests = func(ctx context.Context) error { return rest(ctx, used, b.Settle) } // what it left to merge is its own
			}
			return p, err
		}})
	}
	results, err := b.medians(ctx, "grown", w, contenders)
	if err != nil {
		return err
	}
	b.report.table(fmt.Sprintf("grown: %d changed appointments of %d patients, in pages of %d, and other records known before", changes, patients, b.Page), results)
	small, large := results[0], results[1]
	each := func(r result) float64 { return r.CPUMillis - r.StartMillis/float64(changes) } // a start is no change's, however long it takes
	b.report.add(figure{Mode: "grown", Name: fmt.Sprintf("cost per change (CPU), %s ÷ %s", large.Name, small.Name), Measured: each(large) / each(small),
		AtMost: 1.2, Details: fmt.Sprintf("%.3f and %.3f ms; CPU of the start %.0f and %.0f ms; %s", each(large), each(small), large.StartMillis, small.StartMillis, details)})
	b.report.add(figure{Mode: "grown", Name: fmt.Sprintf("time per change, %s ÷ %s", large.Name, small.Name), Measured: small.PerSecond / large.PerSecond,
		AtMost: 1.2})
	return nil
}

// grow makes a state with n rows of the pipeline, those of records that the EHR does not show any more, as the pipeline loop
// commits them for records that are new to it: generation 1, one state remembered. All of them lie in tables at the end, which are merged
// as far as Badger does it.
//
// Levels that were only filled hold nothing but rows, all of which the first changes after it would push down: that is a cost of the
// filling, and twice what changes bring to merge in the long run. So changes pass through the state until its levels hold what those of a
// state at work do; as many through the small one, so that both keep the same history.
func (b *bench) grow(ctx context.Context, dir string, n int) error {
	s, err := openState(dir)
	if err != nil {
		return err
	}
	err = fill(ctx, s, n)
	if err == nil {
		err = b.live(ctx, s, n, b.Rows/100)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	if s, err = openState(dir); err != nil {
		return err
	}
	return errors.Join(rest(ctx, dir, b.Settle), s.Close())
}

func openState(dir string) (*badgerstore.Store, error) {
	return badgerstore.Open(dir, badgerstore.Options{Logger: slog.New(slog.DiscardHandler), Keep: usual.History})
}

func fill(ctx context.Context, s *badgerstore.Store, n int) error {
	feed, err := s.Claim(ctx, "appointments")
	if err != nil {
		return err
	}
	rows := make([]store.Row, 0, s.Limits().Items)
	for i := 0; i < n && err == nil; i += len(rows) {
		rows = rows[:0]
		for j := i; j < min(n, i+cap(rows)); j++ {
			rows = append(rows, row(j))
		}
		err = feed.Commit(ctx, store.Batch{Base: feed.Position().Commit, Rows: rows})
	}
	return err
}

// live lets changes of any of the n records that are known pass through a state: each is committed with its notification, which is
// delivered at once.
func (b *bench) live(ctx context.Context, s *badgerstore.Store, n, changes int) error {
	feed, err := s.Claim(ctx, "appointments")
	if err != nil {
		return err
	}
	outbox, err := s.Attach(ctx, "webhook.receiver")
	if err != nil {
		return err
	}
	ehr, err := sampleehr.New(load(b.Appointments, b.Patients))
	if err != nil {
		return err
	}
	ids, which := ehr.IDs(), rand.New(rand.NewPCG(seed, seed))
	for i := 0; i < changes && err == nil; {
		batch := store.Batch{Base: feed.Position().Commit}
		for range min(256, changes-i) {
			entry, err := notification(ehr, ids[i%len(ids)])
			if err != nil {
				return err
			}
			r := row(which.IntN(n))
			i++
			r.Generation = uint64(1 + i)
			entry.ID, entry.Ref, entry.Version, entry.Generation = fmt.Sprintf("%032d", i), r.Ref, r.Version, r.Generation
			batch.Rows, batch.Entries = append(batch.Rows, r), append(batch.Entries, entry)
		}
		if err = feed.Commit(ctx, batch); err == nil {
			err = deliver(ctx, outbox)
		}
	}
	return err
}

// notification is about what a notification of the waiting load is in the outbox.
func notification(ehr *sampleehr.EHR, id string) (e record.Entry, err error) {
	a, err := ehr.Appointment(id)
	if err != nil {
		return e, err
	}
	p := ehr.Patient(a.PatientID)
	e = record.Entry{Pipeline: "appointments", Deliver: "receiver", Destination: "webhook.receiver", Key: a.PatientID, Committed: time.Now()}
	if e.Body, err = encode(mapNatively(&a, &p, a.Start)); err != nil {
		return e, err
	}
	e.Record, err = json.Marshal(map[string]any{"change": a, "patient": p})
	return e, err
}

// deliver empties an outbox.
func deliver(ctx context.Context, outbox store.Outbox) error {
	for {
		lanes, _, err := outbox.Lanes(ctx, nil, parallel)
		if err != nil || len(lanes) == 0 {
			return err
		}
		var done []store.Done
		for _, lane := range lanes {
			entries, err := outbox.Head(ctx, lane, 1)
			if err != nil {
				return err
			}
			for _, e := range entries {
				done = append(done, store.Done{EntryID: store.EntryID{Lane: lane, Seq: e.Seq, ID: e.ID}, At: time.Now(), Code: "accepted"})
			}
		}
		if err := outbox.Ack(ctx, done...); err != nil {
			return err
		}
	}
}

func row(i int) store.Row {
	id := fmt.Sprintf("B%08d", i)
	sum := sha256.Sum256([]byte(id))
	at := time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
	return store.Row{
		Ref: sdk.Ref{Kind: "appointments", ID: id}, Generation: 1, Version: at.Format(sampleehr.Layout), Hash: [16]byte(sum[:16]), Time: at,
		Key: fmt.Sprintf(`{"receiver":"P%d"}`, 100001+i/5), Recent: []uint64{binary.BigEndian.Uint64(sum[16:])},
	}
}

// rest waits until no table of a state that is open has come or gone for a while: what was left to merge is done.
func rest(ctx context.Context, dir string, still time.Duration) (err error) {
	for last, since := tableNames(dir), time.Now(); err == nil && time.Since(since) < still; {
		err = sleep(ctx, 100*time.Millisecond)
		if now := tableNames(dir); !slices.Equal(last, now) {
			last, since = now, time.Now()
		}
	}
	return err
}

func tableNames(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "*.sst")) // the pattern is good
	return names
}

// tables gives the size of the tables of a state, in MB.
func tables(dir string) (mb float64) {
	for _, name := range tableNames(dir) {
		if info, err := os.Stat(name); err == nil {
			mb += float64(info.Size()) / megabyte
		}
	}
	return mb
}

// again copies a state that is closed. (Tables can't be shared by links: Badger empties what it removes.)
func again(from, to string) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if err := copyFile(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
