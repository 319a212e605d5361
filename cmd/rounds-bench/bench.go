// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type bench struct {
	Appointments, Patients int // that wait
	Page                   int // appointments in a page, where they come in pages
	Rounds                 int
	Rows                   int           // of the grown state
	Trickle                time.Duration // how long changes are made
	Rest                   time.Duration // of an idle engine before it is looked at
	Settle                 time.Duration // for which nothing is merged in a state before it counts as made
	Binary                 string        // empty: to be built

	dir    string
	report *report
}

// mode is one thing that is measured: alone, or after the others.
type mode struct {
	name    string
	measure func(*bench, context.Context) error
}

func modes() []mode {
	return []mode{
		{"waiting", (*bench).waiting},
		{"paged", (*bench).paged},
		{"slow", (*bench).slow},
		{"steady", (*bench).steady},
		{"kill", (*bench).kill},
		{"start", (*bench).start},
		{"idle", (*bench).idle},
		{"grown", (*bench).grown},
	}
}

func modeNames() (names []string) {
	for _, m := range modes() {
		names = append(names, m.name)
	}
	return names
}

// run measures what is named; nothing named: all.
func (b *bench) run(ctx context.Context, only []string) (_ *report, err error) {
	for _, name := range only {
		if !slices.Contains(modeNames(), name) {
			return nil, fmt.Errorf("there is no %q to measure: choose from %s", name, strings.Join(modeNames(), ", "))
		}
	}
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
	b.report = &report{Machine: machine(), Load: loadAverage(), Rounds: b.Rounds}
	for _, m := range modes() {
		if len(only) > 0 && !slices.Contains(only, m.name) {
			continue
		}
		if err := m.measure(b, ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return b.report, nil
}

// prepare writes what the contenders run, and builds Rounds.
func (b *bench) prepare(ctx context.Context) (err error) {
	for name, from := range map[string]string{"mapping.js": "mapping.js", "mapping.mjs": "mapping.js", "bench.mjs": "bench.mjs"} {
		data, err := files.ReadFile(from)
		if err != nil {
			return err
		}
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
	b.Binary, err = filepath.Abs(b.Binary)
	return err
}

// state gives the path of a state that is not there yet.
func (b *bench) state(mode string, round int) string {
	return filepath.Join(b.dir, fmt.Sprintf("%s-%d", mode, round))
}

// tell says on standard error what is being measured, as it takes minutes.
func tell(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
