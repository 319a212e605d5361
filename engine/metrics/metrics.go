// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what the engine does, for Prometheus. What happens is counted by meters that the loops are given
// (meters.go); what is, such as how many notifications wait, is read from a Snapshot when it is asked for (snapshot.go).
//
// Invariant 6: labels are names of the configuration, and codes and words that are known here; no label holds anything of a record.
// docs/operations.md has a table of all metrics, which a test holds against this package.
package metrics

import (
	"bufio"
	"compress/gzip"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// Metrics are the metrics of one engine.
type Metrics struct {
	runtime  *prometheus.Registry            // those of Go and of the process
	families []*family                       // all others that are counted
	now      atomic.Pointer[func() Snapshot] // nil: nothing is known yet
	v        vectors
	asked    chan struct{} // scrapes under way
}

// maxScrapes is how many scrapes are answered at a time.
const maxScrapes = 4

// vectors are what the meters count into.
type vectors struct {
	polls, pollCalls, pollWait, changes, fetches, mappings, unwanted, notifications, deadLetters, attempts, delivered *family
	pollTook, fetchTook, mapTook, attemptTook, deliveryTook, deliveryLag                                              *family // histograms
	commitTook, commitFailures                                                                                        *series
}

// Bounds of the histograms' buckets, in seconds. Few, as there may be a thousand pipelines.
var (
	ofCalls   = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
	ofScripts = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1, 1}
	ofCommits = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5}
	ofWaits   = []float64{0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 21600, 86400}
)

// New makes the metrics of an engine of a version.
func New(version string) *Metrics {
	m := &Metrics{runtime: prometheus.NewRegistry(), asked: make(chan struct{}, maxScrapes)}
	of := func(kind, name, help string, bounds []float64, labels ...string) *family {
		f := newFamily(name, help, kind, bounds, labels...)
		m.families = append(m.families, f)
		return f
	}
	counter := func(name, help string, labels ...string) *family { return of("counter", name, help, nil, labels...) }
	histogram := func(name, help string, bounds []float64, labels ...string) *family {
		return of("histogram", name, help, bounds, labels...)
	}
	m.v = vectors{
		polls: counter("rounds_pipeline_polls_total",
			"Pages that an adapter was asked for, by what came of it: ok, or the code of the failure.", "pipeline", "source", "code"),
		pollTook: histogram("rounds_pipeline_poll_duration_seconds",
			"How long an adapter took to give a page, or to fail.", ofCalls, "pipeline", "source"),
		pollCalls: counter("rounds_pipeline_poll_calls_total",
			"Calls to the EHR that adapters made for pages, as they count them.", "pipeline", "source"),
		pollWait: counter("rounds_pipeline_poll_wait_seconds_total",
			"Sum of the pauses that the EHR asked for in answers to polls.", "pipeline", "source"),
		changes: counter("rounds_pipeline_changes_total",
			"Changes on the pages, by how they were judged.", "pipeline", "source", "outcome"),
		fetches: counter("rounds_pipeline_fetches_total",
			"Records that an adapter was asked for, by what came of it: ok, or the code of the failure.", "pipeline", "source", "resource", "code"),
		fetchTook: histogram("rounds_pipeline_fetch_duration_seconds",
			"How long an adapter took for one call, which fetches up to 256 records.", ofCalls, "pipeline", "source"),
		unwanted: counter("rounds_pipeline_unwanted_total",
			"Records for which the filter of a deliver block did not hold, so that they were not mapped.", "pipeline", "deliver"),
		mappings: counter("rounds_pipeline_mappings_total",
			"Calls of mappings, by what came of it.", "pipeline", "deliver", "outcome"),
		mapTook: histogram("rounds_pipeline_map_duration_seconds",
			"How long a mapping took for one record.", ofScripts, "pipeline", "deliver"),
		notifications: counter("rounds_pipeline_notifications_total",
			"Notifications that were committed to the outbox.", "pipeline", "deliver", "destination"),
		deadLetters: counter("rounds_dead_letters_total",
			"Changes and notifications that became dead letters, by the step that failed.", "pipeline", "stage"),
		attempts: counter("rounds_delivery_attempts_total",
			"Attempts to deliver, by what they mean and by the class of the answer.", "destination", "outcome", "code"),
		attemptTook: histogram("rounds_delivery_attempt_duration_seconds",
			"How long an attempt took, until the answer or the failure.", ofCalls, "destination"),
		delivered: counter("rounds_delivery_notifications_total",
			"Notifications that were accepted and left the outbox.", "pipeline", "destination"),
		deliveryTook: histogram("rounds_delivery_latency_seconds",
			"How long after the begin of the poll that brought it a notification was accepted.", ofWaits, "destination"),
		deliveryLag: histogram("rounds_delivery_lag_seconds",
			"How long after its record changed, by the clock of the EHR, a notification was accepted.", ofWaits, "pipeline", "destination"),
		commitTook:     histogram("rounds_commit_duration_seconds", "How long a commit to the state took.", ofCommits).of(),
		commitFailures: counter("rounds_commit_failures_total", "Commits that failed, or whose outcome is unknown.").of(),
	}
	of("gauge", "rounds_build_info", "1, with what is running as labels.", nil, "version", "goversion").of(version, runtime.Version()).set(1)
	m.runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Watch has the metrics read, each time they are asked for, what f gives. It is safe to call f at any time and from several
// goroutines; nil: nothing is known any more.
func (m *Metrics) Watch(f func() Snapshot) {
	if f == nil {
		m.now.Store(nil)
		return
	}
	m.now.Store(&f)
}

// Handler answers what Prometheus asks, at any path.
func (m *Metrics) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case m.asked <- struct{}{}:
			defer func() { <-m.asked }()
		default:
			http.Error(w, "metrics are asked for too often at once", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		var out io.Writer = w
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // a level that there is
			defer func() { _ = z.Close() }()               // who asked has gone, if it fails
			out = z
		}
		m.write(out)
	})
}

// write writes all metrics. Who asked has gone, if it fails.
func (m *Metrics) write(w io.Writer) {
	out := bufio.NewWriterSize(w, 64<<10)
	own, _ := m.runtime.Gather() // what can't be told is left out
	for _, f := range own {
		_, _ = expfmt.MetricFamilyToText(out, f)
	}
	for _, f := range m.families {
		f.write(out)
	}
	if now := m.now.Load(); now != nil {
		s := (*now)()
		for _, f := range s.families() {
			f.write(out)
		}
	}
	_ = out.Flush()
}
