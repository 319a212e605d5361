// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

const smallState = 10_000 // rows of the state that the grown one is held against

// grown measures the waiting load on a state that knows few other records, and on one that knows many.
func (b *bench) grown(ctx context.Context) error {
	sizes, details := []int{min(smallState, b.Rows), b.Rows}, ""
	for i, rows := range sizes {
		tell("grown: a state of %d rows is made", rows)
		began := time.Now()
		if err := grow(ctx, b.state("grown", i), rows, b.Settle); err != nil {
			return err
		}
		details = fmt.Sprintf("%d rows were made in %v and take %.0f MB", rows, time.Since(began).Round(100*time.Millisecond), tables(b.state("grown", i)))
	}
	w, err := b.world(b.Appointments, b.Patients)
	if err != nil {
		return err
	}
	defer w.end()
	var contenders []contender
	for i, rows := range sizes {
		contenders = append(contenders, contender{fmt.Sprintf("%d rows", rows), true, func(int) (*process, error) {
			used := b.state("used", i)
			if err := os.RemoveAll(used); err != nil { // of the round before
				return nil, err
			}
			if err := again(b.state("grown", i), used); err != nil {
				return nil, err
			}
			return w.rounds(usual, used)
		}})
	}
	results, err := b.medians(ctx, "grown", w, contenders)
	if err != nil {
		return err
	}
	b.report.table(fmt.Sprintf("grown: %d changed appointments of %d patients, and other records known before", b.Appointments, b.Patients), results)
	small, large := results[0], results[1]
	n := float64(b.Appointments)
	each := func(r result) float64 { return r.CPUMillis - r.StartMillis/n } // a start is no change's, however long it takes
	b.report.add(figure{Mode: "grown", Name: fmt.Sprintf("cost per change (CPU), %s ÷ %s", large.Name, small.Name), Measured: each(large) / each(small),
		AtMost: 1.2, Details: fmt.Sprintf("%.3f and %.3f ms; CPU of the start %.0f and %.0f ms; %s", each(large), each(small), large.StartMillis, small.StartMillis, details)})
	b.report.add(figure{Mode: "grown", Name: fmt.Sprintf("time per change, %s ÷ %s", large.Name, small.Name), Measured: small.PerSecond / large.PerSecond,
		AtMost: 1.2})
	return nil
}

// grow makes a state with n rows of the pipeline, those of records that the EHR does not show any more, as the pipeline loop
// commits them for records that are new to it: generation 1, one state remembered. All of them lie in tables at the end, which are merged
// as far as Badger does it.
func grow(ctx context.Context, dir string, n int, still time.Duration) error {
	s, err := openState(dir)
	if err != nil {
		return err
	}
	feed, err := s.Claim(ctx, "appointments")
	if err != nil {
		return errors.Join(err, s.Close())
	}
	rows := make([]store.Row, 0, s.Limits().Items)
	for i := 0; i < n && err == nil; i += len(rows) {
		rows = rows[:0]
		for j := i; j < min(n, i+cap(rows)); j++ {
			rows = append(rows, row(j))
		}
		err = feed.Commit(ctx, store.Batch{Base: feed.Position().Commit, Rows: rows})
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	return settle(ctx, dir, still)
}

func openState(dir string) (*badgerstore.Store, error) {
	return badgerstore.Open(dir, badgerstore.Options{Logger: slog.New(slog.DiscardHandler)})
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

// settle opens a state and waits until no table has come or gone for a while: what was left to merge is not the measured run's.
func settle(ctx context.Context, dir string, still time.Duration) error {
	s, err := openState(dir)
	if err != nil {
		return err
	}
	last, since := tableNames(dir), time.Now()
	for err == nil && time.Since(since) < still {
		err = sleep(ctx, 100*time.Millisecond)
		if now := tableNames(dir); !slices.Equal(last, now) {
			last, since = now, time.Now()
		}
	}
	return errors.Join(err, s.Close())
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
