// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// crashHCL is the configuration of the hospital. What stands between # changes in reloads.
const crashHCL = `
source "rest" "sample" {
  base_url = env("EHR_URL")
  timeout  = "#timeout#"
  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" }
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    page "link" {}
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
  }
  resource "patient" {
    path = "/patient/{id}"
  }
}
source "rest" "ward" {
  base_url = env("WARD_URL")
  feed "slots" {
    class  = "scan"
    path   = "/slots"
    items  = "items"
    id     = "id"
    ignore = ["views"]
    page "cursor" {
      next   = "next"
      param  = "after"
      stable = true
    }
  }
  resource "slot" {
    path = "/slots/{id}"
  }
  feed "patients" {
    path  = "/patients"
    query = { since = "{since}" }
    id    = "id"
    time  = "ordersChanged"
  }
  resource "orders" {
    path = "/patients/{id}/orders"
  }
}
source "openmrs" "records" {
  base_url = env("RECORDS_URL")
  feed "patient" {}
}
source "athenahealth" "#clinic#" {
  environment         = "preview"
  practice_id         = "195900"
  client_id           = "rounds"
  client_secret       = "secret"
  base_url            = env("ATHENA_URL")
  manage_subscription = true
  page_size           = #page#
  limits {
    per_second = 0
  }
}

destination "webhook" "#main#" {
  url           = "${env("MAIN_URL")}/main/${env("RUN")}"
  allow_private = true
  parallel      = 4
  timeout       = "#patience#"
}
destination "webhook" "billing" {
  url           = "${env("BILLING_URL")}/billing/${env("RUN")}"
  allow_private = true
  parallel      = 2
}
destination "webhook" "d" { # which the old state has entries for
  url           = "${env("MAIN_URL")}/d/${env("RUN")}"
  allow_private = true
  parallel      = 2
}

pipeline "#appointments#" {
  keep_previous = true
  poll {
    feed    = source.rest.sample.feed.appointments
    every   = "1s"
    overlap = "10s"
    start   = "beginning"
  }
  fetch "patient" {
    id = change.data.patientID
  }
  deliver "tell" {
    to       = destination.webhook.#main#
    map      = "appointment.js"
    order_by = change.data.patientID
  }
  deliver "bill" {
    to       = destination.webhook.billing
    map      = "bill.js"
    order_by = change.data.patientID
  }
}
pipeline "slots" {
  poll {
    feed        = source.rest.ward.feed.slots
    every       = "1s"
    start       = "beginning"
    confirm     = "slot"
    max_deleted = 1
  }
  deliver "tell" {
    to       = destination.webhook.#main#
    map      = "n.js"
    order_by = change.id
  }
}
pipeline "events" {
  poll {
    feed    = source.openmrs.records.feed.patient
    every   = "1s"
    overlap = "10s"
    start   = "beginning"
  }
  deliver "tell" {
    to       = destination.webhook.#main#
    map      = "event.js"
    order_by = change.id
  }
}
pipeline "#queue#" {
  poll {
    feed    = source.athenahealth.#clinic#.feed.appointments
    every   = "1s"
    overlap = "10s"
    start   = "beginning"
  }
  deliver "tell" {
    to       = destination.webhook.#main#
    map      = "n.js"
    order_by = change.id
  }
  deliver "bill" {
    to       = destination.webhook.billing
    map      = "n.js"
    order_by = change.id
  }
}
pipeline "orders" {
  poll {
    feed    = source.rest.ward.feed.patients
    every   = "1s"
    overlap = "10s"
    start   = "beginning"
  }
  expand "orders" {
    id      = change.id
    items   = "orders"
    key     = "number"
    version = "revision"
    time    = "updated"
  }
  deliver "tell" {
    to       = destination.webhook.#main#
    map      = "order.js"
    order_by = parent.id
  }
}
`

