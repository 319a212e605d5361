// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/store/storetest"
)

// TestInvariants1To4AtEveryWritePoint lets something happen at one write of a random schedule, and looks whether everything comes out
// all the same: of each record the last state is delivered, of a history every one; what is delivered was; in the order of commit by
// key; with one id for a generation; again only if nobody knew that it was taken; and no watermark is ahead of that.
//
// In CI it takes each kind of write of a new seed once, of further seeds what was not hit, and others while there is time. ROUNDS_LONG=N takes N minutes, for every kind
// of mishap at every write of a seed, in any order, and then of others. ROUNDS_SEED and ROUNDS_POINT repeat what failed.
func TestInvariants1To4AtEveryWritePoint(t *testing.T) {
	seed := rand.Uint64()
	if n, err := strconv.ParseUint(os.Getenv("ROUNDS_SEED"), 10, 64); err == nil {
		seed = n
	}
	if n, kind, given := strings.Cut(os.Getenv("ROUNDS_POINT"), " "); given {
		at, _ := strconv.Atoi(n)
		simulated(t, seed, point{kind, at})
		return
	}
	c := &campaign{T: t, rand: rand.New(rand.NewPCG(seed, 1)), met: map[string]int{}, mishaps: map[string]int{}}
	defer c.report()
	if long, _ := strconv.Atoi(os.Getenv("ROUNDS_LONG")); long > 0 {
		for c.until = time.Now().Add(time.Duration(long) * time.Minute); time.Now().Before(c.until); seed = c.rand.Uint64() {
			if c.seed(seed) {
				c.each()
				c.all()
			}
		}
		return
	}
	c.until = time.Now().Add(10 * time.Second)
	for tries := 0; len(c.missing()) > 0 && tries < 10; tries++ { // a schedule need not have writes of all kinds, nor have them at the same places again
		if c.seed(seed) {
			c.each()
		}
		seed = c.rand.Uint64()
	}
	c.all()
}

// campaign makes points of schedules, and counts what was hit.
type campaign struct {
	*testing.T
	rand  *rand.Rand
	of    uint64
	until time.Time // when no more points are begun

	writes, steps []string
	mu            sync.Mutex
	met           map[string]int // points that were hit, by what was written
	mishaps       map[string]int // and by what happened
	runs, unmet   int
}

// seed looks at a schedule in which nothing happens, and says whether it has writes of all kinds.
func (c *campaign) seed(seed uint64) bool {
	c.of = seed
	c.writes, c.steps, _ = simulated(c.T, seed, point{})
	c.Logf("seed %d: %d writes, %d steps", seed, len(c.writes), len(c.steps))
	return !slices.ContainsFunc(storetest.Ops, func(op storetest.Op) bool { return !slices.Contains(c.writes, string(op)) })
}

// all takes everything, in any order, until the time is over.
func (c *campaign) all() {
	var points []point
	for n := range c.writes {
		for _, kind := range writeKinds {
			points = append(points, point{kind, n + 1})
		}
	}
	for n := range c.steps {
		for _, kind := range stepKinds {
			points = append(points, point{kind, n + 1})
		}
	}
	c.rand.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	for more := range slices.Chunk(points, 8) {
		if time.Now().After(c.until) {
			return
		}
		c.run(more)
	}
}

// each takes a write of each kind, and each mishap to a step.
func (c *campaign) each() {
	var points []point
	pick := func(all []string, of, kind string) {
		var at []int
		for i, what := range all {
			if of == "" || what == of {
				at = append(at, i)
			}
		}
		points = append(points, point{kind, at[c.rand.IntN(len(at))] + 1})
	}
	for tries := range 12 {
		for i, op := range storetest.Ops {
			if c.met[string(op)] == 0 {
				pick(c.writes, string(op), writeKinds[(int(c.of%6)+i)%len(writeKinds)])
			}
		}
		steps := slices.Compact(slices.Sorted(slices.Values(c.steps)))
		for i, at := range c.rand.Perm(len(steps))[:len(stepKinds)] {
			if c.mishaps[stepKinds[i]] == 0 {
				pick(c.steps, steps[at], stepKinds[i])
			}
		}
		done := len(points) == 0 || tries == 11
		c.run(points)
		if points = nil; done {
			break
		}
	}
}

// run makes points, side by side.
func (c *campaign) run(points []point) {
	c.Run("points", func(t *testing.T) {
		for _, at := range points {
			t.Run(at.String(), func(t *testing.T) {
				t.Parallel()
				_, _, hit := simulated(t, c.of, at)
				c.mu.Lock()
				defer c.mu.Unlock()
				if c.runs++; hit == "" {
					c.unmet++
					return
				}
				c.met[hit]++
				c.mishaps[at.kind]++
			})
		}
	})
}

// missing are the kinds of writes, and the mishaps, that no point hit so far.
func (c *campaign) missing() (all []string) {
	for _, op := range storetest.Ops {
		if c.met[string(op)] == 0 {
			all = append(all, string(op))
		}
	}
	for _, kind := range slices.Concat(writeKinds, stepKinds) {
		if c.mishaps[kind] == 0 {
			all = append(all, kind)
		}
	}
	return all
}

// report says what was hit. The same seed makes the same writes, but where chance is not the schedule's: in the pauses of loops
// after a failure.
func (c *campaign) report() {
	c.Logf("%d points, %d of them not met", c.runs, c.unmet)
	for _, of := range []map[string]int{c.met, c.mishaps} {
		var line []string
		for _, what := range slices.Sorted(maps.Keys(of)) {
			line = append(line, fmt.Sprintf("%s: %d", what, of[what]))
		}
		c.Log(strings.Join(line, ", "))
	}
	for _, what := range c.missing() {
		c.Errorf("%s was not hit: the test proves less than it says", what)
	}
	if c.unmet*5 > c.runs {
		c.Errorf("%d of %d points were not met", c.unmet, c.runs)
	}
}
