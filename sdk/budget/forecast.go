// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"fmt"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// Forecast is how a budget stands, and where that leads if calls go on at the rate of the last hour, or of an hour's budget the last
// twelve minutes.
type Forecast struct {
	Period Period
	Limit  int
	Used   int       // in this period. After a kill it counts calls too that were saved and not made
	Reset  time.Time // when the next one begins
	Total  int       // what will be used by then. While the rate is not known, and of a minute, as many as are used now
	Out    time.Time // when it will be spent; zero: not before Reset
}

// Forecasts tells of each limit of a minute, an hour, a day.
func (b *Budget) Forecasts() []Forecast {
	b.busy <- struct{}{}
	defer func() { <-b.busy }()
	now := b.now()
	all := make([]Forecast, len(b.counts))
	for i, c := range b.counts {
		c.roll(now, b.zone)
		all[i] = c.forecast(now)
	}
	return all
}

func (c *count) forecast(now time.Time) Forecast {
	f := Forecast{Period: c.period, Limit: c.limit, Used: c.used, Reset: c.end, Total: c.used}
	perSecond := c.recent.rate(now, c.period)
	f.Total += int(perSecond * c.end.Sub(now).Seconds())
	switch {
	case c.used >= c.limit:
		f.Out = now
	case f.Total >= c.limit:
		f.Out = now.Add(time.Duration(float64(c.limit-c.used) / perSecond * float64(time.Second)))
	}
	return f
}

// Notes are for a page: a budget that will be spent before it is renewed, once in each period, as soon as half of it is used.
func (b *Budget) Notes() []sdk.Note {
	b.busy <- struct{}{}
	defer func() { <-b.busy }()
	now := b.now()
	var notes []sdk.Note
	for _, c := range b.counts {
		c.roll(now, b.zone)
		f := c.forecast(now)
		if c.period == Minute || f.Out.IsZero() || 2*c.used < c.limit || c.noted.Equal(c.end) {
			continue
		}
		c.noted = c.end
		notes = append(notes, sdk.Note{Code: "budget-low", Text: fmt.Sprintf("of the budget of %s, %d are used; at the present rate it is spent at about %s, "+
			"and the next begins at %s only", c, c.used, clock(f.Out), clock(f.Reset))})
	}
	return notes
}

func clock(t time.Time) string { return t.UTC().Format("15:04 UTC") }

// String names the limit.
func (c *count) String() string {
	article := "a"
	if c.period == Hour {
		article = "an"
	}
	return fmt.Sprintf("%d calls %s %s", c.limit, article, c.period)
}

// recent counts the calls of the last while, in steps.
type recent struct {
	first time.Time // of the calls that are counted
	steps [12]struct {
		number int64
		calls  int
	}
}

// step is how long one is: they make an hour of a day's budget, and twelve minutes of an hour's.
func (p Period) step() time.Duration {
	if p == Day {
		return 5 * time.Minute
	}
	return time.Minute
}

func (r *recent) add(now time.Time, p Period) {
	if r.first.IsZero() || now.Before(r.first) {
		r.first = now
	}
	number := now.Unix() / int64(p.step().Seconds())
	s := &r.steps[number%int64(len(r.steps))]
	if s.number != number {
		s.number, s.calls = number, 0
	}
	s.calls++
}

// rate is the number of calls a second of the last while; zero as long as only a quarter of it was seen, and for a minute's budget.
func (r *recent) rate(now time.Time, p Period) float64 {
	n, long := int64(len(r.steps)), int64(p.step().Seconds())
	last := now.Unix() / long
	from := time.Unix((last-n+1)*long, 0)
	if r.first.After(from) {
		from = r.first
	}
	seen := now.Sub(from)
	if p == Minute || r.first.IsZero() || seen < p.step()*time.Duration(n)/4 {
		return 0
	}
	calls := 0
	for _, s := range r.steps {
		if s.number > last-n && s.number <= last {
			calls += s.calls
		}
	}
	return float64(calls) / seen.Seconds()
}
