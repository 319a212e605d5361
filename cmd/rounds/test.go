// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine"
	"github.com/rounds-engine/rounds/engine/config"
)

// A test is a pair of files, tests/PIPELINE/DELIVER/NAME.record.json and NAME.golden.json.
const (
	testsDir     = "tests"
	recordSuffix = ".record.json"
	goldenSuffix = ".golden.json"
)

func newTestCommand() *cobra.Command {
	var t tester
	var values valueFlags
	var pattern string
	c := &cobra.Command{
		Use:   "test [PATH]",
		Short: "Hold what mappings make of records against what they should",
		Long: `Runs the tests of a configuration: for each tests/PIPELINE/DELIVER/NAME.record.json beside it, what the deliver block makes of the
record, as "rounds map" shows it, must be what NAME.golden.json holds; null if nothing is to be sent. How the JSON is laid out, and the
order of members, do not count. No EHR is asked and no state is opened. The exit code is 1 if a test fails, and if there is none.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if t.run, err = regexp.Compile(pattern); err != nil {
				return fmt.Errorf("--run: %w", err)
			}
			if t.e, err = newEngine(slog.New(slog.DiscardHandler), stateFlags{}, 0, nil); err != nil {
				return &failure{err}
			}
			return finish(t.e, func() error {
				if t.cfg, err = load(c.Context(), t.e, pathOf(args), values, c.ErrOrStderr()); err != nil {
					return err
				}
				t.dir, t.out = filepath.Join(configFilesOf(pathOf(args)), testsDir), c.OutOrStdout()
				return t.all(c.Context())
			})
		},
	}
	values.add(c)
	c.Flags().BoolVar(&t.update, "update", false, "write what the mappings make into the golden files that differ or are missing")
	c.Flags().StringVar(&pattern, "run", "", "run only the tests whose name, PIPELINE/DELIVER/NAME, matches a regular `expression`")
	return c
}

type tester struct {
	e           *engine.Engine
	cfg         *config.Config
	dir         string // of the tests
	run         *regexp.Regexp
	update      bool
	out         io.Writer
	ran, failed int
}

// block is a deliver block that has tests.
type block struct{ pipeline, deliver string }

func (b block) String() string { return b.pipeline + "/" + b.deliver }

func (t *tester) all(ctx context.Context) error {
	tests, strays, err := t.find()
	if err != nil {
		return err
	}
	if len(tests) == 0 && len(strays) == 0 {
		return fmt.Errorf("there are no tests: a test is a pair of files %s and …%s", filepath.Join(t.dir, "PIPELINE", "DELIVER", "NAME"+recordSuffix), goldenSuffix)
	}
	for _, path := range strays {
		t.failed++
		t.fail(path, "not a test: its path has to be PIPELINE/DELIVER/NAME"+recordSuffix+" or …"+goldenSuffix)
	}
	for _, b := range slices.SortedFunc(maps.Keys(tests), func(a, b block) int { return strings.Compare(a.String(), b.String()) }) {
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(tests[b])), func(name string) bool { return !t.run.MatchString(b.String() + "/" + name) })
		if len(names) == 0 {
			continue
		}
		if err := t.block(ctx, b, names); err != nil {
			return err
		}
	}
	switch {
	case t.ran == 0 && t.failed == 0:
		return errors.New("--run: no test has such a name")
	case t.failed > 0:
		fmt.Fprintf(t.out, "%d tests ran, %d failed\n", t.ran, t.failed)
		return &failure{}
	}
	fmt.Fprintf(t.out, "%d tests ran, all passed\n", t.ran)
	return nil
}

// find gives the names of the tests of each deliver block, and the JSON files that belong to no test.
func (t *tester) find() (tests map[block]map[string]bool, strays []string, err error) {
	tests = map[block]map[string]bool{}
	err = filepath.WalkDir(t.dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == t.dir:
			return nil
		case err != nil:
			return err
		case entry.IsDir() || filepath.Ext(path) != ".json":
			return nil
		}
		inside, err := filepath.Rel(t.dir, path)
		if err != nil {
			return err
		}
		parts := strings.Split(filepath.ToSlash(inside), "/")
		name, isRecord := strings.CutSuffix(parts[len(parts)-1], recordSuffix)
		if !isRecord {
			var isGolden bool
			if name, isGolden = strings.CutSuffix(name, goldenSuffix); !isGolden {
				parts = nil
			}
		}
		if len(parts) != 3 || name == "" {
			strays = append(strays, path)
			return nil
		}
		b := block{parts[0], parts[1]}
		if tests[b] == nil {
			tests[b] = map[string]bool{}
		}
		tests[b][name] = true
		return nil
	})
	return tests, strays, err
}

// block runs the tests of one deliver block.
func (t *tester) block(ctx context.Context, b block, names []string) error {
	trial, err := t.e.Trial(t.cfg, b.pipeline, b.deliver)
	if err != nil {
		t.failed += len(names)
		t.fail(b.String(), err.Error())
		return nil
	}
	defer trial.Close()
	failed := 0
	for _, name := range names {
		why, err := t.one(ctx, trial, filepath.Join(t.dir, b.pipeline, b.deliver, name))
		if err != nil {
			return err
		}
		t.ran++
		if why != "" {
			failed++
			t.fail(b.String()+"/"+name, why)
		}
	}
	t.failed += failed
	if failed > 0 {
		fmt.Fprintf(t.out, "FAIL  %s  %d of %d failed\n", b, failed, len(names))
	} else {
		fmt.Fprintf(t.out, "ok    %s  %d passed\n", b, len(names))
	}
	return nil
}

// one runs the test whose files' names begin with path, and says why it failed. The error is one that is not the test's.
func (t *tester) one(ctx context.Context, trial *engine.Trial, path string) (why string, err error) {
	file, err := os.ReadFile(path + recordSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return "there is no record for it: " + path + recordSuffix, nil
	} else if err != nil {
		return "", err
	}
	outcomes, err := trial.Map(ctx, file)
	switch {
	case ctx.Err() != nil:
		return "", errors.New("stopped before all tests ran")
	case err != nil:
		return path + recordSuffix + ": " + err.Error(), nil
	case outcomes[0].Cause != nil:
		return whyNot(outcomes[0]), nil
	}
	got := outcomes[0].Body
	if got == nil {
		got = []byte("null")
	}
	golden, err := os.ReadFile(path + goldenSuffix)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return "", err
	}
	difference := ""
	if !missing {
		difference = jsonDiff(path+goldenSuffix, golden, got)
	}
	switch {
	case !missing && difference == "":
		return "", nil
	case t.update:
		fmt.Fprintf(t.out, "wrote %s\n", path+goldenSuffix)
		return "", os.WriteFile(path+goldenSuffix, pretty(got), 0o600) // which keeps the mode and the owner of a file that exists
	case missing:
		return "there is no " + path + goldenSuffix + "; --update writes it, to be looked at", nil
	}
	return difference, nil
}

func (t *tester) fail(name, why string) {
	fmt.Fprintf(t.out, "--- FAIL: %s\n    %s\n", name, strings.ReplaceAll(strings.Map(forTerminal, strings.TrimSpace(why)), "\n", "\n    "))
}
