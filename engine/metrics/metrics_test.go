// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/rounds-engine/rounds/engine/metrics"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// everything is an engine to which everything has happened that can be counted.
func everything() *metrics.Metrics {
	m := metrics.New("1.2.3")
	p := m.Pipeline("visits", "rest.clinic", "out")
	p.Polled(70*time.Millisecond, 3, 2*time.Second, "")
	p.Polled(time.Second, 1, 0, sdk.CodeRateLimited)
	p.Changes("new", 4)
	p.Changes("seen", 2)
	p.Called(20 * time.Millisecond)
	p.Fetched("patient", "", 3)
	p.Fetched("patient", sdk.CodeNotFound, 1)
	p.Unwanted("out")
	p.Mapped("out", "mapped", 300*time.Microsecond)
	p.Committed(2*time.Millisecond, nil)
	p.Committed(time.Second, errors.New("the disk is full"))
	p.Notification("out", "webhook.out")
	p.DeadLetter(record.StageFetch)
	d := m.Destination("webhook.out")
	d.Attempted(time.Second, nil)
	d.Attempted(time.Second, &record.SendError{Code: "http_503"})
	d.Attempted(time.Second, &record.SendError{Verdict: record.Reject, Code: "http_422"})
	d.Attempted(time.Second, &record.SendError{Verdict: record.Pause, Code: "http_401"})
	d.Delivered("visits", time.Unix(10, 0), time.Unix(1000, 0), time.Unix(1090, 0))
	d.Delivered("visits", time.Time{}, time.Unix(1000, 0), time.Unix(990, 0))
	d.DeadLetter("visits")
	m.Watch(func() metrics.Snapshot {
		return metrics.Snapshot{
			Pipelines: []metrics.PipelineNow{
				{Name: "visits", Source: "rest.clinic", State: "failing", LastGoodPoll: time.Unix(1000, 5e8), NextPoll: time.Unix(2000, 0), Every: time.Minute, Isolated: true, WorkerEnds: 4},
				{Name: "fresh", Source: "rest.clinic", State: "claiming"},
			},
			Destinations: []metrics.DestinationNow{
				{Name: "webhook.out", State: "paused", Waiting: 7, Oldest: time.Unix(900, 0), Held: 1, InFlight: 2},
				{Name: "file.out", State: "delivering", Oldest: time.Unix(900, 0)},
			},
			Adapters: []metrics.AdapterNow{
				{Name: "rest", Up: true, Restarts: 3, Memory: 5 << 20}, {Name: "rest", Restarts: 1, Memory: 1 << 20}, {Name: "rest", Source: "rest.alone", Restarts: 2},
			},
			DeadLetters: map[string]int{"visits": 5, "gone": 1}, StateBytes: 4096, Loaded: time.Unix(500, 0), Refused: true,
		}
	})
	return m
}

func scrape(t testing.TB, m *metrics.Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

func families(t testing.TB, m *metrics.Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(scrape(t, m)))
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(all, func(name string, _ *dto.MetricFamily) bool { return !strings.HasPrefix(name, "rounds_") })
	return all
}

