// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestInvariant8LargePagesLeaveTheEngineItsMemory: several sources answer with pages of 200 MB at once, of which one takes 600 MB while it
// is read.
func TestInvariant8LargePagesLeaveTheEngineItsMemory(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("ROUNDS_LONG"))
	if n == 0 {
		t.Skip("ROUNDS_LONG=4 go test -run LargePages ./cmd/rounds takes four pages of 200 MB at once")
	}
	b := newBadClinic(t)
	b.adapter("other", "")
	b.lane("other", "other", "", false)
	b.adapter("a", "")
	for i := range n {
		lane := fmt.Sprint("large", i)
		b.lane("a", lane, "page: 200 MB", true)
		for range 1998 {
			b.all[lane] = append(b.all[lane], fmt.Sprintf("%s-%d", lane, len(b.all[lane])+1))
		}
		b.order(lane)
	}
	p := b.run("GOMEMLIMIT=640MiB") // for which one is worked off at a time
	b.delivers(p, time.Minute, "other")
	b.order("other")
	b.delivers(p, time.Minute, "other")
	begun := time.Now()
	b.delivers(p, 5*time.Minute, b.lanes...)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "RssAnon") {
			t.Log(strings.TrimSpace(line))
			if kilobytes, err := strconv.Atoi(strings.Fields(line)[1]); err != nil || kilobytes > 1<<20 {
				t.Errorf("the engine took more than 1 GiB, %v", err)
			}
		}
	}
	t.Logf("%d pages of 200 MB in %s", n, time.Since(begun).Round(time.Millisecond))
	b.oracle()
}
