// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/rounds-engine/rounds/engine/record"
)

// challenge asks a receiver, before it gets anything, to return a random text, as Redox verifies an endpoint
// (https://docs.redoxengine.com, "Create and verify an endpoint"): patients' data go only where somebody expects them.
type challenge struct {
	method, token string
	asking        chan struct{} // held by who asks
	passed        atomic.Bool
}

func newChallenge(method, token string) *challenge {
	return &challenge{method: method, token: token, asking: make(chan struct{}, 1)}
}

// pass returns nil once the receiver has returned a challenge. Of several lanes one asks, and the others wait for it; where that
// fails, the next asks again.
func (c *challenge) pass(ctx context.Context, w *webhook) error {
	if c == nil || c.passed.Load() {
		return nil
	}
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return canceled(ctx)
	}
	if c.passed.Load() {
		return nil
	}
	if err := c.ask(ctx, w); err != nil {
		return err
	}
	c.passed.Store(true)
	return nil
}

// ask makes one request. What the receiver refuses, it refuses for all notifications.
func (c *challenge) ask(ctx context.Context, w *webhook) error {
	text := rand.Text()
	header, to, body := maps.Clone(w.header), *w.url, []byte(nil)
	if c.method == http.MethodGet {
		delete(header, "Content-Type")
		query := url.Values{"challenge": {text}, "verification-token": {c.token}}.Encode()
		to.RawQuery = strings.TrimPrefix(to.RawQuery+"&"+query, "&")
	} else {
		var err error
		if body, err = json.Marshal(map[string]string{"challenge": text, "verification-token": c.token}); err != nil {
			return err
		}
	}
	answer, err := w.request(ctx, c.method, &to, header, body)
	var e *record.SendError
	switch {
	case errors.As(err, &e):
		if e.Verdict == record.Reject {
			e.Verdict = record.Pause
		}
		e.Text = "the challenge before the first notification: " + e.Text
		return e
	case err != nil:
		return err
	case !bytes.Contains(answer, []byte(text)):
		return &record.SendError{Verdict: record.Pause, Code: "challenge", Text: "the receiver did not return the challenge, so it gets no " +
			"notification; the first 2 KiB of its answer have to hold it"}
	}
	return nil
}
