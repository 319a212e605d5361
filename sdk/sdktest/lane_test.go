// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk/schema"
)

// TestWhatPassesTheKitIsAsIfNobodyStoodThere: sessions, addresses in both directions, bodies compressed, large and of unknown length.
func TestWhatPassesTheKitIsAsIfNobodyStoodThere(t *testing.T) {
	var ehr *httptest.Server
	large := strings.Repeat("x", maxBody+7)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "session=s3cret; Path=/; Domain=ehr.example; Secure; HttpOnly")
		http.Redirect(w, r, ehr.URL+"/a%2Fb?next="+url.QueryEscape(r.FormValue("next")), http.StatusFound)
	})
	mux.HandleFunc("GET /{path}", func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("session")
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprintf(z, `{"path": %q, "host": %q, "session": %q, "asked": "%s", "next": "%s"}`, r.URL.EscapedPath(), r.Host, cookie.Value, r.FormValue("next"),
			strings.ReplaceAll(ehr.URL+"/2", "/", `\/`))
		z.Close()
	})
	mux.HandleFunc("GET /large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, large)
	})
	ehr = httptest.NewServer(mux)
	defer ehr.Close()
	l, err := newLane([]byte(fmt.Sprintf(`{"base_url": %q}`, ehr.URL)), schema.Schema{Attributes: []schema.Attribute{{Name: "base_url", Type: schema.String}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	own := l.gates[0].own
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Jar: jar}
	get := func(address string) string {
		t.Helper()
		answer, err := client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", address, answer.Status, err)
		}
		return string(body)
	}
	want := fmt.Sprintf(`{"path": "/a%%2Fb", "host": %q, "session": "s3cret", "asked": "%s", "next": "%s"}`, strings.TrimPrefix(ehr.URL, "http://"), own+"/1",
		strings.ReplaceAll(own+"/2", "/", `\/`))
	if got := get(own + "/login?next=" + url.QueryEscape(own+"/1")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := get(own + "/large"); got != large {
		t.Errorf("of %d bytes %d came", len(large), len(got))
	}
}
