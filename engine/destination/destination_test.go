// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk/schema"
)

func TestEveryTypeDescribesItself(t *testing.T) {
	all := destination.Schemas()
	for _, typ := range destination.Types {
		s, ok := all[typ]
		if !ok || s.Doc == "" {
			t.Errorf("%s has no description", typ)
		}
		for _, a := range s.Attributes {
			if a.Doc == "" {
				t.Errorf("%s.%s has no description", typ, a.Name)
			}
			if typ == "webhook" && !a.Sensitive && a.Type != schema.Bool && a.Values == nil {
				t.Errorf("webhook.%s may be printed, but may hold a credential", a.Name)
			}
		}
	}
}

func TestAWrongConfigurationNamesTheAttributeAndNoValue(t *testing.T) {
	for _, c := range []struct{ typ, config, path string }{
		{"webhook", `{}`, "url"},
		{"webhook", `{"url":""}`, "url"},
		{"webhook", `{"url":"hush.example.com/x"}`, "url"},
		{"webhook", `{"url":"ftp://hush.example.com/x"}`, "url"},
		{"webhook", `{"url":"https://"}`, "url"},
		{"webhook", `{"url":"https://:443/"}`, "url"},
		{"webhook", `{"url":"https://hush:hush@example.com"}`, "url"},
		{"webhook", `{"url":"https://example.com/#hush"}`, "url"},
		{"webhook", `{"url":"https://example.com/%zzhush"}`, "url"},
		{"webhook", `{"url":"http://127.0.0.1/hush"}`, "url"},
		{"webhook", `{"url":"http://localhost/hush"}`, "url"},
		{"webhook", `{"url":"http://hush.LOCALHOST./"}`, "url"},
		{"webhook", `{"url":"http://[::ffff:10.0.0.1]/hush"}`, "url"},
		{"webhook", `{"url":"http://[fe80::1%25eth0]/hush"}`, "url"},
		{"webhook", `{"url":"http://169.254.169.254/hush","allow_private":false}`, "url"},
		{"webhook", `{"url":"https://example.com","signing_secrets":["hush"]}`, "signing_secrets"},
		{"webhook", `{"url":"https://example.com","signing_secrets":["whsec_hush!"]}`, "signing_secrets"},
		{"webhook", `{"url":"https://example.com","signing_secrets":["whsec_aHVzaA=="]}`, "signing_secrets"},
		{"webhook", `{"url":"https://example.com","headers":{"X-Hush":"hush\r\nX: y"}}`, "headers"},
		{"webhook", `{"url":"https://example.com","headers":{"x y":"hush"}}`, "headers"},
		{"webhook", `{"url":"https://example.com","headers":{"webhook-id":"hush"}}`, "headers"},
		{"webhook", `{"url":"https://example.com","headers":{"content-length":"hush"}}`, "headers"},
		{"webhook", `{"url":"https://example.com","uri":"hush"}`, "uri"},
		{"webhook", `{"url":"https://example.com","verification_token":"hush\r\nX: y"}`, "verification_token"},
		{"webhook", `{"url":"https://example.com","verification_token":"x","headers":{"verification-token":"hush"}}`, "headers"},
		{"webhook", `{"url":"https://example.com","auth":{"kind":"basic","username":"x"},"headers":{"authorization":"hush"}}`, "headers"},
		{"webhook", `{"url":"https://example.com","challenge":"POST"}`, "challenge"},
		{"webhook", `{"url":"https://example.com","verification_token":"hush","challenge":"PUT"}`, "challenge"},
		{"webhook", `{"url":"https://example.com","auth":{"kind":"bearer"}}`, "auth.bearer.token"},
		{"webhook", `{"url":"https://example.com","auth":{"kind":"bearer","token":"hush hush"}}`, "auth.bearer.token"},
		{"webhook", `{"url":"https://example.com","auth":{"kind":"bearer","token":"x","password":"hush"}}`, "auth.bearer.password"},
		{"webhook", `{"url":"https://example.com","auth":{"kind":"bearer","token":"x","username":"hush"}}`, "auth.bearer.username"},
		{"webhook", `{"url":"https://example.com","auth":{"kind":"basic","username":"hush:hush"}}`, "auth.basic.username"},
		{"webhook", `{"url":"https://example.com","auth":{"kind":"basic","username":"x","token":"hush"}}`, "auth.basic.token"},
		{"webhook", `{"url":"https://example.com","auth":{"kind":"oauth2"}}`, "auth.oauth2"},
		{"webhook", `{"url":"http://example.com","tls":{}}`, "tls"},
		{"webhook", `{"url":"https://example.com","tls":{"ca":"hush"}}`, "tls.ca"},
		{"webhook", `{"url":"https://example.com","tls":{"cert":"hush"}}`, "tls.key"},
		{"webhook", `{"url":"https://example.com","tls":{"key":"hush"}}`, "tls.cert"},
		{"webhook", `{"url":"https://example.com","tls":{"cert":"hush","key":"hush"}}`, "tls.cert"},
		{"file", `{}`, "path"},
		{"file", `{"path":""}`, "path"},
		{"file", `{"path":"hush/"}`, "path"},
		{"stdout", `{"path":"hush"}`, "path"},
		{"kafka", `{"topic":"x"}`, "brokers"},
		{"kafka", `{"brokers":[],"topic":"x"}`, "brokers"},
		{"kafka", `{"brokers":["x:9092","hush"],"topic":"x"}`, "brokers"},
		{"kafka", `{"brokers":["kafka://hush:9092"],"topic":"x"}`, "brokers"},
		{"kafka", `{"brokers":["x:9092"],"topic":"hush hush"}`, "topic"},
		{"kafka", `{"brokers":["x:9092"],"topic":".."}`, "topic"},
		{"kafka", `{"brokers":["x:9092"],"topic":"x","compression":"hush"}`, "compression"},
		{"kafka", `{"brokers":["x:9092"],"topic":"x","max_message_bytes":10}`, "max_message_bytes"},
		{"kafka", `{"brokers":["x:9092"],"topic":"x","max_message_bytes":100000000}`, "max_message_bytes"},
		{"kafka", `{"brokers":["x:9092"],"topic":"x","auth":{"kind":"gssapi","username":"hush","password":"hush"}}`, "auth.gssapi"},
		{"kafka", `{"brokers":["x:9092"],"topic":"x","auth":{"kind":"plain","username":"hush"}}`, "auth.plain.password"},
		{"kafka", `{"brokers":["x:9092"],"topic":"x","tls":{"key":"hush"}}`, "tls.cert"},
		{"nats", `{"subject":"x"}`, "servers"},
		{"nats", `{"servers":[],"subject":"x"}`, "servers"},
		{"nats", `{"servers":["hush"],"subject":"x"}`, "servers"},
		{"nats", `{"servers":["http://hush"],"subject":"x"}`, "servers"},
		{"nats", `{"servers":["nats://x","nats://hush@x"],"subject":"x"}`, "servers"},
		{"nats", `{"servers":["nats://x/hush"],"subject":"x"}`, "servers"},
		{"nats", `{"servers":["nats://x"],"subject":"hush.>"}`, "subject"},
		{"nats", `{"servers":["nats://x"],"subject":"hush..x"}`, "subject"},
		{"nats", `{"servers":["nats://x"],"subject":"hush x"}`, "subject"},
		{"nats", `{"servers":["nats://x"],"subject":"$hush"}`, "subject"},
		{"nats", `{"servers":["nats://x"],"subject":"hush.{id}"}`, "subject"},
		{"nats", `{"servers":["nats://x"],"subject":""}`, "subject"},
		{"nats", `{"servers":["nats://x"],"subject":"x","stream":"hush.x"}`, "stream"},
		{"nats", `{"servers":["nats://x"],"subject":"x","auth":{"kind":"jwt"}}`, "auth.jwt"},
		{"nats", `{"servers":["nats://x"],"subject":"x","auth":{"kind":"basic","username":"hush"}}`, "auth.basic.password"},
		{"nats", `{"servers":["nats://x"],"subject":"x","auth":{"kind":"token","token":"x","password":"hush"}}`, "auth.token.password"},
		{"nats", `{"servers":["nats://x"],"subject":"x","auth":{"kind":"nkey","seed":"hush"}}`, "auth.nkey.seed"},
		{"nats", `{"servers":["nats://x"],"subject":"x","auth":{"kind":"credentials","credentials":"hush"}}`, "auth.credentials.credentials"},
		{"nats", `{"servers":["nats://x"],"subject":"x","tls":{"ca":"hush"}}`, "tls.ca"},
		{"exec", `{}`, "command"},
		{"exec", `{"command":[]}`, "command"},
		{"exec", `{"command":["","hush"]}`, "command"},
		{"exec", `{"command":["hush","hu\u0000sh"]}`, "command"},
		{"exec", `{"command":["hush"],"environment":{"A=hush":"hush"}}`, "environment"},
		{"exec", `{"command":["hush"],"environment":{"ROUNDS_hush":"hush"}}`, "environment"},
		{"exec", `{"command":["hush"],"environment":{"A":"hush\u0000"}}`, "environment"},
		{"mllp", `{}`, "address"},
		{"mllp", `{"address":"hush"}`, "address"},
		{"mllp", `{"address":":2575"}`, "address"},
		{"mllp", `{"address":"hush:0"}`, "address"},
		{"mllp", `{"address":"hush:hl7"}`, "address"},
		{"mllp", `{"address":"mllp://hush:2575"}`, "address"},
		{"mllp", `{"address":"hush:2575","tls":{"ca":"hush"}}`, "tls.ca"},
		{"mllp", `{"address":"hush:2575","tls":{"cert":"hush"}}`, "tls.key"},
		{"mllp", `{"address":"hush:2575","tls":{"key":"hush"}}`, "tls.cert"},
		{"mllp", `{"address":"hush:2575","tls":{"cert":"hush","key":"hush"}}`, "tls.cert"},
	} {
		_, err := destination.Open(c.typ, json.RawMessage(c.config))
		var e *schema.Error
		if !errors.As(err, &e) || e.Path != c.path {
			t.Errorf("%s %s: %v, want an error of %s", c.typ, c.config, err, c.path)
			continue
		}
		if strings.Contains(e.Error(), "hush") {
			t.Errorf("%s %s: %q quotes the value", c.typ, c.config, e)
		}
		if err := destination.Check(c.typ, json.RawMessage(c.config)); err == nil {
			t.Errorf("%s %s: Check finds nothing", c.typ, c.config)
		}
	}
	if _, err := destination.Open("fax", []byte(`{}`)); err == nil || !strings.Contains(err.Error(), strings.Join(destination.Types, ", ")) {
		t.Errorf("an unknown type: %v", err)
	}
}

// open opens a destination and closes it when the test ends.
func open(t testing.TB, typ string, config map[string]any) destination.Destination {
	t.Helper()
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	d, err := destination.Open(typ, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func sendError(t *testing.T, err error) *record.SendError {
	t.Helper()
	var e *record.SendError
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is not a SendError", err, err)
	}
	return e
}
