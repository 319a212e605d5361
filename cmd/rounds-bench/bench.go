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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

//go:embed rounds.hcl mapping.js bench.mjs
var files embed.FS

// The contenders.
const (
	rounds = "rounds"
	goLoop = "bare Go loop"
	nodeJS = "Node.js script"
)

type bench struct {
	Appointments, Patients, Page, Rounds int
	History                              time.Duration // how long rounds keeps what was delivered
	Binary                               string

	dir          string
	ehr, taker   string            // URLs
	patientOf    map[string]string // by visit number
	hashes       map[string]string // of the first contender's notifications, by visit number
	firstToArise string            // that contender
}

func (b *bench) run(ctx context.Context) (_ *report, err error) {
	if b.dir, err = os.MkdirTemp("", "rounds-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if removing := os.RemoveAll(b.dir); err == nil {
			err = removing
		}
	}()
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	ehr, url, err := startServer("ehr", "-appointments", strconv.Itoa(b.Appointments), "-patients", strconv.Itoa(b.Patients))
	if err != nil {
		return nil, err
	}
	defer ehr.end()
	b.ehr = url
	taker, url, err := startServer("receiver")
	if err != nil {
		return nil, err
	}
	defer taker.end()
	b.taker = url

	contenders := []string{goLoop, rounds}
	r := &report{Appointments: b.Appointments, Patients: b.Patients, Page: b.Page, Rounds: b.Rounds, Machine: machine()}
	if _, err := exec.LookPath("node"); err == nil {
		contenders = []string{goLoop, nodeJS, rounds}
	} else {
		r.Notes = append(r.Notes, "node is not installed: there is no Node.js script to compare with")
	}
	all := map[string][]result{}
	for round := range b.Rounds {
		for _, name := range contenders {
			fmt.Fprintf(os.Stderr, "%s (%d of %d)\n", name, round+1, b.Rounds)
			one, err := b.measure(ctx, name, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all[name] = append(all[name], one)
		}
	}
	for _, name := range contenders {
		r.Contenders = append(r.Contenders, median(all[name]))
	}
	r.compare()
	return r, nil
}

// prepare writes what the contenders run, builds Rounds, and learns which notification belongs to which patient.
func (b *bench) prepare(ctx context.Context) error {
	config, err := files.ReadFile("rounds.hcl")
	if err != nil {
		return err
	}
	mapping, err := files.ReadFile("mapping.js")
	if err != nil {
		return err
	}
	script, err := files.ReadFile("bench.mjs")
	if err != nil {
		return err
	}
	text := string(config) + fmt.Sprintf("\nhistory {\n  keep = %q\n}\n", b.History)
	if b.Page > 0 {
		text = strings.NewReplacer(
			`"{since}" } # --page adds: limit = "N"`, fmt.Sprintf(`"{since}", limit = "%d" }`, b.Page),
			"# --page adds a page block", "page \"link\" {}").Replace(text)
	}
	for name, data := range map[string][]byte{
		"rounds.hcl": []byte(text), "mapping.js": mapping, "mapping.mjs": mapping, "bench.mjs": script,
	} {
		if err := os.WriteFile(filepath.Join(b.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	if b.Binary == "" {
		b.Binary = filepath.Join(b.dir, "rounds")
		build := exec.CommandContext(ctx, "go", "build", "-o", b.Binary, "github.com/rounds-engine/rounds/cmd/rounds")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build of cmd/rounds: %w\n%s", err, out)
		}
	}
	if b.Binary, err = filepath.Abs(b.Binary); err != nil {
		return err
	}
	same, err := sampleehr.New(load(b.Appointments, b.Patients))
	if err != nil {
		return err
	}
	b.patientOf = map[string]string{}
	for _, id := range same.IDs() {
		a, err := same.Appointment(id)
		if err != nil {
			return err
		}
		b.patientOf[a.VisitNumber] = a.PatientID
	}
	return nil
}

// measure lets one contender do the work once.
func (b *bench) measure(ctx context.Context, name string, round int) (r result, err error) {
	r.Name = name
	for _, url := range []string{b.taker + "/_control/forget", b.ehr + "/_control/begin"} {
		if err := control(ctx, http.MethodPost, url, nil); err != nil {
			return r, err
		}
	}
	before, err := b.calls(ctx)
	if err != nil {
		return r, err
	}
	began := time.Now()
	p, err := b.startContender(name, round)
	if err != nil {
		return r, err
	}
	defer p.end()
	if err := b.awaitAll(ctx, p); err != nil {
		return r, err
	}
	if name == rounds { // which goes on: what it does after the last arrival (acknowledging) belongs to it as well
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return r, err
		}
		u, err := p.usage()
		if err != nil {
			return r, err
		}
		r.cpu, r.memory, r.Processes = u.cpu, u.memory, u.processes
		p.end()
	} else {
		select {
		case <-p.done:
		case <-ctx.Done():
			return r, ctx.Err()
		}
		if p.err != nil {
			return r, fmt.Errorf("%w\n%s", p.err, p.stderr.String())
		}
		used, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return r, fmt.Errorf("this system does not tell what a process used")
		}
		r.cpu, r.memory, r.Processes = p.cmd.ProcessState.UserTime()+p.cmd.ProcessState.SystemTime(), used.Maxrss<<10, 1
	}
	return r, b.check(ctx, &r, began, before)
}

