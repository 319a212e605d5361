// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is what one contender needed for all notifications.
type result struct {
	Name                 string  `json:"name"`
	Seconds              float64 `json:"seconds"`       // from its first call of the EHR to the last arrival
	StartSeconds         float64 `json:"start_seconds"` // from the start of its process to its first call
	PerSecond            float64 `json:"notifications_per_second"`
	CPUMillis            float64 `json:"cpu_ms_per_notification"` // user and system, all its processes, their start included
	MemoryMiB            float64 `json:"peak_memory_mib"`         // sum of the peaks of its processes
	CallsPerNotification float64 `json:"ehr_calls_per_notification"`
	Processes            int     `json:"processes"`

	cpu    time.Duration
	memory int64
}

// ratio compares Rounds with another contender.
type ratio struct {
	With   string  `json:"with"`
	Speed  float64 `json:"notifications_per_second"`
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	Calls  float64 `json:"ehr_calls"`
}

type report struct {
	Machine      string   `json:"machine"`
	Appointments int      `json:"appointments"`
	Patients     int      `json:"patients"`
	Page         int      `json:"page"`
	Rounds       int      `json:"rounds"`
	Contenders   []result `json:"contenders"` // medians of the rounds
	Ratios       []ratio  `json:"ratios"`     // Rounds divided by the other
	Notes        []string `json:"notes,omitempty"`
}

func machine() string {
	model := runtime.GOARCH
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version())
}

// median takes the median of each figure by itself.
func median(all []result) result {
	m := all[0]
	of := func(figure func(*result) *float64) {
		var values []float64
		for i := range all {
			values = append(values, *figure(&all[i]))
		}
		slices.Sort(values)
		n := len(values)
		*figure(&m) = (values[(n-1)/2] + values[n/2]) / 2
	}
	of(func(r *result) *float64 { return &r.Seconds })
	of(func(r *result) *float64 { return &r.StartSeconds })
	of(func(r *result) *float64 { return &r.PerSecond })
	of(func(r *result) *float64 { return &r.CPUMillis })
	of(func(r *result) *float64 { return &r.MemoryMiB })
	of(func(r *result) *float64 { return &r.CallsPerNotification })
	return m
}

func (r *report) compare() {
	i := slices.IndexFunc(r.Contenders, func(c result) bool { return c.Name == rounds })
	own := r.Contenders[i]
	for _, c := range r.Contenders {
		if c.Name != rounds {
			r.Ratios = append(r.Ratios, ratio{With: c.Name, Speed: own.PerSecond / c.PerSecond, CPU: own.CPUMillis / c.CPUMillis,
				Memory: own.MemoryMiB / c.MemoryMiB, Calls: own.CallsPerNotification / c.CallsPerNotification})
		}
	}
}

func (r *report) print(w io.Writer) {
	paging := "in one answer"
	if r.Page > 0 {
		paging = fmt.Sprintf("in pages of %d", r.Page)
	}
	fmt.Fprintf(w, "%d changed appointments of %d patients, %s; median of %d\n%s\n\n", r.Appointments, r.Patients, paging, r.Rounds,
		cmp.Or(r.Machine, "unknown machine"))
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tnotifications/s\tseconds\tstart s\tCPU ms each\tpeak MiB\tEHR calls each\tprocesses\t")
	for _, c := range r.Contenders {
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.2f\t%.3f\t%.0f\t%.3f\t%d\t\n", c.Name, c.PerSecond, c.Seconds, c.StartSeconds,
			c.CPUMillis, c.MemoryMiB, c.CallsPerNotification, c.Processes)
	}
	for _, x := range r.Ratios {
		fmt.Fprintf(t, "rounds ÷ %s\t%.2f\t\t\t%.2f\t%.2f\t%.2f\t\t\n", x.With, x.Speed, x.CPU, x.Memory, x.Calls)
	}
	_ = t.Flush() // to memory or a terminal: there is nobody to tell
	fmt.Fprintln(w, "\nEvery appointment arrived once, with its own patient, and the notifications of all contenders are the same bytes.")
	fmt.Fprintln(w, "Only Rounds keeps its state on disk, synced. Seconds count from the first call of the EHR to the last arrival;")
	fmt.Fprintln(w, "CPU is of all its processes from their start; memory is the sum of the peaks of its processes.")
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
}
