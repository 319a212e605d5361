// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sampleehr

import (
	"context"
	"fmt"
	"time"
)

// pendingStep is a step of the timeline, or the making of an appointment.
type pendingStep struct {
	make *Appointment
	Step
}

// plan mixes the making of new appointments into the timeline: every fourth step makes one, and each is made before
// anything happens to it.
func plan(unmade []Appointment, timeline []Step) []pendingStep {
	var steps []pendingStep
	made := map[string]bool{}
	waiting := map[string]*Appointment{}
	for i := range unmade {
		waiting[unmade[i].ID] = &unmade[i]
	}
	create := func(a *Appointment) {
		if a != nil && !made[a.ID] {
			made[a.ID] = true
			steps = append(steps, pendingStep{make: a})
		}
	}
	next := 0
	for i, s := range timeline {
		if i%3 == 0 && next < len(unmade) {
			create(&unmade[next])
			next++
		}
		create(waiting[s.Appointment])
		steps = append(steps, pendingStep{Step: s})
	}
	for ; next < len(unmade); next++ {
		create(&unmade[next])
	}
	return steps
}

// Run makes changes until ctx is done, perSecond on average: first those of the sample data's timeline, then made-up
// ones. The faults Ties and Late change how they are dated.
func (e *EHR) Run(ctx context.Context, perSecond float64) error {
	if perSecond <= 0 {
		return fmt.Errorf("the sample EHR can't make %v changes per second: give a number above 0", perSecond)
	}
	begin := e.opt.Now()
	ticker := time.NewTicker(min(time.Second, max(time.Millisecond, time.Duration(float64(time.Second)/perSecond))))
	defer ticker.Stop()
	for made := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		due := int(e.opt.Now().Sub(begin).Seconds() * perSecond)
		ties := max(1, e.Faults().Ties)
		for made+ties <= due { // changes of the same second come together
			for range ties {
				if err := e.Step(); err != nil {
					return err
				}
			}
			made += ties
		}
	}
}

// Step makes the next change that Run would make.
func (e *EHR) Step() error {
	e.mu.Lock()
	c, err := e.step()
	e.mu.Unlock()
	e.tell(c, err)
	return err
}

func (e *EHR) step() (Change, error) {
	at := e.opt.Now()
	if late := e.faults.Late; late > 0 && e.rand.IntN(3) == 0 {
		at = at.Add(-time.Duration(e.rand.Int64N(int64(late))))
	}
	if len(e.pending) == 0 {
		return e.invent(at)
	}
	s := e.pending[0]
	e.pending = e.pending[1:]
	if s.make != nil {
		return e.create(*s.make, at)
	}
	return e.update(s.Appointment, at, func(a *Appointment) {
		if s.Move != 0 {
			a.move(time.Duration(s.Move) * time.Minute)
			return
		}
		a.Status, a.CancelReason = s.Status, s.Reason
	})
}

// invent makes a change of a random appointment; each comment is numbered, so that an edit is told from every other.
func (e *EHR) invent(at time.Time) (Change, error) {
	id := e.ids[e.rand.IntN(len(e.ids))]
	dice := e.rand.IntN(10)
	if dice == 0 {
		a := e.byID[id].Appointment
		a.ID, a.VisitNumber = fmt.Sprintf("A%d", 5001+len(e.ids)), fmt.Sprintf("V%d", 900001+7*len(e.ids))
		a.Status, a.CancelReason, a.PreviousStart, a.Comment = Booked, "", time.Time{}, ""
		return e.create(a, at)
	}
	return e.update(id, at, func(a *Appointment) {
		switch {
		case dice <= 3 && !a.PreviousStart.IsZero():
			a.move(a.PreviousStart.Sub(a.Start)) // back to where it was
		case dice <= 3:
			a.move(24 * time.Hour)
		case dice <= 5:
			a.Status = []string{Booked, Arrived, CheckedIn}[e.rand.IntN(3)]
		default:
			e.edits++
			a.Comment = fmt.Sprintf("Edit %d", e.edits)
		}
	})
}

// load fills the EHR with made-up data: variations of the sample patients and appointments under other ids, changed
// one after another in the last hour.
func (e *EHR) load(c *Clinic, l Load) error {
	if l.Appointments <= 0 || l.Patients <= 0 {
		return fmt.Errorf("load of %d appointments of %d patients: both must be above 0", l.Appointments, l.Patients)
	}
	pick := func() *Patient { return &c.Patients[e.rand.IntN(len(c.Patients))] }
	for i := range l.Patients {
		p := *pick()
		p.ID, p.MRN = fmt.Sprintf("P%d", 100001+i), fmt.Sprintf("MRN%07d", i*17+1)
		p.Name.First, p.Name.Last = pick().Name.First, pick().Name.Last
		p.Address, p.Email = pick().Address, fmt.Sprintf("patient%d@example.org", i)
		p.SSN = fmt.Sprintf("999-%02d-%04d", i/10000%100, i%10000)
		p.Problems = append([]Coded{}, p.Problems...)
		for len(p.Problems)+len(p.Medications)+len(p.Immunizations) < 9 { // records of about the same size
			p.Problems = append(p.Problems, Coded{"444814009", "SNOMED-CT", "Viral sinusitis (disorder)", "2020-02-08"})
		}
		if err := e.addPatient(p); err != nil {
			return err
		}
	}
	now := e.opt.Now()
	e.order = make([]*appointment, 0, l.Appointments)
	of := make([]int, l.Appointments) // the patient of each: all have one, in no order
	for i := range of {
		if of[i] = i; i >= l.Patients {
			of[i] = e.rand.IntN(l.Patients)
		}
	}
	e.rand.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	for i := range l.Appointments {
		a := c.Appointments[e.rand.IntN(len(c.Appointments))]
		a.ID, a.VisitNumber = fmt.Sprintf("A%d", 1000001+i), fmt.Sprintf("V%d", 2000001+i)
		a.PatientID = fmt.Sprintf("P%d", 100001+of[i])
		a.Start = now.Add(time.Duration(1+e.rand.IntN(28*24)) * time.Hour).Truncate(time.Hour).In(e.opt.Zone)
		a.End = a.Start.Add(30 * time.Minute)
		a.Comment = fmt.Sprintf("Comment %d: the patient asked to be called the day before the visit to confirm the "+
			"time, and to be told whether the results of the last laboratory orders are in. An interpreter is not needed; "+
			"the way from the car park to the entrance should be short, or a wheelchair should stand ready there. "+
			"Reminders go by text message to the mobile number.", i)
		switch i % 5 {
		case 1:
			a.move(24 * time.Hour)
		case 2:
			a.Status, a.CancelReason = Cancelled, "Patient"
		}
		at := now.Add(-time.Hour + time.Duration(i)*time.Hour/time.Duration(l.Appointments+1))
		if _, err := e.create(a, at); err != nil {
			return err
		}
	}
	return nil
}
