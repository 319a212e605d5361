// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// canary begins every id and stands in all data: no log line of any test may hold it (invariant 6).
const canary = "CANARY"

// ehr is a server with one feed of appointments and any number of resources to fetch, which keeps what it was asked. Its
// feed lists the last state of each record, oldest change first, from the watermark less the overlap on. Any of its
// answers can be replaced.
type ehr struct {
	feed sdk.Feed
	size int // changes per page; 0: all
	// appends says that changes are listed in the order in which they became visible, so that pages do not drift; else by their times.
	appends bool

	mu      sync.Mutex
	log     []sdk.Change
	asked   time.Time // when the first page of the window was asked for
	polls   []sdk.Query
	pollAt  []time.Time
	fetches [][]sdk.Ref // one per call
	acks    []string

	pages   func(sdk.Query) sdk.Page                   // in place of the feed
	onPoll  func(n int, q sdk.Query) (sdk.Page, error) // n counts from 1
	onFetch func(context.Context, []sdk.Ref) ([]sdk.Result, error)
	onRef   func(sdk.Ref) error // a fetch of one ref fails
	onAck   func(token string) error
}

func newEHR() *ehr {
	return &ehr{feed: sdk.Feed{Name: "appointments", Kind: "appointment", Class: sdk.Timestamp, Version: sdk.Exact, Precision: time.Second}}
}

// set changes a record now: patient goes into its data.
func (e *ehr) set(id, version, patient string) { e.setAt(time.Now(), id, version, patient) }

func (e *ehr) setAt(at time.Time, id, version, patient string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = append(e.log, change(id, version, patient, at))
}

// do changes what the server does while the loop runs.
func (e *ehr) do(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// change is one change of an appointment. The data say the same for the same version and patient.
func change(id, version, patient string, at time.Time) sdk.Change {
	data := map[string]any{"id": canary + id, "note": canary, "state": version, "patient": nil}
	if patient != "" {
		data["patient"] = canary + patient
	}
	raw, _ := json.Marshal(data)
	return sdk.Change{Ref: sdk.Ref{Kind: "appointment", ID: canary + id}, Version: version, Op: sdk.Upsert, Time: at, Data: raw}
}

// changes makes n changes of as many records and four records per patient.
func (e *ehr) fill(n int, version string) {
	for i := range n {
		e.set(strconv.Itoa(i), version, "p"+strconv.Itoa(i/4))
	}
}

func (e *ehr) Feed(context.Context, string) (sdk.Feed, error) { return e.feed, nil }

func (e *ehr) Poll(_ context.Context, q sdk.Query) (sdk.Page, error) {
	e.mu.Lock()
	e.polls = append(e.polls, q)
	e.pollAt = append(e.pollAt, time.Now())
	n, onPoll := len(e.polls), e.onPoll
	e.mu.Unlock()
	if onPoll != nil {
		return onPoll(n, q)
	}
	return e.page(q), nil
}

// page answers as an honest server does.
func (e *ehr) page(q sdk.Query) sdk.Page {
	if e.pages != nil {
		return e.pages(q)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	since, mark := q.Start.At, time.Unix(0, 0)
	if q.Watermark != nil {
		mark, _ = time.Parse(time.RFC3339Nano, string(q.Watermark))
		if mark.After(since) {
			since = mark
		}
	}
	if !since.IsZero() {
		since = since.Add(-q.Overlap)
	}
	last := map[sdk.Ref]int{}
	for i, c := range e.log {
		last[c.Ref] = i
	}
	var changes []sdk.Change
	for i, c := range e.log {
		if (e.feed.History || last[c.Ref] == i) && !c.Time.Before(since) {
			changes = append(changes, c)
		}
	}
	if !e.appends {
		slices.SortStableFunc(changes, func(a, b sdk.Change) int { return a.Time.Compare(b.Time) })
	}
	if q.Cursor == nil {
		e.asked = time.Now()
	}
	for _, c := range changes {
		if c.Time.After(mark) && !c.Time.After(e.asked) {
			mark = c.Time
		}
	}
	from, _ := strconv.Atoi(string(q.Cursor))
	from = min(from, len(changes))
	page := sdk.Page{Changes: changes[from:], Watermark: []byte(mark.Format(time.RFC3339Nano)), Calls: 1, Now: time.Now()}
	if e.size > 0 && from+e.size < len(changes) {
		page.Changes, page.Watermark = changes[from:from+e.size], nil
		page.Cursor = []byte(strconv.Itoa(from + e.size))
	}
	return page
}

func (e *ehr) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	e.mu.Lock()
	e.fetches = append(e.fetches, refs)
	onFetch := e.onFetch
	e.mu.Unlock()
	if onFetch != nil {
		return onFetch(ctx, refs)
	}
	return e.results(refs), nil
}

func (e *ehr) results(refs []sdk.Ref) []sdk.Result {
	e.mu.Lock()
	onRef := e.onRef
	e.mu.Unlock()
	results := make([]sdk.Result, len(refs))
	for i, ref := range refs {
		results[i] = sdk.Result{Ref: ref, Data: json.RawMessage(fmt.Sprintf(`{"id":%q,"next":%q}`, ref.ID, ref.ID+"-next"))}
		if ref.Kind == "chart" {
			results[i].Data = e.chart(ref.ID)
		}
		if onRef != nil {
			if err := onRef(ref); err != nil {
				results[i] = sdk.Result{Ref: ref, Err: err}
			}
		}
	}
	return results
}

// chart holds the last state of a record, as a list of one.
func (e *ehr) chart(id string) json.RawMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	data := json.RawMessage("null")
	for _, c := range e.log {
		if c.Ref.ID == id {
			data = c.Data
		}
	}
	return fmt.Appendf(nil, `{"list":[%s]}`, data)
}

