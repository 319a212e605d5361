// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

// pouch is a server with CouchDB's interface that nobody here wrote, and what was written to it.
type pouch struct {
	t         *testing.T
	url       string
	revisions map[string]string // of the documents that are there, by path
}

func newPouch(t *testing.T) *pouch {
	port := freePort(t)
	s := &pouch{t: t, url: "http://127.0.0.1:" + port, revisions: map[string]string{}}
	node(t, func(string) {}, "../../examples/couchdb/server.cjs", port, filepath.Join(t.TempDir(), "pouchdb.log"))
	eventually(t, 20*time.Second, "PouchDB listens", func() bool {
		resp, err := http.Get(s.url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// call writes a document, or makes or deletes a database.
func (s *pouch) call(method, path string, doc any) {
	s.t.Helper()
	body, err := json.Marshal(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	address := s.url + path
	if rev := s.revisions[path]; rev != "" {
		address += "?rev=" + rev
	}
	r, err := http.NewRequest(method, address, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var told struct{ Rev string }
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil || resp.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %s %v", method, path, resp.Status, err)
	}
	if s.revisions[path] = told.Rev; method == http.MethodDelete {
		delete(s.revisions, path)
	}
}

// TestCounterpartCouchDB runs the example against PouchDB: every last version arrives and every deletion is told, over many pages
// and an adapter that is killed again and again; a database that was destroyed and made anew is a gap until a person accepts it.
func TestCounterpartCouchDB(t *testing.T) {
	t.Parallel()
	s := newPouch(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/couchdb")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "rounds.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, dir, "rounds.hcl", replaced(t, string(text), `feed "visits" {}`, "feed \"visits\" {\n    page_size = 7\n  }", `"2s"`, `"1s"`))

	readme := content(t, "../../examples/couchdb/README.md")
	for _, m := range regexp.MustCompile(`(?m)^    curl -X PUT http://127.0.0.1:5984(\S+)(?: -H 'Content-Type: application/json' -d '(.*)')?$`).FindAllStringSubmatch(readme, -1) {
		s.call(http.MethodPut, m[1], json.RawMessage(cmp.Or(m[2], "{}")))
	}
	promised := regexp.MustCompile("(?m)^prints `(.*?)`").FindStringSubmatch(readme)
	for n := range 6 {
		s.call(http.MethodPut, fmt.Sprint("/patients/q", n), map[string]any{"name": fmt.Sprint("Patient ", n)})
	}
	s.call(http.MethodPut, "/visits/_design/ward", map[string]any{"views": struct{}{}})
	last := map[string]string{"v1": "Check-up Ada Example"} // what has to be told last of each visit
	visit := func(n int, reason string) {
		t.Helper()
		s.call(http.MethodPut, fmt.Sprint("/visits/w", n), map[string]any{"patient": fmt.Sprint("q", n%6), "reason": reason})
		last[fmt.Sprint("w", n)] = fmt.Sprintf("%s Patient %d", reason, n%6)
	}
	remove := func(n int) {
		t.Helper()
		s.call(http.MethodDelete, fmt.Sprint("/visits/w", n), nil)
		last[fmt.Sprint("w", n)] = "deleted"
	}
	for n := range 60 {
		visit(n, "first")
	}

	p := startRun(t, dir, []string{"COUCH_URL=" + s.url})
	// told gives what was told last of each visit, and how often something was told.
	told := func() (map[string]string, int) {
		now, n := map[string]string{}, 0
		for line := range strings.Lines(p.stdout.String()) {
			var v struct{ Visit, Op, Reason, Patient string }
			if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &v) == nil {
				if now[v.Visit] = v.Reason + " " + v.Patient; v.Op == "deleted" {
					now[v.Visit] = "deleted"
				}
				n++
			}
		}
		return now, n
	}
	arrived := func() {
		t.Helper()
		p.eventually(40*time.Second, "all arrived", func() bool { now, _ := told(); return fmt.Sprint(now) == fmt.Sprint(last) })
	}
	arrived()
	if _, n := told(); n != 61 {
		t.Errorf("%d notifications of 61 visits", n)
	}
	if promised == nil || !strings.Contains(p.stdout.String(), promised[1]+"\n") {
		t.Errorf("the README promises %q, and what was printed is\n%s", promised, p.stdout)
	}
	s.call(http.MethodDelete, "/visits/v1", nil)
	last["v1"] = "deleted"

	adapter := func() operate.Adapter { return asked[[]operate.Adapter](t, dir, 0, "adapter", "list")[0] }
	for round := range 4 {
		p.eventually(30*time.Second, "the adapter runs", func() bool { return adapter().PID != 0 && adapter().Starts > round })
		for n := range 12 {
			visit(round*10+n, fmt.Sprint("round ", round))
		}
		_ = syscall.Kill(adapter().PID, syscall.SIGKILL) // it may have ended by itself
		remove(round * 10)
		remove(round*10 + 1)
		visit(round*10, fmt.Sprint("again ", round))
	}
	arrived()

	s.call(http.MethodDelete, "/visits", nil)
	maps.DeleteFunc(s.revisions, func(path, _ string) bool { return strings.HasPrefix(path, "/visits") })
	s.call(http.MethodPut, "/visits", struct{}{})
	for n := range 3 {
		visit(n, "anew")
	}
	p.logged("there is a gap in the feed")
	if state := ofPipeline(t, asked[operate.Status](t, dir, 3, "status"), "visits").State; state != "gap" {
		t.Errorf("the state is %q", state)
	}
	command(t, dir, 0, "state", "set", "visits", "--start", "beginning")
	arrived()
	visit(1, "after the gap")
	remove(2)
	arrived()
	_, before := told()
	command(t, dir, 0, "state", "set", "visits", "--start", "now")
	p.eventually(20*time.Second, "read from now on", func() bool {
		return strings.Contains(string(asked[operate.Position](t, dir, 0, "state", "show", "visits").Watermark), "seq")
	})
	visit(1, "after now")
	arrived()
	if _, n := told(); n != before+1 {
		t.Errorf("%d notifications of one visit, after what was there was left out", n-before)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	for n := 3; n < 25; n++ {
		visit(n, "for the kit")
	}
	if code, stdout, stderr := rounds(t, []string{"COUCH_URL=" + s.url}, "adapter", "test", "couchdb", "--config", dir); code != 0 {
		t.Errorf("the conformance kit:\n%s%s", stdout, stderr)
	}
}
