// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package receiver is the other end of a webhook: it takes every notification, remembers in which order they came, and
// fails on request. The demo shows what arrives there, the end-to-end tests and the benchmark count it.
package receiver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Options say what the receiver does beside taking. The zero value is usable.
type Options struct {
	Secret    string         // whsec_…: signatures are checked
	Seed      uint64         // of the faults
	Digest    bool           // keeps no bodies, for runs of hours
	OnReceive func(Received) // told of every request after its answer
}

// Faults are the bad habits of the receiver. Shares are of all requests, between 0 and 1.
type Faults struct {
	Status  int           // answered instead of 204 to the share Failing
	Failing float64       // 1: all
	Closing float64       // share whose connection is closed without an answer, the request being read or not
	Latency time.Duration // before every answer
	Only    string        // the faults befall only notifications of this patient; empty: all
}

// Received is one request as it arrived.
type Received struct {
	Number    int             `json:"number"` // in the order of arrival, 1 is the first
	Time      time.Time       `json:"time"`
	Path      string          `json:"path"`      // of the URL
	ID        string          `json:"id"`        // webhook-id
	Signature string          `json:"signature"` // "valid", "invalid"; "unchecked" without a secret
	Status    int             `json:"status"`    // as answered; 0: the connection was closed
	Hash      string          `json:"hash"`      // SHA-256 of the body
	Visit     string          `json:"visit"`
	Patient   string          `json:"patient"`
	Event     string          `json:"event"`
	Version   string          `json:"version"` // Meta.EventDateTime
	Bytes     int             `json:"bytes"`
	Body      json.RawMessage `json:"-"`
}

// Accepted tells whether the sender was told that it arrived.
func (r Received) Accepted() bool { return r.Status >= 200 && r.Status < 300 }

// Receiver is an http.Handler that takes POST on any path.
type Receiver struct {
	opt    Options
	verify *standardwebhooks.Webhook

	mu       sync.Mutex
	rand     *rand.Rand
	faults   Faults
	received []Received
	accepted int
	arrived  chan struct{} // closed and made anew by every arrival
}

// New makes a receiver.
func New(o Options) (*Receiver, error) {
	r := &Receiver{opt: o, rand: rand.New(rand.NewPCG(o.Seed, 2)), arrived: make(chan struct{})}
	if o.Secret != "" {
		var err error
		if r.verify, err = standardwebhooks.NewWebhook(o.Secret); err != nil {
			return nil, fmt.Errorf("the receiver's secret is not whsec_ and base64")
		}
	}
	return r, nil
}

// SetFaults changes the receiver's habits.
func (r *Receiver) SetFaults(f Faults) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = f
}

func (r *Receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := readBody(q)
	if err != nil {
		http.Error(w, "the body did not arrive whole", http.StatusBadRequest)
		return
	}
	got := Received{Time: time.Now(), Path: q.URL.Path, ID: q.Header.Get("webhook-id"), Bytes: len(body), Body: body, Signature: "unchecked"}
	if r.verify != nil {
		got.Signature = "valid"
		if r.verify.Verify(body, q.Header) != nil {
			got.Signature = "invalid"
		}
	}
	if r.opt.Digest {
		got.digest()
		got.Body = nil
	}
	latency := r.take(&got)
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-q.Context().Done():
		}
	}
	if r.opt.OnReceive != nil {
		r.opt.OnReceive(got.full())
	}
	if got.Status == 0 {
		panic(http.ErrAbortHandler) // net/http's own way to drop a connection
	}
	w.WriteHeader(got.Status)
}

func readBody(q *http.Request) ([]byte, error) {
	if q.ContentLength < 0 {
		return io.ReadAll(q.Body)
	}
	body := make([]byte, q.ContentLength)
	_, err := io.ReadFull(q.Body, body)
	return body, err
}

// take decides the answer and puts the request into the order of arrival.
func (r *Receiver) take(got *Received) (latency time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got.Status = http.StatusNoContent
	f := &r.faults
	if f.Only == "" || got.full().Patient == f.Only {
		latency = f.Latency
		switch dice := r.rand.Float64(); {
		case dice < f.Closing:
			got.Status = 0
		case dice < f.Closing+f.Failing:
			got.Status = f.Status
		}
	}
	got.Number = len(r.received) + 1
	r.received = append(r.received, *got)
	if got.Accepted() {
		r.accepted++
	}
	close(r.arrived)
	r.arrived = make(chan struct{})
	return latency
}

// digest fills what is read of the body, which need not be a notification of Redox' Scheduling model.
func (r *Received) digest() {
	sum := sha256.Sum256(r.Body)
	r.Hash = hex.EncodeToString(sum[:])
	var n struct {
		Meta    struct{ EventType, EventDateTime string }
		Patient struct{ Identifiers []struct{ ID string } }
		Visit   struct{ VisitNumber string }
	}
	if json.Unmarshal(r.Body, &n) != nil {
		return // what is no such notification has none of these
	}
	r.Event, r.Version, r.Visit = n.Meta.EventType, n.Meta.EventDateTime, n.Visit.VisitNumber
	if len(n.Patient.Identifiers) > 0 {
		r.Patient = n.Patient.Identifiers[0].ID
	}
}

func (r Received) full() Received {
	if r.Hash == "" {
		r.digest()
	}
	return r
}

// Received gives the requests in the order of arrival from number `after` on, exclusive; refused ones as well.
func (r *Receiver) Received(after int) []Received {
	r.mu.Lock()
	all := slices.Clone(r.received[min(after, len(r.received)):])
	r.mu.Unlock()
	for i := range all {
		all[i] = all[i].full()
	}
	return all
}

// Accepted counts the requests that were answered by 2xx.
func (r *Receiver) Accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted
}

// Arrived gives a channel that is closed by the next arrival.
func (r *Receiver) Arrived() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.arrived
}

// Control is the receiver's remote control, for programs that run it as a process:
//
//	GET /count       how many were accepted
//	GET /received    all requests without their bodies
//	GET /body?n=1    one body, by number of arrival
//	POST /forget     begins anew
func (r *Receiver) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, r.Accepted()) })
	mux.HandleFunc("GET /received", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r.Received(0))
	})
	mux.HandleFunc("GET /body", func(w http.ResponseWriter, q *http.Request) {
		var n int
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, err := fmt.Sscan(q.URL.Query().Get("n"), &n); err != nil || n < 1 || n > len(r.received) {
			http.Error(w, "no such number", http.StatusNotFound)
			return
		}
		_, _ = w.Write(r.received[n-1].Body)
	})
	mux.HandleFunc("POST /forget", func(http.ResponseWriter, *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.received, r.accepted = nil, 0
	})
	return mux
}
