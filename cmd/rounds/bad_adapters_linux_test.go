// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// badClinic is an engine's configuration with many pipelines, each on a source of its own that reads a file of orders.
type badClinic struct {
	*testing.T
	*clinic
	dir   string
	hcl   strings.Builder
	lanes []string            // the pipelines
	all   map[string][]string // by pipeline: the orders so far
	fault map[string]string
	cured string
}

func newBadClinic(t *testing.T) *badClinic {
	b := &badClinic{T: t, clinic: newClinic(t, sampleehr.Options{}, receiver.Options{}), all: map[string][]string{}, fault: map[string]string{}}
	b.dir = write(t, map[string]string{"order.js": `export default ({ change, fetched }, { pipeline }) => ({ pipeline, id: change.id, item: fetched.item.of });`})
	b.cured = filepath.Join(b.dir, "cured")
	b.hcl.WriteString("destination \"webhook\" \"orders\" {\n  url = env(\"NOTIFY_URL\")\n  allow_private = true\n}\n")
	return b
}

// adapter adds an adapter with a program of its own, which is this one.
func (b *badClinic) adapter(name, attributes string) (program string) {
	b.Helper()
	program = filepath.Join(b.dir, badPrefix+name)
	own, err := os.Executable()
	if err == nil {
		err = os.Link(own, program)
	}
	if err != nil { // another file system
		err = copyFile(own, program)
	}
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(&b.hcl, "adapter %q {\n  path = %q\n  %s\n}\n", name, program, attributes)
	return program
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	return errors.Join(err, os.WriteFile(to, data, 0o700))
}

// lane adds a pipeline and its source.
func (b *badClinic) lane(adapter, name, fault string, isolate bool) {
	b.lanes, b.fault[name] = append(b.lanes, name), fault
	timeout := "30s"
	if strings.HasSuffix(fault, "no answer") {
		timeout = "1s"
	}
	fmt.Fprintf(&b.hcl, `
source %[1]q %[2]q {
  orders  = %[3]q
  fault   = %[4]q
  cured   = %[5]q
  isolate = %[6]t
}
pipeline %[2]q {
  poll {
    feed    = source.%[1]s.%[2]s.feed.orders
    every   = "1s"
    start   = "beginning"
    timeout = %[7]q
  }
  fetch "item" {
    id = change.id
  }
  deliver "orders" {
    to       = destination.webhook.orders
    map      = "order.js"
    order_by = change.data.lane
  }
}
`, adapter, name, b.file(name), fault, b.cured, isolate, timeout)
	b.order(name)
	b.order(name)
}

func (b *badClinic) file(lane string) string { return filepath.Join(b.dir, lane+".orders") }

// order gives lanes one more order.
func (b *badClinic) order(lanes ...string) {
	b.Helper()
	for _, lane := range lanes {
		b.all[lane] = append(b.all[lane], fmt.Sprintf("%s-%d", lane, len(b.all[lane])+1))
		overwrite(b.T, b.dir, filepath.Base(b.file(lane)), strings.Join(b.all[lane], "\n"))
	}
}

func (b *badClinic) run(env ...string) *process {
	b.Helper()
	overwrite(b.T, b.dir, "main.hcl", b.hcl.String())
	return startRun(b.T, b.dir, append(b.env(), env...))
}

// arrived gives the orders that were accepted, by lane, in their order, each as often as it came.
func (b *badClinic) arrived() map[string][]string {
	b.Helper()
	got := map[string][]string{}
	for _, r := range b.Received(0) {
		var n struct{ Pipeline, ID, Item string }
		if err := json.Unmarshal(r.Body, &n); err != nil || n.Item != n.ID {
			b.Fatalf("notification %d: %v, or with the item of another order: %s", r.Number, err, r.Body)
		}
		got[n.Pipeline] = append(got[n.Pipeline], n.ID)
	}
	return got
}

