// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package budget counts the calls of a source against what its vendor allows: so many a second, a minute, an hour, a day. Many
// vendors say how much that is in their documentation only, and answer whoever goes over it by locking him out for a while.
//
// One Budget is for all calls of a source, whatever feed or resource they are for. It goes by this machine's clock, which has to be
// right to the second.
package budget

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"golang.org/x/time/rate"

	"github.com/rounds-engine/rounds/sdk"
)

const (
	// patience is how long a call waits for the next period; for a longer wait the engine is told to come again.
	patience = 10 * time.Second
	// slack is how much later than by this clock a period begins after one that was spent, as the server's clock may be behind.
	slack = time.Second
	// saveLimit is for the last save.
	saveLimit = 5 * time.Second
)

// Limits are what a vendor allows. Zero: no such limit.
type Limits struct {
	PerSecond float64 // evenly spaced, also over restarts if counts are saved; it may be less than one
	PerMinute int     // in each minute of the clock
	PerHour   int     // in each hour of the clock
	PerDay    int     // from midnight to midnight
	DayZone   *time.Location
	// After429 says until when the server answers nothing else once it has answered 429 without saying how long to wait: the end of
	// the minute, the hour or the day. "": it is asked again after a short while.
	After429 Period
}

// Budget is what is left of Limits. It is safe for concurrent use.
type Budget struct {
	spacing *rate.Limiter
	zone    *time.Location
	after   Period
	saved   *sdk.Section // nil: it does not outlive the process
	now     func() time.Time

	busy    chan struct{} // held while what follows is used, and while it is saved
	counts  []*count
	blocked time.Time // until then the server answers nothing
}

// count is a budget of one period.
type count struct {
	period Period
	limit  int
	span
	before   span // the period before, and the one
	ahead    span // that came after, when the clock was set back: all calls since then count for it as well
	reserved int  // calls that are saved as made; never fewer than used
	block    int  // how many are reserved next
	noted    time.Time
	recent
}

// span is a period of the clock and the calls that were made in it.
type span struct {
	start, end time.Time
	used       int
}

// New makes a budget, and goes on with what is left of the one that was saved. With a section it outlives the process: calls are saved
// before they are made, in blocks, so that a process that is killed has never made more of them than are saved. What it loses then
// is at most as many calls as it had made, and at most a twentieth of a limit. Close loses none.
func New(l Limits, saved *sdk.Section) (*Budget, error) {
	if !(l.PerSecond >= 0) || math.IsInf(l.PerSecond, 0) || l.PerMinute < 0 || l.PerHour < 0 || l.PerDay < 0 {
		return nil, errors.New("budget: a limit is negative or not a number")
	}
	b := &Budget{
		spacing: rate.NewLimiter(rate.Inf, 1), zone: l.DayZone, after: l.After429, saved: saved, busy: make(chan struct{}, 1),
		now: func() time.Time { return time.Now().Round(0) }, // by the wall: periods end by it
	}
	switch l.After429 {
	case "", Minute, Hour, Day:
	default:
		return nil, errors.New("budget: After429 is not a period")
	}
	if b.zone == nil {
		b.zone = time.UTC
	}
	if l.PerSecond > 0 {
		// A burst of one spaces the calls evenly: no second, wherever it begins, sees more than the limit.
		b.spacing.SetLimit(rate.Limit(l.PerSecond))
	}
	for _, c := range []*count{{period: Minute, limit: l.PerMinute}, {period: Hour, limit: l.PerHour}, {period: Day, limit: l.PerDay}} {
		if c.limit > 0 {
			c.block = 1
			b.counts = append(b.counts, c)
		}
	}
	if saved != nil {
		b.load(saved.Load())
		b.spacing.Allow() // when the process before made its last call is not known
	}
	return b, nil
}

// Take waits for its turn and counts a call, which may then be made. An error is an *sdk.Error: RateLimited with the time to the
// next period, if that is more than ten seconds away or later than the deadline; RateLimited with none when evenly spaced calls
// leave no room before the deadline; Retryable when the context ended, or when the count could not be saved.
func (b *Budget) Take(ctx context.Context) error {
	for {
		if err := b.spacing.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				return ended(ctx)
			}
			return sdk.RateLimited(0, "the limits of the source left no time for it before the deadline")
		}
		wait, why, err := b.take(ctx)
		if err != nil || wait <= 0 {
			return err
		}
		if deadline, ok := ctx.Deadline(); wait > patience || ok && time.Until(deadline) < wait {
			return sdk.RateLimited(wait, "%s", why)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func ended(ctx context.Context) error {
	return sdk.Retryable("canceled, or the deadline exceeded, while it waited for its turn").Because(ctx.Err())
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ended(ctx)
	case <-t.C:
		return nil
	}
}

