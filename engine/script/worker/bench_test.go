// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/engine/script/worker"
	"github.com/rounds-engine/rounds/sdk"
)

// BenchmarkMap maps an appointment of realistic size, in this process and in a worker, so many at a time. Allocations are those of this
// process; processor time, which a loaded machine changes less than the other, is that of both. What the worker takes is logged.
func BenchmarkMap(b *testing.B) {
	s, err := script.Compile("../testdata/scheduling.ts", script.Options{})
	if err != nil {
		b.Fatal(err)
	}
	read := func(name string) []byte {
		text, err := os.ReadFile("../testdata/" + name)
		if err != nil {
			b.Fatal(err)
		}
		return text
	}
	r := &record.Record{
		Change: sdk.Change{
			Ref: sdk.Ref{Kind: "appointment", ID: "A-1001"}, Version: "3", Op: sdk.Updated,
			Time: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), Data: read("appointment.json"),
		},
		Fetched: map[string]json.RawMessage{"patient": read("patient.json")},
	}
	c := script.Context{Pipeline: "appointments", Source: "rest.clinic", Deliver: "scheduling", Now: time.Now(), Attempt: 1}
	w, _ := newWorker(b)
	isolated := func(ctx context.Context, r *record.Record, c script.Context) ([]byte, error) {
		return w.Map(ctx, s.Bundle, r, c)
	}
	for _, at := range []int{1, 16} {
		for _, x := range []struct {
			name string
			call func(context.Context, *record.Record, script.Context) ([]byte, error)
		}{{"here", s.Map}, {"worker", isolated}} {
			b.Run(fmt.Sprintf("%s/%d", x.name, at), func(b *testing.B) {
				if _, err := x.call(b.Context(), r, c); err != nil { // it begins
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				before := processorTime(b, w)
				defer func() { b.ReportMetric(float64(processorTime(b, w)-before)/float64(b.N), "cpu-ns/op") }()
				if at == 1 {
					for b.Loop() {
						if _, err := x.call(b.Context(), r, c); err != nil && !timedOut(err) {
							b.Fatal(err)
						}
					}
					return
				}
				b.SetParallelism((at + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := x.call(b.Context(), r, c); err != nil && !timedOut(err) {
							b.Error(err)
						}
					}
				})
			})
		}
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Status().PID)); err == nil {
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "RssAnon") {
				b.Log(strings.TrimSpace(line))
			}
		}
	}
}

// processorTime is what this process and the worker have used, 0 where there is no /proc.
func processorTime(b *testing.B, w *worker.Worker) (sum time.Duration) {
	for _, pid := range []int{os.Getpid(), w.Status().PID} {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
			n, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

// BenchmarkStart starts a worker, maps a record, and ends it.
func BenchmarkStart(b *testing.B) {
	s := bundle(b, "export default () => ({ v: 1 });")
	w, _ := newWorker(b)
	for b.Loop() {
		if _, err := w.Map(b.Context(), s, numbered(1), script.Context{Now: time.Now()}); err != nil {
			b.Fatal(err)
		}
		w.End()
	}
}
