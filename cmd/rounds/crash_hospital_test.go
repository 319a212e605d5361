// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	athenahealth "github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
	openmrs "github.com/rounds-engine/rounds/plugins/openmrs/simulator"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// The feeds of the hospital, which are the names of the pipelines too, and deletedState, which is how a deletion is told.
const (
	ofAppointments = "appointments" // a timestamp of whole seconds, in pages that drift; some changes are dated seconds before they show
	ofSlots        = "slots"        // a list of all there is; what is deleted is not in it
	ofEvents       = "events"       // numbered, each of them counts; some become visible behind others
	ofQueue        = "queue"        // reading takes away
	ofOrders       = "orders"       // children of patients, who are what is listed
	ofPatients     = "patients"     // whose changes are never told by themselves

	deletedState = "deleted"
)

// version is a state of a record.
type version struct {
	state  string    // as its notification tells it
	hash   string    // of its data, as a row keeps it
	at     time.Time // when it was visible
	dated  time.Time // as the feed dates it
	parent int       // of a child: the version of its parent that it came with, from 1
	off    bool      // the block that filters does not want it
}

// chronicle is what happened to the records of a feed: of each, its versions in the order in which they became visible.
type chronicle map[string][]version

// ehrs are all EHRs together, and what happened in them.
type ehrs struct {
	sample  *sampleehr.EHR
	records *openmrs.Server
	clinic  *athenahealth.Server

	under atomic.Int64 // calls that are being answered

	dice    sync.Mutex // of what follows, which the EHRs ask for with their own locks held
	failure *rand.Rand
	faulty  bool

	mu       sync.Mutex
	random   *rand.Rand
	n        int // numbers all that is made up
	happened map[string]chronicle
	visits   []string                   // the events in the order of their numbers, those that are not visible yet as ""
	saving   map[string]bool            // patients with a transaction that is not yet visible
	slots    map[string]json.RawMessage // what there is
	patients map[string]*inpatient
	views    int
}

// inpatient is a patient of the ward with the orders.
type inpatient struct {
	id     string
	dated  time.Time
	n      int
	orders []order
}

type order struct {
	Number   string    `json:"number"`
	Revision string    `json:"revision"`
	Updated  time.Time `json:"updated"`
	N        int       `json:"n"`
}

const eventsPage = 10

func newEHRs(t *testing.T, seed uint64) *ehrs {
	t.Helper()
	h := &ehrs{
		random: rand.New(rand.NewPCG(seed, 3)), failure: rand.New(rand.NewPCG(seed, 4)), faulty: true, happened: map[string]chronicle{}, saving: map[string]bool{},
		slots: map[string]json.RawMessage{}, patients: map[string]*inpatient{},
	}
	for _, feed := range []string{ofAppointments, ofSlots, ofEvents, ofQueue, ofOrders, ofPatients} {
		h.happened[feed] = chronicle{}
	}
	var err error
	h.sample, err = sampleehr.New(sampleehr.Options{Seed: seed, PageSize: 20, Load: sampleehr.Load{Appointments: 50, Patients: 12}})
	if err != nil {
		t.Fatal(err)
	}
	h.records = openmrs.New(openmrs.Options{PageSize: eventsPage})
	h.clinic = athenahealth.New(athenahealth.Options{After: func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("leaveunprocessed") == "true" || !h.fails(10) {
			return false
		}
		w.WriteHeader(http.StatusGatewayTimeout) // what was taken is lost on its way
		return true
	}})
	for i := range 12 {
		h.patients[fmt.Sprint("P", i)] = &inpatient{id: fmt.Sprint("P", i)}
	}
	h.clinic.Subscribe("appointments")
	h.mu.Lock()
	defer h.mu.Unlock()
	for range 40 {
		h.saveSlot(fmt.Sprint("S", len(h.slots)))
	}
	for _, id := range slices.Sorted(maps.Keys(h.patients)) {
		h.saveOrder(h.patients[id])
	}
	return h
}

