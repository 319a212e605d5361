// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sampleehr

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Faults are the bad habits of the EHR. Shares are of all requests, between 0 and 1.
type Faults struct {
	Slow         time.Duration // added to every answer
	ServerErrors float64       // share answered by 500, 502 or 503
	RateLimited  float64       // share answered by 429 with Retry-After: 1
	Resets       float64       // share whose connection is reset, half of them in the middle of the answer
	HTML         float64       // share answered by a page of HTML with status 200
	Ties         int           // Run makes that many changes within the same second
	Late         time.Duration // Run dates a third of the changes up to this long before they become visible
	Drift        int           // so many records of the pages before move to the end when a further page is read, once a second
}

// FaultNames are the names that ParseFaults knows, each with what it takes when no value is given.
const FaultNames = "slow=300ms, 5xx=0.15, 429=0.15, reset=0.1, html=0.05, ties=5, late=10s, drift=2"

// ParseFaults reads a list like "slow,5xx=0.3,late=5s".
func ParseFaults(list string) (Faults, error) {
	defaults := map[string]string{}
	for _, d := range strings.Split(FaultNames, ", ") {
		name, value, _ := strings.Cut(d, "=")
		defaults[name] = value
	}
	var f Faults
	for _, item := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, given := strings.Cut(item, "=")
		if _, known := defaults[name]; !known {
			return Faults{}, fmt.Errorf("unknown fault %q: choose from %s", name, FaultNames)
		}
		if !given {
			value = defaults[name]
		}
		if err := f.set(name, value); err != nil {
			return Faults{}, fmt.Errorf("fault %s=%s: %w", name, value, err)
		}
	}
	return f, nil
}

func (f *Faults) set(name, value string) error {
	var err error
	share := func(into *float64) {
		*into, err = strconv.ParseFloat(value, 64)
		if err == nil && !(*into >= 0 && *into <= 1) {
			err = fmt.Errorf("a share lies between 0 and 1")
		}
	}
	switch name {
	case "slow":
		f.Slow, err = time.ParseDuration(value)
	case "late":
		f.Late, err = time.ParseDuration(value)
	case "5xx":
		share(&f.ServerErrors)
	case "429":
		share(&f.RateLimited)
	case "reset":
		share(&f.Resets)
	case "html":
		share(&f.HTML)
	case "ties":
		f.Ties, err = strconv.Atoi(value)
	case "drift":
		f.Drift, err = strconv.Atoi(value)
	}
	return err
}

// SetFaults changes the EHR's habits.
func (e *EHR) SetFaults(f Faults) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = f
}

// Faults gives the EHR's habits.
func (e *EHR) Faults() Faults {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.faults
}

// fault is what befalls one request.
type fault string

const (
	none       fault = ""
	serverFail fault = "5xx"
	limited    fault = "429"
	reset      fault = "reset"
	cut        fault = "cut" // reset in the middle of the answer
	html       fault = "html"
)

// draw decides what befalls a request.
func (e *EHR) draw() (fault, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := &e.faults
	dice := e.rand.Float64()
	for _, one := range []struct {
		fault fault
		share float64
	}{{serverFail, f.ServerErrors}, {limited, f.RateLimited}, {reset, f.Resets / 2}, {cut, f.Resets / 2}, {html, f.HTML}} {
		if dice < one.share {
			return one.fault, f.Slow
		}
		dice -= one.share
	}
	return none, f.Slow
}

// answerFault answers a request as the fault wants it; status 0 stands for a connection that was reset.
func (e *EHR) answerFault(w http.ResponseWriter, f fault) (status int) {
	switch f {
	case serverFail:
		e.mu.Lock()
		status = []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}[e.rand.IntN(3)]
		e.mu.Unlock()
		return fail(w, status, "the sample EHR was asked to fail")
	case limited:
		w.Header().Set("Retry-After", "1")
		return fail(w, http.StatusTooManyRequests, "the sample EHR was asked to limit")
	case html:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!doctype html><title>Maintenance</title><p>Please log in again later.</p>")
		return http.StatusOK
	case cut:
		// More is announced than comes.
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100000")
		fmt.Fprint(w, `[{"id": "A`)
	}
	resetConnection(w)
	return 0
}

// resetConnection ends the connection by RST, as a load balancer does that lost its server.
func resetConnection(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	_ = c.Flush() // what was written so far; a failure here means that the connection is gone already
	conn, _, err := c.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // net/http's own way to drop a connection
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
