// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

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

// open gives a source of the clinic, and its clock.
func (c *clinic) open(t *testing.T) (*source, *time.Time) {
	t.Helper()
	opened, err := Open(t.Context(), Config{BaseURL: c.URL, Limits: &Limits{Concurrency: 64},
		Auth:      &Auth{Kind: "oauth2", TokenURL: c.URL + "/login", ClientID: "a", ClientSecret: "c4n4ry"},
		Resources: []Resource{{Name: "p", Path: "/p/{id}"}}}, sdk.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	s := opened.(*source)
	now := time.Now()
	s.auth.tokens.now = func() time.Time { return now }
	return s, &now
}

// fetchMany fetches n records side by side and gives the errors that came.
func fetchMany(t *testing.T, s *source, n int) map[string]int {
	t.Helper()
	refs := make([]sdk.Ref, n)
	for i := range refs {
		refs[i] = sdk.Ref{Kind: "p", ID: fmt.Sprint(i)}
	}
	results, err := s.Fetch(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	errs := map[string]int{}
	for _, r := range results {
		if r.Err != nil {
			errs[string(sdk.CodeOf(r.Err))+" "+r.Err.Error()]++
		}
	}
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
	s, now := c.open(t)
	c.want(t, "first", fetchMany(t, s, 50), 1)
	*now = now.Add(8*time.Minute + 59*time.Second)
	c.want(t, "a minute before the end", fetchMany(t, s, 50), 1)
	*now = now.Add(time.Second)
	c.want(t, "within the last minute", fetchMany(t, s, 50), 2)
	c.life = 10
	*now = now.Add(time.Hour)
	c.want(t, "a short life", fetchMany(t, s, 5), 3)
	*now = now.Add(8 * time.Second)
	c.want(t, "its last fifth", fetchMany(t, s, 5), 4)
	if c.calls != 160 {
		t.Errorf("%d calls for 160 records: some were made with a token that had expired", c.calls)
	}
}

func TestARefusedTokenIsRenewedOnceForAllThatMetTheRefusal(t *testing.T) {
	c := newClinic(t)
	s, now := c.open(t)
	c.want(t, "first", fetchMany(t, s, 1), 1)
	c.mu.Lock()
	c.revoked = true
	c.mu.Unlock()
	*now = now.Add(settle)
	c.want(t, "after the refusal", fetchMany(t, s, 200), 2)

	c.mu.Lock()
	c.revoked = true
	c.mu.Unlock()
	*now = now.Add(settle)
	if res, err := s.do(t.Context(), httpx.Request{URL: c.URL + "/p/1", Template: "/p/{id}"}); err != nil || res.Calls != 2 {
		t.Errorf("%v; the refused call was not counted", err)
	}
}

func TestANewTokenThatIsRefusedIsNotFollowedByOthers(t *testing.T) {
	c := newClinic(t)
	s, _ := c.open(t)
	c.want(t, "first", fetchMany(t, s, 1), 1)
	c.mu.Lock()
	c.revoked = true
	c.mu.Unlock()
	errs := fetchMany(t, s, 100)
	if c.issued != 1 || errs["unauthorized GET /p/{id}: 401 Unauthorized"] != 100 {
		t.Errorf("%d tokens; %v", c.issued, errs)
	}
}

func TestRefusedCredentialsAreNotTriedForEachRecord(t *testing.T) {
	c := newClinic(t)
	c.refuse = http.StatusBadRequest
	s, now := c.open(t)
	for n := 1; n <= 2; n++ {
		errs := fetchMany(t, s, 100)
		if c.issued != n || errs["unauthorized no token: POST /login: 400 Bad Request"] != 100 {
			t.Errorf("asked %d times, want %d; %v", c.issued, n, errs)
		}
		*now = now.Add(settle)
	}
	c.refuse = 0
	c.want(t, "when the credentials are good again", fetchMany(t, s, 100), 3)
}

func TestARefusalOfTheCredentialsIsNotOneOfAPageOrABatch(t *testing.T) {
	c := newClinic(t)
	c.refuse = http.StatusBadRequest
	opened, err := Open(t.Context(), Config{BaseURL: c.URL, Auth: &Auth{Kind: "oauth2", TokenURL: c.URL + "/login", ClientID: "a", ClientSecret: "c4n4ry"},
		Feeds:     []Feed{{Name: "f", Path: "/{since}", ID: "id", Time: "t", Page: &Page{Kind: byNumber, Param: "p"}}},
		Resources: []Resource{{Name: "p", Path: "/{ids}", Batch: &Batch{ID: "id"}}}}, sdk.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	s := opened.(*source)
	cursor := []byte(`{"kind": "number", "next": 2, "pages": 1, "reading": {"asked": "2026-05-10T14:00:00Z"}}`)
	const text = "no token: POST /login: 400 Bad Request"
	if _, err := s.Poll(t.Context(), sdk.Query{Feed: "f", Cursor: cursor}); sdk.CodeOf(err) != sdk.CodeUnauthorized || err.Error() != text {
		t.Errorf("a page: %s %v", sdk.CodeOf(err), err)
	}
	if errs := fetchMany(t, s, 40); errs["unauthorized "+text] != 40 || c.issued != 1 {
		t.Errorf("a batch: %v, asked %d times", errs, c.issued)
	}
}

func TestWhoWaitsForATokenIsNotTouchedByAnothersEnd(t *testing.T) {
	c := newClinic(t)
	c.hold = make(chan struct{})
	s, _ := c.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := s.auth.tokens.get(ctx, s.client, "")
		ended <- err
	}()
	cancel()
	err := <-ended // although nobody got a token yet
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("the one that was canceled: %v", err)
	}
	go func() {
		_, err := s.auth.tokens.get(t.Context(), s.client, "")
		ended <- err
	}()
	close(c.hold)
	if err := <-ended; err != nil {
		t.Errorf("the other: %v", err)
	}
	c.want(t, "in the end", fetchMany(t, s, 10), 1)
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{`{"a": {"t": "x"}, "e": 5}`, `{"a": {"t": "x"}, "e": "1e300"}`, `{"a": {"t": "\n"}}`, `[]`, `{"a": {"t": "x"}, "e": "NaN"}`,
		`{"a": {"t": "x"}, "e": 0.0000000001}`} {
		f.Add([]byte(s))
	}
	in := issuer{token: dotted{"a", "t"}, expires: dotted{"e"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		token, life, err := in.read(body)
		if err == nil && (!isSecret(token) || life < 0) {
			t.Errorf("token %q lives %s", token, life)
		}
	})
}
