// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
)

func TestAStopLetsInFlightSendsEndAndKeepsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *delivery.Config) { c.Grace, c.Parallel = 5*time.Second, 4 })
		var cancelled int
		var mu sync.Mutex
		b.to.answer = func(ctx context.Context, n delivery.Notification) error {
			d := 3 * time.Second
			if keyOf(n.ID) == patient(0) {
				d = time.Minute
			}
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				mu.Lock()
				cancelled++
				mu.Unlock()
				return ctx.Err()
			}
		}
		for i := range 10 {
			b.box.add(patient(i), 2)
		}
		b.start()
		time.Sleep(time.Second)
		begun := time.Now()
		b.stop()
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("the stop took %s, want the 5 s of grace", took)
		}
		if got := len(b.to.got()); got != 3 || b.box.left() != 17 || cancelled != 1 {
			t.Errorf("%d accepted, %d left, %d cancelled, want 3, 17, 1", got, b.box.left(), cancelled)
		}
		if e := b.box.head(patient(0)); e.Attempts != 0 {
			t.Error("a cancelled send counts as a failed attempt")
		}
		if b.box.release != 1 {
			t.Error("the outbox was not given back")
		}
	})
}

func TestAStopDoesNotWaitForASendThatHeedsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *delivery.Config) { c.Grace = 5 * time.Second })
		b.to.answer = func(context.Context, delivery.Notification) error { time.Sleep(time.Hour); return nil }
		b.box.add(patient(1), 2)
		b.start()
		time.Sleep(time.Second)
		b.cancel()
		begun := time.Now()
		if err := <-b.ended; err == nil || time.Since(begun) > 15*time.Second {
			t.Errorf("Run returned %v after %s", err, time.Since(begun))
		}
		if b.box.left() != 2 {
			t.Error("what was not accepted left the outbox")
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestALossOfOwnershipStopsSendingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var held atomic.Bool
		b.box.fault = func(op string, _ bool) error {
			if held.Load() && op == "attach" {
				return store.ErrHeld
			}
			return nil
		}
		b.to.answer = func(ctx context.Context, _ delivery.Notification) error {
			select {
			case <-time.After(10 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for i := range 100 {
			b.box.add(patient(i), 1)
		}
		b.start()
		time.Sleep(5 * time.Second)
		held.Store(true)
		b.box.lose()
		synctest.Wait()
		if n := b.to.inFlight(); n != 0 {
			t.Errorf("%d sends are in flight after the loss", n)
		}
		sends := b.to.sent()
		time.Sleep(time.Hour)
		if b.to.sent() != sends {
			t.Error("it sent without owning the outbox")
		}
		if st := b.loop.Status(); st.State != delivery.Attaching {
			t.Errorf("status is %+v", st)
		}
		if n := b.lines("not to be had"); n > 2 {
			t.Errorf("%d lines for one loss:\n%s", n, b.log)
		}
		held.Store(false)
		time.Sleep(10 * time.Minute)
		b.stop()
		if b.box.left() != 0 {
			t.Errorf("%d are left after owning again", b.box.left())
		}
	})
}

var errDisk = errors.New("input/output error on key patient00001")

var nothingWritten = []error{store.ErrFenced, store.ErrBusy, store.ErrFull}

// TestInvariant3EveryCallOfTheStoreFailsOnce lets the nth call of every kind fail, before it is done or after.
func TestInvariant3EveryCallOfTheStoreFailsOnce(t *testing.T) {
	for _, op := range []string{"attach", "lanes", "head", "ack", "defer", "bury"} {
		for _, fail := range []error{store.ErrBusy, store.ErrUnknown, store.ErrFull, store.ErrFenced, errDisk, context.DeadlineExceeded} {
			for _, after := range []bool{false, true} {
				if after && slices.Contains(nothingWritten, fail) {
					continue
				}
				for nth := range 3 {
					t.Run(fmt.Sprintf("%s/%v/after=%v/%d", op, fail, after, nth), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { failOnce(t, op, fail, after, nth) })
					})
				}
			}
		}
	}
}

func failOnce(t *testing.T, op string, fail error, after bool, nth int) {
	b := newBench(t, func(c *delivery.Config) { c.OnReject, c.Parallel = delivery.DeadLetter, 3 })
	b.to.answer = func(_ context.Context, n delivery.Notification) error {
		seq := n.ID[len(n.ID)-1]
		if seq == '3' {
			return rejected()
		}
		if seq == '5' && n.Attempt == 1 {
			return unavailable(0)
		}
		return nil
	}
	var mu sync.Mutex
	calls := 0
	b.box.fault = func(o string, a bool) error {
		mu.Lock()
		defer mu.Unlock()
		if o != op || a != after {
			return nil
		}
		if calls++; calls == nth+1 {
			return fail
		}
		return nil
	}
	for i := range 60 {
		b.box.add(patient(i%10), 1)
	}
	b.start()
	time.Sleep(time.Hour)
	b.stop()
	got := b.to.got()
	once := slices.Compact(slices.Sorted(slices.Values(got)))
	if len(once) != 54 || len(b.box.dead) != 6 || b.box.left() != 0 {
		t.Errorf("%d accepted, %d dead, %d left, want 54, 6, 0", len(once), len(b.box.dead), b.box.left())
	}
	if len(got) != len(once) {
		t.Errorf("%d were sent again although the receiver had accepted them", len(got)-len(once))
	}
	if nth == 0 && calls == 0 && !after {
		t.Errorf("the loop never called %s", op)
	}
}