// serve gives the environment with the addresses of the EHRs.
func (h *ehrs) serve(t *testing.T) (env []string) {
	t.Helper()
	for name, api := range map[string]http.Handler{
		"EHR_URL": h.sample, "WARD_URL": h.failing(http.HandlerFunc(h.ward)), "RECORDS_URL": h.failing(h.records), "ATHENA_URL": h.clinic,
	} {
		url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.under.Add(1)
			defer h.under.Add(-1)
			api.ServeHTTP(w, r)
		}))
		if name == "RECORDS_URL" {
			url += "/openmrs"
		}
		env = append(env, name+"="+url)
	}
	return env
}

// fails says so of one call in n.
func (h *ehrs) fails(n int) bool {
	h.dice.Lock()
	defer h.dice.Unlock()
	return h.faulty && h.failure.IntN(n) == 0
}

func (h *ehrs) failing(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case h.fails(30):
			w.WriteHeader(http.StatusServiceUnavailable)
		case h.fails(30):
			panic(http.ErrAbortHandler)
		default:
			api.ServeHTTP(w, r)
		}
	})
}

// setFaulty says whether the EHRs have their bad habits.
func (h *ehrs) setFaulty(faulty bool) {
	h.dice.Lock()
	h.faulty = faulty
	h.dice.Unlock()
	h.sample.SetFaults(sampleehr.Faults{})
	if faulty {
		h.sample.SetFaults(sampleehr.Faults{ServerErrors: 0.03, Resets: 0.03, Ties: 3, Late: 3 * time.Second, Drift: 2})
	}
}

// live lets things happen until ctx is done, about 50 a second.
func (h *ehrs) live(ctx context.Context) error {
	playing := make(chan error, 1)
	go func() { playing <- h.sample.Run(ctx, 20) }()
	var saving sync.WaitGroup
	for ctx.Err() == nil {
		h.mu.Lock()
		commit, after := h.happen()
		pause := time.Duration(10+h.random.IntN(50)) * time.Millisecond
		h.mu.Unlock()
		if commit != nil {
			saving.Go(func() {
				time.Sleep(after)
				commit()
			})
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	saving.Wait()
	return <-playing
}

// happen makes a change, or begins one that is committed after a while. mu is held.
func (h *ehrs) happen() (commit func(), after time.Duration) {
	switch dice := h.random.IntN(10); {
	case dice < 2:
		id := fmt.Sprint("S", h.random.IntN(60))
		if h.slots[id] != nil && h.random.IntN(3) == 0 {
			delete(h.slots, id)
			h.happened[ofSlots][id] = append(h.happened[ofSlots][id], version{state: deletedState, at: time.Now()})
		} else {
			h.saveSlot(id)
		}
	case dice < 5:
		id := fmt.Sprintf("%08d-0000-4000-8000-000000000000", h.random.IntN(30))
		if h.saving[id] { // one transaction at a time holds a record
			return nil, 0
		}
		h.n++
		show := h.records.Begin("patient", id, map[string]any{"n": h.n})
		number := len(h.visits) + 1
		h.visits = append(h.visits, "")
		seen := version{state: fmt.Sprintf("tag:atomfeed.ict4h.org:%08x-0000-4000-8000-%012x", number*7919, number), dated: time.Now()}
		h.saving[id] = true
		if h.random.IntN(4) == 0 {
			after = time.Duration(h.random.IntN(1000)) * time.Millisecond
		}
		return func() {
			show()
			h.mu.Lock()
			defer h.mu.Unlock()
			seen.at = time.Now()
			h.happened[ofEvents][id] = append(h.happened[ofEvents][id], seen)
			h.visits[number-1] = seen.state
			h.saving[id] = false
		}, after
	case dice < 7:
		h.n++
		id := fmt.Sprint(1000 + h.random.IntN(40))
		h.happened[ofQueue][id] = append(h.happened[ofQueue][id], version{state: fmt.Sprint(h.n), at: time.Now(), dated: time.Now()})
		h.clinic.Set("appointments", id, map[string]any{"n": h.n, "appointmentstatus": "f"})
	default:
		h.saveOrder(h.patients[fmt.Sprint("P", h.random.IntN(len(h.patients)))])
	}
	return nil, 0
}

func (h *ehrs) saveSlot(id string) {
	h.n++
	h.slots[id] = json.RawMessage(fmt.Sprintf(`{"id":%q,"n":%d`, id, h.n)) // views follow
	h.happened[ofSlots][id] = append(h.happened[ofSlots][id], version{state: fmt.Sprint(h.n), at: time.Now()})
}

func (h *ehrs) saveOrder(p *inpatient) {
	h.n++
	dated := time.Now().UTC()
	if h.random.IntN(3) == 0 {
		dated = dated.Add(-time.Duration(h.random.IntN(3000)) * time.Millisecond)
	}
	if dated = dated.Truncate(time.Second); dated.Before(p.dated) {
		dated = p.dated // the time of a record never goes back
	}
	p.dated, p.n = dated, h.n
	o := order{Number: fmt.Sprintf("%s-%d", p.id, len(p.orders)), Revision: fmt.Sprint(h.n), Updated: dated, N: h.n}
	if n := len(p.orders); n > 0 && (n >= 8 || h.random.IntN(3) > 0) {
		i := h.random.IntN(n)
		o.Number = p.orders[i].Number
		p.orders[i] = o
	} else {
		p.orders = append(p.orders, o)
	}
	now := time.Now()
	h.happened[ofPatients][p.id] = append(h.happened[ofPatients][p.id], version{hash: hashOf(p.list()), at: now, dated: dated})
	of := h.happened[ofOrders]
	of[o.Number] = append(of[o.Number], version{
		state: fmt.Sprint(h.n), hash: hashOf(o), at: now, dated: dated, parent: len(h.happened[ofPatients][p.id]),
	})
}

// list is what the list of patients says of one.
func (p *inpatient) list() map[string]any {
	return map[string]any{"id": p.id, "ordersChanged": p.dated.Format(time.RFC3339), "n": p.n}
}

func hashOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a test
	}
	return fmt.Sprintf("%x", rawjson.Hash(data))
}

