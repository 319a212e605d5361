// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's binary be the parts that the bench starts itself as.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"ehr", "receiver", "bare"}, os.Args[1]) {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestTheBenchMeasuresAllAndFindsNothingWrong(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	binary := filepath.Join(t.TempDir(), "rounds")
	if out, err := exec.Command("go", "build", "-o", binary, "../rounds").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b := bench{Appointments: 300, Patients: 60, Page: 70, Rounds: 1, Rows: 20_000, Trickle: time.Second, Rest: 50 * time.Millisecond,
		Settle: 100 * time.Millisecond, Binary: binary}
	r, err := b.run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
	found := map[string]int{}
	for _, f := range r.Figures {
		found[f.Mode]++
		if f.Measured <= 0 && f.Mode != "kill" || (f.AtLeast > 0) == (f.AtMost > 0) {
			t.Errorf("%+v", f)
		}
		if reached := f.AtMost > 0 && f.Measured <= f.AtMost || f.AtLeast > 0 && f.Measured >= f.AtLeast; reached != f.Reached {
			t.Errorf("reached is %v: %+v", f.Reached, f)
		}
	}
	for _, name := range modeNames() {
		if found[name] == 0 {
			t.Errorf("nothing was measured of %q", name)
		}
	}
	var printed strings.Builder
	r.print(&printed)
	for _, f := range r.Figures {
		if !strings.Contains(printed.String(), f.Name) {
			t.Errorf("the table leaves out %q", f.Name)
		}
	}
	for _, table := range r.Tables {
		for _, c := range table.Results {
			if c.PerSecond <= 0 || c.CPUMillis <= 0 || c.MemoryMB < 1 || c.CallsEach < 0.2 || c.CallsEach > 0.3 {
				t.Errorf("%s: %+v", table.Title, c)
			}
			if ours := strings.Contains(c.Name, "row") || strings.HasPrefix(c.Name, asUsual); ours && (len(c.Memory) != 2 || c.Memory[1].AnonMB <= 0) {
				t.Errorf("%s: engine and adapter are not told apart: %+v", table.Title, c)
			}
		}
	}
}

func TestOnlyWhatThereIsIsMeasured(t *testing.T) {
	var b bench
	if _, err := b.run(t.Context(), []string{"waiting", "nothing"}); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("%v", err)
	}
}
