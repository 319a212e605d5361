// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rounds-engine/rounds/sdk/schema"
)

// nested is a schema with everything that there is.
var nested = schema.Schema{
	Attributes: []schema.Attribute{
		{Name: "base_url", Type: schema.String, Required: true}, {Name: "token", Type: schema.String, Sensitive: true},
		{Name: "order", Type: schema.String, Values: []string{"asc", "desc"}}, {Name: "any", Type: schema.Any}, {Name: "n", Type: schema.Integer},
	},
	Blocks: []schema.Block{
		{Name: "auth", Labels: []string{"kind"}, Required: true, Body: schema.Schema{Attributes: []schema.Attribute{{Name: "token_url", Type: schema.String}}}},
		{Name: "feed", Labels: []string{"name"}, Repeated: true, Body: schema.Schema{Attributes: []schema.Attribute{{Name: "urls", Type: schema.List}}}},
	},
}

func FuzzAConfigurationIsChangedAndStaysOne(f *testing.F) {
	f.Add([]byte(`{"base_url": "https://ehr.example/api?x=1#y", "token": "http://secret", "auth": {"kind": "a", "token_url": "http://h:1"},
		"feed": [{"name": "f", "urls": ["http://ehr.example", "https://ehr.example/z", 7]}], "any": {"http://k": ["https://ehr.example"]}, "n": 12345678901234567890}`))
	f.Add([]byte(`{"auth": [], "feed": {}, "base_url": "http://u:p@h/", "order": null}`))
	f.Add([]byte(`{"auth": null, "feed": [null, 1, "http://x"]}`))
	f.Add([]byte(`{"base_url": "https://ehr.example/api?` + "\x8c" + `=1#y", "auth": {"kind": "IIIIIIIIIIIIIIIIIIIttp://h:1"}, "n": 1234567890e234567890}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		doc, err := document(config)
		if err != nil {
			return
		}
		var gates []string
		out, err := replaceURLs(doc, nested, func(u *url.URL) (string, error) {
			gates = append(gates, u.String())
			return "http://127.0.0.1:4321", nil
		})
		if err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		changed, err := members(out)
		if err != nil || changed == nil {
			t.Fatalf("%s became %s, %v", config, out, err)
		}
		if len(gates) > 0 && !strings.Contains(string(out), "127.0.0.1:4321") {
			t.Errorf("%s became %s", config, out)
		}
		for _, m := range mistakes(nested, changed, "planted") {
			if _, err := json.Marshal(m.config); err != nil || m.path == "" {
				t.Errorf("%s: %+v %v", config, m, err)
			}
		}
		sensitive(nested, doc)
	})
}

func FuzzAnAnswerIsChangedAndKeepsItsForm(f *testing.F) {
	f.Add([]byte(`{"a": [1, "x", null, true, {"b": "2022-05-10T10:00:00Z"}]}`))
	f.Add([]byte(`<feed><entry id="1">text</entry></feed>`))
	f.Add([]byte(`{"next": "http:\/\/ehr.example\/a", "x": "http://ehr.example.org", "y": "http://ehr.example:80/"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		out := replaceLeaves(body, "planted")
		if json.Valid(body) != json.Valid(out) {
			t.Errorf("%q became %q", body, out)
		}
		l := &lane{gates: []*gate{{origin: &url.URL{Scheme: "http", Host: "ehr.example"}, own: "http://127.0.0.1:4321"}}}
		in := l.inward(string(body))
		if json.Valid(body) != json.Valid([]byte(in)) {
			t.Errorf("%q became %q", body, in)
		}
		if !strings.Contains(string(body), "127.0.0.1") && !strings.Contains(in, `\/`) && l.outward(in) != string(body) {
			t.Errorf("%q became %q and then %q", body, in, l.outward(in))
		}
	})
}

func FuzzAnUnknownIdentifierIsAnother(f *testing.F) {
	for _, id := range []string{"", "7", "P-1001", "00", "6f1b7e0a-3a39-4d1c-9f53-0f7c8b7b9c11", "Ünïcode", "a/b?c", "123456789012"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, like string) {
		id := unknownID(like)
		if id == like || id == "" || utf8.ValidString(like) && !utf8.ValidString(id) {
			t.Errorf("%q gives %q", like, id)
		}
	})
}

func FuzzNothingThatIsKnownIsShown(f *testing.F) {
	f.Add("GET /patients/P-1001: 404", "P-1001", "secret-token")
	f.Add("c4n4ry-x-body-1 and c4n4ry-x-", "c4n4ry", "x-bo")
	f.Fuzz(func(t *testing.T, text, id, secret string) {
		w := &watch{canary: "c4n4ry-x-", secrets: map[string]string{}, content: map[string]string{}, codes: map[string]map[string]int{}}
		w.hide(secret, "a secret")
		if len(id) >= minSecret {
			w.content[id] = "the identifier of a record"
		}
		w.output = []byte(text)
		for _, line := range append(w.leaks(true), w.leaks(false)...) {
			_, shown, _ := strings.Cut(line, ": ")
			if len(secret) >= 2*minSecret && strings.Contains(shown, secret) && !strings.Contains("[…]", secret) {
				t.Errorf("%q shows the secret %q", shown, secret)
			}
		}
	})
}
