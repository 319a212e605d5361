// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// hospital is an EHR whose appointments change all the time, and what its receiver was told of them. It takes no more memory as time
// goes by: of an appointment that gave way to a newer one it knows nothing any more once its last state was delivered.
type hospital struct {
	*testing.T
	mu      sync.Mutex
	rand    *rand.Rand
	slots   []appointment // the newest, at their numbers modulo the length
	made    int           // so many appointments there were; their numbers begin at 1
	changes int
	recent  []int               // those that changed lately, in the order of their changes
	past    map[int]appointment // have given way, and their last state was not delivered yet
	owed    map[int][]int       // states that have to be delivered, as they were shown for long enough; by number
	down    bool                // of the receiver: nothing gets there

	delivered, skipped int
	size               int64 // of all that was delivered, in bytes
}

// appointment is one with its last state.
type appointment struct {
	number, state int
	told          int       // the newest state that was delivered
	at            time.Time // of the last change; a second's precision
	shown         time.Time // from when on it can be seen, as it is committed late
	seen          bool      // in recent
}

const (
	patientsCount = 20_000
	latest        = 40 * time.Second // after the instant that it is dated, a change may be shown
	lately        = 15 * time.Minute // no window may reach back further
	shownEnough   = 5 * time.Minute  // by then an engine that polls every minute has seen it, a few failures included
	perPage       = 100
)

// change changes n appointments, of which each tenth is a new one.
func (h *hospital) change(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now().Truncate(time.Second)
	for range n {
		h.changes++
		number := h.made + 1
		if living := min(h.made, len(h.slots)*9/10); living > 100 && h.rand.IntN(10) > 0 {
			number = h.made - h.rand.IntN(living)
		}
		a := &h.slots[number%len(h.slots)]
		if number > h.made {
			h.made = number
			if a.number > 0 && a.told < a.state { // nothing replaces its last state any more
				h.owed[a.number] = append(h.owed[a.number], a.state)
				h.past[a.number] = *a
			}
			*a = appointment{number: number}
		} else if now.Sub(a.shown) > shownEnough && a.told < a.state {
			h.owed[number] = append(h.owed[number], a.state)
		}
		a.state++
		a.at, a.shown = now, now
		if h.rand.IntN(10) == 0 {
			a.shown = now.Add(time.Duration(h.rand.Int64N(int64(latest))))
		}
		if !a.seen {
			a.seen = true
			h.recent = append(h.recent, number)
		}
	}
	h.recent = slices.DeleteFunc(h.recent, func(number int) bool {
		a := &h.slots[number%len(h.slots)]
		old := a.number != number || now.Sub(a.at) > lately
		if old && a.number == number {
			a.seen = false
		}
		return old
	})
}

func (h *hospital) Feed(context.Context, string) (sdk.Feed, error) {
	return sdk.Feed{Name: "appointments", Kind: "appointment", Class: sdk.Timestamp, Version: sdk.Coarse, Precision: time.Second}, nil
}

// place is where the reading of a window stands.
type place struct {
	Asked, Since, Newest time.Time
	At                   time.Time // of the last appointment of the page before
	Number               int
}

// Poll lists the last states of what changed since the watermark, oldest first. Sometimes it is too busy for that.
func (h *hospital) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	if err := h.takes(ctx, 50*time.Millisecond); err != nil {
		return sdk.Page{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	p := place{Asked: now, Since: q.Start.At}
	var mark time.Time
	if q.Watermark != nil {
		if err := mark.UnmarshalText(q.Watermark); err != nil {
			return sdk.Page{}, err
		}
		p.Since = mark.Add(-q.Overlap - time.Second)
	}
	if p.Newest = mark; q.Cursor != nil {
		if err := json.Unmarshal(q.Cursor, &p); err != nil {
			return sdk.Page{}, err
		}
	} else if !mark.IsZero() && now.Sub(p.Since) > lately {
		h.Errorf("a window reaches back %v", now.Sub(p.Since))
	}
	var all []*appointment
	for _, number := range h.recent {
		a := &h.slots[number%len(h.slots)]
		if !a.at.Before(p.Since) && !a.shown.After(now) && (a.at.After(p.At) || a.at.Equal(p.At) && a.number > p.Number) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *appointment) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.number - b.number
	})
	page := sdk.Page{Calls: 1, Now: now}
	for _, a := range all[:min(perPage, len(all))] {
		page.Changes = append(page.Changes, a.change())
		if p.At, p.Number = a.at, a.number; a.at.After(p.Newest) && !a.at.After(p.Asked) {
			p.Newest = a.at
		}
	}
	if len(all) > perPage {
		var err error
		page.Cursor, err = json.Marshal(p)
		return page, err
	}
	var err error
	page.Watermark, err = p.Newest.MarshalText()
	return page, err
}

// patient is the one whose appointment it is, for ever.
func (a *appointment) patient() int { return a.number * 7919 % patientsCount }

