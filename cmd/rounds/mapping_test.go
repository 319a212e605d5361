// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/engine/record"
)

func TestInvariant5AMappingThatFailsForOneDeliversNothingOfIt(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	bad, err := c.Appointment(c.IDs()[4])
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning), "mapping.js": tellAll})
	overwrite(t, dir, "mapping.js", replaced(t, tellAll, "  return {", "  if (change.id === \""+bad.ID+`") {
    throw new Error(change.data.comment + " " + fetched.patient.name.last);
  }
  return {`))
	p := startRun(t, dir, c.env())
	p.logged("changes became dead letters", "mapping.js:4:11")
	p.eventually(20*time.Second, "the others arrived", func() bool { return c.Accepted() == 11 })
	p.stop()
	for _, r := range c.Received(0) {
		if decode[told](t, r.Body).ID == bad.ID {
			t.Errorf("the change whose mapping failed was delivered")
		}
	}
	if log := p.log.String(); strings.Contains(log, "Comment") || strings.Contains(log, bad.ID) || strings.Contains(log, bad.PatientID) {
		t.Error("the log holds what the script threw, or an id")
	}
	dead := deadLetters(t, dir, 0)
	if len(dead) != 1 {
		t.Fatalf("%d dead letters, want 1", len(dead))
	}
	d := dead[0]
	if d.Ref.ID != bad.ID || d.Cause.Stage != record.StageMap || !strings.Contains(d.Cause.Text, "mapping.js:4:11") ||
		!strings.Contains(d.Cause.Detail, bad.Comment) || strings.Contains(d.Cause.Text, bad.Comment) {
		t.Errorf("the cause of the dead letter is %+v", d.Cause)
	}

	// A mapping that was put right counts for what changes from now on.
	overwrite(t, dir, "mapping.js", tellAll)
	p = startRun(t, dir, c.env())
	if err := c.Move(bad.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "all arrived", func() bool { return settled(c, nil) })
	p.stop()
}

func TestInvariant5WhatIsNotValidByItsSchemaIsNotDelivered(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 12, Patients: 3}}, receiver.Options{})
	bad, err := c.Appointment(c.IDs()[4])
	if err != nil {
		t.Fatal(err)
	}
	hcl := replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, `map      = "mapping.js"`, "map      = \"mapping.js\"\n    validate = \"redox/scheduling\"")
	hcl += "\ntable \"reasons\" {\n  values  = { created = \"from the table\" }\n  default = \"by default\"\n}\n"
	dir := write(t, map[string]string{"main.hcl": hcl, "mapping.js": `
import { Scheduling } from "rounds/redox";
export default ({ change }, { tables }) => {
  const { id, data, op } = change;
  return Scheduling.Modification({ Visit: { VisitNumber: id, Reason: tables.reasons[op], Type: tables.reasons.x, Status: id === "` + bad.ID + `" ? { [data.comment]: 1 } : data.status } });
};
`})
	p := startRun(t, dir, c.env())
	p.logged("changes became dead letters", "is not valid by redox/scheduling: /Visit/Status type: must be null or string")
	p.eventually(20*time.Second, "the others arrived", func() bool { return c.Accepted() == 11 })
	p.stop()
	for _, r := range c.Received(0) {
		if strings.Contains(string(r.Body), bad.ID) {
			t.Error("the notification that is not valid was delivered")
		}
		if !strings.Contains(string(r.Body), `"Reason":"from the table","Type":"by default"`) {
			t.Errorf("the configuration's table did not reach the script: %s", r.Body)
		}
	}
	if log := p.log.String(); strings.Contains(log, bad.Comment) || strings.Contains(log, bad.ID) {
		t.Error("the log holds what the script returned, or an id")
	}
	dead := deadLetters(t, dir, 0)
	if len(dead) != 1 || dead[0].Ref.ID != bad.ID || dead[0].Cause.Stage != record.StageMap {
		t.Fatalf("dead letters: %+v", dead)
	}
}

func TestABrokenMappingCommitsNothingAndLosesNothing(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 30, Patients: 5}}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning),
		"mapping.js": replaced(t, tellAll, "change.data, fetched", "change.data.visit.number, fetched")})
	p := startRun(t, dir, c.env())
	p.logged(`every new change failed at deliver \"scheduling\", nothing of the page was committed`, "mapping.js:5:")
	for _, id := range c.IDs()[:10] {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	p.pollsMore(c, 1)
	p.stop()
	if n := len(c.Received(0)); n > 0 {
		t.Errorf("%d notifications were sent", n)
	}
	if dead := deadLetters(t, dir, 0); len(dead) > 0 {
		t.Errorf("%d dead letters", len(dead))
	}
	overwrite(t, dir, "mapping.js", tellAll)
	p = startRun(t, dir, c.env())
	p.eventually(20*time.Second, "all arrived", func() bool { return settled(c, nil) })
	p.stop()
	if n := oracle(t, c.EHR, c.Received(0), nil); n > 0 {
		t.Errorf("%d notifications were repeated", n)
	}
}

// TestAMappingInTypeScriptFilters: types, an import of a file beside it and of the shipped library, null for what nobody wants.
func TestAMappingInTypeScriptFilters(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{Load: sampleehr.Load{Appointments: 25, Patients: 5}}, receiver.Options{})
	dir := write(t, map[string]string{
		"main.hcl": replaced(t, pipelineHCL, `start   = "now"`, fromTheBeginning, "mapping.js", "mapping.ts"),
		"mapping.ts": `
import { Scheduling, identifiers } from "rounds/redox";
import { Status, isOver } from "./status";

interface Appointment { visitNumber: string; status: Status; start: string }

export default function ({ change, fetched }: { change: { data: Appointment; time: string }; fetched: any }): object | null {
  const appointment: Appointment = change.data;
  if (isOver(appointment.status)) return null;
  return Scheduling.Modification({
    Meta: { EventDateTime: change.time },
    Patient: {
      Identifiers: identifiers({ EHR: fetched.patient.id as string }),
      Demographics: { FirstName: fetched.patient.name.first, LastName: fetched.patient.name.last },
    },
    Visit: { VisitNumber: appointment.visitNumber, VisitDateTime: appointment.start },
  });
}
`,
		"status.ts": `
export enum Status { Booked = "booked", Cancelled = "cancelled" }
export const isOver = (s: Status): boolean => s === Status.Cancelled;
`,
	})
	p := startRun(t, dir, c.env())
	want := map[string]string{} // visit → patient
	for _, id := range c.IDs() {
		a, err := c.Appointment(id)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status != sampleehr.Cancelled {
			want[a.VisitNumber] = a.PatientID
		}
	}
	p.eventually(20*time.Second, "all that are not cancelled arrived", func() bool { return c.Accepted() >= len(want) })
	p.pollsMore(c, 1)
	p.stop()
	for _, r := range c.Received(0) {
		if want[r.Visit] != r.Patient || r.Event != "Modification" {
			t.Errorf("%s of patient %s (%s) arrived", r.Visit, r.Patient, r.Event)
		}
		delete(want, r.Visit)
	}
	if len(want) > 0 {
		t.Errorf("%d did not arrive", len(want))
	}
	if !regexp.MustCompile(`mapped=20 filtered=5 dead=0`).MatchString(p.log.String()) {
		t.Error("the log does not count what was filtered")
	}
	if dead := deadLetters(t, dir, 0); len(dead) > 0 {
		t.Errorf("%d dead letters", len(dead))
	}
}
