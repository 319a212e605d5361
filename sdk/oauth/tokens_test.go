// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// clinic is an API that issues tokens itself and accepts the last one.
type clinic struct {
	*httptest.Server
	mu      sync.Mutex
	issued  int
	calls   int
	revoked bool          // the last token is not accepted any more
	refuse  int           // status for who asks for a token; 0: they get one
	life    int           // of a token, in seconds; 0: not told
	hold    chan struct{} // until it is closed nobody gets a token
}

func newClinic(t *testing.T) *clinic {
	c := &clinic{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			c.mu.Lock()
			hold := c.hold
			c.mu.Unlock()
			if hold != nil {
				<-hold
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case r.URL.Path == "/login" && c.refuse != 0:
			c.issued++
			w.WriteHeader(c.refuse)
		case r.URL.Path == "/login":
			c.issued++
			c.revoked = false
			fmt.Fprintf(w, `{"access_token": "c4n4ry-%d"`, c.issued)
			if c.life > 0 {
				fmt.Fprintf(w, `, "expires_in": %d`, c.life)
			}
			io.WriteString(w, "}")
		default:
			if c.calls++; c.revoked || r.Header.Get("Authorization") != fmt.Sprintf("Bearer c4n4ry-%d", c.issued) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			io.WriteString(w, "{}")
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// user is a source that calls the clinic, and its clock.
type user struct {
	*Tokens
	client *httpx.Client
	clinic *clinic
	now    time.Time
}

func (c *clinic) open(t *testing.T) *user {
	t.Helper()
	return c.openWith(t, Config{TokenURL: c.URL + "/login", ClientID: "a", ClientSecret: "c4n4ry"})
}

func (c *clinic) openWith(t *testing.T, config Config) *user {
	t.Helper()
	tokens, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := httpx.New(httpx.Config{Concurrency: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	u := &user{tokens, client, c, time.Now()}
	tokens.now = func() time.Time { return u.now }
	return u
}

// fetch makes n calls side by side and gives the errors that came.
func (u *user) fetch(t *testing.T, n int) map[string]int {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := map[string]int{}
	for range n {
		wg.Go(func() {
			if _, err := u.JSON(t.Context(), u.client, httpx.Request{URL: u.clinic.URL + "/p/1", Template: "/p/{id}"}); err != nil {
				mu.Lock()
				errs[string(sdk.CodeOf(err))+" "+err.Error()]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errs
}

func (c *clinic) want(t *testing.T, when string, errs map[string]int, issued int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(errs) > 0 || c.issued != issued {
		t.Errorf("%s: %d tokens, want %d; %v", when, c.issued, issued, errs)
	}
}

func TestATokenIsRenewedBeforeItExpires(t *testing.T) {
	c := newClinic(t)
	c.life = 600
	u := c.open(t)
	c.want(t, "first", u.fetch(t, 50), 1)
	u.now = u.now.Add(8*time.Minute + 59*time.Second)
	c.want(t, "a minute before the end", u.fetch(t, 50), 1)
	u.now = u.now.Add(time.Second)
	c.want(t, "within the last minute", u.fetch(t, 50), 2)
	c.life = 10
	u.now = u.now.Add(time.Hour)
	c.want(t, "a short life", u.fetch(t, 5), 3)
	u.now = u.now.Add(8 * time.Second)
	c.want(t, "its last fifth", u.fetch(t, 5), 4)
	if c.calls != 160 {
		t.Errorf("%d calls for 160 records: some were made with a token that had expired", c.calls)
	}
}

func TestARefusedTokenIsRenewedOnceForAllThatMetTheRefusal(t *testing.T) {
	c := newClinic(t)
	u := c.open(t)
	c.want(t, "first", u.fetch(t, 1), 1)
	c.mu.Lock()
	c.revoked = true
	c.mu.Unlock()
	u.now = u.now.Add(settle)
	c.want(t, "after the refusal", u.fetch(t, 200), 2)

	c.mu.Lock()
	c.revoked = true
	c.mu.Unlock()
	u.now = u.now.Add(settle)
	if res, err := u.JSON(t.Context(), u.client, httpx.Request{URL: c.URL + "/p/1", Template: "/p/{id}"}); err != nil || res.Calls != 2 {
		t.Errorf("%v; the refused call was not counted", err)
	}
}

func TestANewTokenThatIsRefusedIsNotFollowedByOthers(t *testing.T) {
	c := newClinic(t)
	u := c.open(t)
	c.want(t, "first", u.fetch(t, 1), 1)
	c.mu.Lock()
	c.revoked = true
	c.mu.Unlock()
	errs := u.fetch(t, 100)
	if c.issued != 1 || errs["unauthorized GET /p/{id}: 401 Unauthorized"] != 100 {
		t.Errorf("%d tokens; %v", c.issued, errs)
	}
}

func TestRefusedCredentialsAreTriedEverMoreSeldom(t *testing.T) {
	c := newClinic(t)
	c.refuse = http.StatusBadRequest
	u := c.open(t)
	for n, stands := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute} {
		for range 2 {
			errs := u.fetch(t, 100)
			if c.issued != n+1 || errs["unauthorized no token: POST /login: 400 Bad Request"] != 100 {
				t.Errorf("asked %d times, want %d; %v", c.issued, n+1, errs)
			}
			u.now = u.now.Add(stands - time.Second)
		}
		u.now = u.now.Add(time.Second - stands + time.Second)
	}
	c.refuse = 0
	c.want(t, "when the credentials are good again", u.fetch(t, 100), 8)
}

func TestWhoWaitsForATokenIsNotTouchedByAnothersEnd(t *testing.T) {
	c := newClinic(t)
	c.hold = make(chan struct{})
	u := c.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := u.get(ctx, u.client, "")
		ended <- err
	}()
	cancel()
	err := <-ended // although nobody got a token yet
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("the one that was canceled: %v", err)
	}
	go func() {
		_, err := u.get(t.Context(), u.client, "")
		ended <- err
	}()
	close(c.hold)
	if err := <-ended; err != nil {
		t.Errorf("the other: %v", err)
	}
	c.want(t, "in the end", u.fetch(t, 10), 1)
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{`{"a": {"t": "x"}, "e": 5}`, `{"a": {"t": "x"}, "e": "1e300"}`, `{"a": {"t": "\n"}}`, `[]`, `{"a": {"t": "x"}, "e": "NaN"}`,
		`{"a": {"t": "x"}, "e": 0.0000000001}`} {
		f.Add([]byte(s))
	}
	in := endpoint{token: []string{"a", "t"}, expires: []string{"e"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		token, life, err := in.read(body)
		if err == nil && (!IsToken(token) || life < 0) {
			t.Errorf("token %q lives %s", token, life)
		}
	})
}
