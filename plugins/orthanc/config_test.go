// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/plugins/orthanc"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

func decode(t testing.TB, text string) orthanc.Config {
	t.Helper()
	var c orthanc.Config
	if err := schema.Decode([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAMistakeIsNamedByItsAttribute(t *testing.T) {
	for _, c := range []struct{ config, path, text string }{
		{`{"base_url": "pacs:8042"}`, "base_url", "is not an address like https://host:8042"},
		{`{"base_url": "ftp://pacs"}`, "base_url", "is not an address like https://host:8042"},
		{`{"base_url": "https://u:c4n4ry@pacs"}`, "base_url", "must not hold credentials, which have a place of their own"},
		{`{"base_url": "https://pacs/?a=b"}`, "base_url", "must end with the path, without parameters"},
		{`{"base_url": "https://pacs", "username": "u"}`, "password", "must be given, as there is a username"},
		{`{"base_url": "https://pacs", "password": "c4n4ry"}`, "username", "must be given, as there is a password"},
		{`{"base_url": "https://pacs", "username": "a:b", "password": "c4n4ry"}`, "username", "can't hold a colon, which ends it in basic authentication"},
		{`{"base_url": "https://pacs", "zone": "Mars"}`, "zone", `"Mars" is not a time zone like America/New_York`},
		{`{"base_url": "https://pacs", "zone": "Local"}`, "zone", `"Local" is not a time zone like America/New_York`},
		{`{"base_url": "https://pacs", "timeout": "-1s"}`, "timeout", "must be more than nothing"},
		{`{"base_url": "https://pacs", "limits": {"concurrency": -1}}`, "limits.concurrency", "must be at least 1"},
		{`{"base_url": "https://pacs", "limits": {"per_second": -1}}`, "limits.per_second", "must be a number of calls a second, more than 0; leave it out for no limit"},
		{`{"base_url": "http://pacs", "tls": {}}`, "tls", "has no meaning, as base_url is http"},
		{`{"base_url": "https://pacs", "tls": {"ca": "ca.pem"}}`, "tls.ca", `holds no certificate in PEM; it is given by value, as in file("ca.pem")`},
		{`{"base_url": "https://pacs", "tls": {"cert": "c"}}`, "tls.key", "must be given, as there is a certificate"},
		{`{"base_url": "https://pacs", "tls": {"key": "c4n4ry"}}`, "tls.cert", "must be given, as there is a key"},
		{`{"base_url": "https://pacs", "tls": {"cert": "c", "key": "c4n4ry"}}`, "tls.key", "is not the private key of the certificate, both in PEM and the key " +
			`without a password; they are given by value, as in file("client.pem") and secret("client_key")`},
	} {
		err := decode(t, c.config).Validate()
		var e *sdk.Error
		if !errors.As(err, &e) || e.Code != sdk.CodeMisconfigured || e.Path != c.path || e.Text != c.text {
			t.Errorf("%s: %v\nwant %s: %s", c.config, err, c.path, c.text)
		}
	}
	for _, good := range []string{
		`{"base_url": "https://pacs"}`, `{"base_url": "http://127.0.0.1:8042/", "zone": "Europe/Brussels"}`,
		`{"base_url": "https://pacs/orthanc", "username": "u", "password": "c4n4ry", "trigger": "new", "updates": true, "limits": {"per_second": 0.5}}`,
	} {
		if err := decode(t, good).Validate(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	var c orthanc.Config
	if err := schema.Decode([]byte(`{"base_url": "https://pacs", "trigger": "often"}`), &c); err == nil {
		t.Error("a trigger that there is not was taken")
	}
}

func TestCredentialsAreSentAndAWrongOneIsTold(t *testing.T) {
	s := newServer(t)
	s.reader("studies", "").reads()
	c := decode(t, s.text(""))
	c.Password = "c4n4ry"
	source, err := orthanc.Open(t.Context(), c, sdk.Env{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Poll(t.Context(), sdk.Query{Feed: "studies"})
	if sdk.CodeOf(err) != sdk.CodeUnauthorized || err.Error() != "GET /changes: 401 Unauthorized" {
		t.Error(err)
	}
}

func TestACertificateIsTrustedByItsAuthorityOnly(t *testing.T) {
	s := newServer(t)
	secure := httptest.NewTLSServer(s.Config.Handler)
	t.Cleanup(secure.Close)
	c := decode(t, s.text(""))
	c.BaseURL = secure.URL
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	for trusted, want := range map[string]string{ca: "", "": "GET /changes: TLS: certificate is not trusted"} {
		if c.TLS = nil; trusted != "" {
			c.TLS = &orthanc.TLS{CA: trusted}
		}
		source, err := orthanc.Open(t.Context(), c, sdk.Env{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = source.Poll(t.Context(), sdk.Query{Feed: "studies"})
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestUnencryptedCredentialsAreRemarked(t *testing.T) {
	for url, want := range map[string]bool{"http://pacs": true, "http://10.0.0.7:8042": true, "http://localhost:8042": false, "http://127.0.0.1": false, "https://pacs": false} {
		var log bytes.Buffer
		config, err := json.Marshal(map[string]string{"base_url": url, "username": "u", "password": "c4n4ry"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := orthanc.Open(t.Context(), decode(t, string(config)), sdk.Env{Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "unencrypted"); got != want || strings.Contains(log.String(), "c4n4ry") {
			t.Errorf("%s: %s", url, log.String())
		}
	}
}

// What the engine keeps the feeds from losing changes by.
func TestTheCatalogSaysThatTheFeedsAreSequences(t *testing.T) {
	catalog := newServer(t).open("").Catalog()
	if len(catalog.Feeds) != 4 || len(catalog.Resources) != 6 {
		t.Errorf("%d feeds, %d resources", len(catalog.Feeds), len(catalog.Resources))
	}
	for _, f := range catalog.Feeds {
		if f.Class != sdk.Sequence || f.Version != sdk.Exact || !f.History || f.Deletes || f.Why == "" {
			t.Errorf("%+v", f)
		}
	}
}
