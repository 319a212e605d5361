// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// Generate makes data/clinic.json of FHIR R4 data:
//
//	go run generate.go -synthea DIR -derived DIR
//
// -synthea holds patients/*.json (transaction bundles) and shared.json (practitioners), -derived holds
// appointment-timeline.ndjson, servicerequests.json and locations.json; data/ORIGIN.md says where they come from. The
// output depends on nothing else.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	ehr "github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

type coding struct{ System, Code, Display string }

type concept struct {
	Coding []coding
	Text   string
}

type address struct {
	Line                             []string
	City, State, PostalCode, Country string
}

// resource is the union of what is read of all resource types.
type resource struct {
	ResourceType, ID, Status, Gender, BirthDate, AuthoredOn, OccurrenceDateTime, OnsetDateTime, Created string
	Name                                                                                                json.RawMessage
	Identifier                                                                                          []struct {
		Type  concept
		Value string
	}
	Extension []struct {
		URL         string
		ValueString string
		Extension   []struct{ URL, ValueString string }
	}
	Telecom         []struct{ Value, Use string }
	Address         json.RawMessage
	MaritalStatus   concept
	Communication   []struct{ Language concept }
	AppointmentType concept
	ServiceType     []concept
	Start, End      time.Time
	MinutesDuration int
	Participant     []struct {
		Actor struct{ Reference string }
	}
	CancelationReason                            concept
	Subject, Patient                             struct{ Reference string }
	Code, VaccineCode, MedicationCodeableConcept concept
}

type bundle struct{ Entry []struct{ Resource resource } }

func main() {
	synthea := flag.String("synthea", "", "directory of patients/*.json and shared.json")
	derived := flag.String("derived", "", "directory of the timeline, service requests and locations")
	flag.Parse()
	clinic, err := generate(*synthea, *derived)
	if err != nil {
		log.Fatal(err)
	}
	if err := write("data/clinic.json", clinic); err != nil {
		log.Fatal(err)
	}
}

func generate(synthea, derived string) (*ehr.Clinic, error) {
	shared, err := readBundle(filepath.Join(synthea, "shared.json"))
	if err != nil {
		return nil, err
	}
	places, err := readBundle(filepath.Join(derived, "locations.json"))
	if err != nil {
		return nil, err
	}
	requests, err := readBundle(filepath.Join(derived, "servicerequests.json"))
	if err != nil {
		return nil, err
	}
	byRef := map[string]resource{}
	for _, r := range append(shared, places...) {
		byRef[r.ResourceType+"/"+r.ID] = r
	}
	orders := map[string][]ehr.Coded{} // by reference of the patient
	for _, r := range requests {
		orders[r.Subject.Reference] = append(orders[r.Subject.Reference], coded(r.Code, r.AuthoredOn))
	}
	files, err := filepath.Glob(filepath.Join(synthea, "patients", "*.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no patients in %s: %v", synthea, err)
	}
	sort.Strings(files)
	clinic := &ehr.Clinic{Begin: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}
	ids := map[string]string{} // reference of the patient → id in the sample EHR
	for n, file := range files {
		all, err := readBundle(file)
		if err != nil {
			return nil, err
		}
		p := patient(n, all)
		clinic.Patients = append(clinic.Patients, p)
		for _, r := range all {
			if r.ResourceType == "Patient" {
				ids["Patient/"+r.ID] = p.ID
			}
		}
	}
	return clinic, timeline(clinic, filepath.Join(derived, "appointment-timeline.ndjson"), ids, orders, byRef)
}

