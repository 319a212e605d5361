// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// outbox is an outbox in memory into which faults can be put.
type outbox struct {
	// fault is asked before and after each call; an error after means that the call was done all the same.
	fault func(op string, after bool) error

	mu      sync.Mutex
	lanes   map[string][]record.Entry
	names   []string // sorted
	seq     uint64
	dead    []record.Cause
	calls   map[string]int
	attach  int
	largest int // bytes that one look at a lane gave at most
	wake    chan struct{}
	lost    chan struct{}
	release int
}

func newOutbox() *outbox {
	return &outbox{
		lanes: map[string][]record.Entry{}, calls: map[string]int{},
		wake: make(chan struct{}, 1), lost: make(chan struct{}),
	}
}

// handle is the ownership; a new one fences those before it.
type handle struct {
	*outbox
	number int
	gone   chan struct{}
}

func (o *outbox) Attach(context.Context) (store.Outbox, error) {
	if err := o.do("attach", false); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attach++
	o.lost = make(chan struct{})
	return &handle{o, o.attach, o.lost}, nil
}

// announce says that the ownership is lost, before the store has fenced its writes.
func (o *outbox) announce() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.lost)
}

// lose takes the ownership away.
func (o *outbox) lose() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attach++
	close(o.lost)
}

func (o *outbox) do(op string, after bool) error {
	if !after {
		o.mu.Lock()
		o.calls[op]++
		o.mu.Unlock()
	}
	if o.fault == nil {
		return nil
	}
	return o.fault(op, after)
}

func (o *outbox) count(op string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls[op]
}

// add puts n entries into a lane, without a wake-up.
func (o *outbox) add(key string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	lane := "appointments/" + key
	if _, ok := o.lanes[lane]; !ok {
		i, _ := slices.BinarySearch(o.names, lane)
		o.names = slices.Insert(o.names, i, lane)
	}
	for range n {
		o.seq++
		o.lanes[lane] = append(o.lanes[lane], record.Entry{
			ID: fmt.Sprintf("%s#%06d", key, o.seq), Pipeline: "appointments", Deliver: "scheduling",
			Destination: "webhook.scheduling", Key: key, Ref: sdk.Ref{Kind: "appointment", ID: "id-of-" + key},
			Seq: o.seq, Body: []byte(`{"PHI":"` + key + `"}`),
		})
	}
}

func (o *outbox) hint() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// left is the number of entries.
func (o *outbox) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, entries := range o.lanes {
		n += len(entries)
	}
	return n
}

func (o *outbox) head(key string) record.Entry {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lanes["appointments/"+key][0]
}

func (h *handle) change(op string, f func() error) error {
	if err := h.do(op, false); err != nil {
		return err
	}
	h.mu.Lock()
	if h.number != h.attach {
		h.mu.Unlock()
		return store.ErrFenced
	}
	err := f()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	return h.do(op, true)
}

func (h *handle) Lanes(_ context.Context, token []byte, limit int) (lanes []string, next []byte, err error) {
	err = h.change("lanes", func() error {
		i, found := slices.BinarySearch(h.names, string(token))
		if found && len(token) > 0 {
			i++
		}
		lanes = slices.Clone(h.names[i:min(len(h.names), i+limit)])
		if i+limit < len(h.names) {
			next = []byte(lanes[len(lanes)-1])
		}
		return nil
	})
	return lanes, next, err
}

func (h *handle) Head(_ context.Context, lane string, n int) (entries []record.Entry, err error) {
	err = h.change("head", func() error {
		all := h.lanes[lane]
		entries = slices.Clone(all[:min(n, len(all))])
		size := 0
		for i := range entries {
			size += store.EntrySize(&entries[i])
		}
		h.largest = max(h.largest, size)
		return nil
	})
	return entries, err
}

func (h *handle) remove(id store.EntryID) bool {
	entries := h.lanes[id.Lane]
	i := slices.IndexFunc(entries, func(e record.Entry) bool { return e.ID == id.ID && e.Seq == id.Seq })
	if i < 0 {
		return false
	}
	if len(entries) == 1 {
		delete(h.lanes, id.Lane)
		j, _ := slices.BinarySearch(h.names, id.Lane)
		h.names = slices.Delete(h.names, j, j+1)
		return true
	}
	if i == 0 {
		h.lanes[id.Lane] = entries[1:]
		return true
	}
	h.lanes[id.Lane] = slices.Delete(slices.Clone(entries), i, i+1)
	return true
}

func (h *handle) Ack(_ context.Context, done ...store.Done) error {
	return h.change("ack", func() error {
		for _, d := range done {
			h.remove(d.EntryID)
		}
		return nil
	})
}

