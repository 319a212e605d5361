// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rounds-engine/rounds/plugins/couchdb"
	"github.com/rounds-engine/rounds/sdk"
)

// server answers as CouchDB's documentation says that CouchDB 3 does, or with numbers, as PouchDB does.
type server struct {
	*httptest.Server
	t testing.TB

	mu        sync.Mutex
	numbers   bool
	created   string // instance_start_time of the databases that are created
	databases map[string]*database
	asked     []string // method, path and query of each call
	fail      func(w http.ResponseWriter, r *http.Request) bool
}

type database struct {
	created string
	seq     int
	docs    map[string]*document
}

type document struct {
	seq  int
	gen  int
	body map[string]any // with _id, _rev and perhaps _deleted
}

func newServer(t testing.TB) *server {
	s := &server{t: t, created: "1700000000", databases: map[string]*database{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) create(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.databases[name] = &database{created: s.created, docs: map[string]*document{}}
}

// put writes a document; nil deletes it.
func (s *server) put(name, id string, body map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.databases[name]
	d.seq++
	doc := d.docs[id]
	if doc == nil {
		doc = &document{}
		d.docs[id] = doc
	}
	doc.seq, doc.gen, doc.body = d.seq, doc.gen+1, map[string]any{"_id": id}
	if body == nil {
		doc.body["_deleted"] = true
	}
	for k, v := range body {
		doc.body[k] = v
	}
	doc.body["_rev"] = fmt.Sprintf("%d-%x", doc.gen, len(fmt.Sprint(body)))
}

func (s *server) sequence(n int) any {
	if s.numbers {
		return n
	}
	return fmt.Sprintf("%d-g1AA+/%d=", n, n)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Method+" "+r.RequestURI)
	if s.fail != nil && s.fail(w, r) {
		return
	}
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(v); err != nil {
			s.t.Error(err)
		}
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	d := s.databases[strings.ReplaceAll(name, "%2F", "/")]
	if d == nil {
		answer(404, map[string]any{"error": "not_found", "reason": "Database does not exist."})
		return
	}
	switch rest {
	case "":
		answer(200, map[string]any{"db_name": name, "update_seq": s.sequence(d.seq), "instance_start_time": d.created, "purge_seq": 0})
	case "_changes":
		s.changes(d, r, answer)
	case "_all_docs":
		s.allDocs(d, r, answer)
	default:
		answer(404, map[string]any{"error": "not_found", "reason": "missing"})
	}
}

func (s *server) changes(d *database, r *http.Request, answer func(int, any)) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || q.Get("include_docs") != "true" || q.Get("style") != "main_only" || q.Get("attachments") != "" {
		s.t.Errorf("asked for %s", r.RequestURI)
	}
	from, _, _ := strings.Cut(q.Get("since"), "-")
	since, err := strconv.Atoi(from)
	switch {
	case from == "now":
		since = d.seq
	case err != nil || q.Get("since") != "0" && q.Get("since") != fmt.Sprint(s.sequence(since)):
		answer(400, map[string]any{"error": "bad_request", "reason": "Malformed sequence supplied in 'since' parameter."})
		return
	}
	var docs []*document
	for _, doc := range d.docs {
		if doc.seq > since {
			docs = append(docs, doc)
		}
	}
	slices.SortFunc(docs, func(a, b *document) int { return a.seq - b.seq })
	left := docs[min(limit, len(docs)):]
	docs = docs[:len(docs)-len(left)]
	results, last := []any{}, max(since, 0)
	for _, doc := range docs {
		row := map[string]any{"id": doc.body["_id"], "changes": []any{map[string]any{"rev": doc.body["_rev"]}}, "doc": doc.body, "seq": nil}
		if doc.body["_deleted"] == true {
			row["deleted"] = true
		}
		results, last = append(results, row), doc.seq
	}
	if len(left) == 0 && !s.numbers {
		last = d.seq
	}
	all := map[string]any{"results": results, "last_seq": s.sequence(last)}
	if !s.numbers {
		all["pending"] = len(left)
	}
	answer(200, all)
}

func (s *server) allDocs(d *database, r *http.Request, answer func(int, any)) {
	var asked struct{ Keys []string }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		s.t.Errorf("asked by %s: %v", r.Method, err)
	}
	rows := []any{}
	for _, id := range asked.Keys {
		doc := d.docs[id]
		switch {
		case doc == nil:
			rows = append(rows, map[string]any{"key": id, "error": "not_found"})
		case doc.body["_deleted"] == true:
			rows = append(rows, map[string]any{"id": id, "key": id, "value": map[string]any{"rev": doc.body["_rev"], "deleted": true}, "doc": nil})
		default:
			rows = append(rows, map[string]any{"id": id, "key": id, "value": map[string]any{"rev": doc.body["_rev"]}, "doc": doc.body})
		}
	}
	answer(200, map[string]any{"total_rows": len(d.docs), "offset": nil, "rows": rows})
}

// calls gives what was asked since the last time.
func (s *server) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// open opens a source with the feed "visits", in pages of three, and the resource "patient".
func (s *server) open() sdk.Source {
	s.t.Helper()
	c := couchdb.Config{BaseURL: s.URL + "/", Auth: &couchdb.Auth{Kind: "basic", Username: "rounds", Password: "c4n4ry-password"},
		Feeds:     []couchdb.Feed{{Name: "visits", PageSize: 3}, {Name: "wards", Database: "ward/1+"}},
		Resources: []couchdb.Resource{{Name: "patient", Database: "patients"}}}
	source, err := couchdb.Open(s.t.Context(), c, sdk.Env{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { source.Close() })
	return source
}

// window reads all pages from q on and gives their changes in words, and the query of the next window.
func window(t testing.TB, s sdk.Source, q sdk.Query) ([]string, sdk.Query) {
	t.Helper()
	q.Feed = "visits"
	var told []string
	for range 100 {
		page, err := s.Poll(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if (page.Cursor == nil) == (page.Watermark == nil) {
			t.Fatalf("page with cursor %s and watermark %s", page.Cursor, page.Watermark)
		}
		for _, c := range page.Changes {
			if c.Err != nil || c.Ref.Kind != "visits" {
				t.Errorf("change %+v", c)
			}
			told = append(told, fmt.Sprintf("%s %s %s %s", c.Ref.ID, c.Op, c.Version, bytes.TrimSpace(c.Data)))
		}
		if page.Cursor == nil {
			return told, sdk.Query{Watermark: page.Watermark}
		}
		q.Cursor = page.Cursor
	}
	t.Fatal("the window does not end")
	return nil, q
}
