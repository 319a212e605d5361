// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package simulator is a server that behaves as athenahealth's documentation says of its changed data subscriptions: reading marks
// messages as processed, what was marked can be had again by the time of the mark, in Eastern time, a feed without a subscription
// answers 403, tokens expire, calls are counted by the day. It is for tests and the example, and no copy of the vendor's server: where
// the documentation leaves open how something is meant, Options choose.
package simulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // Eastern time, wherever it runs
)

// The feeds: the path of each, the member of an answer that holds its list, and the member of an item that identifies it.
var feeds = []struct{ path, list, id string }{
	{"appointments", "appointments", "appointmentid"},
	{"patients", "patients", "patientid"},
	{"orders", "orders", "documentid"},
}

// Options are how the server differs from the usual. The zero value is good.
type Options struct {
	Practice         string           // "": 195900, the vendor's public sandbox
	ClientID, Secret string           // "": rounds and secret
	Now              func() time.Time // nil: time.Now
	TokenLife        time.Duration    // zero: an hour
	DailyQuota       int              // calls from midnight to midnight GMT; zero: as many as one likes
	SubscribeAfter   time.Duration    // how long a subscription takes to have effect
	MaxLimit         int              // the largest page; zero: 5000
	NoNext           bool             // an answer tells how many there are in all, and not where the rest is
	// Current gives the state of a record when it is read, not that of the event.
	Current bool
	// Wall says how a local time that comes twice is read: as the "early" or the "late" instant of the two, or "": times are compared
	// as texts.
	Wall string
	// Before is asked of each call when it is about to be answered; true: it was answered.
	Before func(http.ResponseWriter, *http.Request) bool
	// After is asked of each call for what changed, when its messages are marked; true: the answer is not to be given.
	After func(http.ResponseWriter, *http.Request) bool
}

// Server is the simulated practice.
type Server struct {
	o       Options
	eastern *time.Location

	mu         sync.Mutex
	tokens     map[string]time.Time // to their ends
	issued     int
	records    map[string]map[string]json.RawMessage // by resource and id
	queues     map[string]*queue                     // by feed
	day        string
	calls      int
	subscribes int
}

type queue struct {
	subscribed time.Time // zero: never
	messages   []message
}

type message struct {
	id         string
	data       json.RawMessage
	department string
	processed  time.Time // zero: not yet
}

// New makes a practice without records and without subscriptions.
func New(o Options) *Server {
	if o.Practice == "" {
		o.Practice = "195900"
	}
	if o.ClientID == "" {
		o.ClientID, o.Secret = "rounds", "secret"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TokenLife == 0 {
		o.TokenLife = time.Hour
	}
	if o.MaxLimit == 0 {
		o.MaxLimit = 5000
	}
	eastern, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err) // time/tzdata is imported
	}
	s := &Server{
		o: o, eastern: eastern, tokens: map[string]time.Time{}, records: map[string]map[string]json.RawMessage{}, queues: map[string]*queue{},
	}
	for _, f := range feeds {
		s.queues[f.path] = &queue{}
	}
	return s
}

// Subscribe subscribes to a feed as a person does, at once.
func (s *Server) Subscribe(feed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[feed].subscribed = s.o.Now().Add(-s.o.SubscribeAfter)
}

// Subscriptions is how often a client has subscribed.
func (s *Server) Subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subscribes
}

// Set keeps a record. One of a feed to which there is a subscription makes a message: of "appointments", "patients" and "orders".
func (s *Server) Set(kind, id string, members map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	members = maps.Clone(members)
	for _, f := range feeds {
		if f.path == kind {
			members[f.id] = id
		}
	}
	if _, given := members["lastmodified"]; !given && kind == "appointments" {
		members["lastmodified"] = s.o.Now().In(s.eastern).Format(layout)
	}
	data, err := json.Marshal(members)
	if err != nil {
		panic(err) // of a test
	}
	if s.records[kind] == nil {
		s.records[kind] = map[string]json.RawMessage{}
	}
	s.records[kind][id] = data
	q := s.queues[kind]
	if q == nil || !s.active(q) {
		return
	}
	department, _ := members["departmentid"].(string)
	q.messages = append(q.messages, message{id: id, data: data, department: department})
}

