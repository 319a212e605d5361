// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package sampleehr is an EHR with an API to ask and no messages to send: synthetic patients, appointments that keep
// changing, and the bad habits of such APIs on request. The demo shows Rounds at work on it, the end-to-end tests use its
// history as their oracle, and the benchmark reads a large one.
package sampleehr

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // the sample EHR has a zone of its own, also on a machine that knows none
)

// Layout is the form of the EHR's timestamps: local time without a zone, in whole seconds.
const Layout = "2006-01-02T15:04:05"

// Options say what the EHR is like. The zero value is usable.
type Options struct {
	Zone           *time.Location   // of its timestamps; nil: America/New_York
	Now            func() time.Time // its clock; nil: time.Now
	Seed           uint64           // of everything random
	PageSize       int              // at most so many appointments per answer of /appointments; 0: all at once
	Token          string           // asks for bearer authentication
	User, Password string           // asks for basic authentication
	Load           Load             // instead of the sample data
	OnRequest      func(Request)    // told of every request after its answer
	OnChange       func(Change)     // told of every change after it became visible
}

// Load asks for made-up data in any number, the same for the same seed.
type Load struct{ Appointments, Patients int }

// Change is one change of an appointment.
type Change struct {
	What        string // booked, moved, cancelled, edited, …
	Version     int
	Appointment Appointment
	Patient     Patient
}

// Version is one state of an appointment that the API gave or could have given out.
type Version struct {
	Number  int             `json:"number"` // 1 is the first
	What    string          `json:"what"`
	Written time.Time       `json:"written"` // when it became visible; LastUpdated may be earlier
	Updated string          `json:"updated"` // its lastUpdated
	Hash    string          `json:"hash"`    // SHA-256 of JSON
	JSON    json.RawMessage `json:"json"`
}

// ErrUnknown: there is no such appointment.
var ErrUnknown = errors.New("the sample EHR has no such appointment")

// EHR is the sample EHR. It is an http.Handler.
type EHR struct {
	opt Options
	mux *http.ServeMux

	mu       sync.Mutex
	rand     *rand.Rand
	patients map[string]patient
	byID     map[string]*appointment
	order    []*appointment // by updated, then by change
	ids      []string       // of all appointments, in the order of their making
	changes  uint64
	pending  []pendingStep // what Run still has to play
	edits    int           // comments that were made up
	drifted  int64         // second of the last drift
	faults   Faults
	calls    map[string]int
}

type patient struct {
	Patient
	json []byte
}

type appointment struct {
	Appointment
	updated int64  // lastUpdated in seconds since 1970
	change  uint64 // number of the last change, over all appointments
	json    []byte
	history []Version
}

// New makes an EHR whose appointments lie in the weeks to come.
func New(o Options) (*EHR, error) {
	if o.Zone == nil {
		zone, err := time.LoadLocation("America/New_York")
		if err != nil {
			return nil, err
		}
		o.Zone = zone
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &EHR{opt: o, rand: rand.New(rand.NewPCG(o.Seed, 1)), patients: map[string]patient{},
		byID: map[string]*appointment{}, calls: map[string]int{}}
	e.mux = e.routes()
	clinic, err := readClinic()
	if err != nil {
		return nil, err
	}
	if o.Load != (Load{}) {
		return e, e.load(clinic, o.Load)
	}
	return e, e.open(clinic)
}

// open takes the sample data over: most appointments exist already, the others are made while Run plays the timeline.
func (e *EHR) open(c *Clinic) error {
	for _, p := range c.Patients {
		if err := e.addPatient(p); err != nil {
			return err
		}
	}
	now := e.opt.Now()
	today := now.UTC().Truncate(24 * time.Hour)
	shift := today.AddDate(0, 0, 1).Sub(c.Begin)
	existing := len(c.Appointments) * 7 / 10
	for i := range c.Appointments {
		a := &c.Appointments[i]
		a.Start, a.End = a.Start.Add(shift).In(e.opt.Zone), a.End.Add(shift).In(e.opt.Zone)
		if i >= existing {
			continue
		}
		// Made one after another in the two weeks before now.
		at := now.Add(-14*24*time.Hour + time.Duration(i)*14*24*time.Hour/time.Duration(existing+1))
		if _, err := e.create(*a, at); err != nil {
			return err
		}
	}
	e.pending = plan(c.Appointments[existing:], c.Timeline)
	return nil
}

func (e *EHR) addPatient(p Patient) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	e.patients[p.ID] = patient{p, data}
	return nil
}

// Create makes an appointment, whose id must be new, dated at; zero: now.
func (e *EHR) Create(a Appointment, at time.Time) error {
	e.mu.Lock()
	c, err := e.create(a, at)
	e.mu.Unlock()
	e.tell(c, err)
	return err
}

