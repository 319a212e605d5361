// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
	"github.com/rounds-engine/rounds/sdk"
)

const target = "webhook.scheduling"

// commit puts total entries of a number of lanes into a store, in batches.
func commit(t testing.TB, s store.Store, total, lanes int) {
	t.Helper()
	feed, err := s.Claim(t.Context(), "appointments")
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"PHI":"` + strings.Repeat("x", 1500) + `"}`)
	for i := 0; i < total; {
		b := store.Batch{Base: feed.Position().Commit}
		for ; i < total && len(b.Entries) < min(200, s.Limits().Items); i++ {
			key := patient(i * 7 % lanes)
			b.Entries = append(b.Entries, record.Entry{
				ID: fmt.Sprintf("%s#%06d", key, i), Pipeline: "appointments", Deliver: "scheduling", Destination: target, Key: key,
				Ref: sdk.Ref{Kind: "appointment", ID: fmt.Sprint(i)}, Generation: 1, Body: body,
			})
		}
		if err := feed.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := feed.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func attach(s store.Store) func(context.Context) (store.Outbox, error) {
	return func(ctx context.Context) (store.Outbox, error) { return s.Attach(ctx, target) }
}

func pending(t testing.TB, s store.Store) int {
	t.Helper()
	all, err := s.Admin().Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all[target].Count
}

// answers rejects one notification in ten and fails the first attempt of one in ten.
func answers(_ context.Context, n delivery.Notification) error {
	switch n.ID[len(n.ID)-1] {
	case '3':
		return rejected()
	case '5':
		if n.Attempt == 1 {
			return unavailable(0)
		}
	}
	return nil
}

// TestInvariant3EveryWritePointFailsOnce lets the nth write fail, for each n that there is, not written or written.
func TestInvariant3EveryWritePointFailsOnce(t *testing.T) {
	for name, fail := range map[string]func(int) *storetest.Faults{
		"not written, busy":    func(n int) *storetest.Faults { return storetest.FailBefore(n, store.ErrBusy) },
		"not written, unknown": func(n int) *storetest.Faults { return storetest.FailBefore(n, store.ErrUnknown) },
		"not written, fenced":  func(n int) *storetest.Faults { return storetest.FailBefore(n, store.ErrFenced) },
		"written, unknown":     func(n int) *storetest.Faults { return storetest.FailAfter(n, store.ErrUnknown) },
		"written, any error":   func(n int) *storetest.Faults { return storetest.FailAfter(n, errDisk) },
	} {
		t.Run(name, func(t *testing.T) {
			for n, writes := 1, 1; n <= writes; n++ {
				synctest.Test(t, func(t *testing.T) {
					state := memstore.New(store.Limits{})
					commit(t, state, 40, 7)
					faults := fail(n)
					b := newBench(t, func(c *delivery.Config) {
						c.Attach, c.OnReject, c.Parallel = attach(storetest.Faulty(state, faults)), delivery.DeadLetter, 4
					})
					b.to.answer = answers
					b.start()
					time.Sleep(time.Hour)
					b.stop()
					got := b.to.got()
					dead, _, err := state.Admin().Dead(t.Context(), store.Filter{}, nil, 100)
					if err != nil || len(got) != 36 || len(dead) != 4 || pending(t, state) != 0 {
						t.Errorf("write %d: %d accepted, %d dead, %d left, want 36, 4, 0", n, len(got), len(dead), pending(t, state))
					}
					if len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
						t.Errorf("write %d: sent again although it was accepted", n)
					}
					writes = faults.Writes()
				})
			}
		})
	}
}

// TestEachAttemptIsKeptWithItsTimeAndCode delivers one that is accepted at the third attempt, and one that is refused at the second.
func TestEachAttemptIsKeptWithItsTimeAndCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := (&memstore.Memory{Keep: 24 * time.Hour}).Open(store.Limits{})
		commit(t, state, 2, 2)
		begun := time.Now()
		b := newBench(t, func(c *delivery.Config) { c.Attach, c.OnReject = attach(state), delivery.DeadLetter })
		b.to.answer = func(_ context.Context, n delivery.Notification) error {
			switch refused := n.ID[len(n.ID)-1] == '1'; {
			case n.Attempt == 1, n.Attempt == 2 && !refused:
				return unavailable(time.Minute)
			case refused:
				return rejected()
			}
			return nil
		}
		b.start()
		time.Sleep(time.Hour)
		b.stop()
		accepted, _, err := state.Admin().Delivered(t.Context(), store.Filter{}, false, nil, 10)
		dead, _, err2 := state.Admin().Dead(t.Context(), store.Filter{}, nil, 10)
		if err != nil || err2 != nil || len(accepted) != 1 || len(dead) != 1 {
			t.Fatalf("%d accepted, %d dead, %v, %v", len(accepted), len(dead), err, err2)
		}
		tries := func(tries []record.Try) (codes []string) {
			last := begun.Add(-time.Second)
			for _, try := range tries {
				if try.At.Sub(last) < time.Second || try.At.After(time.Now()) {
					t.Errorf("an attempt at %v, after one at %v", try.At, last)
				}
				codes, last = append(codes, try.Code), try.At
			}
			return codes
		}
		d := accepted[0]
		if got := tries(d.Tries); !slices.Equal(got, []string{"http_503", "http_503"}) || d.Code != "accepted" || d.At.Sub(begun) < 2*time.Minute {
			t.Errorf("accepted after %v, %s after %v", d.At.Sub(begun), d.Code, got)
		}
		if got := tries(dead[0].Entry.Tries); !slices.Equal(got, []string{"http_503", "http_422"}) || dead[0].Time.Sub(begun) < time.Minute {
			t.Errorf("refused after %v: %v", dead[0].Time.Sub(begun), got)
		}
	})
}

func BenchmarkLoopOnTheEmbeddedStore(b *testing.B) {
	for _, lanes := range []int{4000, 1} {
		b.Run(fmt.Sprintf("lanes=%d", lanes), func(b *testing.B) {
			drain(b, 20_000, func() (func(context.Context) (store.Outbox, error), func() int) {
				state, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { state.Close() })
				commit(b, state, 20_000, lanes)
				return attach(state), func() int { return pending(b, state) }
			})
		})
	}
}
