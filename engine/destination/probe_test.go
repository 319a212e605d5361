// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/rounds-engine/rounds/engine/destination"
)

// TestProbesReachADestinationAndSendNothing: what is wrong is told as by an attempt.
func TestProbesReachADestinationAndSendNothing(t *testing.T) {
	var methods []string
	refusing := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		methods = append(methods, r.Method)
		if r.Header.Get("Authorization") != "" || r.Header.Get("Webhook-Id") != "" {
			t.Errorf("the probe has the headers %v", r.Header)
		}
		w.WriteHeader(http.StatusMethodNotAllowed)
	})
	returning := &challenged{answer: func(w http.ResponseWriter, challenge string) { io.WriteString(w, challenge) }}
	silent := &challenged{answer: func(http.ResponseWriter, string) {}}
	nats := startNATS(t, server.Options{Authorization: "hush"})
	kafka := startKafka(t, kfake.SeedTopics(1, "ehr"))
	token := map[string]any{"kind": "token", "token": "hush"}
	for _, c := range []struct {
		typ    string
		config map[string]any
		want   string
	}{
		{"webhook", map[string]any{"url": refusing, "allow_private": true, "auth": map[string]any{"kind": "bearer", "token": "hush"}}, ""},
		{"webhook", map[string]any{"url": "http://127.0.0.1:1/", "allow_private": true}, "connection refused"},
		{"webhook", map[string]any{"url": receiver(t, returning.ServeHTTP), "allow_private": true, "verification_token": "hush",
			"challenge": "POST"}, ""},
		{"webhook", map[string]any{"url": receiver(t, silent.ServeHTTP), "allow_private": true, "verification_token": "hush",
			"challenge": "POST"}, "did not return the challenge"},
		{"nats", map[string]any{"servers": []string{nats.ClientURL()}, "subject": "ehr", "auth": token}, ""},
		{"nats", map[string]any{"servers": []string{nats.ClientURL()}, "subject": "ehr"}, "credentials"},
		{"nats", map[string]any{"servers": []string{"nats://127.0.0.1:1"}, "subject": "ehr"}, "no server can be reached"},
		{"kafka", map[string]any{"brokers": kafka.ListenAddrs(), "topic": "ehr"}, ""},
		{"kafka", map[string]any{"brokers": kafka.ListenAddrs(), "topic": "none"}, "the topic does not exist"},
		{"kafka", map[string]any{"brokers": []string{"127.0.0.1:1"}, "topic": "ehr"}, "connection refused"},
	} {
		err := open(t, c.typ, c.config).(destination.Prober).Probe(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			shown, _ := json.Marshal(c.config)
			t.Errorf("%s %s: %v, want %q", c.typ, shown, err, c.want)
		}
	}
	if len(methods) != 1 || methods[0] != http.MethodOptions || returning.sent.Load()+silent.sent.Load() != 0 {
		t.Errorf("sent: %v, %d", methods, returning.sent.Load())
	}
	if n := kafka.PartitionInfo("ehr", 0).HighWatermark; n != 0 {
		t.Errorf("%d records are in the topic", n)
	}
}
