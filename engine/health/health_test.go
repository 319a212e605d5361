// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/health"
)

func TestAllChecksHaveToBeWell(t *testing.T) {
	well := func(context.Context) error { return nil }
	hangs := make(chan struct{})
	defer close(hangs)
	for name, x := range map[string]struct {
		checks []health.Check
		status int
		body   string
	}{
		"none": {nil, 200, ""},
		"well": {[]health.Check{{Name: "state", Test: well}, {Name: "loops", Test: well}}, 200, "state: ok\nloops: ok\n"},
		"not well": {[]health.Check{
			{Name: "state", Test: well}, {Name: "loops", Test: func(context.Context) error { return errors.New("pipeline visits has ended") }},
		}, 503, "state: ok\nloops: pipeline visits has ended\n"},
		"hangs": {[]health.Check{
			{Name: "state", Test: func(context.Context) error { <-hangs; return nil }}, {Name: "loops", Test: well},
		}, 503, "state: no answer within 800ms\nloops: ok\n"},
		"panics": {[]health.Check{{Name: "state", Test: func(context.Context) error { panic("Canary") }}}, 503, "state: internal error (string)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := httptest.NewRecorder()
			health.Handler(x.checks...).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/healthz", nil))
			if answer.Code != x.status || answer.Body.String() != x.body {
				t.Errorf("status %d\n%s\nwant %d\n%s", answer.Code, answer.Body, x.status, x.body)
			}
		})
	}
}

// The checks share one time limit, so that whoever asks hears before it gives up.
func TestChecksAreMadeSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context) error {
			time.Sleep(700 * time.Millisecond)
			return nil
		}
		began, answer := time.Now(), httptest.NewRecorder()
		health.Handler(health.Check{Name: "a", Test: slow}, health.Check{Name: "b", Test: slow}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if took := time.Since(began); answer.Code != 200 || took != 700*time.Millisecond {
			t.Errorf("status %d after %s", answer.Code, took)
		}
	})
}
