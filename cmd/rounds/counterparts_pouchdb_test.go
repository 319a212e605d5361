// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
)

// pouchDBHCL lists all documents, seven on a page, and fetches others by a list of keys, which is JSON in the address.
const pouchDBHCL = `
source "rest" "pouchdb" {
  base_url = env("EHR_URL")
  feed "visits" {
    class   = "scan"
    path    = "/visits/_all_docs"
    query   = { include_docs = "true" }
    items   = "rows"
    id      = "id"
    version = "value.rev"
    page "offset" {
      param      = "skip"
      size       = 7
      size_param = "limit"
      total      = "total_rows"
    }
  }
  resource "visit" {
    path = "/visits/{id}"
  }
  resource "patient" {
    path  = "/patients/_all_docs"
    query = { include_docs = "true", keys = "[\"{ids}\"]" }
    batch {
      size      = 4
      separator = "\",\""
      items     = "rows"
      id        = "id"
    }
  }
}

destination "webhook" "receiver" {
  url = env("NOTIFY_URL")
  allow_private = true
}

pipeline "visits" {
  poll {
    feed    = source.rest.pouchdb.feed.visits
    every   = "1s"
    start   = "beginning"
    confirm = "visit"
  }
  fetch "patient" {
    id = change.data.doc.patient
  }
  deliver "receiver" {
    to  = destination.webhook.receiver
    map = "mapping.js"
  }
}
`

const pouchDBMapping = `
export default ({ change, fetched }) => ({
  id: change.id, op: change.op, reason: change.data?.doc.reason ?? null, patient: fetched.patient?.doc.name ?? null,
});
`

// TestCounterpartPouchDB polls a database that nobody here wrote and that has the interface of CouchDB: what is made, changed,
// deleted and made again there arrives once each.
func TestCounterpartPouchDB(t *testing.T) {
	t.Parallel()
	s := newPouch(t)
	dir := write(t, map[string]string{"main.hcl": pouchDBHCL, "mapping.js": pouchDBMapping})
	s.call(http.MethodPut, "/visits", struct{}{})
	s.call(http.MethodPut, "/patients", struct{}{})
	for n := range 6 {
		s.call(http.MethodPut, fmt.Sprint("/patients/p", n), map[string]any{"name": fmt.Sprint("Patient ", n)})
	}
	var want []string
	visit := func(n int, op, reason string) {
		t.Helper()
		s.call(http.MethodPut, fmt.Sprint("/visits/v", n), map[string]any{"patient": fmt.Sprint("p", n%6), "reason": reason})
		want = append(want, fmt.Sprintf("v%d %s %s Patient %d", n, op, reason, n%6))
	}
	for n := range 25 {
		visit(n, "created", "first")
	}

	to, err := receiver.New(receiver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := startRun(t, dir, []string{"EHR_URL=" + s.url, "NOTIFY_URL=" + serve(t, to)})
	arrived := func() {
		t.Helper()
		p.eventually(30*time.Second, "all arrived", func() bool { return to.Accepted() >= len(want) })
	}
	arrived()
	visit(3, "updated", "second")
	visit(12, "updated", "second")
	visit(25, "created", "first")
	for _, n := range []int{4, 20} {
		s.call(http.MethodDelete, fmt.Sprint("/visits/v", n), struct{}{})
		want = append(want, fmt.Sprintf("v%d deleted <nil> <nil>", n))
	}
	arrived()
	visit(20, "created", "third")
	visit(3, "updated", "first")
	arrived()
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	var told []string
	for _, r := range to.Received(0) {
		var n struct{ ID, Op, Reason, Patient any }
		if err := json.Unmarshal(r.Body, &n); err != nil {
			t.Fatal(err)
		}
		told = append(told, fmt.Sprintf("%v %v %v %v", n.ID, n.Op, n.Reason, n.Patient))
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("told %q\nwant %q", told, want)
	}
}
