// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

// TestABudgetOutlivesKills: whatever kills the engine and its adapter, the EHR sees no more calls in a day than it allows, and an
// operator is told why nothing is polled any more.
func TestABudgetOutlivesKills(t *testing.T) {
	t.Parallel()
	const limit = 40
	var calls atomic.Int64
	ehr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := calls.Add(1)
		fmt.Fprintf(w, `[{"id": "%d", "lastUpdated": "%s"}]`, n, time.Now().UTC().Format(time.RFC3339))
	}))
	zone := "UTC" // whose midnight is far
	if time.Now().UTC().Hour() >= 12 {
		zone = "Etc/GMT+12"
	}
	dir := write(t, map[string]string{"mapping.js": "export default () => null;", "main.hcl": replaced(t, pipelineHCL,
		`base_url = env("EHR_URL")`, "base_url = env(\"EHR_URL\")\n  limits {\n    per_day = "+fmt.Sprint(limit)+"\n    day_zone = \""+zone+"\"\n  }",
		"      format = \"2006-01-02T15:04:05\"\n      zone   = \"America/New_York\"\n", "",
		`id = change.data.patientID`, `id = change.id`, `order_by = change.data.patientID`, "", `"now"`, `"beginning"`)})
	env := []string{"EHR_URL=" + ehr, "NOTIFY_URL=http://127.0.0.1:9"}
	const spent = "the budget of 40 calls a day is spent"
	for round := 0; ; round++ {
		p := startRun(t, dir, env)
		before := calls.Load()
		p.eventually(60*time.Second, "calls, or a budget that is spent", func() bool {
			return calls.Load() > before+int64(round) || strings.Contains(p.log.String(), spent)
		})
		if strings.Contains(p.log.String(), spent) {
			if pipe := ofPipeline(t, asked[operate.Status](t, dir, 3, "status"), "appointments"); pipe.State != "failing" || !strings.Contains(pipe.Why, spent) {
				t.Errorf("the status says %s: %s", pipe.State, pipe.Why)
			}
			p.stop()
			break
		}
		p.kill()
	}
	if n := calls.Load(); n > limit || n < limit/2 { // of what a process reserved at most as much is lost as it had used
		t.Errorf("%d calls, the budget has %d", n, limit)
	}
}
