// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/plugins/couchdb"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

func decode(t *testing.T, config string) couchdb.Config {
	t.Helper()
	if !json.Valid([]byte(config)) {
		t.Fatalf("not JSON: %s", config)
	}
	var c couchdb.Config
	if err := schema.Decode([]byte(config), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAMistakeNamesItsAttribute(t *testing.T) {
	for path, config := range map[string]string{
		"":                     `{"base_url": "https://couch.invalid/", "feed": [{"name": "visits"}], "auth": {"kind": "bearer", "token": "abc"}}`,
		"base_url":             `{"base_url": "couch.invalid"}`,
		"timeout":              `{"base_url": "https://couch.invalid", "timeout": "0s"}`,
		"limits.concurrency":   `{"base_url": "https://couch.invalid", "limits": {"concurrency": 0}}`,
		"limits.per_second":    `{"base_url": "https://couch.invalid", "limits": {"per_second": -1}}`,
		"auth.cookie":          `{"base_url": "https://couch.invalid", "auth": {"kind": "cookie"}}`,
		"auth.basic.username":  `{"base_url": "https://couch.invalid", "auth": {"kind": "basic", "username": "a:b"}}`,
		"auth.basic.token":     `{"base_url": "https://couch.invalid", "auth": {"kind": "basic", "username": "a", "token": "b"}}`,
		"auth.bearer.token":    `{"base_url": "https://couch.invalid", "auth": {"kind": "bearer", "token": "Bearer abc"}}`,
		"auth.bearer":          `{"base_url": "https://couch.invalid", "auth": {"kind": "bearer", "token": "abc", "username": "a"}}`,
		"feed.visits.database": `{"base_url": "https://couch.invalid", "feed": [{"name": "visits", "database": ".."}]}`,
		"feed.v.page_size":     `{"base_url": "https://couch.invalid", "feed": [{"name": "v", "page_size": 0}]}`,
		"resource.p.database":  `{"base_url": "https://couch.invalid", "resource": [{"name": "p", "database": "a\nb"}]}`,
	} {
		err := decode(t, config).Validate()
		var e *sdk.Error
		switch {
		case path == "" && err == nil:
		case !errors.As(err, &e) || e.Code != sdk.CodeMisconfigured || e.Path != path:
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, address := range []string{"https://rounds:c4n4ry@couch.invalid", "https://couch.invalid?a=c4n4ry", "ftp://c4n4ry", "https://c4n4ry\n"} {
		if err := (couchdb.Config{BaseURL: address, Timeout: 1}).Validate(); err == nil || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestTheCatalogIsTheConfiguration(t *testing.T) {
	s := newServer(t)
	c := s.open().Catalog()
	if len(c.Feeds) != 2 || len(c.Resources) != 1 {
		t.Fatalf("%+v", c)
	}
	if f := c.Feeds[0]; f.Name != "visits" || f.Kind != "visits" || f.Class != sdk.Sequence || f.Version != sdk.Exact || !f.Deletes || f.History {
		t.Errorf("%+v", f)
	}
}

func TestCredentialsAreSent(t *testing.T) {
	for _, tt := range []struct{ auth, want string }{
		{`{"kind": "basic", "username": "rounds", "password": "p:w"}`, "Basic cm91bmRzOnA6dw=="},
		{`{"kind": "bearer", "token": "abc.def"}`, "Bearer abc.def"},
	} {
		s := newServer(t)
		s.create("visits")
		s.create("patients")
		sent := 0
		s.fail = func(_ http.ResponseWriter, r *http.Request) bool {
			if sent++; r.Header.Get("Authorization") != tt.want || r.Header.Get("User-Agent") != "rounds" {
				t.Errorf("%s %s: %q", r.Method, r.URL.Path, r.Header)
			}
			return false
		}
		source, err := couchdb.Open(t.Context(), decode(t, `{"base_url": "`+s.URL+`", "auth": `+tt.auth+`, "feed": [{"name": "visits"}],
			"resource": [{"name": "patients"}]}`), sdk.Env{})
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		if _, err := source.Poll(t.Context(), sdk.Query{Feed: "visits"}); err != nil {
			t.Error(err)
		}
		if _, err := source.Fetch(t.Context(), []sdk.Ref{{Kind: "patients", ID: "a"}}); err != nil {
			t.Error(err)
		}
		if sent != 3 {
			t.Errorf("%d calls", sent)
		}
	}
}