func TestWhatHappenedIsWhatPrometheusGets(t *testing.T) {
	text := scrape(t, everything())
	for _, line := range []string{
		`rounds_pipeline_polls_total{code="ok",pipeline="visits",source="rest.clinic"} 1`,
		`rounds_pipeline_polls_total{code="rate_limited",pipeline="visits",source="rest.clinic"} 1`,
		`rounds_pipeline_poll_duration_seconds_bucket{pipeline="visits",source="rest.clinic",le="0.1"} 1`,
		`rounds_pipeline_poll_duration_seconds_count{pipeline="visits",source="rest.clinic"} 2`,
		`rounds_pipeline_poll_calls_total{pipeline="visits",source="rest.clinic"} 4`,
		`rounds_pipeline_poll_wait_seconds_total{pipeline="visits",source="rest.clinic"} 2`,
		`rounds_pipeline_changes_total{outcome="new",pipeline="visits",source="rest.clinic"} 4`,
		`rounds_pipeline_fetches_total{code="not_found",pipeline="visits",resource="patient",source="rest.clinic"} 1`,
		`rounds_pipeline_fetch_duration_seconds_count{pipeline="visits",source="rest.clinic"} 1`,
		`rounds_pipeline_worker_ends_total{pipeline="visits"} 4`,
		`rounds_pipeline_unwanted_total{deliver="out",pipeline="visits"} 1`,
		`rounds_pipeline_mappings_total{deliver="out",outcome="mapped",pipeline="visits"} 1`,
		`rounds_pipeline_mappings_total{deliver="out",outcome="abandoned",pipeline="visits"} 0`,
		`rounds_pipeline_map_duration_seconds_bucket{deliver="out",pipeline="visits",le="0.0005"} 1`,
		`rounds_pipeline_notifications_total{deliver="out",destination="webhook.out",pipeline="visits"} 1`,
		`rounds_commit_duration_seconds_count 1`,
		`rounds_commit_failures_total 1`,
		`rounds_dead_letters_total{pipeline="visits",stage="fetch"} 1`,
		`rounds_dead_letters_total{pipeline="visits",stage="deliver"} 1`,
		`rounds_dead_letters_total{pipeline="visits",stage="map"} 0`,
		`rounds_delivery_attempts_total{code="ok",destination="webhook.out",outcome="accepted"} 1`,
		`rounds_delivery_attempts_total{code="http_5xx",destination="webhook.out",outcome="repeated"} 1`,
		`rounds_delivery_attempts_total{code="http_4xx",destination="webhook.out",outcome="rejected"} 1`,
		`rounds_delivery_attempts_total{code="http_4xx",destination="webhook.out",outcome="paused"} 1`,
		`rounds_delivery_attempt_duration_seconds_count{destination="webhook.out"} 4`,
		`rounds_delivery_notifications_total{destination="webhook.out",pipeline="visits"} 2`,
		`rounds_delivery_latency_seconds_bucket{destination="webhook.out",le="60"} 1`,
		`rounds_delivery_latency_seconds_bucket{destination="webhook.out",le="300"} 2`,
		`rounds_delivery_lag_seconds_sum{destination="webhook.out",pipeline="visits"} 1080`,
		`rounds_delivery_lag_seconds_count{destination="webhook.out",pipeline="visits"} 1`,
		`rounds_pipeline_state{pipeline="visits",source="rest.clinic",state="failing"} 1`,
		`rounds_pipeline_state{pipeline="visits",source="rest.clinic",state="polling"} 0`,
		`rounds_pipeline_last_poll_success_timestamp_seconds{pipeline="visits",source="rest.clinic"} 1000.5`,
		`rounds_pipeline_next_poll_timestamp_seconds{pipeline="visits",source="rest.clinic"} 2000`,
		`rounds_pipeline_poll_interval_seconds{pipeline="visits",source="rest.clinic"} 60`,
		`rounds_destination_state{destination="webhook.out",state="paused"} 1`,
		`rounds_destination_state{destination="webhook.out",state="delivering"} 0`,
		`rounds_destination_held_lanes{destination="webhook.out"} 1`,
		`rounds_destination_in_flight_lanes{destination="webhook.out"} 2`,
		`rounds_outbox_notifications{destination="webhook.out"} 7`,
		`rounds_outbox_notifications{destination="file.out"} 0`,
		`rounds_outbox_oldest_timestamp_seconds{destination="webhook.out"} 900`,
		`rounds_dead_letters_waiting{pipeline="visits"} 5`,
		`rounds_dead_letters_waiting{pipeline="gone"} 1`,
		`rounds_dead_letters_waiting{pipeline="fresh"} 0`,
		`rounds_adapter_up{adapter="rest",source=""} 1`,
		`rounds_adapter_restarts_total{adapter="rest",source=""} 4`,
		`rounds_adapter_up{adapter="rest",source="rest.alone"} 0`,
		`rounds_adapter_memory_bytes{adapter="rest",source=""} 6.291456e+06`,
		`rounds_state_size_bytes 4096`,
		`rounds_config_last_reload_success_timestamp_seconds 500`,
		`rounds_config_last_reload_successful 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line\n %s", line)
		}
	}
	for _, absent := range []string{
		`last_poll_success_timestamp_seconds{pipeline="fresh"`, `oldest_timestamp_seconds{destination="file.out"`, `sum{pipeline="fresh"`,
	} {
		if strings.Contains(text, absent) {
			t.Errorf("what is not known is told: %s", absent)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestNothingIsToldOfAnEngineThatDoesNotRun(t *testing.T) {
	m := everything()
	m.Watch(nil)
	if text := scrape(t, m); strings.Contains(text, "rounds_pipeline_state") || !strings.Contains(text, "rounds_build_info") {
		t.Errorf("metrics:\n%s", text)
	}
}

func TestNamesFollowTheConventionsOfPrometheus(t *testing.T) {
	var all []*dto.MetricFamily
	for _, f := range families(t, everything()) {
		all = append(all, f)
	}
	problems, err := promlint.NewWithMetricFamilies(all).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// What an adapter or a receiver makes up does not make metrics without end.
func TestInvariant6LabelsAreKnownWords(t *testing.T) {
	m := metrics.New("1")
	p, d := m.Pipeline("visits", "rest.clinic"), m.Destination("webhook.out")
	for i := range 1000 {
		p.Polled(0, -1, -1, sdk.Code(fmt.Sprintf("Canary%d", i)))
		p.Fetched("patient", sdk.Code(fmt.Sprintf("canary_%d", i)), 1)
		d.Attempted(0, &record.SendError{Code: fmt.Sprintf("http_%d", i), Text: "Canary", Detail: "Canary"})
		d.Attempted(0, &record.SendError{Code: fmt.Sprintf("Canary %d", i)})
		d.Attempted(0, &record.SendError{Code: fmt.Sprintf("made_up_%d", i)})
	}
	text := scrape(t, m)
	if strings.Contains(strings.ToLower(text), "canary") {
		t.Errorf("metrics hold what an adapter or a receiver said:\n%s", text)
	}
	if n := len(families(t, m)["rounds_delivery_attempts_total"].Metric); n > 50 {
		t.Errorf("there are %d series of attempts", n)
	}
	if !strings.Contains(text, `rounds_delivery_attempts_total{code="other",destination="webhook.out",outcome="repeated"}`) ||
		!strings.Contains(text, `rounds_pipeline_polls_total{code="other",pipeline="visits",source="rest.clinic"} 1000`) {
		t.Errorf("unknown codes are not counted as other:\n%s", text)
	}
}

func TestMetersAreReadWhileTheyCount(t *testing.T) {
	m := metrics.New("1")
	p, d := m.Pipeline("visits", "rest.clinic"), m.Destination("webhook.out")
	var counting sync.WaitGroup
	for range 4 {
		counting.Go(func() {
			for range 200 {
				p.Mapped("out", "mapped", time.Millisecond)
				d.Attempted(time.Millisecond, &record.SendError{Code: "network"})
			}
		})
	}
	for range 5 {
		scrape(t, m)
	}
	counting.Wait()
	if text := scrape(t, m); !strings.Contains(text, `outcome="mapped",pipeline="visits"} 800`) {
		t.Errorf("metrics:\n%s", text)
	}
}

// The table in docs/operations.md has each metric with its type and labels.
func TestTheTableInTheDocsIsWhatIsExported(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(rounds_\\w+)` \\| (\\w+) \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		var labels []string
		for _, l := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		told[m[1]] = m[2] + " of " + strings.Join(labels, ", ")
	}
	is := map[string]string{}
	for name, f := range families(t, everything()) {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		is[name] = strings.ToLower(f.GetType().String()) + " of " + strings.Join(labels, ", ")
	}
	for name, what := range is {
		if told[name] != what {
			t.Errorf("%s is a %s; the table has %q", name, what, told[name])
		}
	}
	for name := range told {
		if is[name] == "" {
			t.Errorf("the table has %s, which there is not", name)
		}
	}
}

// BenchmarkMapped is what counting costs for each record and deliver block.
func BenchmarkMapped(b *testing.B) {
	p := metrics.New("1").Pipeline("visits", "rest.clinic")
	b.ReportAllocs()
	for b.Loop() {
		p.Mapped("out", "mapped", time.Millisecond)
	}
}

func BenchmarkAttempted(b *testing.B) {
	d := metrics.New("1").Destination("webhook.out")
	b.ReportAllocs()
	for b.Loop() {
		d.Attempted(time.Millisecond, nil)
		d.Delivered("visits", time.Time{}, time.Unix(1, 0), time.Unix(2, 0))
	}
}

// BenchmarkScrape is what Prometheus' asking costs with a thousand pipelines.
func BenchmarkScrape(b *testing.B) {
	m := metrics.New("1")
	now := metrics.Snapshot{DeadLetters: map[string]int{}}
	for i := range 1000 {
		name := fmt.Sprintf("appointments_of_clinic_%d", i)
		p := m.Pipeline(name, "rest.clinic", "out")
		p.Fetched("patient", "", 1)
		p.Mapped("out", "mapped", time.Millisecond)
		p.Notification("out", "webhook.out")
		now.Pipelines = append(now.Pipelines, metrics.PipelineNow{Name: name, Source: "rest.clinic", State: "waiting", Every: time.Minute})
	}
	m.Watch(func() metrics.Snapshot { return now })
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(scrape(b, m))))
	}
}