// Remove forgets a record; messages of it stay.
func (s *Server) Remove(kind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records[kind], id)
}

// Waiting is how many messages of a feed were not read yet.
func (s *Server) Waiting(feed string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, m := range s.queues[feed].messages {
		if m.processed.IsZero() {
			n++
		}
	}
	return n
}

// Calls is how many calls were counted today.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Expire ends all tokens.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

func (s *Server) active(q *queue) bool {
	return !q.subscribed.IsZero() && !s.o.Now().Before(q.subscribed.Add(s.o.SubscribeAfter))
}

// ServeHTTP answers a call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", s.o.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if s.o.Before != nil && s.o.Before(w, r) {
		return
	}
	if r.URL.Path == "/oauth2/v1/token" {
		s.token(w, r)
		return
	}
	if status, text := s.admit(r); status != 0 {
		answer(w, status, map[string]any{"error": text})
		return
	}
	path, ours := strings.CutPrefix(r.URL.Path, "/v1/"+s.o.Practice+"/")
	if !ours {
		answer(w, http.StatusNotFound, map[string]any{"error": "The practice ID is invalid."})
		return
	}
	for _, f := range feeds {
		switch path {
		case f.path + "/changed":
			s.changed(w, r, f.path, f.list)
			return
		case f.path + "/changed/subscription":
			s.subscription(w, r, f.path)
			return
		}
	}
	s.resource(w, path)
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	if r.Method != http.MethodPost || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") == "" || id != s.o.ClientID ||
		secret != s.o.Secret {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	s.mu.Lock()
	s.issued++
	token := fmt.Sprintf("token-%d", s.issued)
	s.tokens[token] = s.o.Now().Add(s.o.TokenLife)
	s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": strconv.Itoa(int(s.o.TokenLife / time.Second)), "scope": r.FormValue("scope"),
	})
}

// admit looks at the token and counts the call; a status says why not.
func (s *Server) admit(r *http.Request) (status int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if end, known := s.tokens[token]; !known || !s.o.Now().Before(end) {
		return http.StatusUnauthorized, "Invalid Access Token"
	}
	if today := s.o.Now().UTC().Format(time.DateOnly); today != s.day {
		s.day, s.calls = today, 0
	}
	if s.calls++; s.o.DailyQuota > 0 && s.calls > s.o.DailyQuota {
		return http.StatusTooManyRequests, "Rate limit quota violation."
	}
	return 0, ""
}

func (s *Server) subscription(w http.ResponseWriter, r *http.Request, feed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[feed]
	switch r.Method {
	case http.MethodPost:
		s.subscribes++
		if q.subscribed.IsZero() {
			q.subscribed = s.o.Now()
		}
		answer(w, http.StatusOK, map[string]any{"success": true})
	case http.MethodGet:
		if !s.active(q) {
			answer(w, http.StatusOK, map[string]any{"status": "INACTIVE", "subscriptions": []any{}})
			return
		}
		answer(w, http.StatusOK, map[string]any{"status": "ACTIVE", "subscriptions": []any{map[string]any{"eventname": "Update"}}})
	default:
		answer(w, http.StatusMethodNotAllowed, map[string]any{"error": "Method not allowed"})
	}
}

// resource answers GET …/patients/5 and the like: a list of one, as the vendor's server does.
func (s *Server) resource(w http.ResponseWriter, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	steps := strings.Split(path, "/")
	kind, id := strings.Join(steps[:len(steps)-1], "/"), steps[len(steps)-1]
	if len(steps) == 4 && steps[0] == "chart" && steps[3] == "orders" { // chart/encounter/ID/orders
		kind, id = "chart/encounter/orders", steps[2]
	}
	if len(steps) == 5 && steps[2] == "documents" { // patients/ID/documents/order/ID
		kind = "orders"
	}
	data, known := s.records[kind][id]
	if !known {
		answer(w, http.StatusNotFound, map[string]any{"error": "The record does not exist."})
		return
	}
	answer(w, http.StatusOK, []json.RawMessage{data})
}

