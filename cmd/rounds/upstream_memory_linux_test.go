// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const largeHCL = `
source "rest" "NAME" {
  base_url = "BASE/NAME"
  feed "results" {
    path = "/results"
    query = { since = "{since}" }
    id   = "id"
    time = "updated"
  }
}
pipeline "NAME" {
  poll {
    feed  = source.rest.NAME.feed.results
    every = "8760h"
    start = "beginning"
  }
  deliver "to" {
    to     = destination.webhook.receiver
    filter = change.data.wanted
    map    = "some.js"
  }
}
`

const (
	largeItems = 5000
	largeItem  = 10 << 10 // bytes: a page of 50 MB
)

// peak is the most memory that a process had, in MiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// TestLargeAndEndlessAnswersTakeBoundedMemory: a page of 50 MB is read; one that never ends, and one that grows without end when it is
// unpacked, are given up, and told; and what comes when the EHR is well again arrives.
func TestLargeAndEndlessAnswersTakeBoundedMemory(t *testing.T) {
	withoutRace(t)
	t.Parallel()
	blanks := bytes.Repeat([]byte(" "), 1<<20)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 16 {
		_, _ = z.Write(blanks)
	}
	_ = z.Close()
	var ill atomic.Bool
	ill.Store(true)
	padding := strings.Repeat("c4n4ry ", largeItem/7)
	item := func(w io.Writer, n int) {
		fmt.Fprintf(w, `{"id": %d, "updated": "2026-05-10T10:00:00Z", "wanted": %t, "text": %q}`, n, n%1000 == 0, padding)
	}
	mux := http.NewServeMux()
	bad := func(name string, answer http.HandlerFunc) {
		mux.HandleFunc("/"+name+"/results", func(w http.ResponseWriter, r *http.Request) {
			if ill.Load() {
				answer(w, r)
				return
			}
			fmt.Fprint(w, "[")
			item(w, 1000)
			fmt.Fprint(w, "]")
		})
	}
	mux.HandleFunc("/large/results", func(w http.ResponseWriter, _ *http.Request) {
		for n := range largeItems {
			fmt.Fprint(w, map[bool]string{true: "[", false: ","}[n == 0])
			item(w, n)
		}
		fmt.Fprint(w, "]")
	})
	bad("endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(blanks); err != nil {
				return
			}
		}
	})
	bad("bomb", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		for range 256 { // 4 GiB of 4 MiB
			if _, err := w.Write(packed.Bytes()); err != nil {
				return
			}
		}
	})
	var mu sync.Mutex
	arrived := map[string]int{}
	receive := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		arrived[string(body)]++
	}))
	url := serve(t, mux)
	hcl := "destination \"webhook\" \"receiver\" {\n  url = \"" + receive + "\"\n  allow_private = true\n}\n"
	for _, name := range []string{"large", "endless", "bomb"} {
		hcl += strings.NewReplacer("NAME", name, "BASE", url).Replace(largeHCL)
	}
	p := startRun(t, write(t, map[string]string{"main.hcl": hcl,
		"some.js": "export default ({ change }, { pipeline }) => ({ pipeline, id: change.id });"}), nil)
	const tooLarge = "GET /results: the answer is larger than 134217728 bytes; ask for smaller pages"
	p.eventually(time.Minute, "both told to be too large", func() bool {
		n := 0
		for _, name := range []string{"endless", "bomb"} {
			for line := range strings.SplitSeq(p.log.String(), "\n") {
				if strings.Contains(line, "pipeline="+name+" ") && strings.Contains(line, tooLarge) {
					n++
					break
				}
			}
		}
		return n == 2
	})
	ill.Store(false)
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(arrived) }
	p.eventually(time.Minute, "all arrived", func() bool { return count() == largeItems/1000+2 })
	engine, adapters := peak(t, p.cmd.Process.Pid), children(t, p.cmd.Process.Pid)
	if len(adapters) != 1 {
		t.Fatalf("%d adapters run", len(adapters))
	}
	adapter := peak(t, adapters[0])
	t.Logf("at most %d MiB in the engine, %d MiB in the adapter", engine, adapter)
	if engine > 250 || adapter > 800 {
		t.Errorf("a page of 50 MB, an endless one and a bomb at once take %d MiB of the engine and %d MiB of the adapter", engine, adapter)
	}
	p.stop()
	for body, n := range arrived {
		if n != 1 {
			t.Errorf("%s arrived %d times", body, n)
		}
	}
	if strings.Contains(p.log.String(), "c4n4ry") {
		t.Error("the log holds a part of an answer")
	}
}