// ward answers for slots, seven on a page, and for patients with orders.
func (h *ehrs) ward(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	what, id, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	var answer any
	switch {
	case what == "slots" && id == "":
		ids := slices.Sorted(maps.Keys(h.slots))
		page := map[string]any{}
		after, _ := slices.BinarySearchFunc(ids, r.URL.Query().Get("after"), func(id, after string) int {
			if id <= after {
				return -1
			}
			return 1
		})
		ids = ids[after:]
		if len(ids) > 7 {
			ids = ids[:7]
			page["next"] = ids[6]
		}
		items := []json.RawMessage{}
		for _, id := range ids {
			h.views++
			items = append(items, fmt.Appendf(nil, "%s,\"views\":%d}", h.slots[id], h.views))
		}
		page["items"] = items
		answer = page
	case what == "slots" && h.slots[id] != nil:
		answer = json.RawMessage(string(h.slots[id]) + "}")
	case what == "patients" && id == "":
		since, err := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		list := []any{}
		for _, id := range slices.Sorted(maps.Keys(h.patients)) {
			if p := h.patients[id]; !p.dated.Before(since) {
				list = append(list, p.list())
			}
		}
		answer = list
	case what == "patients" && h.patients[strings.TrimSuffix(id, "/orders")] != nil:
		answer = map[string]any{"orders": h.patients[strings.TrimSuffix(id, "/orders")].orders}
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // whoever asked may have gone
}

// chronicles gives what happened so far, by feed, and the numbered events that are visible, in their order.
func (h *ehrs) chronicles() (all map[string]chronicle, visible []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	zone, _ := time.LoadLocation("America/New_York")
	for id, versions := range h.sample.History("") {
		known := h.happened[ofAppointments][id]
		for _, v := range versions[len(known):] {
			var a struct{ Status string }
			if err := json.Unmarshal(v.JSON, &a); err != nil {
				panic(err) // of a test
			}
			dated, err := time.ParseInLocation(sampleehr.Layout, v.Updated, zone)
			if err != nil {
				panic(err) // of a test
			}
			hash := fmt.Sprintf("%x", rawjson.Hash(v.JSON))
			known = append(known, version{state: hash, hash: hash, at: v.Written, dated: dated, off: a.Status == sampleehr.Cancelled})
		}
		h.happened[ofAppointments][id] = known
	}
	all = map[string]chronicle{}
	for feed, c := range h.happened {
		all[feed] = maps.Clone(c) // of slices that are only appended to
	}
	return all, slices.DeleteFunc(slices.Clone(h.visits), func(state string) bool { return state == "" })
}