func patient(n int, all []resource) ehr.Patient {
	var p ehr.Patient
	for _, r := range all {
		switch r.ResourceType {
		case "Patient":
			p.ID, p.Name, p.Address = fmt.Sprintf("P%d", 1001+n), name(r.Name), postal(r.Address)
			p.BirthDate, p.Sex = r.BirthDate, r.Gender
			p.MaritalStatus = map[string]string{"S": "Single", "M": "Married"}[r.MaritalStatus.Coding[0].Code]
			for _, i := range r.Identifier {
				switch i.Type.Text {
				case "Medical Record Number":
					p.MRN = i.Value
				case "Social Security Number":
					p.SSN = i.Value
				}
			}
			for _, e := range r.Extension {
				switch {
				case strings.HasSuffix(e.URL, "us-core-race"):
					p.Race = e.Extension[len(e.Extension)-1].ValueString
				case strings.HasSuffix(e.URL, "us-core-ethnicity"):
					p.Ethnicity = e.Extension[len(e.Extension)-1].ValueString
				case strings.HasSuffix(e.URL, "patient-mothersMaidenName"):
					first, last, _ := strings.Cut(e.ValueString, " ")
					p.Contacts = []ehr.Contact{{Name: ehr.Name{First: first, Last: last}, Relation: "Mother"}}
				}
			}
			if len(r.Communication) > 0 {
				p.Language = r.Communication[0].Language.Coding[0].Code
			}
			for _, t := range r.Telecom {
				p.Phones.Home = t.Value
			}
		case "Condition":
			p.Problems = append(p.Problems, coded(r.Code, r.OnsetDateTime))
		case "MedicationRequest":
			p.Medications = append(p.Medications, coded(r.MedicationCodeableConcept, r.AuthoredOn))
		case "Immunization":
			p.Immunizations = append(p.Immunizations, coded(r.VaccineCode, r.OccurrenceDateTime))
		}
	}
	p.Problems, p.Medications, p.Immunizations = last(p.Problems, 3), last(p.Medications, 2), last(p.Immunizations, 2)
	// What an EHR has and Synthea's subset has not is made up, plainly recognizable as such.
	p.Email = strings.ToLower(p.Name.First+"."+p.Name.Last) + "@example.org"
	p.Phones.Mobile = fmt.Sprintf("555-555-%04d", 100+n)
	p.Coverage = ehr.Coverage{Company: "Sample Health Plan", Plan: []string{"HMO", "PPO", "POS"}[n%3],
		Member: fmt.Sprintf("SHP%06d", 104729*(n+1)%1000000), Group: fmt.Sprintf("G-%02d", n%7), Since: "2026-01-01"}
	for i := range p.Contacts {
		p.Contacts[i].Phone = fmt.Sprintf("555-555-%04d", 500+n)
	}
	return p
}

func timeline(c *ehr.Clinic, file string, ids map[string]string, orders map[string][]ehr.Coded,
	byRef map[string]resource,
) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	made := map[string]*ehr.Appointment{} // by id in the timeline
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var step struct {
			Op       string
			Resource resource
		}
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			return err
		}
		r := step.Resource
		a := made[r.ID]
		switch {
		case step.Op == "create":
			a = appointment(len(made), r, ids, orders, byRef)
			made[r.ID] = a
			c.Appointments = append(c.Appointments, *a)
		case step.Op == "delete": // this API shows no deletes: an appointment made in error is cancelled
			c.Timeline = append(c.Timeline, ehr.Step{Appointment: a.ID, Status: ehr.Cancelled, Reason: "Entered in error"})
		case r.Status == ehr.Booked:
			c.Timeline = append(c.Timeline, ehr.Step{Appointment: a.ID, Move: int(r.Start.Sub(a.Start).Minutes())})
		default:
			s := ehr.Step{Appointment: a.ID, Status: r.Status}
			if len(r.CancelationReason.Coding) > 0 {
				s.Reason = r.CancelationReason.Coding[0].Display
			}
			c.Timeline = append(c.Timeline, s)
		}
	}
	return lines.Err()
}