func (a *appointment) change() sdk.Change {
	version := a.at.UTC().Format(time.RFC3339)
	return sdk.Change{
		Ref: sdk.Ref{Kind: "appointment", ID: strconv.Itoa(a.number)}, Version: version, Op: sdk.Upsert, Time: a.at,
		Data: fmt.Appendf(nil, `{"id":%d,"lastUpdated":%q,"state":%d,"patient":"P%d","start":%q,"minutes":20,"status":%q,"location":`+
			`{"clinic":"North","floor":%d,"room":"%d-%d"},"practitioner":{"id":"D%d","name":{"family":"Weber-%d","given":["Anna","M."]}},`+
			`"reason":"control after %d days, with results of the laboratory","comment":"comes %d minutes early; case %x"}`,
			a.number, version, a.state, a.patient(), a.at.AddDate(0, 0, a.number%90).Format(time.RFC3339),
			[]string{"booked", "arrived", "fulfilled", "cancelled"}[a.state%4], a.number%9, a.number%40, a.state%7, a.number%600, a.number%600,
			a.number%365, a.state%30, a.number*1_000_003),
	}
}

func (h *hospital) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	if err := h.takes(ctx, 30*time.Millisecond); err != nil {
		return nil, err
	}
	results := make([]sdk.Result, len(refs))
	for i, ref := range refs {
		number, err := strconv.Atoi(ref.ID[1:])
		if err != nil {
			return nil, err
		}
		results[i] = sdk.Result{Ref: ref, Data: fmt.Appendf(nil, `{"id":%q,"name":{"family":"Okafor-%d","given":["Chidi"]},"birthDate":`+
			`"19%02d-0%d-1%d","gender":"unknown","address":{"line":"%d Mill Lane","city":"Springfield"},"phone":"+1 555 %07d"}`,
			ref.ID, number, number%100, 1+number%9, number%10, number, number)}
	}
	return results, nil
}

func (h *hospital) Ack(context.Context, string, []byte) error { return nil }

// record is how long a record of such a change is with what was fetched for it.
func (h *hospital) record() int {
	a := appointment{number: 123_456, state: 5, at: time.Now()}
	patients, err := h.Fetch(h.Context(), []sdk.Ref{{Kind: "patient", ID: "P12345"}})
	r := record.Record{Change: a.change(), Fetched: map[string]json.RawMessage{"patient": patients[0].Data}}
	raw, unread := r.Marshal()
	if err != nil || unread != nil {
		h.Fatal(err, unread)
	}
	return len(raw)
}

// takes lets an answer take its time, and one of a thousand fail.
func (h *hospital) takes(ctx context.Context, d time.Duration) error {
	h.mu.Lock()
	busy := h.rand.IntN(1000) == 0
	h.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	}
	if busy {
		return sdk.RateLimited(2*time.Second, "GET /appointments: 429")
	}
	return nil
}

// scheduling is the receiver, behind a line that is cut sometimes.
type scheduling struct{ *hospital }

func (s scheduling) Close() error { return nil }

func (s scheduling) Send(ctx context.Context, n delivery.Notification) error {
	h := s.hospital
	h.mu.Lock()
	down, luck := h.down, h.rand.IntN(1000)
	h.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(5+luck%30) * time.Millisecond):
	}
	if down || luck == 0 {
		return &record.SendError{Verdict: record.Retry, Code: "network", Text: "the connection was refused"}
	}
	var body struct {
		Visit   struct{ Number, State int }
		Patient struct{ ID string }
	}
	if err := json.Unmarshal(n.Body, &body); err != nil {
		h.Errorf("a notification that can't be read: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.size += int64(len(n.Body))
	h.tell(body.Visit.Number, body.Visit.State, body.Patient.ID)
	return nil
}

// tell takes note of a state that was delivered: each once, in their order, and none left out that was shown for long.
func (h *hospital) tell(number, state int, patient string) {
	a := &h.slots[number%len(h.slots)]
	if a.number != number {
		gone, is := h.past[number]
		if !is {
			h.Errorf("state %d of appointment %d was delivered again", state, number)
			return
		}
		a = &gone
		defer func() {
			if h.past[number] = gone; gone.told == gone.state {
				delete(h.past, number)
			}
		}()
	}
	switch {
	case state <= a.told:
		h.Errorf("state %d of appointment %d was delivered after state %d", state, number, a.told)
		return
	case state > a.state:
		h.Errorf("state %d of appointment %d was delivered, of %d", state, number, a.state)
	case patient != "P"+strconv.Itoa(a.patient()):
		h.Errorf("appointment %d came with patient %s", number, patient)
	}
	open := slices.DeleteFunc(h.owed[number], func(owed int) bool {
		if owed < state {
			h.Errorf("state %d of appointment %d was lost", owed, number)
		}
		return owed <= state
	})
	if h.owed[number] = open; len(open) == 0 {
		delete(h.owed, number)
	}
	h.delivered++
	h.skipped += state - a.told - 1
	a.told = state
}

// oncall is where alerts go.
type oncall struct {
	mu     sync.Mutex
	alerts []string
}

func (*oncall) Close() error { return nil }

func (o *oncall) Send(_ context.Context, n delivery.Notification) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n.Pipeline != alert.Owner {
		return &record.SendError{Verdict: record.Reject, Code: "other", Text: "this is no alert"}
	}
	for _, state := range []string{"firing", "resolved"} {
		if bytes.Contains(n.Body, []byte(state)) {
			o.alerts = append(o.alerts, state)
			return nil
		}
	}
	return &record.SendError{Verdict: record.Reject, Code: "other", Text: "this is no state of an alert"}
}
