// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// scheduling is what mapping.js makes, field by field in the same order.
type scheduling struct {
	Meta struct {
		DataModel, EventType, EventDateTime string
		Test                                bool
		Source                              struct{ Name string }
		FacilityCode                        string
	}
	Patient struct {
		Identifiers  []identifier
		Demographics struct {
			FirstName      string
			MiddleName     *string
			LastName       string
			DOB            string
			SSN            string
			Sex            string
			Race           string
			IsHispanic     bool
			MaritalStatus  string
			PhoneNumber    struct{ Home, Mobile *string }
			EmailAddresses []string
			Language       string
			Address        postal
		}
	}
	AppointmentInfo []info
	Visit           struct {
		VisitNumber   string
		VisitDateTime string
		OldDateTime   *string
		Duration      int
		Reason        string
		CancelReason  *string
		Status        string
		Type          string
		VisitProvider struct {
			ID, IDType, FirstName, LastName string
			PhoneNumber                     struct{ Office string }
		}
		Location struct{ Type, Facility, Department, Room string }
	}
}

type identifier struct{ ID, IDType string }

type postal struct{ StreetAddress, City, State, ZIP, Country string }

type info struct {
	Code, Codeset, Description string
	Value                      *string
}

var codesets = map[string]string{"SNOMED-CT": "2.16.840.1.113883.6.96", "LOINC": "2.16.840.1.113883.6.1"}

func mapNatively(a *sampleehr.Appointment, p *sampleehr.Patient, changed time.Time) scheduling {
	var n scheduling
	n.Meta.DataModel, n.Meta.EventType, n.Meta.EventDateTime = "Scheduling", eventType(a), utc(changed)
	n.Meta.Test, n.Meta.Source.Name = true, "Sample EHR"
	n.Meta.FacilityCode = a.Location.ID

	n.Patient.Identifiers = []identifier{{p.ID, "EHR"}, {p.MRN, "MR"}}
	d := &n.Patient.Demographics
	d.FirstName, d.MiddleName, d.LastName = p.Name.First, optional(p.Name.Middle), p.Name.Last
	d.DOB, d.SSN, d.Race, d.MaritalStatus = p.BirthDate, p.SSN, p.Race, p.MaritalStatus
	switch p.Sex {
	case "female":
		d.Sex = "Female"
	case "male":
		d.Sex = "Male"
	default:
		d.Sex = "Unknown"
	}
	d.IsHispanic = p.Ethnicity == "Hispanic or Latino"
	d.PhoneNumber.Home, d.PhoneNumber.Mobile = &p.Phones.Home, optional(p.Phones.Mobile)
	d.EmailAddresses = []string{strings.ToLower(p.Email)}
	d.Language, _, _ = strings.Cut(p.Language, "-")
	d.Address = address(p.Address)

	n.AppointmentInfo = make([]info, 0, len(a.Orders))
	for _, o := range a.Orders {
		set, known := codesets[o.System]
		if !known {
			set = o.System
		}
		n.AppointmentInfo = append(n.AppointmentInfo, info{o.Code, set, o.Name, optional(o.Date)})
	}

	v := &n.Visit
	v.VisitNumber, v.VisitDateTime, v.Duration = a.VisitNumber, utc(a.Start), a.Minutes
	if !a.PreviousStart.IsZero() {
		v.OldDateTime = optional(utc(a.PreviousStart))
	}
	v.Reason, v.CancelReason, v.Status, v.Type = a.Reason.Name, optional(a.CancelReason), a.Status, a.Type.Name
	w := &v.VisitProvider
	w.ID, w.IDType, w.FirstName, w.LastName = a.Provider.NPI, "NPI", a.Provider.Name.First, a.Provider.Name.Last
	w.PhoneNumber.Office = a.Provider.Phone
	v.Location.Type, v.Location.Facility = "Outpatient", a.Location.Name
	v.Location.Department, v.Location.Room = a.Location.Department, a.Location.Room
	return n
}

func eventType(a *sampleehr.Appointment) string {
	switch {
	case a.Status == sampleehr.Cancelled:
		return "Cancel"
	case a.Status == sampleehr.NoShow:
		return "NoShow"
	case a.Created == a.LastUpdated && a.PreviousStart.IsZero():
		return "New"
	case !a.PreviousStart.IsZero():
		return "Reschedule"
	}
	return "Modification"
}

func address(a sampleehr.Address) postal {
	return postal{a.Street, a.City, a.State, a.PostalCode, a.Country}
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
