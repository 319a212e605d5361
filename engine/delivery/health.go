// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const calm = 4 // successes that take back one step of the back-off

// health knows whether the receiver as a whole can be spoken to. A failure of one lane says little; failures of several
// lanes in a row, or a Retry-After, say that the receiver fails. Then only probes are sent, one at a time, with growing
// pauses, until one succeeds. A receiver that refuses everybody pauses the loop.
type health struct {
	trip int // lanes that begin to fail, without a success between, before the receiver counts as failing

	mu     sync.Mutex
	base   State // Attaching, Delivering or Stopped: the state when nothing is wrong
	since  time.Time
	paused bool
	why    string // cause of the pause, the back-off or the last failure
	reject string // cause of the last refusal of a single notification

	backing bool
	until   time.Time // no probe before
	level   int       // steps of the back-off; each failed probe adds one
	good    int       // successes since the last step was taken back
	epoch   uint64    // number of the back-off: what was sent before it began neither ends nor prolongs it
	run     []string  // lanes that began to fail since the last success
}

// newHealth trips when half as many lanes as go side by side fail in a row: they are on their way anyway, and where one
// notification in ten fails for its own reasons, so many in a row mean something.
func newHealth(parallel int) *health {
	return &health{trip: max(3, parallel/2), base: Attaching, since: time.Now()}
}

// enter sets the state that holds when nothing is wrong.
func (h *health) enter(s State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.base != s {
		h.base, h.since = s, time.Now()
	}
}

// slots is how many lanes may be worked on now; when it is none, next is the time to ask again, zero for not before Resume.
func (h *health) slots(now time.Time, parallel int) (n int, probe bool, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.paused:
		return 0, false, time.Time{}
	case !h.backing:
		return parallel, false, time.Time{}
	case now.Before(h.until):
		return 0, false, h.until
	}
	return 1, true, time.Time{}
}

// begin asks for leave to send. The epoch goes back with the outcome.
func (h *health) begin(probe bool) (epoch uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoch, !h.paused && (!h.backing || probe)
}

// succeeded takes note of an answer that shows that the receiver works. It reports whether that ended a back-off.
func (h *health) succeeded(epoch uint64) (ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.backing {
		if epoch != h.epoch {
			return false
		}
		h.backing, h.since, ended = false, time.Now(), true
	}
	h.run = h.run[:0]
	if h.good++; h.good == calm {
		h.good, h.level = 0, max(0, h.level-1)
	}
	return ended
}

// failed takes note of a failure that may pass by itself. It reports whether a back-off begins. A lane that fails again is
// no evidence against the receiver, unless it was the probe: it may be the only one.
func (h *health) failed(epoch uint64, lane string, again bool, why string, after time.Duration) (begins bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if !h.paused {
		h.why = why
	}
	if h.backing && epoch != h.epoch {
		if t := now.Add(after); t.After(h.until) {
			h.until = t
		}
		return false
	}
	if !h.backing {
		if !again && !slices.Contains(h.run, lane) {
			h.run = append(h.run, lane)
		}
		if len(h.run) < h.trip && after == 0 {
			return false
		}
		h.backing, h.since, begins = true, now, true
	}
	h.level++
	h.epoch++
	h.run = h.run[:0]
	h.until = now.Add(max(backoff(h.level, minRetry, maxRetry), after))
	return begins
}

// healed forgets the last failure: no lane waits for another attempt.
func (h *health) healed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.paused {
		h.why = ""
	}
}

// pause stops all sending until resume. It reports whether that is news.
func (h *health) pause(why string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paused {
		return false
	}
	h.paused, h.why, h.since = true, why, time.Now()
	return true
}

// refused takes note of the refusal of a single notification, for Status.
func (h *health) refused(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reject = why
}

func (h *health) resume() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paused || h.backing {
		h.since = time.Now()
	}
	h.paused, h.backing, h.level, h.why = false, false, 0, ""
	h.run = h.run[:0]
	h.epoch++
}

func (h *health) status(held int) Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := Status{State: h.base, Why: h.why, Since: h.since, Held: held}
	if st.Why == "" && held > 0 {
		st.Why = h.reject
	}
	switch {
	case h.base != Delivering:
	case h.paused:
		st.State = Paused
	case h.backing:
		st.State = BackingOff
	}
	return st
}

// backoff is the pause after the nth failure: doubled each time up to limit, its second half left to chance, so that what
// failed together does not come back together.
func backoff(n int, first, limit time.Duration) time.Duration {
	d := limit
	if n = max(n, 1); n < 32 {
		if d = first << (n - 1); d <= 0 || d > limit {
			d = limit
		}
	}
	return d/2 + rand.N(d/2+1)
}

// news tells when a class of failure is worth a line: when it begins, and when all is well again; and when it comes and
// goes, once a minute at most.
type news struct {
	mu   sync.Mutex
	open map[string]bool      // classes that are not over; true: a line was written
	last map[string]time.Time // of the last line
}

const quiet = time.Minute

func (n *news) begins(class string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.open[class] {
		return false
	}
	if n.open == nil || len(n.last) > 64 {
		n.open, n.last = map[string]bool{}, map[string]time.Time{}
	}
	if last, ok := n.last[class]; ok && now.Sub(last) < quiet {
		n.open[class] = false
		return false
	}
	n.open[class], n.last[class] = true, now
	return true
}

func (n *news) ends() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	said := false
	for _, s := range n.open {
		said = said || s
	}
	clear(n.open)
	return said
}

// throttle lets ten lines a minute through, and counts the rest.
type throttle struct {
	mu     sync.Mutex
	begun  time.Time
	lines  int
	missed int
}

func (t *throttle) allow() (ok bool, missed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.begun) >= quiet {
		t.begun, t.lines = now, 0
	}
	if t.lines == 10 {
		t.missed++
		return false, 0
	}
	t.lines++
	missed, t.missed = t.missed, 0
	return true, missed
}
