// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"hash/fnv"
	"time"
)

// firstPoll says when to poll after a start: at once (spaced by Hurry) when a tick has passed since the last window was begun
// or a window was left half read, else at the next tick.
func (p *Pipeline) firstPoll(ctx context.Context) (time.Time, error) {
	now := time.Now()
	pos := p.feed.Position()
	tick := p.nextTick(now)
	if pos.Cursor == nil && !pos.Polled.After(now) && p.nextTick(pos.Polled).Equal(tick) {
		return tick, nil
	}
	if p.Hurry != nil {
		if err := p.Hurry.Wait(ctx); err != nil {
			return now, err
		}
	}
	return now, nil
}

// nextTick is the first tick after t. Ticks stand at fixed instants, `every` apart, shifted by a hash of the pipeline's name:
// pipelines of one interval spread over it, a restart does not move them, and ticks that were missed coalesce.
func (p *Pipeline) nextTick(t time.Time) time.Time {
	h := fnv.New64a()
	h.Write([]byte(p.Name))
	shift := time.Duration(h.Sum64() % uint64(p.Every))
	base := time.Unix(0, 0).Add(shift)
	return base.Add(t.Sub(base).Truncate(p.Every) + p.Every)
}
