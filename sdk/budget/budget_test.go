// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package budget_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
)

func newBudget(t *testing.T, l budget.Limits, saved *sdk.Section) *budget.Budget {
	t.Helper()
	b, err := budget.New(l, saved)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// calls makes as many calls as there is room for, n at most.
func calls(t *testing.T, b *budget.Budget, n int) (made int, after time.Duration) {
	t.Helper()
	for ; made < n; made++ {
		if err := b.Take(t.Context()); err != nil {
			e := sdk.Safe(err)
			if e.Code != sdk.CodeRateLimited {
				t.Fatal(err)
			}
			return made, e.After
		}
	}
	return made, 0
}

// engine keeps what a source saves.
type engine struct {
	stored []byte
	saves  int
	fail   error
}

func (e *engine) section() *sdk.Section {
	return sdk.NewState(e.stored, func(_ context.Context, stored []byte) error {
		if e.fail != nil {
			return e.fail
		}
		e.saves++
		e.stored = stored
		return nil
	}).Section("budget")
}

func TestABudgetIsForAPeriodOfTheClock(t *testing.T) {
	// A bubble's clock starts at midnight in UTC.
	for name, tt := range map[string]struct {
		limits budget.Limits
		wait   time.Duration // until the first call
		renews time.Duration // from then
	}{
		"minute":             {budget.Limits{PerMinute: 250}, 20 * time.Second, 40 * time.Second},
		"hour":               {budget.Limits{PerHour: 500}, 50 * time.Minute, 10 * time.Minute},
		"day":                {budget.Limits{PerDay: 300}, 5 * time.Hour, 19 * time.Hour},
		"day in a zone":      {budget.Limits{PerDay: 300, DayZone: zone(t, "America/New_York")}, 3 * time.Hour, 2 * time.Hour},
		"the smallest first": {budget.Limits{PerDay: 100_000, PerHour: 9_000, PerMinute: 30}, 10 * time.Second, 50 * time.Second},
		"the largest first":  {budget.Limits{PerDay: 20, PerHour: 900, PerMinute: 3000}, 12 * time.Hour, 12 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limit := tt.limits.PerDay
				for _, l := range []int{tt.limits.PerHour, tt.limits.PerMinute} {
					if limit == 0 || l > 0 && l < limit {
						limit = l
					}
				}
				time.Sleep(tt.wait)
				b := newBudget(t, tt.limits, nil)
				if made, after := calls(t, b, 2*limit); made != limit || after != tt.renews+time.Second {
					t.Errorf("%d calls, again after %s; want %d and %s", made, after, limit, tt.renews+time.Second)
				}
				time.Sleep(tt.renews)
				if made, after := calls(t, b, 1); made != 0 && after > time.Second { // it waits out what a server's clock may be behind
					t.Errorf("%d calls, again after %s", made, after)
				}
				if made, _ := calls(t, b, 2*limit); made < limit-1 || made > limit {
					t.Errorf("%d calls in the next period", made)
				}
			})
		})
	}
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestARestartKeepsTheSpacing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, limits := &engine{}, budget.Limits{PerSecond: 2}
		calls(t, newBudget(t, limits, e.section()), 5)
		last := time.Now()
		calls(t, newBudget(t, limits, e.section()), 1) // of a source that was opened anew
		if d := time.Since(last); d < 500*time.Millisecond {
			t.Errorf("the next call came after %s", d)
		}
	})
}

func TestAShortWaitIsWaitedForAndALongOneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(51 * time.Second)
		b := newBudget(t, budget.Limits{PerMinute: 3}, nil)
		if made, _ := calls(t, b, 3); made != 3 {
			t.Fatal(made)
		}
		short, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		err := b.Take(short)
		if e := sdk.Safe(err); e.Code != sdk.CodeRateLimited || e.After != 10*time.Second || e.Text != "the budget of 3 calls a minute is spent" {
			t.Errorf("with a deadline before the next minute: %v", err)
		}
		began := time.Now()
		if err := b.Take(t.Context()); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if made, _ := calls(t, b, 3); made != 2 {
			t.Errorf("%d more calls in this minute, want 2", made)
		}
		began = time.Now()
		if err := b.Take(t.Context()); sdk.Safe(err).After != time.Minute || time.Since(began) != 0 {
			t.Errorf("at the begin of a minute: %v after %s", err, time.Since(began))
		}
	})
}

func TestABudgetIsSharedByAllThatCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		b := newBudget(t, budget.Limits{PerHour: 500, PerSecond: 9}, e.section())
		var mu sync.Mutex
		var at []time.Time
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				for b.Take(t.Context()) == nil {
					mu.Lock()
					at = append(at, time.Now())
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(at) != 500 {
			t.Errorf("%d calls", len(at))
		}
		for i := 9; i < len(at); i++ {
			if d := at[i].Sub(at[i-9]); d < time.Second-time.Microsecond {
				t.Fatalf("10 calls within %s", d)
			}
		}
	})
}

func TestARestartGoesOnWithWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, limits := &engine{}, budget.Limits{PerMinute: 50, PerDay: 200}
		b := newBudget(t, limits, e.section())
		calls(t, b, 37)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = newBudget(t, limits, e.section())
		if made, after := calls(t, b, 100); made != 13 || after != 61*time.Second {
			t.Errorf("%d more calls in this minute, again after %s", made, after)
		}
		time.Sleep(time.Hour)
		b = newBudget(t, limits, e.section()) // killed in between
		if made, _ := calls(t, b, 100); made != 50 {
			t.Errorf("%d calls in another minute", made)
		}
	})
}

// TestAKilledProcessNeverMakesMoreCallsThanTheBudgetHas counts what a server would see of a source that is killed again and again.
func TestAKilledProcessNeverMakesMoreCallsThanTheBudgetHas(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			limits := budget.Limits{PerMinute: random.IntN(60), PerHour: random.IntN(300), PerDay: 1 + random.IntN(2000)}
			type period struct {
				start  time.Time
				length time.Duration
			}
			allowed := map[time.Duration]int{time.Minute: limits.PerMinute, time.Hour: limits.PerHour, 24 * time.Hour: limits.PerDay}
			seen, made, e := map[period]int{}, 0, &engine{}
			for end := time.Now().Add(50 * time.Hour); time.Now().Before(end); {
				b := newBudget(t, limits, e.section())
				for random.IntN(30) != 0 { // until it is killed
					for range random.IntN(20) {
						if b.Take(t.Context()) != nil {
							break
						}
						made++
						for length := range allowed {
							seen[period{time.Now().Truncate(length), length}]++
						}
					}
					time.Sleep(time.Duration(random.Int64N(int64(4 * time.Minute))))
				}
			}
			for p, n := range seen {
				if limit := allowed[p.length]; limit > 0 && n > limit {
					t.Errorf("seed %d: %d calls in the %s from %s on, the limit is %d", seed, n, p.length, p.start, limit)
				}
			}
			if made == 0 {
				t.Errorf("seed %d: no calls", seed)
			}
		})
	}
}

func TestAKillLosesAtMostAsMuchAsWasUsedAndATwentieth(t *testing.T) {
	for _, made := range []int{1, 2, 3, 10, 100, 2000, 9999, 10_000} {
		synctest.Test(t, func(t *testing.T) {
			e, limits := &engine{}, budget.Limits{PerDay: 10_000}
			calls(t, newBudget(t, limits, e.section()), made)
			left, _ := calls(t, newBudget(t, limits, e.section()), 20_000)
			if lost := 10_000 - made - left; lost < 0 || lost > min(made, 500) {
				t.Errorf("after %d calls a kill loses %d", made, lost)
			}
		})
	}
}

func TestCountsAreNotSavedAtEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		b := newBudget(t, budget.Limits{PerMinute: 5000, PerDay: 10_000}, e.section())
		calls(t, b, 5000)
		if e.saves > 50 {
			t.Errorf("5000 calls took %d saves", e.saves)
		}
	})
}

func TestACallThatCantBeCountedIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		b := newBudget(t, budget.Limits{PerDay: 1000}, e.section())
		calls(t, b, 8) // blocks of 1, 2, 4: one is left
		e.fail = errors.New("of c4n4ry")
		_ = b.Take(t.Context())
		var err error
		for range 10 {
			err = b.Take(t.Context())
		}
		if e := sdk.Safe(err); e == nil || e.Code != sdk.CodeRetryable || !strings.HasPrefix(e.Text, "the count of calls could not be saved: ") || strings.Contains(e.Text, "c4n4ry") {
			t.Errorf("got %v", err)
		}
		e.fail = nil
		if made, _ := calls(t, b, 10); made != 10 {
			t.Errorf("%d calls when it can be saved again", made)
		}
	})
}

// clock is one that is set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestAClockThatIsSetGivesNoCallsAndTakesNoneForLong(t *testing.T) {
	ten := time.Date(2026, 5, 10, 10, 0, 0, 0, time.UTC)
	setup := func() (*budget.Budget, *clock) {
		b, c := newBudget(t, budget.Limits{PerDay: 100}, nil), &clock{ten}
		b.SetClock(c.now)
		return b, c
	}
	check := func(t *testing.T, b *budget.Budget, when string, want int) {
		t.Helper()
		if made, _ := calls(t, b, 1000); made != want {
			t.Errorf("%s: %d calls, want %d", when, made, want)
		}
	}
	t.Run("back in a day", func(t *testing.T) {
		b, c := setup()
		calls(t, b, 60)
		c.at = ten.Add(-3 * time.Hour)
		check(t, b, "earlier", 40)
	})
	t.Run("over midnight and back", func(t *testing.T) {
		b, c := setup()
		calls(t, b, 60)
		c.at = ten.Add(14*time.Hour + time.Minute)
		calls(t, b, 10) // the server takes them to be of the day before
		c.at = ten.Add(14*time.Hour - time.Minute)
		check(t, b, "the day before again", 30)
		c.at = ten.Add(14*time.Hour + 2*time.Minute)
		check(t, b, "the next day", 60) // 40 were made since its clock was first seen
		c.at = ten.Add(39 * time.Hour)
		check(t, b, "the one after", 100)
	})
	t.Run("years ahead and back", func(t *testing.T) {
		b, c := setup()
		calls(t, b, 60)
		c.at = ten.AddDate(73, 0, 0)
		check(t, b, "in 2099", 100)
		c.at = ten.Add(time.Hour)
		check(t, b, "in 2026 again", 0) // 160 were made on this day
		c.at = ten.Add(24 * time.Hour)
		check(t, b, "the day after", 100)
	})
	t.Run("to the day before", func(t *testing.T) {
		b, c := setup()
		calls(t, b, 60)
		c.at = ten.Add(-24 * time.Hour)
		check(t, b, "the day before", 40)
		c.at = ten
		check(t, b, "again", 0)
		c.at = ten.Add(24 * time.Hour)
		check(t, b, "the day after", 100)
	})
	t.Run("back and forth", func(t *testing.T) {
		b, c := setup()
		made := 0
		for range 10 {
			for _, day := range []int{0, -1} {
				c.at = ten.AddDate(0, 0, day)
				n, _ := calls(t, b, 30)
				made += n
			}
		}
		if made != 100 {
			t.Errorf("%d calls by a clock that can't decide", made)
		}
		c.at = ten.Add(24 * time.Hour)
		check(t, b, "the day after", 100)
	})
}

func TestARefusalSpendsTheRestOfThePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(20 * time.Second)
		e, limits := &engine{}, budget.Limits{PerMinute: 250, After429: budget.Minute}
		b := newBudget(t, limits, e.section())
		calls(t, b, 10)
		if left := b.Refused(t.Context(), time.Time{}); left != 41*time.Second {
			t.Errorf("refused for %s", left)
		}
		for range 2 { // it is known after a restart
			err := b.Take(t.Context())
			if e := sdk.Safe(err); e == nil || e.After != 41*time.Second || e.Text != "the server refused calls until the end of the minute" {
				t.Errorf("got %v", err)
			}
			b = newBudget(t, limits, e.section())
		}
		time.Sleep(41 * time.Second)
		if made, _ := calls(t, b, 300); made != 250 {
			t.Errorf("%d calls in the next minute", made)
		}
		// The minute is the server's: a client that is ahead would else come back too early for ever.
		if left := b.Refused(t.Context(), time.Date(2000, 1, 1, 0, 0, 50, 0, time.UTC)); left != 11*time.Second {
			t.Errorf("by the server's clock refused for %s", left)
		}
		if left := newBudget(t, budget.Limits{PerMinute: 1}, nil).Refused(t.Context(), time.Time{}); left != 0 {
			t.Errorf("without After429: %s", left)
		}
		if made, _ := calls(t, newBudget(t, budget.Limits{}, e.section()), 1); made != 1 {
			t.Error("a refusal counts although After429 was taken out of the configuration")
		}
	})
}