func answer(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // of a test
	}
	w.WriteHeader(status)
	_, _ = w.Write(data) // whoever does not wait for the answer has gone
}

const layout = "01/02/2006 15:04:05"

// changed answers what changed.
func (s *Server) changed(w http.ResponseWriter, r *http.Request, feed, list string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, query := s.queues[feed], r.URL.Query()
	if r.Method != http.MethodGet {
		answer(w, http.StatusMethodNotAllowed, map[string]any{"error": "Method not allowed"})
		return
	}
	if !s.active(q) {
		answer(w, http.StatusForbidden, map[string]any{"error": "Changed messages require setup (subscription) that has not been done."})
		return
	}
	again := query.Get("showprocessedstartdatetime") != ""
	var wanted func(time.Time) bool
	if again {
		if wanted = s.between(query.Get("showprocessedstartdatetime"), query.Get("showprocessedenddatetime")); wanted == nil {
			answer(w, http.StatusBadRequest, map[string]any{"error": "Additional fields are required.", "invalidfields": []string{"showprocessedstartdatetime"}})
			return
		}
	}
	limit, offset := number(query.Get("limit"), min(1000, s.o.MaxLimit)), number(query.Get("offset"), 0)
	limit = min(limit, s.o.MaxLimit)
	departments := strings.FieldsFunc(strings.Join(query["departmentid"], ","), func(r rune) bool { return r == ',' })
	var found []int
	for i, m := range q.messages {
		if (len(departments) == 0 || slices.Contains(departments, m.department)) &&
			(!again && m.processed.IsZero() || again && !m.processed.IsZero() && wanted(m.processed)) {
			found = append(found, i)
		}
	}
	page := found[min(offset, len(found)):]
	body := map[string]any{"totalcount": strconv.Itoa(len(found))}
	if len(page) > limit {
		page = page[:limit]
		next := r.URL.Query()
		next.Set("offset", strconv.Itoa(offset+limit))
		if !s.o.NoNext {
			body["next"] = r.URL.Path + "?" + next.Encode()
		}
	}
	items := make([]json.RawMessage, len(page))
	for i, n := range page {
		m := &q.messages[n]
		items[i] = m.data
		if now := s.records[feed][m.id]; s.o.Current && now != nil {
			items[i] = now
		}
		if !again && query.Get("leaveunprocessed") != "true" {
			m.processed = s.o.Now()
		}
	}
	body[list] = items
	if s.o.After != nil && s.o.After(w, r) {
		return
	}
	answer(w, http.StatusOK, body)
}

// between says which marks are after the one local time and before the other; nil: they are not times.
func (s *Server) between(start, end string) func(time.Time) bool {
	from, bad := time.Parse(layout, start)
	to, worse := time.Parse(layout, end)
	if bad != nil || worse != nil {
		return nil
	}
	return func(mark time.Time) bool {
		mark = mark.Truncate(time.Second)
		if s.o.Wall == "" {
			_, offset := mark.In(s.eastern).Zone()
			local := mark.UTC().Add(time.Duration(offset) * time.Second)
			return local.After(from) && local.Before(to)
		}
		return mark.After(s.instant(from)) && mark.Before(s.instant(to))
	}
}

// instant reads a local time, one that comes twice as Options say.
func (s *Server) instant(local time.Time) time.Time {
	summer, winter := local.Add(4*time.Hour), local.Add(5*time.Hour)
	wall := func(t time.Time) string { return t.In(s.eastern).Format(layout) }
	text := local.Format(layout)
	switch {
	case wall(summer) == text && wall(winter) == text && s.o.Wall == "late":
		return winter
	case wall(summer) == text:
		return summer
	}
	return winter
}

func number(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return n
	}
	return otherwise
}
