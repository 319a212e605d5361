// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"cmp"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/orthanc"
	"github.com/rounds-engine/rounds/sdk"
)

const (
	user     = "poller"
	password = "c4n4ry-password"
)

// entry is a change as Orthanc lists it.
type entry struct {
	ChangeType, Date, ID, Path, ResourceType string
	Seq                                      int64
}

// server is an Orthanc as far as the adapter asks it, with what version 1.10.1 answers, as TestCounterpartOrthanc has it.
type server struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	seq      int64 // given out last
	list     []entry
	there    map[string]bool   // paths of what is stored, and whether it is stable
	parents  map[string]string // by path
	clock    time.Time         // of the dates, in UTC
	behind   time.Duration     // of what it says of its clock, behind that of this machine
	zone     *time.Location    // in which it writes them
	asked    []string
	refused  map[string]bool  // paths that the user may not ask for
	override http.HandlerFunc // takes the place of all answers, if it is given
}

func newServer(t testing.TB) *server {
	s := &server{t: t, there: map[string]bool{}, parents: map[string]string{}, clock: utc("2026-05-10T10:00:00Z"), zone: time.UTC}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	return s
}

func utc(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// id is what Orthanc makes of DICOM identifiers.
func id(of ...any) string {
	h := fmt.Sprintf("%x", sha1.Sum(fmt.Append(nil, of...)))
	return strings.Join([]string{h[:8], h[8:16], h[16:24], h[24:32], h[32:]}, "-")
}

// levels of one file of a study, from below.
func levelsOf(patient, study string, instance int) [][3]string {
	return [][3]string{
		{"Instance", "instances", id(patient, study, instance)}, {"Series", "series", id(patient, study)},
		{"Study", "studies", id("study", patient, study)}, {"Patient", "patients", id("patient", patient)},
	}
}

func (s *server) log(event, resource, path string) {
	s.seq++
	s.list = append(s.list, entry{ChangeType: event, Date: s.clock.In(s.zone).Format("20060102T150405"), ID: path[strings.LastIndex(path, "/")+1:],
		Path: path, ResourceType: resource, Seq: s.seq})
}

// store stores a file, overwriting it if it is there (OverwriteInstances), and gives the study's id.
func (s *server) store(patient, study string, instance int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	levels := levelsOf(patient, study, instance)
	if path := "/instances/" + levels[0][2]; has(s.there, path) {
		s.drop(path)
	}
	below := ""
	for _, l := range levels {
		path := "/" + l[1] + "/" + l[2]
		if !has(s.there, path) {
			s.log("New"+l[0], l[0], path)
		}
		if s.there[path] = l[0] == "Instance"; below != "" {
			s.parents[below] = path
		}
		below = path
	}
	return levels[2][2]
}

// settle says of all that is not stable that it is.
func (s *server) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range [][2]string{{"Series", "/series/"}, {"Study", "/studies/"}, {"Patient", "/patients/"}} {
		var paths []string
		for path, stable := range s.there {
			if !stable && strings.HasPrefix(path, resource[1]) {
				paths = append(paths, path)
			}
		}
		slices.Sort(paths)
		for _, path := range paths {
			s.there[path] = true
			s.log("Stable"+resource[0], resource[0], path)
		}
	}
}

// restart forgets what is not stable, which is then taken for stable.
func (s *server) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range s.there {
		s.there[path] = true
	}
}

// drop deletes something with all that belongs to it and what it leaves empty, and with all that the list says of them.
func (s *server) drop(path string) {
	if !has(s.there, path) {
		return
	}
	delete(s.there, path)
	s.list = slices.DeleteFunc(s.list, func(e entry) bool { return e.Path == path })
	siblings := false
	for other := range s.there {
		if s.parents[other] == path {
			s.drop(other)
		}
		siblings = siblings || s.parents[other] == s.parents[path]
	}
	if parent := s.parents[path]; !siblings && parent != "" {
		s.drop(parent)
	}
}

func (s *server) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(path)
}

// empty deletes all that is stored; the numbers go on.
func (s *server) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.there)
	s.list = nil
}

// without has the server refuse a path.
func (s *server) without(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = map[string]bool{path: true}
}

// forget is DELETE /changes.
func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

// renew is a database that was made anew.
func (s *server) renew() {
	s.empty()
	s.seq = 0
}

