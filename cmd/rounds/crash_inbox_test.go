// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// inbox is all receivers together, and what they were sent.
type inbox struct {
	receivers [2]*receiver.Receiver
	under     atomic.Int64 // requests that are being answered

	mu       sync.Mutex
	read     [2]int                   // requests that were looked at
	accepted map[string][]acceptance  // by notification, in the order of arrival
	order    []string                 // notifications in the order of their first acceptance
	lanes    map[string]*lastSent     // by destination, pipeline and ordering key
	last     map[spot]string          // the state that was accepted last
	all      map[spot]map[string]bool // all states that were accepted
	refused  int
	wrong    []string
}

// acceptance is a request that was answered by 2xx, or would have been if whoever sent it had lived.
type acceptance struct {
	run         int // of the engine, from 1
	destination string
	body        string // its hash
}

// spot is a record at a destination.
type spot struct{ destination, feed, id string }

// now is the state of a record that was accepted last, came whether a state was accepted.
func (in *inbox) now(at spot) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.last[at]
}

func (in *inbox) came(at spot, state string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.all[at][state]
}

// lastSent is the last request of a lane, and the last one that was accepted.
type lastSent struct{ id, accepted string }

func newInbox(t *testing.T, seed uint64) *inbox {
	t.Helper()
	in := &inbox{accepted: map[string][]acceptance{}, lanes: map[string]*lastSent{}, last: map[spot]string{}, all: map[spot]map[string]bool{}}
	for i := range in.receivers {
		var err error
		if in.receivers[i], err = receiver.New(receiver.Options{Seed: seed + uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

func (in *inbox) setFaulty(faulty bool) {
	for _, r := range in.receivers {
		r.SetFaults(receiver.Faults{})
	}
	if faulty {
		in.receivers[0].SetFaults(receiver.Faults{Closing: 0.01, Latency: 15 * time.Millisecond})
		in.receivers[1].SetFaults(receiver.Faults{Failing: 0.1, Status: 503, Closing: 0.05, Latency: 15 * time.Millisecond})
	}
}

func (in *inbox) serve(t *testing.T) (env []string) {
	t.Helper()
	for i, name := range []string{"MAIN_URL", "BILLING_URL"} {
		env = append(env, name+"="+serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			in.under.Add(1)
			defer in.under.Add(-1)
			in.receivers[i].ServeHTTP(w, r)
		})))
	}
	return env
}

// look takes note of what came since it looked last. Nothing is sent past what was not accepted, and what is sent again is the last that
// was accepted of its lane.
func (in *inbox) look() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, from := range in.receivers {
		for _, r := range from.Received(in.read[i]) {
			in.read[i] = r.Number
			path := strings.Split(r.Path, "/") // /destination/run
			run, err := strconv.Atoi(path[len(path)-1])
			if err != nil || r.ID == "" {
				in.wrong = append(in.wrong, "a request to "+r.Path)
				continue
			}
			destination := "webhook." + path[1]
			if destination != "webhook.d" { // whose old entries tell nothing of their lanes
				in.lane(destination, r)
			}
			if !r.Accepted() {
				in.refused++
				continue
			}
			if in.accepted[r.ID] == nil {
				in.order = append(in.order, r.ID)
			} else if in.accepted[r.ID][0].body != r.Hash {
				in.wrong = append(in.wrong, "notification "+r.ID+" came again with another body")
			}
			in.accepted[r.ID] = append(in.accepted[r.ID], acceptance{run, destination, r.Hash})
		}
	}
}

func (in *inbox) lane(destination string, r receiver.Received) {
	n := tellingOf(r.Body)
	name := fmt.Sprint(destination, " ", n.Feed, " ", n.Key)
	l := in.lanes[name]
	if l == nil {
		l = &lastSent{}
		in.lanes[name] = l
	}
	if l.id != "" && l.id != r.ID && l.id != l.accepted {
		in.wrong = append(in.wrong, fmt.Sprintf("%s was sent to %s although %s before it was not accepted", r.ID, destination, l.id))
	}
	if in.accepted[r.ID] != nil && l.accepted != r.ID {
		in.wrong = append(in.wrong, fmt.Sprintf("%s was sent to %s again after %s", r.ID, destination, l.accepted))
	}
	if l.id = r.ID; r.Accepted() {
		l.accepted = r.ID
		at := spot{destination, n.Feed, n.ID}
		if in.all[at] == nil {
			in.all[at] = map[string]bool{}
		}
		in.last[at], in.all[at][n.State] = n.State, true
	}
}

// telling is what a notification says: the state of a record, and its lane.
type telling struct {
	Feed, ID, Key, State string
	Data, Previous       json.RawMessage
}

func tellingOf(body []byte) (n telling) {
	if json.Unmarshal(body, &n) != nil || n.ID == "" {
		return telling{} // of the old state
	}
	if n.State == "" {
		n.State = fmt.Sprintf("%x", rawjson.Hash(n.Data))
	}
	return n
}
