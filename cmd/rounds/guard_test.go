// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// TestAPrivateReceiverHasToBeAllowed: by name of the attribute, before anything runs; and where a proxy of the environment would
// look up the receiver, the destination pauses and the proxy is not spoken to.
func TestAPrivateReceiverHasToBeAllowed(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir := write(t, map[string]string{"main.hcl": replaced(t, pipelineHCL, "  allow_private = true\n", ""), "mapping.js": tellAll})
	if code, _, stderr := rounds(t, c.env(), "validate", dir); code != 1 || !strings.Contains(stderr, "allow_private = true") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	var asked atomic.Int64
	proxy := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	p := startRun(t, dir, []string{"EHR_URL=" + c.ehrURL, "NOTIFY_URL=http://receiver.example/", "HTTP_PROXY=" + proxy, "http_proxy=" + proxy})
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	if err := c.Move(c.IDs()[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "paused", func() bool {
		return strings.Contains(p.log.String(), "the destination is paused") && strings.Contains(p.log.String(), "code=proxied")
	})
	p.stop()
	if asked.Load() != 0 {
		t.Error("the proxy was asked")
	}
	if strings.Contains(p.log.String(), "receiver.example") {
		t.Error("the log holds the receiver's host")
	}
}
