// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestTheDemoShowsEveryStepAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "demo", "--for", "3s", "--rate", "3")
	if code := p.wait(time.Minute); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	out := p.stdout.String()
	for _, step := range []string{"change", "poll", "fetch", "map", "deliver"} {
		if !demoShows(out, step) {
			t.Errorf("no line of step %s", step)
		}
	}
	made, delivered := demoNumber(out, `made (\d+) changes?`), demoNumber(out, `delivered (\d+) notifications?`)
	if made == 0 || delivered == 0 || delivered > made || strings.Contains(out, "came again") {
		t.Errorf("%d changes were made, %d delivered, or something was sent twice", made, delivered)
	}
	if strings.Contains(out, "\x1b[") {
		t.Error("colours, though this is no terminal")
	}
	if t.Failed() {
		t.Log(out)
	}
}

func demoShows(out, step string) bool {
	return regexp.MustCompile(`(?m)^  \d\d:\d\d:\d\d  ` + step + ` `).MatchString(out)
}

func demoNumber(out, pattern string) int {
	found := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1]) // the pattern takes digits only
	return n
}

func TestTheDemoDeliversWhateverTheEHRDoes(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "demo", "--for", "3s", "--rate", "8", "--faults", "slow=20ms,5xx=0.1,429=0.05,reset=0.1,html=0.03,ties=3,late=5s,drift")
	if code := p.wait(time.Minute); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	out := p.stdout.String()
	if demoNumber(out, `delivered (\d+) notifications?`) == 0 || demoNumber(out, `The EHR failed (\d+) times?`) == 0 ||
		strings.Contains(out, "Stopped:") {
		t.Errorf("nothing failed, or not everything was delivered:\n%s", out)
	}
}

func TestTheDemoLeavesNothingBehindWhenInterrupted(t *testing.T) {
	for name, inTheMiddle := range map[string]func(out string) bool{
		"starting": func(out string) bool { return strings.Contains(out, "Rounds turns") },
		"working":  func(out string) bool { return demoShows(out, "deliver") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, nil, "demo", "--for", "0", "--rate", "5")
			p.eventually(30*time.Second, name, func() bool { return inTheMiddle(p.stdout.String()) })
			p.signal(os.Interrupt)
			if code := p.wait(20 * time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if out := p.stdout.String(); !strings.Contains(out, "Stopped:") {
				t.Errorf("the demo does not say that it was stopped:\n%s", tail(out, 10))
			}
		})
	}
}

func TestTheDemoNamesFaultsItDoesNotKnow(t *testing.T) {
	t.Parallel()
	code, _, stderr := rounds(t, nil, "demo", "--faults", "fire")
	if code != 2 || !strings.Contains(stderr, "5xx") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