func TestARefusalEndsWhenTheClockIsSetBack(t *testing.T) {
	c := &clock{time.Date(2026, 5, 10, 10, 0, 0, 0, time.UTC)}
	b := newBudget(t, budget.Limits{After429: budget.Hour}, nil)
	b.SetClock(c.now)
	b.Refused(t.Context(), time.Time{})
	c.at = c.at.AddDate(-1, 0, 0)
	if made, _ := calls(t, b, 1); made != 1 {
		t.Error("refused for a year")
	}
}

func TestDaysEndAtMidnightOfTheirZone(t *testing.T) {
	for _, tt := range []struct{ zone, at, start, end string }{
		{"UTC", "2026-05-10T10:00:00Z", "2026-05-10T00:00:00Z", "2026-05-11T00:00:00Z"},
		{"America/New_York", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"}, // 23 hours
		{"America/New_York", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"}, // 25 hours
		{"America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}, // without a midnight
		{"America/Santiago", "2026-09-06T03:59:00Z", "2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z"},
		{"Asia/Kolkata", "2026-05-10T18:30:00Z", "2026-05-10T18:30:00Z", "2026-05-11T18:30:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		start, end := budget.Around(budget.Day, at, zone(t, tt.zone))
		if start.Format(time.RFC3339) != tt.start || end.Format(time.RFC3339) != tt.end {
			t.Errorf("%s in %s: %s to %s", tt.at, tt.zone, start, end)
		}
	}
}

// In Havana midnight comes twice when summer time ends: whichever is taken for it, no more than two budgets fit into its two days.
func TestAMidnightThatComesTwiceGivesNoThirdBudget(t *testing.T) {
	c := &clock{time.Date(2026, 10, 31, 12, 0, 30, 0, time.UTC)}
	b := newBudget(t, budget.Limits{PerDay: 100, DayZone: zone(t, "America/Havana")}, nil)
	b.SetClock(c.now)
	made := 0
	for end := c.at.Add(24 * time.Hour); c.at.Before(end); c.at = c.at.Add(time.Minute) {
		n, _ := calls(t, b, 10)
		made += n
	}
	if made != 200 {
		t.Errorf("%d calls", made)
	}
}

func TestLimitsThatAreNoneAreRefused(t *testing.T) {
	for _, l := range []budget.Limits{{PerSecond: -1}, {PerSecond: math.NaN()}, {PerSecond: math.Inf(1)}, {PerMinute: -1}, {PerHour: -1}, {PerDay: -1},
		{After429: "week"}} {
		if _, err := budget.New(l, nil); err == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}

func FuzzSaved(f *testing.F) {
	for _, s := range []string{"", "{}", `{"periods": {"day": {"start": "2026-05-10T00:00:00Z", "end": "2026-05-11T00:00:00Z", "calls": 7}}, "blocked": "2026-05-10T11:00:00Z"}`,
		`{"blocked": "2026-05-10T10:30:00.5Z"}`,
		`{"periods": {"day": {"end": "9999-12-31T00:00:00Z", "calls": 99999999999}}}`, `{"periods": {"day": {"calls": -1}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := sdk.NewState(nil, nil).Section("budget")
		if err := s.Save(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		b, err := budget.New(budget.Limits{PerDay: 3, PerHour: 2, After429: budget.Day}, s)
		if err != nil {
			t.Fatal(err)
		}
		b.SetClock(func() time.Time { return time.Date(2026, 5, 10, 10, 30, 0, 0, time.UTC) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // less than any wait
		defer cancel()
		made := 0
		for range 5 {
			if b.Take(ctx) == nil {
				made++
			}
		}
		if made > 2 {
			t.Errorf("%d calls", made)
		}
		b.Forecasts()
	})
}
