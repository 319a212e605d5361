// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package budget_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/sdk/budget"
)

func TestTheForecastSaysWhenABudgetIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, budget.Limits{PerDay: 10_000}, nil)
		noted := map[string]int{}
		hours := func(n, perMinute int) budget.Forecast {
			for range n * 60 {
				calls(t, b, perMinute)
				for _, n := range b.Notes() {
					noted[n.Code+": "+n.Text]++
				}
				time.Sleep(time.Minute)
			}
			return b.Forecasts()[0]
		}
		midnight := time.Now().Add(24 * time.Hour)
		if f := hours(6, 5); f.Used != 1800 || f.Total != 7200 || !f.Out.IsZero() || !f.Reset.Equal(midnight) || f.Limit != 10_000 || f.Period != budget.Day {
			t.Errorf("at a rate that fits: %+v", f)
		}
		f := hours(1, 10) // 7600 are left, 17 hours
		if f.Used != 2400 || f.Total != 2400+17*600 || time.Until(f.Out).Round(time.Minute) != 760*time.Minute {
			t.Errorf("at one that does not: %+v", f)
		}
		if len(noted) != 0 {
			t.Errorf("noted before half of it was used: %v", noted)
		}
		hours(6, 10)
		const want = "budget-low: of the budget of 10000 calls a day, 5000 are used; at the present rate it is spent at about 19:30 UTC, and the next begins at 00:00 UTC only"
		if len(noted) != 1 || noted[want] != 1 {
			t.Errorf("noted %v", noted)
		}
		if f := hours(1, 0); !f.Out.IsZero() {
			t.Errorf("when nothing was called for an hour: %+v", f)
		}
	})
}

func TestAForecastNeedsAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, budget.Limits{PerDay: 1000, PerMinute: 900}, nil)
		calls(t, b, 700) // a first poll
		for _, f := range b.Forecasts() {
			if f.Total != 700 || !f.Out.IsZero() {
				t.Errorf("%+v", f)
			}
		}
		if notes := b.Notes(); notes != nil {
			t.Errorf("%v", notes)
		}
	})
}
