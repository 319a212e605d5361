// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// feed is how a feed is read: GET …/PATH/changed, whose answer has its items in the member list.
type feed struct {
	path, list string
	ids        []string // members of an item that may identify it
	modified   string   // member with the time of its last change, Eastern; "": there is none
	actor      string   // member that says who changed it
	describe   sdk.Feed
}

// History: a record has a message for each event, and some come again when marks are read again; the more states of it the engine
// remembers, the fewer are told twice.
const why = "reading marks messages as processed, so each is read once, and what may not have been committed again by the time of its mark"

var feeds = map[string]feed{
	"appointments": {
		path: "appointments", list: "appointments", ids: []string{"appointmentid"}, modified: "lastmodified", actor: "lastmodifiedby",
		describe: sdk.Feed{Kind: "appointment", Class: sdk.Queue, Version: sdk.Coarse, Precision: time.Second, History: true, Peeks: true, Why: why},
	},
	"patients": {
		path: "patients", list: "patients", ids: []string{"patientid"},
		describe: sdk.Feed{Kind: "patient", Class: sdk.Queue, Version: sdk.None, History: true, Peeks: true, Why: why},
	},
	"orders": {
		path: "orders", list: "orders", ids: []string{"documentid", "orderid"},
		describe: sdk.Feed{Kind: "order", Class: sdk.Queue, Version: sdk.None, History: true, Peeks: true, Why: why},
	},
}

// resources are the paths of what can be fetched, behind that of the practice.
var resources = map[string]struct {
	path string // {id}, or {patient} and {id}
	list bool   // it is a list, not one record in a list
}{
	"appointment":      {path: "/appointments/{id}"},
	"department":       {path: "/departments/{id}"},
	"encounter":        {path: "/chart/encounter/{id}"},
	"encounter_orders": {path: "/chart/encounter/{id}/orders", list: true},
	"order":            {path: "/patients/{patient}/documents/order/{id}"},
	"patient":          {path: "/patients/{id}"},
	"provider":         {path: "/providers/{id}"},
}

var catalog = describe()

func describe() (c sdk.Catalog) {
	for _, name := range []string{"appointments", "orders", "patients"} {
		f := feeds[name].describe
		f.Name = name
		c.Feeds = append(c.Feeds, f)
	}
	for _, name := range []string{"appointment", "department", "encounter", "encounter_orders", "order", "patient", "provider"} {
		c.Resources = append(c.Resources, sdk.Resource{Name: name, Batch: 1, Why: "one GET " + template + resources[name].path + " for each identifier"})
	}
	return c
}

// template is the path of a practice in texts.
const template = "/v1/{practiceid}"
