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
	for _, page := range []int{0, 70} {
		b := bench{Appointments: 300, Patients: 60, Page: page, History: time.Duration(page) * time.Minute, Rounds: 2, Binary: binary}
		r, err := b.run(t.Context())
		if err != nil {
			t.Fatalf("pages of %d: %v", page, err)
		}
		if _, err := os.Stat(b.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its directory is left: %v", err)
		}
		for _, c := range r.Contenders {
			if c.PerSecond <= 0 || c.CPUMillis <= 0 || c.MemoryMiB < 1 || c.CallsPerNotification < 0.2 || c.CallsPerNotification > 0.3 {
				t.Errorf("pages of %d: %+v", page, c)
			}
		}
		if len(r.Ratios) != len(r.Contenders)-1 || r.Ratios[0].Speed <= 0 {
			t.Errorf("ratios: %+v", r.Ratios)
		}
	}
}
