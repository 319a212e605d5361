// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/metrics"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
)

func get(h http.Handler) (status int, body string) {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	return answer.Code, answer.Body.String()
}

// until waits until all texts are in what is asked for.
func until(t *testing.T, ask func() string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for deadline := time.Now().Add(time.Minute); !strings.Contains(ask(), text); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("there is no %s in\n%s", text, ask())
			}
		}
	}
}

// The engine's one adapter can't be started: that an EHR can't be asked is no reason that the engine does not live or is not ready.
func TestHealthAndMetricsTellWhatTheEngineIsDoing(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "a.js")
	if err := os.WriteFile(script, []byte("export default ({ change }) => ({ id: change.id });"), 0o600); err != nil {
		t.Fatal(err)
	}
	of := func(name string) config.Pipeline {
		return config.Pipeline{
			Name: name, Source: "none.clinic", Feed: "appointments", Every: time.Minute, Timeout: time.Second,
			Delivers: []config.Deliver{{Name: "out", Destination: "file.out", Script: script}},
		}
	}
	file, err := json.Marshal(map[string]string{"path": filepath.Join(dir, "out")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{
		Dir:          dir,
		Sources:      []config.Source{{Adapter: config.Adapter{Name: "none", Path: filepath.Join(dir, "none")}, Name: "clinic", Config: []byte("{}")}},
		Destinations: []config.Destination{{Type: "file", Name: "out", Parallel: 1, OnReject: "pause", Timeout: time.Second, Config: file}},
		Pipelines:    []config.Pipeline{of("visits"), of("orders")},
	}
	e := New(Options{StateDir: filepath.Join(dir, "state"), Logger: slog.New(slog.DiscardHandler)})
	defer e.Close()
	m := metrics.New("1.2.3")
	e.Observe(m, nil)
	scrape := func() string {
		_, body := get(m.Handler())
		return body
	}
	if status, body := get(e.Ready()); status != 503 || !strings.HasPrefix(body, "configuration: the engine is starting") {
		t.Errorf("before the start: %d\n%s", status, body)
	}
	if status, body := get(e.Live()); status != 200 {
		t.Errorf("an engine that starts is not well: %d\n%s", status, body)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	invalid := errors.New("main.hcl has a mistake")
	go func() {
		ended <- e.Run(ctx, cfg, func(context.Context) (*config.Config, error) { return cfg, invalid })
	}()
	until(t, func() string {
		_, body := get(e.Ready())
		return body
	}, "configuration: ok\nstate: ok\npipelines: ok\n")
	until(t, scrape,
		`rounds_pipeline_state{pipeline="visits",source="none.clinic",state="failing"} 1`,
		`rounds_pipeline_poll_interval_seconds{pipeline="visits",source="none.clinic"} 60`,
		`rounds_destination_state{destination="file.out",state="delivering"} 1`,
		`rounds_outbox_notifications{destination="file.out"} 0`,
		`rounds_dead_letters_waiting{pipeline="visits"} 0`,
		`rounds_adapter_up{adapter="none",source=""} 0`,
		`rounds_state_size_bytes `,
		`rounds_config_last_reload_successful 1`,
		`rounds_config_last_reload_success_timestamp_seconds `,
		`rounds_pipeline_mappings_total{deliver="out",outcome="abandoned",pipeline="visits"} 0`,
		`rounds_build_info{`)
	if status, body := get(e.Live()); status != 200 || body != "state: ok\nloops: ok\n" {
		t.Errorf("while it runs: %d\n%s", status, body)
	}
	me := operate.As(ctx, "a test")
	if err := e.Pause(me, operate.Target{Kind: operate.Pipeline, Name: "orders"}, "a reason"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Reload(me); err == nil {
		t.Error("an invalid configuration was taken")
	}
	until(t, scrape, `rounds_pipeline_state{pipeline="orders",source="none.clinic",state="paused"} 1`, `rounds_config_last_reload_successful 0`)
	if status, body := get(e.Live()); status != 200 {
		t.Errorf("with a paused pipeline: %d\n%s", status, body)
	}
	invalid = nil
	if _, err := e.Reload(me); err != nil {
		t.Fatal(err)
	}
	until(t, scrape, `rounds_config_last_reload_successful 1`)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := scrape(); strings.Contains(text, "rounds_pipeline_state") {
		t.Errorf("an engine that does not run tells its state:\n%s", text)
	}
}

// A loop that ends by itself is a defect that only a new start mends.
func TestALoopThatEndedIsNotWell(t *testing.T) {
	c := &clinic{}
	p := c.pipeline(t, c, memstore.New(store.Limits{})) // it was never started
	e := New(Options{Logger: slog.New(slog.DiscardHandler)})
	e.running = &running{engine: e, pipelines: map[string]*polling{"visits": {pipeline: p}}}
	if err := e.loopsRun(t.Context()); err == nil || err.Error() != "pipeline visits has ended" {
		t.Errorf("got %v", err)
	}
}

// TestAnswersOfHealthNameAFew: of thousands that have not begun yet, it is asked every few seconds.
func TestAnswersOfHealthNameAFew(t *testing.T) {
	e := New(Options{Logger: slog.New(slog.DiscardHandler)})
	r := &running{engine: e, pipelines: map[string]*polling{}}
	e.running = r
	for i := range 30 {
		name := fmt.Sprintf("p%02d", i)
		p, err := pipeline.New(pipeline.Config{Name: name, Every: 1, Timeout: 1, Parallel: 1, Delivers: make([]pipeline.Deliver, 1), Logger: e.o.Logger})
		if err != nil {
			t.Fatal(err)
		}
		r.pipelines[name] = &polling{pipeline: p}
		err = e.none("has ended", pipeline.Stopped, "")
		if want := min(i+1, mostNamed); err == nil || strings.Count(err.Error(), "pipeline p") != want {
			t.Errorf("of %d it names not %d: %v", i+1, want, err)
		}
	}
	if err := e.none("has ended", pipeline.Stopped, ""); !strings.HasSuffix(err.Error(), "pipeline p09, and 20 more has ended") {
		t.Error(err)
	}
}