func (h *handle) Defer(_ context.Context, id store.EntryID, a store.Attempt) error {
	return h.change("defer", func() error {
		entries := slices.Clone(h.lanes[id.Lane])
		for i := range entries {
			if entries[i].ID == id.ID {
				entries[i].Attempts, entries[i].NextAttempt = a.Attempts, a.Next
				entries[i].Tried(record.Try{At: a.At.Round(0), Code: a.Code})
			}
		}
		h.lanes[id.Lane] = entries
		return nil
	})
}

func (h *handle) Bury(_ context.Context, id store.EntryID, cause record.Cause, _ time.Time) error {
	return h.change("bury", func() error {
		if h.remove(id) { // for an entry that is gone it does nothing
			h.dead = append(h.dead, cause)
		}
		return nil
	})
}

func (h *handle) Wake() <-chan struct{} { return h.wake }
func (h *handle) Lost() <-chan struct{} { return h.gone }
func (h *handle) Release(context.Context) error {
	return h.change("release", func() error {
		h.outbox.release++
		return nil
	})
}

// receiver is a destination that keeps what it accepted and watches the promises made to destinations.
type receiver struct {
	answer func(ctx context.Context, n delivery.Notification) error // nil: accepted

	mu       sync.Mutex
	accepted []string
	busy     map[string]bool
	peak     int
	sends    int
	wrong    []string
}

func keyOf(id string) string { return id[:strings.IndexByte(id, '#')] }

func (r *receiver) Send(ctx context.Context, n delivery.Notification) error {
	key := keyOf(n.ID)
	r.mu.Lock()
	if r.busy == nil {
		r.busy = map[string]bool{}
	}
	if r.busy[key] {
		r.wrong = append(r.wrong, "two notifications of a lane were in flight")
	}
	r.busy[key] = true
	r.peak = max(r.peak, len(r.busy))
	r.sends++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.busy, key)
		r.mu.Unlock()
	}()
	if r.answer != nil {
		if err := r.answer(ctx, n); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.accepted = append(r.accepted, n.ID)
	r.mu.Unlock()
	return nil
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.accepted)
}

func (r *receiver) sent() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sends
}

func (r *receiver) inFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.busy)
}

// inOrder checks invariant 4 on what was accepted: per lane the ids never fall.
func (r *receiver) inOrder(t *testing.T) {
	t.Helper()
	last := map[string]string{}
	for _, id := range r.got() {
		if key := keyOf(id); id < last[key] {
			t.Errorf("%s was delivered after %s", id, last[key])
		} else {
			last[key] = id
		}
	}
	for _, w := range r.wrong {
		t.Error(w)
	}
}

// bench is a loop with its fakes, inside a synctest bubble.
type bench struct {
	*testing.T
	box    *outbox
	to     *receiver
	loop   *delivery.Loop
	log    *logged
	cancel context.CancelFunc
	ended  chan error
}

type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newBench(t *testing.T, tune func(*delivery.Config)) *bench {
	b := &bench{T: t, box: newOutbox(), to: &receiver{}, log: &logged{}, ended: make(chan error, 1)}
	cfg := delivery.Config{
		Name: "webhook.scheduling", Attach: b.box.Attach, Destination: b.to,
		Logger: slog.New(slog.NewTextHandler(b.log, nil)), Names: record.Names{Secret: []byte("secret")},
	}
	if tune != nil {
		tune(&cfg)
	}
	b.loop = delivery.New(cfg)
	return b
}

func (b *bench) start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { b.ended <- b.loop.Run(ctx) }()
}

// stop ends the loop and checks what holds for every test: a clean end, order, and no record in the log.
func (b *bench) stop() {
	b.Helper()
	b.cancel()
	if err := <-b.ended; err != nil {
		b.Errorf("Run: %v", err)
	}
	b.to.inOrder(b.T)
	for _, private := range []string{"PHI", "patient", "id-of", "#0"} {
		if strings.Contains(b.log.String(), private) {
			b.Errorf("the log holds %q:\n%s", private, b.log)
		}
	}
	if st := b.loop.Status(); st.State != delivery.Stopped || st.InFlight != 0 {
		b.Errorf("status after the stop: %+v", st)
	}
}

// lines counts the log lines that hold text.
func (b *bench) lines(text string) int { return strings.Count(b.log.String(), text) }

func patient(i int) string { return fmt.Sprintf("patient%05d", i) }

func unavailable(after time.Duration) error {
	return &record.SendError{Code: "http_503", Text: "the receiver answered 503", After: after}
}
