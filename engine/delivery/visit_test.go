// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
)

// TestALaneThatIsHeldNoLongerFails: what failed before it was refused is over, so the log says so, and tells the next time again.
func TestALaneThatIsHeldNoLongerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var down atomic.Bool
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			switch {
			case keyOf(n.ID) == patient(2) && down.Load(), keyOf(n.ID) == patient(1) && n.Attempt == 1:
				return unavailable(0)
			case keyOf(n.ID) == patient(1):
				return rejected()
			}
			return nil
		}
		b.box.add(patient(1), 1)
		b.start()
		time.Sleep(time.Minute)
		if st := b.loop.Status(); st.Held != 1 || st.Why != "the receiver answered 422" {
			t.Errorf("status is %+v", st)
		}
		b.box.add(patient(2), 1)
		time.Sleep(time.Minute)
		down.Store(true)
		b.box.add(patient(2), 1)
		time.Sleep(time.Minute)
		if n := b.lines("http_503"); n != 2 {
			t.Errorf("%d lines tell of the two failures:\n%s", n, b.log)
		}
		b.stop()
	})
}

// TestInvariant4APanicOfTheStoreWaitsForWhatIsOnItsWay: what was sent before is not sent again beside itself.
func TestInvariant4APanicOfTheStoreWaitsForWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		lists := 0
		b.box.fault = func(op string, after bool) error {
			if op == "lanes" && !after {
				if lists++; lists == 2 {
					panic("PHI")
				}
			}
			return nil
		}
		b.to.answer = func(context.Context, delivery.Notification) error {
			time.Sleep(3 * time.Second) // a cancellation comes too late
			return nil
		}
		b.box.add(patient(1), 3)
		b.start()
		time.Sleep(time.Minute)
		b.stop()
		if left := b.box.left(); left != 0 || lists < 3 {
			t.Errorf("%d are left after %d listings", left, lists)
		}
	})
}

// TestInvariant3APanicOfTheStoreRepeatsNoNotification: what was accepted is acknowledged again, not sent again.
func TestInvariant3APanicOfTheStoreRepeatsNoNotification(t *testing.T) {
	for _, op := range []string{"ack", "bury"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *delivery.Config) { c.OnReject = delivery.DeadLetter })
				var calls atomic.Int64
				b.box.fault = func(is string, after bool) error {
					if is == op && !after && calls.Add(1) <= 5 {
						panic("PHI")
					}
					return nil
				}
				b.to.answer = func(context.Context, delivery.Notification) error {
					if op == "bury" {
						return rejected()
					}
					return nil
				}
				b.box.add(patient(1), 2)
				b.start()
				time.Sleep(time.Minute)
				b.stop()
				if n, left := b.to.sent(), b.box.left(); n != 2 || left != 0 {
					t.Errorf("%d sends of two notifications, %d are left", n, left)
				}
			})
		})
	}
}

// TestLargeNotificationsAreReadFewAtATime: each lane in flight holds what it has read, and a backlog of documents must not be more than
// there is memory, as after a start, when nothing is known of their sizes.
func TestLargeNotificationsAreReadFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		document := make([]byte, 4<<20)
		for i := range 20 {
			b.box.add(patient(i), 40)
			lane := b.box.lanes["appointments/"+patient(i)]
			for j := range lane {
				lane[j].Body = document
			}
		}
		b.box.add(patient(20), 100) // small ones
		b.start()
		time.Sleep(time.Second)
		if left := b.box.left(); left != 0 {
			t.Errorf("%d are left", left)
		}
		b.stop()
		if most := 2 * (len(document) + 1024); b.box.largest > most {
			t.Errorf("%d MiB of a lane were read at once", b.box.largest>>20)
		}
		if n := b.box.count("head"); n > 20*45+15 {
			t.Errorf("%d looks at 900 notifications", n)
		}
	})
}

// TestAnAcknowledgementThatIsOwedIsReportedAtTheStop, also where the stop comes while there is no outbox to write it to.
func TestAnAcknowledgementThatIsOwedIsReportedAtTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var attached atomic.Int64
		b.box.fault = func(op string, after bool) error {
			if op == "ack" || op == "attach" && !after && attached.Add(1) > 1 {
				return errDisk
			}
			return nil
		}
		b.box.add(patient(1), 1)
		b.start()
		time.Sleep(time.Second)
		b.box.lose()
		time.Sleep(time.Minute)
		b.cancel()
		if err := <-b.ended; err == nil || !strings.Contains(err.Error(), "1 accepted notifications could not be acknowledged") {
			t.Errorf("Run: %v", err)
		}
		if n := b.to.sent(); n != 1 {
			t.Errorf("%d sends", n)
		}
	})
}
