// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
)

func TestWebhookProvesWhoSends(t *testing.T) {
	for name, c := range map[string]struct {
		config map[string]any
		header string
		want   string
	}{
		"bearer": {map[string]any{"auth": map[string]any{"kind": "bearer", "token": "hush"}}, "Authorization", "Bearer hush"},
		"basic": {map[string]any{"auth": map[string]any{"kind": "basic", "username": "rounds", "password": "p:ä"}}, "Authorization",
			"Basic cm91bmRzOnA6w6Q="},
		"token":  {map[string]any{"verification_token": "hush"}, "Verification-Token", "hush"},
		"header": {map[string]any{"headers": map[string]string{"x-api-key": "hush"}}, "X-Api-Key", "hush"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			c.config["url"], c.config["allow_private"] = receiver(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header[c.header] }), true
			if err := open(t, "webhook", c.config).Send(t.Context(), note("{}")); err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0] != c.want {
				t.Errorf("%s is %q, want %q", c.header, got, c.want)
			}
		})
	}
}

// challenged is a receiver that returns challenges as answer says and counts what it gets.
type challenged struct {
	asked, sent atomic.Int64
	answer      func(w http.ResponseWriter, challenge string)
}

func (c *challenged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asked map[string]string
	if r.Method == http.MethodGet {
		asked = map[string]string{"challenge": r.URL.Query().Get("challenge"), "verification-token": r.URL.Query().Get("verification-token")}
		if r.URL.Query().Get("k") != "v" || len(body) > 0 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
	} else {
		json.Unmarshal(body, &asked)
	}
	switch {
	case asked["challenge"] == "":
		c.sent.Add(1)
	case asked["verification-token"] != "hush" || r.Header.Get("Verification-Token") != "hush" || r.Header.Get("Webhook-Id") != "":
		w.WriteHeader(http.StatusTeapot)
	default:
		c.asked.Add(1)
		c.answer(w, asked["challenge"])
	}
}

func TestWebhookAsksForAChallengeOnceBeforeTheFirstNotification(t *testing.T) {
	for _, method := range []string{"POST", "GET"} {
		for name, answer := range map[string]func(http.ResponseWriter, string){
			"as it is": func(w http.ResponseWriter, challenge string) { io.WriteString(w, challenge) },
			"in JSON": func(w http.ResponseWriter, challenge string) {
				json.NewEncoder(w).Encode(map[string]string{"challenge": challenge})
			},
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				r := &challenged{answer: answer}
				config := map[string]any{"url": receiver(t, r.ServeHTTP) + "/?k=v", "allow_private": true, "verification_token": "hush",
					"challenge": method}
				for start := range int64(2) {
					d := open(t, "webhook", config)
					var all sync.WaitGroup
					for range 8 {
						all.Go(func() {
							if err := d.Send(t.Context(), note("{}")); err != nil {
								t.Error(err)
							}
						})
					}
					all.Wait()
					if asked, sent := r.asked.Load(), r.sent.Load(); asked != start+1 || sent != 8*(start+1) {
						t.Errorf("after start %d: asked %d times, sent %d", start+1, asked, sent)
					}
				}
			})
		}
	}
}

func TestWebhookSendsNothingToAReceiverThatDoesNotReturnTheChallenge(t *testing.T) {
	for name, c := range map[string]struct {
		answer  func(http.ResponseWriter, string)
		verdict record.Verdict
		text    string
	}{
		"something else": {func(w http.ResponseWriter, _ string) { io.WriteString(w, "hello MRN-12345") }, record.Pause,
			"the receiver did not return the challenge"},
		"nothing":  {func(http.ResponseWriter, string) {}, record.Pause, "the receiver did not return the challenge"},
		"refuses":  {func(w http.ResponseWriter, _ string) { w.WriteHeader(422) }, record.Pause, "the receiver answered 422"},
		"is moved": {func(w http.ResponseWriter, _ string) { w.WriteHeader(308) }, record.Pause, "the receiver answered 308"},
		"is down":  {func(w http.ResponseWriter, _ string) { w.WriteHeader(503) }, record.Retry, "the receiver answered 503"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &challenged{answer: c.answer}
			d := open(t, "webhook", map[string]any{"url": receiver(t, r.ServeHTTP), "allow_private": true, "verification_token": "hush",
				"challenge": "POST"})
			e := sendError(t, d.Send(t.Context(), note("{}")))
			if e.Verdict != c.verdict || !strings.Contains(e.Text, c.text) || strings.Contains(e.Text, "hush") || strings.Contains(e.Text, "MRN") {
				t.Errorf("verdict %d: %s", e.Verdict, e.Text)
			}
			if r.sent.Load() != 0 {
				t.Error("a notification was sent")
			}
			r.answer = func(w http.ResponseWriter, challenge string) { io.WriteString(w, challenge) }
			if err := d.Send(t.Context(), note("{}")); err != nil || r.asked.Load() != 2 || r.sent.Load() != 1 {
				t.Errorf("asked %d times, sent %d: %v", r.asked.Load(), r.sent.Load(), err)
			}
		})
	}
}

func TestWebhookAppearsWithItsCertificate(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.PeerCertificates[0].Subject.CommonName != "rounds" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = ours.server("receiver.example")
	s.StartTLS()
	defer s.Close()
	cert, key := ours.issue("rounds")
	send := func(tls map[string]any) error {
		return open(t, "webhook", map[string]any{"url": s.URL, "allow_private": true, "tls": tls}).Send(t.Context(), note("{}"))
	}
	if err := send(map[string]any{"ca": ours.pem, "cert": cert, "key": key}); err != nil {
		t.Error(err)
	}
	if err := send(map[string]any{"ca": ours.pem, "cert": cert, "key": key, "server_name": "receiver.example"}); err != nil {
		t.Error(err)
	}
	if e := sendError(t, send(map[string]any{"ca": ours.pem, "cert": cert, "key": key, "server_name": "other.example"})); e.Code != "tls" {
		t.Errorf("a certificate for another name: %v", e)
	}
	if e := sendError(t, send(map[string]any{"ca": other.pem, "cert": cert, "key": key})); e.Code != "tls" {
		t.Errorf("a certificate of another authority: %v", e)
	}
	// The receiver's refusal may be overtaken by its closing of the connection.
	if e := sendError(t, send(map[string]any{"ca": ours.pem})); e.Verdict != record.Retry || strings.Contains(e.Text, "(*") {
		t.Errorf("no certificate: %v", e)
	}
}