func (e *ehr) Ack(_ context.Context, _ string, token []byte) error {
	e.mu.Lock()
	e.acks = append(e.acks, string(token))
	e.mu.Unlock()
	if e.onAck != nil {
		return e.onAck(string(token))
	}
	return nil
}

// fetched lists the ids of all fetches.
func (e *ehr) fetched() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ids []string
	for _, refs := range e.fetches {
		for _, r := range refs {
			ids = append(ids, strings.TrimPrefix(r.ID, canary))
		}
	}
	return ids
}

// expr is a scripted expression.
type expr func(*record.Record) (string, bool, error)

func (f expr) Eval(r *record.Record) (string, bool, error) { return f(r) }

// inData is change.data.NAME, inFetched is fetched.LABEL.NAME.
func inData(name string) expr {
	return func(r *record.Record) (string, bool, error) {
		raw, _ := rawjson.Get(r.Change.Data, name)
		s, ok := rawjson.Text(raw)
		return s, ok, nil
	}
}

func inFetched(label, name string) expr {
	return func(r *record.Record) (string, bool, error) {
		raw, _ := rawjson.Get(r.Fetched[label], name)
		s, ok := rawjson.Text(raw)
		return s, ok, nil
	}
}

// mapRecord is a mapping that sends the record as it is.
func mapRecord(_ context.Context, r *record.Record, _ pipeline.MapContext) ([]byte, error) {
	return r.Marshal()
}

func deliver(name string) pipeline.Deliver {
	return pipeline.Deliver{Name: name, Destination: "file.out", Map: mapRecord}
}

// patients fetches the patient of each appointment.
func patients() pipeline.Fetch {
	return pipeline.Fetch{Name: "patient", Resource: "patient", ID: inData("patient")}
}

// rig is one pipeline with its server and its state.
type rig struct {
	*testing.T
	ehr    *ehr
	store  *memstore.Store
	config pipeline.Config
	loop   *pipeline.Pipeline // that start started last
	logs   *bytes.Buffer

	claims, commits int
	onClaim         func(n int) error                // n counts from 1
	before          func(n int, b store.Batch) error // instead of a commit
	after           func(n int, b store.Batch) error // after it was written
}

var tiny = store.Limits{Items: 8, Bytes: 64 << 10, Refs: 3}

// simulate runs a test with fake time; it fails when a goroutine is left at its end.
func simulate(t *testing.T, test func(r *rig)) {
	t.Helper()
	simulateWith(t, store.Limits{}, test)
}

func simulateWith(t *testing.T, limits store.Limits, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newRig(t, limits)) })
}

func newRig(t *testing.T, limits store.Limits) *rig {
	t.Helper()
	r := &rig{T: t, ehr: newEHR(), logs: &bytes.Buffer{}}
	r.use(memstore.New(limits))
	r.config = pipeline.Config{
		Name: "visits", SourceName: "rest.clinic", Feed: "appointments", Every: time.Minute, Overlap: 2 * time.Minute,
		Timeout: 30 * time.Second, Delivers: []pipeline.Deliver{deliver("out")},
		Source: r.ehr, Parallel: 4, Logger: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() {
		for line := range strings.Lines(r.logs.String()) {
			if strings.Contains(line, canary) {
				t.Errorf("record content in the log: %s", line)
			}
		}
		if t.Failed() {
			t.Logf("log:\n%s", r.logs)
		}
	})
	return r
}

