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
)

// result is what one contender needed for all notifications.
type result struct {
	Name         string   `json:"name"`
	Seconds      float64  `json:"seconds"`       // from its first call of the EHR to the last arrival
	StartSeconds float64  `json:"start_seconds"` // from the start of its process to its first call
	PerSecond    float64  `json:"notifications_per_second"`
	CPUMillis    float64  `json:"cpu_ms_per_notification"` // user and system, all its processes, their start included
	StartMillis  float64  `json:"start_cpu_ms,omitempty"`  // what of the CPU was used before its first call; told of Rounds only
	CallsEach    float64  `json:"ehr_calls_per_notification"`
	MemoryMB     float64  `json:"peak_memory_mb"` // sum of the peaks of its processes; pages that two share count twice
	Memory       []memory `json:"memory"`         // each process at its peak, which the two kinds need not reach together
}

// memory tells what each process held at most.
func (r *result) memory() string {
	var all []string
	for _, m := range r.Memory {
		all = append(all, fmt.Sprintf("%s %.0f (anonymous %.0f, files %.0f)", m.Process, m.PeakMB, m.AnonMB, m.FileMB))
	}
	return strings.Join(all, ", ")
}

// figure is one promise and what was measured of it.
type figure struct {
	Mode     string  `json:"mode"`
	Name     string  `json:"figure"`
	Measured float64 `json:"measured"`
	AtLeast  float64 `json:"at_least,omitempty"` // to be reached: one of the two
	AtMost   float64 `json:"at_most,omitempty"`
	Unit     string  `json:"unit,omitempty"` // none: a ratio or a count
	Reached  bool    `json:"reached"`
	Details  string  `json:"details,omitempty"`
}

type table struct {
	Title   string   `json:"title"`
	Results []result `json:"results"` // medians of the rounds
}

type report struct {
	Machine string   `json:"machine"`
	Load    string   `json:"load_average,omitempty"` // of the last minute before the bench began: what else the machine did
	Rounds  int      `json:"rounds"`
	Figures []figure `json:"figures"`
	Tables  []table  `json:"tables,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

func (r *report) add(f figure) {
	f.Reached = f.Measured >= f.AtLeast && (f.AtMost == 0 || f.Measured <= f.AtMost)
	r.Figures = append(r.Figures, f)
}

func (r *report) table(title string, results []result) {
	r.Tables = append(r.Tables, table{title, results})
}

func (r *report) note(text string) {
	if !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
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

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

// medianResult takes the median of each figure by itself.
func medianResult(all []result) result {
	m := all[0]
	m.Memory = slices.Clone(m.Memory)
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
	of(func(r *result) *float64 { return &r.StartMillis })
	of(func(r *result) *float64 { return &r.CallsEach })
	of(func(r *result) *float64 { return &r.MemoryMB })
	for i := range m.Memory {
		if slices.ContainsFunc(all, func(r result) bool { return len(r.Memory) <= i }) {
			break
		}
		of(func(r *result) *float64 { return &r.Memory[i].PeakMB })
		of(func(r *result) *float64 { return &r.Memory[i].AnonMB })
		of(func(r *result) *float64 { return &r.Memory[i].FileMB })
	}
	return m
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s; load average before: %s; medians of %d\n\n", r.Machine, cmp.Or(r.Load, "unknown"), r.Rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tfigure\tmeasured\tto reach\treached?\t")
	for _, f := range r.Figures {
		bound := fmt.Sprintf("≥ %.4g", f.AtLeast)
		if f.AtMost > 0 {
			bound = fmt.Sprintf("≤ %.4g", f.AtMost)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Mode, f.Name, number(f.Measured, f.Unit), strings.TrimSpace(bound+" "+f.Unit),
			map[bool]string{true: "yes", false: "no"}[f.Reached], f.Details)
	}
	_ = t.Flush() // to memory or a terminal: there is nobody to tell
	for _, one := range r.Tables {
		fmt.Fprintf(w, "\n%s\n", one.Title)
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "\tnotifications/s\tseconds\tstart s\tCPU ms each\tpeak MB\tEHR calls each\t")
		for _, c := range one.Results {
			fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.2f\t%.3f\t%.0f\t%.3f\t\n", c.Name, c.PerSecond, c.Seconds, c.StartSeconds, c.CPUMillis, c.MemoryMB,
				c.CallsEach)
		}
		_ = t.Flush()
	}
	if len(r.Tables) > 0 {
		fmt.Fprintln(w, "\nEvery appointment arrived once, with its own patient, and the notifications of all contenders are the same bytes.")
		fmt.Fprintln(w, "Only Rounds keeps its state on disk, synced. Seconds count from the first call of the EHR to the last arrival; CPU is of all")
		fmt.Fprintln(w, "processes of the contender from their start; memory is the sum of the peaks of its processes (VmHWM).")
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
}

// number has three digits at least, which is more than a machine that others use gives.
func number(v float64, unit string) string {
	switch {
	case v >= 100 || v == float64(int(v)):
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", v, unit))
	case v >= 10:
		return strings.TrimSpace(fmt.Sprintf("%.1f %s", v, unit))
	}
	return strings.TrimSpace(fmt.Sprintf("%.3f %s", v, unit))
}
