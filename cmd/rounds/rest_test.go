// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const laboratoryHCL = `
source "rest" "laboratory" {
  base_url = env("LAB_URL")
  headers  = { X-Tenant = secret("tenant") }
  auth "oauth2" {
    token_url     = "${env("LOGIN_URL")}/oauth2/token"
    client_id     = "rounds"
    client_secret = secret("client")
  }
  feed "results" {
    method = "POST"
    path   = "/results/search"
    body = {
      filter = { updatedFrom = "{since}", limit = 12345678901234567890 }
    }
    items   = "hits"
    id      = "number"
    version = "revision"
    time    = "updated"
    since {
      format = "unix_ms"
    }
    page "offset" {
      param      = "paging.from"
      first      = 0
      size       = 7
      size_param = "paging.size"
      total      = "total"
    }
    include "patient" {
      path = "order.patient"
      id   = "mrn"
    }
  }
  resource "patient" {
    path  = "/patients"
    query = { mrn = "{ids}" }
    batch {
      items = "patients"
      id    = "mrn"
    }
  }
}

destination "webhook" "receiver" {
  url = env("NOTIFY_URL")
  allow_private = true
}

pipeline "results" {
  poll {
    feed  = source.rest.laboratory.feed.results
    every = "1s"
    start = "beginning"
  }
  fetch "patient" {
    id = change.data.mrn
  }
  deliver "receiver" {
    to  = destination.webhook.receiver
    map = "result.js"
  }
}
`

// laboratory is an API that is asked by POST, in counted pages, with tokens that live for three seconds; it embeds the patients
// of every other result, and gives out the others by the batch.
type laboratory struct {
	t *testing.T

	mu       sync.Mutex
	updated  []int64 // of each result, in milliseconds
	revision []int
	tokens   map[string]time.Time // until when each is accepted
	fetched  []string             // patients that were asked for
}

const labResults = 23

func newLaboratory(t *testing.T) *laboratory {
	lab := &laboratory{t: t, revision: make([]int, labResults), tokens: map[string]time.Time{}}
	begin := time.Now().Add(-time.Hour).UnixMilli()
	for n := range labResults {
		lab.updated = append(lab.updated, begin+int64(n))
	}
	return lab
}

// correct makes a new revision of a result.
func (l *laboratory) correct(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.updated[n], l.revision[n] = time.Now().UnixMilli(), l.revision[n]+1
}

func patientJSON(mrn string) map[string]any {
	return map[string]any{"mrn": mrn, "name": "name of " + mrn}
}

func (l *laboratory) token(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != "rounds" || password != "c4n4ry-secret" || r.PostFormValue("grant_type") != "client_credentials" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	token := fmt.Sprint("c4n4ry-token-", len(l.tokens))
	l.tokens[token] = time.Now().Add(3 * time.Second)
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": 3})
}

func (l *laboratory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := l.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if time.Now().After(until) || r.Header.Get("X-Tenant") != "c4n4ry-tenant" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/patients" {
		var found []any
		for _, mrn := range strings.Split(r.URL.Query().Get("mrn"), ",") {
			l.fetched = append(l.fetched, mrn)
			found = append([]any{patientJSON(mrn)}, found...)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"patients": found})
		return
	}
	var asked struct {
		Filter struct {
			UpdatedFrom int64
			Limit       json.Number
		}
		Paging struct{ From, Size int }
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Filter.Limit != "12345678901234567890" || asked.Paging.Size != 7 {
		l.t.Errorf("asked with %+v, %v", asked, err)
	}
	hits := []map[string]any{}
	for n := range l.updated {
		mrn := fmt.Sprint("c4n4ry-mrn-", n)
		hit := map[string]any{"number": n, "revision": l.revision[n], "updated": l.updated[n], "mrn": mrn}
		if n%2 == 0 {
			hit["order"] = map[string]any{"patient": patientJSON(mrn)}
		}
		if l.updated[n] >= asked.Filter.UpdatedFrom {
			hits = append(hits, hit)
		}
	}
	total := len(hits)
	hits = hits[min(asked.Paging.From, total):min(asked.Paging.From+7, total)]
	_ = json.NewEncoder(w).Encode(map[string]any{"hits": hits, "total": total})
}

func TestAnAPIThatIsAskedByPOSTWithTokensAndCountedPagesIsReadThroughTheWholeWay(t *testing.T) {
	t.Parallel()
	lab := newLaboratory(t)
	var mu sync.Mutex
	var arrived []string
	receive := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var n struct{ ID, Version, Patient string }
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		arrived = append(arrived, n.ID+" "+n.Version)
		if n.Patient != "name of c4n4ry-mrn-"+n.ID {
			t.Errorf("result %s came with the patient %q", n.ID, n.Patient)
		}
	})
	dir := write(t, map[string]string{"main.hcl": laboratoryHCL, "tenant": "c4n4ry-tenant", "client": "c4n4ry-secret\n",
		"result.js": "export default ({ change, fetched }) => ({ ID: change.id, Version: change.version, Patient: fetched.patient.name });"})
	p := startRun(t, dir, []string{"LAB_URL=" + serve(t, lab), "LOGIN_URL=" + serve(t, http.HandlerFunc(lab.token)),
		"NOTIFY_URL=" + serve(t, receive), "CREDENTIALS_DIRECTORY=" + dir})
	count := func(n int) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return len(arrived) >= n }
	}
	p.eventually(30*time.Second, "all results arrived", count(labResults))
	lab.mu.Lock()
	embedded := slices.ContainsFunc(lab.fetched, func(mrn string) bool { return strings.HasSuffix(mrn, "-2") })
	issued := len(lab.tokens)
	lab.mu.Unlock()
	if embedded {
		t.Error("a patient was asked for who came with the results")
	}
	p.eventually(30*time.Second, "tokens were renewed", func() bool { lab.mu.Lock(); defer lab.mu.Unlock(); return len(lab.tokens) > issued+1 })
	lab.correct(4)
	lab.correct(5)
	p.eventually(30*time.Second, "the corrections arrived", count(labResults+2))
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	var want []string
	for n := range labResults {
		want = append(want, fmt.Sprint(n, " 0"))
	}
	want = append(want, "4 1", "5 1")
	slices.Sort(want)
	slices.Sort(arrived)
	if !slices.Equal(arrived, want) {
		t.Errorf("arrived %v, want %v", arrived, want)
	}
	if strings.Contains(p.log.String(), "c4n4ry") {
		t.Error("a secret or an identifier is in the log")
	}
}