// take counts a call, or says how long there is no room for it and why.
func (b *Budget) take(ctx context.Context) (wait time.Duration, why string, err error) {
	select {
	case b.busy <- struct{}{}:
		defer func() { <-b.busy }()
	case <-ctx.Done():
		return 0, "", ended(ctx)
	}
	now := b.now()
	if left := b.blocked.Sub(now); left > 0 && left <= b.after.length()+time.Hour+slack { // more: the clock was set back
		wait, why = left, "the server refused calls until the end of the "+string(b.after)
	}
	for _, c := range b.counts {
		c.roll(now, b.zone)
		if left := c.resumes().Sub(now); c.used >= c.limit && left > wait {
			wait, why = left, "the budget of "+c.String()+" is spent"
		}
	}
	if wait > 0 {
		return wait, why, nil
	}
	if err := b.reserve(ctx); err != nil {
		return 0, "", err
	}
	for _, c := range b.counts {
		c.used++
		c.ahead.used++
		c.recent.add(now, c.period)
	}
	return 0, "", nil
}

// roll goes to the period that now is in.
func (c *count) roll(now time.Time, zone *time.Location) {
	switch {
	case !now.Before(c.resumes()):
		c.before, c.used = c.span, 0
		if !now.Before(c.ahead.start) && now.Before(c.ahead.end) { // the clock has been here
			c.used = c.ahead.used
		}
	case now.Before(c.start):
		// The clock was set back. What was counted since was made in the time that it shows now.
		c.ahead = c.span
		if now.Before(c.before.end) {
			c.used += c.before.used
		}
		c.before = span{}
	default:
		return
	}
	c.reserved = c.used
	c.start, c.end = c.period.around(now, zone)
}

// resumes is when calls are made again after this period.
func (s *count) resumes() time.Time {
	if s.used >= s.limit {
		return s.end.Add(slack)
	}
	return s.end
}

// reserve sees to it that a call more is saved as made.
func (b *Budget) reserve(ctx context.Context) error {
	if b.saved == nil {
		return nil
	}
	short := false
	for _, c := range b.counts {
		short = short || c.used >= c.reserved
	}
	if !short {
		return nil
	}
	var grown []*count
	for _, c := range b.counts {
		if c.used >= c.reserved {
			c.reserved = min(c.limit, c.used+c.block)
			grown = append(grown, c)
		}
	}
	if err := b.save(ctx); err != nil {
		for _, c := range grown {
			c.reserved = c.used
		}
		return err
	}
	for _, c := range grown { // twice as many the next time: at first a process that ends at once must not take much with it
		c.block = max(1, min(2*c.block, c.limit/20))
	}
	return nil
}

// Refused takes note of a 429 that did not say how long to wait; server is the server's clock then, zero if it does not tell. It
// returns how long there are no calls, zero without Limits.After429.
func (b *Budget) Refused(ctx context.Context, server time.Time) time.Duration {
	if b.after == "" {
		return 0
	}
	b.busy <- struct{}{}
	defer func() { <-b.busy }()
	now := b.now()
	if server.IsZero() {
		server = now
	}
	_, end := b.after.around(server, b.zone)
	left := end.Sub(server) + slack
	b.blocked = now.Add(left)
	if b.saved != nil {
		_ = b.save(ctx) // what is lost by a failure is one call, which is refused again
	}
	return left
}

// Close saves what was really used, so that a restart loses nothing. The budget can still be used.
func (b *Budget) Close() error {
	b.busy <- struct{}{}
	defer func() { <-b.busy }()
	exact := true
	for _, c := range b.counts {
		exact = exact && c.reserved <= c.used
		c.reserved = c.used
	}
	if b.saved == nil || exact {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	return b.save(ctx)
}

// stored is the saved form.
type stored struct {
	Blocked time.Time             `json:"blocked,omitzero"`
	Periods map[Period]storedSpan `json:"periods"`
}

type storedSpan struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Calls int       `json:"calls"`
}

func (b *Budget) save(ctx context.Context) error {
	s := stored{Blocked: b.blocked, Periods: map[Period]storedSpan{}}
	for _, c := range b.counts {
		s.Periods[c.period] = storedSpan{c.start, c.end, c.reserved}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return sdk.Retryable("the count of calls could not be written").Because(err)
	}
	if err := b.saved.Save(ctx, text); err != nil {
		return sdk.Retryable("the count of calls could not be saved: %s", sdk.Safe(err).Text).Because(err)
	}
	return nil
}

// load takes over what was saved. What can't be read was written by a version to come, and counts for nothing.
func (b *Budget) load(text []byte) {
	var s stored
	if json.Unmarshal(text, &s) != nil {
		return
	}
	if b.after != "" {
		b.blocked = s.Blocked
	}
	for _, c := range b.counts {
		if p, ok := s.Periods[c.period]; ok && p.Calls >= 0 {
			c.start, c.end, c.used, c.reserved = p.Start, p.End, p.Calls, p.Calls
		}
	}
}
