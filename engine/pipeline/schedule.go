// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"hash/fnv"
	"time"
)

// firstPoll says when to poll after a start: when a tick has passed since the last window was begun or a window was left half read,
// as soon as Hurry gives it a turn, else at the next tick. An overdue poll that would have its turn later than its tick is made at the
// tick: these are spread already.
func (p *Pipeline) firstPoll() time.Time {
	now := time.Now()
	pos := p.feed.Position()
	tick := p.nextTick(now)
	if pos.Cursor == nil && !pos.Polled.After(now) && p.nextTick(pos.Polled).Equal(tick) {
		return tick
	}
	if p.Hurry == nil {
		return now
	}
	if turn, ok := p.Hurry.Turn(tick); ok {
		return turn
	}
	return tick
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
