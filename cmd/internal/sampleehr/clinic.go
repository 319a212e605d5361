// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sampleehr

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"
)

// Patient is a patient's record as the EHR gives it out.
type Patient struct {
	ID            string    `json:"id"`
	MRN           string    `json:"mrn"`
	Name          Name      `json:"name"`
	BirthDate     string    `json:"birthDate"`
	Sex           string    `json:"sex"`
	SSN           string    `json:"ssn"`
	Race          string    `json:"race"`
	Ethnicity     string    `json:"ethnicity"`
	MaritalStatus string    `json:"maritalStatus"`
	Language      string    `json:"language"`
	Address       Address   `json:"address"`
	Phones        Phones    `json:"phones"`
	Email         string    `json:"email"`
	Contacts      []Contact `json:"contacts"`
	Coverage      Coverage  `json:"coverage"`
	Problems      []Coded   `json:"problems"`
	Medications   []Coded   `json:"medications"`
	Immunizations []Coded   `json:"immunizations"`
}

// Name is a person's name.
type Name struct {
	Prefix string `json:"prefix,omitempty"`
	First  string `json:"first"`
	Middle string `json:"middle,omitempty"`
	Last   string `json:"last"`
}

// Address is a postal address.
type Address struct {
	Street     string `json:"street"`
	City       string `json:"city"`
	State      string `json:"state"`
	PostalCode string `json:"postalCode"`
	Country    string `json:"country"`
}

// Phones are a person's telephone numbers.
type Phones struct {
	Home   string `json:"home"`
	Mobile string `json:"mobile,omitempty"`
	Office string `json:"office,omitempty"`
}

// Contact is somebody to call for a patient.
type Contact struct {
	Name     Name   `json:"name"`
	Relation string `json:"relation"`
	Phone    string `json:"phone"`
}

// Coverage is a patient's insurance.
type Coverage struct {
	Company string `json:"company"`
	Plan    string `json:"plan"`
	Member  string `json:"member"`
	Group   string `json:"group"`
	Since   string `json:"since"`
}

// Coded is a code of some vocabulary with its meaning and, where it is a fact about a patient, its date.
type Coded struct {
	Code   string `json:"code"`
	System string `json:"system"`
	Name   string `json:"name"`
	Date   string `json:"date,omitempty"`
}

// Provider is who sees the patient.
type Provider struct {
	ID      string  `json:"id"`
	NPI     string  `json:"npi"`
	Name    Name    `json:"name"`
	Phone   string  `json:"phone"`
	Address Address `json:"address"`
}

// Location is where the patient is seen.
type Location struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Department string  `json:"department"`
	Room       string  `json:"room"`
	Phone      string  `json:"phone"`
	Address    Address `json:"address"`
}

// Appointment is an appointment as the EHR gives it out. Start, End and PreviousStart carry their offset; Created and
// LastUpdated are local time of the EHR's zone without one, in whole seconds, as many vendors do.
type Appointment struct {
	ID            string    `json:"id"`
	VisitNumber   string    `json:"visitNumber"`
	PatientID     string    `json:"patientID"`
	Created       string    `json:"created"`
	LastUpdated   string    `json:"lastUpdated"`
	Status        string    `json:"status"`
	CancelReason  string    `json:"cancelReason,omitempty"`
	Start         time.Time `json:"start"`
	End           time.Time `json:"end"`
	PreviousStart time.Time `json:"previousStart,omitzero"` // before it was moved
	Minutes       int       `json:"minutes"`
	Type          Coded     `json:"type"`
	Reason        Coded     `json:"reason"`
	Provider      Provider  `json:"provider"`
	Location      Location  `json:"location"`
	Orders        []Coded   `json:"orders"`
	Instructions  string    `json:"instructions"`
	Comment       string    `json:"comment,omitempty"`
}

// The states of an appointment.
const (
	Booked    = "booked"
	Arrived   = "arrived"
	CheckedIn = "checked-in"
	Fulfilled = "fulfilled"
	Cancelled = "cancelled"
	NoShow    = "noshow"
)

// Step is one step of the timeline: what happens to an appointment.
type Step struct {
	Appointment string `json:"appointment"`
	Status      string `json:"status,omitempty"`
	Reason      string `json:"reason,omitempty"` // of a cancellation
	Move        int    `json:"move,omitempty"`   // minutes by which the visit is moved
}

// Clinic is the sample data. The starts of its appointments lie in the weeks after Begin; New shifts them by whole days
// behind its own clock.
type Clinic struct {
	Begin        time.Time     `json:"begin"`
	Patients     []Patient     `json:"patients"`
	Appointments []Appointment `json:"appointments"` // as they are when they are made
	Timeline     []Step        `json:"timeline"`     // what happens to them afterwards
}

//go:embed data/clinic.json
var clinicJSON []byte

func readClinic() (*Clinic, error) {
	var c Clinic
	if err := json.Unmarshal(clinicJSON, &c); err != nil {
		return nil, fmt.Errorf("read data/clinic.json: %w", err)
	}
	return &c, nil
}
