// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// The contenders.
const (
	goLoop  = "bare Go loop"
	nodeJS  = "Node.js script"
	asUsual = "rounds"
	lean    = "rounds, no history"
)

// contender is what does the work once.
type contender struct {
	name  string
	stays bool // it goes on when all is done
	start func(round int) (*process, error)
}

// waiting measures appointments that wait in the EHR and come in one answer.
func (b *bench) waiting(ctx context.Context) error { return b.race(ctx, "waiting", 0) }

// paged measures them in pages.
func (b *bench) paged(ctx context.Context) error { return b.race(ctx, "paged", b.Page) }

// race lets all contenders do the same, one after another.
func (b *bench) race(ctx context.Context, mode string, page int) error {
	w, err := b.world(b.Appointments, b.Patients)
	if err != nil {
		return err
	}
	defer w.end()
	results, err := b.medians(ctx, mode, w, b.contenders(mode, w, page))
	if err != nil {
		return err
	}
	paging := "in one answer"
	if page > 0 {
		paging = fmt.Sprintf("in pages of %d", page)
	}
	b.report.table(fmt.Sprintf("%s: %d changed appointments of %d patients, %s", mode, b.Appointments, b.Patients, paging), results)
	by := map[string]result{}
	for _, r := range results {
		by[r.Name] = r
	}
	bare := by[goLoop]
	for _, name := range []string{asUsual, lean} {
		own := by[name]
		b.report.add(figure{Mode: mode, Name: name + ": notifications/s ÷ " + goLoop, Measured: own.PerSecond / bare.PerSecond, AtLeast: 0.6})
		if node, there := by[nodeJS]; there {
			b.report.add(figure{Mode: mode, Name: name + ": notifications/s ÷ " + nodeJS, Measured: own.PerSecond / node.PerSecond, AtLeast: 1.3})
		}
		b.report.add(figure{Mode: mode, Name: name + ": CPU each ÷ " + goLoop, Measured: own.CPUMillis / bare.CPUMillis, AtMost: 2})
		b.report.add(figure{Mode: mode, Name: name + ": peak memory, all processes", Measured: own.MemoryMB, AtMost: 140, Unit: "MB", Details: own.memory()})
	}
	b.report.add(figure{Mode: mode, Name: "rounds: EHR calls each", Measured: by[asUsual].CallsEach, AtMost: 0.21})
	return nil
}

func (b *bench) contenders(mode string, w *world, page int) []contender {
	env := w.env("PAGE="+strconv.Itoa(page), "TZ="+zoneName) // the Node.js script takes times without a zone for the machine's
	all := []contender{b.bareLoop(env)}
	if _, err := exec.LookPath("node"); err == nil {
		all = append(all, contender{name: nodeJS, start: func(int) (*process, error) { return start(b.dir, env, "node", "bench.mjs") }})
	} else {
		b.report.note("node is not installed: there is no Node.js script to compare with")
	}
	with := func(name, state string, history time.Duration) contender {
		o := usual
		o.Page, o.History = page, history
		return contender{name, true, func(round int) (*process, error) { return w.rounds(o, b.state(state, round)) }}
	}
	return append(all, with(asUsual, mode, usual.History), with(lean, mode+"-lean", 0))
}

func (b *bench) bareLoop(env []string) contender {
	return contender{name: goLoop, start: func(int) (*process, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return start(b.dir, env, self, "bare")
	}}
}

// medians lets each contender do the work as often as there are rounds, in turn.
func (b *bench) medians(ctx context.Context, mode string, w *world, contenders []contender) (medians []result, err error) {
	all := make([][]result, len(contenders))
	for round := range b.Rounds {
		for i, c := range contenders {
			tell("%s: %s (%d of %d)", mode, c.name, round+1, b.Rounds)
			one, err := w.measure(ctx, c, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			all[i] = append(all[i], one)
		}
	}
	for _, results := range all {
		medians = append(medians, medianResult(results))
	}
	return medians, nil
}

// measure lets one contender do the work once.
func (w *world) measure(ctx context.Context, c contender, round int) (r result, err error) {
	r.Name = c.name
	if err := w.begin(ctx); err != nil {
		return r, err
	}
	before, err := w.calls(ctx)
	if err != nil {
		return r, err
	}
	began := time.Now()
	p, err := c.start(round)
	if err != nil {
		return r, err
	}
	defer p.end()
	var starting, used usage
	if c.stays {
		if _, err := w.asked(ctx, p); err != nil {
			return r, err
		}
		if starting, err = p.usage(); err != nil {
			return r, err
		}
	}
	if err := w.await(ctx, p, w.appointments); err != nil {
		return r, err
	}
	if c.stays {
		if err := p.rests(ctx); err != nil { // what it does after the last arrival (acknowledging) belongs to it as well
			return r, err
		}
		if used, err = p.usage(); err != nil {
			return r, err
		}
		p.end()
	} else if used, err = p.wholeUsage(ctx); err != nil {
		return r, err
	}
	first, err := w.first(ctx)
	if err != nil {
		return r, err
	}
	after, err := w.calls(ctx)
	if err != nil {
		return r, err
	}
	all, err := w.received(ctx)
	if err != nil {
		return r, err
	}
	last, err := w.once(all, w.appointments)
	if err != nil {
		return r, err
	}
	if err := w.alike(c.name, all); err != nil {
		return r, err
	}
	n := float64(w.appointments)
	r.Seconds, r.StartSeconds = last.Sub(first).Seconds(), first.Sub(began).Seconds()
	r.PerSecond, r.CPUMillis, r.CallsEach = n/r.Seconds, used.cpu.Seconds()*1000/n, float64(after-before)/n
	r.StartMillis, r.Memory = millis(starting.cpu), used.memory
	for _, m := range r.Memory {
		r.MemoryMB += m.PeakMB
	}
	return r, nil
}

// wholeUsage waits for the end of a process that ends by itself and tells what it used.
func (p *process) wholeUsage(ctx context.Context) (u usage, err error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		return u, ctx.Err()
	}
	if p.err != nil {
		return u, fmt.Errorf("%w\n%s", p.err, p.stderr.String())
	}
	used, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return u, errors.New("this system does not tell what a process used")
	}
	u.memory = p.peaks()
	if len(u.memory) == 0 {
		u.memory = []memory{{}}
	}
	u.memory[0].Process, u.memory[0].PeakMB = "process", float64(used.Maxrss<<10)/megabyte
	u.cpu = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	return u, nil
}
