// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/listen"
	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
)

// openState opens the state that a stopped engine left.
func openState(t *testing.T, dir string) store.Store {
	t.Helper()
	s, err := badgerstore.Open(filepath.Join(dir, "state"), badgerstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deadLetters lists the dead letters that a stopped engine left, and checks how many notifications wait (-1: any number).
func deadLetters(t *testing.T, dir string, pending int) []record.DeadLetter {
	t.Helper()
	s := openState(t, dir)
	defer s.Close()
	dead, next, err := s.Admin().Dead(t.Context(), store.Filter{}, nil, 1000)
	if err != nil || next != nil {
		t.Fatal(err, next)
	}
	waiting, err := s.Admin().Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, one := range waiting {
		n += one.Count
	}
	if n != pending && pending >= 0 {
		t.Errorf("%d notifications wait in the state, want %d", n, pending)
	}
	return dead
}

// oneRefused is a clinic with three patients of four appointments each, whose receiver refuses the first patient's.
func oneRefused(t *testing.T) (c *clinic, refused string) {
	t.Helper()
	c = newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	a, err := c.Appointment(c.IDs()[0])
	if err != nil {
		t.Fatal(err)
	}
	c.Receiver.SetFaults(receiver.Faults{Status: 422, Failing: 1, Only: a.PatientID})
	return c, a.PatientID
}

// appointmentsOf counts the appointments of a patient, and requests counts what was sent of one.
func (c *clinic) appointmentsOf(t *testing.T, patient string) (n int) {
	t.Helper()
	for _, id := range c.IDs() {
		a, err := c.Appointment(id)
		if err != nil {
			t.Fatal(err)
		}
		if a.PatientID == patient {
			n++
		}
	}
	return n
}

func (c *clinic) requests(patient string) (n int) {
	for _, r := range c.Received(0) {
		if r.Patient == patient {
			n++
		}
	}
	return n
}

func TestARefusalHoldsItsPatientAlone(t *testing.T) {
	t.Parallel()
	c, refused := oneRefused(t)
	held := c.appointmentsOf(t, refused)
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	p := startRun(t, dir, c.env())
	p.logged("its lane is held", "code=http_422", "the receiver answered 422")
	p.eventually(20*time.Second, "the other patients' arrived", func() bool { return c.Accepted() == 12-held })
	for _, id := range c.IDs() {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	p.eventually(20*time.Second, "the other patients' arrived again", func() bool { return c.Accepted() == 2*(12-held) })
	p.pollsMore(c, 2)
	if n := c.requests(refused); n != 1 {
		t.Errorf("the patient whose first notification was refused got %d requests, want 1", n)
	}
	p.stop()
	if dead := deadLetters(t, dir, 2*held); len(dead) > 0 {
		t.Errorf("%d dead letters", len(dead))
	}

	c.Receiver.SetFaults(receiver.Faults{})
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "all arrived", func() bool { return c.Accepted() == 2*12 })
	p.stop()
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

func TestARefusalBecomesADeadLetterIfWanted(t *testing.T) {
	t.Parallel()
	c, refused := oneRefused(t)
	held := c.appointmentsOf(t, refused)
	dir := write(t, map[string]string{"mapping.js": tellAll, "main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning,
		`url = env("NOTIFY_URL")`, "url       = env(\"NOTIFY_URL\")\n  on_reject = \"dead_letter\"")})
	p := startRun(t, dir, c.env())
	p.logged("it became a dead letter", "code=http_422", "the receiver answered 422")
	p.eventually(20*time.Second, "all were sent", func() bool { return len(c.Received(0)) == 12 })
	c.Receiver.SetFaults(receiver.Faults{})
	moved := c.IDs()[0]
	if err := c.Move(moved, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "what came later of the patient arrived", func() bool { return c.Accepted() == 12-held+1 })
	p.stop()

	dead := deadLetters(t, dir, 0)
	if len(dead) != held {
		t.Errorf("%d dead letters, want %d", len(dead), held)
	}
	ids := map[string]bool{}
	for _, r := range c.Received(0) {
		ids[r.ID] = !r.Accepted()
	}
	for _, d := range dead {
		kept, err := record.Unmarshal(d.Record)
		if err != nil || kept.Change.Ref != d.Ref || len(kept.Fetched["patient"]) == 0 {
			t.Errorf("%v: a dead letter is without its record, and can't be mapped again: %v", d.Ref, err)
		}
		if d.Cause.Stage != record.StageDeliver || d.Cause.Code != "http_422" || d.Entry == nil || !ids[d.Entry.ID] || d.Key != refused {
			t.Errorf("%v: a dead letter lacks what a person needs: %+v", d.Ref, d.Cause)
		}
	}

	p = startRun(t, dir, c.env())
	p.pollsMore(c, 2)
	p.stop()
	if n := len(c.Received(0)); n != 12+1 {
		t.Errorf("%d requests, want 13: a dead letter goes nowhere by itself", n)
	}
}

func TestADestinationThatRefusesEverythingIsPausedUntilTheRestart(t *testing.T) {
	t.Parallel()
	const parallel = 2
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 4}}, receiver.Options{})
	c.Receiver.SetFaults(receiver.Faults{Status: 401, Failing: 1})
	dir := write(t, map[string]string{"mapping.js": tellAll, "main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning,
		`url = env("NOTIFY_URL")`, fmt.Sprintf("url      = env(\"NOTIFY_URL\")\n  parallel = %d", parallel))})
	p := startRun(t, dir, c.env())
	p.logged("the destination is paused", "code=http_401", "Nothing is lost")
	p.pollsMore(c, 3)
	if n := len(c.Received(0)); n > parallel {
		t.Errorf("%d requests were sent to a receiver that refuses everything; %d were on their way", n, parallel)
	}
	p.stop()
	c.Receiver.SetFaults(receiver.Faults{})
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "all arrived", func() bool { return settled(c, nil) })
	p.stop()
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// TestAReceiverThatWasDownGetsEverythingInOrder: nobody listens at the receiver's address for a while.
func TestAReceiverThatWasDownGetsEverythingInOrder(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 40, Patients: 8}}, receiver.Options{})
	address := quietAddress(t)
	up := func() *listen.Server {
		t.Helper()
		s, err := listen.Serve(address, c.Receiver)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := up()
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	p := startRun(t, dir, []string{"EHR_URL=" + c.ehrURL, "NOTIFY_URL=http://" + address})
	p.eventually(20*time.Second, "the first arrived", func() bool { return c.Accepted() == 40 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, id := range c.IDs() {
			if err := c.Move(id, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		p.pollsMore(c, 1)
	}
	p.logged("the receiver fails as a whole", "connection refused")
	up()
	p.eventually(40*time.Second, "all arrived", func() bool { return c.Accepted() == 3*40 })
	p.logged("deliveries succeed again")
	p.stop()
	lanesWait(t, c.Received(0))
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// quietAddress is an address where nobody listens, also not by accident: the system gives out higher ports by itself.
func quietAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprint("127.0.0.1:", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port below 30000")
	return ""
}

func TestRedirectsOfAReceiverAreNotFollowed(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 3, Patients: 1}}, receiver.Options{})
	moved := serve(t, http.RedirectHandler(c.receiverURL, http.StatusPermanentRedirect))
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	p := startRun(t, dir, []string{"EHR_URL=" + c.ehrURL, "NOTIFY_URL=" + moved})
	p.logged("it has moved, its url must be corrected")
	p.stop()
	if n := len(c.Received(0)); n > 0 || strings.Contains(p.log.String(), c.receiverURL) {
		t.Errorf("%d notifications went where the redirect leads, or the log names it", n)
	}
}
