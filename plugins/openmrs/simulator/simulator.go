// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package simulator is a server that behaves like the atomfeed modules of OpenMRS and its REST module, as far as the adapter asks them: for
// tests and for the example. It was written from the modules' source (see package openmrs), and not against a running OpenMRS.
package simulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// root is the path of the web application.
const root = "/openmrs"

// Options say how the server is configured. The zero value is good.
type Options struct {
	PageSize int    // entries on a page; 0: five, as the modules are installed
	Host     string // what the server takes for its own scheme and host in links; empty: that of the request
	Username string // of the user who may read; empty: everybody may
	Password string
	Linked   bool             // contents are objects of paths and categories tell what was done, as of the newer module
	Now      func() time.Time // nil: the clock of this machine
}

// Server keeps records and the events of their saving.
type Server struct {
	o Options

	mu      sync.Mutex
	ids     int
	events  []event // by id
	records map[string]map[string]any
	asked   []string
}

type event struct {
	id       int
	uuid     string
	title    string
	category string
	action   string
	record   string // path below root, without its query
	at       time.Time
}

// New makes a server without records.
func New(o Options) *Server {
	o.PageSize = cmp.Or(o.PageSize, 5)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{o: o, records: map[string]map[string]any{}}
}

// Save stores a record of a kind, such as "patient", and publishes the event.
func (s *Server) Save(kind, uuid string, record map[string]any) { s.Begin(kind, uuid, record)() }

// Begin is Save in a transaction that lasts until commit is called: the event gets its number now, and can be seen then.
func (s *Server) Begin(kind, uuid string, record map[string]any) (commit func()) {
	action := "UPDATED"
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[kind+"/"+uuid] == nil {
		action = "CREATED"
	}
	return s.begin(kind, uuid, action, record)
}

// Purge removes a record for good, and publishes that.
func (s *Server) Purge(kind, uuid string) {
	s.mu.Lock()
	commit := s.begin(kind, uuid, "DELETED", nil)
	s.mu.Unlock()
	commit()
}

func (s *Server) begin(kind, uuid, action string, record map[string]any) func() {
	s.ids++
	e := event{id: s.ids, uuid: fmt.Sprintf("%08x-0000-4000-8000-%012x", s.ids*7919, s.ids), title: strings.ToUpper(kind[:1]) + kind[1:],
		category: kind, action: action, record: "/ws/rest/v1/" + kind + "/" + uuid, at: s.o.Now().UTC()}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if record == nil {
			delete(s.records, kind+"/"+uuid)
		} else {
			record["uuid"] = uuid
			s.records[kind+"/"+uuid] = record
		}
		at, _ := slices.BinarySearchFunc(s.events, e, func(a, b event) int { return a.id - b.id })
		s.events = slices.Insert(s.events, at, e)
	}
}

// Forget drops all events, as when the tables of the module are emptied or an old backup is restored.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
}

// Asked gives the paths that were asked for since the last time.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.URL.Path)
	if user, password, _ := r.BasicAuth(); s.o.Username != "" && (user != s.o.Username || password != s.o.Password) {
		http.Error(w, "not logged in", http.StatusUnauthorized)
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, root)
	if category, page, found := strings.Cut(strings.TrimPrefix(path, "/ws/atomfeed/"), "/"); ok && found && strings.HasPrefix(path, "/ws/atomfeed/") {
		s.feed(w, r, category, page)
		return
	}
	record := s.records[strings.TrimPrefix(path, "/ws/rest/v1/")]
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	if !ok || record == nil {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error": {"message": "Object with given uuid doesn't exist"}}`)
		return
	}
	_ = json.NewEncoder(w).Encode(record) // the caller may have gone
}

// feed answers a page: a number, or "recent". A page that there is not is an error of the server, as the module throws.
func (s *Server) feed(w http.ResponseWriter, r *http.Request, category, page string) {
	var events []event
	for _, e := range s.events {
		if e.category == category {
			events = append(events, e)
		}
	}
	pages := (len(events) + s.o.PageSize - 1) / s.o.PageSize
	n, err := strconv.Atoi(page)
	if page == "recent" {
		n = pages
	} else if err != nil || n < 1 || n > pages {
		http.Error(w, "feed does not exist", http.StatusInternalServerError)
		return
	}
	events = events[min(max(n-1, 0)*s.o.PageSize, len(events)):min(n*s.o.PageSize, len(events))]
	host := cmp.Or(s.o.Host, "http://"+r.Host) + root + "/ws/atomfeed/" + category + "/"
	var b strings.Builder
	link := func(rel, page string) {
		fmt.Fprintf(&b, "  <link rel=%q type=\"application/atom+xml\" href=%q />\n", rel, host+page)
	}
	updated := s.o.Now().UTC().Truncate(24 * time.Hour)
	if len(events) > 0 {
		updated = events[len(events)-1].at
	}
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n  <title>Patient AOP</title>\n")
	link("self", page)
	if page == "recent" {
		link("via", strconv.Itoa(n))
	}
	if n < pages {
		link("next-archive", strconv.Itoa(n+1))
	}
	if n > 1 {
		link("prev-archive", strconv.Itoa(n-1))
	}
	fmt.Fprintf(&b, "  <author>\n    <name>OpenMRS</name>\n  </author>\n  <id>bec795b1-3d17-451d-b43e-a094019f6984+%d</id>\n"+
		"  <generator uri=\"https://github.com/ICT4H/atomfeed\">OpenMRS Feed Publisher</generator>\n  <updated>%s</updated>\n",
		n, updated.Format(time.RFC3339))
	for _, e := range events {
		categories, content := []string{e.category}, root+e.record+"?v=full"
		if s.o.Linked {
			categories, content = append(categories, e.action), `{"rest":"`+e.record+`?v=full"}`
		}
		fmt.Fprintf(&b, "  <entry>\n    <title>%s</title>\n", e.title)
		for _, c := range categories {
			fmt.Fprintf(&b, "    <category term=%q />\n", c)
		}
		at := e.at.Format(time.RFC3339)
		fmt.Fprintf(&b, "    <id>tag:atomfeed.ict4h.org:%s</id>\n    <updated>%s</updated>\n    <published>%s</published>\n"+
			"    <content type=\"application/vnd.atomfeed+xml\"><![CDATA[%s]]></content>\n  </entry>\n", e.uuid, at, at, content)
	}
	b.WriteString("</feed>\n")
	w.Header().Set("Content-Type", "application/atom+xml;charset=ISO-8859-1")
	fmt.Fprint(w, b.String())
}
