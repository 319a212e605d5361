// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// transport answers in memory, so that time is the test's own.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, status int, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("{}")), Request: r}
}

var call = httpx.Request{URL: "http://ehr.invalid/a", Template: "/a"}

func TestDelaysBetweenAttemptsAreRandomAndCapped(t *testing.T) {
	distinct := map[time.Duration]bool{}
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			c := newClient(t, httpx.Config{Attempts: 8, Transport: transport(func(r *http.Request) (*http.Response, error) {
				at = append(at, time.Now())
				return nil, io.ErrUnexpectedEOF
			})})
			_, err := c.Do(t.Context(), call)
			if sdk.CodeOf(err) != sdk.CodeRetryable || len(at) != 8 {
				t.Fatalf("%d attempts, %v", len(at), err)
			}
			limit := 250 * time.Millisecond
			for i := 1; i < len(at); i++ {
				d := at[i].Sub(at[i-1])
				if d <= 0 || d > limit {
					t.Errorf("delay %d is %s, allowed is %s", i, d, limit)
				}
				distinct[d] = true
				limit = min(2*limit, 5*time.Second)
			}
		})
	}
	if len(distinct) < 60 { // 70 draws of nanoseconds
		t.Errorf("only %d distinct delays", len(distinct))
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	date := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) // the server's clock is years ahead of the bubble's
	for _, tt := range []struct {
		name    string
		headers []string
		wait    time.Duration // slept inside
		after   time.Duration // told to the engine
	}{
		{"seconds", []string{"Retry-After", "7"}, 7 * time.Second, 0},
		{"date by the server's clock", []string{"Retry-After", date.Add(9 * time.Second).Format(http.TimeFormat),
			"Date", date.Format(http.TimeFormat)}, 9 * time.Second, 0},
		{"date by the local clock", []string{"Retry-After", "Sat, 01 Jan 2000 00:00:04 GMT"}, 4 * time.Second, 0},
		{"long", []string{"Retry-After", "11"}, 0, 11 * time.Second},
		{"absurd", []string{"Retry-After", "99999999999999999999"}, 0, 24 * time.Hour},
		{"absurd date", []string{"Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"}, 0, 24 * time.Hour},
	} {
		for _, status := range []int{429, 503} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					calls := 0
					c := newClient(t, httpx.Config{Transport: transport(func(r *http.Request) (*http.Response, error) {
						if calls++; calls == 1 {
							return answer(r, status, tt.headers...), nil
						}
						return answer(r, 200), nil
					})})
					began := time.Now()
					_, err := c.Do(t.Context(), call)
					if time.Since(began) != tt.wait {
						t.Errorf("waited %s, want %s", time.Since(began), tt.wait)
					}
					if tt.after == 0 {
						if err != nil || calls != 2 {
							t.Errorf("%d calls, %v", calls, err)
						}
						return
					}
					e := sdk.Safe(err)
					if e == nil || e.Code != sdk.CodeRateLimited || e.After != tt.after || calls != 1 {
						t.Fatalf("%d calls, %v, after %s", calls, err, e.After)
					}
					// A second call does not reach the server before the pause is over.
					time.Sleep(tt.after - 10*time.Second - 1)
					_, err = c.Do(t.Context(), call)
					if e := sdk.Safe(err); e == nil || e.Code != sdk.CodeRateLimited || e.After != 10*time.Second+1 || calls != 1 {
						t.Errorf("in the pause: %d calls, %v", calls, err)
					}
					time.Sleep(time.Nanosecond)
					if _, err = c.Do(t.Context(), call); err != nil || calls != 2 || time.Since(began) != tt.after {
						t.Errorf("after the pause: %d calls, %v, %s", calls, err, time.Since(began))
					}
				})
			})
		}
	}
}

func TestAPauseHoldsAllCallsOfTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		limited := false
		var early int
		began := time.Now()
		c := newClient(t, httpx.Config{Concurrency: 4, Transport: transport(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if !limited {
				limited = true
				return answer(r, 429, "Retry-After", "5"), nil
			}
			if time.Since(began) < 5*time.Second {
				early++
			}
			return answer(r, 200), nil
		})})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if _, err := c.Do(t.Context(), call); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if early != 0 {
			t.Errorf("%d calls went out during the pause", early)
		}
	})
}

func TestLimitsHoldForAllUsersTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		now, most := 0, 0
		c := newClient(t, httpx.Config{Concurrency: 3, Limits: budget.Limits{PerSecond: 10}, Transport: transport(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			at = append(at, time.Now())
			now++
			most = max(most, now)
			first := len(at)%5 == 0 && r.Header.Get("Try") == ""
			mu.Unlock()
			time.Sleep(250 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			if first {
				return answer(r, 502), nil
			}
			return answer(r, 200), nil
		})})
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() {
				if _, err := c.Do(t.Context(), call); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most != 3 {
			t.Errorf("%d calls at once, want 3", most)
		}
		if len(at) <= 60 {
			t.Errorf("%d calls: nothing was repeated", len(at))
		}
		for i := 10; i < len(at); i++ {
			if d := at[i].Sub(at[i-10]); d < time.Second-time.Microsecond {
				t.Errorf("11 calls within %s", d)
			}
		}
	})
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	for name, c := range map[string]httpx.Config{"slot": {Concurrency: 1}, "rate": {Limits: budget.Limits{PerSecond: 0.001}},
		"minute": {Limits: budget.Limits{PerMinute: 1}}, "pause": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(55 * time.Second) // of a minute
				release := make(chan struct{})
				c.Transport = transport(func(r *http.Request) (*http.Response, error) {
					if name == "slot" {
						<-release
					}
					if name == "pause" {
						return answer(r, 503, "Retry-After", "9"), nil
					}
					return answer(r, 200), nil
				})
				client := newClient(t, c)
				go client.Do(t.Context(), call)
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				began := time.Now()
				_, err := client.Do(ctx, call)
				if !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
				close(release)
			})
		})
	}
}

func TestTheTimeOutIsForOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newClient(t, httpx.Config{Timeout: 30 * time.Second, Transport: transport(func(r *http.Request) (*http.Response, error) {
			if calls++; calls == 1 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			time.Sleep(29 * time.Second)
			return answer(r, 200), nil
		})})
		if _, err := c.Do(t.Context(), call); err != nil || calls != 2 {
			t.Errorf("%d calls, %v", calls, err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		calls = 0
		_, err := c.Do(ctx, call)
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "GET /a: deadline exceeded" || calls != 1 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
}

// TestWhatTheLimitsLeaveNoTimeForIsNotToBlame: a Retryable counts against the record that is asked for.
func TestWhatTheLimitsLeaveNoTimeForIsNotToBlame(t *testing.T) {
	for name, config := range map[string]httpx.Config{"per second": {Limits: budget.Limits{PerSecond: 1}, Concurrency: 100}, "concurrency": {Concurrency: 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config.Transport = transport(func(r *http.Request) (*http.Response, error) {
					select {
					case <-time.After(time.Second):
						return answer(r, 200), nil
					case <-r.Context().Done():
						return nil, r.Context().Err()
					}
				})
				c := newClient(t, config)
				ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
				defer cancel()
				codes := make(chan sdk.Code, 10)
				for range cap(codes) {
					go func() {
						_, err := c.Do(ctx, call)
						codes <- sdk.CodeOf(err)
					}()
				}
				got := map[sdk.Code]int{}
				for range cap(codes) {
					got[<-codes]++
				}
				if got[""] != 3 || got[sdk.CodeRetryable] != 1 || got[sdk.CodeRateLimited] != 6 {
					t.Errorf("got %v, want 3 answers, 1 cut off and the rest not called", got)
				}
			})
		})
	}
}

func TestEachAttemptTakesOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newClient(t, httpx.Config{Limits: budget.Limits{PerDay: 5}, Transport: transport(func(r *http.Request) (*http.Response, error) {
			calls++
			switch {
			case r.URL.Path == "/moved":
				return answer(r, 302, "Location", "/a"), nil
			case calls == 1:
				return answer(r, 503), nil
			}
			return answer(r, 200), nil
		})})
		if _, err := c.Do(t.Context(), call); err != nil || calls != 2 { // repeated
			t.Fatalf("%d calls, %v", calls, err)
		}
		moved := httpx.Request{URL: "http://ehr.invalid/moved", Template: "/moved"}
		if res, err := c.Do(t.Context(), moved); err != nil || res.Calls != 2 {
			t.Fatalf("%v, %v", res, err)
		}
		if f := c.Budget().Forecasts()[0]; f.Used != 4 || calls != 4 {
			t.Errorf("%d of the budget were used for %d calls", f.Used, calls)
		}
		left := 24*time.Hour - time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) + time.Second
		for _, path := range []string{"/moved", "/a"} {
			_, err := c.Do(t.Context(), httpx.Request{URL: "http://ehr.invalid" + path, Template: path})
			e := sdk.Safe(err)
			if e == nil || e.Code != sdk.CodeRateLimited || e.After != left || e.Text != "GET "+path+": not called, the budget of 5 calls a day is spent" || calls != 5 {
				t.Errorf("%s: %d calls, %v", path, calls, err)
			}
		}
	})
}

func TestA429WithoutADelayEndsTheMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse, calls := true, 0
		c := newClient(t, httpx.Config{Limits: budget.Limits{After429: budget.Minute}, Transport: transport(func(r *http.Request) (*http.Response, error) {
			if calls++; refuse { // by a clock that is half a minute ahead
				return answer(r, 429, "Date", time.Now().Add(30*time.Second).UTC().Format(http.TimeFormat)), nil
			}
			return answer(r, 200), nil
		})})
		for range 3 {
			_, err := c.Do(t.Context(), call)
			if e := sdk.Safe(err); e == nil || e.Code != sdk.CodeRateLimited || e.After != 31*time.Second || calls != 1 {
				t.Fatalf("%d calls, %v", calls, err)
			}
		}
		refuse = false
		time.Sleep(22 * time.Second) // the rest is waited for
		if _, err := c.Do(t.Context(), call); err != nil || calls != 2 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
}
