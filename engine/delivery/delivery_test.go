// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

func TestInvariant4LanesGoSideBySideEachInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *delivery.Config) { c.Parallel = 8 })
		var mu sync.Mutex
		r := rand.New(rand.NewPCG(1, 2))
		b.to.answer = func(context.Context, delivery.Notification) error {
			mu.Lock()
			n := r.IntN(100)
			mu.Unlock()
			time.Sleep(time.Duration(n) * time.Millisecond)
			if n%5 == 0 {
				return unavailable(0)
			}
			return nil
		}
		for i := range 2000 {
			b.box.add(patient(i*7%300), 1)
		}
		b.start()
		for i := range 50 { // more comes while it works
			time.Sleep(100 * time.Millisecond)
			b.box.add(patient(i), 3)
			b.box.hint()
		}
		time.Sleep(time.Hour)
		b.stop()
		if left, got := b.box.left(), len(b.to.got()); left != 0 || got != 2150 {
			t.Errorf("%d entries are left, %d were accepted, want 0 and 2150", left, got)
		}
		if b.to.peak > 8 || b.to.peak < 6 {
			t.Errorf("%d lanes at a time, want 8 at most and nearly so", b.to.peak)
		}
	})
}

func TestInvariant4NothingOvertakesAFailedNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var attempts []int
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			if n.ID == "patient00001#000001" {
				attempts = append(attempts, n.Attempt)
				if n.Attempt < 7 {
					return unavailable(0)
				}
			}
			return nil
		}
		b.box.add(patient(1), 3)
		b.box.add(patient(2), 3)
		b.start()
		time.Sleep(time.Second / 4)
		if got := len(b.to.got()); got != 3 {
			t.Errorf("%d were accepted while one lane fails, want the other lane's 3", got)
		}
		time.Sleep(time.Hour)
		b.stop()
		if !slices.Equal(attempts, []int{1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("attempts were numbered %v", attempts)
		}
		if b.box.left() != 0 {
			t.Error("not everything was delivered")
		}
		if b.lines("will be repeated") != 1 || b.lines("succeed again") != 1 {
			t.Errorf("want one line when it began and one when it ended:\n%s", b.log)
		}
	})
}

func TestRetryPausesGrowToACapForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var times []time.Time
		b.to.answer = func(context.Context, delivery.Notification) error {
			times = append(times, time.Now())
			return unavailable(0)
		}
		b.box.add(patient(1), 1)
		b.start()
		time.Sleep(24 * time.Hour)
		b.stop()
		want := time.Second
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < want/2 || gap > want {
				t.Fatalf("pause %d was %s, want between %s and %s", i, gap, want/2, want)
			}
			want = min(2*want, 5*time.Minute)
		}
		if len(times) < 24*12 || len(times) > 24*24+20 {
			t.Errorf("%d attempts in a day", len(times))
		}
		if heads := b.box.count("head"); heads > len(times)+1 {
			t.Errorf("the lane was looked at %d times for %d attempts", heads, len(times))
		}
		if b.lines("will be repeated") != 1 {
			t.Errorf("want one line for a day of failures:\n%s", b.log)
		}
		if b.box.left() != 1 {
			t.Error("the notification was given up")
		}
	})
}

func TestRetryAfterIsRespectedWithinReason(t *testing.T) {
	for _, c := range []struct{ after, atLeast, atMost time.Duration }{
		{2 * time.Minute, 2 * time.Minute, 2*time.Minute + time.Second},
		{time.Millisecond, time.Second / 2, 2 * time.Second},
		{1000 * time.Hour, time.Hour, time.Hour + time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			var mu sync.Mutex
			var failed, accepted time.Time
			b.to.answer = func(_ context.Context, n delivery.Notification) error {
				mu.Lock()
				defer mu.Unlock()
				if n.Attempt == 1 && keyOf(n.ID) == patient(1) {
					failed = time.Now()
					return unavailable(c.after)
				}
				if accepted.IsZero() {
					accepted = time.Now()
				}
				return nil
			}
			b.box.add(patient(1), 1)
			b.start()
			synctest.Wait()
			if st := b.loop.Status(); st.State != delivery.BackingOff || st.Why != "the receiver answered 503" {
				t.Errorf("status is %+v", st)
			}
			b.box.add(patient(2), 1) // the receiver asked for a pause, not the lane
			b.box.hint()
			time.Sleep(2 * time.Hour)
			b.stop()
			if pause := accepted.Sub(failed); pause < c.atLeast || pause > c.atMost {
				t.Errorf("asked for %s, paused %s", c.after, pause)
			}
		})
	}
}

func TestAFailingReceiverIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var up atomic.Bool
		b.to.answer = func(context.Context, delivery.Notification) error {
			time.Sleep(10 * time.Millisecond)
			if !up.Load() {
				return unavailable(0)
			}
			return nil
		}
		for i := range 4000 {
			b.box.add(patient(i), 5)
		}
		b.start()
		time.Sleep(400 * time.Millisecond)
		wave := b.to.sent()
		time.Sleep(700 * time.Millisecond)
		if probes := b.to.sent() - wave; wave > 16+8 || probes != 1 {
			t.Errorf("%d requests before the outage was seen, %d probes within a second of it", wave, probes)
		}
		time.Sleep(time.Hour)
		if n := b.to.sent(); n > 16+8+40 {
			t.Errorf("%d requests in an hour of outage", n)
		}
		if st := b.loop.Status(); st.State != delivery.BackingOff {
			t.Errorf("status is %+v", st)
		}
		if b.to.peak > 16 {
			t.Errorf("%d at a time", b.to.peak)
		}
		b.to.mu.Lock()
		b.to.peak = 0
		b.to.mu.Unlock()
		up.Store(true)
		time.Sleep(10 * time.Minute)
		if b.box.left() != 0 {
			t.Errorf("%d are left ten minutes after the outage", b.box.left())
		}
		if b.to.peak != 16 {
			t.Errorf("%d at a time after the outage", b.to.peak)
		}
		if st := b.loop.Status(); st.State != delivery.Delivering || st.Why != "" || st.Delivered != 20000 {
			t.Errorf("status is %+v", st)
		}
		b.stop()
		if b.lines("level=WARN") != 2 || b.lines("succeed again") != 1 {
			t.Errorf("want two warnings and one line at the end:\n%s", b.log)
		}
	})
}

func rejected() error {
	return &record.SendError{Verdict: record.Reject, Code: "http_422", Text: "the receiver answered 422", Detail: "PHI"}
}

func TestARejectedNotificationHoldsItsLaneOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var kind atomic.Bool
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			if !kind.Load() && keyOf(n.ID) == patient(1) {
				return rejected()
			}
			return nil
		}
		b.box.add(patient(1), 3)
		b.box.add(patient(2), 3)
		b.start()
		time.Sleep(time.Hour)
		if n := b.to.sent(); n != 4 || b.box.left() != 3 {
			t.Errorf("%d sends, %d left, want 4 and 3", n, b.box.left())
		}
		if st := b.loop.Status(); st.Held != 1 || st.State != delivery.Delivering || st.Why != "the receiver answered 422" {
			t.Errorf("status is %+v", st)
		}
		if b.lines("level=ERROR") != 1 || b.lines("http_422") != 1 {
			t.Errorf("want one line:\n%s", b.log)
		}
		if e := b.box.head(patient(1)); e.Attempts != 1 {
			t.Errorf("%d attempts are kept, want 1", e.Attempts)
		}
		kind.Store(true)
		b.loop.Resume()
		time.Sleep(time.Second)
		b.stop()
		if b.box.left() != 0 {
			t.Error("the lane is still held after Resume")
		}
	})
}

func TestInvariant3ARejectedNotificationIsBuriedWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *delivery.Config) { c.OnReject = delivery.DeadLetter })
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			if n.ID == "patient00001#000002" {
				return rejected()
			}
			return nil
		}
		b.box.add(patient(1), 3)
		b.start()
		time.Sleep(time.Second)
		st := b.loop.Status()
		b.stop()
		want := record.Cause{
			Stage: record.StageDeliver, Code: "http_422", Text: "the receiver answered 422", Detail: "PHI", Attempts: 1,
		}
		if len(b.box.dead) != 1 || b.box.dead[0] != want {
			t.Errorf("dead letters: %+v", b.box.dead)
		}
		if st.Delivered != 2 || st.Dead != 1 || b.box.left() != 0 {
			t.Errorf("status is %+v, %d left", st, b.box.left())
		}
	})
}

func TestAReceiverThatRefusesEverythingPausesTheDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var kind atomic.Bool
		b.to.answer = func(context.Context, delivery.Notification) error {
			time.Sleep(time.Second)
			if !kind.Load() {
				return &record.SendError{Verdict: record.Pause, Code: "http_401", Text: "the receiver answered 401"}
			}
			return nil
		}
		for i := range 100 {
			b.box.add(patient(i), 2)
		}
		b.start()
		time.Sleep(time.Hour)
		if n := b.to.sent(); n != 16 {
			t.Errorf("%d were sent, want the 16 in flight", n)
		}
		if st := b.loop.Status(); st.State != delivery.Paused || st.Why != "the receiver answered 401" {
			t.Errorf("status is %+v", st)
		}
		if b.lines("level=ERROR") != 1 {
			t.Errorf("want one line:\n%s", b.log)
		}
		kind.Store(true)
		b.loop.Resume()
		time.Sleep(time.Minute)
		b.stop()
		if b.box.left() != 0 {
			t.Errorf("%d are left after Resume", b.box.left())
		}
	})
}

func TestTooManyHeldLanesPauseTheDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.to.answer = func(context.Context, delivery.Notification) error { return rejected() }
		for i := range 12_000 {
			b.box.add(patient(i), 1)
		}
		b.start()
		time.Sleep(time.Hour)
		if st := b.loop.Status(); st.State != delivery.Paused || st.Held < 10_000 || st.Held > 10_016 {
			t.Errorf("status is %+v", st)
		}
		b.stop()
		if n := b.lines("\n"); n > 12 {
			t.Errorf("%d lines in the log", n)
		}
	})
}

func TestInvariant8ABrokenDestinationNeverStopsAnother(t *testing.T) {
	for name, answer := range map[string]func(context.Context, delivery.Notification) error{
		"hangs":   func(ctx context.Context, _ delivery.Notification) error { <-ctx.Done(); return ctx.Err() },
		"slow":    func(context.Context, delivery.Notification) error { time.Sleep(20 * time.Second); return nil },
		"panics":  func(_ context.Context, n delivery.Notification) error { panic(string(n.Body)) },
		"indexes": func(_ context.Context, n delivery.Notification) error { _ = n.Body[len(n.Body)+3]; return nil },
		"refuses": func(context.Context, delivery.Notification) error { return rejected() },
		"quotes":  func(_ context.Context, n delivery.Notification) error { return fmt.Errorf("bad %s", n.Body) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken, healthy := newBench(t, func(c *delivery.Config) { c.Grace = time.Minute }), newBench(t, nil)
				broken.to.answer = answer
				for i := range 50 {
					broken.box.add(patient(i), 10)
					healthy.box.add(patient(i), 10)
				}
				broken.start()
				healthy.start()
				time.Sleep(time.Second)
				if healthy.box.left() != 0 {
					t.Errorf("%d are left at the healthy destination", healthy.box.left())
				}
				time.Sleep(time.Minute)
				if name == "panics" && broken.lines("panicked at delivery_test.go:") == 0 {
					t.Errorf("the log does not say where it panicked:\n%s", broken.log)
				}
				healthy.stop()
				broken.stop()
				if broken.box.left() == 0 {
					t.Error("the broken destination lost its notifications")
				}
			})
		})
	}
}

// TestInvariant8APanicOfTheStoreStaysInItsLoop: whichever call panics, once or for some time, all is delivered in the end.
func TestInvariant8APanicOfTheStoreStaysInItsLoop(t *testing.T) {
	for _, op := range []string{"lanes", "head", "ack", "bury", "defer"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *delivery.Config) { c.OnReject = delivery.DeadLetter })
				var panics, sends atomic.Int32
				b.box.fault = func(called string, _ bool) error {
					if called == op && panics.Add(1)%3 == 1 && panics.Load() < 20 {
						panic("a damaged block with " + patient(1))
					}
					return nil
				}
				b.to.answer = func(context.Context, delivery.Notification) error {
					switch sends.Add(1) {
					case 3:
						return rejected()
					case 5:
						return unavailable(0)
					}
					return nil
				}
				for i := range 4 {
					b.box.add(patient(i), 3)
				}
				b.start()
				time.Sleep(time.Hour)
				b.stop()
				if n := b.box.left(); n > 0 || panics.Load() == 0 {
					t.Errorf("%d are left after %d calls that could panic", n, panics.Load())
				}
				if b.lines("internal error, please report it") == 0 || b.lines(patient(1)) > 0 {
					t.Errorf("the log does not tell of the panic, or quotes it:\n%s", b.log)
				}
			})
		})
	}
}

func TestABusyLaneDoesNotStarveOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *delivery.Config) { c.Parallel = 2 })
		b.to.answer = func(context.Context, delivery.Notification) error { time.Sleep(10 * time.Millisecond); return nil }
		for i := range 4 { // more busy lanes than may go side by side
			b.box.add("a"+patient(i), 20_000)
		}
		for i := range 100 {
			b.box.add(patient(i), 1)
		}
		b.start()
		time.Sleep(time.Minute)
		b.stop()
		others := 0
		for _, id := range b.to.got() {
			if id[0] != 'a' {
				others++
			}
		}
		if others != 100 {
			t.Errorf("%d of 100 lanes got their turn within a minute", others)
		}
		if n := len(b.to.got()); n < 11_000 {
			t.Errorf("only %d were delivered in a minute", n)
		}
	})
}