func (b *bench) startContender(name string, round int) (*process, error) {
	env := []string{"EHR_URL=" + b.ehr, "NOTIFY_URL=" + b.taker + "/notify", "PAGE=" + strconv.Itoa(b.Page)}
	switch name {
	case goLoop:
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return start(b.dir, env, self, "bare")
	case nodeJS:
		return start(b.dir, append(env, "TZ="+zoneName), "node", "bench.mjs")
	}
	return start(b.dir, env, b.Binary, "run", "--state", filepath.Join(b.dir, fmt.Sprintf("state%d", round)), "rounds.hcl")
}

var errEarly = errors.New("it took itself for done")

// awaitAll waits until as many notifications arrived as there are appointments.
func (b *bench) awaitAll(ctx context.Context, p *process) error {
	patience := time.Minute + time.Duration(b.Appointments)*10*time.Millisecond
	ended := p.done
	for deadline := time.Now().Add(patience); ; {
		var n int
		if err := control(ctx, http.MethodGet, b.taker+"/_control/count", &n); err != nil {
			return err
		}
		switch {
		case n >= b.Appointments:
			return nil
		case ended == nil:
			return fmt.Errorf("it ended after %d of %d notifications: %w\n%s", n, b.Appointments, cmp.Or(p.err, errEarly), p.stderr.String())
		case time.Now().After(deadline):
			_ = p.cmd.Process.Signal(syscall.SIGQUIT) // Go programs tell where they stand
			p.end()
			return fmt.Errorf("%d of %d notifications after %v\n%s", n, b.Appointments, patience, p.stderr.String())
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

// check holds what arrived against what should have: every appointment once, with its own patient, and the same bytes from
// every contender.
func (b *bench) check(ctx context.Context, r *result, began time.Time, before int) error {
	var first time.Time
	if err := control(ctx, http.MethodGet, b.ehr+"/_control/begin", &first); err != nil {
		return err
	}
	after, err := b.calls(ctx)
	if err != nil {
		return err
	}
	var all []receiver.Received
	if err := control(ctx, http.MethodGet, b.taker+"/_control/received", &all); err != nil {
		return err
	}
	hashes := map[string]string{}
	var last time.Time
	for _, one := range all {
		if hashes[one.Visit] != "" {
			return fmt.Errorf("an appointment was notified twice")
		}
		if want, known := b.patientOf[one.Visit]; !known || one.Patient != want {
			return fmt.Errorf("a notification has another patient than its appointment")
		}
		hashes[one.Visit] = one.Hash
		if one.Time.After(last) {
			last = one.Time
		}
	}
	if len(hashes) != b.Appointments {
		return fmt.Errorf("%d of %d appointments were notified", len(hashes), b.Appointments)
	}
	if b.hashes == nil {
		b.hashes, b.firstToArise = hashes, r.Name
	}
	for visit, hash := range hashes {
		if b.hashes[visit] != hash {
			return fmt.Errorf("its notification of an appointment differs from that of the %s", b.firstToArise)
		}
	}
	n := float64(b.Appointments)
	r.Seconds, r.StartSeconds = last.Sub(first).Seconds(), first.Sub(began).Seconds()
	r.PerSecond = n / r.Seconds
	r.CPUMillis = r.cpu.Seconds() * 1000 / n
	r.MemoryMiB = float64(r.memory) / (1 << 20)
	r.CallsPerNotification = float64(after-before) / n
	return nil
}

func (b *bench) calls(ctx context.Context) (int, error) {
	var calls map[string]int
	err := control(ctx, http.MethodGet, b.ehr+"/_control/calls", &calls)
	return calls["appointments"] + calls["patient"], err
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
