// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
)

func TestLanesBeyondTheMemoryBoundAreFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *delivery.Config) { c.Parallel = 1 })
		begun := time.Now()
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			time.Sleep(100 * time.Microsecond)
			if id := n.ID[len("patient0000")]; id%2 == 1 && time.Since(begun) < 15*time.Minute {
				return unavailable(0)
			}
			return nil
		}
		for i := range 22_000 {
			b.box.add(patient(i), 1)
		}
		b.start()
		time.Sleep(10 * time.Minute)
		if left := b.box.left(); left != 11_000 {
			t.Errorf("%d are left, want the 11000 that fail", left)
		}
		if st := b.loop.Status(); st.Waiting > 10_000 {
			t.Errorf("%d lanes are remembered", st.Waiting)
		}
		time.Sleep(2 * time.Hour)
		b.stop()
		if left := b.box.left(); left != 0 {
			t.Errorf("%d are left", left)
		}
	})
}

func TestARestartRespectsAttemptsAndTheirPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.to.answer = func(context.Context, delivery.Notification) error { return unavailable(0) }
		b.box.add(patient(1), 2)
		b.start()
		time.Sleep(30 * time.Minute)
		b.stop()
		kept := b.box.head(patient(1))
		if kept.Attempts < 10 || !kept.NextAttempt.After(time.Now()) {
			t.Fatalf("kept: %d attempts, next %s", kept.Attempts, kept.NextAttempt)
		}

		second := newBench(t, nil)
		second.box = b.box
		second.loop = delivery.New(delivery.Config{Name: "x", Attach: b.box.Attach, Destination: second.to})
		var first delivery.Notification
		var at time.Time
		second.to.answer = func(_ context.Context, n delivery.Notification) error {
			if first.ID == "" {
				first, at = n, time.Now()
			}
			return nil
		}
		second.start()
		time.Sleep(10 * time.Minute)
		second.stop()
		if first.Attempt != kept.Attempts+1 || at.Before(kept.NextAttempt) || at.After(kept.NextAttempt.Add(time.Second)) {
			t.Errorf("attempt %d at %s, want attempt %d at %s", first.Attempt, at, kept.Attempts+1, kept.NextAttempt)
		}
	})
}

func TestALostWakeUpCostsSecondsAndIdlenessCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.start()
		time.Sleep(time.Hour)
		if n := b.box.count("lanes"); n > 1801 {
			t.Errorf("%d listings in an hour", n)
		}
		b.box.add(patient(1), 1)
		time.Sleep(5 * time.Second)
		if b.box.left() != 0 {
			t.Error("not found without a wake-up")
		}
		b.box.add(patient(2), 1)
		b.box.hint()
		synctest.Wait()
		if b.box.left() != 0 {
			t.Error("a wake-up was not heeded at once")
		}
		b.stop()
	})
}