func (e *EHR) create(a Appointment, at time.Time) (Change, error) {
	if _, there := e.byID[a.ID]; there {
		return Change{}, fmt.Errorf("appointment %s exists already", a.ID)
	}
	r := &appointment{Appointment: a}
	at = e.dated(r, at)
	r.Created = at.Format(Layout)
	e.byID[a.ID], e.ids = r, append(e.ids, a.ID)
	return e.write(r, at, "booked")
}

// Update changes an appointment, dated at; zero: now. A record's lastUpdated never goes back, whatever at says: only new
// versions may come late.
func (e *EHR) Update(id string, at time.Time, change func(*Appointment)) error {
	e.mu.Lock()
	c, err := e.update(id, at, change)
	e.mu.Unlock()
	e.tell(c, err)
	return err
}

func (e *EHR) update(id string, at time.Time, change func(*Appointment)) (Change, error) {
	r, there := e.byID[id]
	if !there {
		return Change{}, ErrUnknown
	}
	before := r.Appointment
	change(&r.Appointment)
	return e.write(r, e.dated(r, at), what(&before, &r.Appointment))
}

// Cancel cancels an appointment now.
func (e *EHR) Cancel(id, reason string) error {
	return e.Update(id, time.Time{}, func(a *Appointment) { a.Status, a.CancelReason = Cancelled, reason })
}

// Move moves an appointment now.
func (e *EHR) Move(id string, by time.Duration) error {
	return e.Update(id, time.Time{}, func(a *Appointment) { a.move(by) })
}

func (a *Appointment) move(by time.Duration) {
	a.PreviousStart, a.Start, a.End = a.Start, a.Start.Add(by), a.End.Add(by)
}

func what(before, after *Appointment) string {
	switch {
	case after.Status != before.Status:
		return after.Status
	case !after.Start.Equal(before.Start):
		return "moved"
	}
	return "edited"
}

func (e *EHR) dated(r *appointment, at time.Time) time.Time {
	if at.IsZero() {
		at = e.opt.Now()
	}
	return time.Unix(max(at.Unix(), r.updated), 0).In(e.opt.Zone)
}

// write renders a new version and puts it into the order of last updates.
func (e *EHR) write(r *appointment, at time.Time, what string) (Change, error) {
	if r.change != 0 {
		i, _ := e.find(r.updated, r.change)
		e.order = slices.Delete(e.order, i, i+1)
	}
	e.changes++
	r.updated, r.change, r.LastUpdated = at.Unix(), e.changes, at.Format(Layout)
	i, _ := e.find(r.updated, r.change)
	e.order = slices.Insert(e.order, i, r)
	data, err := json.Marshal(r.Appointment)
	if err != nil {
		return Change{}, err
	}
	r.json = data
	sum := sha256.Sum256(data)
	r.history = append(r.history, Version{Number: len(r.history) + 1, What: what, Written: e.opt.Now(),
		Updated: r.LastUpdated, Hash: hex.EncodeToString(sum[:]), JSON: data})
	return Change{what, len(r.history), r.Appointment, e.patients[r.PatientID].Patient}, nil
}

// find gives the place of the first appointment that was updated at a time or later, by a change of this number or later.
func (e *EHR) find(updated int64, change uint64) (int, bool) {
	return slices.BinarySearchFunc(e.order, 0, func(r *appointment, _ int) int {
		return cmp.Or(cmp.Compare(r.updated, updated), cmp.Compare(r.change, change))
	})
}

func (e *EHR) tell(c Change, err error) {
	if err == nil && e.opt.OnChange != nil {
		e.opt.OnChange(c)
	}
}

// IDs gives the ids of all appointments in the order of their making.
func (e *EHR) IDs() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.ids)
}

// Appointment gives the present state of an appointment.
func (e *EHR) Appointment(id string) (Appointment, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, there := e.byID[id]
	if !there {
		return Appointment{}, ErrUnknown
	}
	return r.Appointment, nil
}

// History gives all versions of an appointment, oldest first; of all appointments when id is empty.
func (e *EHR) History(id string) map[string][]Version {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := map[string][]Version{}
	for one, r := range e.byID {
		if id == "" || id == one {
			h[one] = slices.Clone(r.history)
		}
	}
	return h
}

// Calls counts the requests of the API so far by endpoint: "appointments", "patient".
func (e *EHR) Calls() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := map[string]int{}
	for k, n := range e.calls {
		c[k] = n
	}
	return c
}

// Patient gives a patient's record, an empty one when there is none.
func (e *EHR) Patient(id string) Patient {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.patients[id].Patient
}

// Zone is the zone of the EHR's timestamps.
func (e *EHR) Zone() *time.Location { return e.opt.Zone }