func (r *rig) use(s *memstore.Store) { r.store = s }

// run lets the loop run for d, then stops it and waits for its end.
func (r *rig) run(d time.Duration) {
	r.Helper()
	stop := r.start()
	pass(d)
	stop()
}

// pass lets time pass and the loop come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// start starts the loop; the function that it returns stops it and waits for its end.
func (r *rig) start() (stop func()) {
	r.Helper()
	c := r.config
	c.Limits, c.Names = r.store.Limits(), record.Names{Secret: r.store.Secret()}
	if c.Claim == nil {
		c.Claim = r.claim
	}
	p, err := pipeline.New(c)
	if err != nil {
		r.Fatal(err)
	}
	r.loop = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (r *rig) claim(ctx context.Context, name string) (store.Feed, error) {
	r.claims++
	if r.onClaim != nil {
		if err := r.onClaim(r.claims); err != nil {
			return nil, err
		}
	}
	f, err := r.store.Claim(ctx, name)
	return faulty{f, r}, err
}

// faulty is a feed whose commits fail as the test says.
type faulty struct {
	store.Feed
	r *rig
}

func (f faulty) Commit(ctx context.Context, b store.Batch) error {
	f.r.ehr.mu.Lock()
	f.r.commits++
	n, before := f.r.commits, f.r.before
	f.r.ehr.mu.Unlock()
	if before != nil {
		if err := before(n, b); err != nil {
			return err
		}
	}
	err := f.Feed.Commit(ctx, b)
	if err == nil && f.r.after != nil {
		err = f.r.after(n, b)
	}
	return err
}

// outbox lists all entries of the pipeline in the order of commit.
func (r *rig) outbox() []record.Entry {
	r.Helper()
	var all []record.Entry
	pending, _ := r.store.Admin().Pending(context.Background())
	for destination := range pending {
		box, err := r.store.Attach(context.Background(), destination)
		if err != nil {
			r.Fatal(err)
		}
		lanes, _, _ := box.Lanes(context.Background(), nil, 1<<30)
		for _, l := range lanes {
			entries, err := box.Head(context.Background(), l, 1<<30)
			if err != nil {
				r.Fatal(err)
			}
			if entries[0].Pipeline == r.config.Name {
				all = append(all, entries...)
			}
		}
	}
	slices.SortFunc(all, func(a, b record.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
}

// delivered lists all entries as "id@version", those of other deliver blocks than "out" as "id@version/block".
func (r *rig) delivered() []string {
	r.Helper()
	var all []string
	for _, e := range r.outbox() {
		s := strings.TrimPrefix(e.Ref.ID, canary) + "@" + e.Version
		if e.Deliver != "out" {
			s += "/" + e.Deliver
		}
		all = append(all, s)
	}
	return all
}

func (r *rig) dead() []record.DeadLetter {
	r.Helper()
	dead, _, err := r.store.Admin().Dead(context.Background(), store.Filter{}, nil, 1<<30)
	if err != nil {
		r.Fatal(err)
	}
	return dead
}

func (r *rig) position() store.Position {
	all, _ := r.store.Admin().Positions(context.Background())
	return all[r.config.Name]
}

// expect compares what is in the outbox, in its order.
func (r *rig) expect(want ...string) {
	r.Helper()
	if got := r.delivered(); !slices.Equal(got, want) {
		r.Errorf("the outbox holds\n %q, want\n %q", got, want)
	}
}

// expectDead compares the dead letters, as "id@version stage code".
func (r *rig) expectDead(want ...string) {
	r.Helper()
	var got []string
	for _, d := range r.dead() {
		got = append(got, fmt.Sprintf("%s@%s %s %s", strings.TrimPrefix(d.Ref.ID, canary), d.Version, d.Cause.Stage, d.Cause.Code))
	}
	if !slices.Equal(got, want) {
		r.Errorf("dead letters\n %q, want\n %q", got, want)
	}
}

// expectLog wants a text in the log so many times.
func (r *rig) expectLog(text string, times int) {
	r.Helper()
	if n := strings.Count(r.logs.String(), text); n != times {
		r.Errorf("the log says %q %d times, want %d", text, n, times)
	}
}