func TestAnAcknowledgementThatCannotBeWrittenIsReportedAtTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.box.fault = func(op string, _ bool) error {
			if op == "ack" {
				return store.ErrFull
			}
			return nil
		}
		b.box.add(patient(1), 5)
		b.box.add(patient(2), 5)
		b.start()
		time.Sleep(time.Hour)
		if n := b.to.sent(); n != 2 {
			t.Errorf("%d were sent without their predecessors being acknowledged", n)
		}
		b.cancel()
		if err := <-b.ended; err == nil {
			t.Error("nothing said that accepted notifications will come again")
		}
	})
}

func TestOneInTenThatFailsDoesNotSlowDownTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			time.Sleep(10 * time.Millisecond)
			if keyOf(n.ID)[len("patient0000")] == '7' {
				return unavailable(0)
			}
			return nil
		}
		for i := range 5000 {
			b.box.add(patient(i), 1)
		}
		b.start()
		time.Sleep(10 * time.Second) // 5000 of 10 ms, 16 at a time, take 3.1 s, and some turns go to those that fail
		if n := len(b.to.got()); n != 4500 {
			t.Errorf("%d of 4500 were delivered; status %+v", n, b.loop.Status())
		}
		b.stop()
	})
}

func TestAttemptsAreCountedWhereTheStoreDoesNotTakeThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.box.fault = func(op string, _ bool) error {
			if op == "defer" {
				return store.ErrFull
			}
			return nil
		}
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			if n.Attempt < 8 {
				return unavailable(0)
			}
			return nil
		}
		b.box.add(patient(1), 1)
		b.start()
		time.Sleep(time.Hour)
		b.stop()
		if n := b.to.sent(); n != 8 || b.box.left() != 0 {
			t.Errorf("%d attempts, want 8 with growing pauses", n)
		}
	})
}

func TestWhatComesIntoALaneInFlightFollowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.to.answer = func(context.Context, delivery.Notification) error { time.Sleep(500 * time.Millisecond); return nil }
		b.box.add(patient(1), 1)
		b.start()
		time.Sleep(100 * time.Millisecond)
		b.box.add(patient(1), 1)
		b.box.hint()
		time.Sleep(910 * time.Millisecond)
		if n := len(b.to.got()); n != 2 {
			t.Errorf("%d were delivered, want both", n)
		}
		b.stop()
	})
}

// TestNothingIsSentAfterTheOwnershipIsLost: the store may not have fenced the writes yet.
func TestNothingIsSentAfterTheOwnershipIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *delivery.Config) { c.Parallel = 4 })
		b.to.answer = func(context.Context, delivery.Notification) error { time.Sleep(10 * time.Millisecond); return nil }
		var lost atomic.Bool
		b.box.fault = func(op string, _ bool) error {
			if lost.Load() && op == "attach" {
				return store.ErrHeld
			}
			return nil
		}
		for i := range 20 {
			b.box.add(patient(i), 10)
		}
		b.start()
		time.Sleep(25 * time.Millisecond)
		lost.Store(true)
		b.box.announce()
		time.Sleep(time.Minute)
		b.stop()
		if n := b.to.sent(); n != 4*3 {
			t.Errorf("%d were sent, want the 12 that had begun", n)
		}
	})
}

func TestAFlappingReceiverDoesNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			if n.Attempt == 1 {
				return unavailable(0)
			}
			return nil
		}
		b.box.add(patient(1), 1000)
		b.start()
		time.Sleep(20 * time.Minute)
		b.stop()
		if b.box.left() != 0 {
			t.Errorf("%d are left", b.box.left())
		}
		if n := b.lines("\n"); n > 2*20+2 {
			t.Errorf("%d lines in twenty minutes", n)
		}
	})
}

// TestResumeEndsThePauseThatAReceiverAskedFor: it asked for years by mistake, and a person knows better.
func TestResumeEndsThePauseThatAReceiverAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			if n.Attempt == 1 {
				return unavailable(1000 * time.Hour)
			}
			return nil
		}
		b.box.add(patient(1), 2)
		b.start()
		time.Sleep(10 * time.Minute)
		if n := b.to.sent(); n != 1 {
			t.Fatalf("%d were sent in spite of the pause that was asked for", n)
		}
		b.loop.Resume()
		synctest.Wait()
		if n := len(b.to.got()); n != 1 {
			t.Errorf("%d were delivered after a person resumed, want the one that waited", n)
		}
		b.stop()
	})
}

// TestResumeEndsPausesThatAreKeptInTheState: those of a loop that was stopped, as a person pauses a destination, and of lanes that nobody
// remembers.
func TestResumeEndsPausesThatAreKeptInTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.to.answer = func(context.Context, delivery.Notification) error { return unavailable(time.Hour) }
		b.box.add(patient(1), 2)
		b.start()
		time.Sleep(10 * time.Minute)
		b.stop()

		second := newBench(t, nil)
		second.box = b.box
		second.loop = delivery.New(delivery.Config{Name: "x", Attach: b.box.Attach, Destination: second.to})
		second.to.answer = func(_ context.Context, n delivery.Notification) error {
			if n.Attempt == 2 {
				return unavailable(0) // the pause after this one is a new one
			}
			return nil
		}
		second.start()
		second.loop.Resume()
		time.Sleep(100 * time.Millisecond)
		if n := second.to.sent(); n != 1 {
			t.Errorf("%d were sent after a person resumed, want the one that waited", n)
		}
		time.Sleep(2 * time.Second)
		if n := len(second.to.got()); n != 2 {
			t.Errorf("%d were delivered, want both", n)
		}
		second.stop()
	})
}

// TestAStoredPauseIsNoLongerThanItWasMeant: the clock was set back, by years, between the attempt and the restart.
func TestAStoredPauseIsNoLongerThanItWasMeant(t *testing.T) {
	const meant = 5 * time.Minute
	for _, c := range []struct {
		back  time.Duration
		tried bool // when the attempt was made is known
		most  time.Duration
	}{
		{0, true, meant}, {0, false, meant},
		{time.Hour, true, meant}, {24 * time.Hour, true, meant}, {10 * 365 * 24 * time.Hour, true, meant},
		{10 * 365 * 24 * time.Hour, false, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			b.box.add(patient(1), 3)
			at := time.Now().Add(c.back)
			first := &b.box.lanes["appointments/"+patient(1)][0]
			if first.NextAttempt = at.Add(meant); c.tried {
				first.Tried(record.Try{At: at, Code: "http_503"})
			}
			b.start()
			time.Sleep(c.most - time.Second)
			if n := b.to.sent(); n > 0 {
				t.Errorf("%d were sent before their time, after the clock went back by %s", n, c.back)
			}
			time.Sleep(2 * time.Second)
			if n := len(b.to.got()); n != 3 {
				t.Errorf("%d of 3 were delivered after the clock went back by %s", n, c.back)
			}
			b.stop()
		})
	}
}

// TestTheTimeOfAStoredPauseIsNotTheWallClocks: that may be set while it is waited for.
func TestTheTimeOfAStoredPauseIsNotTheWallClocks(t *testing.T) {
	now := time.Now()
	for _, pause := range []time.Duration{time.Minute, 100 * time.Hour} {
		turn := delivery.Turn(&record.Entry{NextAttempt: now.Add(pause).Round(0)}, now)
		if !strings.Contains(turn.String(), " m=+") {
			t.Errorf("a pause of %s ends at %s, by the wall clock", pause, turn)
		}
	}
}

// TestAnOutageOfHoursLosesNothing: the receiver is down for eight hours while changes come, over a restart, and then works.
func TestAnOutageOfHoursLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var up atomic.Bool
		down := func(context.Context, delivery.Notification) error {
			if !up.Load() {
				return &record.SendError{Code: "network", Text: "connection refused"}
			}
			return nil
		}
		b.to.answer = down
		const hours, each = 8, 50
		b.start()
		for hour := range hours {
			for i := range each {
				b.box.add(patient(i%20), 1)
				b.box.hint()
				time.Sleep(time.Hour / each)
			}
			if hour == hours/2 {
				b.stop()
				again := newBench(t, nil)
				again.box, again.to.answer = b.box, down
				again.loop = delivery.New(delivery.Config{Name: "webhook.scheduling", Attach: b.box.Attach, Destination: again.to})
				b = again
				b.start()
			}
		}
		if st := b.loop.Status(); st.State != delivery.BackingOff || st.Why != "connection refused" {
			t.Errorf("after hours of an outage the status is %+v", st)
		}
		if n := b.to.sent(); n < hours/2*12 || n > 200 {
			t.Errorf("%d attempts in %d hours of an outage", n, hours/2)
		}
		up.Store(true)
		time.Sleep(6 * time.Minute)
		if got := b.to.got(); len(got) != hours*each || b.box.left() != 0 {
			t.Errorf("%d of %d were delivered within minutes, %d are left", len(got), hours*each, b.box.left())
		}
		b.stop()
	})
}