// delivers waits until all orders of lanes have arrived. Meanwhile nothing else is done.
func (b *badClinic) delivers(p *process, limit time.Duration, lanes ...string) {
	b.Helper()
	missing := ""
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		got := b.arrived()
		i := slices.IndexFunc(lanes, func(lane string) bool { return len(got[lane]) < len(b.all[lane]) })
		if i < 0 {
			return
		}
		missing = lanes[i]
		select {
		case <-p.ended:
			b.Fatalf("rounds has ended: %v", p.cmd.ProcessState)
		default:
		}
		if time.Now().After(deadline) {
			b.Fatalf("after %s orders of %s (%s) are missing: %q of %q\n%s", limit, missing, b.fault[missing], got[missing], b.all[missing], b.told(p, missing))
		}
	}
}

// told is what the log says of a lane.
func (b *badClinic) told(p *process, lane string) (lines string) {
	for line := range strings.Lines(p.log.String()) {
		if about(line, lane) && !strings.Contains(line, "complete=true") {
			lines += line[:min(len(line), 500)] + "\n"
		}
	}
	return tail(lines, 20)
}

// about says whether a line of the log is about a pipeline, its source or its adapter.
func about(line, lane string) bool {
	return slices.ContainsFunc(strings.Fields(line), func(word string) bool {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "pipeline", "adapter":
			return value == lane
		case "isolated", "source":
			return strings.HasSuffix(value, "."+lane)
		}
		return false
	})
}

// oracle holds what arrived against the orders: each once, in order.
func (b *badClinic) oracle() {
	b.Helper()
	got := b.arrived()
	for _, lane := range b.lanes {
		if !slices.Equal(got[lane], b.all[lane]) {
			b.Errorf("%s (%s): arrived %q, want %q", lane, b.fault[lane], got[lane], b.all[lane])
		}
	}
}

// orphans ends what has left the groups of its adapters, and wants no other child of theirs to live.
func (b *badClinic) orphans() {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, "*.children"))
	if err != nil || len(files) == 0 {
		b.Fatalf("no adapter had children: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		for i, word := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				b.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); (err == nil) != (i%2 == 1) {
				b.Errorf("child %d of an adapter that has ended: %v", i, err)
			}
		}
	}
}

// withstands waits until the log has told of each lane what is wanted, while lanes that are sound deliver.
func (b *badClinic) withstands(p *process, tells map[string]string, sound ...string) {
	b.Helper()
	b.delivers(p, time.Minute, sound...)
	silent := b.lanes
	for deadline := time.Now().Add(3 * time.Minute); len(silent) > 0; {
		b.order(sound...)
		b.delivers(p, 15*time.Second, sound...)
		log := strings.Split(p.log.String(), "\n")
		silent = nil
		for lane, text := range tells {
			if !slices.ContainsFunc(log, func(line string) bool { return strings.Contains(line, text) && about(line, lane) }) {
				silent = append(silent, lane)
			}
		}
		if time.Now().After(deadline) {
			for _, lane := range silent {
				b.Errorf("of %s (%s) the log does not tell %q, but:\n%s", lane, b.fault[lane], tells[lane], b.told(p, lane))
			}
			break
		}
	}
}

