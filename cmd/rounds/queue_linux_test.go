// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
)

// TestAQueueLosesNothingWhenTheProcessesAreKilled: reading takes messages away, answers to it get lost, and engine and adapter are killed
// at random instants. Each message arrives all the same, and none is made two notifications of.
func TestAQueueLosesNothingWhenTheProcessesAreKilled(t *testing.T) {
	t.Parallel()
	t.Run("many records in small pages", func(t *testing.T) { killReaders(t, 500, "7") })
	t.Run("many states of few records", func(t *testing.T) { killReaders(t, 5, "1000") })
}

func killReaders(t *testing.T, records int, pageSize string) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random, losing := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // the latter under mu
	var mu sync.Mutex
	faulty, lost := true, 0
	practice := simulator.New(simulator.Options{After: func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if !faulty || r.URL.Query().Get("leaveunprocessed") == "true" || losing.IntN(5) > 0 {
			return false
		}
		lost++
		w.WriteHeader(http.StatusGatewayTimeout)
		return true
	}})
	notified := map[string]map[string]bool{} // of each message, the ids of its notifications
	receiver := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if notified[string(body)] == nil {
			notified[string(body)] = map[string]bool{}
		}
		notified[string(body)][r.Header.Get("webhook-id")] = true
	}))
	dir := write(t, map[string]string{"main.hcl": replaced(t, queueHCL, "page_size           = 7", "page_size = "+pageSize), "told.js": "export default ({ change }) => ({ message: change.data.n });\n"})
	env := []string{"NOTIFY_URL=" + receiver, "ATHENA_URL=" + serve(t, practice)}
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "subscribed", func() bool { return practice.Subscriptions() > 0 })
	p.eventually(20*time.Second, "polled", func() bool { return strings.Contains(p.log.String(), "complete=true") || practice.Calls() > 6 })

	made := 0
	change := func(n int) {
		for range n {
			practice.Set("appointments", fmt.Sprint(1000+made%records), map[string]any{"n": made, "appointmentstatus": "f"})
			made++
		}
	}
	const kills = 10
	for range kills {
		for range 8 {
			change(random.IntN(6))
			time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		}
		if adapters := children(t, p.cmd.Process.Pid); random.IntN(3) == 0 && len(adapters) > 0 && strings.Contains(p.log.String(), "msg=running") {
			_ = syscall.Kill(adapters[0], syscall.SIGKILL) // it may have ended by itself
			continue
		}
		p.kill()
		change(random.IntN(6))
		p = startRun(t, dir, env)
	}
	mu.Lock()
	faulty = false
	mu.Unlock()
	arrived := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(notified)
	}
	p.eventually(2*time.Minute, "all arrived", func() bool { return arrived() == made })
	p.stop()
	mu.Lock()
	defer mu.Unlock()
	for message, ids := range notified {
		if len(ids) > 1 {
			t.Errorf("%d notifications were made of %s", len(ids), message)
		}
	}
	t.Logf("%d messages, %d answers got lost", made, lost)
}