// crashScripts tell the state of a record and its lane: what the oracle goes by.
var crashScripts = map[string]string{
	"appointment.js": `import { rev } from "./rev.js";
export default ({ change, fetched }, { previous }) => ({
  feed: "appointments", id: change.id, key: fetched.patient.id, data: change.data, rev, previous: previous ? previous.change.data : null,
});
`,
	"bill.js": `export default ({ change }) => change.data.status === "cancelled" ? null : {
  feed: "appointments", id: change.id, key: change.data.patientID, data: change.data,
};
`,
	"n.js": `import { rev } from "./rev.js";
export default ({ change }, { pipeline }) => ({
  feed: pipeline === "messages" ? "queue" : pipeline, id: change.id, key: change.id,
  state: change.op === "deleted" ? "deleted" : String(change.data.n), rev,
});
`,
	"event.js": `export default ({ change }) => ({ feed: "events", id: change.id, key: change.id, state: change.version });
`,
	"order.js": `export default ({ change, parent }) => ({ feed: "orders", id: change.id, key: parent.id, state: String(change.data.n) });
`,
	"rev.js": "export const rev = 0;\n",
}

// movable is what a moved block gave another name to, and that name; each goes to and fro.
var movable = []struct{ kind, place, first, second string }{
	{"pipeline", "appointments", ofAppointments, "visits"},
	{"pipeline", "queue", ofQueue, "messages"},
	{"destination.webhook", "main", "main", "scheduling"},
	{"source.athenahealth", "clinic", "clinic", "practice"},
}

// logical is the first of the names that something has had.
func logical(name string) string {
	for _, n := range movable {
		if name == n.second && n.kind == "pipeline" || name == "webhook."+n.second {
			return strings.TrimSuffix(name, n.second) + n.first
		}
	}
	return name
}

// crashConfig is a configuration of the hospital that is edited while it is in use.
type crashConfig struct {
	dir      string
	random   *rand.Rand
	page     int // of the queue
	renamed  []bool
	moved    string // the blocks of the last renaming
	rev      int
	timeout  int
	patience int
}

func newCrashConfig(t *testing.T, random *rand.Rand) *crashConfig {
	t.Helper()
	c := &crashConfig{dir: write(t, crashScripts), random: random, page: []int{7, 1000}[random.IntN(2)], renamed: make([]bool, len(movable)), timeout: 20, patience: 20}
	c.write(t)
	return c
}

func (c *crashConfig) write(t *testing.T) {
	t.Helper()
	places := []string{"#timeout#", fmt.Sprint(c.timeout, "s"), "#patience#", fmt.Sprint(c.patience, "s"), "#page#", fmt.Sprint(c.page)}
	for i, n := range movable {
		places = append(places, "#"+n.place+"#", map[bool]string{false: n.first, true: n.second}[c.renamed[i]])
	}
	overwrite(t, c.dir, "rev.js", fmt.Sprintf("export const rev = %d;\n", c.rev))
	overwrite(t, c.dir, "main.hcl", strings.NewReplacer(places...).Replace(crashHCL)+c.moved)
}

// edit changes what a reload has to restart: a script, a source, a destination, or some of them.
func (c *crashConfig) edit(t *testing.T) {
	t.Helper()
	what := 1 + c.random.IntN(7)
	if what&1 > 0 {
		c.rev++
	}
	if what&2 > 0 {
		c.timeout = 41 - c.timeout
	}
	if what&4 > 0 {
		c.patience = 41 - c.patience
	}
	c.write(t)
}

// rename gives one or several things the other of their names.
func (c *crashConfig) rename(t *testing.T) {
	t.Helper()
	c.moved = ""
	always := c.random.IntN(len(movable))
	for i, n := range movable {
		if i != always && c.random.IntN(2) == 0 {
			continue
		}
		from, to := n.first, n.second
		if c.renamed[i] {
			from, to = to, from
		}
		c.renamed[i] = !c.renamed[i]
		c.moved += fmt.Sprintf("moved {\n  from = %s.%s\n  to   = %[1]s.%[3]s\n}\n", n.kind, from, to)
	}
	c.write(t)
}
