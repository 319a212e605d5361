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
	const (
		cursor = `"kind": "cursor", "next": "next", "param": "cursor"`
		bearer = `"kind": "bearer", "token": "c4n4ry"`
	)
	for _, tt := range []struct{ old, changed, path, text string }{
		{`https://ehr.invalid/api`, `ehr.invalid`, "base_url", "is not an address"},
		{`https://ehr.invalid/api`, `ftp://ehr.invalid`, "base_url", "is not an address"},
		{`https://ehr.invalid/api`, `https://`, "base_url", "is not an address"},
		{`https://ehr.invalid/api`, `https://a:c4n4ry@ehr.invalid`, "base_url", "must not hold credentials"},
		{`https://ehr.invalid/api`, `https://ehr.invalid?key=c4n4ry`, "base_url", "parameters"},
		{`"base_url"`, `"timeout": "-1s", "base_url"`, "timeout", "more than nothing"},
		{`"base_url"`, `"timeout": "0s", "base_url"`, "timeout", "more than nothing"},
		{`"concurrency": 4`, `"concurrency": 0`, "limits.concurrency", "at least 1"},
		{`"concurrency": 4`, `"concurrency": -1`, "limits.concurrency", "at least 1"},
		{`"per_second": 2.5`, `"per_second": -1`, "limits.per_second", "a number of calls"},
		{`"per_second": 2.5`, `"per_minute": -1`, "limits.per_minute", "a number of calls"},
		{`"per_second": 2.5`, `"per_hour": -1`, "limits.per_hour", "a number of calls"},
		{`"per_second": 2.5`, `"per_day": -1`, "limits.per_day", "a number of calls"},
		{`"per_second": 2.5`, `"day_zone": "Mars"`, "limits.day_zone", `"Mars" is not a time zone`},
		{`"per_second": 2.5`, `"day_zone": "Local"`, "limits.day_zone", "is not a time zone"},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "digest"`, "auth.digest", "none, basic, bearer, api_key"},
		{`"token": "c4n4ry"`, `"token": ""`, "auth.bearer.token", "must be given"},
		{`"token": "c4n4ry"`, `"token": "c4n4ry\n"`, "auth.bearer.token", "printable ASCII"},
		{`"token": "c4n4ry"`, `"token": "Bearer c4n4ry"`, "auth.bearer.token", "not part of it"},
		{`"token": "c4n4ry"`, `"token": "c4n4ry", "password": "c4n4ry"`, "auth.bearer.password", "no meaning"},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "basic", "password": "c4n4ry"`, "auth.basic.username", "must be given"},
		{`"kind": "bearer"`, `"kind": "none"`, "auth.none.token", "no meaning"},
		{`"/appointments"`, `"appointments"`, "feed.appointments.path", "begin with a slash"},
		{`"/appointments"`, `"/appointments?a=b"`, "feed.appointments.path", "belong into query"},
		{`"{since}"`, `"now"`, "feed.appointments.path", "{since} is missing"},
		{`"id": "id"`, `"id": "id", "class": "scan"`, "feed.appointments.class", `is "scan", which asks for everything each time: there is no {since} then`},
		{`"query": {"changedsince": "{since}"}`, `"class": "scan", "method": "POST", "body": {"a": "{since}"}`, "feed.appointments.class", "there is no {since}"},
		{`"query": {"changedsince": "{since}"}`, `"class": "scan", "query": {"a": "{until}"}`, "feed.appointments.query", "{until} of \"a\" is not a placeholder"},
		{`"path": "/patient/{id}"`, `"path": "/patient/{id}", "id": "data."`, "resource.patient.id", "is not a dotted path"},
		{`"path": "/patient/{id}"`, `"path": "/p/{ids}", "id": "id", "batch": {"id": "id"}`, "resource.patient.id", "no meaning with a batch"},
		{`"id": "id"`, `"id": "id", "ignore": ["a.b", "c."]`, "feed.appointments.ignore", `"c." is not a dotted path`},
		{`"{since}"`, `"{since}{until}"`, "feed.appointments.query", "{until} of \"changedsince\" is not a placeholder"},
		{`"/appointments"`, `"/appointments/{id}"`, "feed.appointments.path", "{id} is not a placeholder here; there is {since}"},
		{`"/appointments"`, `"/%zz"`, "feed.appointments.path", "is not a path"},
		{`"data.list"`, `"data..list"`, "feed.appointments.items", "is not a dotted path"},
		{`"id": "id"`, `"id": ""`, "feed.appointments.id", "is not a dotted path"},
		{`"version": "v"`, `"version": "v."`, "feed.appointments.version", "is not a dotted path"},
		{`"time": "lastUpdated"`, `"time": ""`, "feed.appointments.time", "is not a dotted path"},
		{`America/New_York`, `America/Gotham`, "feed.appointments.since.zone", `"America/Gotham" is not a time zone`},
		{`America/New_York`, `Local`, "feed.appointments.since.zone", "is not a time zone"},
		{`2006-01-02T15:04:05`, `yyyy-MM-dd`, "feed.appointments.since.format", "is not a layout"},
		{`2006-01-02T15:04:05`, `2006-01-02T03:04`, "feed.appointments.since.format", "does not tell a time fully"},
		{`"kind": "cursor"`, `"kind": "magic"`, "feed.appointments.page.magic", "cursor, link, next_url"},
		{`"next": "next", `, ``, "feed.appointments.page.cursor.next", "must be given"},
		{`, "param": "cursor"`, ``, "feed.appointments.page.cursor.param", "must be given"},
		{`"param": "cursor"`, `"param": "changedsince"`, "feed.appointments.page.cursor.param", "is set in query"},
		{`"kind": "cursor"`, `"kind": "link"`, "feed.appointments.page.link.next", "has no meaning for page \"link\""},
		{cursor, `"kind": "next_url"`, "feed.appointments.page.next_url.next", "must be given"},
		{cursor, `"kind": "next_url", "next": "a..b"`, "feed.appointments.page.next_url.next", "dotted path"},
		{cursor, `"kind": "next_url", "next": "a", "param": "p"`, "feed.appointments.page.next_url.param", "no meaning"},
		{cursor, `"kind": "number"`, "feed.appointments.page.number.param", "must be given"},
		{cursor, `"kind": "number", "param": "p", "next": "n"`, "feed.appointments.page.number.next", "no meaning"},
		{cursor, `"kind": "number", "param": "p", "first": "-1"`, "feed.appointments.page.number.first", "whole number"},
		{cursor, `"kind": "number", "param": "p", "first": "c4n4ry"`, "feed.appointments.page.number.first", "whole number"},
		{cursor, `"kind": "offset", "param": "p", "size": -1`, "feed.appointments.page.offset.size", "at least 1"},
		{cursor, `"kind": "offset", "param": "p", "size_param": "n"`, "feed.appointments.page.offset.size", "must be given"},
		{cursor, `"kind": "offset", "param": "p", "size": 1, "size_param": "p"`, "feed.appointments.page.offset.size_param", "param is put"},
		{cursor, `"kind": "offset", "param": "p", "size": 1, "size_param": "changedsince"`, "feed.appointments.page.offset.size_param", "set in query"},
		{cursor, `"kind": "offset", "param": "p", "total": "a..b"`, "feed.appointments.page.offset.total", "dotted path"},
		{cursor, `"kind": "offset", "param": "p", "total": "a", "more": "b"`, "feed.appointments.page.offset.more", "same as total"},
		{`2006-01-02T15:04:05`, `unix`, "feed.appointments.since.zone", "no meaning for unix"},
		{`"query": {"changedsince"`, `"body": {}, "query": {"changedsince"`, "feed.appointments.body", `without method = "POST"`},
		{`"query": {"changedsince"`, `"method": "POST", "body": 5, "query": {"changedsince"`, "feed.appointments.body", "an object or a list"},
		{`"query": {"changedsince"`, `"method": "POST", "body": {"a": ["{until}"]}, "query": {"changedsince"`, "feed.appointments.body",
			"{until} is not a placeholder"},
		{`"query": {"changedsince": "{since}"}`, `"method": "POST", "body": {"a": "now"}`, "feed.appointments.path", "or in body"},
		{`"query": {"changedsince"`, `"method": "POST", "body": {"cursor": 1}, "query": {"changedsince"`,
			"feed.appointments.page.cursor.param", "is set in body"},
		{`"query": {"changedsince"`, `"method": "POST", "body": [], "query": {"changedsince"`, "feed.appointments.page.cursor.param", "can't be put into body"},
		{`"base_url"`, `"headers": {"authorization": "c4n4ry"}, "base_url"`, "headers", "Authorization is what an auth block sets"},
		{`"base_url"`, `"headers": {"Host": "c4n4ry"}, "base_url"`, "headers", "Host is made of base_url"},
		{`"base_url"`, `"headers": {"content-length": "1"}, "base_url"`, "headers", "Content-Length is made of the body"},
		{`"base_url"`, `"headers": {"X A": "1"}, "base_url"`, "headers", "is not the name of a header"},
		{`"base_url"`, `"headers": {"": "1"}, "base_url"`, "headers", "is not the name of a header"},
		{`"base_url"`, `"headers": {"X-A": "1", "x-a": "2"}, "base_url"`, "headers", "X-A is given twice"},
		{`"base_url"`, `"headers": {"X-A": "c4n4ry\r\nB: c"}, "base_url"`, "headers", "the value of X-A has a line break"},
		{`"query": {"changedsince"`, `"headers": {"Te": "c4n4ry"}, "query": {"changedsince"`, "feed.appointments.headers", "Te is about the connection"},
		{`/patient/{id}"`, `/patient/{id}", "headers": {"Proxy-Authorization": "c4n4ry"}`, "resource.patient.headers", "Proxy-Authorization is made of"},
		{bearer, `"kind": "api_key", "header": "X-Key"`, "auth.api_key.key", "must be given"},
		{bearer, `"kind": "api_key", "header": "X-Key", "key": "c4n4ry\n"`, "auth.api_key.key", "without line breaks"},
		{bearer, `"kind": "api_key", "key": "c4n4ry"`, "auth.api_key", "either header or param"},
		{bearer, `"kind": "api_key", "key": "c4n4ry", "header": "X", "param": "k"`, "auth.api_key", "either header or param"},
		{bearer, `"kind": "api_key", "key": "c4n4ry", "header": "X Y"`, "auth.api_key.header", "is not the name"},
		{bearer, `"kind": "api_key", "key": "c4n4ry", "header": "host"`, "auth.api_key.header", "Host is made of base_url"},
		{bearer, `"kind": "api_key", "key": "c4n4ry", "param": "changedsince"`, "feed.appointments.query", `"changedsince" is what the auth block sets`},
		{bearer, `"kind": "api_key", "key": "c4n4ry", "param": "cursor"`, "feed.appointments.page.cursor.param", "what the auth block sets"},
		{bearer + `}`, `"kind": "api_key", "key": "c4n4ry", "header": "X-Key"}, "headers": {"x-key": "c4n4ry"}`, "headers", "X-Key is what the auth block sets"},
		{bearer, `"kind": "oauth2", "client_id": "a", "client_secret": "c4n4ry"`, "auth.oauth2.token_url", "is not an address"},
		{bearer, `"kind": "oauth2", "token_url": "https://a:c4n4ry@b", "client_id": "a", "client_secret": "c4n4ry"`, "auth.oauth2.token_url", "is not an address"},
		{bearer, `"kind": "oauth2", "token_url": "https://b", "client_secret": "c4n4ry"`, "auth.oauth2.client_id", "must be given"},
		{bearer, `"kind": "oauth2", "token_url": "https://b", "client_id": "a"`, "auth.oauth2.client_secret", "must be given"},
		{bearer, `"kind": "oauth2", "token_url": "https://b", "client_id": "a", "client_secret": "c4n4ry", "params": {"grant_type": "c4n4ry"}`,
			"auth.oauth2.params", "grant_type is made of"},
		{bearer, `"kind": "oauth2", "token": "c4n4ry"`, "auth.oauth2.token", "no meaning"},
		{bearer, `"kind": "oauth2", "token_url": "https://b", "client_id": "a", "private_key": "c4n4ry"`, "auth.oauth2.private_key", "is neither a private JWK nor"},
		{bearer, `"kind": "oauth2", "token_url": "https://b", "client_id": "a", "client_secret": "s", "private_key": "c4n4ry"`, "auth.oauth2.private_key", "give one of them"},
		{bearer, `"kind": "oauth2", "token_url": "https://b", "client_id": "a", "client_secret": "s", "key_id": "k"`, "auth.oauth2.private_key", "as there is key_id"},
		{bearer, `"kind": "oauth2", "token_url": "https://b", "client_id": "a", "refresh_token": "c4n4ry", "client_auth": "body"`, "auth.oauth2.client_secret", "as there is client_auth"},
		{bearer, `"kind": "login", "path": "/login", "body": {"p": "c4n4ry"}, "token_path": "t", "refresh_token": "c4n4ry"`, "auth.login.refresh_token", "no meaning"},
		{bearer, `"kind": "login", "path": "login", "body": {"p": "c4n4ry"}, "token_path": "t"`, "auth.login.path", "begins with a slash"},
		{bearer, `"kind": "login", "path": "/login", "token_path": "t"`, "auth.login.body", "must be given"},
		{bearer, `"kind": "login", "path": "/login", "body": "c4n4ry", "token_path": "t"`, "auth.login.body", "must be given: the object"},
		{bearer, `"kind": "login", "path": "/login", "body": {"p": "c4n4ry"}`, "auth.login.token_path", "must be given"},
		{bearer, `"kind": "login", "path": "/login", "body": {"p": "c4n4ry"}, "token_path": "t", "expires_path": "."`, "auth.login.expires_path", "dotted path"},
		{bearer, `"kind": "login", "path": "/login", "body": {"p": "c4n4ry"}, "token_path": "t", "value": "Bearer"`, "auth.login.value", "must hold {token}"},
		{bearer, `"kind": "login", "path": "/login", "body": {"p": "c4n4ry"}, "token_path": "t", "header": "Host"`, "auth.login.header", "Host is made of"},
		{`"base_url"`, `"tls": {"ca": "c4n4ry"}, "base_url"`, "tls.ca", "no certificate in PEM"},
		{`"base_url"`, `"tls": {"cert": "c4n4ry"}, "base_url"`, "tls.key", "must be given"},
		{`"base_url"`, `"tls": {"key": "c4n4ry"}, "base_url"`, "tls.cert", "must be given"},
		{`"base_url"`, `"tls": {"cert": "c4n4ry", "key": "c4n4ry"}, "base_url"`, "tls.cert", "no certificate in PEM"},
		{`"base_url": "https:`, `"tls": {}, "base_url": "http:`, "tls", "no meaning, as base_url is http"},
		{`"base_url"`, `"proxy": "c4n4ry", "base_url"`, "proxy", "is not an address"},
		{`"base_url"`, `"proxy": "ftp://a:c4n4ry@b", "base_url"`, "proxy", "is not an address"},
		{`"base_url"`, `"proxy": "http://a:c4n4ry@b:x", "base_url"`, "proxy", "is not an address"},
		{`"base_url"`, `"proxy": "http://a:c4n4ry@b/path", "base_url"`, "proxy", "is not an address"},
		{`"page": {`, `"include": [{"name": "doctor", "path": "d", "id": "id"}], "page": {`, "feed.appointments.include.doctor", `no resource "doctor"`},
		{`"page": {`, `"include": [{"name": "patient", "path": "", "id": "id"}], "page": {`, "feed.appointments.include.patient.path", "dotted path"},
		{`"page": {`, `"include": [{"name": "patient", "path": "p", "id": "a."}], "page": {`, "feed.appointments.include.patient.id", "dotted path"},
		{`/patient/{id}"`, `/patient/{id}", "batch": {"id": "id"}`, "resource.patient.path", "{id} is not a placeholder here; there is {ids}"},
		{`/patient/{id}"`, `/patient/{ids}", "batch": {"id": ""}`, "resource.patient.batch.id", "dotted path"},
		{`/patient/{id}"`, `/patient/{ids}", "batch": {"id": "id", "items": "."}`, "resource.patient.batch.items", "dotted path"},
		{`/patient/{id}"`, `/patient/{ids}", "batch": {"id": "id", "size": 1001}`, "resource.patient.batch.size", "from 1 to 1000"},
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
		{`/patient/{id}"`, `/patients", "query": {"ids": "{ids}"}, "batch": {"id": "id", "separator": "|"}`},
		{`"kind": "cursor", "next": "next", "param": "cursor"`, `"kind": "number", "param": "page", "first": "0", "size": 10, "size_param": "n"`},
		{`"kind": "cursor", "next": "next", "param": "cursor"`, `"kind": "next_url", "next": "links.next.href"`},
		{`"format": "2006-01-02T15:04:05", "zone": "America/New_York"`, `"format": "unix"`},
		{`"base_url"`, `"headers": {"X-Tenant": "7", "user-agent": "us", "Accept": "application/hal+json"}, "base_url"`},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "api_key", "key": "Token c4n4ry", "header": "Authorization"`},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "api_key", "key": "c4n4ry", "param": "key"`},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "oauth2", "token_url": "https://id.invalid/token?tenant=1", "client_id": "a",
			"client_secret": "c4n4ry", "client_auth": "body", "scopes": ["a", "b"], "params": {"audience": "x"}`},
		{`"kind": "bearer", "token": "c4n4ry"`, `"kind": "login", "path": "/login", "body": {"user": "u", "password": "c4n4ry"}, "token_path": "t",
			"header": "X-Session", "expires_path": "e"`},
		{`"base_url"`, `"proxy": "http://u:p@proxy.invalid:3128", "base_url"`},
		{`"base_url"`, `"proxy": "socks5://proxy.invalid", "base_url"`},
		{`"page": {`, `"include": [{"name": "patient", "path": "visit.patient", "id": "id"}], "page": {`},
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