func appointment(n int, r resource, ids map[string]string, orders map[string][]ehr.Coded,
	byRef map[string]resource,
) *ehr.Appointment {
	a := &ehr.Appointment{ID: fmt.Sprintf("A%d", 5001+n), VisitNumber: fmt.Sprintf("V%d", 900001+7*n),
		Status: ehr.Booked, Start: r.Start.UTC(), End: r.End.UTC(), Minutes: r.MinutesDuration, Orders: []ehr.Coded{},
		Type: coded(r.AppointmentType, ""), Reason: coded(r.ServiceType[0], ""),
		Instructions: "Please arrive 15 minutes early and bring your insurance card and a list of your medications."}
	a.Type.Name = map[string]string{"ROUTINE": "Routine visit", "FOLLOWUP": "Follow-up visit"}[a.Type.Code]
	for _, p := range r.Participant {
		ref := p.Actor.Reference
		who := byRef[ref]
		switch {
		case strings.HasPrefix(ref, "Patient/"):
			a.PatientID, a.Orders = ids[ref], append(a.Orders, last(orders[ref], 1)...)
		case strings.HasPrefix(ref, "Practitioner/"):
			npi := who.Identifier[0].Value
			a.Provider = ehr.Provider{ID: "D" + npi, NPI: npi, Name: name(who.Name), Address: postal(who.Address),
				Phone: "555-555-" + fmt.Sprintf("%04s", npi)}
		case strings.HasPrefix(ref, "Location/"):
			var title string
			if err := json.Unmarshal(who.Name, &title); err != nil {
				log.Fatal(err)
			}
			a.Location = ehr.Location{ID: "L" + who.ID[:4], Name: title, Department: []string{"Family Medicine",
				"Internal Medicine", "Cardiology"}[n%3], Room: fmt.Sprint(100 + n%12), Address: postal(who.Address)}
			for _, t := range who.Telecom {
				a.Location.Phone = t.Value
			}
		}
	}
	return a
}

func name(raw json.RawMessage) ehr.Name {
	var names []struct {
		Family        string
		Given, Prefix []string
	}
	if err := json.Unmarshal(raw, &names); err != nil {
		log.Fatal(err)
	}
	n := ehr.Name{First: names[0].Given[0], Last: names[0].Family, Prefix: strings.Join(names[0].Prefix, " ")}
	n.Middle = strings.Join(names[0].Given[1:], " ")
	return n
}

// postal reads an address, which is a list in some resource types and one in others.
func postal(raw json.RawMessage) ehr.Address {
	var list []address
	if !bytes.HasPrefix(raw, []byte("[")) {
		raw = append(append([]byte("["), raw...), ']')
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		log.Fatal(err)
	}
	a := list[0]
	return ehr.Address{Street: strings.Join(a.Line, ", "), City: a.City, State: a.State, PostalCode: a.PostalCode,
		Country: a.Country}
}

func coded(c concept, date string) ehr.Coded {
	of := c.Coding[0]
	system := map[string]string{"http://snomed.info/sct": "SNOMED-CT", "http://loinc.org": "LOINC",
		"http://hl7.org/fhir/sid/cvx": "CVX", "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
		"http://terminology.hl7.org/CodeSystem/v2-0276": "HL7-0276"}[of.System]
	if system == "" {
		log.Fatalf("vocabulary %s has no short name here", of.System)
	}
	text := of.Display
	if text == "" {
		text = c.Text
	}
	return ehr.Coded{Code: of.Code, System: system, Name: text, Date: strings.Split(date, "T")[0]}
}

func last(c []ehr.Coded, n int) []ehr.Coded { return append([]ehr.Coded{}, c[max(0, len(c)-n):]...) }

func readBundle(file string) ([]resource, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var b bundle
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var all []resource
	for _, e := range b.Entry {
		all = append(all, e.Resource)
	}
	return all, nil
}

// write writes one record per line, so that a change can be seen in a diff.
func write(file string, c *ehr.Clinic) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n\"begin\": %q,\n", c.Begin.Format(time.RFC3339))
	writeList(&b, "patients", c.Patients, ",")
	writeList(&b, "appointments", c.Appointments, ",")
	writeList(&b, "timeline", c.Timeline, "")
	b.WriteString("}\n")
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func writeList[T any](b *bytes.Buffer, key string, items []T, end string) {
	fmt.Fprintf(b, "%q: [\n", key)
	for i, item := range items {
		data, err := json.Marshal(item)
		if err != nil {
			log.Fatal(err)
		}
		b.Write(data)
		if i < len(items)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]" + end + "\n")
}
