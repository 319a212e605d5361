// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

const examples = "../../examples/observability"

// expressions gives what a dashboard asks Prometheus: the values of all members expr, and the definitions of its variables.
func expressions(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(examples, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	var all []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				if text, ok := member.(string); ok && (name == "expr" || name == "definition") {
					all = append(all, text)
				}
				walk(member)
			}
		case []any:
			for _, member := range v {
				walk(member)
			}
		}
	}
	walk(dashboard)
	if len(all) < 20 {
		t.Errorf("only %d expressions found", len(all))
	}
	return all
}

// The dashboard and the rules use metrics and labels that there are, and no alert compares with a word that no label has.
func TestTheExamplesUseWhatIsExported(t *testing.T) {
	exported := families(t, everything())
	texts := map[string]string{"dashboard.json": strings.Join(expressions(t), "\n")}
	for _, name := range []string{"rules.yml", "rules_test.yml"} {
		text, err := os.ReadFile(filepath.Join(examples, name))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	used := map[string]bool{}
	for file, text := range texts {
		for _, m := range regexp.MustCompile(`\b(rounds_[a-z_]+)(\{([^}]*)\})?`).FindAllStringSubmatch(text, -1) {
			name := m[1]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if of := exported[strings.TrimSuffix(name, suffix)]; of != nil && of.GetType() == dto.MetricType_HISTOGRAM {
					name = strings.TrimSuffix(name, suffix)
				}
			}
			f := exported[name]
			if f == nil {
				t.Errorf("%s has %s, which there is not", file, m[1])
				continue
			}
			used[name] = true
			for _, label := range regexp.MustCompile(`(\w+)(=~|!=|!~|=)"`).FindAllStringSubmatch(m[3], -1) {
				known := slices.ContainsFunc(f.Metric[0].Label, func(l *dto.LabelPair) bool { return l.GetName() == label[1] })
				if !known && label[1] != "job" && label[1] != "instance" {
					t.Errorf("%s asks %s by %s, which it has not", file, m[1], label[1])
				}
			}
		}
	}
	for name := range exported {
		if !used[name] && name != "rounds_pipeline_next_poll_timestamp_seconds" {
			t.Errorf("%s is neither in the dashboard nor in a rule", name)
		}
	}
}

// Each alert fires in a test of the rules, and in one it does not.
func TestEachAlertIsTested(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(examples, "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(examples, "rules_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		fires := regexp.MustCompile(`alertname: ` + m[1] + `\n\s+exp_alerts:\n\s+- exp_labels`)
		silent := regexp.MustCompile(`alertname: ` + m[1] + ` \}`)
		if !fires.Match(tests) || !silent.Match(tests) {
			t.Errorf("%s is not tested both ways", m[1])
		}
	}
}
