// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"text/template"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

//go:embed rounds.hcl.tmpl mapping.js bench.mjs
var files embed.FS

var config = template.Must(template.ParseFS(files, "rounds.hcl.tmpl"))

// options are what the configurations of Rounds differ in.
type options struct {
	Page           int // appointments in a page; 0: all in one answer
	Every, Overlap time.Duration
	History        time.Duration // how long delivered notifications are kept, with their records; 0: not at all
}

// usual is a configuration of a pipeline that need not hurry, with the history that is kept by default.
var usual = options{Every: 10 * time.Minute, Overlap: 2 * time.Minute, History: 7 * 24 * time.Hour}

// world is an EHR and a receiver, each in a process of its own, and what has to come from the one to the other.
type world struct {
	dir          string // where the contenders work
	binary       string // rounds
	appointments int
	ehr, taker   string // URLs
	servers      []*process
	patientOf    map[string]string // by visit number
	hashes       map[string]string // of the first contender's notifications, by visit number
	firstToArise string            // that contender
	configs      int
}

// world starts an EHR of so many appointments and a receiver.
func (b *bench) world(appointments, patients int) (_ *world, err error) {
	w := &world{dir: b.dir, binary: b.Binary, appointments: appointments, patientOf: map[string]string{}}
	same, err := sampleehr.New(load(appointments, patients))
	if err != nil {
		return nil, err
	}
	for _, id := range same.IDs() {
		a, err := same.Appointment(id)
		if err != nil {
			return nil, err
		}
		w.patientOf[a.VisitNumber] = a.PatientID
	}
	for _, s := range []struct {
		url  *string
		args []string
	}{
		{&w.ehr, []string{"ehr", "-appointments", strconv.Itoa(appointments), "-patients", strconv.Itoa(patients)}},
		{&w.taker, []string{"receiver"}},
	} {
		p, url, err := startServer(s.args...)
		if err != nil {
			w.end()
			return nil, err
		}
		w.servers, *s.url = append(w.servers, p), url
	}
	return w, nil
}

func (w *world) end() {
	for _, s := range w.servers {
		s.end()
	}
}

func (w *world) env(more ...string) []string {
	return append([]string{"EHR_URL=" + w.ehr, "NOTIFY_URL=" + w.taker + "/notify"}, more...)
}

// rounds starts Rounds with a configuration on a state.
func (w *world) rounds(o options, state string) (*process, error) {
	w.configs++
	name := filepath.Join(w.dir, fmt.Sprintf("%s-%d.hcl", filepath.Base(state), w.configs))
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(config.Execute(f, o), f.Close()); err != nil {
		return nil, err
	}
	return start(w.dir, w.env(), w.binary, "run", "--state", state, name)
}

// begin forgets what arrived, and when the EHR was first asked.
func (w *world) begin(ctx context.Context) error {
	return errors.Join(control(ctx, http.MethodPost, w.taker+"/_control/forget", nil), control(ctx, http.MethodPost, w.ehr+"/_control/begin", nil))
}

// first is when the EHR was first asked; zero: not yet.
func (w *world) first(ctx context.Context) (at time.Time, err error) {
	return at, control(ctx, http.MethodGet, w.ehr+"/_control/begin", &at)
}

// asked waits until the EHR is asked for the first time, and tells when that was.
func (w *world) asked(ctx context.Context, p *process) (time.Time, error) {
	for {
		if first, err := w.first(ctx); err != nil || !first.IsZero() {
			return first, err
		}
		select {
		case <-p.done:
			return time.Time{}, fmt.Errorf("it ended before its first call: %w\n%s", cmp.Or(p.err, errEarly), p.stderr.String())
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// calls counts what the EHR was asked so far.
func (w *world) calls(ctx context.Context) (int, error) {
	var calls map[string]int
	err := control(ctx, http.MethodGet, w.ehr+"/_control/calls", &calls)
	return calls["appointments"] + calls["patient"], err
}

var errEarly = errors.New("it took itself for done")

// await waits until n notifications arrived.
func (w *world) await(ctx context.Context, p *process, n int) error {
	patience := 2*time.Minute + time.Duration(n)*10*time.Millisecond
	ended := p.done
	for deadline := time.Now().Add(patience); ; {
		var count int
		if err := control(ctx, http.MethodGet, w.taker+"/_control/count", &count); err != nil {
			return err
		}
		switch {
		case count >= n:
			return nil
		case ended == nil:
			return fmt.Errorf("it ended after %d of %d notifications: %w\n%s", count, n, cmp.Or(p.err, errEarly), p.stderr.String())
		case time.Now().After(deadline):
			_ = p.cmd.Process.Signal(syscall.SIGQUIT) // Go programs tell where they stand
			p.end()
			return fmt.Errorf("%d of %d notifications after %v\n%s", count, n, patience, p.stderr.String())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			ended = nil // one more look: the last may have arrived just before
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *world) received(ctx context.Context) (all []receiver.Received, err error) {
	return all, control(ctx, http.MethodGet, w.taker+"/_control/received", &all)
}

// once says that n appointments arrived, each once and with its own patient, and gives the time of the last.
func (w *world) once(all []receiver.Received, n int) (last time.Time, err error) {
	came := map[string]bool{}
	for _, one := range all {
		if came[one.Visit] {
			return last, errors.New("an appointment was notified twice")
		}
		if want, known := w.patientOf[one.Visit]; !known || one.Patient != want {
			return last, errors.New("a notification has another patient than its appointment")
		}
		came[one.Visit] = true
		if one.Time.After(last) {
			last = one.Time
		}
	}
	if len(came) != n {
		return last, fmt.Errorf("%d of %d appointments were notified", len(came), n)
	}
	return last, nil
}

// alike says that a contender's notifications are the same bytes as those of the contenders before it.
func (w *world) alike(name string, all []receiver.Received) error {
	if w.hashes == nil {
		w.hashes, w.firstToArise = map[string]string{}, name
		for _, one := range all {
			w.hashes[one.Visit] = one.Hash
		}
	}
	for _, one := range all {
		if w.hashes[one.Visit] != one.Hash {
			return fmt.Errorf("its notification of an appointment differs from that of %s", w.firstToArise)
		}
	}
	return nil
}

func control(ctx context.Context, method, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: status %d", method, url, res.StatusCode)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}
