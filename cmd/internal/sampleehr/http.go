// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sampleehr

import (
	"bufio"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Request is one request of the API with its answer.
type Request struct {
	Endpoint string // "appointments" or "patient"
	ID       string // of the patient
	Since    string // changedsince, as it was asked
	Page     int    // of the appointments, 1 is the first; 0 for a cursor
	Items    int    // in the answer
	Status   int    // 0: the connection was reset
	Fault    string // which fault befell it, if any
}

// The API:
//
//	GET /appointments?changedsince=2006-01-02T15:04:05   appointments changed since, inclusive, oldest change first: an array
//	    &limit=N&page=P    a page of them, counted from 1, with a Link rel=next: pages shift when something changes meanwhile
//	GET /v2/appointments?changedsince=…&limit=N&cursor=C the same as {"items": […], "next": "C"}, with a Link as well; a
//	    cursor stands for a place in the order of changes, so that these pages do not shift
//	GET /patient/{id}
func (e *EHR) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /appointments", e.serve("appointments", e.appointments))
	mux.HandleFunc("GET /v2/appointments", e.serve("appointments", e.cursorPage))
	mux.HandleFunc("GET /patient/{id}", e.serve("patient", e.patient))
	return mux
}

func (e *EHR) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.mux.ServeHTTP(w, r) }

// serve counts, checks the credentials, lets faults happen and tells the hook.
func (e *EHR) serve(endpoint string, answer func(http.ResponseWriter, *http.Request, *Request) int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := Request{Endpoint: endpoint}
		e.mu.Lock()
		e.calls[endpoint]++
		e.mu.Unlock()
		f, slow := e.draw()
		if slow > 0 {
			select {
			case <-time.After(slow):
			case <-r.Context().Done():
			}
		}
		w.Header().Set("Date", e.opt.Now().UTC().Format(http.TimeFormat))
		switch {
		case !e.allowed(r):
			w.Header().Set("WWW-Authenticate", `Basic realm="sample EHR", Bearer`)
			q.Status = fail(w, http.StatusUnauthorized, "credentials are missing or wrong")
		case f != none:
			q.Fault, q.Status = string(f), e.answerFault(w, f)
		default:
			q.Status = answer(w, r, &q)
		}
		if e.opt.OnRequest != nil {
			e.opt.OnRequest(q)
		}
	}
}

func (e *EHR) allowed(r *http.Request) bool {
	want := ""
	switch {
	case e.opt.Token != "":
		want = "Bearer " + e.opt.Token
	case e.opt.User != "":
		want = "Basic " + base64.StdEncoding.EncodeToString([]byte(e.opt.User+":"+e.opt.Password))
	default:
		return true
	}
	return subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) == 1
}

func fail(w http.ResponseWriter, status int, text string) int {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\"error\": %q}\n", text)
	return status
}

func (e *EHR) patient(w http.ResponseWriter, r *http.Request, q *Request) int {
	q.ID = r.PathValue("id")
	e.mu.Lock()
	p, there := e.patients[q.ID]
	e.mu.Unlock()
	if !there {
		return fail(w, http.StatusNotFound, "no such patient")
	}
	q.Items = 1
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(p.json)
	return http.StatusOK
}

// since reads changedsince. A local time that exists twice, in the hour when summer time ends, is taken for the earlier.
func (e *EHR) since(r *http.Request, q *Request) (int64, error) {
	q.Since = r.URL.Query().Get("changedsince")
	t, err := time.ParseInLocation(Layout, q.Since, e.opt.Zone)
	if err != nil {
		return 0, fmt.Errorf("changedsince must be a local time like %s", Layout)
	}
	if earlier := t.Add(-time.Hour); earlier.Format(Layout) == q.Since {
		t = earlier
	}
	return t.Unix(), nil
}

func number(r *http.Request, name string, absent int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s must be a number above 0", name)
	}
	return n, nil
}

