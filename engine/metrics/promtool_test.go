// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package metrics_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// promtool runs Prometheus' own tool.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	c := exec.Command(os.Getenv("ROUNDS_PROMTOOL"), args...)
	c.Stdin = strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestCounterpartPromtoolTakesWhatIsExportedAndTheExamples(t *testing.T) {
	var own strings.Builder // that of Go is not ours to name
	for line := range strings.Lines(scrape(t, everything())) {
		if strings.Contains(line, "rounds_") {
			own.WriteString(line)
		}
	}
	promtool(t, own.String(), "check", "metrics")
	promtool(t, "", "check", "config", examples+"/prometheus.yml")
	promtool(t, "", "test", "rules", examples+"/rules_test.yml")

	// The dashboard's expressions, as rules, with what Grafana puts in for its variables.
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for i, x := range expressions(t) {
		if strings.HasPrefix(x, "label_values(") {
			continue // Grafana's own
		}
		x = strings.NewReplacer("$__rate_interval", "5m", "$pipeline", ".*", "$destination", ".*", "$job", ".*").Replace(x)
		fmt.Fprintf(&rules, "      - record: dashboard:%d\n        expr: %q\n", i, x)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", path)
}