func TestInvariant8NoCallOfABadAdapterStopsAnother(t *testing.T) {
	withoutRace(t)
	t.Parallel()
	b := newBadClinic(t)
	b.adapter("a", "")
	b.adapter("other", "")
	b.lane("a", "alone", "", true)
	b.lane("a", "beside", "", false)
	b.lane("other", "other", "", false)
	tells := map[string]string{}
	for i, f := range badCalls {
		lane := fmt.Sprintf("fault%d", i)
		b.lane("a", lane, f.fault, f.isolate)
		if f.tells != "" {
			tells[lane] = f.tells
		}
	}
	b.adapter("small", "memory_limit = 200")
	b.lane("small", "modest", "", false)
	for lane, fault := range map[string]string{"leaking": "leaks", "bursting": "takes 400 MB at once"} {
		b.lane("small", lane, fault, true)
		tells[lane] = " MiB of memory and may take 200 (memory_limit)"
	}
	p := b.run()
	b.withstands(p, tells, "alone", "beside", "other", "modest")
	overwrite(t, b.dir, filepath.Base(b.cured), "")
	b.order(b.lanes...)
	b.delivers(p, time.Minute, b.lanes...)
	b.orphans() // before the end, which wants none
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	b.oracle()
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, canaryID) || len(line) > 16<<10 {
			t.Errorf("the log has a line of %d bytes: %q", len(line), line[:min(len(line), 300)])
		}
	}
}

// badCalls are faults of calls, and what the log tells of them; without that they do no harm.
var badCalls = []struct {
	fault   string
	isolate bool
	tells   string
}{
	{"poll: no answer", true, "Poll: deadline exceeded, the adapter did not answer"},
	{"open: no answer", true, "Open: deadline exceeded, the adapter did not answer"},
	{"fetch: no answer", true, "Fetch: deadline exceeded, the adapter did not answer"},
	{"close: no answer", true, ""},
	{"poll: a code that there is not", false, "GET /orders: sideways"},
	{"poll: an error of 1 MB", false, "GET /orders failed"},
	{"poll: a status and no error", false, "the adapter failed and did not say how: status DataLoss"},
	{"fetch: no results", false, "the adapter gave 0 results for 2 refs"},
	{"fetch: too many results", false, "the adapter gave 4 results for 2 refs"},
	{"fetch: results out of order", false, "the adapter gave results that are not in the order of the refs"},
	{"fetch: a ref that was not asked for", false, "the adapter gave results that are not in the order of the refs"},
	{"fetch: no JSON", false, "every new change failed at fetch"},
	{"fetch: no ref", false, "the adapter gave results that are not in the order of the refs"},
	{"page: no JSON", false, "every new change failed at reading the page"},
	{"page: a text that is not UTF-8", false, "the answer could not be read"},
	{"page: times that there are not", false, "every new change failed at reading the page"},
	{"page: no ref", false, "every new change failed at reading the page"},
	{"page: neither cursor nor watermark", false, "the adapter gave a last page without a watermark"},
	{"page: the same cursor for ever", false, "the server gave the same cursor again"},
	{"page: a cursor of 20 MB", true, "the adapter gave a cursor of 20971520 bytes"},
	{"page: a watermark of 20 MB", true, "and a watermark of 20971520"},
	{"page: an id of 100 KB", false, "the identifier or the version of the change is longer than 4096 bytes"},
	{"page: JSON that is not UTF-8", false, ""},
	{"page: an operation that there is not", false, ""},
	{"page: each change three times", false, ""},
	{"page: a watermark before the last", false, ""},
	{"page: a watermark that goes back", false, ""},
	{"page: negative numbers", false, ""},
	{"page: remarks without end", false, "the adapter remarks"},
	{"catalog: a class that there is not", false, "a class that there is not"},
	{"catalog: another feed", false, "has no feed"},
	{"catalog: another feed after a crash", true, "has no feed"},
	{"exits 0", true, "it ended: exit status 0"},
	{"crashes", true, "it ended: exit status 2"},
	{"signals", true, "it ended: signal: "}, // whichever of those that it gets at once
	{"closes stdout", true, ""},
	{"spins", true, ""},
	{"holds 10,000 files", true, ""},
	{"writes garbage to the socket", true, "Poll: the adapter's process ended"},
	{"leaves children", true, "it ended: exit status 4"},
	{"floods stderr with lines", true, ""},
	{"floods stderr without lines", true, ""},
	{"floods stderr with bytes", true, ""},
	{"floods stdout", true, ""},
	{"floods the log", true, "lines were left out"},
}