func (e *EHR) appointments(w http.ResponseWriter, r *http.Request, q *Request) int {
	since, err := e.since(r, q)
	limit, err2 := number(r, "limit", e.opt.PageSize)
	page, err3 := number(r, "page", 1)
	for _, err := range []error{err, err2, err3} {
		if err != nil {
			return fail(w, http.StatusBadRequest, err.Error())
		}
	}
	q.Page = page
	skip := (page - 1) * limit
	if page > 1 {
		e.drift(since, skip)
	}
	items, more := e.page(since, 0, skip, limit)
	if more {
		next := r.URL.Query()
		next.Set("limit", strconv.Itoa(limit))
		next.Set("page", strconv.Itoa(page+1))
		link(w, r, next)
	}
	q.Items = len(items)
	writeArray(w, "", items, "")
	return http.StatusOK
}

func (e *EHR) cursorPage(w http.ResponseWriter, r *http.Request, q *Request) int {
	since, err := e.since(r, q)
	limit, err2 := number(r, "limit", 100)
	change := uint64(0)
	q.Page = 1
	if cursor := r.URL.Query().Get("cursor"); cursor != "" {
		q.Page = 0
		at, number, ok := strings.Cut(cursor, "-")
		var err3, err4 error
		since, err3 = strconv.ParseInt(at, 10, 64)
		change, err4 = strconv.ParseUint(number, 10, 64)
		if !ok || err3 != nil || err4 != nil {
			return fail(w, http.StatusBadRequest, "this cursor was not given out here")
		}
	}
	for _, err := range []error{err, err2} {
		if err != nil {
			return fail(w, http.StatusBadRequest, err.Error())
		}
	}
	items, more := e.page(since, change, 0, limit)
	end := `,"next":null}`
	if more {
		last := items[len(items)-1]
		cursor := fmt.Sprintf("%d-%d", last.updated, last.change+1)
		next := r.URL.Query()
		next.Set("cursor", cursor)
		link(w, r, next)
		end = fmt.Sprintf(`,"next":%q}`, cursor)
	}
	q.Items = len(items)
	writeArray(w, `{"items":`, items, end)
	return http.StatusOK
}

// item is an appointment at the time of the answer; the bytes are never written again.
type item struct {
	json    []byte
	updated int64
	change  uint64
}

// page gives at most limit appointments (0: all) from a place in the order on, and whether there are more.
func (e *EHR) page(since int64, change uint64, skip, limit int) ([]item, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	from, _ := e.find(since, change)
	from = min(from+skip, len(e.order))
	to := len(e.order)
	if limit > 0 {
		to = min(to, from+limit)
	}
	items := make([]item, 0, to-from)
	for _, r := range e.order[from:to] {
		items = append(items, item{r.json, r.updated, r.change})
	}
	return items, to < len(e.order)
}

// drift edits some of the records that were on earlier pages of a list, which moves them to its end and the others up; at
// most once a second, or nobody could ever read a list to its end.
func (e *EHR) drift(since int64, read int) {
	e.mu.Lock()
	var changes []Change
	now := e.opt.Now().Unix()
	if e.drifted == now {
		read = 0
	}
	from, _ := e.find(since, 0)
	for i := range min(e.faults.Drift, read) {
		if from >= len(e.order) {
			break
		}
		c, err := e.update(e.order[from].ID, time.Time{}, func(a *Appointment) {
			e.edits++
			a.Comment = fmt.Sprintf("Edit %d, change %d while the list was read", e.edits, i+1)
		})
		if err != nil {
			break
		}
		changes = append(changes, c)
		e.drifted = now
	}
	e.mu.Unlock()
	for _, c := range changes {
		e.tell(c, nil)
	}
}

func link(w http.ResponseWriter, r *http.Request, query url.Values) {
	next := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: query.Encode()}
	w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
}

func writeArray(w http.ResponseWriter, before string, items []item, after string) {
	n := len(before) + 2 + len(after)
	for _, i := range items {
		n += len(i.json) + 1
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(n-min(1, len(items))))
	b := bufio.NewWriterSize(w, 64<<10)
	put := func(part []byte) { _, _ = b.Write(part) } // an error stays in b: the client has gone, nobody is left to be told
	put([]byte(before + "["))
	for i, one := range items {
		if i > 0 {
			put([]byte(","))
		}
		put(one.json)
	}
	put([]byte("]" + after))
	_ = b.Flush()
}
