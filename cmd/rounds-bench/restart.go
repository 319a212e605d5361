// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// kill counts the notifications that come twice when the engine is killed in the middle of the work and started again.
func (b *bench) kill(ctx context.Context) error {
	w, err := b.world(b.Appointments, b.Patients)
	if err != nil {
		return err
	}
	defer w.end()
	var repeated []int
	for round := range b.Rounds {
		tell("kill (%d of %d)", round+1, b.Rounds)
		n, err := 0, errLate
		for try := 0; errors.Is(err, errLate) && try < 5; try++ {
			n, err = b.killOnce(ctx, w, b.state(fmt.Sprintf("kill-%d", try), round))
		}
		if err != nil {
			return err
		}
		repeated = append(repeated, n)
	}
	b.report.add(figure{Mode: "kill", Name: "SIGKILL at 30 %, restart: repetitions", Measured: float64(slices.Max(repeated)), AtMost: parallel,
		Details: fmt.Sprintf("the most of %v; %d deliveries at most are in flight; none of %d was lost", repeated, parallel, b.Appointments)})
	return nil
}

var errLate = errors.New("the kill came after the last notification: give more appointments")

func (b *bench) killOnce(ctx context.Context, w *world, state string) (repeated int, err error) {
	if err := w.begin(ctx); err != nil {
		return 0, err
	}
	p, err := w.rounds(usual, state)
	if err != nil {
		return 0, err
	}
	defer p.end()
	if err := w.await(ctx, p, max(1, b.Appointments*3/10)); err != nil {
		return 0, err
	}
	if err := p.look(); err != nil {
		return 0, err
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return 0, err
	}
	if err := p.gone(ctx); err != nil {
		return 0, err
	}
	switch all, err := w.received(ctx); {
	case err != nil:
		return 0, err
	case len(all) >= b.Appointments:
		return 0, errLate
	}
	if p, err = w.rounds(usual, state); err != nil {
		return 0, err
	}
	defer p.end()
	for came := 0; came < b.Appointments; {
		if err := w.await(ctx, p, b.Appointments+repeated); err != nil {
			return 0, err
		}
		if came, repeated, err = w.repetitions(ctx); err != nil {
			return 0, err
		}
	}
	if err := sleep(ctx, 500*time.Millisecond); err != nil { // one may be under way yet
		return 0, err
	}
	_, repeated, err = w.repetitions(ctx)
	return repeated, err
}

// repetitions counts the appointments that came, and the notifications that came again.
func (w *world) repetitions(ctx context.Context) (came, repeated int, err error) {
	all, err := w.received(ctx)
	if err != nil {
		return 0, 0, err
	}
	ids := map[string]string{} // of notifications, by visit number
	for _, one := range all {
		id, again := ids[one.Visit]
		if again && id != one.ID {
			return 0, 0, errors.New("an appointment was notified by two notifications")
		}
		if again {
			repeated++
		}
		ids[one.Visit] = one.ID
	}
	return len(ids), repeated, nil
}

// gone waits until the process that was killed and all that were under it have ended.
func (p *process) gone(ctx context.Context) error {
	<-p.done
	for _, pid := range p.alive() {
		for deadline := time.Now().Add(10 * time.Second); ; {
			fields, err := stat(pid)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || err == nil && fields[0] == "Z" {
				break
			}
			if err != nil {
				return err
			}
			if time.Now().After(deadline) {
				return errors.New("the adapter outlived the engine by 10 s")
			}
			if err := sleep(ctx, 5*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// start measures the time from the start of `rounds run` with one pipeline to its first request, with no state and with one that is there.
func (b *bench) start(ctx context.Context) error {
	const appointments = 20
	w, err := b.world(appointments, 5)
	if err != nil {
		return err
	}
	defer w.end()
	o := usual
	o.Every, o.Overlap = time.Second, 2*time.Minute
	var took [2][]time.Duration
	for round := range b.Rounds {
		tell("start (%d of %d)", round+1, b.Rounds)
		for again := range took {
			if again > 0 { // its next poll is due then, and the start need not wait for it
				if err := sleep(ctx, o.Every+100*time.Millisecond); err != nil {
					return err
				}
			}
			one, err := startOnce(ctx, w, o, b.state("start", round), appointments*(1-again))
			if err != nil {
				return err
			}
			took[again] = append(took[again], one)
		}
	}
	for again, name := range []string{"new state", "state that is there"} {
		slices.Sort(took[again])
		b.report.add(figure{Mode: "start", Name: "`rounds run`, " + name + ": start to first poll", Measured: millis(took[again][len(took[again])/2]),
			AtMost: 300, Unit: "ms", Details: fmt.Sprintf("median of %d, the most %v", len(took[again]), slices.Max(took[again]).Round(time.Millisecond))})
	}
	return nil
}

// startOnce starts Rounds, waits for its first request and for so many notifications, and ends it.
func startOnce(ctx context.Context, w *world, o options, state string, arrivals int) (time.Duration, error) {
	if err := w.begin(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	p, err := w.rounds(o, state)
	if err != nil {
		return 0, err
	}
	defer p.end()
	first, err := w.asked(ctx, p)
	if err != nil {
		return 0, err
	}
	return first.Sub(began), w.await(ctx, p, arrivals)
}

// idle measures the memory of an engine with one bundled adapter that waits for its next poll.
func (b *bench) idle(ctx context.Context) error {
	w, err := b.world(1, 1)
	if err != nil {
		return err
	}
	defer w.end()
	tell("idle: %v of rest", b.Rest)
	p, err := w.rounds(usual, b.state("idle", 0))
	if err != nil {
		return err
	}
	defer p.end()
	if err := errors.Join(w.await(ctx, p, 1), sleep(ctx, b.Rest), p.look()); err != nil {
		return err
	}
	sum, once, details := 0.0, 0.0, []string{}
	for i, pid := range p.alive() {
		m, err := memoryOf(pid)
		if err != nil {
			return err
		}
		shared, err := sharedOnce(pid)
		if err != nil {
			return err
		}
		sum, once = sum+m.nowMB, once+shared
		details = append(details, fmt.Sprintf("%s %.0f (anonymous %.0f, files %.0f)", processName(i), m.nowMB, m.AnonMB, m.FileMB))
	}
	b.report.add(figure{Mode: "idle", Name: "memory of an idle engine with one bundled adapter", Measured: sum, AtMost: 60, Unit: "MB",
		Details: strings.Join(details, ", ") + fmt.Sprintf("; %.0f with what both map of the program counted once", once)})
	return nil
}
