// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	slowAnswer       = 25 * time.Millisecond // of the slow EHR
	changesPerSecond = 200                   // of the steady trickle
	steadyInterval   = time.Second           // between polls of it
)

// slow measures an EHR that takes its time: what Rounds adds to the time that its calls need when 16 of them are made at a time. The bare
// loop adds something as well, as all patients are known when a fifth of the appointments is.
func (b *bench) slow(ctx context.Context) error {
	appointments, patients := max(1, b.Appointments/4), max(1, b.Patients/4)
	w, err := b.world(appointments, patients)
	if err != nil {
		return err
	}
	defer w.end()
	if err := control(ctx, http.MethodPost, w.ehr+"/_control/faults?set=slow="+slowAnswer.String(), nil); err != nil {
		return err
	}
	results, err := b.medians(ctx, "slow", w, []contender{b.bareLoop(w.env()), {asUsual, true, func(round int) (*process, error) {
		return w.rounds(usual, b.state("slow", round))
	}}})
	if err != nil {
		return err
	}
	calls := 1 + (patients+parallel-1)/parallel // the page, and the patients
	least := time.Duration(calls) * slowAnswer
	bare, own := results[0].Seconds, results[1].Seconds
	b.report.add(figure{Mode: "slow", Name: fmt.Sprintf("EHR answers after %v: time ÷ what its calls need", slowAnswer),
		Measured: own / least.Seconds(), AtMost: 1.2,
		Details: fmt.Sprintf("%d changes of %d patients, %d calls one after another: %v; it took %.2f s, and the %s %.2f s", appointments, patients,
			calls, least, own, goLoop, bare)})
	return nil
}

// steady measures the time from a change in the EHR to its arrival, while changes are made at an even pace.
func (b *bench) steady(ctx context.Context) error {
	n := max(1, int(b.Trickle.Seconds()*changesPerSecond))
	w, err := b.world(n, max(1, n/5))
	if err != nil {
		return err
	}
	defer w.end()
	tell("steady: %d changes in %v", n, b.Trickle)
	o := usual
	o.Every, o.Overlap = steadyInterval, time.Second // who polls so often does not read minutes again each time
	p, err := w.rounds(o, b.state("steady", 0))
	if err != nil {
		return err
	}
	defer p.end()
	if err := w.await(ctx, p, n); err != nil { // what is there already
		return err
	}
	if err := w.begin(ctx); err != nil {
		return err
	}
	if err := control(ctx, http.MethodPost, fmt.Sprintf("%s/_control/trickle?n=%d", w.ehr, n), nil); err != nil {
		return err
	}
	if err := w.await(ctx, p, n); err != nil {
		return err
	}
	all, err := w.received(ctx)
	if err != nil {
		return err
	}
	if _, err := w.once(all, n); err != nil {
		return err
	}
	var visible map[string]time.Time
	if err := control(ctx, http.MethodGet, w.ehr+"/_control/visible", &visible); err != nil {
		return err
	}
	var took []time.Duration
	for _, one := range all {
		since, known := visible[one.Visit]
		if !known {
			return errors.New("an appointment arrived that was not changed")
		}
		took = append(took, one.Time.Sub(since))
	}
	slices.Sort(took)
	at := func(share float64) time.Duration {
		return took[int(share*float64(len(took)-1))].Round(time.Millisecond)
	}
	bound := steadyInterval + 50*time.Millisecond
	b.report.add(figure{Mode: "steady", Name: fmt.Sprintf("%d changes/s, polled every %v: change to arrival, 99th percentile", changesPerSecond, steadyInterval),
		Measured: millis(at(0.99)), AtMost: millis(bound), Unit: "ms",
		Details: fmt.Sprintf("%d changes; median %v, at most %v", n, at(0.5), at(1))})
	return nil
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }
