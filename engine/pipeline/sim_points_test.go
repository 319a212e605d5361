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
// In CI it takes each kind of write of a new seed once, and others while there is time. ROUNDS_LONG=N takes every write of N seeds,
// and every kind of mishap at each. ROUNDS_SEED and ROUNDS_POINT repeat what failed.
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
	if seeds, err := strconv.Atoi(os.Getenv("ROUNDS_LONG")); err == nil {
		for range seeds {
			c.seed(seed)
			c.all()
			if seed = rand.Uint64(); t.Failed() {
				return
			}
		}
	} else {
		c.until = time.Now().Add(15 * time.Second)
		for range 3 { // a schedule need not have writes of all kinds
			if missing := c.seed(seed); len(missing) == 0 {
				break
			}
			seed = rand.Uint64()
		}
		c.some()
	}
	c.report()
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

// seed looks at a schedule in which nothing happens, and says which writes it lacks.
func (c *campaign) seed(seed uint64) (missing []storetest.Op) {
	c.Logf("seed %d", seed)
	c.of = seed
	c.writes, c.steps, _ = simulated(c.T, seed, point{})
	for _, op := range storetest.Ops {
		if !slices.Contains(c.writes, string(op)) {
			missing = append(missing, op)
		}
	}
	return missing
}

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
	c.run(points)
}

// some takes a write of each kind, and then any.
func (c *campaign) some() {
	var points []point
	pick := func(all, kinds []string, of string) {
		var at []int
		for i, what := range all {
			if of == "" || what == of {
				at = append(at, i)
			}
		}
		points = append(points, point{kinds[c.rand.IntN(len(kinds))], at[c.rand.IntN(len(at))] + 1})
	}
	each := func(all, kinds []string) {
		for _, of := range slices.Compact(slices.Sorted(slices.Values(all))) {
			pick(all, kinds, of)
		}
	}
	each(c.writes, writeKinds)
	each(c.steps, stepKinds)
	sure := len(points)
	for range 1000 {
		pick(c.writes, writeKinds, "")
		pick(c.steps, stepKinds, "")
	}
	c.run(points[:sure])
	for more := range slices.Chunk(points[sure:], 8) {
		if time.Now().After(c.until) {
			break
		}
		c.run(more)
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
	for _, op := range storetest.Ops {
		if c.met[string(op)] == 0 {
			c.Errorf("no %s was hit: the test proves less than it says", op)
		}
	}
	for _, kind := range slices.Concat(writeKinds, stepKinds) {
		if c.mishaps[kind] == 0 {
			c.Errorf("%q never happened: the test proves less than it says", kind)
		}
	}
	if c.unmet*5 > c.runs {
		c.Errorf("%d of %d points were not met", c.unmet, c.runs)
	}
}
