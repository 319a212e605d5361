// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// decode reads a configuration in the form in which it comes from the engine.
func decode(t testing.TB, text string) rest.Config {
	t.Helper()
	var c rest.Config
	if err := schema.Decode([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// replaced is a good configuration with one thing changed.
func replaced(t *testing.T, old, changed string) rest.Config {
	t.Helper()
	const good = `{
		"base_url": "https://ehr.invalid/api",
		"auth": {"kind": "bearer", "token": "c4n4ry"},
		"limits": {"concurrency": 4, "per_second": 2.5},
		"feed": [{"name": "appointments", "path": "/appointments", "query": {"changedsince": "{since}"}, "items": "data.list",
			"id": "id", "version": "v", "time": "lastUpdated",
			"since": {"format": "2006-01-02T15:04:05", "zone": "America/New_York"},
			"page": {"kind": "cursor", "next": "next", "param": "cursor"}}],
		"resource": [{"name": "patient", "path": "/patient/{id}"}]
	}`
	if !strings.Contains(good, old) {
		t.Fatalf("%s is not in the configuration", old)
	}
	return decode(t, strings.Replace(good, old, changed, 1))
}

func TestAMistakeIsBlamedOnItsAttribute(t *testing.T) {
	for _, tt := range []struct{ old, changed, path, text string }{
		{`https://ehr.invalid/api`, `ehr.invalid`, "base_url", "is not an address"},
		{`https://ehr.invalid/api`, `ftp://ehr.invalid`, "base_url", "is not an address"},
		{`https://ehr.invalid/api`, `https://`, "base_url", "is not an address"},
		{`https://ehr.invalid/api`, `https://a:c4n4ry@ehr.invalid`, "base_url", "auth block"},
		{`https://ehr.invalid/api`, `https://ehr.invalid?key=c4n4ry`, "base_url", "query"},
		{`"base_url"`, `"timeout": "-1s", "base_url"`, "timeout", "more than nothing"},
		{`"concurrency": 4`, `"concurrency": -1`, "limits.concurrency", "at least 1"},
		{`"per_second": 2.5`, `"per_second": -1`, "limits.per_second", "a number of calls"},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "oauth2"`, "auth.oauth2", "none, basic and bearer"},
		{`"token": "c4n4ry"`, `"token": ""`, "auth.bearer.token", "must be given"},
		{`"token": "c4n4ry"`, `"token": "c4n4ry\n"`, "auth.bearer.token", "printable ASCII"},
		{`"token": "c4n4ry"`, `"token": "Bearer c4n4ry"`, "auth.bearer.token", "not part of it"},
		{`"token": "c4n4ry"`, `"token": "c4n4ry", "password": "c4n4ry"`, "auth.bearer.password", "no meaning"},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "basic", "password": "c4n4ry"`, "auth.basic.username", "must be given"},
		{`"kind": "bearer"`, `"kind": "none"`, "auth.none.token", "no meaning"},
		{`"/appointments"`, `"appointments"`, "feed.appointments.path", "begin with a slash"},
		{`"/appointments"`, `"/appointments?a=b"`, "feed.appointments.path", "belong into query"},
		{`"{since}"`, `"now"`, "feed.appointments.path", "{since} is missing"},
		{`"{since}"`, `"{since}{until}"`, "feed.appointments.query", "{until} of \"changedsince\" is not a placeholder"},
		{`"/appointments"`, `"/appointments/{id}"`, "feed.appointments.path", "{id} is not a placeholder here; there is {since}"},
		{`"/appointments"`, `"/%zz"`, "feed.appointments.path", "is not a path"},
		{`"data.list"`, `"data..list"`, "feed.appointments.items", "is not a dotted path"},
		{`"id": "id"`, `"id": ""`, "feed.appointments.id", "is not a dotted path"},
		{`"version": "v"`, `"version": "v."`, "feed.appointments.version", "is not a dotted path"},
		{`"id": "id"`, `"id": "id", "class": "scan"`, "feed.appointments.query", `{since} of "changedsince" is not a placeholder here; a scan has none`},
		{`"path": "/appointments"`, `"path": "/appointments/{since}", "class": "scan"`, "feed.appointments.path", "{since} is not a placeholder here; a scan has none"},
		{`"id": "id"`, `"id": "id", "ignore": ["a.b", "c."]`, "feed.appointments.ignore", `"c." is not a dotted path`},
		{`"time": "lastUpdated"`, `"time": ""`, "feed.appointments.time", "is not a dotted path"},
		{`America/New_York`, `America/Gotham`, "feed.appointments.since.zone", `"America/Gotham" is not a time zone`},
		{`America/New_York`, `Local`, "feed.appointments.since.zone", "is not a time zone"},
		{`2006-01-02T15:04:05`, `yyyy-MM-dd`, "feed.appointments.since.format", "is not a layout"},
		{`2006-01-02T15:04:05`, `2006-01-02T03:04`, "feed.appointments.since.format", "does not tell a time fully"},
		{`"kind": "cursor"`, `"kind": "offset"`, "feed.appointments.page.offset", "cursor and link"},
		{`"next": "next", `, ``, "feed.appointments.page.cursor.next", "must be given"},
		{`, "param": "cursor"`, ``, "feed.appointments.page.cursor.param", "must be given"},
		{`"param": "cursor"`, `"param": "changedsince"`, "feed.appointments.page.cursor.param", "is set in query"},
		{`"kind": "cursor"`, `"kind": "link"`, "feed.appointments.page.link", "neither next nor param"},
		{`/patient/{id}`, `/patient`, "resource.patient.path", "{id} is missing"},
		{`/patient/{id}`, `/patient/{since}/{id}`, "resource.patient.path", "{since} is not a placeholder here; there is {id}"},
	} {
		err := replaced(t, tt.old, tt.changed).Validate()
		var e *sdk.Error
		if !errors.As(err, &e) || e.Code != sdk.CodeMisconfigured || e.Path != tt.path || !strings.Contains(e.Text, tt.text) {
			t.Errorf("%s: %v, want %s: %s", tt.changed, err, tt.path, tt.text)
		}
		if err != nil && strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: the error holds a secret: %v", tt.changed, err)
		}
	}
}

func TestGoodConfigurationsAreAccepted(t *testing.T) {
	for _, tt := range [][2]string{
		{"", ""},
		{`"/appointments"`, `"/since/{since}"`},
		{`https://ehr.invalid/api`, `http://127.0.0.1:8080/`},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "basic", "username": "u", "password": "p:q"`},
		{`"kind": "cursor", "next": "next", "param": "cursor"`, `"kind": "link"`},
		{`"{since}"`, `"{\"and\":[{\"updated\":\"{since}\"}]}"`},
		{`/patient/{id}`, `/Patient list/{id}`},
		{`"query": {"changedsince": "{since}"}`, `"class": "scan", "ignore": ["seen"]`},
	} {
		if err := replaced(t, tt[0], tt[1]).Validate(); err != nil {
			t.Errorf("%s: %v", tt[1], err)
		}
	}
}

func TestTheCatalogSaysWhatTheConfigurationDeclares(t *testing.T) {
	s, err := rest.Open(t.Context(), replaced(t, "", ""), sdk.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := s.Catalog()
	if len(c.Feeds) != 1 || len(c.Resources) != 1 {
		t.Fatalf("%+v", c)
	}
	f := c.Feeds[0]
	if f.Name != "appointments" || f.Kind != "appointments" || f.Class != sdk.Timestamp || f.Version != sdk.Coarse ||
		f.Precision != 1e9 || !f.Drifts || f.Deletes || f.History ||
		f.Why != "GET /appointments answers what changed since an instant, written as 2006-01-02T15:04:05 in America/New_York" {
		t.Errorf("%+v", f)
	}
	if r := c.Resources[0]; r.Name != "patient" || r.Batch > 1 {
		t.Errorf("%+v", r)
	}
	for _, tt := range []struct {
		old, changed string
		version      sdk.VersionKind
		drifts       bool
	}{
		{`"version": "v", `, ``, sdk.None, true},
		{`"param": "cursor"`, `"param": "cursor", "stable": true`, sdk.Coarse, false},
		{`"page": {"kind": "cursor", "next": "next", "param": "cursor"}`, `"query": {"since": "{since}"}`, sdk.Coarse, false},
	} {
		s, err := rest.Open(t.Context(), replaced(t, tt.old, tt.changed), sdk.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if f := s.Catalog().Feeds[0]; f.Version != tt.version || f.Drifts != tt.drifts {
			t.Errorf("%s: %+v", tt.changed, f)
		}
	}
}

func TestCredentialsAreSentAsConfigured(t *testing.T) {
	for auth, want := range map[string]string{
		`"auth": {"kind": "none"},`: "",
		``:                          "",
		`"auth": {"kind": "basic", "username": "Aladdin", "password": "open sesame"},`: "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
		`"auth": {"kind": "bearer", "token": "t0ken"},`:                                "Bearer t0ken",
	} {
		api := newAPI(t)
		api.serve(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != want {
				t.Errorf("%s: sent %q, want %q", auth, got, want)
			}
			w.Write([]byte("{}"))
		})
		s := api.open(`{"base_url": "` + api.URL + `", ` + auth + ` "resource": [{"name": "p", "path": "/p/{id}"}]}`)
		if r, err := s.Fetch(t.Context(), []sdk.Ref{{Kind: "p", ID: "1"}}); err != nil || r[0].Err != nil {
			t.Errorf("%v, %+v", err, r)
		}
	}
}
