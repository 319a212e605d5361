// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"context"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/metrics"
	"github.com/rounds-engine/rounds/engine/store"
)

// countdown is a destination that accepts everything at once and ends the loop after the last.
type countdown struct {
	left chan struct{}
}

func (c *countdown) Send(context.Context, delivery.Notification) error {
	<-c.left
	return nil
}

// drain delivers what fill put into the outbox, over and over, and tells the cost per notification.
func drain(b *testing.B, total int, attach func() (func(context.Context) (store.Outbox, error), func() int), meter ...delivery.Meter) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		open, left := attach()
		to := &countdown{left: make(chan struct{}, total)}
		for range total {
			to.left <- struct{}{}
		}
		c := delivery.Config{Name: "bench", Parallel: 16, Attach: open, Destination: to}
		if len(meter) > 0 {
			c.Meter = meter[0]
		}
		loop := delivery.New(c)
		ctx, cancel := context.WithCancel(context.Background())
		b.StartTimer()
		done := make(chan error, 1)
		go func() { done <- loop.Run(ctx) }()
		for loop.Status().Delivered < uint64(total) {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		cancel()
		if err := <-done; err != nil || left() != 0 {
			b.Fatalf("Run: %v, %d left", err, left())
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(total), "ns/notification")
}

func BenchmarkLoop20000EntriesIn4000Lanes(b *testing.B) {
	drain(b, 20_000, func() (func(context.Context) (store.Outbox, error), func() int) {
		box := newOutbox()
		for i := range 20_000 {
			box.add(patient(i*7%4000), 1)
		}
		return box.Attach, box.left
	})
}

// BenchmarkLoopMetered is the one above, counted.
func BenchmarkLoopMetered(b *testing.B) {
	drain(b, 20_000, func() (func(context.Context) (store.Outbox, error), func() int) {
		box := newOutbox()
		for i := range 20_000 {
			box.add(patient(i*7%4000), 1)
		}
		return box.Attach, box.left
	}, metrics.New("1").Destination("bench"))
}

func BenchmarkLoop20000EntriesInOneLane(b *testing.B) {
	drain(b, 20_000, func() (func(context.Context) (store.Outbox, error), func() int) {
		box := newOutbox()
		box.add(patient(1), 20_000)
		return box.Attach, box.left
	})
}