func (s *server) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

// calls since the last time that they were asked for.
func (s *server) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func has(m map[string]bool, key string) bool { _, ok := m[key]; return ok }

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.RequestURI)
	w.Header()["Date"] = nil
	if s.override != nil {
		s.override(w, r)
		return
	}
	if name, pass, _ := r.BasicAuth(); name != user || pass != password {
		w.Header().Set("WWW-Authenticate", `Basic realm="Orthanc Secure Area"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	stable, stored := s.there[r.URL.Path]
	switch {
	case s.refused[r.URL.Path]:
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path == "/changes":
		s.changes(w, r)
	case r.URL.Path == "/tools/now":
		fmt.Fprint(w, time.Now().UTC().Add(-s.behind).Format("20060102T150405"))
	case stored:
		_ = json.NewEncoder(w).Encode(map[string]any{"ID": r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], "IsStable": stable})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *server) changes(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since, err := strconv.ParseInt(cmp.Or(q.Get("since"), "0"), 10, 64)
	limit, err2 := strconv.ParseUint(cmp.Or(q.Get("limit"), "100"), 10, 32)
	if err != nil || err2 != nil { // it says nothing of it
		since, limit = 0, 100
	}
	var page []entry
	done := true
	switch {
	case q.Has("last"):
		page = s.list[max(0, len(s.list)-1):]
	default:
		for _, e := range s.list {
			if e.Seq > since {
				page = append(page, e)
			}
		}
		if done = len(page) <= int(limit); !done {
			page = page[:limit]
		}
	}
	last := s.seq
	if len(page) > 0 {
		last = page[len(page)-1].Seq
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"Changes": append([]entry{}, page...), "Done": done, "Last": last})
}

// text is a configuration in the form in which it comes from the engine; more is further JSON of it.
func (s *server) text(more string) string {
	return fmt.Sprintf(`{"base_url": %q, "username": %q, "password": %q%s}`, s.URL, user, password, more)
}

func (s *server) open(more string) sdk.Source {
	s.t.Helper()
	return open(s.t, s.text(more))
}

func open(t testing.TB, config string) sdk.Source {
	t.Helper()
	source, err := orthanc.Open(t.Context(), decode(t, config), sdk.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	return source
}

// reader polls a feed as the engine does, and has what it was given.
type reader struct {
	t      testing.TB
	source sdk.Source
	query  sdk.Query
	given  []sdk.Change
	notes  []string
	pages  int
}

// read reads a window, and gives its changes as texts of event, version and what follows the first dash of the id.
func (r *reader) read() []string {
	r.t.Helper()
	told, err := r.try()
	if err != nil {
		r.t.Fatal(err)
	}
	return told
}

func (r *reader) try() ([]string, error) {
	var told []string
	for {
		page, err := r.source.Poll(r.t.Context(), r.query)
		if err != nil {
			return told, err
		}
		r.pages++
		for _, c := range page.Changes {
			r.given = append(r.given, c)
			told = append(told, c.Event+" "+c.Version)
		}
		for _, n := range page.Notes {
			r.notes = append(r.notes, n.Code)
		}
		if (page.Cursor == nil) == (page.Watermark == nil) {
			r.t.Fatalf("a page with cursor %s and watermark %s", page.Cursor, page.Watermark)
		}
		if r.query.Cursor = page.Cursor; page.Cursor == nil {
			r.query.Watermark = page.Watermark
			return told, nil
		}
		if r.pages > 10_000 {
			r.t.Fatal("the pages do not end")
		}
	}
}

// reads checks what a window gives.
func (r *reader) reads(want ...string) {
	r.t.Helper()
	if got := r.read(); !slices.Equal(got, want) {
		r.t.Errorf("read %q, want %q", got, want)
	}
}

func (r *reader) fails(code sdk.Code, text string) {
	r.t.Helper()
	got, err := r.try()
	if sdk.CodeOf(err) != code || !strings.Contains(err.Error(), text) || len(got) > 0 {
		r.t.Errorf("got %v and %q\nwant %s: %s", err, got, code, text)
	}
}

func (s *server) reader(feed, more string) *reader {
	s.t.Helper()
	return &reader{t: s.t, source: s.open(more), query: sdk.Query{Feed: feed}}
}
